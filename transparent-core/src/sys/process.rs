//! Attributes of this process, and whether another lives.
#![allow(unsafe_code, reason = "system calls")]

use super::{check, check_int};
use std::io;
use std::mem::MaybeUninit;

/// True when a process has this PID, whoever owns it.
pub(crate) fn is_alive(pid: i32) -> bool {
    // SAFETY: signal 0 is never delivered.
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// A number that no other image has.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: `bytes` has room for eight bytes.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != 8 {
        let time = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        return time ^ u64::from(std::process::id()).rotate_left(40);
    }
    u64::from_ne_bytes(bytes)
}

/// Sets the umask and returns the one before.
pub(crate) fn umask(mask: u32) -> u32 {
    // SAFETY: plain integer; it cannot fail.
    unsafe { libc::umask(mask as libc::mode_t) }
}

/// Soft and hard limit.
pub(crate) fn limit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` has room for the structure.
    check_int(unsafe { libc::getrlimit(resource, limit.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and has filled it.
    let limit = unsafe { limit.assume_init() };
    Ok((limit.rlim_cur, limit.rlim_max))
}

pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` lives across the call.
    check_int(unsafe { libc::setrlimit(resource, &limit) }).map(drop)
}

/// An interval timer: remaining and interval, in microseconds.
pub(crate) fn interval_timer(which: i32) -> io::Result<(u64, u64)> {
    let mut timer = MaybeUninit::<libc::itimerval>::uninit();
    // SAFETY: `timer` has room for the structure.
    check(unsafe { libc::syscall(libc::SYS_getitimer, which, timer.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and has filled it.
    let timer = unsafe { timer.assume_init() };
    let us = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    Ok((us(timer.it_value), us(timer.it_interval)))
}

pub(crate) fn set_interval_timer(which: i32, value_us: u64, interval_us: u64) -> io::Result<()> {
    let val = |us: u64| libc::timeval {
        tv_sec: (us / 1_000_000) as libc::time_t,
        tv_usec: (us % 1_000_000) as libc::suseconds_t,
    };
    let timer = libc::itimerval {
        it_interval: val(interval_us),
        it_value: val(value_us),
    };
    let null = std::ptr::null_mut::<libc::itimerval>();
    // SAFETY: `timer` lives across the call; the old value is not asked for.
    check(unsafe { libc::syscall(libc::SYS_setitimer, which, &timer, null) }).map(drop)
}

/// The nice value of this process's first thread.
pub(crate) fn nice() -> io::Result<i32> {
    // The raw call answers 20 - nice, so that no value looks like an error.
    // SAFETY: plain integers.
    let raw = check(unsafe {
        libc::syscall(
            libc::SYS_getpriority,
            libc::PRIO_PROCESS,
            std::process::id(),
        )
    })?;
    Ok(20 - raw as i32)
}

/// The execution domain; `u32::MAX` only asks.
pub(crate) fn personality(value: u32) -> io::Result<u32> {
    // SAFETY: plain integer.
    check_int(unsafe { libc::personality(libc::c_ulong::from(value)) }).map(|p| p as u32)
}

/// `prctl` whose argument is a number and whose result is the return value.
pub(crate) fn prctl(option: i32, argument: libc::c_ulong) -> io::Result<i32> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used in this crate take no pointer here.
    check_int(unsafe { libc::prctl(option, argument, zero, zero, zero) })
}

/// `PR_GET_CHILD_SUBREAPER`.
pub(crate) fn child_subreaper() -> io::Result<bool> {
    let mut flag: libc::c_int = 0;
    // SAFETY: the option writes one int.
    check_int(unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &mut flag) })?;
    Ok(flag != 0)
}
