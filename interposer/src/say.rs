//! Messages for people, in one piece and without a lock: a thread that forks while another
//! one writes would leave its child a lock of the standard library's that nobody opens.
#![allow(unsafe_code, reason = "borrows descriptor 2")]

use std::fmt::Arguments;
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

/// Writes `gpuckpt: MESSAGE` to standard error.
pub(crate) fn say(message: Arguments<'_>) {
    let text = format!("gpuckpt: {message}\n");
    // SAFETY: the descriptor is not closed here; whether it is open makes no difference.
    let mut stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
    // A closed standard error is no reason to fail.
    let _ = stderr.write_all(text.as_bytes());
}
