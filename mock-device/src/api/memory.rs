//! Device memory: allocation and what is left.

use std::sync::atomic::Ordering;

use cuda_abi::driver::result::*;

use super::{put, put_if, wanted};
use crate::call::{Answer, exports};
use crate::driver::alive;
use crate::memory::Kind;
use crate::thread;

fn allocate(out: *mut u64, size: u64) -> Answer {
    wanted(out)?;
    let driver = alive()?;
    let context = thread::current()?;
    let owner = context.generation();
    let start = driver.space.allocate(driver, context.device, owner, size)?;
    put(out, start)
}

exports! {
    3020 "cuMemAlloc" fn cuMemAlloc_v2(out: *mut u64, size: usize) {
        allocate(out, size as u64)
    }
    3020 "cuMemAllocPitch"
    fn cuMemAllocPitch_v2(out: *mut u64, pitch: *mut usize, width: usize, height: usize, element: u32) {
        wanted(pitch)?;
        if width == 0 || height == 0 || !matches!(element, 4 | 8 | 16) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let row = width.checked_next_multiple_of(512).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let size = row.checked_mul(height).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        allocate(out, size as u64)?;
        put(pitch, row)
    }
    3020 "cuMemFree" fn cuMemFree_v2(address: u64) {
        let driver = alive()?;
        thread::current()?;
        let is_block =
            |m: &crate::memory::Mapping| matches!(m.kind, Kind::Block | Kind::Managed);
        let block = driver
            .space
            .starting_at(address, is_block)
            .ok_or(CUDA_ERROR_INVALID_VALUE)?;
        match block.kind {
            // Every device reaches it.
            Kind::Managed => (0..driver.devices.len()).for_each(|d| driver.wait_for_device(d)),
            _ => driver.wait_for_device(block.device),
        }
        driver
            .space
            .remove(address, |m| m.id == block.id)
            .map(drop)
            .ok_or(CUDA_ERROR_INVALID_VALUE)
    }
    3020 "cuMemGetInfo" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let driver = alive()?;
        let context = thread::current()?;
        let device = driver.devices.get(context.device).ok_or(CUDA_ERROR_INVALID_DEVICE)?;
        let used = device.used.load(Ordering::Relaxed);
        put_if(free, device.memory.saturating_sub(used) as usize);
        put_if(total, device.memory as usize);
        Ok(())
    }
    3020 "cuMemGetAddressRange"
    fn cuMemGetAddressRange_v2(base: *mut u64, size: *mut usize, address: u64) {
        let driver = alive()?;
        thread::current()?;
        let mapping = driver.space.find(address).ok_or(CUDA_ERROR_NOT_FOUND)?;
        put_if(base, mapping.start);
        put_if(size, mapping.size as usize);
        Ok(())
    }
}
