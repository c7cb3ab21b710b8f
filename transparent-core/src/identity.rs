//! Which file it was, and whether it is still the same.
//!
//! Device and inode differ on another machine that has the same file, and size and
//! time alone are the same for two builds in a distribution that sets all times
//! alike. So: size and time must be equal, and where device or inode differ, the
//! first bytes too, where an ELF file has its build id.

use crate::sys;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes at the beginning of a file that its identity covers.
const HEAD: usize = 64 << 10;

/// A file at the time of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Device number.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of its contents, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// XXH3-64 of its first 64 KiB, when it could be read.
    pub head: Option<u64>,
}

impl FileIdentity {
    /// The identity of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened or is no regular file.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        let readable = sys::descriptor::open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0);
        match readable {
            Ok(file) => Self::of_descriptor(file.as_raw_fd()),
            Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
                let file = sys::descriptor::open(path, libc::O_PATH, 0)?;
                Ok(Self::from_stat(
                    &sys::descriptor::fstat(file.as_raw_fd())?,
                    None,
                ))
            }
            Err(e) => Err(e),
        }
    }

    /// The identity of an open file; its position is left alone.
    ///
    /// # Errors
    /// When `fstat` fails.
    pub fn of_descriptor(fd: RawFd) -> io::Result<Self> {
        let stat = sys::descriptor::fstat(fd)?;
        let head = (stat.st_mode & libc::S_IFMT == libc::S_IFREG)
            .then(|| head(fd))
            .flatten();
        Ok(Self::from_stat(&stat, head))
    }

    fn from_stat(stat: &libc::stat, head: Option<u64>) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            modified_ns: stat
                .st_mtime
                .saturating_mul(1_000_000_000)
                .saturating_add(stat.st_mtime_nsec),
            head,
        }
    }

    /// Why `now` is not the file as it was; nothing when it is.
    pub fn difference(&self, now: &Self) -> Option<String> {
        if self.size != now.size {
            let (was, is) = (self.size, now.size);
            return Some(format!("its size was {was} bytes and is {is}"));
        }
        if self.modified_ns != now.modified_ns {
            return Some("it has been modified since the checkpoint".into());
        }
        let same_inode = self.device == now.device && self.inode == now.inode;
        if !same_inode && self.head.is_some() && self.head != now.head {
            return Some("it has been replaced since the checkpoint".into());
        }
        None
    }

    /// True when both are one file on one machine.
    pub fn same_inode(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode
    }
}

fn head(fd: RawFd) -> Option<u64> {
    let file = std::fs::File::from(sys::descriptor::duplicate(fd).ok()?);
    let mut bytes = vec![0; HEAD];
    let mut length = 0;
    while length < HEAD {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(xxh3_64(&bytes[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn size_time_and_beginning_tell_files_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"one").unwrap();
        let was = FileIdentity::of_path(&path).unwrap();
        assert_eq!(was.difference(&FileIdentity::of_path(&path).unwrap()), None);

        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let other = dir.path().join("g");
        let put = |bytes: &[u8]| {
            fs::write(&other, bytes).unwrap();
            fs::File::open(&other).unwrap().set_modified(time).unwrap();
            FileIdentity::of_path(&other).unwrap()
        };
        assert_eq!(was.difference(&put(b"one")), None);
        assert!(was.difference(&put(b"two")).unwrap().contains("replaced"));
        assert!(was.difference(&put(b"four")).unwrap().contains("size"));

        fs::write(&path, b"two").unwrap();
        let later = time + std::time::Duration::from_secs(1);
        fs::File::open(&path).unwrap().set_modified(later).unwrap();
        let now = FileIdentity::of_path(&path).unwrap();
        assert!(was.difference(&now).unwrap().contains("modified"));
    }
}
