//! Virtual memory management: reservations, physical memory, mappings, access.

use std::sync::atomic::Ordering;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{get, get_all, put, wanted};
use crate::call::{Answer, exports};
use crate::driver::{Driver, alive};
use crate::handles::Handle;
use crate::memory::{GRANULARITY, Kind, Physical};

/// The device that a location names.
fn device_at(driver: &Driver, location: CUmemLocation) -> Answer<usize> {
    match location.type_ {
        CU_MEM_LOCATION_TYPE_DEVICE => Ok(driver.device(location.id)?.ordinal),
        CU_MEM_LOCATION_TYPE_HOST
        | CU_MEM_LOCATION_TYPE_HOST_NUMA
        | CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT => Err(CUDA_ERROR_NOT_SUPPORTED),
        _ => Err(CUDA_ERROR_INVALID_VALUE),
    }
}

fn check_properties(
    driver: &Driver,
    properties: *const CUmemAllocationProp,
) -> Answer<(usize, CUmemAllocationProp)> {
    let properties = get(properties)?;
    if properties.type_ != CU_MEM_ALLOCATION_TYPE_PINNED {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    let device = device_at(driver, properties.location)?;
    if properties.requestedHandleTypes != 0 {
        // Nothing can be exported.
        return Err(CUDA_ERROR_NOT_SUPPORTED);
    }
    Ok((device, properties))
}

exports! {
    10020 "cuMemGetAllocationGranularity"
    fn cuMemGetAllocationGranularity(out: *mut usize, properties: *const CUmemAllocationProp, option: u32) {
        check_properties(alive()?, properties)?;
        if option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        put(out, GRANULARITY as usize)
    }
    10020 "cuMemAddressReserve"
    fn cuMemAddressReserve(out: *mut u64, size: usize, align: usize, wish: u64, flags: u64) {
        let driver = alive()?;
        wanted(out)?;
        let size = size as u64;
        if size == 0
            || !size.is_multiple_of(GRANULARITY)
            || (align != 0 && !align.is_power_of_two())
            || flags != 0
        {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let refuse = driver.config.refuse_address;
        put(out, driver.space.reserve(wish, size, align as u64, refuse)?)
    }
    10020 "cuMemAddressFree" fn cuMemAddressFree(address: u64, size: usize) {
        alive()?.space.unreserve(address, size as u64)
    }
    10020 "cuMemCreate"
    fn cuMemCreate(out: *mut Handle, size: usize, properties: *const CUmemAllocationProp, flags: u64) {
        let driver = alive()?;
        wanted(out)?;
        let (device, properties) = check_properties(driver, properties)?;
        let size = size as u64;
        if size == 0 || !size.is_multiple_of(GRANULARITY) || flags != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        put(out, driver.space.create_physical(driver, device, size, properties)?)
    }
    10020 "cuMemRelease" fn cuMemRelease(handle: Handle) {
        let driver = alive()?;
        let physical = driver.handles.get::<Physical>(handle)?;
        if physical.references.fetch_sub(1, Ordering::Relaxed) == 1 {
            driver.handles.remove::<Physical>(handle)?;
        }
        Ok(())
    }
    11000 "cuMemRetainAllocationHandle"
    fn cuMemRetainAllocationHandle(out: *mut Handle, address: u64) {
        let driver = alive()?;
        wanted(out)?;
        let mapping = driver.space.find(address).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let Kind::Virtual { physical, .. } = &mapping.kind else {
            return Err(CUDA_ERROR_INVALID_VALUE);
        };
        // Released before, and alive only by this mapping: the handle that it
        // had comes back.
        if physical.references.fetch_add(1, Ordering::Relaxed) == 0 {
            driver.handles.restore(physical.handle, physical);
        }
        put(out, physical.handle)
    }
    10020 "cuMemGetAllocationPropertiesFromHandle"
    fn cuMemGetAllocationPropertiesFromHandle(out: *mut CUmemAllocationProp, handle: Handle) {
        let physical = alive()?.handles.get::<Physical>(handle)?;
        put(out, physical.properties.0)
    }
    10020 "cuMemMap"
    fn cuMemMap(address: u64, size: usize, offset: usize, handle: Handle, flags: u64) {
        let driver = alive()?;
        if offset != 0 || flags != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let physical = driver.handles.get::<Physical>(handle)?;
        driver.space.map(address, size as u64, physical)
    }
    10020 "cuMemUnmap" fn cuMemUnmap(address: u64, size: usize) {
        let driver = alive()?;
        driver.space.virtual_mappings(address, size as u64)?;
        for device in 0..driver.devices.len() {
            driver.wait_for_device(device);
        }
        driver.space.unmap(address, size as u64)
    }
    10020 "cuMemSetAccess"
    fn cuMemSetAccess(address: u64, size: usize, list: *const CUmemAccessDesc, count: usize) {
        let driver = alive()?;
        if count == 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let list = get_all(list, count)?;
        for item in &list {
            device_at(driver, item.location)?;
            if !matches!(
                item.flags,
                CU_MEM_ACCESS_FLAGS_PROT_NONE
                    | CU_MEM_ACCESS_FLAGS_PROT_READ
                    | CU_MEM_ACCESS_FLAGS_PROT_READWRITE
            ) {
                return Err(CUDA_ERROR_INVALID_VALUE);
            }
        }
        for item in &list {
            let device = device_at(driver, item.location)?;
            driver.space.set_access(address, size as u64, device, item.flags as u8)?;
        }
        Ok(())
    }
    10020 "cuMemGetAccess"
    fn cuMemGetAccess(out: *mut u64, location: *const CUmemLocation, address: u64) {
        let driver = alive()?;
        let device = device_at(driver, get(location)?)?;
        let mapping = driver.space.find(address).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let Kind::Virtual { access, .. } = &mapping.kind else {
            return Err(CUDA_ERROR_INVALID_VALUE);
        };
        put(out, u64::from(*access.get(device).ok_or(CUDA_ERROR_INVALID_DEVICE)?))
    }
}
