//! What every test needs: the driver API through the dispatcher, application memory that an image
//! can carry, images, and child processes.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    unsafe_code,
    reason = "maps memory and plays the application, which uses bare pointers"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use interposer::table::ROWS;
use interposer::{Options, dispatch};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The mock driver, which cargo builds beside the tests.
pub(crate) fn mock_driver() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().join("libmock_device.so")
}

/// Sets the interposer up over the mock.
pub(crate) fn init() {
    interposer::init(Options {
        driver: mock_driver(),
        mock: true,
        current_vtid: || VTID.with(std::cell::Cell::get),
        window_mmap,
        window_munmap,
    });
}

thread_local! {
    /// The calling thread's virtual id.
    pub(crate) static VTID: std::cell::Cell<i32> = const { std::cell::Cell::new(1) };
}

/// One driver call, as a stub makes it.
pub(crate) fn call(name: &str, args: &[u64]) -> u32 {
    static IDS: OnceLock<HashMap<&str, u32>> = OnceLock::new();
    let ids = IDS.get_or_init(|| ROWS.iter().map(|row| (row.symbol, row.id)).collect());
    let id = *ids.get(name).unwrap_or_else(|| panic!("no row for {name}"));
    let mut slots = [0u64; 16];
    slots[..args.len()].copy_from_slice(args);
    dispatch(id, slots.as_mut_ptr()) as u32
}

/// A call that must succeed.
#[track_caller]
pub(crate) fn ok(name: &str, args: &[u64]) {
    let status = call(name, args);
    assert_eq!(status, 0, "{name}{args:x?}");
}

/// A call that must succeed and answers through its first argument.
#[track_caller]
pub(crate) fn get<T: Default>(name: &str, args: &[u64]) -> T {
    let mut value = T::default();
    let mut all = vec![at(&mut value)];
    all.extend(args);
    ok(name, &all);
    value
}

/// The address of a local.
pub(crate) fn at<T>(value: &mut T) -> u64 {
    std::ptr::from_mut(value) as u64
}

/// Application memory: pages of this range go into images.
const WINDOW: u64 = 0x1700_0000_0000;

#[derive(Default)]
struct Window {
    mapped: HashMap<u64, usize>,
    next: u64,
}

static WINDOWS: Mutex<Option<Window>> = Mutex::new(None);

fn map_at(address: u64, len: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a fresh mapping that replaces nothing.
    let got = unsafe {
        libc::mmap(
            address as *mut _,
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    got as u64 == address
}

/// Maps application memory.
pub(crate) fn window_mmap(len: usize) -> *mut u8 {
    let mut windows = WINDOWS.lock().unwrap();
    let window = windows.get_or_insert_with(Window::default);
    let address = WINDOW + window.next;
    window.next += (len.next_multiple_of(4096) + 4096) as u64;
    if !map_at(address, len) {
        return std::ptr::null_mut();
    }
    window.mapped.insert(address, len);
    address as *mut u8
}

/// Unmaps it.
pub(crate) fn window_munmap(address: *mut u8, len: usize) {
    WINDOWS
        .lock()
        .unwrap()
        .as_mut()
        .unwrap()
        .mapped
        .remove(&(address as u64));
    // SAFETY: mapped above.
    unsafe { libc::munmap(address.cast(), len) };
}

/// Everything that a restart needs.
#[derive(Serialize, Deserialize)]
pub(crate) struct Image {
    log: Vec<u8>,
    regions: Vec<(interposer::DeviceRegion, Vec<u8>)>,
    window: Vec<(u64, Vec<u8>)>,
    window_next: u64,
    /// The test's own state.
    pub(crate) app: Vec<u8>,
}

/// Takes an image of this process.
pub(crate) fn checkpoint(app: &impl Serialize) -> Image {
    let refusals = interposer::preflight();
    assert!(refusals.is_empty(), "{refusals:?}");
    interposer::drain(Instant::now() + Duration::from_secs(20)).unwrap();
    let log = interposer::snapshot_log().unwrap();
    let read = |region: interposer::DeviceRegion| {
        let mut bytes = vec![0; region.len as usize];
        let half = bytes.len() / 2;
        interposer::read_region(region.id, 0, &mut bytes[..half]).unwrap();
        interposer::read_region(region.id, half as u64, &mut bytes[half..]).unwrap();
        (region, bytes)
    };
    let regions = interposer::device_regions().into_iter().map(read).collect();
    let windows = WINDOWS.lock().unwrap();
    let window = windows
        .iter()
        .flat_map(|w| &w.mapped)
        .map(|(&address, &len)| {
            // SAFETY: mapped and not touched by anybody else while the test is here.
            (
                address,
                unsafe { std::slice::from_raw_parts(address as *const u8, len) }.to_vec(),
            )
        });
    let image = Image {
        log,
        regions,
        window: window.collect(),
        window_next: windows.as_ref().map_or(0, |w| w.next),
        app: bincode::serde::encode_to_vec(app, bincode::config::standard()).unwrap(),
    };
    interposer::resume();
    image
}

/// Restores an image in a fresh process.
pub(crate) fn restart<A: DeserializeOwned>(image: &Image) -> Result<A, interposer::RestoreError> {
    interposer::restore_log(&image.log)?;
    let mut mapped = HashMap::new();
    for (address, bytes) in &image.window {
        assert!(map_at(*address, bytes.len()));
        // SAFETY: just mapped, as long as the bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), *address as *mut u8, bytes.len()) };
        mapped.insert(*address, bytes.len());
    }
    *WINDOWS.lock().unwrap() = Some(Window {
        mapped,
        next: image.window_next,
    });
    interposer::restore_host()?;
    let regions: Vec<_> = image
        .regions
        .iter()
        .map(|(region, _)| region.clone())
        .collect();
    assert_eq!(interposer::device_regions(), regions);
    for (region, bytes) in &image.regions {
        interposer::write_region(region.id, 0, bytes).unwrap();
    }
    interposer::restore_thread(VTID.get());
    Ok(
        bincode::serde::decode_from_slice(&image.app, bincode::config::standard())
            .unwrap()
            .0,
    )
}

/// Writes an image to a file.
pub(crate) fn save(image: &Image, path: &Path) {
    std::fs::write(
        path,
        bincode::serde::encode_to_vec(image, bincode::config::standard()).unwrap(),
    )
    .unwrap();
}

/// Reads an image from a file.
pub(crate) fn load(path: &Path) -> Image {
    bincode::serde::decode_from_slice(&std::fs::read(path).unwrap(), bincode::config::standard())
        .unwrap()
        .0
}

/// Runs the test `name` of this binary in a new process, with variables set; its standard output.
pub(crate) fn child(name: &str, variables: &[(&str, &str)]) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("INTERPOSER_CHILD", name);
    command.envs(variables.iter().copied());
    command.output().unwrap()
}

/// A child that must succeed; the rest of its output's line that starts with `key`.
#[track_caller]
pub(crate) fn child_says(name: &str, variables: &[(&str, &str)], key: &str) -> String {
    let output = child(name, variables);
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name} {variables:?}: {}\n{text}\n{errors}",
        output.status
    );
    let line = text.lines().find_map(|line| line.split_once(key));
    line.unwrap_or_else(|| panic!("{name} {variables:?}: no {key}\n{text}\n{errors}"))
        .1
        .trim()
        .to_owned()
}

/// This process was started by [`child`] for this test.
pub(crate) fn is_child(name: &str) -> bool {
    std::env::var("INTERPOSER_CHILD").is_ok_and(|child| child == name)
}

/// A variable that the parent set.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("no {name}"))
}

/// Runs host callbacks, as the stub library's thread does.
pub(crate) fn start_callback_thread() {
    std::thread::spawn(|| {
        let mut slots = [0u64; 8];
        loop {
            if dispatch(1 << 31 | 1, slots.as_mut_ptr()) == 0 {
                continue;
            }
            let [function, data, kind, stream, status, ticket, ..] = slots;
            if kind == 0 {
                // SAFETY: the test gave this function.
                let function: extern "C" fn(u64) = unsafe { std::mem::transmute(function) };
                function(data);
            } else {
                // SAFETY: the test gave this function.
                let function: extern "C" fn(u64, u32, u64) =
                    unsafe { std::mem::transmute(function) };
                function(stream, status as u32, data);
            }
            let mut done = [ticket];
            dispatch(1 << 31 | 2, done.as_mut_ptr());
        }
    });
}

/// `data[i] = data[i] * factor + value` for the first `n` words, counting its threads in `counter`.
pub(crate) const PTX: &str = r"
.version 7.0
.target sm_70
.address_size 64
.visible .global .align 8 .u64 counter = 5;
.visible .global .align 4 .b8 scratch[64];
.visible .const .align 4 .u32 factor = 3;
.visible .entry bump(
    .param .u64 data,
    .param .u32 n,
    .param .u32 value
)
{
    .reg .pred %p<2>;
    .reg .b32 %r<12>;
    .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [data];
    ld.param.u32 %r1, [n];
    ld.param.u32 %r2, [value];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r6, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r6, %r1;
    @%p1 bra DONE;
    cvta.to.global.u64 %rd2, %rd1;
    mul.wide.u32 %rd3, %r6, 4;
    add.s64 %rd4, %rd2, %rd3;
    ld.global.u32 %r7, [%rd4];
    ld.const.u32 %r8, [factor];
    mad.lo.s32 %r9, %r7, %r8, %r2;
    st.global.u32 [%rd4], %r9;
    mov.u64 %rd5, counter;
    mov.u64 %rd6, 1;
    atom.global.add.u64 %rd7, [%rd5], %rd6;
DONE:
    ret;
}
";

/// [`PTX`] with its final NUL.
pub(crate) fn ptx() -> Vec<u8> {
    let mut text = PTX.as_bytes().to_vec();
    text.push(0);
    text
}

/// Launches `bump` of a function or kernel.
pub(crate) fn bump(function: u64, stream: u64, data: u64, n: u32, value: u32) {
    let (mut data, mut n, mut value) = (data, n, value);
    let blocks = u64::from(n.div_ceil(64));
    let mut parameters = [at(&mut data), at(&mut n), at(&mut value)];
    ok(
        "cuLaunchKernel",
        &[
            function,
            blocks,
            1,
            1,
            64,
            1,
            1,
            0,
            stream,
            at(&mut parameters),
            0,
        ],
    );
}

/// Words of device memory.
pub(crate) fn words(address: u64, n: usize) -> Vec<u32> {
    let mut words = vec![0u32; n];
    ok(
        "cuMemcpyDtoH_v2",
        &[words.as_mut_ptr() as u64, address, 4 * n as u64],
    );
    words
}
