//! Pinned host memory, as the application asks for it.

use cuda_abi::driver::{CUDA_ERROR_INVALID_VALUE, CUDA_SUCCESS};

use super::{Call, generic};
use crate::guest;
use crate::host::{self, Pinned};
use crate::threads;

/// `CU_MEMHOSTALLOC_PORTABLE | …_DEVICEMAP | …_WRITECOMBINED`
const ALLOC_FLAGS: u64 = 7;

fn give(call: &Call, flags: u64) -> u32 {
    if call.arg(0) == 0 || flags & !ALLOC_FLAGS != 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    match host::allocate(call.session, call.arg(1), flags as u32, threads::current()) {
        Ok(address) => {
            guest::write(call.arg(0), address);
            CUDA_SUCCESS.0
        }
        Err(status) => status,
    }
}

/// `cuMemAllocHost`
pub(crate) fn alloc(call: &Call) -> u32 {
    give(call, 0)
}

/// `cuMemHostAlloc`
pub(crate) fn alloc_flags(call: &Call) -> u32 {
    give(call, call.arg(2) & 0xffff_ffff)
}

/// `cuMemFreeHost`
pub(crate) fn free(call: &Call) -> u32 {
    if call.session.host().managed_at(call.arg(0)) {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    host::free(call.session, call.arg(0))
}

/// `CU_MEMHOSTREGISTER_IOMEMORY`
const IO_MEMORY: u32 = 4;

/// `cuMemHostRegister`
pub(crate) fn register(call: &Call) -> u32 {
    let flags = call.arg(2) as u32;
    if flags & IO_MEMORY != 0 {
        return call.refuse("registered I/O memory belongs to another device");
    }
    let status = call.driver(&[call.arg(0), call.arg(1), call.arg(2)]);
    if status == CUDA_SUCCESS.0 {
        let context = threads::current();
        let pinned = Pinned {
            len: call.arg(1),
            flags,
            registered: flags,
            ours: false,
            context,
            device_pointer: None,
        };
        let mut host = call.session.host();
        host.events += 1;
        host.ranges.insert(call.arg(0), pinned);
    }
    status
}

/// `cuMemHostUnregister`
pub(crate) fn unregister(call: &Call) -> u32 {
    let ours = call
        .session
        .host()
        .ranges
        .get(&call.arg(0))
        .is_some_and(|pinned| pinned.ours);
    if ours {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let status = call.driver(&[call.arg(0)]);
    if status == CUDA_SUCCESS.0 {
        host::unregistered(call.session, call.arg(0));
    }
    status
}

/// `cuMemHostGetDevicePointer`: the answer may be in kernels' hands, so a restart verifies it.
pub(crate) fn device_pointer(call: &Call) -> u32 {
    let status = generic(call);
    if status == CUDA_SUCCESS.0 {
        let given: u64 = guest::read(call.arg(0));
        let mut host = call.session.host();
        let start = host.find(call.arg(1)).map(|(start, _)| start);
        if let Some(start) = start
            && let Some(pinned) = host.ranges.get_mut(&start)
        {
            pinned.device_pointer = Some(given.wrapping_sub(call.arg(1) - start));
        }
    }
    status
}

/// `cuMemHostGetFlags`: of our allocations, what the application asked for.
pub(crate) fn flags(call: &Call) -> u32 {
    let own = call
        .session
        .host()
        .find(call.arg(1))
        .filter(|(_, pinned)| pinned.ours)
        .map(|(_, pinned)| pinned.flags);
    match own {
        Some(flags) if call.arg(0) == 0 || flags & host::MANAGED != 0 => CUDA_ERROR_INVALID_VALUE.0,
        Some(flags) => {
            // With unified addressing every allocation is mapped, and says so.
            guest::write(call.arg(0), flags | 2);
            CUDA_SUCCESS.0
        }
        None => generic(call),
    }
}
