//! Device memory.
#![allow(unsafe_code, reason = "exports symbols by name")]

use cuda_abi::driver::*;
use cuda_abi::runtime::*;

use crate::context::bind;
use crate::export::{Answer, Out};

/// The widest access that a row of pitched memory is aligned for.
const PITCH_ELEMENT: u32 = 4;

/// Rows of at least `width` bytes; address and pitch. Nothing is allocated for nothing.
fn pitched(width: usize, height: usize) -> Answer<(CUdeviceptr, usize)> {
    let driver = bind()?;
    let (mut address, mut pitch) = (0, 0);
    if width > 0 && height > 0 {
        driver.mem_alloc_pitch(&mut address, &mut pitch, width, height, PITCH_ELEMENT)?;
    }
    Ok((address, pitch))
}

export! {
    fn cudaMalloc(to: Out<CUdeviceptr>, bytes: usize) {
        to.check()?;
        let driver = bind()?;
        let mut address = 0;
        if bytes > 0 {
            driver.mem_alloc(&mut address, bytes)?;
        }
        to.set(address)
    }

    fn cudaMallocPitch(to: Out<CUdeviceptr>, pitch: Out<usize>, width: usize, height: usize) {
        to.check()?;
        pitch.check()?;
        let (address, bytes) = pitched(width, height)?;
        to.set(address)?;
        pitch.set(bytes)
    }

    fn cudaMalloc3D(to: Out<CudaPitchedPtr>, extent: CudaExtent) {
        to.check()?;
        let rows = extent.height.checked_mul(extent.depth).ok_or(cudaErrorMemoryAllocation)?;
        let (address, pitch) = pitched(extent.width, rows)?;
        let ptr = core::ptr::with_exposed_provenance_mut(address as usize);
        to.set(CudaPitchedPtr { ptr, pitch, xsize: extent.width, ysize: extent.height })
    }

    fn cudaFree(address: CUdeviceptr) {
        let driver = bind()?;
        if address == 0 { Ok(()) } else { driver.mem_free(address) }
    }

    fn cudaMemGetInfo(free: Out<usize>, total: Out<usize>) {
        let (mut left, mut all) = (0, 0);
        bind()?.mem_get_info(&mut left, &mut all)?;
        free.set_if_wanted(left);
        total.set_if_wanted(all);
        Ok(())
    }
}

export_on_stream! {
    fn cudaMallocAsync, cudaMallocAsync_ptsz(
        to: Out<CUdeviceptr>,
        bytes: usize,
        stream: CUstream,
    ) on stream {
        to.check()?;
        let mut address = 0;
        bind()?.mem_alloc_async(&mut address, bytes, stream)?;
        to.set(address)
    }

    fn cudaMallocFromPoolAsync, cudaMallocFromPoolAsync_ptsz(
        to: Out<CUdeviceptr>,
        bytes: usize,
        pool: CUmemoryPool,
        stream: CUstream,
    ) on stream {
        to.check()?;
        let mut address = 0;
        bind()?.mem_alloc_from_pool_async(&mut address, bytes, pool, stream)?;
        to.set(address)
    }

    fn cudaFreeAsync, cudaFreeAsync_ptsz(address: CUdeviceptr, stream: CUstream) on stream {
        bind()?.mem_free_async(address, stream)
    }
}
