//! Copies of rows and of boxes in plain memory. Arrays are not supported yet.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::c_void;

use cuda_abi::driver::*;
use cuda_abi::runtime::*;

use crate::context::bind;
use crate::export::{Answer, In};
use crate::stream::{PER_THREAD, WhenDone};

/// The kinds of memory at both ends, destination first.
fn ends(kind: cudaMemcpyKind) -> Answer<(CUmemorytype, CUmemorytype)> {
    Ok(match kind {
        cudaMemcpyHostToHost => (CU_MEMORYTYPE_HOST, CU_MEMORYTYPE_HOST),
        cudaMemcpyHostToDevice => (CU_MEMORYTYPE_DEVICE, CU_MEMORYTYPE_HOST),
        cudaMemcpyDeviceToHost => (CU_MEMORYTYPE_HOST, CU_MEMORYTYPE_DEVICE),
        cudaMemcpyDeviceToDevice => (CU_MEMORYTYPE_DEVICE, CU_MEMORYTYPE_DEVICE),
        cudaMemcpyDefault => (CU_MEMORYTYPE_UNIFIED, CU_MEMORYTYPE_UNIFIED),
        _ => return Err(cudaErrorInvalidMemcpyDirection),
    })
}

/// An address in the field for its kind of memory: host or device.
fn split(address: *mut c_void, kind: CUmemorytype) -> (*mut c_void, CUdeviceptr) {
    if kind == CU_MEMORYTYPE_HOST {
        (address, 0)
    } else {
        (core::ptr::null_mut(), address.expose_provenance() as u64)
    }
}

/// Rows of bytes at a pitch.
#[derive(Clone, Copy)]
struct Rows {
    address: *mut c_void,
    pitch: usize,
}

fn copy_2d(
    dst: Rows,
    src: Rows,
    width: usize,
    height: usize,
    kind: cudaMemcpyKind,
    when: WhenDone,
) -> Answer {
    let (to, from) = ends(kind)?;
    if width > dst.pitch || width > src.pitch {
        return Err(cudaErrorInvalidPitchValue);
    }
    let driver = bind()?;
    if width == 0 || height == 0 {
        return Ok(());
    }
    let (dst_host, dst_device) = split(dst.address, to);
    let (src_host, src_device) = split(src.address, from);
    let copy = CUDA_MEMCPY2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: from,
        srcHost: src_host,
        srcDevice: src_device,
        srcArray: core::ptr::null_mut(),
        srcPitch: src.pitch,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: to,
        dstHost: dst_host,
        dstDevice: dst_device,
        dstArray: core::ptr::null_mut(),
        dstPitch: dst.pitch,
        WidthInBytes: width,
        Height: height,
    };
    match when {
        WhenDone::Wait => driver.memcpy_2d(&copy),
        WhenDone::WaitPerThread => {
            driver.memcpy_2d_async(&copy, PER_THREAD)?;
            driver.stream_synchronize(PER_THREAD)
        }
        WhenDone::Queue(stream) => driver.memcpy_2d_async(&copy, stream),
    }
}

fn copy_3d(parms: In<CudaMemcpy3DParms>, when: WhenDone) -> Answer {
    let parms = parms.get()?;
    if !parms.srcArray.is_null() || !parms.dstArray.is_null() {
        crate::unsupported::say("cudaMemcpy3D with an array");
        return Err(cudaErrorNotSupported);
    }
    let (to, from) = ends(parms.kind)?;
    let CudaExtent {
        width,
        height,
        depth,
    } = parms.extent;
    let driver = bind()?;
    if width == 0 || height == 0 || depth == 0 {
        return Ok(());
    }
    let (dst_host, dst_device) = split(parms.dstPtr.ptr, to);
    let (src_host, src_device) = split(parms.srcPtr.ptr, from);
    let null = core::ptr::null_mut();
    let copy = CUDA_MEMCPY3D {
        srcXInBytes: parms.srcPos.x,
        srcY: parms.srcPos.y,
        srcZ: parms.srcPos.z,
        srcLOD: 0,
        srcMemoryType: from,
        srcHost: src_host,
        srcDevice: src_device,
        srcArray: null,
        reserved0: null,
        srcPitch: parms.srcPtr.pitch,
        srcHeight: parms.srcPtr.ysize,
        dstXInBytes: parms.dstPos.x,
        dstY: parms.dstPos.y,
        dstZ: parms.dstPos.z,
        dstLOD: 0,
        dstMemoryType: to,
        dstHost: dst_host,
        dstDevice: dst_device,
        dstArray: null,
        reserved1: null,
        dstPitch: parms.dstPtr.pitch,
        dstHeight: parms.dstPtr.ysize,
        WidthInBytes: width,
        Height: height,
        Depth: depth,
    };
    match when {
        WhenDone::Wait => driver.memcpy_3d(&copy),
        WhenDone::WaitPerThread => {
            driver.memcpy_3d_async(&copy, PER_THREAD)?;
            driver.stream_synchronize(PER_THREAD)
        }
        WhenDone::Queue(stream) => driver.memcpy_3d_async(&copy, stream),
    }
}

export! {
    fn cudaMemcpy2D(
        dst: *mut c_void,
        dpitch: usize,
        src: *mut c_void,
        spitch: usize,
        width: usize,
        height: usize,
        kind: cudaMemcpyKind,
    ) {
        let (dst, src) = (Rows { address: dst, pitch: dpitch }, Rows { address: src, pitch: spitch });
        copy_2d(dst, src, width, height, kind, WhenDone::Wait)
    }

    fn cudaMemcpy2D_ptds(
        dst: *mut c_void,
        dpitch: usize,
        src: *mut c_void,
        spitch: usize,
        width: usize,
        height: usize,
        kind: cudaMemcpyKind,
    ) {
        let (dst, src) = (Rows { address: dst, pitch: dpitch }, Rows { address: src, pitch: spitch });
        copy_2d(dst, src, width, height, kind, WhenDone::WaitPerThread)
    }

    fn cudaMemcpy3D(parms: In<CudaMemcpy3DParms>) {
        copy_3d(parms, WhenDone::Wait)
    }

    fn cudaMemcpy3D_ptds(parms: In<CudaMemcpy3DParms>) {
        copy_3d(parms, WhenDone::WaitPerThread)
    }
}

export_on_stream! {
    fn cudaMemcpy2DAsync, cudaMemcpy2DAsync_ptsz(
        dst: *mut c_void,
        dpitch: usize,
        src: *mut c_void,
        spitch: usize,
        width: usize,
        height: usize,
        kind: cudaMemcpyKind,
        stream: CUstream,
    ) on stream {
        let (dst, src) = (Rows { address: dst, pitch: dpitch }, Rows { address: src, pitch: spitch });
        copy_2d(dst, src, width, height, kind, WhenDone::Queue(stream))
    }

    fn cudaMemcpy3DAsync, cudaMemcpy3DAsync_ptsz(
        parms: In<CudaMemcpy3DParms>,
        stream: CUstream,
    ) on stream {
        copy_3d(parms, WhenDone::Queue(stream))
    }
}
