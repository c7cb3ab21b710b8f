//! What the kit got from whoever started it, and must not pass on: descriptors and
//! the default actions of signals.
#![allow(unsafe_code, reason = "close_range(2) and sigaction(2)")]

use crate::runner::INTERRUPTED;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::io;
use std::sync::atomic::Ordering;

/// Marks every descriptor above the standard streams as closed by exec: a job with a
/// pipe to somebody outside is rightly refused a checkpoint.
///
/// # Errors
/// The kernel's, when `/proc/self/fd` cannot be read either.
pub fn keep_to_ourselves() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // By number, not by the library's function, which older C libraries lack.
    // SAFETY: the call marks descriptors and closes none.
    let done = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, flags) };
    if done == 0 { Ok(()) } else { one_by_one() }
}

/// For kernels before 5.11.
fn one_by_one() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let fd = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        if let Some(fd) = fd.filter(|&fd| fd > 2) {
            // SAFETY: it takes and gives integers; a descriptor that is gone is an error.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

extern "C" fn interrupted(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// A signal that asks for the end: the step that runs is ended, the evidence written.
///
/// # Errors
/// The kernel's.
pub fn heed_signals() -> nix::Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(interrupted),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler stores one atomic word.
        unsafe { sigaction(signal, &action)? };
    }
    Ok(())
}
