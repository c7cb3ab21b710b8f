//! Entry points and the texts of errors.

use std::ffi::{c_char, c_void};

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{TABLES, name, put, put_if, wanted};
use crate::call::{Answer, Export, exports};

/// The newest form of a function that `version` knows: its export, or how the
/// search ended.
fn find(base: &str, version: i32, per_thread: bool) -> Result<&'static Export, u32> {
    let all = || TABLES.iter().copied().flatten().filter(|e| e.base == base);
    if all().next().is_none() {
        return Err(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    }
    let newest = |per_thread: bool| {
        all()
            .filter(|e| e.version <= version && e.per_thread == per_thread)
            .max_by_key(|e| e.version)
    };
    let plain = newest(false);
    let found = match newest(true) {
        // The variant of that same form, not of an older one.
        Some(variant)
            if per_thread && plain.is_none_or(|p| variant.symbol.starts_with(p.symbol)) =>
        {
            Some(variant)
        }
        _ => plain,
    };
    found.ok_or(CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT)
}

fn look_up(
    symbol: *const c_char,
    out: *mut *mut c_void,
    version: i32,
    flags: u64,
    status: *mut u32,
    per_thread: bool,
) -> Answer {
    wanted(out)?;
    let base = name(symbol)?;
    let per_thread = match flags as u32 {
        CU_GET_PROC_ADDRESS_DEFAULT => per_thread,
        CU_GET_PROC_ADDRESS_LEGACY_STREAM => false,
        CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM => true,
        _ => return Err(CUDA_ERROR_INVALID_VALUE),
    };
    match find(&base, version, per_thread) {
        Ok(export) => {
            put_if(status, CU_GET_PROC_ADDRESS_SUCCESS);
            put(
                out,
                std::ptr::with_exposed_provenance_mut((export.address)()),
            )
        }
        Err(why) => {
            put_if(status, why);
            put(out, std::ptr::null_mut())?;
            Err(CUDA_ERROR_NOT_FOUND)
        }
    }
}

exports! {
    @any 11030 "cuGetProcAddress"
    fn cuGetProcAddress(symbol: *const c_char, out: *mut *mut c_void, version: i32, flags: u64) {
        look_up(symbol, out, version, flags, std::ptr::null_mut(), false)
    }
    @any 12000 "cuGetProcAddress"
    fn cuGetProcAddress_v2 | cuGetProcAddress_v2_ptsz [per_thread]
    (symbol: *const c_char, out: *mut *mut c_void, version: i32, flags: u64, status: *mut u32) {
        look_up(symbol, out, version, flags, status, per_thread)
    }
    @any 3000 "cuGetExportTable" fn cuGetExportTable(out: *mut *const c_void, _id: *const c_void) {
        // Private tables belong to NVIDIA's driver alone.
        put_if(out, std::ptr::null());
        Err(CUDA_ERROR_NOT_FOUND)
    }
    @any 6000 "cuGetErrorName" fn cuGetErrorName(error: u32, out: *mut *const c_char) {
        wanted(out)?;
        let text = CUresult(error).name_c();
        put(out, text.map_or(std::ptr::null(), std::ffi::CStr::as_ptr))?;
        text.map(drop).ok_or(CUDA_ERROR_INVALID_VALUE)
    }
    @any 6000 "cuGetErrorString" fn cuGetErrorString(error: u32, out: *mut *const c_char) {
        wanted(out)?;
        let text = CUresult(error).text_c();
        put(out, text.map_or(std::ptr::null(), std::ffi::CStr::as_ptr))?;
        text.map(drop).ok_or(CUDA_ERROR_INVALID_VALUE)
    }
}
