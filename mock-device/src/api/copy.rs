//! Copies between host and device, in one, two and three dimensions.
//!
//! Arrays are not supported: descriptors that name one are refused.

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::get;
use crate::call::{Answer, exports};
use crate::copy::{Described, Mode, Place, Side, copy};
use crate::driver::alive;
use crate::handles::Handle;

type Lane = (Handle, bool);

fn linear(lane: Lane, to: Place, from: Place, size: usize, mode: Mode) -> Answer {
    let (to, from) = (Side::linear(to), Side::linear(from));
    copy(alive()?, lane, to, from, [size, 1, 1], mode)
}

fn plane(lane: Lane, description: *const CUDA_MEMCPY2D, mode: Mode) -> Answer {
    let d = get(description)?;
    let size = [d.WidthInBytes, d.Height, 1];
    if size.contains(&0) {
        alive()?;
        return Ok(());
    }
    let to = Described {
        memory: d.dstMemoryType,
        host: d.dstHost as u64,
        device: d.dstDevice,
        x: d.dstXInBytes,
        y: d.dstY,
        z: 0,
        pitch: d.dstPitch,
        height: 0,
    };
    let from = Described {
        memory: d.srcMemoryType,
        host: d.srcHost as u64,
        device: d.srcDevice,
        x: d.srcXInBytes,
        y: d.srcY,
        z: 0,
        pitch: d.srcPitch,
        height: 0,
    };
    copy(alive()?, lane, to.side(size)?, from.side(size)?, size, mode)
}

fn volume(lane: Lane, d: &CUDA_MEMCPY3D, mode: Mode) -> Answer {
    let size = [d.WidthInBytes, d.Height, d.Depth];
    if d.srcLOD != 0 || d.dstLOD != 0 {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    if size.contains(&0) {
        return Ok(());
    }
    let to = Described {
        memory: d.dstMemoryType,
        host: d.dstHost as u64,
        device: d.dstDevice,
        x: d.dstXInBytes,
        y: d.dstY,
        z: d.dstZ,
        pitch: d.dstPitch,
        height: d.dstHeight,
    };
    let from = Described {
        memory: d.srcMemoryType,
        host: d.srcHost as u64,
        device: d.srcDevice,
        x: d.srcXInBytes,
        y: d.srcY,
        z: d.srcZ,
        pitch: d.srcPitch,
        height: d.srcHeight,
    };
    copy(alive()?, lane, to.side(size)?, from.side(size)?, size, mode)
}

fn volume_peer(lane: Lane, description: *const CUDA_MEMCPY3D_PEER, mode: Mode) -> Answer {
    let d = get(description)?;
    let plain = CUDA_MEMCPY3D {
        srcXInBytes: d.srcXInBytes,
        srcY: d.srcY,
        srcZ: d.srcZ,
        srcLOD: d.srcLOD,
        srcMemoryType: d.srcMemoryType,
        srcHost: d.srcHost,
        srcDevice: d.srcDevice,
        srcArray: d.srcArray,
        reserved0: std::ptr::null_mut(),
        srcPitch: d.srcPitch,
        srcHeight: d.srcHeight,
        dstXInBytes: d.dstXInBytes,
        dstY: d.dstY,
        dstZ: d.dstZ,
        dstLOD: d.dstLOD,
        dstMemoryType: d.dstMemoryType,
        dstHost: d.dstHost,
        dstDevice: d.dstDevice,
        dstArray: d.dstArray,
        reserved1: std::ptr::null_mut(),
        dstPitch: d.dstPitch,
        dstHeight: d.dstHeight,
        WidthInBytes: d.WidthInBytes,
        Height: d.Height,
        Depth: d.Depth,
    };
    volume(lane, &plain, mode)
}

/// A copy between two contexts: both must exist.
fn peer(
    lane: Lane,
    (to, to_context): (u64, Handle),
    (from, from_context): (u64, Handle),
    size: usize,
    mode: Mode,
) -> Answer {
    let driver = alive()?;
    driver.handles.get::<crate::context::Context>(to_context)?;
    driver
        .handles
        .get::<crate::context::Context>(from_context)?;
    linear(lane, Place::Device(to), Place::Device(from), size, mode)
}

exports! {
    4000 "cuMemcpy"
    fn cuMemcpy | cuMemcpy_ptds [per_thread] (to: u64, from: u64, size: usize) {
        linear((0, per_thread), Place::Unified(to), Place::Unified(from), size, Mode::Sync)
    }
    3020 "cuMemcpyHtoD"
    fn cuMemcpyHtoD_v2 | cuMemcpyHtoD_v2_ptds [per_thread] (to: u64, from: u64, size: usize) {
        linear((0, per_thread), Place::Device(to), Place::Host(from), size, Mode::Sync)
    }
    3020 "cuMemcpyDtoH"
    fn cuMemcpyDtoH_v2 | cuMemcpyDtoH_v2_ptds [per_thread] (to: u64, from: u64, size: usize) {
        linear((0, per_thread), Place::Host(to), Place::Device(from), size, Mode::Sync)
    }
    3020 "cuMemcpyDtoD"
    fn cuMemcpyDtoD_v2 | cuMemcpyDtoD_v2_ptds [per_thread] (to: u64, from: u64, size: usize) {
        linear((0, per_thread), Place::Device(to), Place::Device(from), size, Mode::Sync)
    }
    4000 "cuMemcpyAsync"
    fn cuMemcpyAsync | cuMemcpyAsync_ptsz [per_thread] (to: u64, from: u64, size: usize, stream: Handle) {
        linear((stream, per_thread), Place::Unified(to), Place::Unified(from), size, Mode::Async)
    }
    3020 "cuMemcpyHtoDAsync"
    fn cuMemcpyHtoDAsync_v2 | cuMemcpyHtoDAsync_v2_ptsz [per_thread] (to: u64, from: u64, size: usize, stream: Handle) {
        linear((stream, per_thread), Place::Device(to), Place::Host(from), size, Mode::Async)
    }
    3020 "cuMemcpyDtoHAsync"
    fn cuMemcpyDtoHAsync_v2 | cuMemcpyDtoHAsync_v2_ptsz [per_thread] (to: u64, from: u64, size: usize, stream: Handle) {
        linear((stream, per_thread), Place::Host(to), Place::Device(from), size, Mode::Async)
    }
    3020 "cuMemcpyDtoDAsync"
    fn cuMemcpyDtoDAsync_v2 | cuMemcpyDtoDAsync_v2_ptsz [per_thread] (to: u64, from: u64, size: usize, stream: Handle) {
        linear((stream, per_thread), Place::Device(to), Place::Device(from), size, Mode::Async)
    }
    4000 "cuMemcpyPeer"
    fn cuMemcpyPeer | cuMemcpyPeer_ptds [per_thread] (to: u64, to_context: Handle, from: u64, from_context: Handle, size: usize) {
        peer((0, per_thread), (to, to_context), (from, from_context), size, Mode::Sync)
    }
    4000 "cuMemcpyPeerAsync"
    fn cuMemcpyPeerAsync | cuMemcpyPeerAsync_ptsz [per_thread] (to: u64, to_context: Handle, from: u64, from_context: Handle, size: usize, stream: Handle) {
        peer((stream, per_thread), (to, to_context), (from, from_context), size, Mode::Async)
    }
    3020 "cuMemcpy2D"
    fn cuMemcpy2D_v2 | cuMemcpy2D_v2_ptds [per_thread] (description: *const CUDA_MEMCPY2D) {
        plane((0, per_thread), description, Mode::Sync)
    }
    3020 "cuMemcpy2DUnaligned"
    fn cuMemcpy2DUnaligned_v2 | cuMemcpy2DUnaligned_v2_ptds [per_thread] (description: *const CUDA_MEMCPY2D) {
        plane((0, per_thread), description, Mode::Sync)
    }
    3020 "cuMemcpy2DAsync"
    fn cuMemcpy2DAsync_v2 | cuMemcpy2DAsync_v2_ptsz [per_thread] (description: *const CUDA_MEMCPY2D, stream: Handle) {
        plane((stream, per_thread), description, Mode::Async)
    }
    3020 "cuMemcpy3D"
    fn cuMemcpy3D_v2 | cuMemcpy3D_v2_ptds [per_thread] (description: *const CUDA_MEMCPY3D) {
        volume((0, per_thread), &get(description)?, Mode::Sync)
    }
    3020 "cuMemcpy3DAsync"
    fn cuMemcpy3DAsync_v2 | cuMemcpy3DAsync_v2_ptsz [per_thread] (description: *const CUDA_MEMCPY3D, stream: Handle) {
        volume((stream, per_thread), &get(description)?, Mode::Async)
    }
    4000 "cuMemcpy3DPeer"
    fn cuMemcpy3DPeer | cuMemcpy3DPeer_ptds [per_thread] (description: *const CUDA_MEMCPY3D_PEER) {
        volume_peer((0, per_thread), description, Mode::Sync)
    }
    4000 "cuMemcpy3DPeerAsync"
    fn cuMemcpy3DPeerAsync | cuMemcpy3DPeerAsync_ptsz [per_thread] (description: *const CUDA_MEMCPY3D_PEER, stream: Handle) {
        volume_peer((stream, per_thread), description, Mode::Async)
    }
}
