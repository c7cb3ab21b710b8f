//! The driver's functions for programs that use both APIs, and channel descriptions.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_char, c_int, c_uint, c_void};

use cuda_abi::driver::*;
use cuda_abi::runtime::{CudaChannelFormatDesc, cudaErrorInvalidValue};

use crate::driver::driver;
use crate::export::{Answer, Out};
use crate::version::version;

/// Finds a function of the driver in the form of API version `wanted`.
fn find(
    symbol: *const c_char,
    to: Out<*mut c_void>,
    wanted: c_int,
    flags: u64,
    status: Out<u32>,
) -> Answer {
    to.check()?;
    if symbol.is_null() {
        return Err(cudaErrorInvalidValue);
    }
    let (mut address, mut found) = (core::ptr::null_mut(), 0);
    let answer = driver()?.get_proc_address(symbol, &mut address, wanted, flags, &mut found);
    status.set_if_wanted(found);
    to.set(address)?;
    // A caller that takes the status learns there that the function is missing.
    if found != CU_GET_PROC_ADDRESS_SUCCESS && !status.pointer().is_null() {
        Ok(())
    } else {
        answer
    }
}

/// The flags of a program whose default stream is the thread's own.
fn per_thread(flags: u64) -> u64 {
    if flags == u64::from(CU_GET_PROC_ADDRESS_DEFAULT) {
        u64::from(CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
    } else {
        flags
    }
}

export! {
    fn cudaGetDriverEntryPoint(
        symbol: *const c_char,
        to: Out<*mut c_void>,
        flags: u64,
        status: Out<u32>,
    ) {
        find(symbol, to, version(), flags, status)
    }

    fn cudaGetDriverEntryPoint_ptsz(
        symbol: *const c_char,
        to: Out<*mut c_void>,
        flags: u64,
        status: Out<u32>,
    ) {
        find(symbol, to, version(), per_thread(flags), status)
    }

    fn cudaGetDriverEntryPointByVersion(
        symbol: *const c_char,
        to: Out<*mut c_void>,
        wanted: c_uint,
        flags: u64,
        status: Out<u32>,
    ) {
        find(symbol, to, c_int::try_from(wanted).unwrap_or(c_int::MAX), flags, status)
    }

    fn cudaGetDriverEntryPointByVersion_ptsz(
        symbol: *const c_char,
        to: Out<*mut c_void>,
        wanted: c_uint,
        flags: u64,
        status: Out<u32>,
    ) {
        find(symbol, to, c_int::try_from(wanted).unwrap_or(c_int::MAX), per_thread(flags), status)
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaCreateChannelDesc(
    x: c_int,
    y: c_int,
    z: c_int,
    w: c_int,
    f: c_uint,
) -> CudaChannelFormatDesc {
    CudaChannelFormatDesc { x, y, z, w, f }
}
