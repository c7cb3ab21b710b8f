//! The driver API by hand, in the probe's own process: `libcuda.so.1` is loaded by
//! path, each call is looked up when the library is loaded, and a call that the
//! driver lacks is an error that names it when it is made.
//!
//! Calls are `unsafe` as in C: pointers must be good for what the manual says. The
//! small safe layer above ([`Session`]) covers what most probes do.
#![allow(unsafe_code, reason = "calls into a C library")]
#![allow(non_snake_case, reason = "each name is the driver API's own")]

use cuda_abi::driver::{
    CU_MEM_ACCESS_FLAGS_PROT_READWRITE, CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction,
    CUmemAccessDesc, CUmemAllocationProp, CUmemGenericAllocationHandle, CUmodule, CUresult,
    CUstream,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;

/// Why a driver call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The library cannot be loaded.
    #[error("cannot load the driver {path}: {why}")]
    Load {
        /// What was asked for.
        path: String,
        /// The dynamic linker's words.
        why: String,
    },
    /// The driver is too old, or new enough to have dropped it.
    #[error("the driver has no {0}")]
    Missing(&'static str),
    /// The driver's answer.
    #[error("{call}: {result}")]
    Said {
        /// What was called.
        call: &'static str,
        /// What it answered.
        result: CUresult,
    },
}

impl DriverError {
    /// The driver's answer, when it gave one.
    #[must_use]
    pub fn result(&self) -> Option<CUresult> {
        match self {
            DriverError::Said { result, .. } => Some(*result),
            _ => None,
        }
    }
}

macro_rules! driver_calls {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {
        /// A loaded driver.
        #[derive(Debug)]
        pub struct Driver {
            $($name: Option<unsafe extern "C" fn($($ty),*) -> CUresult>,)*
            library: Library,
        }

        impl Driver {
            fn look_up(library: Library) -> Self {
                Self {
                    // SAFETY: the name's type is the driver API's, as the manual gives it; the
                    // library stays loaded as long as the struct lives.
                    $($name: unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }
                        .ok().map(|symbol| *symbol),)*
                    library,
                }
            }

            $(
                #[doc = concat!("`", stringify!($name), "`")]
                ///
                /// # Safety
                /// Pointers are good for what the driver API's manual says.
                ///
                /// # Errors
                /// The driver lacks the call, or its answer.
                #[allow(clippy::too_many_arguments, reason = "the driver API's own")]
                pub unsafe fn $name(&self, $($arg: $ty),*) -> Result<(), DriverError> {
                    const NAME: &str = stringify!($name);
                    let call = self.$name.ok_or(DriverError::Missing(NAME))?;
                    // SAFETY: as the caller promises.
                    let result = unsafe { call($($arg),*) };
                    result.ok().map_err(|result| DriverError::Said { call: NAME, result })
                }
            )*
        }
    };
}

driver_calls! {
    cuInit(flags: u32);
    cuDriverGetVersion(version: *mut i32);
    cuDeviceGetCount(count: *mut i32);
    cuDeviceGet(device: *mut CUdevice, ordinal: i32);
    cuDeviceGetName(name: *mut c_char, len: i32, device: CUdevice);
    cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice);
    cuDeviceGetAttribute(value: *mut i32, attribute: u32, device: CUdevice);
    cuCtxCreate_v2(context: *mut CUcontext, flags: u32, device: CUdevice);
    cuCtxDestroy_v2(context: CUcontext);
    cuCtxSetCurrent(context: CUcontext);
    cuCtxSynchronize();
    cuModuleLoadData(module: *mut CUmodule, image: *const c_void);
    cuModuleUnload(module: CUmodule);
    cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char);
    cuModuleGetGlobal_v2(address: *mut CUdeviceptr, bytes: *mut usize, module: CUmodule, name: *const c_char);
    cuMemAlloc_v2(address: *mut CUdeviceptr, bytes: usize);
    cuMemFree_v2(address: CUdeviceptr);
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    cuMemAllocHost_v2(address: *mut *mut c_void, bytes: usize);
    cuMemFreeHost(address: *mut c_void);
    cuMemHostRegister_v2(address: *mut c_void, bytes: usize, flags: u32);
    cuMemHostUnregister(address: *mut c_void);
    cuMemcpyHtoD_v2(to: CUdeviceptr, from: *const c_void, bytes: usize);
    cuMemcpyDtoH_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize);
    cuMemcpyDtoD_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize);
    cuMemcpyHtoDAsync_v2(to: CUdeviceptr, from: *const c_void, bytes: usize, stream: CUstream);
    cuMemcpyDtoHAsync_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize, stream: CUstream);
    cuMemcpyDtoDAsync_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream);
    cuMemsetD8_v2(to: CUdeviceptr, value: u8, count: usize);
    cuMemsetD32_v2(to: CUdeviceptr, value: u32, count: usize);
    cuStreamCreate(stream: *mut CUstream, flags: u32);
    cuStreamDestroy_v2(stream: CUstream);
    cuStreamSynchronize(stream: CUstream);
    cuStreamQuery(stream: CUstream);
    cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: u32);
    cuEventCreate(event: *mut CUevent, flags: u32);
    cuEventDestroy_v2(event: CUevent);
    cuEventRecord(event: CUevent, stream: CUstream);
    cuEventSynchronize(event: CUevent);
    cuEventElapsedTime(milliseconds: *mut f32, from: CUevent, to: CUevent);
    cuLaunchKernel(function: CUfunction, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: CUstream, args: *mut *mut c_void, extra: *mut *mut c_void);
    cuMemGetAllocationGranularity(bytes: *mut usize, prop: *const CUmemAllocationProp, option: u32);
    cuMemAddressReserve(address: *mut CUdeviceptr, bytes: usize, alignment: usize, wish: CUdeviceptr, flags: u64);
    cuMemAddressFree(address: CUdeviceptr, bytes: usize);
    cuMemCreate(handle: *mut CUmemGenericAllocationHandle, bytes: usize, prop: *const CUmemAllocationProp, flags: u64);
    cuMemRelease(handle: CUmemGenericAllocationHandle);
    cuMemMap(address: CUdeviceptr, bytes: usize, offset: usize, handle: CUmemGenericAllocationHandle, flags: u64);
    cuMemUnmap(address: CUdeviceptr, bytes: usize);
    cuMemSetAccess(address: CUdeviceptr, bytes: usize, access: *const CUmemAccessDesc, count: usize);
    cuFuncGetAttribute(value: *mut i32, attribute: u32, function: CUfunction);
}

impl Driver {
    /// Loads the driver by path or soname.
    ///
    /// # Errors
    /// The dynamic linker's.
    pub fn load(path: &Path) -> Result<Self, DriverError> {
        let open = |path: &Path| {
            // SAFETY: the initialisers of the driver, ours or NVIDIA's, may run.
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        };
        let library = open(path).or_else(|error| {
            // A container's linker cache may not know the driver.
            let elsewhere = crate::kit::driver_elsewhere();
            match elsewhere.filter(|_| path.parent().is_some_and(|p| p.as_os_str().is_empty())) {
                Some(found) => open(&found),
                None => Err(error),
            }
        });
        let library = library.map_err(|error| DriverError::Load {
            path: path.display().to_string(),
            why: error.to_string(),
        })?;
        Ok(Self::look_up(library))
    }

    /// A function that the table above lacks; `None` when the driver lacks it too.
    ///
    /// # Safety
    /// `F` is the function's type, an `unsafe extern "C" fn`.
    pub unsafe fn symbol<F: Copy>(&self, name: &CStr) -> Option<F> {
        // SAFETY: as the caller promises; the copy is used while the driver is loaded.
        let symbol = unsafe { self.library.get::<F>(name.to_bytes_with_nul()) };
        symbol.ok().map(|symbol| *symbol)
    }

    /// `cuInit` and the number of devices.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn init(&self) -> Result<i32, DriverError> {
        let mut count = 0;
        // SAFETY: the pointer is good for one number.
        unsafe {
            self.cuInit(0)?;
            self.cuDeviceGetCount(&mut count)?;
        }
        Ok(count)
    }

    /// The CUDA version of the driver: 12040 is 12.4.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn version(&self) -> Result<i32, DriverError> {
        let mut version = 0;
        // SAFETY: the pointer is good for one number.
        unsafe { self.cuDriverGetVersion(&mut version)? };
        Ok(version)
    }

    /// Name of a device.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn device_name(&self, device: CUdevice) -> Result<String, DriverError> {
        let mut name = [0_u8; 256];
        // SAFETY: the buffer is as long as said; one byte stays zero.
        unsafe { self.cuDeviceGetName(name.as_mut_ptr().cast(), 255, device)? };
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
        Ok(String::from_utf8_lossy(&name[..end]).into_owned())
    }

    /// Memory of a device in bytes.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn total_memory(&self, device: CUdevice) -> Result<usize, DriverError> {
        let mut bytes = 0;
        // SAFETY: the pointer is good for one number.
        unsafe { self.cuDeviceTotalMem_v2(&mut bytes, device)? };
        Ok(bytes)
    }

    /// A `CU_DEVICE_ATTRIBUTE_…`.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn attribute(&self, attribute: u32, device: CUdevice) -> Result<i32, DriverError> {
        let mut value = 0;
        // SAFETY: the pointer is good for one number.
        unsafe { self.cuDeviceGetAttribute(&mut value, attribute, device)? };
        Ok(value)
    }
}

/// Device 0 with a context that is current on this thread. The context is left to
/// the end of the process, as in most programs.
#[derive(Debug)]
pub struct Session {
    /// The driver.
    pub driver: Driver,
    /// The device.
    pub device: CUdevice,
    /// Its context.
    pub context: CUcontext,
}

/// A module that stays loaded.
#[derive(Clone, Copy, Debug)]
pub struct Module(pub CUmodule);

/// A kernel of a module that stays loaded.
#[derive(Clone, Copy, Debug)]
pub struct Function(pub CUfunction);

/// A stream that is not destroyed while it is used.
#[derive(Clone, Copy, Debug)]
pub struct Stream(pub CUstream);

impl Stream {
    /// The context's own.
    pub const LEGACY: Self = Self(std::ptr::null_mut());
}

impl Session {
    /// Initialises the driver and makes a context on device 0.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn open(driver: Driver) -> Result<Self, DriverError> {
        driver.init()?;
        let mut session = Self {
            driver,
            device: 0,
            context: std::ptr::null_mut(),
        };
        // SAFETY: the pointers are good for one value each.
        unsafe {
            session.driver.cuDeviceGet(&mut session.device, 0)?;
            let flags = 0;
            session
                .driver
                .cuCtxCreate_v2(&mut session.context, flags, session.device)?;
        }
        Ok(session)
    }

    /// `cuMemAlloc`.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn alloc(&self, bytes: usize) -> Result<CUdeviceptr, DriverError> {
        let mut address = 0;
        // SAFETY: the pointer is good for one address.
        unsafe { self.driver.cuMemAlloc_v2(&mut address, bytes)? };
        Ok(address)
    }

    /// `cuMemFree`.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn free(&self, address: CUdeviceptr) -> Result<(), DriverError> {
        // SAFETY: the driver checks the address.
        unsafe { self.driver.cuMemFree_v2(address) }
    }

    /// Copies to the device, and waits.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn write<T: Copy>(&self, to: CUdeviceptr, data: &[T]) -> Result<(), DriverError> {
        // SAFETY: the slice is as long as said; the driver checks the device's side.
        unsafe {
            self.driver
                .cuMemcpyHtoD_v2(to, data.as_ptr().cast(), size_of_val(data))
        }
    }

    /// Copies from the device, and waits.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn read(&self, data: &mut [u64], from: CUdeviceptr) -> Result<(), DriverError> {
        // SAFETY: the slice is as long as said, and any bytes are numbers.
        unsafe {
            self.driver
                .cuMemcpyDtoH_v2(data.as_mut_ptr().cast(), from, size_of_val(data))
        }
    }

    /// `cuMemAllocHost`.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn alloc_pinned(&self, to: &mut *mut c_void, bytes: usize) -> Result<(), DriverError> {
        // SAFETY: the pointer is good for one address.
        unsafe { self.driver.cuMemAllocHost_v2(to, bytes) }
    }

    /// `cuMemGetAllocationGranularity`.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn granularity(
        &self,
        prop: &CUmemAllocationProp,
        option: u32,
    ) -> Result<usize, DriverError> {
        let mut bytes = 0;
        // SAFETY: the pointers are good for one value each.
        unsafe {
            self.driver
                .cuMemGetAllocationGranularity(&mut bytes, prop, option)?
        };
        Ok(bytes)
    }

    /// `cuMemAddressReserve`; gives the address that the driver chose.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn reserve(&self, bytes: usize, wish: CUdeviceptr) -> Result<CUdeviceptr, DriverError> {
        let mut address = 0;
        // SAFETY: the pointer is good for one address.
        unsafe {
            self.driver
                .cuMemAddressReserve(&mut address, bytes, 0, wish, 0)?
        };
        Ok(address)
    }

    /// Creates memory and maps it, readable and writable, at a reserved address.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn map(
        &self,
        address: CUdeviceptr,
        bytes: usize,
        prop: &CUmemAllocationProp,
    ) -> Result<(), DriverError> {
        let mut handle = 0;
        let access = CUmemAccessDesc {
            location: prop.location,
            flags: CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        // SAFETY: the pointers are good for one value each; the driver checks the range.
        unsafe {
            self.driver.cuMemCreate(&mut handle, bytes, prop, 0)?;
            self.driver.cuMemMap(address, bytes, 0, handle, 0)?;
            self.driver.cuMemRelease(handle)?;
            self.driver.cuMemSetAccess(address, bytes, &access, 1)
        }
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        // SAFETY: no arguments.
        unsafe { self.driver.cuCtxSynchronize() }
    }

    /// Loads PTX text.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn module(&self, ptx: &CStr) -> Result<Module, DriverError> {
        let mut module = std::ptr::null_mut();
        // SAFETY: the text ends in NUL, as PTX has to.
        unsafe {
            self.driver
                .cuModuleLoadData(&mut module, ptx.as_ptr().cast())?
        };
        Ok(Module(module))
    }

    /// `cuModuleUnload`: nothing of the module may be used after it.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn unload(&self, module: Module) -> Result<(), DriverError> {
        // SAFETY: the driver checks the handle.
        unsafe { self.driver.cuModuleUnload(module.0) }
    }

    /// A kernel of a module.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn function(&self, module: Module, name: &str) -> Result<Function, DriverError> {
        let name = c_name(name);
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded and the name ends in NUL.
        unsafe {
            self.driver
                .cuModuleGetFunction(&mut function, module.0, name.as_ptr())?;
        }
        Ok(Function(function))
    }

    /// Address and size of a module variable.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn global(&self, module: Module, name: &str) -> Result<(CUdeviceptr, usize), DriverError> {
        let name = c_name(name);
        let (mut address, mut bytes) = (0, 0);
        // SAFETY: the module is loaded and the name ends in NUL.
        unsafe {
            self.driver
                .cuModuleGetGlobal_v2(&mut address, &mut bytes, module.0, name.as_ptr())?;
        }
        Ok((address, bytes))
    }

    /// Launches a kernel of one dimension whose parameters are all 8 bytes long.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn launch(
        &self,
        function: Function,
        blocks: u32,
        threads: u32,
        stream: Stream,
        parameters: &mut [u64],
    ) -> Result<(), DriverError> {
        let mut pointers: Vec<*mut c_void> = Vec::with_capacity(parameters.len());
        pointers.extend(
            parameters
                .iter_mut()
                .map(|p| std::ptr::from_mut(p).cast::<c_void>()),
        );
        // SAFETY: each parameter has 8 readable bytes; the driver reads them before it returns.
        unsafe {
            self.driver.cuLaunchKernel(
                function.0,
                blocks,
                1,
                1,
                threads,
                1,
                1,
                0,
                stream.0,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
    }
}

fn c_name(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}
