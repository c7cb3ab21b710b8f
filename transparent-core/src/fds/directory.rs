//! Directories being read, and descriptors opened with `O_PATH`: reopened by path.

use super::kernel;
use super::look::Look;
use crate::{RawPath, Refusal, sys};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, OwnedFd};

/// A place in the file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its path.
    pub path: RawPath,
    /// Position in a directory's listing.
    pub position: i64,
    /// True for a symbolic link itself.
    pub is_link: bool,
}

pub(super) fn take(look: &Look) -> Result<Place, Refusal> {
    place(look, look.position())
}

pub(super) fn take_path(look: &Look) -> Result<Place, Refusal> {
    place(look, 0)
}

fn place(look: &Look, position: i64) -> Result<Place, Refusal> {
    let is_link = look.file_type() == libc::S_IFLNK;
    let path = kernel::own_path(look)?;
    let nofollow = if is_link { libc::O_NOFOLLOW } else { 0 };
    let there = sys::descriptor::open(path.as_path(), libc::O_PATH | nofollow, 0)
        .and_then(|fd| sys::descriptor::fstat(fd.as_raw_fd()));
    let same = there.is_ok_and(|s| s.st_ino == look.inode && s.st_dev == look.device);
    if !same {
        return Err(look.refuse(
            "its path does not lead to it any more",
            "keep it in place until the job has closed it",
        ));
    }
    Ok(Place {
        path,
        position,
        is_link,
    })
}

impl Place {
    pub(super) fn open(&self, flags: i32) -> Result<OwnedFd, Refusal> {
        let nofollow = if self.is_link { libc::O_NOFOLLOW } else { 0 };
        let fail = |e: std::io::Error| {
            let why = format!("it cannot be opened: {e}");
            let advice = "put it back as it was at the checkpoint";
            Refusal::new(format!("path {}", self.path), why, advice)
        };
        let fd = sys::descriptor::open(self.path.as_path(), flags | nofollow, 0).map_err(fail)?;
        if flags & libc::O_PATH == 0 {
            sys::descriptor::seek(fd.as_raw_fd(), self.position, libc::SEEK_SET).map_err(fail)?;
        }
        Ok(fd)
    }
}
