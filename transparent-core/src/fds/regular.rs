//! Regular files: reopened by path, at their position; those that were open for
//! writing are first rolled back to their size.

use super::look::Look;
use super::survey::Survey;
use crate::apart::hold;
use crate::identity::FileIdentity;
use crate::{RawPath, Refusal, sys};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, OwnedFd};

/// What a restart does with a file that the job had open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilesRule {
    /// Truncate it to its size at the checkpoint.
    Rollback,
    /// Leave it as it is.
    Keep,
    /// Refuse the restart if it changed.
    Refuse,
}

/// An open regular file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regular {
    /// Its path.
    pub path: RawPath,
    /// Position in bytes.
    pub position: i64,
    /// What it was at the checkpoint.
    pub identity: FileIdentity,
    /// True when this or another descriptor of the job could write to it: then its
    /// time of modification says nothing.
    pub written: bool,
}

/// Flags that say how to open and not what is open.
const OPENING: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_NOCTTY;

pub(super) fn take(look: &Look, survey: &Survey<'_>) -> Result<Regular, Refusal> {
    if look.link.0.starts_with(b"/memfd:") {
        return Err(look.refuse(
            "memfds cannot be saved yet",
            "use a file, or close it before the checkpoint",
        ));
    }
    let gone = |why: &str| {
        let advice = "keep the file until the job has closed it";
        Err(look.refuse(why, advice))
    };
    if look.links == 0 {
        return gone("the file is deleted");
    }
    let written = survey
        .groups
        .iter()
        .map(|group| group.first())
        .any(|other| {
            other.device == look.device
                && other.inode == look.inode
                && other.flags & libc::O_PATH == 0
                && other.writable()
        });
    let identity = hold(look.fd)
        .and_then(|file| FileIdentity::of_descriptor(file.as_raw_fd()))
        .map_err(|e| look.refuse(format!("it cannot be examined: {e}"), "close it"))?;
    match FileIdentity::of_path(look.link.as_path()) {
        Ok(now) if now.same_inode(&identity) => {}
        Ok(_) => return gone("another file has taken its path"),
        Err(_) => return gone("its path does not lead to it any more"),
    }
    Ok(Regular {
        path: look.link.clone(),
        position: look.position(),
        identity,
        written,
    })
}

impl Regular {
    /// Opens it again and compares; changes nothing.
    pub(super) fn open(&self, flags: i32, rule: FilesRule) -> Result<OwnedFd, Refusal> {
        let put_back = "put the file back as it was at the checkpoint";
        let refuse =
            |why: String, advice: &str| Refusal::new(format!("file {}", self.path), why, advice);
        let failed = |e| refuse(format!("it cannot be opened: {e}"), put_back);
        // A named pipe in its place is not to be waited for.
        let opening = flags & !OPENING | libc::O_NONBLOCK;
        let fd = sys::descriptor::open(self.path.as_path(), opening, 0).map_err(failed)?;
        let mode = sys::descriptor::fstat(fd.as_raw_fd())
            .map_err(failed)?
            .st_mode;
        if mode & libc::S_IFMT != libc::S_IFREG {
            return Err(refuse("it is not a regular file any more".into(), put_back));
        }
        if flags & libc::O_NONBLOCK == 0 {
            sys::descriptor::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags).map_err(failed)?;
        }
        let now = FileIdentity::of_descriptor(fd.as_raw_fd())
            .map_err(|e| refuse(format!("it cannot be examined: {e}"), put_back))?;
        if !self.written {
            return match self.identity.difference(&now) {
                Some(difference) => Err(refuse(difference, put_back)),
                None => Ok(fd),
            };
        }
        let (was, is) = (self.identity.size, now.size);
        match rule {
            FilesRule::Rollback if is < was => {
                let why = format!("it had {was} bytes and has only {is}");
                Err(refuse(why, "put it back, or use --files keep"))
            }
            FilesRule::Refuse => match self.identity.difference(&now) {
                Some(difference) => Err(refuse(difference, "use --files rollback or keep")),
                None => Ok(fd),
            },
            _ => Ok(fd),
        }
    }

    /// Goes to the position it had. `fd` is what [`Self::open`] gave.
    pub(super) fn seek(&self, fd: i32) -> std::io::Result<()> {
        sys::descriptor::seek(fd, self.position, libc::SEEK_SET).map(drop)
    }

    /// Truncates where the rule says so.
    pub(super) fn roll_back(&self, fd: i32, flags: i32, rule: FilesRule) -> std::io::Result<()> {
        let can_write = flags & libc::O_ACCMODE != libc::O_RDONLY;
        if self.written && can_write && rule == FilesRule::Rollback {
            let size = sys::descriptor::fstat(fd)?.st_size as u64;
            if size > self.identity.size {
                sys::descriptor::truncate(fd, self.identity.size)?;
            }
        }
        Ok(())
    }
}
