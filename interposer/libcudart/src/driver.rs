//! The driver API, found at run time and called with typed arguments.
//!
//! Pointers that come from the application are handed on to the driver as they are: whether they
//! are good is between those two. Pointers of our own lead to locals that outlive the call.
#![allow(unsafe_code, reason = "loads a library and calls its functions")]

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use cuda_abi::driver::*;
use cuda_abi::runtime::*;

use crate::export::Answer;

/// The table of driver functions: field, symbol, the API version whose form is wanted, arguments.
macro_rules! driver {
    ($($field:ident = $name:literal $version:literal ($($arg:ident: $ty:ty),* $(,)?);)*) => {
        /// Every driver function this library calls; those that the driver lacks are `None`.
        pub(crate) struct Driver {
            $($field: Option<unsafe extern "C" fn($($ty),*) -> CUresult>,)*
        }

        impl Driver {
            fn resolve(find: &dyn Fn(&CStr, c_int) -> *mut c_void) -> Self {
                Self {
                    $($field: {
                        let address = find($name, $version);
                        // SAFETY: the driver's function of that name and version has this type;
                        // a null pointer is `None`.
                        unsafe { core::mem::transmute::<
                            *mut c_void,
                            Option<unsafe extern "C" fn($($ty),*) -> CUresult>,
                        >(address) }
                    },)*
                }
            }

            $(
                #[allow(clippy::too_many_arguments, reason = "the driver's arguments")]
                pub(crate) fn $field(&self, $($arg: $ty),*) -> Answer {
                    let Some(call) = self.$field else { return Err(missing($name)) };
                    // SAFETY: see the module's documentation.
                    let result = unsafe { call($($arg),*) };
                    result.ok().map_err(CudaError::from)
                }
            )*
        }
    };
}

driver! {
    init = c"cuInit" 2000 (flags: c_uint);
    driver_get_version = c"cuDriverGetVersion" 2020 (version: *mut c_int);
    device_get_count = c"cuDeviceGetCount" 2000 (count: *mut c_int);
    device_get_name = c"cuDeviceGetName" 2000 (name: *mut c_char, len: c_int, device: CUdevice);
    device_total_mem = c"cuDeviceTotalMem" 3020 (bytes: *mut usize, device: CUdevice);
    device_get_attribute = c"cuDeviceGetAttribute" 2000 (
        value: *mut c_int, attribute: CUdevice_attribute, device: CUdevice,
    );
    device_get_p2p_attribute = c"cuDeviceGetP2PAttribute" 8000 (
        value: *mut c_int, attribute: CUdevice_P2PAttribute, from: CUdevice, to: CUdevice,
    );
    device_get_uuid = c"cuDeviceGetUuid" 11040 (uuid: *mut CUuuid, device: CUdevice);
    device_get_by_pci_bus_id = c"cuDeviceGetByPCIBusId" 4010 (
        device: *mut CUdevice, id: *const c_char,
    );
    device_get_pci_bus_id = c"cuDeviceGetPCIBusId" 4010 (
        id: *mut c_char, len: c_int, device: CUdevice,
    );
    device_can_access_peer = c"cuDeviceCanAccessPeer" 4000 (
        can: *mut c_int, device: CUdevice, peer: CUdevice,
    );
    primary_ctx_retain = c"cuDevicePrimaryCtxRetain" 7000 (
        context: *mut CUcontext, device: CUdevice,
    );
    primary_ctx_release = c"cuDevicePrimaryCtxRelease" 11000 (device: CUdevice);
    primary_ctx_reset = c"cuDevicePrimaryCtxReset" 11000 (device: CUdevice);
    primary_ctx_set_flags = c"cuDevicePrimaryCtxSetFlags" 11000 (device: CUdevice, flags: c_uint);
    primary_ctx_get_state = c"cuDevicePrimaryCtxGetState" 7000 (
        device: CUdevice, flags: *mut c_uint, active: *mut c_int,
    );
    mem_alloc_managed = c"cuMemAllocManaged" 6000 (
        address: *mut CUdeviceptr, bytes: usize, flags: c_uint,
    );
    mem_prefetch_async = c"cuMemPrefetchAsync" 12020 (
        address: CUdeviceptr, bytes: usize, to: u64, flags: c_uint, stream: CUstream,
    );
    mem_advise = c"cuMemAdvise" 12020 (
        address: CUdeviceptr, bytes: usize, advice: c_uint, place: u64,
    );
    stream_attach_mem_async = c"cuStreamAttachMemAsync" 6000 (
        stream: CUstream, address: CUdeviceptr, bytes: usize, flags: c_uint,
    );
    ctx_get_current = c"cuCtxGetCurrent" 4000 (context: *mut CUcontext);
    ctx_set_current = c"cuCtxSetCurrent" 4000 (context: CUcontext);
    ctx_get_device = c"cuCtxGetDevice" 2000 (device: *mut CUdevice);
    ctx_synchronize = c"cuCtxSynchronize" 2000 ();
    ctx_get_limit = c"cuCtxGetLimit" 3010 (value: *mut usize, limit: CUlimit);
    ctx_set_limit = c"cuCtxSetLimit" 3010 (limit: CUlimit, value: usize);
    ctx_get_cache_config = c"cuCtxGetCacheConfig" 3020 (config: *mut CUfunc_cache);
    ctx_set_cache_config = c"cuCtxSetCacheConfig" 3020 (config: CUfunc_cache);
    ctx_get_shared_mem_config = c"cuCtxGetSharedMemConfig" 4020 (config: *mut CUsharedconfig);
    ctx_set_shared_mem_config = c"cuCtxSetSharedMemConfig" 4020 (config: CUsharedconfig);
    ctx_get_stream_priority_range = c"cuCtxGetStreamPriorityRange" 5050 (
        least: *mut c_int, greatest: *mut c_int,
    );
    ctx_reset_persisting_l2_cache = c"cuCtxResetPersistingL2Cache" 11000 ();
    ctx_enable_peer_access = c"cuCtxEnablePeerAccess" 4000 (peer: CUcontext, flags: c_uint);
    ctx_disable_peer_access = c"cuCtxDisablePeerAccess" 4000 (peer: CUcontext);
    library_load_data = c"cuLibraryLoadData" 12000 (
        library: *mut CUlibrary, code: *const c_void, jit_options: *mut CUjit_option,
        jit_values: *mut *mut c_void, n_jit: c_uint, options: *mut CUlibraryOption,
        values: *mut *mut c_void, n: c_uint,
    );
    library_load_from_file = c"cuLibraryLoadFromFile" 12000 (
        library: *mut CUlibrary, file: *const c_char, jit_options: *mut CUjit_option,
        jit_values: *mut *mut c_void, n_jit: c_uint, options: *mut CUlibraryOption,
        values: *mut *mut c_void, n: c_uint,
    );
    library_unload = c"cuLibraryUnload" 12000 (library: CUlibrary);
    library_get_kernel = c"cuLibraryGetKernel" 12000 (
        kernel: *mut CUkernel, library: CUlibrary, name: *const c_char,
    );
    library_get_global = c"cuLibraryGetGlobal" 12000 (
        address: *mut CUdeviceptr, bytes: *mut usize, library: CUlibrary, name: *const c_char,
    );
    library_get_managed = c"cuLibraryGetManaged" 12000 (
        address: *mut CUdeviceptr, bytes: *mut usize, library: CUlibrary, name: *const c_char,
    );
    library_get_unified_function = c"cuLibraryGetUnifiedFunction" 12000 (
        function: *mut *mut c_void, library: CUlibrary, symbol: *const c_char,
    );
    library_get_kernel_count = c"cuLibraryGetKernelCount" 12040 (
        count: *mut c_uint, library: CUlibrary,
    );
    library_enumerate_kernels = c"cuLibraryEnumerateKernels" 12040 (
        kernels: *mut CUkernel, n: c_uint, library: CUlibrary,
    );
    kernel_get_function = c"cuKernelGetFunction" 12000 (
        function: *mut CUfunction, kernel: CUkernel,
    );
    kernel_set_attribute = c"cuKernelSetAttribute" 12000 (
        attribute: CUfunction_attribute, value: c_int, kernel: CUkernel, device: CUdevice,
    );
    func_get_attribute = c"cuFuncGetAttribute" 2020 (
        value: *mut c_int, attribute: CUfunction_attribute, function: CUfunction,
    );
    func_set_attribute = c"cuFuncSetAttribute" 9000 (
        function: CUfunction, attribute: CUfunction_attribute, value: c_int,
    );
    func_set_cache_config = c"cuFuncSetCacheConfig" 3000 (
        function: CUfunction, config: CUfunc_cache,
    );
    func_set_shared_mem_config = c"cuFuncSetSharedMemConfig" 4020 (
        function: CUfunction, config: CUsharedconfig,
    );
    func_get_name = c"cuFuncGetName" 12030 (name: *mut *const c_char, function: CUfunction);
    func_get_param_info = c"cuFuncGetParamInfo" 12040 (
        function: CUfunction, index: usize, offset: *mut usize, size: *mut usize,
    );
    occupancy_max_active_blocks = c"cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags" 7000 (
        blocks: *mut c_int, function: CUfunction, block_size: c_int, shared: usize, flags: c_uint,
    );
    occupancy_available_shared = c"cuOccupancyAvailableDynamicSMemPerBlock" 10020 (
        bytes: *mut usize, function: CUfunction, blocks: c_int, block_size: c_int,
    );
    occupancy_max_cluster = c"cuOccupancyMaxPotentialClusterSize" 11070 (
        size: *mut c_int, function: CUfunction, config: *const CUlaunchConfig,
    );
    occupancy_max_active_clusters = c"cuOccupancyMaxActiveClusters" 11070 (
        clusters: *mut c_int, function: CUfunction, config: *const CUlaunchConfig,
    );
    launch_kernel = c"cuLaunchKernel" 4000 (
        function: CUfunction, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint,
        bz: c_uint, shared: c_uint, stream: CUstream, params: *mut *mut c_void,
        extra: *mut *mut c_void,
    );
    launch_kernel_ex = c"cuLaunchKernelEx" 11060 (
        config: *const CUlaunchConfig, function: CUfunction, params: *mut *mut c_void,
        extra: *mut *mut c_void,
    );
    launch_cooperative_kernel = c"cuLaunchCooperativeKernel" 9000 (
        function: CUfunction, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint,
        bz: c_uint, shared: c_uint, stream: CUstream, params: *mut *mut c_void,
    );
    launch_host_func = c"cuLaunchHostFunc" 10000 (
        stream: CUstream, function: CUhostFn, data: *mut c_void,
    );
    mem_get_info = c"cuMemGetInfo" 3020 (free: *mut usize, total: *mut usize);
    mem_alloc = c"cuMemAlloc" 3020 (address: *mut CUdeviceptr, bytes: usize);
    mem_alloc_pitch = c"cuMemAllocPitch" 3020 (
        address: *mut CUdeviceptr, pitch: *mut usize, width: usize, height: usize, element: c_uint,
    );
    mem_free = c"cuMemFree" 3020 (address: CUdeviceptr);
    mem_alloc_async = c"cuMemAllocAsync" 11020 (
        address: *mut CUdeviceptr, bytes: usize, stream: CUstream,
    );
    mem_alloc_from_pool_async = c"cuMemAllocFromPoolAsync" 11020 (
        address: *mut CUdeviceptr, bytes: usize, pool: CUmemoryPool, stream: CUstream,
    );
    mem_free_async = c"cuMemFreeAsync" 11020 (address: CUdeviceptr, stream: CUstream);
    mem_pool_create = c"cuMemPoolCreate" 11020 (
        pool: *mut CUmemoryPool, properties: *const CUmemPoolProps,
    );
    mem_pool_destroy = c"cuMemPoolDestroy" 11020 (pool: CUmemoryPool);
    mem_pool_trim_to = c"cuMemPoolTrimTo" 11020 (pool: CUmemoryPool, keep: usize);
    mem_pool_set_attribute = c"cuMemPoolSetAttribute" 11020 (
        pool: CUmemoryPool, attribute: CUmemPool_attribute, value: *mut c_void,
    );
    mem_pool_get_attribute = c"cuMemPoolGetAttribute" 11020 (
        pool: CUmemoryPool, attribute: CUmemPool_attribute, value: *mut c_void,
    );
    mem_pool_set_access = c"cuMemPoolSetAccess" 11020 (
        pool: CUmemoryPool, access: *const CUmemAccessDesc, count: usize,
    );
    mem_pool_get_access = c"cuMemPoolGetAccess" 11020 (
        flags: *mut CUmemAccess_flags, pool: CUmemoryPool, location: *mut CUmemLocation,
    );
    device_get_default_mem_pool = c"cuDeviceGetDefaultMemPool" 11020 (
        pool: *mut CUmemoryPool, device: CUdevice,
    );
    device_get_mem_pool = c"cuDeviceGetMemPool" 11020 (pool: *mut CUmemoryPool, device: CUdevice);
    device_set_mem_pool = c"cuDeviceSetMemPool" 11020 (device: CUdevice, pool: CUmemoryPool);
    mem_host_alloc = c"cuMemHostAlloc" 2020 (
        address: *mut *mut c_void, bytes: usize, flags: c_uint,
    );
    mem_free_host = c"cuMemFreeHost" 2000 (address: *mut c_void);
    mem_host_register = c"cuMemHostRegister" 6050 (
        address: *mut c_void, bytes: usize, flags: c_uint,
    );
    mem_host_unregister = c"cuMemHostUnregister" 4000 (address: *mut c_void);
    mem_host_get_device_pointer = c"cuMemHostGetDevicePointer" 3020 (
        device: *mut CUdeviceptr, host: *mut c_void, flags: c_uint,
    );
    mem_host_get_flags = c"cuMemHostGetFlags" 2030 (flags: *mut c_uint, host: *mut c_void);
    pointer_get_attributes = c"cuPointerGetAttributes" 7000 (
        n: c_uint, attributes: *mut CUpointer_attribute, data: *mut *mut c_void,
        address: CUdeviceptr,
    );
    memcpy = c"cuMemcpy" 4000 (dst: CUdeviceptr, src: CUdeviceptr, bytes: usize);
    memcpy_async = c"cuMemcpyAsync" 4000 (
        dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, stream: CUstream,
    );
    memcpy_htod = c"cuMemcpyHtoD" 3020 (dst: CUdeviceptr, src: *const c_void, bytes: usize);
    memcpy_htod_async = c"cuMemcpyHtoDAsync" 3020 (
        dst: CUdeviceptr, src: *const c_void, bytes: usize, stream: CUstream,
    );
    memcpy_dtoh = c"cuMemcpyDtoH" 3020 (dst: *mut c_void, src: CUdeviceptr, bytes: usize);
    memcpy_dtoh_async = c"cuMemcpyDtoHAsync" 3020 (
        dst: *mut c_void, src: CUdeviceptr, bytes: usize, stream: CUstream,
    );
    memcpy_dtod = c"cuMemcpyDtoD" 3020 (dst: CUdeviceptr, src: CUdeviceptr, bytes: usize);
    memcpy_dtod_async = c"cuMemcpyDtoDAsync" 3020 (
        dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, stream: CUstream,
    );
    memcpy_2d = c"cuMemcpy2DUnaligned" 3020 (copy: *const CUDA_MEMCPY2D);
    memcpy_2d_async = c"cuMemcpy2DAsync" 3020 (copy: *const CUDA_MEMCPY2D, stream: CUstream);
    memcpy_3d = c"cuMemcpy3D" 3020 (copy: *const CUDA_MEMCPY3D);
    memcpy_3d_async = c"cuMemcpy3DAsync" 3020 (copy: *const CUDA_MEMCPY3D, stream: CUstream);
    memcpy_peer = c"cuMemcpyPeer" 4000 (
        dst: CUdeviceptr, dst_context: CUcontext, src: CUdeviceptr, src_context: CUcontext,
        bytes: usize,
    );
    memcpy_peer_async = c"cuMemcpyPeerAsync" 4000 (
        dst: CUdeviceptr, dst_context: CUcontext, src: CUdeviceptr, src_context: CUcontext,
        bytes: usize, stream: CUstream,
    );
    memset_d8 = c"cuMemsetD8" 3020 (dst: CUdeviceptr, value: u8, n: usize);
    memset_d8_async = c"cuMemsetD8Async" 3020 (
        dst: CUdeviceptr, value: u8, n: usize, stream: CUstream,
    );
    memset_2d8 = c"cuMemsetD2D8" 3020 (
        dst: CUdeviceptr, pitch: usize, value: u8, width: usize, height: usize,
    );
    memset_2d8_async = c"cuMemsetD2D8Async" 3020 (
        dst: CUdeviceptr, pitch: usize, value: u8, width: usize, height: usize, stream: CUstream,
    );
    stream_create = c"cuStreamCreate" 2000 (stream: *mut CUstream, flags: c_uint);
    stream_create_with_priority = c"cuStreamCreateWithPriority" 5050 (
        stream: *mut CUstream, flags: c_uint, priority: c_int,
    );
    stream_destroy = c"cuStreamDestroy" 4000 (stream: CUstream);
    stream_synchronize = c"cuStreamSynchronize" 2000 (stream: CUstream);
    stream_query = c"cuStreamQuery" 2000 (stream: CUstream);
    stream_wait_event = c"cuStreamWaitEvent" 3020 (stream: CUstream, event: CUevent, flags: c_uint);
    stream_add_callback = c"cuStreamAddCallback" 5000 (
        stream: CUstream, callback: CUstreamCallback, data: *mut c_void, flags: c_uint,
    );
    stream_get_flags = c"cuStreamGetFlags" 5050 (stream: CUstream, flags: *mut c_uint);
    stream_get_priority = c"cuStreamGetPriority" 5050 (stream: CUstream, priority: *mut c_int);
    stream_get_id = c"cuStreamGetId" 12000 (stream: CUstream, id: *mut u64);
    stream_get_device = c"cuStreamGetDevice" 12080 (stream: CUstream, device: *mut CUdevice);
    stream_is_capturing = c"cuStreamIsCapturing" 10000 (
        stream: CUstream, status: *mut CUstreamCaptureStatus,
    );
    stream_get_attribute = c"cuStreamGetAttribute" 11000 (
        stream: CUstream, attribute: CUlaunchAttributeID, value: *mut CUlaunchAttributeValue,
    );
    stream_set_attribute = c"cuStreamSetAttribute" 11000 (
        stream: CUstream, attribute: CUlaunchAttributeID, value: *const CUlaunchAttributeValue,
    );
    stream_copy_attributes = c"cuStreamCopyAttributes" 11000 (dst: CUstream, src: CUstream);
    exchange_capture_mode = c"cuThreadExchangeStreamCaptureMode" 10010 (
        mode: *mut CUstreamCaptureMode,
    );
    event_create = c"cuEventCreate" 2000 (event: *mut CUevent, flags: c_uint);
    event_record = c"cuEventRecord" 2000 (event: CUevent, stream: CUstream);
    event_record_with_flags = c"cuEventRecordWithFlags" 11010 (
        event: CUevent, stream: CUstream, flags: c_uint,
    );
    event_query = c"cuEventQuery" 2000 (event: CUevent);
    event_synchronize = c"cuEventSynchronize" 2000 (event: CUevent);
    event_destroy = c"cuEventDestroy" 4000 (event: CUevent);
    event_elapsed_time = c"cuEventElapsedTime" 2000 (
        milliseconds: *mut f32, start: CUevent, end: CUevent,
    );
    get_proc_address = c"cuGetProcAddress" 12000 (
        symbol: *const c_char, function: *mut *mut c_void, version: c_int, flags: u64,
        status: *mut CUdriverProcAddressQueryResult,
    );
}

type GetProcAddress = unsafe extern "C" fn(
    *const c_char,
    *mut *mut c_void,
    c_int,
    u64,
    *mut CUdriverProcAddressQueryResult,
) -> CUresult;

static DRIVER: OnceLock<Answer<Driver>> = OnceLock::new();

/// The driver, loaded and initialised at the first call.
pub(crate) fn driver() -> Answer<&'static Driver> {
    DRIVER.get_or_init(load).as_ref().map_err(|&error| error)
}

/// The driver, if a call has needed it yet and it is still there: not while the process exits.
pub(crate) fn driver_if_loaded() -> Option<&'static Driver> {
    if EXITING.load(Ordering::Relaxed) {
        return None;
    }
    DRIVER.get().and_then(|driver| driver.as_ref().ok())
}

static EXITING: AtomicBool = AtomicBool::new(false);

/// Runs before the exit handlers that programs registered before their first CUDA call, which
/// unregister their device code: by then the driver may be gone.
extern "C" fn note_exit() {
    EXITING.store(true, Ordering::Relaxed);
}

fn load() -> Answer<Driver> {
    // SAFETY: a constant name; the library's constructors are the driver's business.
    let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return Err(cudaErrorInsufficientDriver);
    }
    // SAFETY: the library was just opened and is never closed.
    let find = unsafe { libc::dlsym(library, c"cuGetProcAddress_v2".as_ptr()) };
    // SAFETY: the symbol's type is fixed by the driver API; null is `None`.
    let find = unsafe { core::mem::transmute::<*mut c_void, Option<GetProcAddress>>(find) };
    let find = find.ok_or(cudaErrorInsufficientDriver)?;
    let driver = Driver::resolve(&|name, version| {
        let (mut address, mut status) = (core::ptr::null_mut(), 0);
        // SAFETY: name and both answers' places are valid for the call.
        let result = unsafe { find(name.as_ptr(), &mut address, version, 0, &mut status) };
        if result.is_ok() {
            address
        } else {
            core::ptr::null_mut()
        }
    });
    driver.init(0)?;
    // SAFETY: the handler is a function of this library, which is never unloaded.
    unsafe { libc::atexit(note_exit) };
    Ok(driver)
}

/// The driver lacks a function: says so once for all.
fn missing(name: &CStr) -> CudaError {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        eprintln!(
            "gpuckpt: libcudart: the driver has no {}",
            name.to_string_lossy()
        );
    }
    cudaErrorNotSupported
}
