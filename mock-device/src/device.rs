//! The devices: what they say about themselves.
//!
//! A made-up GPU whose figures are those of a current data-centre model where
//! a program may compute with them, and of the machine where they must hold.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use cuda_abi::driver::*;

use crate::config::Config;
use crate::context::Context;

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    /// Number among those that the program sees.
    pub(crate) ordinal: usize,
    /// Number among all of the machine.
    place: usize,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Bytes in use.
    pub(crate) used: Arc<AtomicU64>,
    pub(crate) sm: u32,
    pub(crate) primary: OnceLock<Arc<Context>>,
}

/// Threads of a block at most.
pub(crate) const MAX_BLOCK_THREADS: u32 = 1024;
/// Shared memory of a block without asking, and at most.
pub(crate) const SHARED_DEFAULT: u32 = 48 << 10;
pub(crate) const SHARED_OPTIN: u32 = 227 << 10;
pub(crate) const SHARED_PER_SM: u32 = 228 << 10;
pub(crate) const THREADS_PER_SM: u32 = 2048;
pub(crate) const BLOCKS_PER_SM: u32 = 32;
pub(crate) const REGISTERS_PER_SM: u32 = 65536;
pub(crate) const SMS: u32 = 16;
/// Lowest priority of streams, highest priority.
pub(crate) const PRIORITIES: (i32, i32) = (0, -5);
/// What `cuDriverGetVersion` answers.
pub(crate) const DRIVER_VERSION: i32 = 13_000;

/// The identity of a device, which stays from start to start.
pub(crate) fn uuid_of(place: usize) -> [u8; 16] {
    let mut uuid = *b"gpuckpt mock \x00\x00\x00";
    uuid[6] = 0x47;
    uuid[8] = 0x80 | (uuid[8] & 0x3f);
    uuid[15] = place as u8;
    uuid
}

impl Device {
    pub(crate) fn new(ordinal: usize, place: usize, config: &Config) -> Device {
        Device {
            ordinal,
            place,
            memory: config.memory,
            used: Arc::default(),
            sm: config.sm,
            primary: OnceLock::new(),
        }
    }

    /// The name.
    pub(crate) fn name(&self) -> &'static str {
        "gpuckpt mock device"
    }

    /// An identity that stays from start to start.
    pub(crate) fn uuid(&self) -> [u8; 16] {
        uuid_of(self.place)
    }

    /// The PCI address, as `domain:bus:device.function`.
    pub(crate) fn pci(&self) -> String {
        format!("0000:{:02X}:00.0", self.pci_bus())
    }

    fn pci_bus(&self) -> usize {
        0x10 + 0x10 * self.place
    }

    /// The value of an attribute; `None` for one that does not exist.
    #[allow(clippy::too_many_lines, reason = "a table")]
    pub(crate) fn attribute(&self, attribute: CUdevice_attribute) -> Option<i32> {
        use cuda_abi::driver::device::*;
        let value = match attribute {
            CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK
            | CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X
            | CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y => MAX_BLOCK_THREADS as i32,
            CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z => 64,
            CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X | CU_DEVICE_ATTRIBUTE_MAX_PITCH => i32::MAX,
            CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y | CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z => 65535,
            CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK => SHARED_DEFAULT as i32,
            CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY => 65536,
            CU_DEVICE_ATTRIBUTE_WARP_SIZE => 32,
            CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK
            | CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR => REGISTERS_PER_SM as i32,
            CU_DEVICE_ATTRIBUTE_CLOCK_RATE => 1_500_000,
            CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT | CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT => 512,
            CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT => 32,
            CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT => SMS as i32,
            CU_DEVICE_ATTRIBUTE_COMPUTE_MODE => CU_COMPUTEMODE_DEFAULT as i32,
            CU_DEVICE_ATTRIBUTE_PCI_BUS_ID => self.pci_bus() as i32,
            CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE => 1_600_000,
            CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH => 5120,
            CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE => 32 << 20,
            CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR => THREADS_PER_SM as i32,
            CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT => 2,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => (self.sm / 10) as i32,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => (self.sm % 10) as i32,
            CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR => SHARED_PER_SM as i32,
            CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO => 2,
            CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN => SHARED_OPTIN as i32,
            CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR => BLOCKS_PER_SM as i32,
            CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK => 1024,
            CU_DEVICE_ATTRIBUTE_MEM_SYNC_DOMAIN_COUNT => 1,
            CU_DEVICE_ATTRIBUTE_NUMA_ID | CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID => -1,
            CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_WIDTH
            | CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH => 131_072,
            CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_HEIGHT
            | CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_WIDTH => 65536,
            CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH
            | CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT
            | CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH => 16384,
            CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH => 1 << 27,
            // What it has.
            CU_DEVICE_ATTRIBUTE_GPU_OVERLAP
            | CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY
            | CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS
            | CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING
            | CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED
            | CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED
            | CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED
            | CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED
            | CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
            | CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH
            | CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED
            | CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY
            | CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS
            | CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED
            | CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
            | CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED
            | CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS => 1,
            // What it has not: textures beyond those above, pools,
            // stream memory operations, clusters, interprocess
            // anything, and whatever came after this table.
            1..=158 | CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_LOCALIZED_MEMORY_SUPPORTED => 0,
            _ => return None,
        };
        Some(value)
    }

    /// The answer of the deprecated `cuDeviceGetProperties`.
    pub(crate) fn properties(&self) -> CUdevprop {
        CUdevprop {
            maxThreadsPerBlock: MAX_BLOCK_THREADS as i32,
            maxThreadsDim: [MAX_BLOCK_THREADS as i32, MAX_BLOCK_THREADS as i32, 64],
            maxGridSize: [i32::MAX, 65535, 65535],
            sharedMemPerBlock: SHARED_DEFAULT as i32,
            totalConstantMemory: 65536,
            SIMDWidth: 32,
            memPitch: i32::MAX,
            regsPerBlock: REGISTERS_PER_SM as i32,
            clockRate: 1_500_000,
            textureAlign: 512,
        }
    }
}
