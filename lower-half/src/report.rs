//! What gpuckpt says to people while the application runs: single lines on standard
//! error, as long as descriptor 2 is still what it was at the start. An application
//! that has redirected or closed it hears nothing: standard error is then its own.

#![allow(
    unsafe_code,
    reason = "duplicates a descriptor, and writes to one by number"
)]

use crate::descriptors;
use std::fmt::Arguments;
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, OnceLock, PoisonError};
use transparent_core::apart;

static FIRST: OnceLock<Option<(u64, u64)>> = OnceLock::new();
/// The restarting command's standard error, while descriptor 2 may be the job's.
static HELD: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// A descriptor of the program's table, standard error as a rule, without the standard
/// library's lock: a thread that forks while another one writes would leave its child a
/// lock that nobody opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unlocked(pub(crate) RawFd);

impl Write for Unlocked {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let held = apart::hold(self.0)?;
        // SAFETY: the descriptor is open as long as `held`, and not closed here.
        let file = unsafe { File::from_raw_fd(held.as_raw_fd()) };
        ManuallyDrop::new(file).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn identity() -> Option<(u64, u64)> {
    let seen = std::fs::metadata("/proc/self/fd/2");
    seen.ok().map(|seen| (seen.dev(), seen.ino()))
}

/// Remembers what standard error is. Called once at the start.
pub(crate) fn init() {
    let _ = FIRST.set(identity());
}

/// Keeps standard error for what is to be said after the job's own descriptors are
/// back and before the job runs.
pub(crate) fn hold() {
    // SAFETY: duplicates a descriptor; the new one is adopted as ours.
    let copy = unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 3) };
    if copy >= 0 {
        // SAFETY: nobody else knows this descriptor.
        let file = unsafe { OwnedFd::from_raw_fd(descriptors::adopt(copy)) };
        *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }
}

/// Closes what [`hold`] keeps: the job would keep its reader waiting.
pub(crate) fn let_go() {
    drop(HELD.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Writes `gpuckpt: MESSAGE` in one piece.
pub(crate) fn line(message: Arguments<'_>) {
    let text = format!("gpuckpt: {message}\n");
    let first = FIRST.get().copied().flatten();
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if held.is_some() || first.is_some() && first == identity() {
        let to = held.as_ref().map_or(2, AsRawFd::as_raw_fd);
        let _ = Unlocked(to).write_all(text.as_bytes());
    }
    drop(held);
    tracing::info!("{message}");
}
