//! Copies of plain ranges, and copies between memory and variables of modules.
#![allow(
    unsafe_code,
    reason = "exports symbols by name and copies between host ranges"
)]

use core::ffi::c_void;

use cuda_abi::driver::{CUdeviceptr, CUstream};
use cuda_abi::runtime::*;

use crate::context::bind;
use crate::driver::Driver;
use crate::export::Answer;
use crate::stream::{PER_THREAD, WhenDone};
use crate::symbol;

/// One copy; addresses are as the application gave them, host or device.
#[derive(Clone, Copy)]
struct Copy {
    dst: CUdeviceptr,
    src: CUdeviceptr,
    bytes: usize,
    kind: cudaMemcpyKind,
}

impl Copy {
    /// Does the copy on the legacy default stream and waits as the API demands.
    fn now(self, driver: &Driver) -> Answer {
        let Self {
            dst,
            src,
            bytes,
            kind,
        } = self;
        match kind {
            cudaMemcpyHostToHost => {
                driver.stream_synchronize(core::ptr::null_mut())?;
                // SAFETY: two host ranges of the application, of that length by the API's
                // contract; `copy` allows them to overlap.
                unsafe { core::ptr::copy(host(src).cast::<u8>(), host(dst).cast::<u8>(), bytes) };
                Ok(())
            }
            cudaMemcpyHostToDevice => driver.memcpy_htod(dst, host(src), bytes),
            cudaMemcpyDeviceToHost => driver.memcpy_dtoh(host(dst), src, bytes),
            cudaMemcpyDeviceToDevice => driver.memcpy_dtod(dst, src, bytes),
            cudaMemcpyDefault => driver.memcpy(dst, src, bytes),
            _ => Err(cudaErrorInvalidMemcpyDirection),
        }
    }

    /// Queues the copy on a stream.
    fn queue(self, driver: &Driver, stream: CUstream) -> Answer {
        let Self {
            dst,
            src,
            bytes,
            kind,
        } = self;
        match kind {
            cudaMemcpyHostToDevice => driver.memcpy_htod_async(dst, host(src), bytes, stream),
            cudaMemcpyDeviceToHost => driver.memcpy_dtoh_async(host(dst), src, bytes, stream),
            cudaMemcpyDeviceToDevice => driver.memcpy_dtod_async(dst, src, bytes, stream),
            cudaMemcpyDefault | cudaMemcpyHostToHost => {
                driver.memcpy_async(dst, src, bytes, stream)
            }
            _ => Err(cudaErrorInvalidMemcpyDirection),
        }
    }

    fn run(self, when: WhenDone) -> Answer {
        if self.kind > cudaMemcpyDefault {
            return Err(cudaErrorInvalidMemcpyDirection);
        }
        let driver = bind()?;
        if self.bytes == 0 {
            return Ok(());
        }
        match when {
            WhenDone::Wait => self.now(driver),
            WhenDone::WaitPerThread => {
                self.queue(driver, PER_THREAD)?;
                driver.stream_synchronize(PER_THREAD)
            }
            WhenDone::Queue(stream) => self.queue(driver, stream),
        }
    }
}

/// An address that the application says is the host's.
fn host(address: CUdeviceptr) -> *mut c_void {
    core::ptr::with_exposed_provenance_mut(address as usize)
}

fn copy(
    dst: CUdeviceptr,
    src: CUdeviceptr,
    bytes: usize,
    kind: cudaMemcpyKind,
    when: WhenDone,
) -> Answer {
    Copy {
        dst,
        src,
        bytes,
        kind,
    }
    .run(when)
}

/// Copies into a variable: the source may be host or device memory.
fn to_symbol(
    name: *const c_void,
    src: CUdeviceptr,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
    when: WhenDone,
) -> Answer {
    if !matches!(
        kind,
        cudaMemcpyHostToDevice | cudaMemcpyDeviceToDevice | cudaMemcpyDefault
    ) {
        return Err(cudaErrorInvalidMemcpyDirection);
    }
    let dst = symbol::range(name, offset, bytes)?;
    copy(dst, src, bytes, kind, when)
}

/// Copies out of a variable.
fn from_symbol(
    dst: CUdeviceptr,
    name: *const c_void,
    bytes: usize,
    offset: usize,
    kind: cudaMemcpyKind,
    when: WhenDone,
) -> Answer {
    if !matches!(
        kind,
        cudaMemcpyDeviceToHost | cudaMemcpyDeviceToDevice | cudaMemcpyDefault
    ) {
        return Err(cudaErrorInvalidMemcpyDirection);
    }
    let src = symbol::range(name, offset, bytes)?;
    copy(dst, src, bytes, kind, when)
}

export! {
    fn cudaMemcpy(dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, kind: cudaMemcpyKind) {
        copy(dst, src, bytes, kind, WhenDone::Wait)
    }

    fn cudaMemcpy_ptds(dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, kind: cudaMemcpyKind) {
        copy(dst, src, bytes, kind, WhenDone::WaitPerThread)
    }

    fn cudaMemcpyToSymbol(
        name: *const c_void,
        src: CUdeviceptr,
        bytes: usize,
        offset: usize,
        kind: cudaMemcpyKind,
    ) {
        to_symbol(name, src, bytes, offset, kind, WhenDone::Wait)
    }

    fn cudaMemcpyToSymbol_ptds(
        name: *const c_void,
        src: CUdeviceptr,
        bytes: usize,
        offset: usize,
        kind: cudaMemcpyKind,
    ) {
        to_symbol(name, src, bytes, offset, kind, WhenDone::WaitPerThread)
    }

    fn cudaMemcpyFromSymbol(
        dst: CUdeviceptr,
        name: *const c_void,
        bytes: usize,
        offset: usize,
        kind: cudaMemcpyKind,
    ) {
        from_symbol(dst, name, bytes, offset, kind, WhenDone::Wait)
    }

    fn cudaMemcpyFromSymbol_ptds(
        dst: CUdeviceptr,
        name: *const c_void,
        bytes: usize,
        offset: usize,
        kind: cudaMemcpyKind,
    ) {
        from_symbol(dst, name, bytes, offset, kind, WhenDone::WaitPerThread)
    }
}

export_on_stream! {
    fn cudaMemcpyAsync, cudaMemcpyAsync_ptsz(
        dst: CUdeviceptr,
        src: CUdeviceptr,
        bytes: usize,
        kind: cudaMemcpyKind,
        stream: CUstream,
    ) on stream {
        copy(dst, src, bytes, kind, WhenDone::Queue(stream))
    }

    fn cudaMemcpyToSymbolAsync, cudaMemcpyToSymbolAsync_ptsz(
        name: *const c_void,
        src: CUdeviceptr,
        bytes: usize,
        offset: usize,
        kind: cudaMemcpyKind,
        stream: CUstream,
    ) on stream {
        to_symbol(name, src, bytes, offset, kind, WhenDone::Queue(stream))
    }

    fn cudaMemcpyFromSymbolAsync, cudaMemcpyFromSymbolAsync_ptsz(
        dst: CUdeviceptr,
        name: *const c_void,
        bytes: usize,
        offset: usize,
        kind: cudaMemcpyKind,
        stream: CUstream,
    ) on stream {
        from_symbol(dst, name, bytes, offset, kind, WhenDone::Queue(stream))
    }
}
