//! The driver API: `libcuda.so.1`.
//!
//! Handles are opaque pointers to the application; here they are `*mut c_void`, and no code of
//! this crate follows them.

use core::ffi::c_void;

pub mod array;
pub mod device;
pub mod flags;
pub mod graph;
pub mod launch;
pub mod memory;
pub mod module;
pub mod result;
pub mod stream;
pub mod structs;

pub use array::*;
pub use device::*;
pub use flags::*;
pub use graph::*;
pub use memory::*;
pub use module::*;
pub use result::*;
pub use stream::*;
pub use structs::*;

/// The driver API version that this crate describes, as `cuDriverGetVersion` would say it.
pub const CUDA_VERSION: i32 = 13_000;

/// A device's ordinal.
pub type CUdevice = i32;
/// An address in device memory.
pub type CUdeviceptr = u64;
/// A texture object: a value that kernels can see.
pub type CUtexObject = u64;
/// A surface object: a value that kernels can see.
pub type CUsurfObject = u64;
/// A physical allocation of the virtual memory management calls.
pub type CUmemGenericAllocationHandle = u64;

macro_rules! handles {
    ($($name:ident: $what:literal,)*) => {
        $(#[doc = concat!("Handle of ", $what, ".")] pub type $name = *mut c_void;)*
    };
}

handles! {
    CUcontext: "a context",
    CUmodule: "a module",
    CUfunction: "a function of a module in a context",
    CUlibrary: "a library: a module that belongs to no context",
    CUkernel: "a kernel of a library",
    CUarray: "an array",
    CUmipmappedArray: "a mipmapped array",
    CUtexref: "a texture reference",
    CUsurfref: "a surface reference",
    CUevent: "an event",
    CUstream: "a stream",
    CUgraphicsResource: "a graphics resource",
    CUexternalMemory: "imported memory",
    CUexternalSemaphore: "an imported semaphore",
    CUgraph: "a graph",
    CUgraphNode: "a node of a graph",
    CUgraphExec: "an executable graph",
    CUmemoryPool: "a memory pool",
    CUuserObject: "a user object of graphs",
    CUlinkState: "a link under way",
    CUgreenCtx: "a green context",
}

/// The null stream.
pub const CU_STREAM_NULL: u64 = 0;
/// Stream value for the legacy default stream.
pub const CU_STREAM_LEGACY_HANDLE: u64 = 1;
/// Stream value for the calling thread's default stream.
pub const CU_STREAM_PER_THREAD_HANDLE: u64 = 2;
/// `extra` of a launch: end of the list.
pub const CU_LAUNCH_PARAM_END: usize = 0;
/// `extra` of a launch: the next entry points to the packed parameters.
pub const CU_LAUNCH_PARAM_BUFFER_POINTER: usize = 1;
/// `extra` of a launch: the next entry points to the size of the packed parameters.
pub const CU_LAUNCH_PARAM_BUFFER_SIZE: usize = 2;
/// Device number that means the host.
pub const CU_DEVICE_CPU: CUdevice = -1;
/// Device number that means none.
pub const CU_DEVICE_INVALID: CUdevice = -2;

/// Called by `cuLaunchHostFunc` in stream order.
pub type CUhostFn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;
/// Called by `cuStreamAddCallback` in stream order.
pub type CUstreamCallback =
    Option<unsafe extern "C" fn(stream: CUstream, status: CUresult, user_data: *mut c_void)>;
/// Tells the dynamic shared memory for a block size (occupancy queries).
pub type CUoccupancyB2DSize = Option<unsafe extern "C" fn(block_size: i32) -> usize>;
