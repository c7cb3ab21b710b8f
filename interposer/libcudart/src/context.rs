//! Which device and context a call works on.
//!
//! The runtime uses whatever context is current on the thread, so that runtime and driver calls
//! mix. Where none is, the primary context of the thread's device is retained, once for the
//! process, and made current.

use core::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use cuda_abi::driver::{CUcontext, CUdevice};
use cuda_abi::runtime::{cudaErrorInvalidDevice, cudaErrorNoDevice};

use crate::driver::{Driver, driver};
use crate::export::Answer;

/// The primary context of each device that this library has retained, as an address.
static RETAINED: Mutex<Vec<Option<usize>>> = Mutex::new(Vec::new());

/// Counts device resets: a thread that has not seen the last one may hold a dead context.
static RESETS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The device that the thread chose with `cudaSetDevice`.
    static DEVICE: Cell<CUdevice> = const { Cell::new(0) };
    static SEEN_RESETS: Cell<u32> = const { Cell::new(0) };
}

/// The driver, with a context current on this thread.
pub(crate) fn bind() -> Answer<&'static Driver> {
    let driver = driver()?;
    let resets = RESETS.load(Ordering::Acquire);
    if SEEN_RESETS.replace(resets) == resets {
        let mut context: CUcontext = core::ptr::null_mut();
        driver.ctx_get_current(&mut context)?;
        if !context.is_null() {
            return Ok(driver);
        }
    }
    if count(driver)? == 0 {
        return Err(cudaErrorNoDevice);
    }
    driver.ctx_set_current(primary(driver, DEVICE.get())?)?;
    Ok(driver)
}

/// Chooses the thread's device and makes its primary context current.
pub(crate) fn set_device(device: CUdevice) -> Answer {
    let driver = driver()?;
    check_device(driver, device)?;
    driver.ctx_set_current(primary(driver, device)?)?;
    SEEN_RESETS.set(RESETS.load(Ordering::Acquire));
    DEVICE.set(device);
    Ok(())
}

/// The device that the thread works on. Makes no context.
pub(crate) fn current_device() -> Answer<CUdevice> {
    let driver = driver()?;
    let mut device = DEVICE.get();
    let mut context: CUcontext = core::ptr::null_mut();
    driver.ctx_get_current(&mut context)?;
    if !context.is_null() && SEEN_RESETS.get() == RESETS.load(Ordering::Acquire) {
        driver.ctx_get_device(&mut device)?;
    }
    Ok(device)
}

/// A device's primary context, retained at the first use.
pub(crate) fn primary(driver: &Driver, device: CUdevice) -> Answer<CUcontext> {
    let index = usize::try_from(device).map_err(|_| cudaErrorInvalidDevice)?;
    let mut retained = lock();
    if retained.len() <= index {
        retained.resize(index + 1, None);
    }
    let slot = retained.get_mut(index).ok_or(cudaErrorInvalidDevice)?;
    if let Some(address) = *slot {
        return Ok(core::ptr::with_exposed_provenance_mut(address));
    }
    let mut context: CUcontext = core::ptr::null_mut();
    driver.primary_ctx_retain(&mut context, device)?;
    *slot = Some(context.expose_provenance());
    Ok(context)
}

/// Destroys what the program has on its device. The next call starts afresh.
pub(crate) fn reset() -> Answer {
    let driver = driver()?;
    let device = current_device()?;
    let held = usize::try_from(device)
        .ok()
        .and_then(|i| lock().get_mut(i).and_then(Option::take));
    driver.ctx_set_current(core::ptr::null_mut())?;
    DEVICE.set(device);
    if held.is_some() {
        driver.primary_ctx_release(device)?;
    }
    let (mut flags, mut active) = (0, 0);
    driver.primary_ctx_get_state(device, &mut flags, &mut active)?;
    if active != 0 {
        driver.primary_ctx_reset(device)?;
    }
    RESETS.fetch_add(1, Ordering::AcqRel);
    Ok(())
}

/// How many devices there are.
pub(crate) fn count(driver: &Driver) -> Answer<i32> {
    let mut count = 0;
    driver.device_get_count(&mut count)?;
    Ok(count)
}

/// Refuses a device number that does not exist.
pub(crate) fn check_device(driver: &Driver, device: CUdevice) -> Answer {
    match count(driver)? {
        0 => Err(cudaErrorNoDevice),
        n if (0..n).contains(&device) => Ok(()),
        _ => Err(cudaErrorInvalidDevice),
    }
}

/// The table cannot be left half-changed, so a panic elsewhere does not spoil it.
fn lock() -> std::sync::MutexGuard<'static, Vec<Option<usize>>> {
    RETAINED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
