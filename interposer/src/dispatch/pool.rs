//! Allocation in stream order. Memory comes from the arena at once, and its addresses are free
//! again when the stream has got to where it was freed. Each device has its one pool, whose
//! attributes are hints; others are refused.

use std::time::{Duration, Instant};

use cuda_abi::driver::{
    CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_DEVICE, CUDA_ERROR_INVALID_VALUE,
    CUDA_ERROR_OUT_OF_MEMORY, CUDA_SUCCESS,
};

use super::Call;
use super::context::{device_of, with_current};
use crate::driver::{self, out};
use crate::endings::Freed;
use crate::guest;
use crate::handles::{Kind, Real, Virtual};
use crate::memory;
use crate::table::ids;
use crate::threads;

/// The application's handles of the devices' pools count from here: no virtual handle is like it.
const POOLS: u64 = 0x7070_0000_0000_0000;

/// How long memory that is about to be free is waited for, while other objects end.
const PATIENCE: Duration = Duration::from_secs(1);

/// The legacy default stream, and the calling thread's.
const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;

/// Reuse by events, by luck, by dependencies of the pool's own; how much memory it keeps.
const HINTS: std::ops::RangeInclusive<u32> = 1..=4;

fn exists(device: i32) -> Result<(), u32> {
    let mut count = 0i32;
    let status = driver::call(ids::cuDeviceGetCount, &[out(&mut count)]);
    if status != CUDA_SUCCESS.0 {
        Err(status)
    } else if (0..count).contains(&device) {
        Ok(())
    } else {
        Err(CUDA_ERROR_INVALID_DEVICE.0)
    }
}

/// The device of a pool.
fn owner(pool: u64) -> Result<i32, u32> {
    let device = pool.checked_sub(POOLS).and_then(|d| i32::try_from(d).ok());
    let device = device.ok_or(CUDA_ERROR_INVALID_VALUE.0)?;
    exists(device).map_err(|_| CUDA_ERROR_INVALID_VALUE.0)?;
    Ok(device)
}

/// A stream as the driver's event calls take it, and its context.
fn stream(call: &Call, index: usize) -> Result<(u64, Virtual), u32> {
    let real = match call.real(index, Kind::Stream)? {
        0 if call.row.per_thread => PER_THREAD,
        0 => LEGACY,
        real => real,
    };
    if real <= PER_THREAD {
        let context = threads::current().ok_or(CUDA_ERROR_INVALID_CONTEXT.0)?;
        return Ok((real, context));
    }
    let mut context = 0u64;
    let status = driver::call(ids::cuStreamGetCtx, &[real, out(&mut context)]);
    if status != CUDA_SUCCESS.0 {
        return Err(status);
    }
    let context = Real::from_driver(context);
    let found = call.session.recorder().find(Kind::Context, context);
    Ok((real, found.ok_or(CUDA_ERROR_INVALID_CONTEXT.0)?))
}

fn give(call: &Call, at: usize, device: Option<i32>) -> Result<(), u32> {
    let session = call.session;
    if call.arg(0) == 0 || call.arg(1) == 0 {
        return Err(CUDA_ERROR_INVALID_VALUE.0);
    }
    let (_, context) = stream(call, at)?;
    let own = device_of(session, context).ok_or(CUDA_ERROR_INVALID_CONTEXT.0)?;
    if device.is_some_and(|device| device != own) {
        // Another device's memory would need access between them.
        return Err(call.refuse("memory of another device's pool is not mapped for this one"));
    }
    session.orphans.tidy(session);
    let allocate = || {
        let made = with_current(session, context, || {
            memory::allocate(session, context, own, call.arg(1))
        });
        made.and_then(|made| made)
    };
    let made = match allocate() {
        // Memory may be about to be free.
        Err(status) if status == CUDA_ERROR_OUT_OF_MEMORY.0 && !session.orphans.is_empty() => {
            with_current(session, context, || {
                driver::call(ids::cuCtxSynchronize, &[])
            })?;
            let deadline = Instant::now() + PATIENCE;
            session.orphans.tidy_until(session, deadline);
            allocate()
        }
        made => made,
    };
    guest::write(call.arg(0), made?);
    Ok(())
}

fn status(result: Result<(), u32>) -> u32 {
    result.err().unwrap_or(CUDA_SUCCESS.0)
}

/// `cuMemAllocAsync`: dptr, bytes, stream.
pub(crate) fn alloc(call: &Call) -> u32 {
    status(give(call, 2, None))
}

/// `cuMemAllocFromPoolAsync`: dptr, bytes, pool, stream.
pub(crate) fn alloc_from(call: &Call) -> u32 {
    status(owner(call.arg(2)).and_then(|device| give(call, 3, Some(device))))
}

fn take(call: &Call) -> Result<(), u32> {
    let session = call.session;
    let (stream, context) = stream(call, 1)?;
    session.orphans.tidy(session);
    let address = call.arg(0);
    let broken = session.arena().broken(context);
    if let Some(status) = broken {
        return Err(status);
    }
    let removed = session.arena().remove_block(address);
    let (block, region) = removed.ok_or(CUDA_ERROR_INVALID_VALUE.0)?;
    let owner = region.context;
    let freed = Freed {
        address,
        block,
        owner,
    };
    if !session.orphans.free_after(session, context, stream, freed) {
        let status = driver::call(ids::cuStreamSynchronize, &[stream]);
        memory::release(session, address, block);
        if status != CUDA_SUCCESS.0 {
            return Err(status);
        }
    }
    Ok(())
}

/// `cuMemFreeAsync`: dptr, stream.
pub(crate) fn free(call: &Call) -> u32 {
    status(take(call))
}

/// `cuDeviceGetDefaultMemPool` and `cuDeviceGetMemPool`: pool, device.
pub(crate) fn of_device(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let device = call.arg(1) as i32;
    status(exists(device).map(|()| guest::write(call.arg(0), POOLS + device as u64)))
}

/// `cuDeviceSetMemPool`: device, pool. There is no other to choose.
pub(crate) fn choose(call: &Call) -> u32 {
    let device = call.arg(0) as i32;
    let chosen = exists(device).and_then(|()| owner(call.arg(1)));
    status(chosen.and_then(|of| {
        if of == device {
            Ok(())
        } else {
            Err(CUDA_ERROR_INVALID_VALUE.0)
        }
    }))
}

/// `cuMemPoolSetAttribute`: pool, attribute, value.
pub(crate) fn set_attribute(call: &Call) -> u32 {
    if let Err(status) = owner(call.arg(0)) {
        return status;
    }
    if call.arg(2) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    if HINTS.contains(&(call.arg(1) as u32)) {
        return CUDA_SUCCESS.0;
    }
    call.refuse("what a pool's memory amounts to is not recorded")
}

/// `cuMemPoolTrimTo`: pool, bytes to keep.
pub(crate) fn trim(call: &Call) -> u32 {
    status(owner(call.arg(0)).map(drop))
}
