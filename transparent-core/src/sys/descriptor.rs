//! Opening files where the program does not see it, and the calls on descriptors.
#![allow(unsafe_code, reason = "system calls")]

use super::{check, check_int};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

/// Descriptors of this crate are at least this.
static BASE: AtomicI32 = AtomicI32::new(3);

/// From now on, descriptors that this crate opens get numbers from `base` on, so
/// that the program's stay as dense as they would be without us.
pub fn set_descriptor_base(base: RawFd) {
    BASE.store(base.max(3), Ordering::Relaxed);
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Takes ownership of a descriptor that a call has just returned.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: only called with a descriptor that the kernel has just handed out.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Moves a fresh descriptor to the base or above, close-on-exec.
pub(crate) fn raise(fd: RawFd) -> io::Result<OwnedFd> {
    let fd = own(fd);
    let base = BASE.load(Ordering::Relaxed);
    if fd.as_raw_fd() >= base {
        return Ok(fd);
    }
    match fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, base) {
        Ok(up) => Ok(own(up)),
        Err(e) if out_of_range(&e) => Ok(fd),
        Err(e) => Err(e),
    }
}

/// The program has lowered its limit on descriptors below the base: then a low number
/// has to do.
fn out_of_range(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMFILE))
}

/// Opens a path; the descriptor is close-on-exec and lies at the base or above.
pub(crate) fn open(path: &Path, flags: i32, mode: libc::mode_t) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: `path` is a C string that lives across the call.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) };
    raise(check_int(fd)?)
}

/// Opens a file to read. What lies at the path may be a named pipe instead, that nobody
/// writes to: it is not waited for.
pub(crate) fn open_read(path: &Path) -> io::Result<File> {
    let flags = libc::O_RDONLY | libc::O_NOCTTY | libc::O_NONBLOCK;
    open(path, flags, 0).map(File::from)
}

/// Creates a file that must not exist, mode 0600.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    open(path, flags, 0o600).map(File::from)
}

pub(crate) fn open_folder(path: &Path) -> io::Result<File> {
    open(path, libc::O_RDONLY | libc::O_DIRECTORY, 0).map(File::from)
}

/// Creates one folder, mode 0700.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: `path` is a C string that lives across the call.
    check_int(unsafe { libc::mkdir(path.as_ptr(), 0o700) }).map(drop)
}

/// Creates a folder and those above it that are missing, mode 0700.
pub(crate) fn make_folders(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Renames, never over something that exists.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let (from_c, to_c) = (c_path(from)?, c_path(to)?);
    // SAFETY: both are C strings that live across the call.
    let result = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from_c.as_ptr(),
            libc::AT_FDCWD,
            to_c.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    match check_int(result) {
        // File systems without the flag (NFS): a folder never replaces one that is
        // not empty, and an image's is not.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            match std::fs::rename(from, to) {
                Err(e) if e.raw_os_error() == Some(libc::ENOTEMPTY) => {
                    Err(io::Error::from_raw_os_error(libc::EEXIST))
                }
                other => other,
            }
        }
        other => other.map(drop),
    }
}

fn whole_lock(kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Takes this process's write lock on a whole file; it ends with the process or
/// with the last close of the file in it.
pub(crate) fn lock_whole(file: &File) -> io::Result<()> {
    let lock = whole_lock(libc::F_WRLCK);
    // SAFETY: `lock` is a valid flock that lives across the call.
    check_int(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) }).map(drop)
}

/// True when another process holds a lock on the file.
pub(crate) fn is_locked(path: &Path) -> bool {
    let Ok(file) = open_read(path) else {
        return false;
    };
    let mut lock = whole_lock(libc::F_WRLCK);
    // SAFETY: `lock` is a valid flock that the kernel may write to.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock) };
    result == 0 && i32::from(lock.l_type) != libc::F_UNLCK
}

/// `fcntl` with an integer argument.
pub(crate) fn fcntl(fd: RawFd, command: i32, argument: i32) -> io::Result<i32> {
    // SAFETY: the commands used in this crate take an integer and no pointer.
    check_int(unsafe { libc::fcntl(fd, command, argument) })
}

pub(crate) fn close(fd: RawFd) -> io::Result<()> {
    // SAFETY: the caller says that `fd` is the program's, so no object of ours owns it.
    check_int(unsafe { libc::close(fd) }).map(drop)
}

/// Puts a descriptor at a number, replacing what is there.
pub(crate) fn dup_to(fd: RawFd, number: RawFd, cloexec: bool) -> io::Result<()> {
    if fd == number {
        let flags = if cloexec { libc::FD_CLOEXEC } else { 0 };
        return fcntl(fd, libc::F_SETFD, flags).map(drop);
    }
    let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: plain integers.
    check_int(unsafe { libc::dup3(fd, number, flags) }).map(drop)
}

pub(crate) fn fstat(fd: RawFd) -> io::Result<libc::stat> {
    let mut stat = MaybeUninit::uninit();
    // SAFETY: `stat` has room for the structure.
    check_int(unsafe { libc::fstat(fd, stat.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and has filled it.
    Ok(unsafe { stat.assume_init() })
}

/// The same of a path, also one of `/proc/self/fd`.
pub(crate) fn stat(path: &Path) -> io::Result<libc::stat> {
    let path = c_path(path)?;
    let mut stat = MaybeUninit::uninit();
    // SAFETY: a C string that lives across the call; `stat` has room for the structure.
    check_int(unsafe { libc::stat(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and has filled it.
    Ok(unsafe { stat.assume_init() })
}

/// The magic number of the file system that a file is on.
pub(crate) fn file_system(path: &Path) -> io::Result<i64> {
    let path = c_path(path)?;
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a C string that lives across the call; `stat` has room for the structure.
    check_int(unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and has filled it.
    Ok(unsafe { stat.assume_init() }.f_type)
}

pub(crate) fn seek(fd: RawFd, offset: i64, whence: i32) -> io::Result<i64> {
    // SAFETY: plain integers.
    check(unsafe { libc::lseek(fd, offset, whence) })
}

pub(crate) fn truncate(fd: RawFd, length: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(length).unwrap_or(libc::off_t::MAX);
    // SAFETY: plain integers.
    check_int(unsafe { libc::ftruncate(fd, length) }).map(drop)
}

pub(crate) fn read(fd: RawFd, out: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `out` is writable for its length.
    check(unsafe { libc::read(fd, out.as_mut_ptr().cast(), out.len()) } as libc::c_long)
        .map(|n| n as usize)
}

pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` is readable for its length.
    check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as libc::c_long)
        .map(|n| n as usize)
}

/// This process, for [`of_process`] (pidfd_open(2)).
pub(crate) fn own_process() -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    check(fd).and_then(|fd| raise(fd as RawFd))
}

/// The open file behind descriptor `fd` of a process's first thread, under a number of
/// the calling thread's (pidfd_getfd(2)).
pub(crate) fn of_process(process: RawFd, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    let here = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, fd, 0) };
    check(here).map(|here| own(here as RawFd))
}

/// Gives the calling thread a copy of its descriptor table, for itself.
pub(crate) fn unshare() -> io::Result<()> {
    // SAFETY: plain integer.
    check_int(unsafe { libc::unshare(libc::CLONE_FILES) }).map(drop)
}

/// Numbers in a folder of `/proc` such as `/proc/self/fd`, ascending.
pub(crate) fn numbers(folder: &str) -> io::Result<Vec<RawFd>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        if let Some(number) = entry?.file_name().to_str().and_then(|n| n.parse().ok()) {
            numbers.push(number);
        }
    }
    // The listing's own descriptor is closed now, and drops out.
    let folder = Path::new(folder);
    numbers.retain(|fd: &RawFd| folder.join(fd.to_string()).symlink_metadata().is_ok());
    numbers.sort_unstable();
    Ok(numbers)
}

/// The poll events that are pending on a descriptor now.
pub(crate) fn poll_now(fd: RawFd, events: i16) -> io::Result<i16> {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one structure, and the count says so.
    check_int(unsafe { libc::poll(&mut poll, 1, 0) })?;
    Ok(poll.revents)
}

/// A second descriptor of the same open file, out of the program's sight.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    let base = BASE.load(Ordering::Relaxed);
    match fcntl(fd, libc::F_DUPFD_CLOEXEC, base) {
        Err(e) if out_of_range(&e) => fcntl(fd, libc::F_DUPFD_CLOEXEC, 3).map(own),
        done => done.map(own),
    }
}
