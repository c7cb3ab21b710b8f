//! Pinned host memory: allocated here, or registered by the program.

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{put, wanted};
use crate::call::{Answer, exports};
use crate::driver::alive;
use crate::memory::{Backing, Kind, Mapping, host_is_mapped};
use crate::thread;

fn allocate(out: *mut u64, size: usize, flags: u32) -> Answer {
    wanted(out)?;
    let driver = alive()?;
    let context = thread::current()?;
    if size == 0 || flags > 7 {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    // Whole pages, as a driver would pin them.
    let size = size
        .checked_next_multiple_of(4096)
        .ok_or(CUDA_ERROR_OUT_OF_MEMORY)?
        .max(1 << 16) as u64;
    let backing = Backing::zeroed(size, None).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
    let kind = Kind::HostAllocated(flags);
    let owner = context.generation();
    let start = driver
        .space
        .add_host(backing, size, context.device, owner, kind)?;
    put(out, start)
}

fn register(address: u64, size: usize, flags: u32) -> Answer {
    let driver = alive()?;
    let context = thread::current()?;
    if address == 0 || size == 0 || flags > 15 || address.checked_add(size as u64).is_none() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    if u64::from(flags) & CU_MEMHOSTREGISTER_IOMEMORY != 0 {
        return Err(CUDA_ERROR_NOT_SUPPORTED);
    }
    let size = size as u64;
    if !host_is_mapped(address, size) {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    let (backing, kind) = (Backing::foreign(address, size), Kind::HostRegistered(flags));
    let owner = context.generation();
    driver
        .space
        .add_host(backing, size, context.device, owner, kind)
        .map(drop)
}

fn is_allocated(mapping: &Mapping) -> bool {
    matches!(mapping.kind, Kind::HostAllocated(_))
}

fn is_registered(mapping: &Mapping) -> bool {
    matches!(mapping.kind, Kind::HostRegistered(_))
}

exports! {
    2020 "cuMemHostAlloc" fn cuMemHostAlloc(out: *mut u64, size: usize, flags: u32) {
        allocate(out, size, flags)
    }
    3020 "cuMemAllocHost" fn cuMemAllocHost_v2(out: *mut u64, size: usize) {
        allocate(out, size, 0)
    }
    2000 "cuMemFreeHost" fn cuMemFreeHost(address: u64) {
        let driver = alive()?;
        thread::current()?;
        let found = driver.space.starting_at(address, is_allocated);
        let device = found.ok_or(CUDA_ERROR_INVALID_VALUE)?.device;
        driver.wait_for_device(device);
        let gone = driver.space.remove(address, is_allocated);
        gone.map(drop).ok_or(CUDA_ERROR_INVALID_VALUE)
    }
    4000 "cuMemHostRegister" fn cuMemHostRegister(address: u64, size: usize, flags: u32) {
        register(address, size, flags)
    }
    6050 "cuMemHostRegister" fn cuMemHostRegister_v2(address: u64, size: usize, flags: u32) {
        register(address, size, flags)
    }
    4000 "cuMemHostUnregister" fn cuMemHostUnregister(address: u64) {
        let driver = alive()?;
        thread::current()?;
        if address == 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let missing = CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
        let found = driver.space.starting_at(address, is_registered);
        found.ok_or(missing)?;
        for device in 0..driver.devices.len() {
            driver.wait_for_device(device);
        }
        let gone = driver.space.remove(address, is_registered);
        gone.map(drop).ok_or(missing)
    }
    3020 "cuMemHostGetDevicePointer"
    fn cuMemHostGetDevicePointer_v2(out: *mut u64, address: u64, flags: u32) {
        let driver = alive()?;
        thread::current()?;
        if flags != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let mapping = driver.space.find(address).filter(|m| m.is_host());
        mapping.ok_or(CUDA_ERROR_INVALID_VALUE)?;
        put(out, address)
    }
    2030 "cuMemHostGetFlags" fn cuMemHostGetFlags(out: *mut u32, address: u64) {
        let driver = alive()?;
        thread::current()?;
        match driver.space.find(address).map(|m| m.kind.clone()) {
            // All pinned memory is mapped and portable under unified
            // addressing.
            Some(Kind::HostAllocated(flags)) => put(out, flags | CU_MEMHOSTALLOC_DEVICEMAP as u32),
            _ => Err(CUDA_ERROR_INVALID_VALUE),
        }
    }
}
