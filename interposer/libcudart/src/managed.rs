//! Managed memory: the driver's. Places are `cudaMemLocation`s, which CUDA 12 also writes as bare
//! device numbers.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_int, c_uint, c_void};

use cuda_abi::driver::*;
use cuda_abi::runtime::*;

use crate::context::bind;
use crate::export::{Answer, Out, per_thread};
use crate::version::is_12;

/// A `cudaMemLocation` passed by value: its type, and behind it its id.
type Location = u64;

/// The device, or the host for `cudaCpuDeviceId`.
fn of_device(device: c_int) -> Location {
    const DEVICE: u64 = 1;
    const HOST: u64 = 2;
    if device == CU_DEVICE_CPU {
        HOST
    } else {
        DEVICE | u64::from(device as u32) << 32
    }
}

fn prefetch(
    address: CUdeviceptr,
    bytes: usize,
    to: Location,
    flags: c_uint,
    stream: CUstream,
) -> Answer {
    bind()?.mem_prefetch_async(address, bytes, to, flags, stream)
}

/// A stream that came in a register for any word.
fn stream_of(bits: u64) -> CUstream {
    core::ptr::with_exposed_provenance_mut(bits as usize)
}

/// CUDA 12: device, stream. CUDA 13: location, flags, stream.
fn prefetch_by_version(
    address: CUdeviceptr,
    bytes: usize,
    rest: [u64; 3],
    on: impl Fn(CUstream) -> CUstream,
) -> Answer {
    let [to, second, third] = rest;
    if is_12() {
        prefetch(
            address,
            bytes,
            of_device(to as c_int),
            0,
            on(stream_of(second)),
        )
    } else {
        prefetch(address, bytes, to, second as c_uint, on(stream_of(third)))
    }
}

export! {
    fn cudaMallocManaged(to: Out<CUdeviceptr>, bytes: usize, flags: c_uint) {
        to.check()?;
        if bytes == 0 {
            return Err(cudaErrorInvalidValue);
        }
        let mut address = 0;
        bind()?.mem_alloc_managed(&mut address, bytes, flags)?;
        to.set(address)
    }

    fn cudaMemPrefetchAsync(address: CUdeviceptr, bytes: usize, to: u64, second: u64, third: u64) {
        prefetch_by_version(address, bytes, [to, second, third], |stream| stream)
    }

    fn cudaMemPrefetchAsync_ptsz(
        address: CUdeviceptr,
        bytes: usize,
        to: u64,
        second: u64,
        third: u64,
    ) {
        prefetch_by_version(address, bytes, [to, second, third], per_thread)
    }

    fn cudaMemAdvise(address: CUdeviceptr, bytes: usize, advice: c_uint, place: u64) {
        let place = if is_12() { of_device(place as c_int) } else { place };
        bind()?.mem_advise(address, bytes, advice, place)
    }

    fn cudaMemAdvise_v2(address: CUdeviceptr, bytes: usize, advice: c_uint, place: Location) {
        bind()?.mem_advise(address, bytes, advice, place)
    }
}

export_on_stream! {
    fn cudaMemPrefetchAsync_v2, cudaMemPrefetchAsync_v2_ptsz(
        address: CUdeviceptr,
        bytes: usize,
        to: Location,
        flags: c_uint,
        stream: CUstream,
    ) on stream {
        prefetch(address, bytes, to, flags, stream)
    }

    fn cudaStreamAttachMemAsync, cudaStreamAttachMemAsync_ptsz(
        stream: CUstream,
        address: *mut c_void,
        bytes: usize,
        flags: c_uint,
    ) on stream {
        bind()?.stream_attach_mem_async(stream, address.expose_provenance() as u64, bytes, flags)
    }
}
