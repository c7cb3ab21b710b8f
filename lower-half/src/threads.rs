//! Threads that the lower half's libraries start, drivers above all. A driver starts
//! them in the middle of the application's calls, where they would inherit the
//! application's signal mask, and GS, which leads to the record of the application's
//! thread: a signal for the application that the kernel gives to such a thread would
//! be handled as that thread's own, and be lost. So they block every signal, and GS
//! says that they host nobody. They share the descriptor table of the thread that
//! starts them.
//!
//! As in [`crate::descriptors`], libc's function is replaced for every library of the
//! lower half. Hosts of application threads come this way too, and set GS themselves.
#![allow(
    unreachable_pub,
    reason = "exported to the libraries that the executable loads"
)]
#![allow(unsafe_code, reason = "libc's C function is replaced")]

use crate::descriptors::next;
use libc::{c_int, c_void, pthread_attr_t, pthread_t};
use std::sync::atomic::AtomicUsize;
use transparent_core::apart::Table;

/// A thread may end by pthread_exit or be cancelled, which unwinds through us.
type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;
type Create =
    unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int;

struct Begin {
    table: Table,
    start: Start,
    argument: *mut c_void,
}

/// pthread_create(3).
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: libc's pthread_create has this type.
    let create: Create = unsafe { std::mem::transmute(next(&NEXT, c"pthread_create")) };
    let begin = Box::into_raw(Box::new(Begin {
        table: Table::current(),
        start,
        argument,
    }));
    // SAFETY: the masks live across the calls; the new thread alone takes `begin`,
    // and nobody else when there is none.
    unsafe {
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        let error = create(thread, attributes, run, begin.cast());
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut());
        if error != 0 {
            drop(Box::from_raw(begin));
        }
        error
    }
}

/// The new thread, before anything of its library runs. Owns nothing when it calls.
unsafe extern "C-unwind" fn run(begin: *mut c_void) -> *mut c_void {
    // SAFETY: made by `pthread_create` for this thread alone.
    let begin = *unsafe { Box::from_raw(begin.cast::<Begin>()) };
    begin.table.set();
    upper_half::host_nobody();
    // SAFETY: by the contract of `pthread_create`.
    unsafe { (begin.start)(begin.argument) }
}
