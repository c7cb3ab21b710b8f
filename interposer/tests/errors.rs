//! What must fail, fails as documented, and nothing crashes.
#![allow(
    unsafe_code,
    reason = "plays the application, which uses bare pointers"
)]

mod support;

use support::*;

const INVALID_VALUE: u32 = 1;
const OUT_OF_MEMORY: u32 = 2;
const NOT_INITIALIZED: u32 = 3;
const INVALID_CONTEXT: u32 = 201;
const INVALID_HANDLE: u32 = 400;
const NOT_FOUND: u32 = 500;
const NOT_SUPPORTED: u32 = 801;

/// Runs `test` in a process of its own when the parent is called.
fn alone(name: &str, variables: &[(&str, &str)], test: impl FnOnce()) -> String {
    if is_child(name) {
        init();
        test();
        return String::new();
    }
    let output = child(name, variables);
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{text}\n{errors}");
    errors.into_owned()
}

fn primary() -> u64 {
    ok("cuInit", &[0]);
    let context: u64 = get("cuDevicePrimaryCtxRetain", &[0]);
    ok("cuCtxSetCurrent", &[context]);
    context
}

#[test]
fn wrong_handles_are_told_from_right_ones() {
    alone("wrong_handles_are_told_from_right_ones", &[], || {
        assert_eq!(call("cuCtxSynchronize", &[]), NOT_INITIALIZED);
        let mut value = 0u64;
        assert_eq!(call("cuMemAlloc_v2", &[at(&mut value), 4]), NOT_INITIALIZED);
        ok("cuInit", &[0]);
        assert_eq!(call("cuMemAlloc_v2", &[at(&mut value), 4]), INVALID_CONTEXT);
        let context = primary();
        let stream: u64 = get("cuStreamCreate", &[0]);
        let event: u64 = get("cuEventCreate", &[0]);
        for wrong in [0x1234, event, context, stream ^ 1, u64::MAX] {
            assert_eq!(call("cuStreamQuery", &[wrong]), INVALID_HANDLE, "{wrong:x}");
            assert_eq!(
                call("cuStreamDestroy_v2", &[wrong]),
                INVALID_HANDLE,
                "{wrong:x}"
            );
        }
        for wrong in [0x1234, stream, event] {
            assert_eq!(
                call("cuCtxSetCurrent", &[wrong]),
                INVALID_CONTEXT,
                "{wrong:x}"
            );
            assert_eq!(
                call("cuModuleUnload", &[wrong]),
                INVALID_HANDLE,
                "{wrong:x}"
            );
        }
        ok("cuStreamDestroy_v2", &[stream]);
        assert_eq!(call("cuStreamSynchronize", &[stream]), INVALID_HANDLE);
        assert_eq!(call("cuStreamDestroy_v2", &[stream]), INVALID_HANDLE);
        ok("cuEventDestroy_v2", &[event]);
        assert_eq!(call("cuEventRecord", &[event, 0]), INVALID_HANDLE);
        for special in [0, 1, 2] {
            ok("cuStreamSynchronize", &[special]);
        }
    });
}

#[test]
fn device_memory_fails_as_documented() {
    let variables = [("GPUCKPT_MOCK", "memory=67108864")];
    alone("device_memory_fails_as_documented", &variables, || {
        primary();
        let mut value = 0u64;
        assert_eq!(call("cuMemAlloc_v2", &[at(&mut value), 0]), INVALID_VALUE);
        assert_eq!(call("cuMemAlloc_v2", &[0, 64]), INVALID_VALUE);
        assert_eq!(
            call("cuMemAlloc_v2", &[at(&mut value), 1 << 30]),
            OUT_OF_MEMORY
        );
        assert_eq!(
            call("cuMemAlloc_v2", &[at(&mut value), u64::MAX]),
            OUT_OF_MEMORY
        );
        assert_eq!(
            call("cuMemAlloc_v2", &[at(&mut value), 1 << 50]),
            OUT_OF_MEMORY
        );
        let mut blocks = Vec::new();
        let full = loop {
            match call("cuMemAlloc_v2", &[at(&mut value), 3 << 20]) {
                0 => blocks.push(value),
                status => break status,
            }
        };
        assert_eq!(full, OUT_OF_MEMORY);
        assert!(blocks.len() >= 10, "{}", blocks.len());
        let count = blocks.len();
        for block in blocks.drain(..) {
            ok("cuMemFree_v2", &[block]);
            assert_eq!(call("cuMemFree_v2", &[block]), INVALID_VALUE);
        }
        for _ in 0..count {
            blocks.push(get("cuMemAlloc_v2", &[3 << 20]));
        }
        assert_eq!(call("cuMemFree_v2", &[blocks[0] + 256]), INVALID_VALUE);
        assert_eq!(call("cuMemFree_v2", &[0x1234]), INVALID_VALUE);
        ok("cuMemFree_v2", &[0]);
        let mut attribute = 0u32;
        assert_eq!(
            call(
                "cuPointerGetAttribute",
                &[at(&mut attribute), 2, blocks[0] + (3 << 20)]
            ),
            INVALID_VALUE
        );
    });
}

/// Blocks share what the driver maps, so that it cannot tell where one ends.
#[test]
fn copies_and_fills_stay_in_their_block() {
    alone("copies_and_fills_stay_in_their_block", &[], || {
        primary();
        let [a, b]: [u64; 2] = std::array::from_fn(|_| get("cuMemAlloc_v2", &[1000]));
        let mut host = vec![7u8; 4096];
        let here = host.as_mut_ptr() as u64;
        ok("cuMemcpyHtoD_v2", &[a, here, 1000]);
        ok("cuMemcpyHtoD_v2", &[b, here, 1000]);
        ok("cuMemcpyDtoH_v2", &[here, a + 1000, 0]);
        let wrong = |name: &str, args: &[u64]| {
            assert_eq!(call(name, args), INVALID_VALUE, "{name}{args:x?}");
        };
        for (name, args) in [
            ("cuMemcpyHtoD_v2", [a, here, 2000]),
            ("cuMemcpyHtoDAsync_v2", [a + 900, here, 200]),
            ("cuMemcpyDtoH_v2", [here, b, 4096]),
            ("cuMemcpyDtoHAsync_v2", [here, b, u64::MAX]),
            ("cuMemcpyDtoD_v2", [a, b, 1500]),
            ("cuMemcpyDtoD_v2", [b, a, 1500]),
            ("cuMemcpy", [here, a + 1020, 8]),
            ("cuMemsetD8_v2", [a, 1, 1025]),
            ("cuMemsetD16_v2", [a, 1, 513]),
            ("cuMemsetD32_v2", [a, 1, 257]),
            ("cuMemsetD32Async", [a, 1, u64::MAX / 4]),
        ] {
            wrong(name, &args);
        }
        wrong("cuMemcpyPeer", &[a, 0, b, 0, 1500]);
        ok("cuMemsetD2D8_v2", &[a, 100, 1, 50, 10]);
        wrong("cuMemsetD2D8_v2", &[a, 100, 1, 50, 11]);
        wrong("cuMemsetD2D32_v2", &[a, 400, 1, 60, 3]);
        // Source: x, y, memory type, host, device, array, pitch; the destination; width, height.
        let rows = |device: u64, height: u64| -> [u64; 16] {
            let mut copy = [0; 16];
            (copy[2], copy[4], copy[6]) = (2, device, 128);
            (copy[9], copy[10], copy[13]) = (1, here, 64);
            (copy[14], copy[15]) = (64, height);
            copy
        };
        ok("cuMemcpy2D_v2", &[at(&mut rows(a, 8))]);
        ok("cuMemcpy2DAsync_v2", &[at(&mut rows(a + 128, 7)), 0]);
        wrong("cuMemcpy2D_v2", &[at(&mut rows(a, 9))]);
        wrong("cuMemcpy2DAsync_v2", &[at(&mut rows(a + 128, 8)), 0]);
        ok("cuMemFree_v2", &[b]);
        wrong("cuMemcpyDtoH_v2", &[here, b, 4]);
        ok("cuMemcpyDtoH_v2", &[here, a, 1000]);
        ok("cuCtxSynchronize", &[]);
        assert!(host[1000..].iter().all(|&byte| byte == 7), "overwritten");
    });
}

#[test]
fn managed_memory_is_told_from_pinned() {
    alone("managed_memory_is_told_from_pinned", &[], || {
        primary();
        let pinned: u64 = get("cuMemHostAlloc", &[4096, 0]);
        let managed: u64 = get("cuMemAllocManaged", &[10_000, 1]);
        let mut value = 0u64;
        let place = at(&mut value);
        for (args, status) in [
            ([place, 10_000, 0], INVALID_VALUE),
            ([place, 10_000, 3], INVALID_VALUE),
            ([place, 0, 1], INVALID_VALUE),
            ([0, 10_000, 1], INVALID_VALUE),
            ([place, u64::MAX, 1], OUT_OF_MEMORY),
        ] {
            assert_eq!(call("cuMemAllocManaged", &args), status, "{args:x?}");
        }
        for (pointer, kind, is) in [(managed + 9, 2, 1), (pinned + 9, 1, 0)] {
            assert_eq!(get::<u32>("cuPointerGetAttribute", &[2, pointer]), kind);
            assert_eq!(get::<u32>("cuPointerGetAttribute", &[8, pointer]), is);
            assert_eq!(get::<u64>("cuPointerGetAttribute", &[3, pointer]), pointer);
        }
        let (device, host) = (1u64, 2u64);
        ok("cuMemPrefetchAsync", &[managed, 10_000, 0, 0]);
        ok("cuMemPrefetchAsync", &[managed, 10_000, u32::MAX.into(), 0]);
        ok(
            "cuMemPrefetchAsync_v2",
            &[managed + 4096, 5000, device, 0, 2],
        );
        ok("cuMemAdvise", &[managed, 10_000, 1, 0]);
        ok("cuMemAdvise_v2", &[managed, 10_000, 3, host]);
        ok("cuStreamAttachMemAsync", &[0, managed, 0, 1]);
        let wrong = |name: &str, args: &[u64]| {
            assert_eq!(call(name, args), INVALID_VALUE, "{name}{args:x?}");
        };
        wrong("cuMemPrefetchAsync", &[pinned, 4096, 0, 0]);
        wrong("cuMemPrefetchAsync_v2", &[managed, 20_000, device, 0, 0]);
        wrong("cuMemPrefetchAsync_v2", &[managed, 4096, 9, 0, 0]);
        wrong("cuMemAdvise", &[managed, 4096, 7, 0]);
        wrong("cuMemAdvise_v2", &[place, 4096, 1, device]);
        wrong("cuStreamAttachMemAsync", &[0, managed, 0, 8]);
        let stale = ["cuMemPrefetchAsync", "cuMemPrefetchAsync_v2"];
        assert_eq!(call(stale[0], &[managed, 64, 0, 0x1234]), INVALID_HANDLE);
        assert_eq!(
            call(stale[1], &[managed, 64, device, 0, 0x1234]),
            INVALID_HANDLE
        );
        wrong("cuMemFreeHost", &[managed]);
        wrong("cuMemFree_v2", &[pinned]);
        wrong("cuMemFree_v2", &[managed + 8]);
        ok("cuMemsetD8_v2", &[managed, 3, 10_000]);
        ok("cuCtxSynchronize", &[]);
        // SAFETY: managed memory, which nobody writes now.
        assert_eq!(unsafe { *((managed + 9999) as *const u8) }, 3);
        ok("cuMemFree_v2", &[managed]);
        wrong("cuMemFree_v2", &[managed]);
        wrong("cuMemPrefetchAsync", &[managed, 64, 0, 0]);
        ok("cuMemFreeHost", &[pinned]);
    });
}

/// Memory that is freed in stream order is nobody else's until the stream gets there.
#[test]
fn stream_ordered_memory_is_free_in_its_turn() {
    let variables = [("GPUCKPT_MOCK", "slow-kernels=200000,memory=67108864")];
    alone(
        "stream_ordered_memory_is_free_in_its_turn",
        &variables,
        || {
            let context = primary();
            let pool: u64 = get("cuDeviceGetDefaultMemPool", &[0]);
            assert_eq!(get::<u64>("cuDeviceGetMemPool", &[0]), pool);
            ok("cuDeviceSetMemPool", &[0, pool]);
            let mut threshold = u64::MAX;
            ok("cuMemPoolSetAttribute", &[pool, 4, at(&mut threshold)]);
            ok("cuMemPoolTrimTo", &[pool, 0]);
            let mut value = 0u64;
            let place = at(&mut value);
            let stream: u64 = get("cuStreamCreate", &[1]);
            for (name, args, status) in [
                ("cuMemPoolSetAttribute", [pool, 5, place, 0], NOT_SUPPORTED),
                (
                    "cuMemPoolSetAttribute",
                    [pool ^ 99, 4, place, 0],
                    INVALID_VALUE,
                ),
                ("cuMemPoolCreate", [place, place, 0, 0], NOT_SUPPORTED),
                ("cuMemAllocAsync", [place, 0, stream, 0], INVALID_VALUE),
                ("cuMemAllocAsync", [0, 64, stream, 0], INVALID_VALUE),
                ("cuMemAllocAsync", [place, 64, 0x1234, 0], INVALID_HANDLE),
                (
                    "cuMemAllocAsync",
                    [place, 1 << 40, stream, 0],
                    OUT_OF_MEMORY,
                ),
                (
                    "cuMemAllocFromPoolAsync",
                    [place, 64, 7, stream],
                    INVALID_VALUE,
                ),
                ("cuMemFreeAsync", [0x1234, stream, 0, 0], INVALID_VALUE),
                ("cuDeviceGetDefaultMemPool", [place, 9, 0, 0], 101),
            ] {
                assert_eq!(call(name, &args), status, "{name}{args:x?}");
            }
            let module: u64 = get("cuModuleLoadData", &[ptx().as_ptr() as u64]);
            let bump_: u64 = get("cuModuleGetFunction", &[module, c"bump".as_ptr() as u64]);
            for (stream, alloc, free) in [
                (stream, "cuMemAllocAsync", "cuMemFreeAsync"),
                (0, "cuMemAllocAsync", "cuMemFreeAsync"),
                (0, "cuMemAllocAsync_ptsz", "cuMemFreeAsync_ptsz"),
            ] {
                // A kernel that works on the block when it is freed: others get other memory.
                let on = if alloc.ends_with("ptsz") { 2 } else { stream };
                let block: u64 = get(alloc, &[4096, stream]);
                ok("cuMemsetD32Async", &[block, 0, 1024, on]);
                bump(bump_, on, block, 1024, 5);
                ok(free, &[block, stream]);
                let wrong = [(free, vec![block, stream]), ("cuMemFree_v2", vec![block])];
                for (name, args) in wrong {
                    assert_eq!(call(name, &args), INVALID_VALUE, "{name}");
                }
                let other: u64 = get("cuMemAlloc_v2", &[4096]);
                assert_ne!(other, block, "{alloc}");
                ok("cuCtxSynchronize", &[]);
                let again: u64 = get("cuMemAllocFromPoolAsync", &[4096, pool, stream]);
                assert_eq!(again, block, "{alloc}: free once the kernel was done");
                ok("cuMemFree_v2", &[again]);
                ok(free, &[other, stream]);
            }
            // More than the device has, one after the other, and never a wait by the program.
            for _ in 0..6 {
                let large: u64 = get("cuMemAllocAsync", &[40 << 20, stream]);
                bump(bump_, stream, large, 64, 1);
                ok("cuMemFreeAsync", &[large, stream]);
            }
            // Memory that waits for its turn is in no image, and not in the next context's way.
            let last: u64 = get("cuMemAllocAsync", &[4096, stream]);
            bump(bump_, stream, last, 64, 1);
            ok("cuMemFreeAsync", &[last, stream]);
            interposer::drain(std::time::Instant::now() + std::time::Duration::from_secs(20))
                .unwrap();
            assert_eq!(interposer::summary().allocations, 0);
            assert!(
                interposer::device_regions()
                    .iter()
                    .all(|region| region.len < 4096)
            );
            interposer::resume();
            let last: u64 = get("cuMemAllocAsync", &[4096, stream]);
            bump(bump_, stream, last, 64, 1);
            ok("cuMemFreeAsync", &[last, stream]);
            ok("cuDevicePrimaryCtxReset_v2", &[0]);
            assert_eq!(primary(), context);
            let fresh: u64 = get("cuMemAllocAsync", &[4096, 0]);
            ok("cuMemsetD32_v2", &[fresh, 9, 1024]);
            assert_eq!(words(fresh, 1024), [9; 1024]);
        },
    );
}

/// What could not be freed is still there, and known.
#[test]
fn memory_that_was_not_freed_stays() {
    alone("memory_that_was_not_freed_stays", &[], || {
        let context = primary();
        let pinned: u64 = get("cuMemHostAlloc", &[4096, 0]);
        let managed: u64 = get("cuMemAllocManaged", &[4096, 1]);
        ok("cuCtxSetCurrent", &[0]);
        assert_eq!(call("cuMemFreeHost", &[pinned]), INVALID_CONTEXT);
        assert_eq!(call("cuMemFree_v2", &[managed]), INVALID_CONTEXT);
        ok("cuCtxSetCurrent", &[context]);
        for address in [pinned, managed] {
            ok("cuMemsetD8_v2", &[address, 3, 4096]);
            ok("cuCtxSynchronize", &[]);
            // SAFETY: memory that was not freed, and nobody writes now.
            assert_eq!(unsafe { *((address + 4095) as *const u8) }, 3);
        }
        ok("cuMemFreeHost", &[pinned]);
        ok("cuMemFree_v2", &[managed]);
        assert_eq!(call("cuMemFreeHost", &[pinned]), INVALID_VALUE);
        assert_eq!(call("cuMemFree_v2", &[managed]), INVALID_VALUE);
    });
}

/// Memory that is freed on a stream of another context ends with its own.
#[test]
fn stream_ordered_memory_ends_with_its_context() {
    let name = "stream_ordered_memory_ends_with_its_context";
    alone(name, &[("GPUCKPT_MOCK", "slow-kernels=300000")], || {
        ok("cuInit", &[0]);
        let owner: u64 = get("cuCtxCreate_v2", &[0, 0]);
        let freed: u64 = get("cuMemAlloc_v2", &[4096]);
        let _: u64 = get("cuCtxCreate_v2", &[0, 0]);
        let stream: u64 = get("cuStreamCreate", &[1]);
        let module: u64 = get("cuModuleLoadData", &[ptx().as_ptr() as u64]);
        let function: u64 = get("cuModuleGetFunction", &[module, c"bump".as_ptr() as u64]);
        let data: u64 = get("cuMemAlloc_v2", &[4096]);
        bump(function, stream, data, 64, 1);
        ok("cuMemFreeAsync", &[freed, stream]);
        ok("cuCtxDestroy_v2", &[owner]);
        // Another context gets the addresses; the stream is not there yet.
        let _: u64 = get("cuCtxCreate_v2", &[0, 0]);
        let mut all: Vec<u64> = (0..4).map(|_| get("cuMemAlloc_v2", &[4096])).collect();
        assert!(all.contains(&freed), "{freed:x} is not in {all:x?}");
        ok("cuStreamSynchronize", &[stream]);
        all.push(get("cuMemAllocAsync", &[4096, 0]));
        all.push(get("cuMemAlloc_v2", &[4096]));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6, "given out twice: {all:x?}");
    });
}

#[test]
fn what_is_refused_is_said_once() {
    let errors = alone("what_is_refused_is_said_once", &[], || {
        primary();
        let mut value = 0u64;
        for _ in 0..3 {
            assert_eq!(call("cuGraphCreate", &[at(&mut value), 0]), NOT_SUPPORTED);
            assert_eq!(
                call("cuMemPrefetchBatchAsync", &[0, 0, 0, 0, 0, 0, 0, 0]),
                NOT_SUPPORTED
            );
            assert_eq!(
                call("cuMemPrefetchBatchAsync_ptsz", &[0, 0, 0, 0, 0, 0, 0, 0]),
                NOT_SUPPORTED
            );
            assert_eq!(call("cuEventCreate", &[at(&mut value), 6]), NOT_SUPPORTED);
        }
        let table = [0u8; 16];
        for _ in 0..2 {
            assert_eq!(
                call("cuGetExportTable", &[at(&mut value), table.as_ptr() as u64]),
                NOT_FOUND
            );
        }
        assert!(interposer::preflight().is_empty());
        let attribute: i32 = get("cuDeviceGetAttribute", &[102, 0]);
        assert_eq!(
            attribute, 0,
            "virtual memory management is refused, so it is not advertised"
        );
    });
    if is_child("what_is_refused_is_said_once") {
        return;
    }
    let count = |what: &str| errors.matches(what).count();
    assert_eq!(
        count("gpuckpt: cuGraphCreate is not supported: graphs"),
        1,
        "{errors}"
    );
    assert_eq!(
        count("gpuckpt: cuMemPrefetchBatchAsync is not supported"),
        1,
        "{errors}"
    );
    assert_eq!(count("-cudart shared"), 1, "{errors}");
}

#[test]
fn a_child_of_a_fork_has_no_cuda() {
    alone("a_child_of_a_fork_has_no_cuda", &[], || {
        let fork = |expected: u32| {
            interposer::before_fork();
            // SAFETY: the child only makes calls and leaves.
            let pid = unsafe { libc::fork() };
            interposer::after_fork(pid == 0);
            if pid == 0 {
                let mut count = 0i32;
                let init = call("cuInit", &[0]);
                let status = call("cuDeviceGetCount", &[at(&mut count)]);
                // SAFETY: leaves without running anything of the parent's.
                unsafe { libc::_exit(i32::from(!(init == expected && status == expected))) };
            }
            let mut status = 0;
            // SAFETY: our own child.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            assert_eq!(status, 0);
        };
        fork(0);
        primary();
        fork(NOT_INITIALIZED);
        let block: u64 = get("cuMemAlloc_v2", &[64]);
        ok("cuMemFree_v2", &[block]);
    });
}

#[test]
fn refused_addresses_poison_but_do_not_stop() {
    let variables = [("GPUCKPT_MOCK", "refuse-address")];
    alone(
        "refused_addresses_poison_but_do_not_stop",
        &variables,
        || {
            primary();
            assert!(interposer::preflight().is_empty());
            let block: u64 = get("cuMemAlloc_v2", &[1 << 20]);
            ok("cuMemsetD32_v2", &[block, 42, 1000]);
            assert_eq!(words(block, 1000), [42; 1000]);
            let refusals = interposer::preflight();
            assert_eq!(refusals.len(), 1);
            assert!(refusals[0].why.contains("arena"), "{refusals:?}");
        },
    );
}

static ORDER: std::sync::Mutex<Vec<u64>> = std::sync::Mutex::new(Vec::new());

extern "C" fn host(data: u64) {
    std::thread::sleep(std::time::Duration::from_millis(2));
    ORDER.lock().unwrap().push(data);
}

extern "C" fn stream_callback(_stream: u64, status: u32, data: u64) {
    ORDER.lock().unwrap().push(data + u64::from(status));
}

#[test]
fn callbacks_run_in_stream_order_and_are_drained() {
    alone("callbacks_run_in_stream_order_and_are_drained", &[], || {
        primary();
        start_callback_thread();
        let stream: u64 = get("cuStreamCreate", &[1]);
        for i in 0..20u64 {
            if i % 2 == 0 {
                ok(
                    "cuLaunchHostFunc",
                    &[stream, host as extern "C" fn(u64) as usize as u64, i],
                );
            } else {
                let function = stream_callback as extern "C" fn(u64, u32, u64) as usize as u64;
                ok("cuStreamAddCallback", &[stream, function, i, 0]);
            }
        }
        interposer::drain(std::time::Instant::now() + std::time::Duration::from_secs(20)).unwrap();
        assert_eq!(*ORDER.lock().unwrap(), (0..20).collect::<Vec<u64>>());
        interposer::resume();
        // Nobody runs this one's callback in time: the drain ends at its deadline, the job goes on.
        ok(
            "cuLaunchHostFunc",
            &[
                stream,
                until_released as extern "C" fn(u64) as usize as u64,
                0,
            ],
        );
        let drained =
            interposer::drain(std::time::Instant::now() + std::time::Duration::from_millis(50));
        assert!(drained.is_err());
        RELEASED.store(true, std::sync::atomic::Ordering::Release);
        ok("cuStreamSynchronize", &[stream]);
        assert!(
            interposer::drain(std::time::Instant::now() + std::time::Duration::from_secs(20))
                .is_ok()
        );
    });
}

#[test]
fn objects_may_end_while_the_device_is_drained() {
    // A real driver may crash when it is asked about an object that is gone.
    let strict = [("GPUCKPT_MOCK", "stale-crash")];
    alone(
        "objects_may_end_while_the_device_is_drained",
        &strict,
        || {
            let context = primary();
            let stop = std::sync::atomic::AtomicBool::new(false);
            let busy = || !stop.load(std::sync::atomic::Ordering::Relaxed);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    ok("cuCtxSetCurrent", &[context]);
                    while busy() {
                        let stream: u64 = get("cuStreamCreate", &[1]);
                        ok("cuStreamDestroy_v2", &[stream]);
                    }
                });
                scope.spawn(|| {
                    while busy() {
                        let context: u64 = get("cuCtxCreate_v2", &[0, 0]);
                        ok("cuCtxDestroy_v2", &[context]);
                    }
                });
                for _ in 0..3000 {
                    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
                    let drained = interposer::drain(deadline);
                    if drained.is_err() {
                        stop.store(true, std::sync::atomic::Ordering::Relaxed);
                    }
                    drained.expect("no object is in an error state");
                }
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            });
        },
    );
}

static RELEASED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

extern "C" fn until_released(_: u64) {
    while !RELEASED.load(std::sync::atomic::Ordering::Acquire) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// The marks of such work end with their context, also when that is a primary one, which
/// keeps its handle: a driver that is asked about them may crash.
#[test]
fn marks_of_ended_streams_end_with_their_context() {
    let strict = [("GPUCKPT_MOCK", "stale-crash")];
    alone(
        "marks_of_ended_streams_end_with_their_context",
        &strict,
        || {
            start_callback_thread();
            let wait = until_released as extern "C" fn(u64) as usize as u64;
            let soon = || std::time::Instant::now() + std::time::Duration::from_secs(20);
            for end in ["cuDevicePrimaryCtxReset_v2", "cuDevicePrimaryCtxRelease_v2"] {
                RELEASED.store(false, std::sync::atomic::Ordering::Release);
                primary();
                let stream: u64 = get("cuStreamCreate", &[1]);
                ok("cuLaunchHostFunc", &[stream, wait, 0]);
                ok("cuStreamDestroy_v2", &[stream]);
                RELEASED.store(true, std::sync::atomic::Ordering::Release);
                ok(end, &[0]);
                primary();
                interposer::drain(soon()).unwrap();
                interposer::resume();
                ok("cuDevicePrimaryCtxRelease_v2", &[0]);
            }
        },
    );
}

/// A stream's work goes on when the stream has ended, and belongs to the image.
#[test]
fn work_of_streams_that_have_ended_is_drained() {
    alone("work_of_streams_that_have_ended_is_drained", &[], || {
        primary();
        start_callback_thread();
        let wait = until_released as extern "C" fn(u64) as usize as u64;
        for _ in 0..3 {
            // CU_STREAM_NON_BLOCKING: the default stream does not wait for it.
            let stream: u64 = get("cuStreamCreate", &[1]);
            ok("cuLaunchHostFunc", &[stream, wait, 0]);
            ok("cuStreamDestroy_v2", &[stream]);
        }
        let soon = |ms| std::time::Instant::now() + std::time::Duration::from_millis(ms);
        let busy = interposer::drain(soon(50));
        assert!(
            matches!(busy, Err(interposer::DrainError::Deadline { .. })),
            "{busy:?}"
        );
        interposer::resume();
        RELEASED.store(true, std::sync::atomic::Ordering::Release);
        interposer::drain(soon(20_000)).unwrap();
        interposer::resume();
        let before = interposer::snapshot_log().unwrap().len();
        let idle: u64 = get("cuStreamCreate", &[1]);
        ok("cuStreamDestroy_v2", &[idle]);
        assert_eq!(interposer::snapshot_log().unwrap().len(), before);
    });
}

#[test]
fn many_allocations_leave_nothing() {
    alone("many_allocations_leave_nothing", &[], || {
        primary();
        let before = interposer::snapshot_log().unwrap().len();
        for round in 0..200_000u64 {
            let block: u64 = get("cuMemAlloc_v2", &[64 + round % 5000]);
            ok("cuMemFree_v2", &[block]);
        }
        for _ in 0..10_000 {
            let event: u64 = get("cuEventCreate", &[2]);
            ok("cuEventDestroy_v2", &[event]);
        }
        let after = interposer::snapshot_log().unwrap().len();
        assert!(after < before + 200, "{before} -> {after}");
        let summary = interposer::summary();
        assert!(
            summary.records_total > 410_000 && summary.records_live < 10,
            "{summary:?}"
        );
    });
}

#[test]
fn an_allocation_repeats_the_error_of_a_broken_context() {
    const ILLEGAL_ADDRESS: u32 = 700;
    alone(
        "an_allocation_repeats_the_error_of_a_broken_context",
        &[],
        || {
            primary();
            let text = ptx();
            let module: u64 = get("cuModuleLoadData", &[text.as_ptr() as u64]);
            let name = c"bump".as_ptr() as u64;
            let function: u64 = get("cuModuleGetFunction", &[module, name]);
            let _: u64 = get("cuMemAlloc_v2", &[4096]);
            bump(function, 0, 0x70_0000_0000, 64, 1);
            assert_eq!(call("cuCtxSynchronize", &[]), ILLEGAL_ADDRESS);
            let mut address = 0u64;
            // Also where the arena would have room without the driver.
            for size in [16, 4096, 64 << 20] {
                let answer = call("cuMemAlloc_v2", &[at(&mut address), size]);
                assert_eq!(answer, ILLEGAL_ADDRESS, "{size} bytes");
            }
            // A reset gives a working context again.
            ok("cuDevicePrimaryCtxReset_v2", &[0]);
            primary();
            let _: u64 = get("cuMemAlloc_v2", &[4096]);
        },
    );
}
