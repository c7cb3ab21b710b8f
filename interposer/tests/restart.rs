//! A checkpoint in one process, the restart in another: one of everything.
#![allow(
    unsafe_code,
    reason = "plays the application, which uses bare pointers"
)]

mod support;

use serde::{Deserialize, Serialize};
use support::*;

#[derive(Serialize, Deserialize, Default)]
struct App {
    primary: u64,
    created: u64,
    module: u64,
    function: u64,
    counter: u64,
    library: u64,
    kernel: u64,
    library_counter: u64,
    data: Vec<(u64, usize)>,
    pitched: (u64, u64),
    pinned: u64,
    streams: Vec<u64>,
    events: Vec<u64>,
    name: u64,
    link: u64,
}

/// Makes one of everything.
fn build() -> App {
    let mut app = App::default();
    ok("cuInit", &[0]);
    app.primary = get("cuDevicePrimaryCtxRetain", &[0]);
    ok("cuDevicePrimaryCtxRetain", &[at(&mut app.link), 0]);
    app.created = get("cuCtxCreate_v2", &[0, 0]);
    ok("cuCtxPopCurrent_v2", &[0]);
    ok("cuCtxPushCurrent_v2", &[app.primary]);
    ok("cuCtxPushCurrent_v2", &[app.created]);
    ok("cuCtxSetLimit", &[0, 8192]);
    ok("cuCtxPopCurrent_v2", &[0]);
    ok("cuCtxSetLimit", &[0, 2048]);
    ok("cuCtxSetLimit", &[0, 4096]);
    let image = ptx();
    app.module = get("cuModuleLoadData", &[image.as_ptr() as u64]);
    app.function = get(
        "cuModuleGetFunction",
        &[app.module, c"bump".as_ptr() as u64],
    );
    let mut bytes = 0u64;
    ok(
        "cuModuleGetGlobal_v2",
        &[
            at(&mut app.counter),
            at(&mut bytes),
            app.module,
            c"counter".as_ptr() as u64,
        ],
    );
    assert_eq!(bytes, 8);
    app.library = get(
        "cuLibraryLoadData",
        &[image.as_ptr() as u64, 0, 0, 0, 0, 0, 0],
    );
    app.kernel = get(
        "cuLibraryGetKernel",
        &[app.library, c"bump".as_ptr() as u64],
    );
    ok("cuFuncSetAttribute", &[app.function, 8, 1024]);
    for size in [1usize, 300, 4096, 300_000, 1 << 20] {
        let block: u64 = get("cuMemAlloc_v2", &[4 * size as u64]);
        assert_eq!(block % 256, 0);
        assert!(
            (0x1000_0000_0000..0x1400_0000_0000).contains(&block),
            "{block:x}"
        );
        ok("cuMemsetD32_v2", &[block, size as u64, size as u64]);
        app.data.push((block, size));
    }
    let hole: u64 = get("cuMemAlloc_v2", &[1 << 16]);
    let after: u64 = get("cuMemAlloc_v2", &[64]);
    app.data.push((after, 16));
    ok("cuMemFree_v2", &[hole]);
    ok("cuMemsetD32_v2", &[after, 0xabcd, 16]);
    ok(
        "cuMemAllocPitch_v2",
        &[at(&mut app.pitched.0), at(&mut app.pitched.1), 100, 7, 4],
    );
    app.pinned = get("cuMemHostAlloc", &[8192, 1]);
    for flags in [0, 1] {
        app.streams.push(get("cuStreamCreate", &[flags]));
    }
    let gone: u64 = get("cuStreamCreate", &[0]);
    ok("cuStreamDestroy_v2", &[gone]);
    app.events = (0..3).map(|_| get("cuEventCreate", &[0])).collect();
    ok("cuEventRecord", &[app.events[0], app.streams[0]]);
    work(&app, 7);
    ok("cuEventRecord", &[app.events[1], app.streams[0]]);
    ok("cuFuncGetName", &[at(&mut app.name), app.function]);
    // A list in device memory: addresses are data.
    let next = app.data[2].0;
    ok(
        "cuMemcpyHtoD_v2",
        &[app.data[1].0, std::ptr::from_ref(&next) as u64, 8],
    );
    app
}

/// Some work on every path, still running when it returns.
fn work(app: &App, value: u32) {
    let (block, n) = app.data[3];
    bump(
        app.function,
        app.streams[0],
        block,
        n.min(20_000) as u32,
        value,
    );
    bump(
        app.kernel,
        app.streams[0],
        block,
        n.min(20_000) as u32,
        value,
    );
    ok(
        "cuMemcpyDtoHAsync_v2",
        &[app.pinned, block, 4096, app.streams[0]],
    );
    ok("cuEventRecord", &[app.events[0], app.streams[0]]);
    ok("cuStreamWaitEvent", &[app.streams[1], app.events[0], 0]);
    bump(app.kernel, app.streams[1], block, 1000, 1);
}

/// Everything that can be seen, as text.
fn see(app: &App) -> String {
    use std::fmt::Write;
    let mut seen = String::new();
    ok("cuCtxSynchronize", &[]);
    for &(block, n) in &app.data {
        let sum = words(block, n).iter().fold(0u64, |sum, &w| {
            sum.wrapping_mul(31).wrapping_add(u64::from(w))
        });
        let (mut start, mut size) = (0u64, 0u64);
        ok(
            "cuMemGetAddressRange_v2",
            &[at(&mut start), at(&mut size), block + 2],
        );
        let _ = writeln!(seen, "block {block:x} {n} {sum:x} range {start:x} {size}");
    }
    // SAFETY: pinned memory of 8192 bytes.
    let pinned = unsafe { std::slice::from_raw_parts(app.pinned as *const u32, 2048) };
    let _ = writeln!(
        seen,
        "pinned {:x} {:?} {}",
        app.pinned,
        &pinned[..4],
        pinned.iter().map(|&w| u64::from(w)).sum::<u64>()
    );
    let flags: u32 = get("cuMemHostGetFlags", &[app.pinned]);
    let _ = writeln!(seen, "pinned flags {flags}");
    let mut library_counter = app.library_counter;
    if library_counter == 0 {
        let mut bytes = 0u64;
        let name = c"counter".as_ptr() as u64;
        ok(
            "cuLibraryGetGlobal",
            &[at(&mut library_counter), at(&mut bytes), app.library, name],
        );
    }
    let _ = writeln!(
        seen,
        "counters {:?} {:?}",
        words(app.counter, 2),
        words(library_counter, 2)
    );
    for &stream in &app.streams {
        let (mut flags, mut priority, mut context, mut id) = (0u32, 0i32, 0u64, 0u64);
        ok("cuStreamGetFlags", &[stream, at(&mut flags)]);
        ok("cuStreamGetPriority", &[stream, at(&mut priority)]);
        ok("cuStreamGetCtx", &[stream, at(&mut context)]);
        ok("cuStreamGetId", &[stream, at(&mut id)]);
        let _ = writeln!(
            seen,
            "stream {stream:x} {flags} {priority} {context:x} {id:x} {}",
            call("cuStreamQuery", &[stream])
        );
    }
    for &event in &app.events {
        let _ = writeln!(seen, "event {event:x} {}", call("cuEventQuery", &[event]));
    }
    let current: u64 = get("cuCtxGetCurrent", &[]);
    let limit: u64 = get("cuCtxGetLimit", &[0]);
    let (mut active, mut flags) = (0u32, 0u32);
    ok(
        "cuDevicePrimaryCtxGetState",
        &[0, at(&mut flags), at(&mut active)],
    );
    let _ = writeln!(
        seen,
        "current {current:x} limit {limit} primary {flags} {active}"
    );
    let mut attribute = 0i32;
    ok("cuFuncGetAttribute", &[at(&mut attribute), 8, app.function]);
    let _ = writeln!(seen, "dynamic shared memory {attribute}");
    // SAFETY: a name that the interposer gave out.
    let name = unsafe { std::ffi::CStr::from_ptr(app.name as *const _) };
    let _ = writeln!(seen, "name {name:?}");
    let again: u64 = get(
        "cuModuleGetFunction",
        &[app.module, c"bump".as_ptr() as u64],
    );
    let module: u64 = get("cuFuncGetModule", &[app.function]);
    let library: u64 = get("cuKernelGetLibrary", &[app.kernel]);
    assert_eq!(
        (again, module, library),
        (app.function, app.module, app.library)
    );
    for attribute in [1u32, 2, 3, 7, 9, 11, 12] {
        let mut value = [0u64; 2];
        ok(
            "cuPointerGetAttribute",
            &[at(&mut value), u64::from(attribute), app.data[2].0 + 8],
        );
        let _ = writeln!(seen, "pointer attribute {attribute}: {:x}", value[0]);
    }
    seen
}

#[test]
fn first_life() {
    if !is_child("first_life") {
        return;
    }
    init();
    let mut app = build();
    let mut bytes = 0u64;
    ok(
        "cuLibraryGetGlobal",
        &[
            at(&mut app.library_counter),
            at(&mut bytes),
            app.library,
            c"counter".as_ptr() as u64,
        ],
    );
    let seen = {
        // The image is taken with the work in flight; what is seen afterwards is what it must hold.
        let image = checkpoint(&app);
        save(&image, variable("IMAGE").as_ref());
        see(&app)
    };
    std::fs::write(variable("SEEN"), seen).unwrap();
    println!("FIRST done");
}

#[test]
fn next_life() {
    if !is_child("next_life") {
        return;
    }
    init();
    let app: App = restart(&load(variable("IMAGE").as_ref())).unwrap();
    let expected = std::fs::read_to_string(variable("SEEN")).unwrap();
    assert_eq!(see(&app), expected);
    // Old against new, old against old, and never recorded.
    let mut time = 0f32;
    ok(
        "cuEventElapsedTime",
        &[at(&mut time), app.events[0], app.events[1]],
    );
    assert!((0.0..60_000.0).contains(&time.abs()), "{time}");
    ok("cuEventRecord", &[app.events[1], app.streams[0]]);
    ok("cuEventSynchronize", &[app.events[1]]);
    ok(
        "cuEventElapsedTime",
        &[at(&mut time), app.events[0], app.events[1]],
    );
    assert!((0.0..60_000.0).contains(&time), "{time}");
    assert_eq!(
        call(
            "cuEventElapsedTime",
            &[at(&mut time), app.events[0], app.events[2]]
        ),
        400
    );
    // Both references of the primary context are there, and the stack below it.
    work(&app, 9);
    let image = checkpoint(&app);
    save(&image, variable("IMAGE").as_ref());
    std::fs::write(variable("SEEN"), see(&app)).unwrap();
    ok("cuDevicePrimaryCtxRelease_v2", &[0]);
    assert_eq!(words(app.data[5].0, 16), [0xabcd; 16]);
    for &(block, _) in &app.data {
        ok("cuMemFree_v2", &[block]);
    }
    ok("cuMemFree_v2", &[app.pitched.0]);
    ok("cuMemFreeHost", &[app.pinned]);
    for &event in &app.events {
        ok("cuEventDestroy_v2", &[event]);
        assert_eq!(call("cuEventQuery", &[event]), 400);
    }
    ok("cuCtxDestroy_v2", &[app.created]);
    ok("cuDevicePrimaryCtxRelease_v2", &[0]);
    assert_ne!(call("cuDevicePrimaryCtxRelease_v2", &[0]), 0);
    let summary = interposer::summary();
    assert_eq!(
        (
            summary.allocations,
            summary.pinned,
            summary.modules,
            summary.events
        ),
        (0, 0, 0, 0)
    );
    assert!(summary.records_live <= 16, "{summary:?}");
    println!("NEXT {}", summary.restarts);
}

#[test]
fn a_chain_of_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (image, seen) = (folder.path().join("image"), folder.path().join("seen"));
    let variables = [
        ("IMAGE", image.to_str().unwrap()),
        ("SEEN", seen.to_str().unwrap()),
    ];
    child_says("first_life", &variables, "FIRST");
    for life in 1..=10 {
        let said = child_says("next_life", &variables, "NEXT");
        assert_eq!(said, life.to_string());
    }
}

/// Stores the address of a device function, and calls it.
const POINTERS: &str = ".version 7.0
.target sm_50
.address_size 64
.func (.param .b32 r) answer () { st.param.b32 [r], 42; ret; }
.visible .entry keep (.param .u64 to) {
    .reg .b64 %d<3>;
    ld.param.u64 %d1, [to];
    mov.u64 %d2, answer;
    st.global.u64 [%d1], %d2;
    ret;
}
.visible .entry ask (.param .u64 at) {
    .reg .b64 %d<3>; .reg .b32 %r<2>;
    ld.param.u64 %d1, [at];
    ld.global.u64 %d2, [%d1];
    { .param .b32 r;
      prototype: .callprototype (.param .b32 _) _ ();
      call (r), %d2, (), prototype;
      ld.param.b32 %r1, [r]; }
    st.global.u32 [%d1+8], %r1;
    ret;
}
\0";

/// A module that has gone, and one whose place depends on it: neither has a variable.
const GONE: &str = ".version 7.0
.target sm_50
.address_size 64
.visible .entry nothing () { ret; }
\0";

/// Kernels keep addresses of code, which depends on what was loaded before, as modules and as
/// libraries.
#[test]
fn code_keeps_its_address() {
    let (keep, ask) = (c"keep".as_ptr() as u64, c"ask".as_ptr() as u64);
    let launch = |function: u64, mut data: u64| {
        let mut parameters = [at(&mut data)];
        let all = parameters.as_mut_ptr() as u64;
        ok(
            "cuLaunchKernel",
            &[function, 1, 1, 1, 1, 1, 1, 0, 0, all, 0],
        );
        ok("cuCtxSynchronize", &[]);
    };
    if is_child("code_keeps_its_address") && std::env::var_os("LATER").is_none() {
        init();
        ok("cuInit", &[0]);
        let context: u64 = get("cuDevicePrimaryCtxRetain", &[0]);
        ok("cuCtxSetCurrent", &[context]);
        let gone: u64 = get("cuModuleLoadData", &[GONE.as_ptr() as u64]);
        let library = |text: &str| -> u64 {
            get(
                "cuLibraryLoadData",
                &[text.as_ptr() as u64, 0, 0, 0, 0, 0, 0],
            )
        };
        let [first, second] = [library(POINTERS), library(GONE)];
        // Placed in the other order, and one of them by a question.
        let nothing = c"nothing".as_ptr() as u64;
        let mut threads = 0i32;
        let kernel: u64 = get("cuLibraryGetKernel", &[second, nothing]);
        ok("cuFuncGetAttribute", &[at(&mut threads), 0, kernel]);
        let kernels = [keep, ask].map(|name| get::<u64>("cuLibraryGetKernel", &[first, name]));
        let module: u64 = get("cuModuleLoadData", &[POINTERS.as_ptr() as u64]);
        let functions = [keep, ask].map(|name| get::<u64>("cuModuleGetFunction", &[module, name]));
        let places: [u64; 2] = [0, 0].map(|_: i32| get("cuMemAlloc_v2", &[16]));
        launch(kernels[0], places[0]);
        launch(functions[0], places[1]);
        ok("cuModuleUnload", &[gone]);
        ok("cuLibraryUnload", &[second]);
        let app = (kernels[1], functions[1], places);
        save(&checkpoint(&app), variable("IMAGE").as_ref());
        println!("DONE");
        return;
    }
    if is_child("code_keeps_its_address") {
        init();
        type Kept = (u64, u64, [u64; 2]);
        let (kernel, function, places): Kept =
            restart(&load(variable("IMAGE").as_ref())).expect("restored");
        launch(kernel, places[0]);
        launch(function, places[1]);
        for place in places {
            assert_eq!(words(place + 8, 1), [42]);
        }
        println!("DONE");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let variables = [("IMAGE", image.to_str().unwrap()), ("LATER", "1")];
    child_says("code_keeps_its_address", &variables[..1], "DONE");
    child_says("code_keeps_its_address", &variables, "DONE");
}

/// A library's variables are in a context once a kernel of it ran there; a primary context that
/// ends and comes back has the handle that it had.
#[test]
fn variables_of_a_context_that_came_back_are_kept() {
    const NAME: &str = "variables_of_a_context_that_came_back_are_kept";
    if !is_child(NAME) {
        let folder = tempfile::tempdir().unwrap();
        for end in ["cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxReset_v2"] {
            let image = folder.path().join(end);
            let image = image.to_str().unwrap();
            for life in ["0", "1", "2", "3"] {
                let variables = [("IMAGE", image), ("END", end), ("LIFE", life)];
                child_says(NAME, &variables, "DONE");
            }
        }
        return;
    }
    init();
    let image = ptx();
    let again = || {
        let context: u64 = get("cuDevicePrimaryCtxRetain", &[0]);
        ok("cuCtxSetCurrent", &[context]);
    };
    let run = |kernel: u64| {
        let data: u64 = get("cuMemAlloc_v2", &[4096]);
        bump(kernel, 0, data, 64, 1);
    };
    let counted = |library: u64| {
        let (mut counter, mut bytes) = (0u64, 0u64);
        let name = c"counter".as_ptr() as u64;
        ok(
            "cuLibraryGetGlobal",
            &[at(&mut counter), at(&mut bytes), library, name],
        );
        assert_eq!(words(counter, 2), [5 + 64, 0]);
    };
    let life = variable("LIFE");
    let (library, kernel): (u64, u64) = if life == "0" {
        ok("cuInit", &[0]);
        let code = image.as_ptr() as u64;
        let library = get("cuLibraryLoadData", &[code, 0, 0, 0, 0, 0, 0]);
        let kernel = get("cuLibraryGetKernel", &[library, c"bump".as_ptr() as u64]);
        (library, kernel)
    } else {
        restart(&load(variable("IMAGE").as_ref())).expect("restored")
    };
    match life.as_str() {
        "0" => {
            again();
            for _ in 0..3 {
                run(kernel);
                ok(&variable("END"), &[0]);
                again();
            }
            run(kernel);
        }
        // The library has nothing in the context that the next life gets.
        "1" => {
            counted(library);
            ok(&variable("END"), &[0]);
            again();
        }
        // What is loaded next lies behind it.
        "2" => {
            run(kernel);
            let _: u64 = get("cuModuleLoadData", &[image.as_ptr() as u64]);
        }
        _ => counted(library),
    }
    save(&checkpoint(&(library, kernel)), variable("IMAGE").as_ref());
    println!("DONE");
}

/// Code from a file is kept with a NUL at its end, as text needs one.
#[test]
fn variables_of_a_compressed_file_are_kept() {
    const NAME: &str = "variables_of_a_compressed_file_are_kept";
    const FILE: &std::ffi::CStr = c"../cuda-abi/tests/data/ptx-lz4.fatbin";
    if !is_child(NAME) {
        child_says(NAME, &[], "DONE");
        return;
    }
    init();
    ok("cuInit", &[0]);
    let context: u64 = get("cuDevicePrimaryCtxRetain", &[0]);
    ok("cuCtxSetCurrent", &[context]);
    let _module: u64 = get("cuModuleLoad", &[FILE.as_ptr() as u64]);
    checkpoint(&());
    let regions = interposer::device_regions();
    let names = ["coef", "counter", "table"];
    assert!(
        names
            .iter()
            .all(|name| regions.iter().any(|r| r.label == *name)),
        "{regions:?}"
    );
    println!("DONE");
}

/// A program may load and unload without end: what a replay keeps of that is bounded, and what
/// stayed keeps its place all the same.
#[test]
fn modules_that_come_and_go_move_nothing() {
    const NAME: &str = "modules_that_come_and_go_move_nothing";
    let counter = |module: u64| {
        let (mut address, mut bytes) = (0u64, 0u64);
        let name = c"counter".as_ptr() as u64;
        ok(
            "cuModuleGetGlobal_v2",
            &[at(&mut address), at(&mut bytes), module, name],
        );
        address
    };
    if is_child(NAME) && std::env::var_os("LATER").is_none() {
        init();
        ok("cuInit", &[0]);
        let context: u64 = get("cuDevicePrimaryCtxRetain", &[0]);
        ok("cuCtxSetCurrent", &[context]);
        let image = ptx();
        let load = || -> u64 { get("cuModuleLoadData", &[image.as_ptr() as u64]) };
        let mut comes = load();
        let stays = load();
        for _ in 0..400 {
            ok("cuModuleUnload", &[comes]);
            comes = load();
        }
        let app = (stays, counter(stays), comes, counter(comes));
        save(&checkpoint(&app), variable("IMAGE").as_ref());
        println!("DONE {}", interposer::summary().records_live);
        return;
    }
    if is_child(NAME) {
        init();
        type Kept = (u64, u64, u64, u64);
        let (stays, at_first, comes, at_last): Kept =
            restart(&load(variable("IMAGE").as_ref())).expect("restored");
        assert_eq!((counter(stays), counter(comes)), (at_first, at_last));
        println!("DONE");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let variables = [("IMAGE", image.to_str().unwrap()), ("LATER", "1")];
    let records: u64 = child_says(NAME, &variables[..1], "DONE").parse().unwrap();
    assert!(records < 900, "{records} records");
    child_says(NAME, &variables, "DONE");
}

/// Variables that moved may be in kernels' hands: refused by name, before anything goes wrong.
#[test]
fn moved_variables_are_refused() {
    if is_child("moved_variables_are_refused") {
        init();
        let refused = restart::<App>(&load(variable("IMAGE").as_ref()));
        let Err(error) = refused else {
            panic!("restored")
        };
        assert!(
            matches!(error, interposer::RestoreError::Moved(_)),
            "{error}"
        );
        println!("REFUSED {error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, seen) = (folder.path().join("image"), folder.path().join("seen"));
    let variables = [
        ("IMAGE", image.to_str().unwrap()),
        ("SEEN", seen.to_str().unwrap()),
    ];
    child_says("first_life", &variables, "FIRST");
    let moving = [variables[0], variables[1], ("GPUCKPT_MOCK", "move-globals")];
    let error = child_says("moved_variables_are_refused", &moving, "REFUSED");
    assert!(
        error.contains("counter") || error.contains("scratch") || error.contains("factor"),
        "{error}"
    );
}

/// Bytes that are no snapshot are refused, not believed.
#[test]
fn damaged_logs_are_refused() {
    if is_child("damaged_logs_are_refused") {
        init();
        let mut app = App::default();
        ok("cuInit", &[0]);
        app.primary = get("cuDevicePrimaryCtxRetain", &[0]);
        let log = interposer::snapshot_log().unwrap();
        std::fs::write(variable("IMAGE"), &log).unwrap();
        println!("WRITTEN");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("log");
    let variables = [("IMAGE", image.to_str().unwrap())];
    child_says("damaged_logs_are_refused", &variables, "WRITTEN");
    let log = std::fs::read(&image).unwrap();
    // In this process nothing is initialised: every attempt fails before the driver is asked.
    init();
    for len in 0..log.len() {
        assert!(
            interposer::restore_log(&log[..len]).is_err() || len == 0,
            "cut to {len}"
        );
    }
    let mut other = log.clone();
    other[8] += 1;
    let error = interposer::restore_log(&other).unwrap_err();
    assert!(error.to_string().contains("version"), "{error}");
}
