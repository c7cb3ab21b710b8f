//! Timers by the kernel's own ids: libc's timer_create(3) gives others.
#![allow(unsafe_code, reason = "system calls")]

use super::check;
use std::io;

/// What a timer does when it expires.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// `sigev_value`.
    pub(crate) value: u64,
    pub(crate) notify: Notify,
}

/// Whom it tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notify {
    None,
    /// By this signal.
    Process(i32),
    /// By this signal, and the thread's id.
    Thread(i32, i32),
}

/// `struct sigevent` as the kernel has it.
#[repr(C)]
struct Sigevent {
    value: u64,
    signo: i32,
    notify: i32,
    tid: i32,
    pad: [i32; 11],
}
const _: () = assert!(size_of::<Sigevent>() == 64);

fn create_from(clock: i32, event: Event, mut id: i32) -> io::Result<i32> {
    let (notify, signo, tid) = match event.notify {
        Notify::None => (libc::SIGEV_NONE, 0, 0),
        Notify::Process(signo) => (libc::SIGEV_SIGNAL, signo, 0),
        Notify::Thread(signo, tid) => (libc::SIGEV_THREAD_ID, signo, tid),
    };
    let event = Sigevent {
        value: event.value,
        signo,
        notify,
        tid,
        pad: [0; 11],
    };
    // SAFETY: both structures live across the call.
    check(unsafe { libc::syscall(libc::SYS_timer_create, clock, &event, &mut id) })?;
    Ok(id)
}

/// Makes a timer; its id.
pub(crate) fn create(clock: i32, event: Event) -> io::Result<i32> {
    create_from(clock, event, 0)
}

/// Makes a timer with this id, where the kernel can be asked for one (6.15).
pub(crate) fn create_as(id: i32, clock: i32, event: Event) -> io::Result<i32> {
    const PR_TIMER_CREATE_RESTORE_IDS: i32 = 77;
    super::process::prctl(PR_TIMER_CREATE_RESTORE_IDS, 1)?;
    let made = create_from(clock, event, id);
    super::process::prctl(PR_TIMER_CREATE_RESTORE_IDS, 0)?;
    made
}

pub(crate) fn delete(id: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_timer_delete, id) }).map(drop)
}

fn spec(value_ns: u64, interval_ns: u64) -> libc::itimerspec {
    let time = |ns: u64| libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    };
    libc::itimerspec {
        it_interval: time(interval_ns),
        it_value: time(value_ns),
    }
}

/// Starts it: nanoseconds until it expires, and after that from one time to the next.
pub(crate) fn start(id: i32, value_ns: u64, interval_ns: u64) -> io::Result<()> {
    let spec = spec(value_ns, interval_ns);
    let old = std::ptr::null_mut::<libc::itimerspec>();
    // SAFETY: `spec` lives across the call; the old value is not asked for.
    check(unsafe { libc::syscall(libc::SYS_timer_settime, id, 0, &spec, old) }).map(drop)
}

/// Nanoseconds left, and the interval.
pub(crate) fn left(id: i32) -> io::Result<(u64, u64)> {
    let mut now = spec(0, 0);
    // SAFETY: `now` has room for the result.
    check(unsafe { libc::syscall(libc::SYS_timer_gettime, id, &mut now) })?;
    let ns = |t: libc::timespec| t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64;
    Ok((ns(now.it_value), ns(now.it_interval)))
}
