//! Pinned host memory.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_uint, c_void};

use cuda_abi::driver::CUdeviceptr;
use cuda_abi::runtime::*;

use crate::context::bind;
use crate::export::{Answer, Out};

/// The runtime's flags are the driver's.
fn allocate(to: Out<*mut c_void>, bytes: usize, flags: c_uint) -> Answer {
    to.check()?;
    let driver = bind()?;
    let mut address = core::ptr::null_mut();
    if bytes > 0 {
        driver.mem_host_alloc(&mut address, bytes, flags)?;
    }
    to.set(address)
}

export! {
    fn cudaMallocHost(to: Out<*mut c_void>, bytes: usize) {
        allocate(to, bytes, 0)
    }

    fn cudaHostAlloc(to: Out<*mut c_void>, bytes: usize, flags: c_uint) {
        allocate(to, bytes, flags)
    }

    fn cudaFreeHost(address: *mut c_void) {
        let driver = bind()?;
        if address.is_null() { Ok(()) } else { driver.mem_free_host(address) }
    }

    fn cudaHostRegister(address: *mut c_void, bytes: usize, flags: c_uint) {
        if address.is_null() || bytes == 0 {
            return Err(cudaErrorInvalidValue);
        }
        bind()?.mem_host_register(address, bytes, flags)
    }

    fn cudaHostUnregister(address: *mut c_void) {
        bind()?.mem_host_unregister(address)
    }

    fn cudaHostGetDevicePointer(to: Out<CUdeviceptr>, host: *mut c_void, flags: c_uint) {
        to.check()?;
        let mut address = 0;
        bind()?.mem_host_get_device_pointer(&mut address, host, flags)?;
        to.set(address)
    }

    fn cudaHostGetFlags(flags: Out<c_uint>, host: *mut c_void) {
        flags.check()?;
        bind()?.mem_host_get_flags(flags.pointer(), host)
    }
}
