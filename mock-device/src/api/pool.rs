//! Allocation in stream order, from each device's one pool. Memory is there at once, and goes when
//! the stream gets to its end.

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{get, put, wanted};
use crate::call::{Answer, exports};
use crate::driver::{Driver, alive};
use crate::handles::Handle;
use crate::memory::Kind;
use crate::stream::{Work, resolve};

/// Handles of the devices' pools count from here. No other handle is this large.
const POOLS: Handle = 0x7000_0000_0000_0000;

/// Attributes that say how a pool keeps memory: hints here, where it keeps none.
const HINTS: [u32; 4] = [
    CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES,
    CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC,
    CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES,
    CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
];

fn pool_of(out: *mut Handle, device: i32) -> Answer {
    wanted(out)?;
    alive()?.device(device)?;
    put(out, POOLS + device as u64)
}

/// The device of a pool.
fn owner(driver: &Driver, pool: Handle) -> Answer<usize> {
    let device = pool.checked_sub(POOLS).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    let device = usize::try_from(device).map_err(|_| CUDA_ERROR_INVALID_VALUE)?;
    driver.devices.get(device).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    Ok(device)
}

fn allocate(out: *mut u64, size: usize, pool: Option<Handle>, lane: (Handle, bool)) -> Answer {
    wanted(out)?;
    let driver = alive()?;
    let (context, _) = resolve(driver, lane.0, lane.1)?;
    let device = match pool {
        Some(pool) => owner(driver, pool)?,
        None => context.device,
    };
    let owner = context.generation();
    let start = driver.space.allocate(driver, device, owner, size as u64)?;
    put(out, start)
}

fn free(address: u64, lane: (Handle, bool)) -> Answer {
    let driver = alive()?;
    let (context, stream) = resolve(driver, lane.0, lane.1)?;
    let block = driver
        .space
        .starting_at(address, |m| matches!(m.kind, Kind::Block))
        .ok_or(CUDA_ERROR_INVALID_VALUE)?;
    let work = Work::device(move |_| {
        let gone = alive()?.space.remove(address, |m| m.id == block.id);
        gone.map(drop).ok_or(CUDA_ERROR_INVALID_VALUE)
    });
    context.submit(&stream, Vec::new(), work, false);
    Ok(())
}

exports! {
    11020 "cuMemAllocAsync"
    fn cuMemAllocAsync | cuMemAllocAsync_ptsz [per_thread] (out: *mut u64, size: usize, stream: Handle) {
        allocate(out, size, None, (stream, per_thread))
    }
    11020 "cuMemAllocFromPoolAsync"
    fn cuMemAllocFromPoolAsync | cuMemAllocFromPoolAsync_ptsz [per_thread] (out: *mut u64, size: usize, pool: Handle, stream: Handle) {
        allocate(out, size, Some(pool), (stream, per_thread))
    }
    11020 "cuMemFreeAsync"
    fn cuMemFreeAsync | cuMemFreeAsync_ptsz [per_thread] (address: u64, stream: Handle) {
        free(address, (stream, per_thread))
    }
    11020 "cuDeviceGetDefaultMemPool" fn cuDeviceGetDefaultMemPool(out: *mut Handle, device: i32) {
        pool_of(out, device)
    }
    11020 "cuDeviceGetMemPool" fn cuDeviceGetMemPool(out: *mut Handle, device: i32) {
        pool_of(out, device)
    }
    11020 "cuDeviceSetMemPool" fn cuDeviceSetMemPool(device: i32, pool: Handle) {
        let driver = alive()?;
        driver.device(device)?;
        if owner(driver, pool)? == device as usize {
            Ok(())
        } else {
            Err(CUDA_ERROR_INVALID_VALUE)
        }
    }
    11020 "cuMemPoolTrimTo" fn cuMemPoolTrimTo(pool: Handle, _keep: usize) {
        owner(alive()?, pool).map(drop)
    }
    11020 "cuMemPoolSetAttribute"
    fn cuMemPoolSetAttribute(pool: Handle, attribute: u32, value: *const u32) {
        owner(alive()?, pool)?;
        get(value)?;
        if HINTS.contains(&attribute) {
            Ok(())
        } else {
            Err(CUDA_ERROR_NOT_SUPPORTED)
        }
    }
}
