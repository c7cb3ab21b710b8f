//! Device memory for interpreter tests: buffers at made-up device addresses.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]
#![allow(unsafe_code, reason = "Memory is an unsafe trait")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mock_device::ptx::{
    Executable, Fault, Kernel, Launch, LaunchStats, Memory, Module, Placement, PtxError, Region,
    Space,
};

/// Address of the first buffer; unmapped gaps lie between buffers.
pub const BASE: u64 = 0x1000_0000_0000;
const CODE: u64 = 0x4000_0000_0000;

struct Buffer {
    address: u64,
    len: u64,
    bytes: Vec<u128>,
    writable: bool,
}

/// A device with a few buffers.
#[derive(Default)]
pub struct Device {
    buffers: Vec<Buffer>,
    next: u64,
    variables: Vec<u64>,
}

// SAFETY: buffers are never freed or moved while a launch borrows the device,
// and the tests touch them only between launches.
unsafe impl Memory for Device {
    fn region(&self, address: u64) -> Option<Region> {
        let buffer = self
            .buffers
            .iter()
            .find(|b| (b.address..b.address + b.len).contains(&address))?;
        Some(Region {
            start: buffer.address,
            end: buffer.address + buffer.len,
            host: buffer.bytes.as_ptr().cast_mut().cast(),
            writable: buffer.writable,
        })
    }
}

/// Plain values that go to and from the device.
pub trait Value: Copy {
    const SIZE: usize;
    fn put(self, to: &mut Vec<u8>);
    fn get(from: &[u8]) -> Self;
}

macro_rules! value {
    ($($t:ty),*) => {$(
        impl Value for $t {
            const SIZE: usize = size_of::<$t>();
            fn put(self, to: &mut Vec<u8>) {
                to.extend(self.to_le_bytes());
            }
            fn get(from: &[u8]) -> $t {
                <$t>::from_le_bytes(from.try_into().unwrap())
            }
        }
    )*};
}
value!(u8, i8, u16, i16, u32, i32, u64, i64, u128, f32, f64);

pub fn bytes_of<T: Value>(values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.iter().for_each(|v| v.put(&mut bytes));
    bytes
}

impl Device {
    pub fn new() -> Device {
        Device {
            next: BASE,
            ..Device::default()
        }
    }

    pub fn alloc_bytes(&mut self, bytes: &[u8], writable: bool) -> u64 {
        let mut words = vec![0u128; bytes.len().div_ceil(16)];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(16)) {
            let mut full = [0; 16];
            full[..chunk.len()].copy_from_slice(chunk);
            *word = u128::from_le_bytes(full);
        }
        let address = self.next;
        let len = bytes.len() as u64;
        self.next += (len + 0x1000).next_multiple_of(0x1000);
        self.buffers.push(Buffer {
            address,
            len,
            bytes: words,
            writable,
        });
        address
    }

    pub fn alloc<T: Value>(&mut self, values: &[T]) -> u64 {
        self.alloc_bytes(&bytes_of(values), true)
    }

    pub fn read<T: Value>(&self, address: u64) -> Vec<T> {
        let buffer = self.buffers.iter().find(|b| b.address == address).unwrap();
        let bytes: Vec<u8> = buffer.bytes.iter().flat_map(|w| w.to_le_bytes()).collect();
        bytes[..buffer.len as usize]
            .chunks_exact(T::SIZE)
            .map(T::get)
            .collect()
    }

    /// Parses a module and places its variables in this device.
    pub fn load(&mut self, source: &str) -> Result<Executable, PtxError> {
        let module = Arc::new(Module::parse(source)?);
        let first: Vec<u64> = module
            .variables()
            .iter()
            .map(|v| self.alloc_bytes(&vec![0; v.size.max(1) as usize], v.space == Space::Global))
            .collect();
        let executable = module.instantiate(Placement {
            variables: &first,
            code: CODE,
        })?;
        for (index, address) in first.iter().enumerate() {
            let initial = executable.initial_bytes(index);
            let buffer = self
                .buffers
                .iter_mut()
                .find(|b| b.address == *address)
                .unwrap();
            for (at, byte) in initial.iter().enumerate() {
                let word = &mut buffer.bytes[at / 16];
                *word |= u128::from(*byte) << (at % 16 * 8);
            }
        }
        self.variables = first;
        Ok(executable)
    }

    /// Contents of a variable of the module loaded last.
    pub fn variable<T: Value>(&self, executable: &Executable, name: &str) -> Vec<T> {
        let variables = executable.module().variables();
        let index = variables.iter().position(|v| v.name == name).unwrap();
        self.read(self.variables[index])
    }

    pub fn run(
        &self,
        kernel: &Kernel,
        grid: [u32; 3],
        block: [u32; 3],
        params: &Params,
    ) -> Result<LaunchStats, Fault> {
        self.run_with(kernel, grid, block, params, |_| {})
    }

    pub fn run_with(
        &self,
        kernel: &Kernel,
        grid: [u32; 3],
        block: [u32; 3],
        params: &Params,
        change: impl FnOnce(&mut Launch<'_>),
    ) -> Result<LaunchStats, Fault> {
        let stop = AtomicBool::new(false);
        let mut launch = Launch::new(grid, block, &params.0, self, &stop);
        change(&mut launch);
        kernel.launch(&launch)
    }
}

/// A parameter buffer.
#[derive(Default, Clone)]
pub struct Params(pub Vec<u8>);

impl Params {
    pub fn new() -> Params {
        Params::default()
    }

    /// Appends a value at its natural alignment.
    pub fn with<T: Value>(mut self, value: T) -> Params {
        self.0.resize(self.0.len().next_multiple_of(T::SIZE), 0);
        value.put(&mut self.0);
        self
    }
}

/// A small, good enough generator of test inputs (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Uniform in [-1, 1).
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
