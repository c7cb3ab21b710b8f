//! `cudaGetDeviceProperties`: one structure made of a hundred attributes.
#![allow(
    unsafe_code,
    reason = "exports symbols by name and fills the application's structures"
)]

use core::ffi::{c_int, c_void};

use cuda_abi::driver::*;
use cuda_abi::runtime::*;

use crate::context::{check_device, count};
use crate::driver::{Driver, driver};
use crate::export::{Answer, Out};
use crate::version::is_12;

/// A device that is being asked.
struct Asked {
    driver: &'static Driver,
    device: CUdevice,
}

impl Asked {
    /// An attribute; one that the driver does not know is zero.
    fn get(&self, attribute: CUdevice_attribute) -> i32 {
        let mut value = 0;
        match self
            .driver
            .device_get_attribute(&mut value, attribute, self.device)
        {
            Ok(()) => value,
            Err(_) => 0,
        }
    }

    fn size(&self, attribute: CUdevice_attribute) -> usize {
        usize::try_from(self.get(attribute)).unwrap_or(0)
    }

    fn name(&self) -> Answer<[u8; 256]> {
        let mut name = [0; 256];
        self.driver
            .device_get_name(name.as_mut_ptr().cast(), 256, self.device)?;
        Ok(name)
    }

    fn uuid(&self) -> [u8; 16] {
        let mut uuid = CUuuid { bytes: [0; 16] };
        match self.driver.device_get_uuid(&mut uuid, self.device) {
            Ok(()) => uuid.bytes.map(|byte| byte as u8),
            Err(_) => [0; 16],
        }
    }

    fn memory(&self) -> Answer<usize> {
        let mut bytes = 0;
        self.driver.device_total_mem(&mut bytes, self.device)?;
        Ok(bytes)
    }
}

/// Fills the fields that both layouts have.
macro_rules! common {
    ($to:ident, $of:ident) => {{
        let get = |attribute| $of.get(attribute);
        let size = |attribute| $of.size(attribute);
        $to.name = $of.name()?;
        $to.uuid = $of.uuid();
        $to.totalGlobalMem = $of.memory()?;
        $to.sharedMemPerBlock = size(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
        $to.regsPerBlock = get(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK);
        $to.warpSize = get(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
        $to.memPitch = size(CU_DEVICE_ATTRIBUTE_MAX_PITCH);
        $to.maxThreadsPerBlock = get(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
        $to.maxThreadsDim = [
            get(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X),
            get(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y),
            get(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z),
        ];
        $to.maxGridSize = [
            get(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X),
            get(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y),
            get(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z),
        ];
        $to.totalConstMem = size(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY);
        $to.major = get(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
        $to.minor = get(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
        $to.textureAlignment = size(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT);
        $to.texturePitchAlignment = size(CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT);
        $to.multiProcessorCount = get(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        $to.integrated = get(CU_DEVICE_ATTRIBUTE_INTEGRATED);
        $to.canMapHostMemory = get(CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY);
        $to.surfaceAlignment = size(CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT);
        $to.concurrentKernels = get(CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS);
        $to.ECCEnabled = get(CU_DEVICE_ATTRIBUTE_ECC_ENABLED);
        $to.pciBusID = get(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID);
        $to.pciDeviceID = get(CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID);
        $to.pciDomainID = get(CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID);
        $to.tccDriver = get(CU_DEVICE_ATTRIBUTE_TCC_DRIVER);
        $to.asyncEngineCount = get(CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT);
        $to.unifiedAddressing = get(CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING);
        $to.memoryBusWidth = get(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
        $to.l2CacheSize = get(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
        $to.persistingL2CacheMaxSize = get(CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE);
        $to.maxThreadsPerMultiProcessor = get(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
        $to.streamPrioritiesSupported = get(CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED);
        $to.globalL1CacheSupported = get(CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED);
        $to.localL1CacheSupported = get(CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED);
        $to.sharedMemPerMultiprocessor =
            size(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
        $to.regsPerMultiprocessor = get(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR);
        $to.managedMemory = get(CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY);
        $to.isMultiGpuBoard = get(CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD);
        $to.multiGpuBoardGroupID = get(CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID);
        $to.hostNativeAtomicSupported = get(CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED);
        $to.pageableMemoryAccess = get(CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS);
        $to.concurrentManagedAccess = get(CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS);
        $to.computePreemptionSupported = get(CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED);
        $to.canUseHostPointerForRegisteredMem =
            get(CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM);
        $to.cooperativeLaunch = get(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH);
        $to.sharedMemPerBlockOptin = size(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
        $to.pageableMemoryAccessUsesHostPageTables =
            get(CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES);
        $to.directManagedMemAccessFromHost =
            get(CU_DEVICE_ATTRIBUTE_DIRECT_MANAGED_MEM_ACCESS_FROM_HOST);
        $to.maxBlocksPerMultiProcessor = get(CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR);
        $to.accessPolicyMaxWindowSize = get(CU_DEVICE_ATTRIBUTE_MAX_ACCESS_POLICY_WINDOW_SIZE);
        $to.reservedSharedMemPerBlock = size(CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK);
        $to.hostRegisterSupported = get(CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED);
        $to.sparseCudaArraySupported = get(CU_DEVICE_ATTRIBUTE_SPARSE_CUDA_ARRAY_SUPPORTED);
        $to.hostRegisterReadOnlySupported =
            get(CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED);
        $to.timelineSemaphoreInteropSupported =
            get(CU_DEVICE_ATTRIBUTE_TIMELINE_SEMAPHORE_INTEROP_SUPPORTED);
        $to.memoryPoolsSupported = get(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED);
        $to.gpuDirectRDMASupported = get(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED);
        $to.gpuDirectRDMAFlushWritesOptions =
            get(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS) as u32;
        $to.gpuDirectRDMAWritesOrdering = get(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING);
        $to.memoryPoolSupportedHandleTypes =
            get(CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES) as u32;
        $to.deferredMappingCudaArraySupported =
            get(CU_DEVICE_ATTRIBUTE_DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED);
        $to.ipcEventSupported = get(CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED);
        $to.clusterLaunch = get(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH);
        $to.unifiedFunctionPointers = get(CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS);
        textures!($to, get);
        surfaces!($to, get);
    }};
}

macro_rules! textures {
    ($to:ident, $get:ident) => {
        $to.maxTexture1D = $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_WIDTH);
        $to.maxTexture1DMipmap = $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_MIPMAPPED_WIDTH);
        $to.maxTexture2D = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_HEIGHT),
        ];
        $to.maxTexture2DMipmap = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_MIPMAPPED_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT),
        ];
        $to.maxTexture2DLinear = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_HEIGHT),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_PITCH),
        ];
        $to.maxTexture2DGather = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_GATHER_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_GATHER_HEIGHT),
        ];
        $to.maxTexture3D = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH),
        ];
        $to.maxTexture3DAlt = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH_ALTERNATE),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT_ALTERNATE),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH_ALTERNATE),
        ];
        $to.maxTextureCubemap = $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_WIDTH);
        $to.maxTexture1DLayered = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LAYERED_LAYERS),
        ];
        $to.maxTexture2DLayered = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_HEIGHT),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LAYERED_LAYERS),
        ];
        $to.maxTextureCubemapLayered = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_LAYERED_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURECUBEMAP_LAYERED_LAYERS),
        ];
    };
}

macro_rules! surfaces {
    ($to:ident, $get:ident) => {
        $to.maxSurface1D = $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_WIDTH);
        $to.maxSurface2D = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_HEIGHT),
        ];
        $to.maxSurface3D = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_HEIGHT),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE3D_DEPTH),
        ];
        $to.maxSurface1DLayered = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_LAYERED_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_LAYERED_LAYERS),
        ];
        $to.maxSurface2DLayered = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_HEIGHT),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE2D_LAYERED_LAYERS),
        ];
        $to.maxSurfaceCubemap = $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_WIDTH);
        $to.maxSurfaceCubemapLayered = [
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_LAYERED_WIDTH),
            $get(CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACECUBEMAP_LAYERED_LAYERS),
        ];
    };
}

fn properties_12(of: &Asked) -> Answer<CudaDeviceProp12> {
    // SAFETY: integers and arrays of integers, for which zero is a value.
    let mut to: CudaDeviceProp12 = unsafe { core::mem::zeroed() };
    common!(to, of);
    to.clockRate = of.get(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
    to.deviceOverlap = of.get(CU_DEVICE_ATTRIBUTE_GPU_OVERLAP);
    to.kernelExecTimeoutEnabled = of.get(CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT);
    to.computeMode = of.get(CU_DEVICE_ATTRIBUTE_COMPUTE_MODE);
    to.maxTexture1DLinear = of.get(CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH);
    to.memoryClockRate = of.get(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
    to.singleToDoublePrecisionPerfRatio =
        of.get(CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO);
    to.cooperativeMultiDeviceLaunch = of.get(CU_DEVICE_ATTRIBUTE_COOPERATIVE_MULTI_DEVICE_LAUNCH);
    Ok(to)
}

fn properties_13(of: &Asked) -> Answer<CudaDeviceProp13> {
    // SAFETY: integers and arrays of integers, for which zero is a value.
    let mut to: CudaDeviceProp13 = unsafe { core::mem::zeroed() };
    common!(to, of);
    to.deviceNumaConfig = of.get(CU_DEVICE_ATTRIBUTE_NUMA_CONFIG);
    to.deviceNumaId = of.get(CU_DEVICE_ATTRIBUTE_NUMA_ID);
    to.mpsEnabled = of.get(CU_DEVICE_ATTRIBUTE_MPS_ENABLED);
    to.hostNumaId = of.get(CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID);
    to.gpuPciDeviceID = of.get(CU_DEVICE_ATTRIBUTE_GPU_PCI_DEVICE_ID) as u32;
    to.gpuPciSubsystemID = of.get(CU_DEVICE_ATTRIBUTE_GPU_PCI_SUBSYSTEM_ID) as u32;
    to.hostNumaMultinodeIpcSupported =
        of.get(CU_DEVICE_ATTRIBUTE_HOST_NUMA_MULTINODE_IPC_SUPPORTED);
    Ok(to)
}

/// Copies the first `size` bytes of a structure to the application's place for them.
fn give<T>(to: *mut c_void, from: &T, size: usize) -> Answer {
    if to.is_null() {
        return Err(cudaErrorInvalidValue);
    }
    let size = size.min(size_of::<T>());
    // SAFETY: the application's structure has `size` bytes by the API's contract; `from` has them.
    unsafe {
        core::ptr::copy_nonoverlapping(core::ptr::from_ref(from).cast::<u8>(), to.cast(), size)
    };
    Ok(())
}

fn ask(device: c_int) -> Answer<Asked> {
    let driver = driver()?;
    check_device(driver, device)?;
    Ok(Asked { driver, device })
}

/// What a program may ask for in `cudaChooseDevice`, of the fields that tell devices apart; zero
/// asks for nothing.
struct Wanted {
    major: i32,
    minor: i32,
    memory: usize,
    multiprocessors: i32,
}

impl Wanted {
    fn read(from: *const c_void) -> Answer<Self> {
        if from.is_null() {
            return Err(cudaErrorInvalidValue);
        }
        macro_rules! take {
            ($layout:ty) => {{
                // SAFETY: not null, and the application's structure, whose layout is that of the
                // version it was linked with.
                let from = unsafe { from.cast::<$layout>().read_unaligned() };
                Self {
                    major: from.major,
                    minor: from.minor,
                    memory: from.totalGlobalMem,
                    multiprocessors: from.multiProcessorCount,
                }
            }};
        }
        Ok(if is_12() {
            take!(CudaDeviceProp12)
        } else {
            take!(CudaDeviceProp13)
        })
    }

    /// How many of the wishes a device fulfils.
    fn score(&self, of: &Asked) -> Answer<u32> {
        let capability = (
            of.get(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            of.get(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        );
        let multiprocessors = of.get(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        Ok(u32::from(capability >= (self.major, self.minor))
            + u32::from(of.memory()? >= self.memory)
            + u32::from(multiprocessors >= self.multiprocessors))
    }
}

export! {
    fn cudaChooseDevice(to: Out<c_int>, wanted: *const c_void) {
        to.check()?;
        let wanted = Wanted::read(wanted)?;
        let (mut best, mut most) = (0, None);
        for device in 0..count(driver()?)? {
            let score = wanted.score(&ask(device)?)?;
            // The first of equals.
            if most.is_none_or(|most| score > most) {
                (best, most) = (device, Some(score));
            }
        }
        if most.is_none() { Err(cudaErrorNoDevice) } else { to.set(best) }
    }

    fn cudaGetDeviceProperties(properties: *mut c_void, device: c_int) {
        let asked = ask(device)?;
        if is_12() {
            give(properties, &properties_12(&asked)?, DEVICE_PROP_11_SIZE)
        } else {
            give(properties, &properties_13(&asked)?, usize::MAX)
        }
    }

    fn cudaGetDeviceProperties_v2(properties: *mut c_void, device: c_int) {
        give(properties, &properties_12(&ask(device)?)?, usize::MAX)
    }
}
