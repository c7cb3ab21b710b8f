//! Structures of the driver API, with the header's field names (`type` is `type_`) and the Linux x86-64 layout.
//!
//! Unions are byte arrays of the right size and alignment with typed accessors, so that reading
//! one needs no unsafe code and an unknown member stays intact.
#![allow(
    missing_docs,
    non_snake_case,
    non_camel_case_types,
    reason = "each name is the driver API's own"
)]

use core::ffi::{c_char, c_void};

use super::*;

layout! {
    /// A 16-byte identity of a device.
    CUuuid as CUuuid_st { bytes: [c_char; 16], }
}
layout! {
    /// Answer of the deprecated `cuDeviceGetProperties`.
    CUdevprop as CUdevprop_st {
        maxThreadsPerBlock: i32,
        maxThreadsDim: [i32; 3],
        maxGridSize: [i32; 3],
        sharedMemPerBlock: i32,
        totalConstantMemory: i32,
        SIMDWidth: i32,
        memPitch: i32,
        regsPerBlock: i32,
        clockRate: i32,
        textureAlign: i32,
    }
}
layout! {
    /// A two-dimensional copy (`_v2` layout).
    CUDA_MEMCPY2D as CUDA_MEMCPY2D_st {
        srcXInBytes: usize,
        srcY: usize,
        srcMemoryType: CUmemorytype,
        srcHost: *const c_void,
        srcDevice: CUdeviceptr,
        srcArray: CUarray,
        srcPitch: usize,
        dstXInBytes: usize,
        dstY: usize,
        dstMemoryType: CUmemorytype,
        dstHost: *mut c_void,
        dstDevice: CUdeviceptr,
        dstArray: CUarray,
        dstPitch: usize,
        WidthInBytes: usize,
        Height: usize,
    }
}
layout! {
    /// A three-dimensional copy (`_v2` layout).
    CUDA_MEMCPY3D as CUDA_MEMCPY3D_st {
        srcXInBytes: usize,
        srcY: usize,
        srcZ: usize,
        srcLOD: usize,
        srcMemoryType: CUmemorytype,
        srcHost: *const c_void,
        srcDevice: CUdeviceptr,
        srcArray: CUarray,
        reserved0: *mut c_void,
        srcPitch: usize,
        srcHeight: usize,
        dstXInBytes: usize,
        dstY: usize,
        dstZ: usize,
        dstLOD: usize,
        dstMemoryType: CUmemorytype,
        dstHost: *mut c_void,
        dstDevice: CUdeviceptr,
        dstArray: CUarray,
        reserved1: *mut c_void,
        dstPitch: usize,
        dstHeight: usize,
        WidthInBytes: usize,
        Height: usize,
        Depth: usize,
    }
}
layout! {
    /// A three-dimensional copy between contexts.
    CUDA_MEMCPY3D_PEER as CUDA_MEMCPY3D_PEER_st {
        srcXInBytes: usize,
        srcY: usize,
        srcZ: usize,
        srcLOD: usize,
        srcMemoryType: CUmemorytype,
        srcHost: *const c_void,
        srcDevice: CUdeviceptr,
        srcArray: CUarray,
        srcContext: CUcontext,
        srcPitch: usize,
        srcHeight: usize,
        dstXInBytes: usize,
        dstY: usize,
        dstZ: usize,
        dstLOD: usize,
        dstMemoryType: CUmemorytype,
        dstHost: *mut c_void,
        dstDevice: CUdeviceptr,
        dstArray: CUarray,
        dstContext: CUcontext,
        dstPitch: usize,
        dstHeight: usize,
        WidthInBytes: usize,
        Height: usize,
        Depth: usize,
    }
}
layout! {
    /// An array's shape (`_v2` layout).
    CUDA_ARRAY_DESCRIPTOR as CUDA_ARRAY_DESCRIPTOR_st {
        Width: usize,
        Height: usize,
        Format: CUarray_format,
        NumChannels: u32,
    }
}
layout! {
    /// A three-dimensional array's shape (`_v2` layout).
    CUDA_ARRAY3D_DESCRIPTOR as CUDA_ARRAY3D_DESCRIPTOR_st {
        Width: usize,
        Height: usize,
        Depth: usize,
        Format: CUarray_format,
        NumChannels: u32,
        Flags: u32,
    }
}
layout! {
    /// What a texture or surface object reads: `res` is a union of 128 bytes.
    CUDA_RESOURCE_DESC as CUDA_RESOURCE_DESC_st {
        resType: CUresourcetype,
        res: [u64; 16],
        flags: u32,
    }
}
layout! {
    /// How a texture object reads.
    CUDA_TEXTURE_DESC as CUDA_TEXTURE_DESC_st {
        addressMode: [CUaddress_mode; 3],
        filterMode: CUfilter_mode,
        flags: u32,
        maxAnisotropy: u32,
        mipmapFilterMode: CUfilter_mode,
        mipmapLevelBias: f32,
        minMipmapLevelClamp: f32,
        maxMipmapLevelClamp: f32,
        borderColor: [f32; 4],
        reserved: [i32; 12],
    }
}
layout! {
    /// Another view of a texture object's resource.
    CUDA_RESOURCE_VIEW_DESC as CUDA_RESOURCE_VIEW_DESC_st {
        format: CUresourceViewFormat,
        width: usize,
        height: usize,
        depth: usize,
        firstMipmapLevel: u32,
        lastMipmapLevel: u32,
        firstLayer: u32,
        lastLayer: u32,
        reserved: [u32; 16],
    }
}
layout! {
    /// Which lines of memory a kernel wants kept in L2.
    CUaccessPolicyWindow as CUaccessPolicyWindow_st {
        base_ptr: *mut c_void,
        num_bytes: usize,
        hitRatio: f32,
        hitProp: CUaccessProperty,
        missProp: CUaccessProperty,
    }
}
layout! {
    /// The 64-byte union of a launch attribute's value; see its accessors.
    CUlaunchAttributeValue as CUlaunchAttributeValue_union { pad: [u64; 8], }
}
layout! {
    /// One attribute of a launch; `pad` is the header's.
    CUlaunchAttribute as CUlaunchAttribute_st {
        id: CUlaunchAttributeID,
        pad: [c_char; 4],
        value: CUlaunchAttributeValue,
    }
}
layout! {
    /// The shape of a launch by `cuLaunchKernelEx`.
    CUlaunchConfig as CUlaunchConfig_st {
        gridDimX: u32,
        gridDimY: u32,
        gridDimZ: u32,
        blockDimX: u32,
        blockDimY: u32,
        blockDimZ: u32,
        sharedMemBytes: u32,
        hStream: CUstream,
        attrs: *mut CUlaunchAttribute,
        numAttrs: u32,
    }
}
layout! {
    /// One kernel of a cooperative launch over several devices.
    CUDA_LAUNCH_PARAMS as CUDA_LAUNCH_PARAMS_st {
        function: CUfunction,
        gridDimX: u32,
        gridDimY: u32,
        gridDimZ: u32,
        blockDimX: u32,
        blockDimY: u32,
        blockDimZ: u32,
        sharedMemBytes: u32,
        hStream: CUstream,
        kernelParams: *mut *mut c_void,
    }
}
layout! {
    /// Where memory lives; the 13.x header's `id` shares its place with a locality domain.
    CUmemLocation as CUmemLocation_st {
        type_: CUmemLocationType,
        id in __bindgen_anon_1: i32,
    }
}
layout! {
    /// The unnamed structure at the end of [`CUmemAllocationProp`].
    CUmemAllocationPropFlags as CUmemAllocationProp_st__bindgen_ty_1 {
        compressionType: u8,
        gpuDirectRDMACapable: u8,
        usage: u16,
        reserved: [u8; 4],
    }
}
layout! {
    /// What kind of memory `cuMemCreate` shall make.
    CUmemAllocationProp as CUmemAllocationProp_st {
        type_: CUmemAllocationType,
        requestedHandleTypes: CUmemAllocationHandleType,
        location: CUmemLocation,
        win32HandleMetaData: *mut c_void,
        allocFlags: CUmemAllocationPropFlags,
    }
}
layout! {
    /// Who may access a mapped range, and how.
    CUmemAccessDesc as CUmemAccessDesc_st {
        location: CUmemLocation,
        flags: CUmemAccess_flags,
    }
}
layout! {
    /// What kind of pool `cuMemPoolCreate` shall make.
    CUmemPoolProps as CUmemPoolProps_st {
        allocType: CUmemAllocationType,
        handleTypes: CUmemAllocationHandleType,
        location: CUmemLocation,
        win32SecurityAttributes: *mut c_void,
        maxSize: usize,
        usage: u16,
        gpuDirectRDMACapable: u8,
        reserved: [u8; 53],
    }
}
layout! {
    /// A pool allocation as told to another process.
    CUmemPoolPtrExportData as CUmemPoolPtrExportData_st { reserved: [u8; 64], }
}
layout! {
    /// A memory handle for another process.
    CUipcMemHandle as CUipcMemHandle_st { reserved: [c_char; 64], }
}
layout! {
    /// An event handle for another process.
    CUipcEventHandle as CUipcEventHandle_st { reserved: [c_char; 64], }
}
layout! {
    /// Tokens for peer access by drivers of other devices.
    CUDA_POINTER_ATTRIBUTE_P2P_TOKENS as CUDA_POINTER_ATTRIBUTE_P2P_TOKENS_st {
        p2pToken: u64,
        vaSpaceToken: u32,
    }
}
layout! {
    /// How a batch of copies is ordered and where its ends are.
    CUmemcpyAttributes as CUmemcpyAttributes_st {
        srcAccessOrder: CUmemcpySrcAccessOrder,
        srcLocHint: CUmemLocation,
        dstLocHint: CUmemLocation,
        flags: u32,
    }
}
layout! {
    /// How many multiprocessors a context wants (`param` is a union of one member).
    CUexecAffinityParam as CUexecAffinityParam_st {
        type_: CUexecAffinityType,
        param: u32,
    }
}
layout! {
    /// What `cuCtxCreate_v4` takes.
    CUctxCreateParams as CUctxCreateParams_st {
        execAffinityParams: *mut CUexecAffinityParam,
        numExecAffinityParams: i32,
        cigParams: *mut c_void,
    }
}
layout! {
    /// A kernel node of a graph (`_v2` layout).
    CUDA_KERNEL_NODE_PARAMS as CUDA_KERNEL_NODE_PARAMS_v2_st {
        func: CUfunction,
        gridDimX: u32,
        gridDimY: u32,
        gridDimZ: u32,
        blockDimX: u32,
        blockDimY: u32,
        blockDimZ: u32,
        sharedMemBytes: u32,
        kernelParams: *mut *mut c_void,
        extra: *mut *mut c_void,
        kern: CUkernel,
        ctx: CUcontext,
    }
}
layout! {
    /// A memset node of a graph.
    CUDA_MEMSET_NODE_PARAMS as CUDA_MEMSET_NODE_PARAMS_st {
        dst: CUdeviceptr,
        pitch: usize,
        value: u32,
        elementSize: u32,
        width: usize,
        height: usize,
    }
}
layout! {
    /// Tables of a library that host and device share.
    CUlibraryHostUniversalFunctionAndDataTable as CUlibraryHostUniversalFunctionAndDataTable_st {
        functionTable: *mut c_void,
        functionWindowSize: usize,
        dataTable: *mut c_void,
        dataWindowSize: usize,
    }
}
