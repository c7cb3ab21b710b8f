//! Random programs: an uninterrupted run and one that lives on in new processes end alike.
//!
//! A program draws its steps from a seed; every step's answers go into a digest. The mock's handles
//! and heap move in every process.
#![allow(
    unsafe_code,
    reason = "plays the application, which uses bare pointers"
)]

mod support;

use serde::{Deserialize, Serialize};
use support::*;

#[derive(Serialize, Deserialize, Clone)]
struct Buffer {
    address: u64,
    words: usize,
}

#[derive(Serialize, Deserialize, Clone)]
struct Code {
    /// Module or library.
    handle: u64,
    /// Function or kernel.
    function: u64,
    /// Address of `counter`.
    counter: u64,
    library: bool,
}

/// What lives in one context.
#[derive(Serialize, Deserialize, Default, Clone)]
struct World {
    context: u64,
    buffers: Vec<Buffer>,
    streams: Vec<u64>,
    events: Vec<u64>,
    codes: Vec<Code>,
    pinned: Vec<(u64, usize)>,
}

#[derive(Serialize, Deserialize)]
struct Program {
    random: u64,
    steps: u64,
    digest: u64,
    worlds: Vec<World>,
    /// World of the current context.
    at: usize,
}

/// Pool of images, so that equal and different ones are loaded.
fn image(which: u64) -> Vec<u8> {
    let mut text = PTX
        .replace("factor = 3", &format!("factor = {}", 3 + which % 2))
        .into_bytes();
    text.push(0);
    text
}

impl Program {
    fn start(seed: u64) -> Self {
        ok("cuInit", &[0]);
        let context = get("cuDevicePrimaryCtxRetain", &[0]);
        ok("cuCtxPushCurrent_v2", &[context]);
        let worlds = vec![World {
            context,
            ..World::default()
        }];
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            steps: 0,
            digest: 0,
            worlds,
            at: 0,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn pick(&mut self, len: usize) -> Option<usize> {
        if len == 0 {
            None
        } else {
            Some(self.draw(len as u64) as usize)
        }
    }

    fn note(&mut self, value: u64) {
        self.digest = (self.digest ^ value)
            .wrapping_mul(0x100_0000_01b3)
            .rotate_left(7);
    }

    fn world(&mut self) -> &mut World {
        &mut self.worlds[self.at]
    }

    fn stream(&mut self) -> u64 {
        let streams = self.world().streams.len();
        match self.draw(streams as u64 + 3) as usize {
            special @ 0..3 => special as u64,
            own => self.world().streams[own - 3],
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        match self.draw(24) {
            0..3 => self.allocate(),
            3 => self.free(),
            4..8 => self.launch(),
            8 => self.copy(),
            9 => self.store_pointer(),
            10 => self.streams(),
            11 => self.new_event(),
            12 => self.use_event(),
            13 => self.load(),
            14 => self.unload(),
            15 => self.contexts(),
            16 => self.limit(),
            17 => self.attribute(),
            18 => self.pin(),
            19 => self.through_pinned(),
            20 => self.variable(),
            21 => self.ask_pointer(),
            22 => self.ask_stream(),
            _ => self.read_some(),
        }
    }

    fn allocate(&mut self) {
        let words = match self.draw(4) {
            0 => 1 + self.draw(100),
            1 => 1 + self.draw(5000),
            2 => 1 + self.draw(300_000),
            _ => 1 + self.draw(1_000_000),
        } as usize;
        let address: u64 = get("cuMemAlloc_v2", &[4 * words as u64]);
        let value = self.draw(1 << 20);
        ok("cuMemsetD32_v2", &[address, value, words as u64]);
        self.note(address);
        self.world().buffers.push(Buffer { address, words });
    }

    fn free(&mut self) {
        let len = self.world().buffers.len();
        if let Some(which) = self.pick(len) {
            let buffer = self.world().buffers.swap_remove(which);
            ok("cuMemFree_v2", &[buffer.address]);
        }
    }

    fn launch(&mut self) {
        let (codes, buffers) = (self.world().codes.len(), self.world().buffers.len());
        if let (Some(code), Some(buffer)) = (self.pick(codes), self.pick(buffers)) {
            let (function, buffer) = (
                self.world().codes[code].function,
                self.world().buffers[buffer].clone(),
            );
            let (n, value, stream) = (
                self.draw(buffer.words.min(3000) as u64 + 1),
                self.draw(1000),
                self.stream(),
            );
            // Order between streams is what synchronises here: the digest must not depend on luck.
            if n > 0 {
                bump(function, stream, buffer.address, n as u32, value as u32);
            }
            if self.draw(4) > 0 {
                ok("cuCtxSynchronize", &[]);
            } else {
                ok("cuStreamSynchronize", &[stream]);
            }
        }
    }

    fn copy(&mut self) {
        let len = self.world().buffers.len();
        if let (Some(from), Some(to)) = (self.pick(len), self.pick(len)) {
            let (from, to) = (
                self.world().buffers[from].clone(),
                self.world().buffers[to].clone(),
            );
            let words = from.words.min(to.words) as u64 / 2;
            let source = from.address + 4 * (from.words as u64 - words);
            if words > 0 && from.address != to.address {
                ok("cuMemcpyDtoDAsync_v2", &[to.address, source, 4 * words, 0]);
            }
        }
    }

    fn store_pointer(&mut self) {
        let len = self.world().buffers.len();
        if let (Some(from), Some(to)) = (self.pick(len), self.pick(len)) {
            let (address, to) = (
                self.world().buffers[from].address,
                self.world().buffers[to].clone(),
            );
            if to.words >= 2 {
                ok(
                    "cuMemcpyHtoD_v2",
                    &[to.address, std::ptr::from_ref(&address) as u64, 8],
                );
            }
        }
    }

    fn streams(&mut self) {
        if self.draw(3) > 0 {
            let flags = self.draw(2);
            let priority = self.draw(2).wrapping_neg();
            let stream = get("cuStreamCreateWithPriority", &[flags, priority]);
            self.world().streams.push(stream);
            return;
        }
        let len = self.world().streams.len();
        if let Some(which) = self.pick(len) {
            let stream = self.world().streams.swap_remove(which);
            ok("cuStreamDestroy_v2", &[stream]);
            self.note(u64::from(call("cuStreamQuery", &[stream])));
        }
    }

    fn new_event(&mut self) {
        if self.draw(2) == 0 {
            let flags = self.draw(4);
            let event = get("cuEventCreate", &[flags]);
            self.world().events.push(event);
            return;
        }
        let len = self.world().events.len();
        if let Some(which) = self.pick(len) {
            let event = self.world().events.swap_remove(which);
            ok("cuEventDestroy_v2", &[event]);
        }
    }

    fn use_event(&mut self) {
        let len = self.world().events.len();
        let (Some(one), Some(other)) = (self.pick(len), self.pick(len)) else {
            return;
        };
        let (one, other) = (self.world().events[one], self.world().events[other]);
        let stream = self.stream();
        if self.draw(2) == 0 {
            ok("cuEventRecord", &[one, stream]);
            let waiting = self.stream();
            ok("cuStreamWaitEvent", &[waiting, one, 0]);
            return;
        }
        ok("cuCtxSynchronize", &[]);
        self.note(u64::from(call("cuEventQuery", &[one])));
        let mut time = -1f32;
        let status = call("cuEventElapsedTime", &[at(&mut time), one, other]);
        self.note(u64::from(status));
        if status == 0 {
            assert!(time.abs() < 600_000.0, "{time}");
        }
    }

    fn load(&mut self) {
        let (library, which) = (self.draw(2) == 0, self.draw(4));
        let text = image(which);
        let (text, name, variable) = (
            text.as_ptr() as u64,
            c"bump".as_ptr() as u64,
            c"counter".as_ptr() as u64,
        );
        let (mut counter, mut bytes) = (0u64, 0u64);
        let code = if library {
            let handle = get("cuLibraryLoadData", &[text, 0, 0, 0, 0, 0, 0]);
            let kernel = get("cuLibraryGetKernel", &[handle, name]);
            ok(
                "cuLibraryGetGlobal",
                &[at(&mut counter), at(&mut bytes), handle, variable],
            );
            Code {
                handle,
                function: kernel,
                counter,
                library,
            }
        } else {
            let handle = get("cuModuleLoadData", &[text]);
            let function = get("cuModuleGetFunction", &[handle, name]);
            ok(
                "cuModuleGetGlobal_v2",
                &[at(&mut counter), at(&mut bytes), handle, variable],
            );
            Code {
                handle,
                function,
                counter,
                library,
            }
        };
        self.note(bytes);
        self.world().codes.push(code);
    }

    fn unload(&mut self) {
        let len = self.world().codes.len();
        if len > 3
            && let Some(which) = self.pick(len)
        {
            ok("cuCtxSynchronize", &[]);
            let code = self.world().codes.swap_remove(which);
            ok(
                if code.library {
                    "cuLibraryUnload"
                } else {
                    "cuModuleUnload"
                },
                &[code.handle],
            );
        }
    }

    fn contexts(&mut self) {
        match self.draw(4) {
            0 if self.worlds.len() < 4 => {
                let context = get("cuCtxCreate_v2", &[0, 0]);
                self.worlds.push(World {
                    context,
                    ..World::default()
                });
                ok("cuCtxPopCurrent_v2", &[0]);
            }
            1 if self.worlds.len() > 1 => {
                let last = self.worlds.len() - 1;
                if last != self.at {
                    let world = self.worlds.swap_remove(last);
                    ok("cuCtxPushCurrent_v2", &[world.context]);
                    for code in world.codes.iter().filter(|code| code.library) {
                        ok("cuLibraryUnload", &[code.handle]);
                    }
                    ok("cuCtxDestroy_v2", &[world.context]);
                    for stream in world.streams {
                        self.note(u64::from(call("cuStreamQuery", &[stream])));
                    }
                    for buffer in world.buffers {
                        self.note(u64::from(call("cuMemFree_v2", &[buffer.address])));
                    }
                }
            }
            _ => {
                let len = self.worlds.len();
                self.at = self.pick(len).unwrap_or(0);
                let context = self.world().context;
                ok("cuCtxSetCurrent", &[context]);
            }
        }
        let current: u64 = get("cuCtxGetCurrent", &[]);
        assert_eq!(current, self.world().context);
    }

    fn limit(&mut self) {
        let value = 1024 * (1 + self.draw(8));
        ok("cuCtxSetLimit", &[0, value]);
        let now: u64 = get("cuCtxGetLimit", &[0]);
        self.note(now);
    }

    fn attribute(&mut self) {
        let len = self.world().codes.len();
        let Some(which) = self.pick(len) else { return };
        let code = self.world().codes[which].clone();
        let value = 256 * self.draw(16);
        let mut now = 0i32;
        if code.library {
            ok("cuKernelSetAttribute", &[8, value, code.function, 0]);
            ok("cuKernelGetAttribute", &[at(&mut now), 8, code.function, 0]);
        } else {
            ok("cuFuncSetAttribute", &[code.function, 8, value]);
            ok("cuFuncGetAttribute", &[at(&mut now), 8, code.function]);
        }
        self.note(now as u64);
    }

    fn pin(&mut self) {
        let len = self.world().pinned.len();
        if self.draw(2) == 0 || len == 0 {
            let words = 1 + self.draw(10_000) as usize;
            let flags = self.draw(8);
            let address: u64 = get("cuMemHostAlloc", &[4 * words as u64, flags]);
            // SAFETY: just allocated.
            unsafe { std::slice::from_raw_parts_mut(address as *mut u32, words) }
                .fill(flags as u32 + 77);
            self.world().pinned.push((address, words));
        } else if let Some(which) = self.pick(len) {
            ok("cuCtxSynchronize", &[]);
            let (address, _) = self.world().pinned.swap_remove(which);
            ok("cuMemFreeHost", &[address]);
        }
    }

    /// Out of one buffer and into another, without waiting: copies are in flight at the checkpoint.
    fn through_pinned(&mut self) {
        let (buffers, pinned) = (self.world().buffers.len(), self.world().pinned.len());
        let picked = (self.pick(buffers), self.pick(buffers), self.pick(pinned));
        let (Some(from), Some(to), Some(through)) = picked else {
            return;
        };
        let (from, to) = (
            self.world().buffers[from].clone(),
            self.world().buffers[to].clone(),
        );
        let (address, room) = self.world().pinned[through];
        let bytes = 4 * from.words.min(to.words).min(room) as u64;
        ok("cuMemcpyDtoHAsync_v2", &[address, from.address, bytes, 0]);
        ok("cuMemcpyHtoDAsync_v2", &[to.address, address, bytes, 0]);
    }

    fn variable(&mut self) {
        let len = self.world().codes.len();
        let Some(which) = self.pick(len) else { return };
        let code = self.world().codes[which].clone();
        let mut value = 0u64;
        ok("cuMemcpyDtoH_v2", &[at(&mut value), code.counter, 8]);
        self.note(value);
        value += self.draw(100);
        ok("cuMemcpyHtoD_v2", &[code.counter, at(&mut value), 8]);
    }

    fn ask_pointer(&mut self) {
        let len = self.world().buffers.len();
        let Some(which) = self.pick(len) else { return };
        let address = self.world().buffers[which].address + 1;
        for attribute in [2u64, 7, 8, 9, 11, 12] {
            let mut value = 0u64;
            ok(
                "cuPointerGetAttribute",
                &[at(&mut value), attribute, address],
            );
            self.note(value);
        }
        let context: u64 = get("cuPointerGetAttribute", &[1, address]);
        assert_eq!(context, self.world().context);
    }

    fn ask_stream(&mut self) {
        let stream = self.stream();
        let (mut flags, mut priority) = (0u32, 0i32);
        ok("cuStreamGetFlags", &[stream, at(&mut flags)]);
        ok("cuStreamGetPriority", &[stream, at(&mut priority)]);
        self.note(u64::from(flags) << 32 | u64::from(priority as u32));
    }

    fn read_some(&mut self) {
        let len = self.world().buffers.len();
        let Some(which) = self.pick(len) else { return };
        let buffer = self.world().buffers[which].clone();
        ok("cuCtxSynchronize", &[]);
        for word in words(buffer.address, buffer.words.min(4000)) {
            self.note(u64::from(word));
        }
    }

    /// The digest, with all memory.
    fn finish(mut self) -> u64 {
        for at in 0..self.worlds.len() {
            let world = self.worlds[at].clone();
            ok("cuCtxSetCurrent", &[world.context]);
            ok("cuCtxSynchronize", &[]);
            for buffer in &world.buffers {
                for word in words(buffer.address, buffer.words) {
                    self.note(u64::from(word));
                }
            }
            for code in &world.codes {
                for word in words(code.counter, 2) {
                    self.note(u64::from(word));
                }
            }
            for &(address, len) in &world.pinned {
                // SAFETY: pinned memory that is alive.
                for &word in unsafe { std::slice::from_raw_parts(address as *const u32, len) } {
                    self.note(u64::from(word));
                }
            }
        }
        let summary = interposer::summary();
        self.note(summary.allocations as u64);
        self.note(summary.allocated_bytes);
        self.note((summary.streams << 32 | summary.events) as u64);
        self.digest
    }
}

const STEPS: u64 = 160;

/// Plays from wherever the program is until `STOP` or the end.
#[test]
fn play() {
    if !is_child("play") {
        return;
    }
    init();
    let number = |name: &str| variable(name).parse::<u64>().unwrap();
    let image = variable("IMAGE");
    let mut program = match variable("MODE").as_str() {
        "start" => Program::start(number("SEED")),
        _ => restart(&load(image.as_ref())).unwrap_or_else(|error| panic!("RESTORE {error}")),
    };
    let stop = number("STOP");
    while program.steps < stop {
        program.step();
    }
    if stop < STEPS {
        save(&checkpoint(&program), image.as_ref());
        println!("SAYS saved");
    } else {
        println!("SAYS {:x}", program.finish());
    }
}

fn run(seed: u64, stops: &[u64], folder: &std::path::Path) -> String {
    let (seed, image) = (seed.to_string(), folder.join("image"));
    let mut mode = "start";
    let mut said = String::new();
    for stop in stops.iter().chain([&STEPS]) {
        let stop = stop.to_string();
        let variables = [
            ("SEED", seed.as_str()),
            ("STOP", &stop),
            ("MODE", mode),
            ("IMAGE", image.to_str().unwrap()),
        ];
        said = child_says("play", &variables, "SAYS");
        mode = "restart";
    }
    said
}

#[test]
fn interrupted_programs_end_as_uninterrupted_ones() {
    let count = std::env::var("INTERPOSER_PROGRAMS").map_or(5, |n| n.parse().unwrap());
    let first = std::env::var("INTERPOSER_FIRST_SEED").map_or(1, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    for seed in first..first + count {
        let whole = run(seed, &[], folder.path());
        let once = [seed * 37 % STEPS];
        let thrice = [20 + seed % 30, 60 + seed % 40, 110 + seed % 45];
        assert_eq!(
            run(seed, &once, folder.path()),
            whole,
            "seed {seed}, stop {once:?}"
        );
        assert_eq!(
            run(seed, &thrice, folder.path()),
            whole,
            "seed {seed}, stops {thrice:?}"
        );
    }
}
