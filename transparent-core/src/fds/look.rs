//! What `/proc/self/fd` and `/proc/self/fdinfo` say about a descriptor
//! (proc_pid_fdinfo(5)). To look changes nothing, and takes no part in the table.

use crate::{RawPath, Refusal, sys};
use std::io;
use std::path::PathBuf;

/// `O_LARGEFILE` as the kernel has it: set or not by how a file was opened, and
/// without meaning on 64 bits.
const LARGEFILE: i32 = 0o100_000;

/// One descriptor, looked at.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// Its number in the program's table. Calls on the open file go through
    /// [`hold`](crate::apart::hold): the caller's table may be another one.
    pub(super) fd: i32,
    /// Target of the link in `/proc/self/fd`.
    pub(super) link: RawPath,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) rdev: u64,
    pub(super) mode: u32,
    pub(super) links: u64,
    /// Access mode and status flags.
    pub(super) flags: i32,
    pub(super) close_on_exec: bool,
    /// Lines of fdinfo, `key:` and the rest, in order.
    pub(super) info: Vec<(String, String)>,
}

impl Look {
    /// Looks at a descriptor; nothing when it is not open (any more).
    pub(super) fn at(fd: i32) -> io::Result<Option<Self>> {
        let gone = |e: &io::Error| matches!(e.raw_os_error(), Some(libc::EBADF | libc::ENOENT));
        match Self::try_at(fd) {
            Ok(look) => Ok(Some(look)),
            Err(e) if gone(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn try_at(fd: i32) -> io::Result<Self> {
        let file = path(fd);
        let stat = sys::descriptor::stat(&file)?;
        let link = std::fs::read_link(file)?;
        let info = read_info(fd)?;
        let flags = info.iter().find(|(key, _)| key == "flags");
        let flags = flags
            .and_then(|(_, value)| i32::from_str_radix(value, 8).ok())
            .ok_or_else(|| io::Error::other("fdinfo has no flags"))?;
        Ok(Self {
            fd,
            link: link.into(),
            device: stat.st_dev,
            inode: stat.st_ino,
            rdev: stat.st_rdev,
            mode: stat.st_mode,
            links: stat.st_nlink,
            flags: flags & !(LARGEFILE | libc::O_CLOEXEC),
            close_on_exec: flags & libc::O_CLOEXEC != 0,
            info,
        })
    }

    /// `S_IFMT` bits; 0 for an anonymous inode.
    pub(super) fn file_type(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// The first value of a key in fdinfo.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.info
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// The magic number of the file system that it is on.
    pub(super) fn file_system(&self) -> io::Result<i64> {
        sys::descriptor::file_system(&path(self.fd))
    }

    /// Position, as fdinfo has it.
    pub(super) fn position(&self) -> i64 {
        self.value("pos").and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    pub(super) fn readable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_WRONLY
    }

    pub(super) fn writable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }

    /// A refusal of this descriptor.
    pub(super) fn refuse(&self, why: impl Into<String>, advice: impl Into<String>) -> Refusal {
        Refusal::new(
            format!("descriptor {} ({})", self.fd, self.link),
            why,
            advice,
        )
    }
}

fn path(fd: i32) -> PathBuf {
    format!("/proc/self/fd/{fd}").into()
}

fn read_info(fd: i32) -> io::Result<Vec<(String, String)>> {
    use std::io::Read;
    let path = format!("/proc/self/fdinfo/{fd}");
    let mut text = String::new();
    sys::descriptor::open_read(path.as_ref())?.read_to_string(&mut text)?;
    Ok(text.lines().filter_map(info_line).collect())
}

fn info_line(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once(':')?;
    Some((key.trim().to_owned(), value.trim().to_owned()))
}

/// How many descriptors the calling thread may still open before it meets the limit
/// (RLIMIT_NOFILE; a program may have lowered it below what is open).
pub fn room() -> io::Result<u64> {
    let (limit, _) = sys::process::limit(libc::RLIMIT_NOFILE)?;
    let below = |fd: &i32| u64::try_from(*fd).is_ok_and(|fd| fd < limit);
    let open = sys::descriptor::numbers("/proc/thread-self/fd")?;
    let used = open.iter().filter(|fd| below(fd)).count();
    Ok(limit.saturating_sub(used as u64))
}

/// Device and inode of the regular files that any descriptor may write to.
pub(crate) fn written_files() -> std::collections::HashSet<(u64, u64)> {
    let mut written = std::collections::HashSet::new();
    for fd in open_numbers().unwrap_or_default() {
        if let Ok(Some(look)) = Look::at(fd)
            && look.file_type() == libc::S_IFREG
            && look.flags & libc::O_PATH == 0
            && look.writable()
        {
            written.insert((look.device, look.inode));
        }
    }
    written
}

/// Numbers of all open descriptors of the program's table, ascending.
pub(super) fn open_numbers() -> io::Result<Vec<i32>> {
    sys::descriptor::numbers("/proc/self/fd")
}
