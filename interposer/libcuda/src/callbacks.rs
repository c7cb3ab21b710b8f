//! Host callbacks run here, on a thread of the application's half.
//!
//! A driver calls `cuLaunchHostFunc`'s function on a thread of its own, which has the lower half's
//! thread pointer: application code cannot run there. The dispatcher makes that thread wait, hands
//! the call to the thread below, and lets the driver's thread go on when it is done. The thread is
//! an ordinary pthread of the application; checkpoints restore it like any other.
#![allow(
    unsafe_code,
    reason = "starts a pthread and calls the application's function pointers"
)]

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::abi::{CALLBACK_DONE, CALLBACK_HOST, CALLBACK_WAIT};
use crate::gate;

static STARTED: AtomicBool = AtomicBool::new(false);

/// Called by the stubs of the functions that take a callback; starts the thread at the first.
#[unsafe(no_mangle)]
pub extern "C" fn gpuckpt_upper_start_callbacks() {
    if STARTED.load(Ordering::Relaxed) || STARTED.swap(true, Ordering::AcqRel) {
        return;
    }
    let mut thread: libc::pthread_t = 0;
    let mut all: libc::sigset_t = unsafe_zeroed();
    let mut before: libc::sigset_t = unsafe_zeroed();
    // SAFETY: the sets live on this frame. The new thread inherits the mask: signals that are meant
    // for the application's own threads are not taken by this one.
    let masked = unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before)
    };
    // SAFETY: `run` needs no argument and lives for ever.
    let made = unsafe { libc::pthread_create(&raw mut thread, null(), run, null_mut()) };
    if masked == 0 {
        // SAFETY: restores what was saved above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut()) };
    }
    if made == 0 {
        // SAFETY: a thread that exists and that nobody joins.
        unsafe { libc::pthread_detach(thread) };
    } else {
        STARTED.store(false, Ordering::Release);
    }
}

fn unsafe_zeroed() -> libc::sigset_t {
    // SAFETY: a signal set is plain bits; zero is the empty set.
    unsafe { std::mem::zeroed() }
}

extern "C" fn run(_: *mut c_void) -> *mut c_void {
    let mut slots = [0u64; 8];
    loop {
        if gate::call(CALLBACK_WAIT, &mut slots) == 0 {
            continue;
        }
        let [function, data, kind, stream, status, ticket, ..] = slots;
        if kind == CALLBACK_HOST {
            // SAFETY: the application gave this pointer to cuLaunchHostFunc as such a function.
            let function: extern "C" fn(u64) = unsafe { std::mem::transmute(function) };
            function(data);
        } else {
            // SAFETY: the application gave this pointer to cuStreamAddCallback as such a function.
            let function: extern "C" fn(u64, u32, u64) = unsafe { std::mem::transmute(function) };
            function(stream, status as u32, data);
        }
        gate::call(CALLBACK_DONE, &mut [ticket]);
    }
}
