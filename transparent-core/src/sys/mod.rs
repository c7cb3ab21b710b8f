//! Every system call that the standard library does not offer, each behind a safe
//! function that returns `io::Result`.
//!
//! Nothing here decides anything: no retries but after EINTR, no defaults, no
//! interpretation of what the kernel says.

pub(crate) mod descriptor;
pub(crate) mod memory;
pub(crate) mod objects;
pub(crate) mod process;
pub(crate) mod scheduling;
pub(crate) mod sockets;
pub(crate) mod timers;

use std::io;

/// `-1` is an error, anything else the result.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_int(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
