//! `cuGetErrorName` and `cuGetErrorString`: constants of this library, because an application keeps
//! the pointers and the driver that would own them is another one after a restart.
#![allow(
    unsafe_code,
    reason = "answers a C interface: writes a pointer through the caller's pointer"
)]

use std::ffi::{CStr, c_char};

use cuda_abi::driver::CUresult;

const SUCCESS: u32 = 0;
const INVALID_VALUE: u32 = 1;

fn answer(text: Option<&'static CStr>, out: *mut *const c_char) -> u32 {
    if out.is_null() {
        return INVALID_VALUE;
    }
    let (pointer, status) =
        text.map_or((std::ptr::null(), INVALID_VALUE), |t| (t.as_ptr(), SUCCESS));
    // SAFETY: not null, and the caller's by the documentation.
    unsafe { out.write(pointer) };
    status
}

/// `cuGetErrorName`.
#[unsafe(no_mangle)]
pub extern "C" fn gpuckpt_upper_cuGetErrorName(error: u32, out: *mut *const c_char) -> u32 {
    answer(CUresult(error).name_c(), out)
}

/// `cuGetErrorString`.
#[unsafe(no_mangle)]
pub extern "C" fn gpuckpt_upper_cuGetErrorString(error: u32, out: *mut *const c_char) -> u32 {
    answer(CUresult(error).text_c(), out)
}
