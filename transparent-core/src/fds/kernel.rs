//! Files of `/proc`, `/sys` and their like: the kernel makes the contents anew, so
//! size and time mean nothing. The process's own are reopened as the new process's.

use super::look::Look;
use crate::{RawPath, Refusal, sys};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, OwnedFd};

/// A file that the kernel makes up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelFile {
    /// Its path, `/proc/self/…` where it was the process's own.
    pub path: RawPath,
    /// Position in bytes.
    pub position: i64,
}

const PROC: i64 = 0x9fa0;
/// proc, sysfs, debugfs, tracefs, cgroup, cgroup2, securityfs (linux/magic.h).
const KERNELS: [i64; 7] = [
    PROC,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x0027_e0eb,
    0x6367_7270,
    0x7363_6673,
];

pub(super) fn is_kernels(look: &Look) -> bool {
    look.file_system()
        .is_ok_and(|magic| KERNELS.contains(&magic))
}

pub(super) fn take(look: &Look) -> Result<KernelFile, Refusal> {
    Ok(KernelFile {
        path: own_path(look)?,
        position: look.position(),
    })
}

/// The path with `/proc/PID` of this process as `/proc/self`; another process's,
/// or a single thread's, does not come back.
pub(super) fn own_path(look: &Look) -> Result<RawPath, Refusal> {
    let path = &look.link;
    let Some(rest) = path.0.strip_prefix(b"/proc/") else {
        return Ok(path.clone());
    };
    if !look.file_system().is_ok_and(|magic| magic == PROC) {
        return Ok(path.clone());
    }
    let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
    if digits == 0 {
        return Ok(path.clone());
    }
    let (pid, tail) = rest.split_at(digits);
    let advice = "close it before the checkpoint";
    if pid != std::process::id().to_string().as_bytes() {
        return Err(look.refuse("it belongs to another process", advice));
    }
    if tail.starts_with(b"/task/") {
        return Err(look.refuse("it belongs to one thread", advice));
    }
    Ok(RawPath([b"/proc/self", tail].concat()))
}

impl KernelFile {
    pub(super) fn open(&self, flags: i32) -> Result<OwnedFd, Refusal> {
        let fail = |e: std::io::Error| {
            let why = format!("it cannot be opened: {e}");
            let advice = "restart where this kernel file exists and may be opened";
            Refusal::new(format!("file {}", self.path), why, advice)
        };
        let fd = sys::descriptor::open(self.path.as_path(), flags, 0).map_err(fail)?;
        // Some cannot seek; those have no position to lose.
        let _ = sys::descriptor::seek(fd.as_raw_fd(), self.position, libc::SEEK_SET);
        Ok(fd)
    }
}
