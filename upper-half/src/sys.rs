//! System calls of this crate, raw: the kernel's answer comes back as it is,
//! negative errno included. No libc, no errno, no TLS, so that all of it may
//! run with the application's FS and between park and resume.
#![allow(unsafe_code, reason = "raw system calls")]

use crate::abi::is_upper;
use crate::arch::syscall6;
use std::sync::atomic::Ordering::Release;
use std::sync::atomic::{AtomicI32, AtomicU32};
use std::time::Duration;

/// `struct siginfo`, 128 bytes as the kernel writes them.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct SigInfo {
    pub(crate) signo: i32,
    pub(crate) errno: i32,
    pub(crate) code: i32,
    pub(crate) pad: i32,
    /// `si_pid` for signals sent by someone, `si_syscall`'s neighbour for SIGSYS.
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    pub(crate) value: u64,
    pub(crate) rest: [u64; 12],
}
const _: () = assert!(size_of::<SigInfo>() == 128);

impl SigInfo {
    /// All zero but these.
    pub(crate) fn queued(signo: i32, pid: i32, value: u64) -> Self {
        // SAFETY: getuid has no arguments.
        let uid = unsafe { call(libc::SYS_getuid, [0; 6]) } as u32;
        Self {
            signo,
            errno: 0,
            code: libc::SI_QUEUE,
            pad: 0,
            pid,
            uid,
            value,
            rest: [0; 12],
        }
    }

    /// The raw bytes.
    pub(crate) fn to_bytes(self) -> [u8; 128] {
        // SAFETY: plain data of exactly this size.
        unsafe { std::mem::transmute(self) }
    }

    /// From raw bytes.
    pub(crate) fn from_bytes(bytes: [u8; 128]) -> Self {
        // SAFETY: plain data of exactly this size, any bytes are valid.
        unsafe { std::mem::transmute(bytes) }
    }
}

/// `struct kernel_sigaction`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct KernelAction {
    pub(crate) handler: u64,
    pub(crate) flags: u64,
    pub(crate) restorer: u64,
    pub(crate) mask: u64,
}

/// Any call.
///
/// # Safety
/// As for the call itself.
pub(crate) unsafe fn call(nr: i64, args: [u64; 6]) -> i64 {
    // SAFETY: by the caller's promise.
    unsafe { syscall6(nr, args) }
}

/// Calls without effect on memory other than the kernel's own.
macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),*) = $nr:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name($($arg: u64),*) -> i64 {
            #[allow(unused_mut, unused_assignments, reason = "calls without arguments")]
            let (mut args, mut next) = ([0u64; 6], 0usize);
            $( args[next] = $arg; next += 1; )*
            let _ = next;
            // SAFETY: the call reads and writes no memory of this process.
            unsafe { syscall6(libc::$nr, args) }
        }
    )*};
}

plain! {
    /// Process id.
    getpid() = SYS_getpid;
    /// Parent's id.
    getppid() = SYS_getppid;
    /// Thread id.
    gettid() = SYS_gettid;
    /// Process group of `pid`.
    getpgid(pid) = SYS_getpgid;
    /// Session of `pid`.
    getsid(pid) = SYS_getsid;
    /// Signal to one thread.
    tgkill(pid, tid, signal) = SYS_tgkill;
    /// Ends the calling thread.
    exit_thread(status) = SYS_exit;
    /// Ends the process.
    exit_group(status) = SYS_exit_group;
}

/// mmap as it is.
///
/// # Safety
/// With MAP_FIXED the range is the application's or nobody's.
pub(crate) unsafe fn mmap(addr: u64, len: u64, prot: u64, flags: u64, fd: i64, off: u64) -> i64 {
    // SAFETY: by the caller's promise.
    unsafe { syscall6(libc::SYS_mmap, [addr, len, prot, flags, fd as u64, off]) }
}

/// munmap of a range of the window.
///
/// # Safety
/// Nothing refers to the range any more.
pub(crate) unsafe fn munmap(addr: u64, len: u64) -> i64 {
    // SAFETY: by the caller's promise.
    unsafe { syscall6(libc::SYS_munmap, [addr, len, 0, 0, 0, 0]) }
}

/// mprotect of a range of the window.
///
/// # Safety
/// The range is the application's.
pub(crate) unsafe fn mprotect(addr: u64, len: u64, prot: u64) -> i64 {
    // SAFETY: by the caller's promise.
    unsafe { syscall6(libc::SYS_mprotect, [addr, len, prot, 0, 0, 0]) }
}

/// True when the kernel's answer is an error.
pub(crate) fn failed(result: i64) -> bool {
    (-4095..0).contains(&result)
}

/// Waits while `*word == value`, at most `limit`.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32, limit: Option<Duration>) -> i64 {
    let time = limit.map(|l| [l.as_secs(), u64::from(l.subsec_nanos())]);
    let time = time.as_ref().map_or(0, |t| t.as_ptr() as u64);
    let op = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
    // SAFETY: the word and the time live across the call.
    unsafe {
        syscall6(
            libc::SYS_futex,
            [word.as_ptr() as u64, op, u64::from(value), time, 0, 0],
        )
    }
}

/// Wakes all that wait on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let op = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;
    // SAFETY: the address only names a queue.
    unsafe {
        syscall6(
            libc::SYS_futex,
            [word.as_ptr() as u64, op, i32::MAX as u64, 0, 0, 0],
        )
    };
}

/// Wakes waiters on a word of the application's, as the kernel does at thread exit.
pub(crate) fn futex_wake_shared(address: u64, count: u64) {
    futex_wake_at(address, 0, count);
}

/// Wakes waiters on a word of the application's; how many.
pub(crate) fn futex_wake_at(address: u64, flags: u64, count: u64) -> i64 {
    let op = libc::FUTEX_WAKE as u64 | flags;
    // SAFETY: the address only names a queue.
    unsafe { syscall6(libc::SYS_futex, [address, op, count, 0, 0, 0]) }
}

/// True when the aligned word at `address` can be read and written.
pub(crate) fn is_futex(address: u64) -> bool {
    // Adds nothing to it, and wakes those who wait for a word of our own.
    const ADD: u64 = 1 << 28;
    let own = AtomicU32::new(0);
    let op = (libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG) as u64;
    // SAFETY: both words are changed by adding zero, if at all.
    unsafe {
        syscall6(
            libc::SYS_futex,
            [own.as_ptr() as u64, op, 0, 0, address, ADD],
        ) >= 0
    }
}

/// Reads a value of the application's.
///
/// # Errors
/// EFAULT where its address is bad.
pub(crate) fn read<T: Plain>(address: u64) -> Result<T, i32> {
    let () = Plainly::<T>::SMALL;
    let last = address.wrapping_add(size_of::<T>() as u64 - 8);
    if !is_upper(address) || !is_readable(address) || last != address && !is_readable(last) {
        return Err(libc::EFAULT);
    }
    // SAFETY: both of the pages that it can lie on were just seen to be readable.
    Ok(unsafe { (address as *const T).read_unaligned() })
}

/// Writes a value of the application's.
///
/// # Errors
/// EFAULT where its address is bad; a part may have been written.
pub(crate) fn write<T: Plain>(address: u64, value: &T) -> Result<(), i32> {
    let () = Plainly::<T>::SMALL;
    let last = address.wrapping_add(size_of::<T>() as u64 - 8);
    if !is_upper(address) || !is_writable(address) || last != address && !is_writable(last) {
        return Err(libc::EFAULT);
    }
    // SAFETY: both of the pages that it can lie on were just seen to be writable.
    unsafe { (address as *mut T).write_unaligned(*value) };
    Ok(())
}

/// What [`read`] and [`write`] look at: 8 bytes at each end.
struct Plainly<T>(std::marker::PhantomData<T>);

impl<T: Plain> Plainly<T> {
    const SMALL: () = assert!(size_of::<T>() >= 8 && size_of::<T>() <= 4096);
}

/// True when 8 bytes at `address` can be read: a cheap question.
pub(crate) fn is_readable(address: u64) -> bool {
    const NO_WAY: u64 = 99;
    // The kernel reads the mask before it looks at what to do with it.
    // SAFETY: nothing is written.
    let r = unsafe { syscall6(libc::SYS_rt_sigprocmask, [NO_WAY, address, 0, 8, 0, 0]) };
    r != -i64::from(libc::EFAULT)
}

/// Makes sure that 8 bytes at `address` can be written, by writing them.
pub(crate) fn is_writable(address: u64) -> bool {
    // SAFETY: the bytes are about to be written by the caller.
    unsafe { syscall6(libc::SYS_rt_sigpending, [address, 8, 0, 0, 0, 0]) == 0 }
}

/// Writes a word of the application's where the kernel would ignore a bad address.
pub(crate) fn store(address: u64, value: i32) {
    if is_futex(address) {
        // SAFETY: just seen to be writable and aligned.
        unsafe { AtomicI32::from_ptr(address as *mut i32).store(value, Release) };
    } else {
        let _ = write_bytes(address, &value.to_ne_bytes());
    }
}

/// Reads bytes of the application's up to the first zero.
///
/// # Errors
/// EFAULT, or `too_long` when there is none within `most` bytes.
pub(crate) fn read_string(address: u64, most: usize, too_long: i32) -> Result<Vec<u8>, i32> {
    const PAGE: usize = 4096;
    let mut bytes = Vec::new();
    while bytes.len() < most {
        let from = address + bytes.len() as u64;
        // Short at first: most strings are.
        let length = (PAGE - from as usize % PAGE).min(if bytes.is_empty() { 128 } else { PAGE });
        let known = bytes.len();
        bytes.resize(known + length, 0);
        let local = [bytes[known..].as_mut_ptr() as u64, length as u64];
        transfer(libc::SYS_process_vm_readv, local, from)?;
        if let Some(end) = bytes[known..].iter().position(|b| *b == 0) {
            bytes.truncate(known + end);
            return Ok(bytes);
        }
    }
    Err(too_long)
}

/// Reads values of the application's.
///
/// # Errors
/// EFAULT where an address is bad.
pub(crate) fn read_all<T: Plain>(address: u64, values: &mut [T]) -> Result<(), i32> {
    let local = [values.as_mut_ptr() as u64, size_of_val(values) as u64];
    transfer(libc::SYS_process_vm_readv, local, address)
}

/// Writes bytes of the application's.
///
/// # Errors
/// EFAULT; a part may have been written.
pub(crate) fn write_bytes(address: u64, bytes: &[u8]) -> Result<(), i32> {
    let local = [bytes.as_ptr() as u64, bytes.len() as u64];
    transfer(libc::SYS_process_vm_writev, local, address)
}

/// Copies between our own memory and the application's, in this same process.
fn transfer(nr: i64, local: [u64; 2], address: u64) -> Result<(), i32> {
    if !is_upper(address) {
        return Err(libc::EFAULT);
    }
    let remote = [address, local[1]];
    let (ours, theirs) = (local.as_ptr() as u64, remote.as_ptr() as u64);
    // SAFETY: the kernel checks the application's address; ours is a value of that length.
    let done = unsafe { syscall6(nr, [getpid() as u64, ours, 1, theirs, 1, 0]) };
    if done == local[1] as i64 {
        return Ok(());
    }
    if done >= 0 || done == -i64::from(libc::EFAULT) {
        return Err(libc::EFAULT);
    }
    // Not permitted here: without a check.
    let (from, to) = if nr == libc::SYS_process_vm_readv {
        (address, local[0])
    } else {
        (local[0], address)
    };
    // SAFETY: the application gave the address for this.
    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, local[1] as usize) };
    Ok(())
}

/// Values of which any bytes are valid.
///
/// # Safety
/// True of the type, padding included.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: integers.
unsafe impl Plain for i32 {}
// SAFETY: integers.
unsafe impl Plain for u64 {}
// SAFETY: an array of such.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
// SAFETY: integers only, without padding.
unsafe impl Plain for SigInfo {}
// SAFETY: integers only, without padding.
unsafe impl Plain for KernelAction {}

/// Sets the signal mask; returns the old one.
pub(crate) fn set_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    let args = [
        libc::SIG_SETMASK as u64,
        &raw const mask as u64,
        &raw mut old as u64,
        8,
        0,
        0,
    ];
    // SAFETY: both masks are 8 bytes and live across the call.
    unsafe { syscall6(libc::SYS_rt_sigprocmask, args) };
    old
}

/// The kernel's action for `signal`; `new` replaces it.
pub(crate) fn sigaction(signal: i32, new: Option<&KernelAction>) -> Result<KernelAction, i64> {
    let mut old = KernelAction::default();
    let new = new.map_or(0, |n| &raw const *n as u64);
    // SAFETY: both structures have the kernel's layout and live across the call.
    let r = unsafe {
        syscall6(
            libc::SYS_rt_sigaction,
            [signal as u64, new, &raw mut old as u64, 8, 0, 0],
        )
    };
    if r < 0 { Err(r) } else { Ok(old) }
}

/// Queues a signal with its information to one thread.
pub(crate) fn queue_to_thread(pid: i32, tid: i32, info: &SigInfo) -> i64 {
    let args = [
        pid as u64,
        tid as u64,
        info.signo as u64,
        &raw const *info as u64,
        0,
        0,
    ];
    // SAFETY: `info` lives across the call.
    unsafe { syscall6(libc::SYS_rt_tgsigqueueinfo, args) }
}

/// Queues a signal with its information to a process.
pub(crate) fn queue_to_process(pid: i32, info: &SigInfo) -> i64 {
    let args = [
        pid as u64,
        info.signo as u64,
        &raw const *info as u64,
        0,
        0,
        0,
    ];
    // SAFETY: `info` lives across the call.
    unsafe { syscall6(libc::SYS_rt_sigqueueinfo, args) }
}

/// Signals that are blocked and pending, for the thread or the process.
pub(crate) fn pending() -> u64 {
    let mut set = 0u64;
    // SAFETY: 8 bytes, living across the call.
    unsafe {
        syscall6(
            libc::SYS_rt_sigpending,
            [&raw mut set as u64, 8, 0, 0, 0, 0],
        )
    };
    set
}

/// Takes one pending signal out of `set`, without waiting.
pub(crate) fn take_signal(set: u64) -> Option<SigInfo> {
    let mut info = SigInfo::from_bytes([0; 128]);
    let zero = [0u64; 2];
    let args = [
        &raw const set as u64,
        &raw mut info as u64,
        zero.as_ptr() as u64,
        8,
        0,
        0,
    ];
    // SAFETY: all three live across the call and have the kernel's layout.
    let r = unsafe { syscall6(libc::SYS_rt_sigtimedwait, args) };
    (r > 0).then_some(info)
}

/// Processors on which a thread may run, as the kernel's bytes; empty when unknown.
pub(crate) fn affinity(tid: i32) -> Vec<u8> {
    let mut mask = vec![0u8; 1024];
    let (length, at) = (mask.len() as u64, mask.as_mut_ptr() as u64);
    let args = [tid as u64, length, at, 0, 0, 0];
    // SAFETY: the buffer lives across the call and has the size given.
    let r = unsafe { syscall6(libc::SYS_sched_getaffinity, args) };
    mask.truncate(usize::try_from(r).unwrap_or(0));
    mask
}

/// Sets them for the calling thread, which is on one of them then.
pub(crate) fn set_affinity(mask: &[u8]) -> bool {
    let args = [0, mask.len() as u64, mask.as_ptr() as u64, 0, 0, 0];
    // SAFETY: the mask lives across the call and has the length given.
    unsafe { syscall6(libc::SYS_sched_setaffinity, args) == 0 }
}

/// Sleeps as short as can be.
pub(crate) fn sleep_a_moment() {
    let time = [0u64, 1];
    // SAFETY: the time lives across the call.
    unsafe { syscall6(libc::SYS_nanosleep, [time.as_ptr() as u64, 0, 0, 0, 0, 0]) };
}

/// How often the calling thread gave its processor up by itself.
pub(crate) fn times_blocked() -> u64 {
    const VOLUNTARY: usize = 16;
    let mut usage = [0u64; 18];
    let args = [
        libc::RUSAGE_THREAD as u64,
        usage.as_mut_ptr() as u64,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: `struct rusage` is 18 words, which live across the call.
    unsafe { syscall6(libc::SYS_getrusage, args) };
    usage[VOLUNTARY]
}

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// A clock in nanoseconds.
pub(crate) fn clock(id: i32) -> u64 {
    let mut time = [0u64; 2];
    let args = [id as u64, time.as_mut_ptr() as u64, 0, 0, 0, 0];
    // SAFETY: 16 bytes, living across the call.
    unsafe { syscall6(libc::SYS_clock_gettime, args) };
    time[0] * 1_000_000_000 + time[1]
}

/// Writes one line to standard error, whole.
pub(crate) fn complain(line: &str) {
    let text = format!("gpuckpt: {line}\n");
    // SAFETY: the bytes live across the call.
    unsafe {
        syscall6(
            libc::SYS_write,
            [2, text.as_ptr() as u64, text.len() as u64, 0, 0, 0],
        )
    };
}
