//! The real driver: loaded by path at the first call that needs it, its functions by name.
//!
//! Every function of the driver API takes integers and pointers and returns a `CUresult`, so one
//! signature with 8-byte slots serves them all (System V: a function that takes fewer arguments
//! than it is passed ignores the rest). The rows that take floats or structures by value are refused
//! before they come here.
#![allow(
    unsafe_code,
    reason = "loads a library and calls its functions through pointers"
)]

use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cuda_abi::driver::{CUDA_ERROR_NO_DEVICE, CUDA_ERROR_NOT_SUPPORTED};

use crate::say::say;
use crate::session;
use crate::table::{ROWS, row};

type Short = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> u32;
type Long = unsafe extern "C" fn(
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
) -> u32;

/// A driver whose library is loaded for the rest of the process.
struct Driver {
    library: libloading::Library,
    /// `cuGetProcAddress_v2`, for what is not exported by name.
    lookup:
        Option<unsafe extern "C" fn(*const c_char, *mut *mut c_void, i32, u64, *mut u32) -> u32>,
}

static DRIVER: OnceLock<Option<Driver>> = OnceLock::new();

/// Addresses by call id: null: not looked up; `MISSING`: the driver lacks it.
static SYMBOLS: [AtomicPtr<c_void>; ROWS.len()] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; ROWS.len()];

const MISSING: *mut c_void = std::ptr::dangling_mut();

fn load(path: &Path) -> Option<Driver> {
    // SAFETY: the driver's constructors run here, in the lower half, as in any CUDA program.
    let library = match unsafe { libloading::Library::new(path) } {
        Ok(library) => library,
        Err(error) => {
            say(format_args!(
                "cannot load the CUDA driver {}: {error}",
                path.display()
            ));
            return None;
        }
    };
    // SAFETY: the symbol has this signature by the driver API's documentation.
    let lookup = unsafe { library.get(b"cuGetProcAddress_v2\0") }
        .ok()
        .map(|symbol| *symbol);
    Some(Driver { library, lookup })
}

/// Held while the driver is loaded: a child of a fork amid that would wait for its end.
static LOADING: Mutex<()> = Mutex::new(());

/// Held across a fork.
pub(crate) fn hold() -> MutexGuard<'static, ()> {
    LOADING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn driver() -> Option<&'static Driver> {
    if let Some(driver) = DRIVER.get() {
        return driver.as_ref();
    }
    let _loading = hold();
    DRIVER
        .get_or_init(|| load(&session::get()?.options.driver))
        .as_ref()
}

/// The driver is loaded in this process.
pub(crate) fn is_loaded() -> bool {
    matches!(DRIVER.get(), Some(Some(_)))
}

fn resolve(id: u32) -> *mut c_void {
    let (Some(driver), Some(row)) = (driver(), row(id)) else {
        return MISSING;
    };
    let name = CString::new(row.symbol).unwrap_or_default();
    // SAFETY: only the address is taken here.
    let exported = unsafe { driver.library.get::<*mut c_void>(name.as_bytes_with_nul()) };
    if let Some(address) = exported
        .ok()
        .map(|symbol| *symbol)
        .filter(|address| !address.is_null())
    {
        return address;
    }
    let (Some(lookup), Ok(base)) = (driver.lookup, CString::new(row.base)) else {
        return MISSING;
    };
    let (mut address, mut status) = (std::ptr::null_mut(), 0);
    let flags = if row.per_thread { 2 } else { 1 };
    // SAFETY: the arguments are what the function documents; the results are locals.
    let result = unsafe {
        lookup(
            base.as_ptr(),
            &raw mut address,
            row.version as i32,
            flags,
            &raw mut status,
        )
    };
    if result == 0 && !address.is_null() {
        address
    } else {
        MISSING
    }
}

fn symbol(id: u32) -> Option<*mut c_void> {
    let cell = SYMBOLS.get(id as usize)?;
    let mut address = cell.load(Ordering::Acquire);
    if address.is_null() {
        address = resolve(id);
        cell.store(address, Ordering::Release);
    }
    (address != MISSING).then_some(address)
}

/// Does the driver have the symbol of this row?
pub(crate) fn has(id: u32) -> bool {
    symbol(id).is_some()
}

/// Calls the driver's function of a row; the slots hold real handles.
pub(crate) fn call(id: u32, slots: &[u64]) -> u32 {
    let Some(address) = symbol(id) else {
        return if is_loaded() {
            CUDA_ERROR_NOT_SUPPORTED.0
        } else {
            CUDA_ERROR_NO_DEVICE.0
        };
    };
    let at = |i: usize| slots.get(i).copied().unwrap_or(0);
    if slots.len() <= 6 {
        // SAFETY: the address is the row's function, whose arguments all are integer-class slots.
        let function: Short = unsafe { std::mem::transmute(address) };
        // SAFETY: as above; pointers among the slots are the application's or the caller's.
        unsafe { function(at(0), at(1), at(2), at(3), at(4), at(5)) }
    } else {
        // SAFETY: as above.
        let function: Long = unsafe { std::mem::transmute(address) };
        // SAFETY: as above.
        unsafe {
            function(
                at(0),
                at(1),
                at(2),
                at(3),
                at(4),
                at(5),
                at(6),
                at(7),
                at(8),
                at(9),
                at(10),
                at(11),
                at(12),
                at(13),
                at(14),
                at(15),
            )
        }
    }
}

/// Address of a local as a slot.
pub(crate) fn out<T>(value: &mut T) -> u64 {
    std::ptr::from_mut(value) as u64
}

/// Address of something the driver reads as a slot.
pub(crate) fn input<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).cast::<c_void>() as u64
}
