//! Managed memory: on this device host memory that kernels reach, so that it never moves.
//! Advice and prefetches are checked, and change nothing that a program could see.

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{put, wanted};
use crate::call::{Answer, exports};
use crate::driver::{Driver, alive};
use crate::handles::Handle;
use crate::memory::{Backing, Kind};
use crate::stream::resolve;
use crate::thread;

/// `CU_MEM_ATTACH_GLOBAL | CU_MEM_ATTACH_HOST`: one of them.
const ATTACHED: [u32; 2] = [1, 2];

/// `CU_MEM_ATTACH_SINGLE` as well, for a stream.
const ATTACHED_TO_STREAM: [u32; 3] = [1, 2, 4];

/// `CU_MEM_ADVISE_…`
const ADVICE: std::ops::RangeInclusive<u32> = 1..=6;

/// Checks that all of a range is managed memory.
fn managed(driver: &Driver, address: u64, size: usize) -> Answer {
    let mapping = driver.space.find(address);
    let mapping = mapping.filter(|m| matches!(m.kind, Kind::Managed));
    let left = mapping.ok_or(CUDA_ERROR_INVALID_VALUE)?.end() - address;
    if size as u64 > left {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    Ok(())
}

/// A device, or the host.
fn place(driver: &Driver, device: i32) -> Answer {
    if device != CU_DEVICE_CPU {
        driver.device(device)?;
    }
    Ok(())
}

/// A `CUmemLocation` passed by value: its type, and behind it its id.
fn location(driver: &Driver, location: u64) -> Answer {
    match location as u32 {
        // CU_MEM_LOCATION_TYPE_DEVICE
        1 => driver.device((location >> 32) as i32).map(drop),
        // …_HOST, …_HOST_NUMA, …_HOST_NUMA_CURRENT
        2..=4 => Ok(()),
        _ => Err(CUDA_ERROR_INVALID_VALUE),
    }
}

fn prefetch(address: u64, size: usize, stream: Handle, per_thread: bool) -> Answer {
    let driver = alive()?;
    resolve(driver, stream, per_thread)?;
    if size == 0 {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    managed(driver, address, size)
}

fn advise(address: u64, size: usize, advice: u32) -> Answer {
    let driver = alive()?;
    if size == 0 || !ADVICE.contains(&advice) {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    managed(driver, address, size)
}

exports! {
    6000 "cuMemAllocManaged" fn cuMemAllocManaged(out: *mut u64, size: usize, flags: u32) {
        wanted(out)?;
        let driver = alive()?;
        let context = thread::current()?;
        if size == 0 || !ATTACHED.contains(&flags) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let size = size.checked_next_multiple_of(4096).ok_or(CUDA_ERROR_OUT_OF_MEMORY)? as u64;
        let backing = Backing::zeroed(size, None).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        let owner = context.generation();
        let start = driver
            .space
            .add_host(backing, size, context.device, owner, Kind::Managed)?;
        put(out, start)
    }
    8000 "cuMemPrefetchAsync"
    fn cuMemPrefetchAsync | cuMemPrefetchAsync_ptsz [per_thread] (address: u64, size: usize, device: i32, stream: Handle) {
        place(alive()?, device)?;
        prefetch(address, size, stream, per_thread)
    }
    12020 "cuMemPrefetchAsync"
    fn cuMemPrefetchAsync_v2 | cuMemPrefetchAsync_v2_ptsz [per_thread] (address: u64, size: usize, to: u64, flags: u32, stream: Handle) {
        location(alive()?, to)?;
        if flags != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        prefetch(address, size, stream, per_thread)
    }
    8000 "cuMemAdvise" fn cuMemAdvise(address: u64, size: usize, advice: u32, device: i32) {
        place(alive()?, device)?;
        advise(address, size, advice)
    }
    12020 "cuMemAdvise" fn cuMemAdvise_v2(address: u64, size: usize, advice: u32, to: u64) {
        // Advice that names no place ignores it.
        if !matches!(advice, 1 | 2 | 4) {
            location(alive()?, to)?;
        }
        advise(address, size, advice)
    }
    6000 "cuStreamAttachMemAsync"
    fn cuStreamAttachMemAsync | cuStreamAttachMemAsync_ptsz [per_thread] (stream: Handle, address: u64, size: usize, flags: u32) {
        let driver = alive()?;
        resolve(driver, stream, per_thread)?;
        if !ATTACHED_TO_STREAM.contains(&flags) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        managed(driver, address, size)
    }
}
