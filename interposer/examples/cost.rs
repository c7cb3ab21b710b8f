//! What the dispatcher adds to a call: nanoseconds over the same call of the driver alone.
//!
//!     cargo run --release -p interposer --example cost PATH-OF-libcuda.so.1

#![allow(unsafe_code, reason = "calls the driver directly, to compare")]

use std::hint::black_box;
use std::time::Instant;

use interposer::table::ROWS;
use interposer::{Options, dispatch};

fn id(name: &str) -> u32 {
    ROWS.iter()
        .find(|row| row.symbol == name)
        .unwrap_or_else(|| panic!("{name}"))
        .id
}

fn call(id: u32, args: &[u64]) {
    let mut slots = [0u64; 16];
    slots[..args.len()].copy_from_slice(args);
    assert_eq!(dispatch(id, slots.as_mut_ptr()), 0);
}

fn at<T>(value: &mut T) -> u64 {
    std::ptr::from_mut(value) as u64
}

/// Best of several rounds, in nanoseconds a repetition.
fn time(repetitions: u32, mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..repetitions {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(repetitions));
    }
    best
}

fn main() {
    let driver = std::path::PathBuf::from(std::env::args().nth(1).expect("path of the driver"));
    // SAFETY: the same library that the interposer loads.
    let library = unsafe { libloading::Library::new(&driver) }.expect("the driver");
    type Function = unsafe extern "C" fn(u64, u64, u64, u64) -> u32;
    // SAFETY: functions of at most four integer arguments.
    let direct =
        |name: &str| unsafe { *library.get::<Function>(name.as_bytes()).expect("a symbol") };
    interposer::init(Options {
        driver,
        mock: true,
        current_vtid: || 1,
        window_mmap: |_| std::ptr::null_mut(),
        window_munmap: |_, _| {},
    });
    let mut context = 0u64;
    call(id("cuInit"), &[0]);
    call(id("cuDevicePrimaryCtxRetain"), &[at(&mut context), 0]);
    call(id("cuCtxSetCurrent"), &[context]);
    let mut value = 0u64;
    let report = |what: &str, ours: f64, theirs: f64| {
        println!(
            "{what:44} {ours:7.1} ns, driver {theirs:7.1} ns, added {:7.1} ns",
            ours - theirs
        )
    };

    let (query, native) = (id("cuDeviceGetCount"), direct("cuDeviceGetCount"));
    let ours = time(1_000_000, || call(black_box(query), &[at(&mut value)]));
    // SAFETY: writes an int.
    let theirs = time(1_000_000, || unsafe {
        assert_eq!(native(at(&mut value), 0, 0, 0), 0)
    });
    report("cuDeviceGetCount (not recorded)", ours, theirs);

    let mut stream = 0u64;
    call(id("cuStreamCreate"), &[at(&mut stream), 1]);
    let (query, native) = (id("cuStreamQuery"), direct("cuStreamQuery"));
    let mut real = 0u64;
    // SAFETY: makes a stream beside the interposer's, in the same context.
    unsafe { assert_eq!(direct("cuStreamCreate")(at(&mut real), 1, 0, 0), 0) };
    let ours = time(1_000_000, || call(query, &[stream]));
    // SAFETY: a live stream.
    let theirs = time(1_000_000, || unsafe {
        assert_eq!(native(real, 0, 0, 0), 0)
    });
    report("cuStreamQuery (a handle, not recorded)", ours, theirs);

    let (create, destroy) = (id("cuEventCreate"), id("cuEventDestroy_v2"));
    let (native_create, native_destroy) = (direct("cuEventCreate"), direct("cuEventDestroy_v2"));
    let mut event = 0u64;
    let ours = time(200_000, || {
        call(create, &[at(&mut event), 2]);
        call(destroy, &[event]);
    });
    // SAFETY: makes and destroys an event.
    let theirs = time(200_000, || unsafe {
        assert_eq!(native_create(at(&mut event), 2, 0, 0), 0);
        assert_eq!(native_destroy(event, 0, 0, 0), 0);
    });
    report("event create + destroy (2 recorded calls)", ours, theirs);

    let (set, native) = (id("cuCtxSetLimit"), direct("cuCtxSetLimit"));
    let ours = time(200_000, || call(set, &[0, 4096]));
    // SAFETY: sets a limit.
    let theirs = time(200_000, || unsafe { assert_eq!(native(0, 4096, 0, 0), 0) });
    report("cuCtxSetLimit (replaces a record)", ours, theirs);

    let (alloc, free) = (id("cuMemAlloc_v2"), id("cuMemFree_v2"));
    let (native_alloc, native_free) = (direct("cuMemAlloc_v2"), direct("cuMemFree_v2"));
    let ours = time(100_000, || {
        call(alloc, &[at(&mut value), 1024]);
        call(free, &[value]);
    });
    // SAFETY: allocates and frees device memory.
    let theirs = time(100_000, || unsafe {
        assert_eq!(native_alloc(at(&mut value), 1024, 0, 0), 0);
        assert_eq!(native_free(value, 0, 0, 0), 0);
    });
    report("cuMemAlloc + cuMemFree, 1 KiB", ours, theirs);

    let n = 100_000;
    let start = Instant::now();
    let blocks: Vec<u64> = (0..n)
        .map(|_| {
            call(alloc, &[at(&mut value), 700]);
            value
        })
        .collect();
    println!(
        "{n} live allocations: {:.0} ns each",
        start.elapsed().as_nanos() as f64 / n as f64
    );
    let start = Instant::now();
    let bytes = interposer::snapshot_log().expect("a snapshot").len();
    println!(
        "their snapshot: {:.1} ms, {bytes} bytes, {} regions",
        start.elapsed().as_secs_f64() * 1e3,
        interposer::device_regions().len()
    );
    for block in blocks {
        call(free, &[block]);
    }
}
