//! Occupancy: how many blocks fit.

use cuda_abi::driver::CUoccupancyB2DSize;
use cuda_abi::driver::result::*;

use super::{put, put_if};
use crate::call::{Answer, exports};
use crate::device::{MAX_BLOCK_THREADS, SHARED_OPTIN, SHARED_PER_SM, SMS};
use crate::driver::alive;
use crate::handles::Handle;
use crate::launch::{function, resident_blocks};
use crate::thread;

fn max_active(out: *mut i32, handle: Handle, threads: i32, dynamic: usize) -> Answer {
    let function = function(alive()?, handle, &thread::current()?)?;
    let threads = u32::try_from(threads).ok().filter(|&t| t > 0);
    let threads = threads.ok_or(CUDA_ERROR_INVALID_VALUE)?;
    let dynamic = u32::try_from(dynamic).unwrap_or(u32::MAX);
    put(
        out,
        resident_blocks(function.kernel.info(), threads, dynamic) as i32,
    )
}

fn potential(
    min_grid: *mut i32,
    block: *mut i32,
    handle: Handle,
    to_dynamic: CUoccupancyB2DSize,
    dynamic: usize,
    limit: i32,
) -> Answer {
    let function = function(alive()?, handle, &thread::current()?)?;
    let info = function.kernel.info();
    let limit = match u32::try_from(limit) {
        Ok(0) => MAX_BLOCK_THREADS,
        Ok(limit) => limit.min(MAX_BLOCK_THREADS),
        Err(_) => return Err(CUDA_ERROR_INVALID_VALUE),
    };
    let limit = limit.min(info.max_threads);
    let mut best = (0, 0, 0);
    let sizes = (1..=limit.div_ceil(32))
        .rev()
        .map(|warps| (warps * 32).min(limit));
    for size in sizes {
        let dynamic = match to_dynamic {
            // SAFETY: the program's function, which takes a block size.
            Some(map) => unsafe { map(size as i32) },
            None => dynamic,
        };
        let dynamic = u32::try_from(dynamic).unwrap_or(u32::MAX);
        let blocks = resident_blocks(info, size, dynamic);
        if blocks * size > best.0 {
            best = (blocks * size, blocks, size);
        }
    }
    put(min_grid, (best.1 * SMS) as i32)?;
    put(block, best.2 as i32)
}

exports! {
    6050 "cuOccupancyMaxActiveBlocksPerMultiprocessor"
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: *mut i32, function: Handle, threads: i32, dynamic: usize) {
        max_active(out, function, threads, dynamic)
    }
    7000 "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags"
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        out: *mut i32, function: Handle, threads: i32, dynamic: usize, flags: u32,
    ) {
        if flags > 1 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        max_active(out, function, threads, dynamic)
    }
    6050 "cuOccupancyMaxPotentialBlockSize"
    fn cuOccupancyMaxPotentialBlockSize(
        min_grid: *mut i32, block: *mut i32, function: Handle,
        to_dynamic: CUoccupancyB2DSize, dynamic: usize, limit: i32,
    ) {
        potential(min_grid, block, function, to_dynamic, dynamic, limit)
    }
    7000 "cuOccupancyMaxPotentialBlockSizeWithFlags"
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        min_grid: *mut i32, block: *mut i32, function: Handle,
        to_dynamic: CUoccupancyB2DSize, dynamic: usize, limit: i32, flags: u32,
    ) {
        if flags > 1 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        potential(min_grid, block, function, to_dynamic, dynamic, limit)
    }
    10020 "cuOccupancyAvailableDynamicSMemPerBlock"
    fn cuOccupancyAvailableDynamicSMemPerBlock(out: *mut usize, handle: Handle, blocks: i32, threads: i32) {
        let function = function(alive()?, handle, &thread::current()?)?;
        let blocks = u32::try_from(blocks).ok().filter(|&b| b > 0).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let threads = u32::try_from(threads).ok().filter(|&t| t > 0).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        let info = function.kernel.info();
        if resident_blocks(info, threads, 0) < blocks {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let share = (SHARED_PER_SM / blocks).saturating_sub(1024).min(SHARED_OPTIN);
        put(out, share.saturating_sub(info.shared_size) as usize)
    }
    11070 "cuOccupancyMaxPotentialClusterSize"
    fn cuOccupancyMaxPotentialClusterSize(out: *mut i32, handle: Handle, _config: u64) {
        function(alive()?, handle, &thread::current()?)?;
        put_if(out, 1);
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
    11070 "cuOccupancyMaxActiveClusters"
    fn cuOccupancyMaxActiveClusters(out: *mut i32, handle: Handle, _config: u64) {
        function(alive()?, handle, &thread::current()?)?;
        put_if(out, 0);
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
}
