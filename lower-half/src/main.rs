//! `gpuckpt-lower`: the disposable half of a process. The kernel starts it, it
//! loads the real driver, makes or restores the application's half in the same
//! process, and saves that half when asked.
//!
//! `main` is libc's, not the standard library's: the latter would install signal
//! handlers and an alternate stack, and those belong to the application.
#![no_main]
#![allow(unsafe_code, reason = "the C entry point")]

mod checkpoint;
mod claim;
mod control;
mod descriptors;
mod device_data;
mod fault;
mod hooks;
mod job;
mod layout;
mod meanwhile;
mod processes;
mod report;
mod restart;
mod scheduling;
mod start;
mod summary;
mod threads;

use anyhow::Context;
use std::ffi::{CStr, c_char, c_int};

/// Exit status of gpuckpt's own failures.
const OWN_FAILURE: c_int = 125;

/// The entry point that libc calls.
///
/// # Safety
/// Called once by libc, with its vector of `argc` arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    report::init();
    scheduling::init();
    let prepared = upper_half::prepare().context("cannot host a program");
    if let Err(error) = prepared.and_then(|()| fault::init()) {
        report::line(format_args!("{error:#}"));
        return OWN_FAILURE;
    }
    let arguments = (1..argc.max(1) as usize).map(|index| {
        // SAFETY: libc's vector holds `argc` C strings.
        let argument = unsafe { CStr::from_ptr(*argv.add(index)) };
        argument.to_string_lossy().into_owned()
    });
    let (status, error) = start::run(arguments);
    report::line(format_args!("{error:#}"));
    status
}
