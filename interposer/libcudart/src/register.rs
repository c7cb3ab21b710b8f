//! What nvcc's start-up code registers: fatbins, kernels, variables.
//!
//! Programs register when they start and when they open a shared object, before any CUDA call;
//! nothing is loaded then. A fatbin becomes a driver library at the first use of a kernel or
//! variable of it. Libraries and kernels belong to no context, so they outlive a device reset.
#![allow(
    unsafe_code,
    reason = "exports symbols by name and reads what nvcc's code hands over"
)]

use core::ffi::{CStr, c_char, c_int, c_void};
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cuda_abi::driver::{CUkernel, CUlibrary};
use cuda_abi::fatbin::{CONTAINER_MAGIC, WRAPPER_MAGIC};
use cuda_abi::runtime::*;

use crate::driver::{Driver, driver_if_loaded};
use crate::export::{Answer, Out};

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Everything that is registered, by number or by the address of its host-side stand-in.
#[derive(Default)]
struct Registry {
    fatbins: HashMap<usize, Fatbin>,
    next: usize,
    kernels: HashMap<usize, Kernel>,
    variables: HashMap<usize, Variable>,
    /// Kernels that the application was given: they too may stand where a function is asked for.
    given: HashSet<usize>,
}

/// A registered fatbin.
struct Fatbin {
    /// Address of the wrapper, which lies in the program's data.
    wrapper: usize,
    /// The driver's library, once it is loaded, as an address.
    library: Option<usize>,
    /// Why its code cannot be used, where that is known from the start.
    refused: Option<CudaError>,
}

struct Kernel {
    fatbin: usize,
    name: CString,
    /// The driver's kernel, once it was asked for, as an address.
    kernel: Option<usize>,
}

struct Variable {
    fatbin: usize,
    name: CString,
}

fn with<T>(work: impl FnOnce(&mut Registry) -> T) -> T {
    let mut guard: MutexGuard<'_, Option<Registry>> =
        REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    work(guard.get_or_insert_with(Registry::default))
}

/// The kernel that a launch or query names: a host stub's address, or a kernel the application
/// got from this library.
pub(crate) fn kernel(driver: &Driver, function: *const c_void) -> Answer<CUkernel> {
    let address = function.addr();
    with(|registry| {
        let Some(entry) = registry.kernels.get(&address) else {
            return if registry.given.contains(&address) {
                Ok(function.cast_mut())
            } else {
                Err(cudaErrorInvalidDeviceFunction)
            };
        };
        if let Some(kernel) = entry.kernel {
            return Ok(core::ptr::with_exposed_provenance_mut(kernel));
        }
        let (fatbin, name) = (entry.fatbin, entry.name.clone());
        let library = registry.library(driver, fatbin)?;
        let mut kernel: CUkernel = core::ptr::null_mut();
        match driver.library_get_kernel(&mut kernel, library, name.as_ptr()) {
            Err(cudaErrorSymbolNotFound) => return Err(cudaErrorInvalidDeviceFunction),
            answer => answer?,
        }
        if let Some(entry) = registry.kernels.get_mut(&address) {
            entry.kernel = Some(kernel.expose_provenance());
        }
        Ok(kernel)
    })
}

/// Lets a kernel that the application was given stand where a function is asked for.
pub(crate) fn give(kernel: CUkernel) {
    with(|registry| registry.given.insert(kernel.expose_provenance()));
}

/// The library and the name of a variable, by the address of its host-side stand-in.
pub(crate) fn variable(driver: &Driver, symbol: *const c_void) -> Answer<(CUlibrary, CString)> {
    with(|registry| {
        let entry = registry
            .variables
            .get(&symbol.addr())
            .ok_or(cudaErrorInvalidSymbol)?;
        let (fatbin, name) = (entry.fatbin, entry.name.clone());
        Ok((registry.library(driver, fatbin)?, name))
    })
}

impl Registry {
    /// The driver's library of a fatbin, loaded at the first use.
    fn library(&mut self, driver: &Driver, fatbin: usize) -> Answer<CUlibrary> {
        let entry = self
            .fatbins
            .get_mut(&fatbin)
            .ok_or(cudaErrorInvalidResourceHandle)?;
        if let Some(error) = entry.refused {
            return Err(error);
        }
        if let Some(library) = entry.library {
            return Ok(core::ptr::with_exposed_provenance_mut(library));
        }
        let code = container(core::ptr::with_exposed_provenance(entry.wrapper))?;
        let (mut library, null) = (core::ptr::null_mut(), core::ptr::null_mut());
        let nothing = core::ptr::null_mut();
        driver.library_load_data(
            &mut library,
            code,
            null,
            nothing,
            0,
            core::ptr::null_mut(),
            nothing,
            0,
        )?;
        entry.library = Some(library.expose_provenance());
        Ok(library)
    }
}

/// `__fatBinC_Wrapper_t`, what nvcc puts into `.nvFatBinSegment`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Wrapper {
    magic: u32,
    version: u32,
    data: *const c_void,
    more: *const c_void,
}

/// The code to load: what the wrapper leads to, or the wrapper itself where it holds a list.
fn container(wrapper: *const Wrapper) -> Answer<*const c_void> {
    // SAFETY: the address was registered by nvcc's start-up code; its wrapper stays while the
    // object that holds it does, and unregistering removes the entry.
    let found = unsafe { wrapper.read_unaligned() };
    match found.magic {
        WRAPPER_MAGIC if found.version == 1 && !found.data.is_null() => Ok(found.data),
        WRAPPER_MAGIC | CONTAINER_MAGIC => Ok(wrapper.cast()),
        _ => Err(cudaErrorInvalidKernelImage),
    }
}

/// A name that start-up code hands over; it is copied, since its object may be closed.
fn copied(name: *const c_char) -> CString {
    if name.is_null() {
        return CString::default();
    }
    // SAFETY: not null, and a string literal of the registering object.
    unsafe { CStr::from_ptr(name) }.to_owned()
}

#[unsafe(no_mangle)]
extern "C" fn __cudaRegisterFatBinary(wrapper: *const c_void) -> *mut *mut c_void {
    with(|registry| {
        registry.next += 1;
        let number = registry.next;
        let fatbin = Fatbin {
            wrapper: wrapper.expose_provenance(),
            library: None,
            refused: None,
        };
        registry.fatbins.insert(number, fatbin);
        // An opaque handle to the program; ours is a number, spaced like a pointer.
        core::ptr::without_provenance_mut(number << 4)
    })
}

fn number(handle: *mut *mut c_void) -> usize {
    handle.addr() >> 4
}

#[unsafe(no_mangle)]
extern "C" fn __cudaRegisterFatBinaryEnd(_handle: *mut *mut c_void) {}

#[unsafe(no_mangle)]
extern "C" fn __cudaUnregisterFatBinary(handle: *mut *mut c_void) {
    let number = number(handle);
    let library = with(|registry| {
        registry.kernels.retain(|_, kernel| kernel.fatbin != number);
        registry
            .variables
            .retain(|_, variable| variable.fatbin != number);
        registry
            .fatbins
            .remove(&number)
            .and_then(|fatbin| fatbin.library)
    });
    if let (Some(library), Some(driver)) = (library, driver_if_loaded()) {
        // The program cannot be told of a failure here, nor do anything about it.
        let _ = driver.library_unload(core::ptr::with_exposed_provenance_mut(library));
    }
}

#[unsafe(no_mangle)]
extern "C" fn __cudaRegisterFunction(
    handle: *mut *mut c_void,
    stub: *const c_void,
    _device_function: *mut c_char,
    name: *const c_char,
    _thread_limit: c_int,
    _thread: *mut c_void,
    _block: *mut c_void,
    _block_dim: *mut c_void,
    _grid_dim: *mut c_void,
    _warp_size: *mut c_int,
) {
    let kernel = Kernel {
        fatbin: number(handle),
        name: copied(name),
        kernel: None,
    };
    with(|registry| registry.kernels.insert(stub.addr(), kernel));
}

#[unsafe(no_mangle)]
extern "C" fn __cudaRegisterVar(
    handle: *mut *mut c_void,
    stand_in: *const c_void,
    _device_address: *mut c_char,
    name: *const c_char,
    _external: c_int,
    _size: usize,
    _constant: c_int,
    _global: c_int,
) {
    let variable = Variable {
        fatbin: number(handle),
        name: copied(name),
    };
    with(|registry| registry.variables.insert(stand_in.addr(), variable));
}

/// Managed variables are refused: whatever uses their fatbin gets the error.
#[unsafe(no_mangle)]
extern "C" fn __cudaRegisterManagedVar(
    handle: *mut *mut c_void,
    _pointer: *mut *mut c_void,
    _device_address: *mut c_char,
    name: *const c_char,
    _external: c_int,
    _size: usize,
    _constant: c_int,
    _global: c_int,
) {
    eprintln!(
        "gpuckpt: libcudart: the __managed__ variable {} is not supported",
        copied(name).to_string_lossy()
    );
    with(|registry| {
        if let Some(fatbin) = registry.fatbins.get_mut(&number(handle)) {
            fatbin.refused = Some(cudaErrorNotSupported);
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn __cudaRegisterHostVar(
    _handle: *mut *mut c_void,
    _name: *const c_char,
    _stand_in: *mut c_char,
    _size: usize,
) {
    crate::unsupported::say("__cudaRegisterHostVar");
}

/// Says whether a module's managed variables are set up; there are none.
#[unsafe(no_mangle)]
extern "C" fn __cudaInitModule(_handle: *mut *mut c_void) -> c_char {
    1
}

export! {
    fn __cudaGetKernel(to: Out<CUkernel>, stub: *const c_void) {
        to.check()?;
        let found = kernel(crate::driver::driver()?, stub)?;
        give(found);
        to.set(found)
    }

    fn cudaGetKernel(to: Out<CUkernel>, stub: *const c_void) {
        to.check()?;
        let found = kernel(crate::driver::driver()?, stub)?;
        give(found);
        to.set(found)
    }
}
