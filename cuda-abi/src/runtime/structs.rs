//! Structures and constants of the runtime API, on Linux x86-64.
#![allow(
    missing_docs,
    non_snake_case,
    non_camel_case_types,
    non_upper_case_globals,
    reason = "each name is the runtime API's own"
)]

use core::ffi::c_void;

use crate::driver::{CUarray, CUlaunchAttribute, CUstream};

/// `cudaMemcpyKind`.
pub type cudaMemcpyKind = u32;
pub const cudaMemcpyHostToHost: cudaMemcpyKind = 0;
pub const cudaMemcpyHostToDevice: cudaMemcpyKind = 1;
pub const cudaMemcpyDeviceToHost: cudaMemcpyKind = 2;
pub const cudaMemcpyDeviceToDevice: cudaMemcpyKind = 3;
pub const cudaMemcpyDefault: cudaMemcpyKind = 4;

/// `cudaMemoryType`.
pub type cudaMemoryType = u32;
pub const cudaMemoryTypeUnregistered: cudaMemoryType = 0;
pub const cudaMemoryTypeHost: cudaMemoryType = 1;
pub const cudaMemoryTypeDevice: cudaMemoryType = 2;
pub const cudaMemoryTypeManaged: cudaMemoryType = 3;

/// The device number that means the host.
pub const cudaCpuDeviceId: i32 = -1;
/// The device number that means none.
pub const cudaInvalidDeviceId: i32 = -2;
/// A device flag that is always reported: host memory can be mapped.
pub const cudaDeviceMapHost: u32 = 8;

/// The flags of a device that a caller may set.
pub const cudaDeviceMask: u32 = 0xff;

/// `dim3`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dim3 {
    pub x: u32,
    pub y: u32,
    pub z: u32,
}

/// `cudaPointerAttributes` of CUDA 12; CUDA 13 has 64 reserved bytes more.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CudaPointerAttributes12 {
    pub type_: cudaMemoryType,
    pub device: i32,
    pub devicePointer: *mut c_void,
    pub hostPointer: *mut c_void,
}

/// `cudaPointerAttributes` of CUDA 13.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CudaPointerAttributes13 {
    pub common: CudaPointerAttributes12,
    pub reserved: [u64; 8],
}

/// `cudaFuncAttributes`; the last two named fields are reserved in CUDA 12.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CudaFuncAttributes {
    pub sharedSizeBytes: usize,
    pub constSizeBytes: usize,
    pub localSizeBytes: usize,
    pub maxThreadsPerBlock: i32,
    pub numRegs: i32,
    pub ptxVersion: i32,
    pub binaryVersion: i32,
    pub cacheModeCA: i32,
    pub maxDynamicSharedSizeBytes: i32,
    pub preferredShmemCarveout: i32,
    pub clusterDimMustBeSet: i32,
    pub requiredClusterWidth: i32,
    pub requiredClusterHeight: i32,
    pub requiredClusterDepth: i32,
    pub clusterSchedulingPolicyPreference: i32,
    pub nonPortableClusterSizeAllowed: i32,
    pub deviceNodeUpdateStatus: i32,
    pub sharedMemoryMode: u32,
    pub reserved: [i32; 14],
}

/// `cudaLaunchConfig_t`. The attributes are the driver's, field for field.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CudaLaunchConfig {
    pub gridDim: Dim3,
    pub blockDim: Dim3,
    pub dynamicSmemBytes: usize,
    pub stream: CUstream,
    pub attrs: *mut CUlaunchAttribute,
    pub numAttrs: u32,
}

/// `cudaPitchedPtr`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CudaPitchedPtr {
    pub ptr: *mut c_void,
    pub pitch: usize,
    pub xsize: usize,
    pub ysize: usize,
}

/// `cudaExtent`: bytes, rows, slices for plain memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CudaExtent {
    pub width: usize,
    pub height: usize,
    pub depth: usize,
}

/// `cudaPos`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CudaPos {
    pub x: usize,
    pub y: usize,
    pub z: usize,
}

/// `cudaMemcpy3DParms`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CudaMemcpy3DParms {
    pub srcArray: CUarray,
    pub srcPos: CudaPos,
    pub srcPtr: CudaPitchedPtr,
    pub dstArray: CUarray,
    pub dstPos: CudaPos,
    pub dstPtr: CudaPitchedPtr,
    pub extent: CudaExtent,
    pub kind: cudaMemcpyKind,
}

/// `cudaChannelFormatDesc`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CudaChannelFormatDesc {
    pub x: i32,
    pub y: i32,
    pub z: i32,
    pub w: i32,
    pub f: u32,
}
