//! Memory pools: the driver's, with the driver's attributes and structures.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_int, c_void};

use cuda_abi::driver::*;

use crate::context::bind;
use crate::driver::driver;
use crate::export::Out;

export! {
    fn cudaDeviceGetDefaultMemPool(pool: Out<CUmemoryPool>, device: c_int) {
        pool.check()?;
        driver()?.device_get_default_mem_pool(pool.pointer(), device)
    }

    fn cudaDeviceGetMemPool(pool: Out<CUmemoryPool>, device: c_int) {
        pool.check()?;
        driver()?.device_get_mem_pool(pool.pointer(), device)
    }

    fn cudaDeviceSetMemPool(device: c_int, pool: CUmemoryPool) {
        driver()?.device_set_mem_pool(device, pool)
    }

    fn cudaMemPoolCreate(pool: Out<CUmemoryPool>, properties: *const CUmemPoolProps) {
        pool.check()?;
        driver()?.mem_pool_create(pool.pointer(), properties)
    }

    fn cudaMemPoolDestroy(pool: CUmemoryPool) {
        driver()?.mem_pool_destroy(pool)
    }

    fn cudaMemPoolTrimTo(pool: CUmemoryPool, keep: usize) {
        bind()?.mem_pool_trim_to(pool, keep)
    }

    fn cudaMemPoolSetAttribute(
        pool: CUmemoryPool,
        attribute: CUmemPool_attribute,
        value: *mut c_void,
    ) {
        driver()?.mem_pool_set_attribute(pool, attribute, value)
    }

    fn cudaMemPoolGetAttribute(
        pool: CUmemoryPool,
        attribute: CUmemPool_attribute,
        value: *mut c_void,
    ) {
        driver()?.mem_pool_get_attribute(pool, attribute, value)
    }

    fn cudaMemPoolSetAccess(pool: CUmemoryPool, access: *const CUmemAccessDesc, count: usize) {
        driver()?.mem_pool_set_access(pool, access, count)
    }

    fn cudaMemPoolGetAccess(
        flags: Out<CUmemAccess_flags>,
        pool: CUmemoryPool,
        location: *mut CUmemLocation,
    ) {
        flags.check()?;
        driver()?.mem_pool_get_access(flags.pointer(), pool, location)
    }
}
