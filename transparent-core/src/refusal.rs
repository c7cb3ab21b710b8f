//! The one way to say that something cannot be saved or restored.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// Something that stands in the way of a checkpoint or a restart. Nothing has
/// been stopped or changed when one is returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What it is: `descriptor 7 (socket:[4711])`, `mapping 0x1600…-0x1601… (/dev/fuse)`.
    pub object: String,
    /// Why it cannot be done.
    pub why: String,
    /// What the user can do.
    pub advice: String,
}

impl Refusal {
    /// A refusal in three parts.
    pub fn new(
        object: impl Into<String>,
        why: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            object: object.into(),
            why: why.into(),
            advice: advice.into(),
        }
    }

    /// A file of `/proc` that cannot be read.
    pub(crate) fn of_proc(path: &str, error: &io::Error) -> Self {
        Self::new(path, error.to_string(), proc_advice(error))
    }
}

/// What to do when a file of `/proc` cannot be read.
pub(crate) fn proc_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "the process has as many open files as it may: raise `ulimit -n`",
        Some(libc::ENFILE) => {
            "the machine has as many open files as it may: close some, or raise fs.file-max"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "the process must be dumpable (PR_SET_DUMPABLE) to look at itself"
        }
        _ => "mount /proc and let the process read it",
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.object, self.why, self.advice)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_are_no_fault_of_proc() {
        let said = |errno| {
            Refusal::of_proc("/proc/self/maps", &io::Error::from_raw_os_error(errno)).to_string()
        };
        assert!(said(libc::EMFILE).contains("ulimit -n"));
        assert!(said(libc::ENFILE).contains("fs.file-max"));
        assert!(said(libc::EACCES).contains("dumpable"));
        assert!(said(libc::ENOENT).contains("mount /proc"));
    }
}
