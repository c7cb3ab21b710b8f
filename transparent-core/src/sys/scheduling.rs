//! Scheduling of threads.
#![allow(unsafe_code, reason = "system calls")]

use super::check;
use std::io;

/// What `sched_getattr(2)` tells, as far as every kernel has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) deadline: [u64; 3],
}

/// `struct sched_attr` of its first version.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Raw {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    deadline: [u64; 3],
}

pub(crate) fn attributes(tid: i32) -> io::Result<Attributes> {
    let mut raw = Raw::default();
    let size = size_of::<Raw>();
    // SAFETY: `raw` has room for the bytes that are asked for.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut raw, size, 0) })?;
    Ok(Attributes {
        policy: raw.policy,
        flags: raw.flags,
        nice: raw.nice,
        priority: raw.priority,
        deadline: raw.deadline,
    })
}

/// For the calling thread.
pub(crate) fn set_attributes(wish: &Attributes) -> io::Result<()> {
    let raw = Raw {
        size: size_of::<Raw>() as u32,
        policy: wish.policy,
        flags: wish.flags,
        nice: wish.nice,
        priority: wish.priority,
        deadline: wish.deadline,
    };
    // SAFETY: the structure has the size that it says.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const raw, 0) }).map(drop)
}

/// The mask of `sched_getaffinity(2)`.
pub(crate) fn processors(tid: i32) -> io::Result<Vec<u8>> {
    // More than any kernel can be built for.
    let mut mask = vec![0u8; 8192];
    let (len, at) = (mask.len(), mask.as_mut_ptr());
    // SAFETY: the buffer has the size given.
    let got = check(unsafe { libc::syscall(libc::SYS_sched_getaffinity, tid, len, at) })?;
    mask.truncate(usize::try_from(got).unwrap_or(0));
    Ok(mask)
}

/// For the calling thread.
pub(crate) fn set_processors(mask: &[u8]) -> io::Result<()> {
    let (len, at) = (mask.len(), mask.as_ptr());
    // SAFETY: the mask has the size given.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, len, at) }).map(drop)
}

const IOPRIO_WHO_PROCESS: libc::c_int = 1;

pub(crate) fn io_priority(tid: i32) -> io::Result<u32> {
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid) }).map(|p| p as u32)
}

/// For the calling thread.
pub(crate) fn set_io_priority(priority: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) }).map(drop)
}
