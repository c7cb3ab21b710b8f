//! Standard streams that lead out of the job: at a restart they are those of the
//! restarting command.

use super::Kind;
use super::look::Look;
use super::survey::{Group, Survey};
use super::terminal::Modes;
use crate::{Refusal, sys};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, OwnedFd};

/// Numbers of the standard streams.
pub(super) const STREAMS: [i32; 3] = [0, 1, 2];

/// What the standard streams were when the job was launched or restarted, so that a
/// descriptor that the program moved away (`exec 3>&1`) is still known as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandardStreams([Option<Stream>; 3]);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stream {
    device: u64,
    inode: u64,
    rdev: u64,
}

impl StandardStreams {
    /// Looks at descriptors 0 to 2. To be called before the program runs.
    pub fn observe() -> Self {
        Self(STREAMS.map(|fd| {
            let stat = sys::descriptor::fstat(fd).ok()?;
            Some(Stream {
                device: stat.st_dev,
                inode: stat.st_ino,
                rdev: stat.st_rdev,
            })
        }))
    }

    fn position(&self, same: impl Fn(&Stream) -> bool) -> Option<i32> {
        STREAMS
            .into_iter()
            .find(|&fd| self.0[fd as usize].as_ref().is_some_and(&same))
    }

    fn with_inode(&self, look: &Look) -> Option<i32> {
        self.position(|s| s.device == look.device && s.inode == look.inode)
    }

    pub(super) fn with_rdev(&self, rdev: u64) -> Option<i32> {
        self.position(|s| rdev != 0 && s.rdev == rdev)
    }
}

/// A stream of the restarting command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standard {
    /// 0, 1 or 2; a descriptor with such a number takes its own stream.
    pub stream: i32,
    /// A terminal's modes, when the job had it in the foreground.
    pub modes: Option<Modes>,
}

/// The stream that a group is, by number or by what was there at the start.
pub(super) fn of_group(group: &Group, survey: &Survey<'_>) -> Option<Standard> {
    let look = group.first();
    // A terminal's inode is the same however often it is opened.
    let moved = || match look.file_type() {
        libc::S_IFCHR => None,
        _ => survey.streams.with_inode(look),
    };
    let stream = STREAMS
        .contains(&look.fd)
        .then_some(look.fd)
        .or_else(moved)?;
    Some(Standard {
        stream,
        modes: Modes::of(look.fd),
    })
}

/// As [`of_group`]; anything else is refused.
pub(super) fn or_refuse(
    group: &Group,
    survey: &Survey<'_>,
    why: &str,
    advice: &str,
) -> Result<Kind, Refusal> {
    match of_group(group, survey) {
        Some(standard) => Ok(Kind::Standard(standard)),
        None => Err(group.first().refuse(why, advice)),
    }
}

/// Copies of the restarting command's streams, `/dev/null` for one that is closed.
pub(super) fn current_streams() -> std::io::Result<[OwnedFd; 3]> {
    let copy = |fd| match sys::descriptor::duplicate(fd) {
        Err(e) if e.raw_os_error() == Some(libc::EBADF) => {
            sys::descriptor::open("/dev/null".as_ref(), libc::O_RDWR, 0)
        }
        other => other,
    };
    Ok([copy(0)?, copy(1)?, copy(2)?])
}

/// A new opening of a stream that is a terminal; the stream itself if it is not.
pub(super) fn reopen(stream: i32, flags: i32, streams: &[OwnedFd; 3]) -> Result<OwnedFd, Refusal> {
    let source = streams[stream.clamp(0, 2) as usize].as_raw_fd();
    let again = if sys::objects::is_terminal(source) {
        let path = format!("/proc/self/fd/{source}");
        sys::descriptor::open(path.as_ref(), flags | libc::O_NOCTTY, 0)
    } else {
        // A file opened again would be written from its beginning.
        sys::descriptor::duplicate(source)
    };
    again.map_err(|e| {
        Refusal::new(
            format!("standard stream {stream}"),
            format!("it cannot be opened again: {e}"),
            "restart from a terminal, as the job was launched",
        )
    })
}
