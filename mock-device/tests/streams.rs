//! Streams and events: order, default streams, callbacks, times.

mod common;
use common::*;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs `body` in a fresh context.
fn in_context(body: impl FnOnce(Handle)) {
    let context = new_context();
    body(context);
    ok!(cuCtxDestroy_v2(context));
}

#[test]
fn a_stream_keeps_its_order_and_others_go_on() {
    in_context(|_| {
        let (first, second) = (new_stream(0), new_stream(0));
        let (p, q) = (alloc(4), alloc(4));
        let gate = gate_on(first);
        for value in 0..100 {
            ok!(cuMemsetD32Async(p, value, 1, first));
        }
        ok!(cuMemsetD32Async(q, 5, 1, second));
        ok!(cuStreamSynchronize(second));
        ok!(cuStreamQuery(second));
        fails!(cuStreamQuery(first), CUDA_ERROR_NOT_READY);
        gate.open();
        ok!(cuStreamSynchronize(first));
        assert_eq!((words(p, 1)[0], words(q, 1)[0]), (99, 5));
    });
}

#[test]
fn events_order_streams() {
    in_context(|_| {
        let nonblocking = CU_STREAM_NON_BLOCKING;
        let (first, second) = (new_stream(nonblocking), new_stream(nonblocking));
        let event = new_event(CU_EVENT_DISABLE_TIMING);
        // Unrecorded: done, and nothing to wait for.
        ok!(cuEventQuery(event));
        ok!(cuEventSynchronize(event));
        ok!(cuStreamWaitEvent(second, event, 0));
        ok!(cuStreamSynchronize(second));

        let p = alloc(4);
        ok!(cuMemsetD32_v2(p, 0, 1));
        let gate = gate_on(first);
        ok!(cuMemsetD32Async(p, 1, 1, first));
        ok!(cuEventRecord(event, first));
        ok!(cuStreamWaitEvent(second, event, 0));
        ok!(cuMemsetD32Async(p, 2, 1, second));
        fails!(cuEventQuery(event), CUDA_ERROR_NOT_READY);
        fails!(cuStreamQuery(second), CUDA_ERROR_NOT_READY);
        // Recorded again later: the wait above is for the first record.
        let (third, later) = (new_stream(nonblocking), Arc::new(Gate::default()));
        later.close(third);
        ok!(cuEventRecord(event, third));
        gate.open();
        ok!(cuStreamSynchronize(second));
        fails!(cuEventQuery(event), CUDA_ERROR_NOT_READY);
        later.open();
        ok!(cuEventSynchronize(event));
        assert_eq!(words(p, 1), [2]);
        // Destroyed while waited for: the wait stays.
        let gate = gate_on(first);
        ok!(cuEventRecord(event, first));
        ok!(cuStreamWaitEvent(second, event, 0));
        ok!(cuEventDestroy_v2(event));
        fails!(cuEventDestroy_v2(event), CUDA_ERROR_INVALID_HANDLE);
        fails!(cuEventQuery(event), CUDA_ERROR_INVALID_HANDLE);
        fails!(cuStreamQuery(second), CUDA_ERROR_NOT_READY);
        gate.open();
        ok!(cuStreamSynchronize(second));
    });
}

#[test]
fn events_measure_time() {
    in_context(|_| {
        let stream = new_stream(0);
        let (start, end, untimed) = (
            new_event(0),
            new_event(0),
            new_event(CU_EVENT_DISABLE_TIMING),
        );
        fails!(
            cuEventElapsedTime(&mut 0.0, start, end),
            CUDA_ERROR_INVALID_HANDLE
        );
        ok!(cuEventRecord(start, stream));
        let gate = gate_on(stream);
        ok!(cuEventRecord(end, stream));
        ok!(cuEventRecord(untimed, stream));
        fails!(
            cuEventElapsedTime(&mut 0.0, start, end),
            CUDA_ERROR_NOT_READY
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
        gate.open();
        ok!(cuEventSynchronize(end));
        let time = out(|t| cuEventElapsedTime(t, start, end));
        assert!((5.0..10_000.0).contains(&time), "{time} ms");
        let back = out(|t| cuEventElapsedTime(t, end, start));
        assert!(back < 0.0);
        ok!(cuStreamSynchronize(stream));
        fails!(
            cuEventElapsedTime(&mut 0.0, start, untimed),
            CUDA_ERROR_INVALID_HANDLE
        );
    });
}

#[test]
fn the_legacy_stream_waits_for_blocking_streams_and_they_for_it() {
    in_context(|_| {
        let (blocking, free) = (new_stream(0), new_stream(CU_STREAM_NON_BLOCKING));
        let p = alloc(4);
        let gate = gate_on(blocking);
        ok!(cuMemsetD32Async(p, 1, 1, blocking));
        ok!(cuMemsetD32Async(p, 2, 1, 0)); // legacy
        let other = new_stream(0);
        ok!(cuMemsetD32Async(p, 3, 1, other)); // behind the legacy stream
        ok!(cuMemsetD32Async(p, 9, 1, free)); // behind nothing
        ok!(cuStreamSynchronize(free));
        assert_eq!(read_by(free, p), 9);
        for stream in [blocking, 0, 1, other] {
            fails!(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
        }
        gate.open();
        ok!(cuStreamSynchronize(other));
        assert_eq!(words(p, 1), [3]);
    });
}

/// Reads a word by way of a stream that waits for nothing.
fn read_by(stream: Handle, p: u64) -> u32 {
    let mut word = 0u32;
    ok!(cuMemcpyDtoHAsync_v2((&raw mut word).cast(), p, 4, stream));
    ok!(cuStreamSynchronize(stream));
    word
}

#[test]
fn synchronising_the_legacy_stream_waits_for_blocking_streams() {
    in_context(|_| {
        let (blocking, p) = (new_stream(0), alloc(4));
        let gate = gate_on(blocking);
        ok!(cuMemsetD32Async(p, 8, 1, blocking));
        fails!(cuStreamQuery(0), CUDA_ERROR_NOT_READY);
        let opener = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            gate.open();
        });
        ok!(cuStreamSynchronize(0));
        ok!(cuStreamQuery(blocking));
        opener.join().unwrap();
    });
}

#[test]
fn every_thread_has_a_default_stream_of_its_own() {
    in_context(|context| {
        let id = |per_thread| out(|i| cuStreamGetId(if per_thread { 2 } else { 0 }, i));
        assert_eq!(out(|i| cuStreamGetId_ptsz(0, i)), id(true));
        assert_eq!(out(|i| cuStreamGetId_ptsz(1, i)), id(false));
        assert_ne!(id(true), id(false));
        let mine = id(true);
        let p = alloc(4);
        ok!(cuMemsetD32_v2(p, 1, 1));
        let gate = Arc::new(Gate::default());
        gate.close(2);
        std::thread::spawn(move || {
            ok!(cuCtxSetCurrent(context));
            assert_ne!(out(|i| cuStreamGetId(2, i)), mine);
            // Its own default stream is not held by the other thread's...
            let mut word = 0u32;
            ok!(cuMemcpyDtoHAsync_v2_ptsz((&raw mut word).cast(), p, 4, 0));
            ok!(cuStreamSynchronize_ptsz(0));
            assert_eq!(word, 1);
            // ...but the legacy stream is.
            ok!(cuMemsetD32Async(p, 2, 1, 0));
            fails!(cuStreamQuery(0), CUDA_ERROR_NOT_READY);
            gate.open();
            ok!(cuStreamSynchronize(0));
        })
        .join()
        .unwrap();
        assert_eq!(words(p, 1), [2]);
    });
}

static CALLS: AtomicU32 = AtomicU32::new(0);

extern "C" fn forbidden(data: *mut c_void) {
    let answers = [
        cuMemAlloc_v2(&mut 0, 4),
        cuCtxSynchronize(),
        cuStreamSynchronize(0),
    ];
    let refused = answers.iter().all(|a| *a == CUDA_ERROR_NOT_PERMITTED);
    CALLS.fetch_add(if refused { data as u32 } else { 1000 }, Ordering::Relaxed);
}

extern "C" fn callback(stream: Handle, status: CUresult, data: *mut c_void) {
    assert_eq!(stream, data as u64);
    CALLS.fetch_add(100 + status.0, Ordering::Relaxed);
}

#[test]
fn callbacks_run_in_order_and_may_not_call_the_driver() {
    in_context(|_| {
        let stream = new_stream(0);
        ok!(cuLaunchHostFunc(
            stream,
            Some(forbidden),
            std::ptr::without_provenance_mut(1)
        ));
        ok!(cuStreamAddCallback(
            stream,
            Some(callback),
            stream as *mut c_void,
            0
        ));
        ok!(cuLaunchHostFunc(
            stream,
            Some(forbidden),
            std::ptr::without_provenance_mut(2)
        ));
        ok!(cuStreamSynchronize(stream));
        assert_eq!(CALLS.load(Ordering::Relaxed), 103);
        fails!(
            cuLaunchHostFunc(stream, None, std::ptr::null_mut()),
            CUDA_ERROR_INVALID_VALUE
        );
        fails!(
            cuStreamAddCallback(stream, Some(callback), std::ptr::null_mut(), 1),
            CUDA_ERROR_INVALID_VALUE
        );
        // The driver's threads take no signal.
        extern "C" fn mask(data: *mut c_void) {
            #[allow(unsafe_code, reason = "asks for the mask and stores it")]
            // SAFETY: `data` points to the test's variable, which waits.
            unsafe {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut set);
                *data.cast::<bool>() = libc::sigismember(&raw const set, libc::SIGUSR1) == 1;
            }
        }
        let mut blocked = false;
        ok!(cuLaunchHostFunc(
            stream,
            Some(mask),
            (&raw mut blocked).cast()
        ));
        ok!(cuStreamSynchronize(stream));
        assert!(blocked);
    });
}

#[test]
fn streams_describe_themselves() {
    in_context(|context| {
        let stream = out(|s| cuStreamCreateWithPriority(s, CU_STREAM_NON_BLOCKING, -99));
        assert_eq!(out(|p| cuStreamGetPriority(stream, p)), -5);
        assert_eq!(out(|f| cuStreamGetFlags(stream, f)), CU_STREAM_NON_BLOCKING);
        assert_eq!(out(|c| cuStreamGetCtx(stream, c)), context);
        fails!(cuStreamCreate(&mut 0, 8), CUDA_ERROR_INVALID_VALUE);
        fails!(cuStreamQuery(0x1000), CUDA_ERROR_INVALID_HANDLE);
        let event = new_event(0);
        fails!(cuStreamQuery(event), CUDA_ERROR_INVALID_HANDLE);
        fails!(cuStreamDestroy_v2(0), CUDA_ERROR_INVALID_HANDLE);
        ok!(cuStreamDestroy_v2(stream));
        fails!(cuStreamDestroy_v2(stream), CUDA_ERROR_INVALID_HANDLE);
        fails!(cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
    });
}

#[test]
fn a_destroyed_stream_finishes_its_work() {
    in_context(|_| {
        let (stream, p) = (new_stream(0), alloc(4));
        let gate = gate_on(stream);
        ok!(cuMemsetD32Async(p, 77, 1, stream));
        ok!(cuStreamDestroy_v2(stream));
        gate.open();
        // The legacy stream waits for it although it is gone.
        assert_eq!(words(p, 1), [77]);
    });
}

#[test]
fn an_event_belongs_to_its_context() {
    in_context(|_| {
        let event = new_event(0);
        let other = new_context();
        fails!(cuEventRecord(event, 0), CUDA_ERROR_INVALID_HANDLE);
        // Waiting for it from elsewhere is fine.
        ok!(cuStreamWaitEvent(0, event, 0));
        ok!(cuCtxDestroy_v2(other));
        ok!(cuEventRecord(event, 0));
        ok!(cuEventSynchronize(event));
    });
}
