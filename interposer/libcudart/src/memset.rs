//! Filling memory with a byte.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::c_int;

use cuda_abi::driver::{CUdeviceptr, CUstream};
use cuda_abi::runtime::{CudaExtent, CudaPitchedPtr};

use crate::context::bind;
use crate::export::Answer;
use crate::stream::{PER_THREAD, WhenDone};

fn fill(address: CUdeviceptr, value: c_int, bytes: usize, when: WhenDone) -> Answer {
    let driver = bind()?;
    if bytes == 0 {
        return Ok(());
    }
    match when {
        WhenDone::Wait => driver.memset_d8(address, value as u8, bytes),
        WhenDone::WaitPerThread => driver.memset_d8_async(address, value as u8, bytes, PER_THREAD),
        WhenDone::Queue(stream) => driver.memset_d8_async(address, value as u8, bytes, stream),
    }
}

fn fill_2d(
    address: CUdeviceptr,
    pitch: usize,
    value: c_int,
    width: usize,
    height: usize,
    when: WhenDone,
) -> Answer {
    let driver = bind()?;
    if width == 0 || height == 0 {
        return Ok(());
    }
    let value = value as u8;
    match when {
        WhenDone::Wait => driver.memset_2d8(address, pitch, value, width, height),
        WhenDone::WaitPerThread => {
            driver.memset_2d8_async(address, pitch, value, width, height, PER_THREAD)
        }
        WhenDone::Queue(stream) => {
            driver.memset_2d8_async(address, pitch, value, width, height, stream)
        }
    }
}

/// One slice after the other: a slice has `ysize` rows, of which some may be left out.
fn fill_3d(to: CudaPitchedPtr, value: c_int, extent: CudaExtent, when: WhenDone) -> Answer {
    let slice = to.pitch * to.ysize;
    (0..extent.depth).try_for_each(|z| {
        let address = to.ptr.expose_provenance() + z * slice;
        fill_2d(
            address as CUdeviceptr,
            to.pitch,
            value,
            extent.width,
            extent.height,
            when,
        )
    })
}

export! {
    fn cudaMemset(address: CUdeviceptr, value: c_int, bytes: usize) {
        fill(address, value, bytes, WhenDone::Wait)
    }

    fn cudaMemset_ptds(address: CUdeviceptr, value: c_int, bytes: usize) {
        fill(address, value, bytes, WhenDone::WaitPerThread)
    }

    fn cudaMemset2D(address: CUdeviceptr, pitch: usize, value: c_int, width: usize, height: usize) {
        fill_2d(address, pitch, value, width, height, WhenDone::Wait)
    }

    fn cudaMemset2D_ptds(
        address: CUdeviceptr,
        pitch: usize,
        value: c_int,
        width: usize,
        height: usize,
    ) {
        fill_2d(address, pitch, value, width, height, WhenDone::WaitPerThread)
    }

    fn cudaMemset3D(to: CudaPitchedPtr, value: c_int, extent: CudaExtent) {
        fill_3d(to, value, extent, WhenDone::Wait)
    }

    fn cudaMemset3D_ptds(to: CudaPitchedPtr, value: c_int, extent: CudaExtent) {
        fill_3d(to, value, extent, WhenDone::WaitPerThread)
    }
}

export_on_stream! {
    fn cudaMemsetAsync, cudaMemsetAsync_ptsz(
        address: CUdeviceptr,
        value: c_int,
        bytes: usize,
        stream: CUstream,
    ) on stream {
        fill(address, value, bytes, WhenDone::Queue(stream))
    }

    fn cudaMemset2DAsync, cudaMemset2DAsync_ptsz(
        address: CUdeviceptr,
        pitch: usize,
        value: c_int,
        width: usize,
        height: usize,
        stream: CUstream,
    ) on stream {
        fill_2d(address, pitch, value, width, height, WhenDone::Queue(stream))
    }

    fn cudaMemset3DAsync, cudaMemset3DAsync_ptsz(
        to: CudaPitchedPtr,
        value: c_int,
        extent: CudaExtent,
        stream: CUstream,
    ) on stream {
        fill_3d(to, value, extent, WhenDone::Queue(stream))
    }
}
