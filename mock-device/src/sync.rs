//! Locks that outlive a panic, and threads that take no signal.
//!
//! A panic inside a call is caught at the boundary and answered with an error
//! code; the data that the lock guards is still consistent, since nothing
//! that can panic runs between two related writes.

#![allow(
    unsafe_code,
    reason = "signal masks and thread creation go through libc"
)]

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locks, whatever happened to an earlier holder.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for reading, whatever happened to an earlier holder.
pub(crate) fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing, whatever happened to an earlier holder.
pub(crate) fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread with every signal blocked: signals belong to the program
/// that uses the driver, never to the driver's own threads.
///
/// # Errors
/// The system's, when it has no thread left.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    // SAFETY: an all-zero sigset_t is a valid value to be overwritten.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut old: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `all` is a live sigset_t of ours.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: both sets are live; the mask is put back below.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old) };
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(8 << 20)
        .spawn(body);
    // SAFETY: `old` is what the call above stored.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut()) };
    started.map(drop)
}
