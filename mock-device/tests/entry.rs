//! Entry points, their versions and variants, and the texts of errors.

mod common;
use common::*;
use std::ffi::{CStr, c_void};

fn find(name: &str, version: i32, flags: u64) -> (CUresult, *mut c_void, u32) {
    let (name, mut at, mut status) = (c(name), std::ptr::null_mut(), 99);
    let code = cuGetProcAddress_v2(name.as_ptr(), &raw mut at, version, flags, &raw mut status);
    (code, at, status)
}

fn found(name: &str, version: i32, flags: u64) -> u64 {
    let (code, at, status) = find(name, version, flags);
    assert_eq!(
        (code, status),
        (CUDA_SUCCESS, CU_GET_PROC_ADDRESS_SUCCESS),
        "{name}"
    );
    at as u64
}

fn address(f: *const c_void) -> u64 {
    f as u64
}

#[allow(unsafe_code, reason = "names exported symbols")]
#[allow(
    clashing_extern_declarations,
    reason = "only their addresses are looked at"
)]
mod symbol {
    unsafe extern "C" {
        pub(crate) fn cuMemcpyHtoD_v2();
        pub(crate) fn cuMemcpyHtoD_v2_ptds();
        pub(crate) fn cuCtxCreate_v2();
        pub(crate) fn cuCtxCreate_v4();
        pub(crate) fn cuStreamGetCtx_ptsz();
        pub(crate) fn cuStreamGetCtx_v2_ptsz();
    }
}

#[test]
fn versions_and_variants_are_found() {
    let htod = symbol::cuMemcpyHtoD_v2 as *const c_void;
    let htod_ptds = symbol::cuMemcpyHtoD_v2_ptds as *const c_void;
    assert_eq!(found("cuMemcpyHtoD", 3020, 0), address(htod));
    assert_eq!(found("cuMemcpyHtoD", 12000, 1), address(htod));
    assert_eq!(found("cuMemcpyHtoD", 7000, 2), address(htod_ptds));
    assert_eq!(found("cuMemcpyHtoD", 4000, 2), address(htod));
    assert_eq!(
        found("cuCtxCreate", 3020, 0),
        address(symbol::cuCtxCreate_v2 as *const c_void)
    );
    assert_eq!(
        found("cuCtxCreate", 13000, 0),
        address(symbol::cuCtxCreate_v4 as *const c_void)
    );
    assert_eq!(
        found("cuStreamGetCtx", 12040, 2),
        address(symbol::cuStreamGetCtx_ptsz as *const c_void)
    );
    assert_eq!(
        found("cuStreamGetCtx", 13000, 2),
        address(symbol::cuStreamGetCtx_v2_ptsz as *const c_void)
    );
    let (code, at, status) = find("cuMemcpyHtoD", 2000, 0);
    assert_eq!(code, CUDA_ERROR_NOT_FOUND);
    assert!(at.is_null());
    assert_eq!(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    assert_eq!(
        find("cuNoSuchThing", 13000, 0).2,
        CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND
    );
    assert_eq!(find("cuInit", 13000, 77).0, CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn errors_have_names_and_texts() {
    let text = |call: fn(u32, *mut *const std::ffi::c_char) -> CUresult, code: CUresult| {
        let mut at = std::ptr::null();
        let answer = call(code.0, &raw mut at);
        #[allow(unsafe_code, reason = "reads the driver's text")]
        // SAFETY: the driver's texts are constants that end with NUL.
        let text = (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) }.to_str().unwrap());
        (answer, text)
    };
    let name = text(cuGetErrorName, CUDA_ERROR_OUT_OF_MEMORY);
    assert_eq!(name, (CUDA_SUCCESS, Some("CUDA_ERROR_OUT_OF_MEMORY")));
    assert_eq!(
        text(cuGetErrorString, CUDA_ERROR_OUT_OF_MEMORY).1,
        Some("out of memory")
    );
    assert_eq!(
        text(cuGetErrorName, CUresult(12345)),
        (CUDA_ERROR_INVALID_VALUE, None)
    );
}

#[test]
fn private_tables_belong_to_another_driver() {
    let (mut table, id) = (std::ptr::dangling(), [0u8; 16]);
    fails!(
        cuGetExportTable(&raw mut table, id.as_ptr().cast()),
        CUDA_ERROR_NOT_FOUND
    );
    assert!(table.is_null());
}

#[test]
fn a_call_on_a_foreign_thread_pointer_stops_the_process() {
    let name = "a_call_on_a_foreign_thread_pointer_stops_the_process";
    if is_child(name) {
        new_context();
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code, reason = "moves the thread pointer away")]
        // SAFETY: none; the process is expected to die in the call. The block
        // is large and zero, so that reads relative to it are defined.
        unsafe {
            let block = Box::leak(vec![0u64; 1 << 17].into_boxed_slice());
            let middle = block.as_ptr().add(1 << 16) as u64;
            *block.as_mut_ptr().add(1 << 16) = middle; // the pointer to itself
            libc::syscall(libc::SYS_arch_prctl, 0x1002, middle);
            cuCtxSynchronize();
            libc::_exit(7);
        }
    }
    let status = child(name, "").status;
    assert_eq!(status.code(), None, "it went on: {status}");
}
