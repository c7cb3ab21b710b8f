//! Initialisation, devices, contexts: the documented codes, in any order.

mod common;
use common::*;

#[test]
fn nothing_works_before_init() {
    alone("nothing_works_before_init", "", || {
        fails!(cuDeviceGetCount(&mut 0), CUDA_ERROR_NOT_INITIALIZED);
        fails!(cuMemAlloc_v2(&mut 0, 16), CUDA_ERROR_NOT_INITIALIZED);
        fails!(cuCtxGetCurrent(&mut 0), CUDA_ERROR_NOT_INITIALIZED);
        assert!(out(cuDriverGetVersion) >= 12_000);
        fails!(cuInit(1), CUDA_ERROR_INVALID_VALUE);
        ok!(cuInit(0));
        ok!(cuInit(0));
        assert_eq!(out(cuDeviceGetCount), 1);
        fails!(cuMemAlloc_v2(&mut 0, 16), CUDA_ERROR_INVALID_CONTEXT);
    });
}

#[test]
fn a_device_describes_itself() {
    ok!(cuInit(0));
    assert_eq!(out(|d| cuDeviceGet(d, 0)), 0);
    fails!(cuDeviceGet(&mut 0, 1), CUDA_ERROR_INVALID_DEVICE);
    fails!(cuDeviceGet(&mut 0, -1), CUDA_ERROR_INVALID_DEVICE);
    fails!(
        cuDeviceGet(std::ptr::null_mut(), 0),
        CUDA_ERROR_INVALID_VALUE
    );
    for attribute in 1..=130 {
        out(|v| cuDeviceGetAttribute(v, attribute, 0));
    }
    fails!(
        cuDeviceGetAttribute(&mut 0, 9999, 0),
        CUDA_ERROR_INVALID_VALUE
    );
    let get = |attribute| out(|v| cuDeviceGetAttribute(v, attribute, 0));
    assert_eq!(get(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), 9);
    assert_eq!(get(CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
    assert_eq!(
        get(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED),
        1
    );

    let mut name = [0x7f; 8];
    ok!(cuDeviceGetName(name.as_mut_ptr(), 8, 0));
    assert_eq!(name.map(|b| b as u8), *b"gpuckpt\0");
    let mut id = [0; 16];
    fails!(
        cuDeviceGetPCIBusId(id.as_mut_ptr(), 5, 0),
        CUDA_ERROR_INVALID_VALUE
    );
    ok!(cuDeviceGetPCIBusId(id.as_mut_ptr(), 16, 0));
    assert_eq!(out(|d| cuDeviceGetByPCIBusId(d, id.as_ptr())), 0);
    let unknown = c("0000:99:00.0");
    fails!(
        cuDeviceGetByPCIBusId(&mut 0, unknown.as_ptr()),
        CUDA_ERROR_INVALID_DEVICE
    );
    assert_ne!(out::<[u8; 16]>(|u| cuDeviceGetUuid_v2(u, 0)), [0; 16]);
}

#[test]
fn contexts_form_a_stack_per_thread() {
    let first = new_context();
    let second = new_context();
    assert_ne!(first, second);
    assert_eq!(out(cuCtxGetCurrent), second);
    assert_eq!(out(cuCtxPopCurrent_v2), second);
    assert_eq!(out(cuCtxGetCurrent), first);
    ok!(cuCtxPushCurrent_v2(second));
    std::thread::spawn(move || {
        assert_eq!(out(cuCtxGetCurrent), 0);
        fails!(cuCtxPopCurrent_v2(&mut 0), CUDA_ERROR_INVALID_CONTEXT);
        ok!(cuCtxSetCurrent(first));
        assert_eq!(out(cuCtxGetCurrent), first);
        ok!(cuCtxSetCurrent(0));
        assert_eq!(out(cuCtxGetCurrent), 0);
    })
    .join()
    .unwrap();
    assert_eq!(out(cuCtxGetCurrent), second);

    ok!(cuCtxDestroy_v2(second));
    fails!(cuCtxDestroy_v2(second), CUDA_ERROR_INVALID_CONTEXT);
    fails!(cuCtxPushCurrent_v2(second), CUDA_ERROR_INVALID_CONTEXT);
    fails!(cuCtxSetCurrent(0x1234), CUDA_ERROR_INVALID_CONTEXT);
    assert_eq!(out(cuCtxGetCurrent), first);
    ok!(cuCtxDestroy_v2(first));
}

#[test]
fn a_context_that_another_thread_destroys_is_gone() {
    let context = new_context();
    let memory = alloc(16);
    std::thread::spawn(move || ok!(cuCtxDestroy_v2(context)))
        .join()
        .unwrap();
    fails!(cuMemAlloc_v2(&mut 0, 16), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    fails!(cuCtxSynchronize(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    assert_eq!(out(cuCtxPopCurrent_v2), context);
    let other = new_context();
    // Its memory went along.
    fails!(cuMemFree_v2(memory), CUDA_ERROR_INVALID_VALUE);
    ok!(cuCtxDestroy_v2(other));
}

#[test]
fn what_a_context_owns_ends_with_it() {
    let context = new_context();
    let (stream, event) = (new_stream(0), new_event(0));
    let host = out(|p| cuMemHostAlloc(p, 100, 0));
    ok!(cuCtxDestroy_v2(context));
    let other = new_context();
    fails!(cuStreamQuery(stream), CUDA_ERROR_INVALID_HANDLE);
    fails!(cuStreamDestroy_v2(stream), CUDA_ERROR_INVALID_HANDLE);
    fails!(cuEventQuery(event), CUDA_ERROR_INVALID_HANDLE);
    fails!(cuMemFreeHost(host), CUDA_ERROR_INVALID_VALUE);
    ok!(cuCtxDestroy_v2(other));
}

#[test]
fn the_primary_context_counts_its_users() {
    alone("the_primary_context_counts_its_users", "", || {
        ok!(cuInit(0));
        let state = || {
            let (mut flags, mut active) = (0, 0);
            ok!(cuDevicePrimaryCtxGetState(
                0,
                &raw mut flags,
                &raw mut active
            ));
            active
        };
        assert_eq!(state(), 0);
        fails!(cuDevicePrimaryCtxRelease_v2(0), CUDA_ERROR_INVALID_CONTEXT);
        let context = out(|c| cuDevicePrimaryCtxRetain(c, 0));
        assert_eq!(out(|c| cuDevicePrimaryCtxRetain(c, 0)), context);
        fails!(cuCtxDestroy_v2(context), CUDA_ERROR_INVALID_CONTEXT);
        ok!(cuCtxSetCurrent(context));
        let memory = alloc(16);
        ok!(cuDevicePrimaryCtxRelease_v2(0));
        assert_eq!(state(), 1);
        upload(memory, &[1; 16]);
        ok!(cuDevicePrimaryCtxRelease_v2(0));
        assert_eq!(state(), 0);
        fails!(cuMemAlloc_v2(&mut 0, 16), CUDA_ERROR_CONTEXT_IS_DESTROYED);
        // A new life under the same handle, without the old one's memory.
        assert_eq!(out(|c| cuDevicePrimaryCtxRetain(c, 0)), context);
        fails!(cuMemFree_v2(memory), CUDA_ERROR_INVALID_VALUE);
        ok!(cuDevicePrimaryCtxReset_v2(0));
        assert_eq!(state(), 0);
        ok!(cuDevicePrimaryCtxRelease_v2(0));
    });
}

#[test]
fn limits_are_kept() {
    let context = new_context();
    ok!(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 4096));
    assert_eq!(out(|v| cuCtxGetLimit(v, CU_LIMIT_STACK_SIZE)), 4096);
    fails!(cuCtxSetLimit(77, 1), CUDA_ERROR_INVALID_VALUE);
    ok!(cuCtxDestroy_v2(context));
}

#[test]
fn a_forked_child_is_not_initialised() {
    alone("a_forked_child_is_not_initialised", "", || {
        let context = new_context();
        // SAFETY: the child only makes calls that must fail, then leaves.
        #[allow(unsafe_code, reason = "forks")]
        let child = unsafe { libc::fork() };
        if child == 0 {
            let wrong = [
                cuInit(0),
                cuMemAlloc_v2(&mut 0, 16),
                cuCtxSynchronize(),
                cuDeviceGetCount(&mut 0),
            ]
            .into_iter()
            .filter(|code| *code != CUDA_ERROR_NOT_INITIALIZED)
            .count();
            // exit(), not _exit(): what runs there must not hang either.
            #[allow(unsafe_code, reason = "leaves the child")]
            // SAFETY: ends the process.
            unsafe {
                libc::exit(wrong as i32)
            };
        }
        let mut status = -1;
        #[allow(unsafe_code, reason = "waits for the child")]
        // SAFETY: the place for the status is ours.
        unsafe {
            libc::waitpid(child, &raw mut status, 0)
        };
        assert_eq!(status, 0);
        ok!(cuCtxSynchronize());
        ok!(cuCtxDestroy_v2(context));
    });
}
