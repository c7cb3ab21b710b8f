//! Device memory at addresses of our choosing: reserve, create, map, and undo.
//!
//! The driver half of [`crate::arena`]. Every function here may call the driver and holds no lock
//! while it does.

use cuda_abi::driver::{
    CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_OUT_OF_MEMORY, CUDA_SUCCESS, CUmemAccessDesc,
    CUmemAllocationProp, CUmemAllocationPropFlags, CUmemLocation,
};

use crate::arena::{ARENA, Block, Region};
use crate::dispatch::context::with_current;
use crate::driver::{self, input, out};
use crate::handles::Virtual;
use crate::session::Session;
use crate::table::ids;
use crate::threads;

/// How many places of the arena are tried when the driver refuses addresses.
const ATTEMPTS: usize = 16;

fn on_device(device: i32) -> CUmemLocation {
    CUmemLocation {
        type_: 1,
        id: device,
    }
}

fn properties(device: i32) -> CUmemAllocationProp {
    CUmemAllocationProp {
        type_: 1,
        requestedHandleTypes: 0,
        location: on_device(device),
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: CUmemAllocationPropFlags {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}

/// The device's allocation granularity.
pub(crate) fn granularity(session: &Session, device: i32) -> Result<u64, u32> {
    if let Some(bytes) = session.arena().granularity(device) {
        return Ok(bytes);
    }
    let mut bytes = 0usize;
    let properties = properties(device);
    let status = driver::call(
        ids::cuMemGetAllocationGranularity,
        &[out(&mut bytes), input(&properties), 0],
    );
    if status != CUDA_SUCCESS.0 {
        return Err(status);
    }
    let bytes = (bytes as u64).max(4096);
    session.arena().set_granularity(device, bytes);
    Ok(bytes)
}

/// Reserves address space at `wished`, or says where the driver put it instead.
fn reserve(wished: u64, len: u64) -> Result<u64, u32> {
    let mut base = 0u64;
    let status = driver::call(
        ids::cuMemAddressReserve,
        &[out(&mut base), len, 0, wished, 0],
    );
    if status == CUDA_SUCCESS.0 {
        Ok(base)
    } else {
        Err(status)
    }
}

fn unreserve(base: u64, len: u64) {
    driver::call(ids::cuMemAddressFree, &[base, len]);
}

/// Puts memory behind a reserved range.
fn back(base: u64, len: u64, device: i32) -> Result<(), u32> {
    let mut memory = 0u64;
    let properties = properties(device);
    let status = driver::call(
        ids::cuMemCreate,
        &[out(&mut memory), len, input(&properties), 0],
    );
    if status != CUDA_SUCCESS.0 {
        return Err(status);
    }
    let status = driver::call(ids::cuMemMap, &[base, len, 0, memory, 0]);
    // The mapping keeps the memory alive; without one it goes with the handle.
    driver::call(ids::cuMemRelease, &[memory]);
    if status != CUDA_SUCCESS.0 {
        return Err(status);
    }
    let access = CUmemAccessDesc {
        location: on_device(device),
        flags: 3,
    };
    let status = driver::call(ids::cuMemSetAccess, &[base, len, input(&access), 1]);
    if status != CUDA_SUCCESS.0 {
        driver::call(ids::cuMemUnmap, &[base, len]);
        return Err(status);
    }
    Ok(())
}

/// Address space of the arena that the driver agrees to, or the driver's own choice when it refuses
/// the arena: the application goes on, the session cannot be checkpointed.
fn place(session: &Session, len: u64) -> Result<u64, u32> {
    let mut elsewhere = None;
    let mut failure = CUDA_ERROR_OUT_OF_MEMORY.0;
    for _ in 0..ATTEMPTS {
        let wished = session.arena().take_space(len);
        let Some(wished) = wished else { break };
        match reserve(wished, len) {
            Ok(base) if base == wished => {
                if let Some(other) = elsewhere {
                    unreserve(other, len);
                }
                return Ok(base);
            }
            Ok(base) => {
                if let Some(other) = elsewhere.replace(base) {
                    unreserve(other, len);
                }
            }
            Err(status) => {
                failure = status;
                break;
            }
        }
    }
    let base = elsewhere.ok_or(failure)?;
    session.poison(format!(
        "the driver gives no addresses in the arena: device memory at {base:#x} could not get its address again"
    ));
    Ok(base)
}

/// Maps a new region for a context.
fn map(
    session: &Session,
    len: u64,
    context: Virtual,
    device: i32,
    slab: bool,
) -> Result<Region, u32> {
    let base = place(session, len)?;
    if let Err(status) = back(base, len, device) {
        unreserve(base, len);
        session.arena().give_space(base, len);
        return Err(status);
    }
    Ok(Region {
        base,
        len,
        context,
        device,
        slab,
    })
}

/// Maps a region of an earlier life at its address.
pub(crate) fn map_again(session: &Session, region: &Region) -> Result<(), String> {
    let Region {
        base, len, device, ..
    } = *region;
    if !session.arena().take_space_at(base, len) {
        return Err(format!(
            "device memory at {base:#x} (+{len:#x}): the address is taken"
        ));
    }
    match reserve(base, len) {
        Ok(got) if got == base => {}
        Ok(got) => {
            unreserve(got, len);
            return Err(format!(
                "device memory at {base:#x} (+{len:#x}): the driver gives {got:#x} instead"
            ));
        }
        Err(status) => {
            return Err(format!(
                "device memory at {base:#x} (+{len:#x}): {}",
                crate::dispatch::text(status)
            ));
        }
    }
    back(base, len, device).map_err(|status| {
        format!(
            "device memory at {base:#x} (+{len:#x}) on device {device}: {}",
            crate::dispatch::text(status)
        )
    })
}

fn unmap(session: &Session, region: &Region) {
    driver::call(ids::cuMemUnmap, &[region.base, region.len]);
    unreserve(region.base, region.len);
    session.arena().give_space(region.base, region.len);
}

/// Allocates for a context.
pub(crate) fn allocate(
    session: &Session,
    context: Virtual,
    device: i32,
    size: u64,
) -> Result<u64, u32> {
    if size == 0 {
        return Err(CUDA_ERROR_INVALID_VALUE.0);
    }
    {
        let mut arena = session.arena();
        // Memory of ours would hide what the driver says to every call now.
        if let Some(status) = arena.broken(context) {
            return Err(status);
        }
        if let Some(address) = arena.cut_small(context, size) {
            return Ok(address);
        }
    }
    granularity(session, device)?;
    let (len, slab) = session
        .arena()
        .region_for(size, device)
        .ok_or(CUDA_ERROR_OUT_OF_MEMORY.0)?;
    if len > ARENA.end - ARENA.start {
        return Err(CUDA_ERROR_OUT_OF_MEMORY.0);
    }
    let region = map(session, len, context, device, slab)?;
    let base = region.base;
    let mut arena = session.arena();
    arena.add_region(region);
    if slab {
        return arena
            .cut_small(context, size)
            .ok_or(CUDA_ERROR_OUT_OF_MEMORY.0);
    }
    arena.note_large(base, size);
    Ok(base)
}

/// Frees a block, after everything that its context does is done, as the driver's free waits.
pub(crate) fn free(session: &Session, address: u64) -> u32 {
    let removed = session.arena().remove_block(address);
    let Some((block, region)) = removed else {
        return CUDA_ERROR_INVALID_VALUE.0;
    };
    let wait = || driver::call(ids::cuCtxSynchronize, &[]);
    let status = if threads::current() == Some(region.context) {
        wait()
    } else {
        with_current(session, region.context, wait).unwrap_or_else(|status| status)
    };
    release(session, address, block);
    status
}

/// The memory of a block that has left the books is free.
pub(crate) fn release(session: &Session, address: u64, block: Block) {
    let empty = session.arena().release(address, block);
    if let Some(region) = empty {
        unmap(session, &region);
    }
}

/// A context has ended, and its memory with it.
pub(crate) fn context_ended(session: &Session, context: Virtual) {
    let gone = session.arena().end_context(context);
    for region in gone {
        unmap(session, &region);
    }
}
