//! Kernel objects behind descriptors: pipes, eventfds, epoll sets, timers,
//! terminals, and whether two descriptors are one open file.
#![allow(unsafe_code, reason = "system calls")]

use super::descriptor::raise;
use super::{check, check_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};

const KCMP_FILE: libc::c_long = 0;
const KCMP_EPOLL_TFD: libc::c_long = 7;
/// `TFD_IOC_SET_TICKS`, `_IOW('T', 0, u64)` (linux/timerfd.h).
const TFD_IOC_SET_TICKS: libc::c_ulong = 0x4008_5400;

/// Orders two descriptors of this process by the open file description behind them.
pub(crate) fn compare_files(a: RawFd, b: RawFd) -> io::Result<std::cmp::Ordering> {
    let pid = std::process::id() as libc::c_long;
    // SAFETY: KCMP_FILE takes two descriptor numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            pid,
            pid,
            KCMP_FILE,
            libc::c_long::from(a),
            libc::c_long::from(b),
        )
    };
    match check(result)? {
        0 => Ok(std::cmp::Ordering::Equal),
        1 => Ok(std::cmp::Ordering::Less),
        2 => Ok(std::cmp::Ordering::Greater),
        _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}

#[repr(C)]
struct KcmpEpollSlot {
    efd: u32,
    tfd: u32,
    toff: u32,
}

/// True when `fd` is the open file that the epoll set `epoll` watches under the
/// number `watched`.
pub(crate) fn epoll_watches(epoll: RawFd, watched: RawFd, fd: RawFd) -> io::Result<bool> {
    let pid = std::process::id() as libc::c_long;
    let slot = KcmpEpollSlot {
        efd: epoll as u32,
        tfd: watched as u32,
        toff: 0,
    };
    // SAFETY: KCMP_EPOLL_TFD takes a descriptor and a pointer to such a slot.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            pid,
            pid,
            KCMP_EPOLL_TFD,
            libc::c_long::from(fd),
            std::ptr::from_ref(&slot),
        )
    };
    check(result).map(|order| order == 0)
}

/// A pipe: read end, write end.
pub(crate) fn pipe(flags: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    check_int(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) })?;
    let reader = raise(ends[0]);
    let writer = raise(ends[1]);
    Ok((reader?, writer?))
}

/// Bytes that can be read from a pipe now.
pub(crate) fn readable_bytes(fd: RawFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    check_int(unsafe { libc::ioctl(fd, libc::FIONREAD, &mut count) })?;
    Ok(count as usize)
}

/// Copies up to `length` bytes from one pipe to another without taking them out.
pub(crate) fn tee(from: RawFd, to: RawFd, length: usize) -> io::Result<usize> {
    // SAFETY: plain integers.
    let result = unsafe { libc::tee(from, to, length, libc::SPLICE_F_NONBLOCK) };
    check(result as libc::c_long).map(|n| n as usize)
}

pub(crate) fn eventfd(count: u32, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    check_int(unsafe { libc::eventfd(count, flags) }).and_then(raise)
}

pub(crate) fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    check_int(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).and_then(raise)
}

pub(crate) fn epoll_add(epoll: RawFd, fd: RawFd, events: u32, data: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: `event` lives across the call.
    check_int(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
}

pub(crate) fn timerfd_create(clock: i32, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    check_int(unsafe { libc::timerfd_create(clock, flags | libc::TFD_CLOEXEC) }).and_then(raise)
}

/// Nanoseconds as a timespec.
fn timespec(ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    }
}

pub(crate) fn timerfd_set(
    fd: RawFd,
    flags: i32,
    value_ns: u64,
    interval_ns: u64,
) -> io::Result<()> {
    let spec = libc::itimerspec {
        it_interval: timespec(interval_ns),
        it_value: timespec(value_ns),
    };
    // SAFETY: `spec` lives across the call; the old value is not asked for.
    check_int(unsafe { libc::timerfd_settime(fd, flags, &spec, std::ptr::null_mut()) }).map(drop)
}

/// Asks a timer for what is left, which brings one with an interval up to date.
pub(crate) fn timerfd_wind(fd: RawFd) -> io::Result<()> {
    let mut spec = MaybeUninit::<libc::itimerspec>::uninit();
    // SAFETY: `spec` has room for the answer.
    check_int(unsafe { libc::timerfd_gettime(fd, spec.as_mut_ptr()) }).map(drop)
}

/// Sets the count of expirations that nobody has read.
pub(crate) fn timerfd_set_ticks(fd: RawFd, ticks: u64) -> io::Result<()> {
    // SAFETY: the ioctl reads one u64.
    check_int(unsafe { libc::ioctl(fd, TFD_IOC_SET_TICKS, &ticks) }).map(drop)
}

/// A clock's time in nanoseconds.
pub(crate) fn clock_ns(clock: i32) -> io::Result<u64> {
    let mut now = timespec(0);
    // SAFETY: `now` has room for the result.
    check_int(unsafe { libc::clock_gettime(clock, &mut now) })?;
    Ok(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

pub(crate) fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: plain integer.
    unsafe { libc::isatty(fd) == 1 }
}

/// A terminal's modes.
pub(crate) fn terminal_modes(fd: RawFd) -> io::Result<libc::termios> {
    let mut modes = MaybeUninit::uninit();
    // SAFETY: `modes` has room for the structure.
    check_int(unsafe { libc::tcgetattr(fd, modes.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and has filled it.
    Ok(unsafe { modes.assume_init() })
}

pub(crate) fn set_terminal_modes(fd: RawFd, modes: &libc::termios) -> io::Result<()> {
    // SAFETY: `modes` lives across the call.
    check_int(unsafe { libc::tcsetattr(fd, libc::TCSANOW, modes) }).map(drop)
}

/// True when this process is in the terminal's foreground process group.
pub(crate) fn in_foreground(fd: RawFd) -> bool {
    // SAFETY: plain integers.
    unsafe { libc::tcgetpgrp(fd) == libc::getpgrp() }
}
