//! Device memory: allocation from the arena, and what is asked about pointers.

use cuda_abi::driver::{
    CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_NOT_FOUND, CUDA_SUCCESS,
};

use super::context::device_of;
use super::{Call, generic};
use crate::arena::{ARENA, Block, Region};
use crate::driver;
use crate::guest;
use crate::handles::{Kind, Real, Virtual};
use crate::host;
use crate::memory;
use crate::table::ids;
use crate::threads;

/// What rows of pitched memory start at, as the driver's.
const PITCH: u64 = 512;

/// Current context and its device; the driver's own error when there is none.
fn current(call: &Call) -> Result<(Virtual, i32), u32> {
    if let Some(context) = threads::current()
        && let Some(device) = device_of(call.session, context)
    {
        return Ok((context, device));
    }
    let mut device = 0i32;
    let status = driver::call(ids::cuCtxGetDevice, &[driver::out(&mut device)]);
    Err(if status == CUDA_SUCCESS.0 {
        CUDA_ERROR_INVALID_CONTEXT.0
    } else {
        status
    })
}

/// `cuMemAlloc`
pub(crate) fn alloc(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let made = current(call)
        .and_then(|(context, device)| memory::allocate(call.session, context, device, call.arg(1)));
    match made {
        Ok(address) => {
            guest::write(call.arg(0), address);
            CUDA_SUCCESS.0
        }
        Err(status) => status,
    }
}

/// `cuMemAllocPitch`: dptr, pitch, width in bytes, height, element size.
pub(crate) fn alloc_pitch(call: &Call) -> u32 {
    let [width, height, element] = [call.arg(2), call.arg(3), call.arg(4) & 0xffff_ffff];
    if call.arg(0) == 0
        || call.arg(1) == 0
        || width == 0
        || height == 0
        || ![4, 8, 16].contains(&element)
    {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let Some(pitch) = width.checked_next_multiple_of(PITCH) else {
        return CUDA_ERROR_INVALID_VALUE.0;
    };
    let Some(size) = pitch.checked_mul(height) else {
        return CUDA_ERROR_INVALID_VALUE.0;
    };
    match current(call)
        .and_then(|(context, device)| memory::allocate(call.session, context, device, size))
    {
        Ok(address) => {
            guest::write(call.arg(0), address);
            guest::write(call.arg(1), pitch);
            CUDA_SUCCESS.0
        }
        Err(status) => status,
    }
}

/// `cuMemFree`
pub(crate) fn free(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_SUCCESS.0;
    }
    if call.session.host().managed_at(call.arg(0)) {
        return host::free(call.session, call.arg(0));
    }
    memory::free(call.session, call.arg(0))
}

/// `cuMemGetAddressRange`
pub(crate) fn address_range(call: &Call) -> u32 {
    let found = call
        .session
        .arena()
        .find(call.arg(2))
        .map(|(start, block, _)| (start, block.size));
    let Some((start, size)) = found else {
        return if ARENA.contains(&call.arg(2)) {
            CUDA_ERROR_NOT_FOUND.0
        } else {
            generic(call)
        };
    };
    if call.arg(0) != 0 {
        guest::write(call.arg(0), start);
    }
    if call.arg(1) != 0 {
        guest::write(call.arg(1), size);
    }
    CUDA_SUCCESS.0
}

/// `CU_POINTER_ATTRIBUTE_…` of arena memory; `None`: the driver has to answer.
fn own_attribute(
    attribute: u32,
    pointer: u64,
    start: u64,
    block: Block,
    region: &Region,
    data: u64,
) -> Option<u32> {
    match attribute {
        1 => guest::write(data, region.context.bits()),
        2 => guest::write(data, 2u32), // memory type: device
        3 => guest::write(data, pointer),
        4 => return Some(CUDA_ERROR_INVALID_VALUE.0), // no host pointer
        6 => guest::write(data, 1u32),                // copies of this memory synchronise
        7 => guest::write(data, block.id),
        8 => guest::write(data, 0u32), // not managed
        9 => guest::write(data, region.device),
        10 => guest::write(data, 0u32), // no IPC
        11 => guest::write(data, start),
        12 => guest::write(data, block.size),
        13 => guest::write(data, 1u32), // mapped
        14 => guest::write(data, 0u64), // no exportable handle types
        15 => guest::write(data, 0u32), // no GPUDirect RDMA
        16 => guest::write(data, 3u32), // read and write
        17 => guest::write(data, 0u64), // of no pool
        18 => guest::write(data, block.size),
        19 => guest::write(data, start),
        20 => guest::write(data, block.id),
        _ => return None,
    }
    Some(CUDA_SUCCESS.0)
}

/// One attribute of any pointer.
fn one(call: &Call, id: u32, data: u64, attribute: u32, pointer: u64) -> u32 {
    let own = {
        let arena = call.session.arena();
        arena
            .find(pointer)
            .map(|(start, block, region)| (start, block, region.clone()))
    };
    if let Some((start, block, region)) = own {
        return own_attribute(attribute, pointer, start, block, &region, data).unwrap_or_else(
            || {
                call.session.say_refused(
                    call.row,
                    &format!("pointer attribute {attribute} is not known"),
                );
                cuda_abi::driver::CUDA_ERROR_NOT_SUPPORTED.0
            },
        );
    }
    if ARENA.contains(&pointer) {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let managed = call
        .session
        .host()
        .find(pointer)
        .is_some_and(|(_, pinned)| pinned.managed());
    match attribute {
        // The driver knows it as registered host memory.
        2 if managed => {
            guest::write(data, 2u32);
            return CUDA_SUCCESS.0;
        }
        8 if managed => {
            guest::write(data, 1u32);
            return CUDA_SUCCESS.0;
        }
        _ => {}
    }
    if attribute == 1 {
        let mut context = 0u64;
        let status = driver::call(
            id,
            &[driver::out(&mut context), u64::from(attribute), pointer],
        );
        if status == CUDA_SUCCESS.0 {
            let handle = call
                .session
                .recorder()
                .find(Kind::Context, Real::from_driver(context));
            guest::write(data, handle.map_or(0, Virtual::bits));
        }
        return status;
    }
    driver::call(id, &[data, u64::from(attribute), pointer])
}

/// `cuPointerGetAttribute`: data, attribute, pointer.
pub(crate) fn attribute(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    one(
        call,
        call.row.id,
        call.arg(0),
        call.arg(1) as u32,
        call.arg(2),
    )
}

/// Bytes of an attribute's value, for those that are smaller than a word.
fn size_of(attribute: u32) -> usize {
    match attribute {
        1 | 3 | 4 | 7 | 11 | 12 | 14 | 17..=20 => 8,
        5 => 16,
        _ => 4,
    }
}

/// `cuPointerGetAttributes`: for a pointer that CUDA does not know, every value is zero and the call
/// succeeds.
pub(crate) fn attributes(call: &Call) -> u32 {
    let count = call.arg(0) as u32;
    if count == 0 || call.arg(1) == 0 || call.arg(2) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    for index in 0..u64::from(count) {
        let attribute: u32 = guest::read(call.arg(1) + 4 * index);
        let data: u64 = guest::read(call.arg(2) + 8 * index);
        if data == 0 {
            return CUDA_ERROR_INVALID_VALUE.0;
        }
        let status = one(
            call,
            ids::cuPointerGetAttribute,
            data,
            attribute,
            call.arg(3),
        );
        if status == CUDA_ERROR_INVALID_VALUE.0 {
            guest::write_bytes(data, &[0; 16][..size_of(attribute)]);
            if attribute == 9 {
                guest::write(data, -2i32);
            }
        } else if status != CUDA_SUCCESS.0 {
            return status;
        }
    }
    CUDA_SUCCESS.0
}

/// `cuPointerSetAttribute`: `CU_POINTER_ATTRIBUTE_SYNC_MEMOPS` alone exists, and arena memory has it.
pub(crate) fn set_attribute(call: &Call) -> u32 {
    if call.arg(0) == 0 || call.arg(1) as u32 != 6 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    if call.session.arena().find(call.arg(2)).is_some() {
        CUDA_SUCCESS.0
    } else {
        CUDA_ERROR_INVALID_VALUE.0
    }
}
