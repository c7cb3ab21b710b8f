//! Managed memory. On the mock device it is memory of the application's window that the driver
//! knows, as pinned memory is: host and kernels reach it at one address, and it is saved and
//! registered again as that is. A real driver moves its managed memory behind our back: there it
//! is refused.

use cuda_abi::driver::{
    CU_DEVICE_CPU, CUDA_ERROR_INVALID_DEVICE, CUDA_ERROR_INVALID_VALUE, CUDA_SUCCESS,
};

use super::Call;
use crate::driver;
use crate::guest;
use crate::handles::Kind;
use crate::host::{self, MANAGED};
use crate::table::ids;
use crate::threads;

const REFUSED: &str = "managed memory moves behind our back";

/// `cuMemAllocManaged`: dptr, bytes, flags.
pub(crate) fn alloc(call: &Call) -> u32 {
    if !call.session.options.mock {
        return call.refuse(REFUSED);
    }
    // CU_MEM_ATTACH_GLOBAL or CU_MEM_ATTACH_HOST.
    if call.arg(0) == 0 || !matches!(call.arg(2) as u32, 1 | 2) {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    match host::allocate(call.session, call.arg(1), MANAGED, threads::current()) {
        Ok(address) => {
            guest::write(call.arg(0), address);
            CUDA_SUCCESS.0
        }
        Err(status) => status,
    }
}

/// That a range lies in managed memory.
fn check(call: &Call, address: u64, bytes: u64) -> Result<(), u32> {
    let host = call.session.host();
    let found = host.find(address).filter(|(_, pinned)| pinned.managed());
    let (start, pinned) = found.ok_or(CUDA_ERROR_INVALID_VALUE.0)?;
    if bytes > pinned.len - (address - start) {
        return Err(CUDA_ERROR_INVALID_VALUE.0);
    }
    Ok(())
}

/// That a device exists, or is the host.
fn device(number: i32) -> Result<(), u32> {
    let mut count = 0i32;
    let status = driver::call(ids::cuDeviceGetCount, &[driver::out(&mut count)]);
    if status != CUDA_SUCCESS.0 {
        return Err(status);
    }
    if number == CU_DEVICE_CPU || (0..count).contains(&number) {
        Ok(())
    } else {
        Err(CUDA_ERROR_INVALID_DEVICE.0)
    }
}

/// The same of a `CUmemLocation`, which is passed by value: its type, then its id.
fn location(bits: u64) -> Result<(), u32> {
    match (bits as u32, (bits >> 32) as i32) {
        (1, number) if number >= 0 => device(number),
        (1, _) => Err(CUDA_ERROR_INVALID_DEVICE.0),
        (2..=4, _) => Ok(()),
        _ => Err(CUDA_ERROR_INVALID_VALUE.0),
    }
}

/// A hint: nothing to do once it is known to make sense.
fn hint(call: &Call, checked: impl FnOnce() -> Result<(), u32>) -> u32 {
    if !call.session.options.mock {
        return call.refuse(REFUSED);
    }
    checked().err().unwrap_or(CUDA_SUCCESS.0)
}

fn prefetched(call: &Call, stream: usize) -> Result<(), u32> {
    call.real(stream, Kind::Stream)?;
    if call.arg(1) == 0 {
        return Err(CUDA_ERROR_INVALID_VALUE.0);
    }
    check(call, call.arg(0), call.arg(1))
}

/// `cuMemPrefetchAsync`: address, bytes, device, stream.
pub(crate) fn prefetch(call: &Call) -> u32 {
    hint(call, || {
        device(call.arg(2) as i32)?;
        prefetched(call, 3)
    })
}

/// Its second form: address, bytes, location, flags, stream.
pub(crate) fn prefetch_v2(call: &Call) -> u32 {
    hint(call, || {
        location(call.arg(2))?;
        if call.arg(3) as u32 != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE.0);
        }
        prefetched(call, 4)
    })
}

fn advised(call: &Call) -> Result<(), u32> {
    if call.arg(1) == 0 || !(1..=6).contains(&(call.arg(2) as u32)) {
        return Err(CUDA_ERROR_INVALID_VALUE.0);
    }
    check(call, call.arg(0), call.arg(1))
}

/// `cuMemAdvise`: address, bytes, advice, device.
pub(crate) fn advise(call: &Call) -> u32 {
    hint(call, || {
        device(call.arg(3) as i32)?;
        advised(call)
    })
}

/// Its second form: address, bytes, advice, location.
pub(crate) fn advise_v2(call: &Call) -> u32 {
    hint(call, || {
        // Advice that names no place ignores it.
        if !matches!(call.arg(2) as u32, 1 | 2 | 4) {
            location(call.arg(3))?;
        }
        advised(call)
    })
}

/// `cuStreamAttachMemAsync`: stream, address, bytes or 0 for all, flags.
pub(crate) fn attach(call: &Call) -> u32 {
    hint(call, || {
        call.real(0, Kind::Stream)?;
        if !matches!(call.arg(3) as u32, 1 | 2 | 4) {
            return Err(CUDA_ERROR_INVALID_VALUE.0);
        }
        check(call, call.arg(1), call.arg(2))
    })
}
