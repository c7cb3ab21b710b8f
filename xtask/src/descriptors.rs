//! What this process inherited and must not pass on.
#![allow(unsafe_code, reason = "close_range(2) has no safe wrapper")]

use std::io;

/// Marks every descriptor above the standard streams as closed by exec: pipes of a CI
/// system or of make, passed on, would be open in the programs that are to be
/// checkpointed, and a pipe to somebody else cannot be.
pub(crate) fn keep_to_ourselves() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // SAFETY: the call marks descriptors and closes none.
    match unsafe { libc::close_range(FIRST, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
