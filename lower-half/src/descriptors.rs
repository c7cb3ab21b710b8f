//! The lower half's own descriptors: kept in a high, close-on-exec range and
//! registered, so that what is left in `/proc/self/fd` is the application's.
//!
//! The functions exported here stand before libc's of the same name for every
//! library of the lower half (and for our own code): the system call is made
//! directly, the new descriptor is moved up, registered and returned. They must
//! not allocate and take no lock: drivers call them anywhere.
#![allow(
    unreachable_pub,
    reason = "exported to the libraries that the executable loads"
)]
#![allow(
    unsafe_code,
    reason = "libc's C functions are replaced and system calls made directly"
)]

use libc::{c_char, c_int, c_long, c_void, mode_t, size_t};
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use transparent_core::apart::Table;

/// Descriptors that can be registered: numbers below this.
const TRACKED: usize = 1 << 20;
/// How far below the soft limit the range begins at the latest.
const RESERVED: i32 = 256;
/// Where it begins when the limit allows: out of reach of select(2) and of the numbers
/// that programs choose, and low all the same, since a fork copies the table up to the
/// highest descriptor.
const USUAL: i32 = 1600;

static BASE: AtomicI32 = AtomicI32::new(0);
static OURS: [AtomicU64; TRACKED / 64] = [const { AtomicU64::new(0) }; TRACKED / 64];

/// Sets the first number of the range: a choice by RLIMIT_NOFILE, but never below
/// `from`. Called once, before any descriptor is made.
pub(crate) fn init(from: Option<i32>) {
    let mut limit = libc::rlimit {
        rlim_cur: 1024,
        rlim_max: 1024,
    };
    // SAFETY: `limit` is a valid out pointer.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let top = limit.rlim_cur.clamp(64, TRACKED as u64) as i32;
    let choice = (top - RESERVED).max(top / 2).min(USUAL);
    let first = from.map_or(choice, |from| from.clamp(choice, TRACKED as i32));
    BASE.store(first, Ordering::Relaxed);
}

/// Raises the soft limit so that the range has room, where it may be raised. A restart
/// sets the job's own limits in its end.
pub(crate) fn make_room() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let wanted = (base() + RESERVED) as u64;
    // SAFETY: `limit` is valid for reading and writing.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < wanted {
            limit.rlim_cur = wanted.min(limit.rlim_max);
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// First number of the range.
pub(crate) fn base() -> i32 {
    BASE.load(Ordering::Relaxed)
}

/// True for a descriptor that the lower half made.
pub(crate) fn is_ours(fd: i32) -> bool {
    let Ok(index) = usize::try_from(fd) else {
        return false;
    };
    index < TRACKED && OURS[index / 64].load(Ordering::Relaxed) & (1 << (index % 64)) != 0
}

// The numbers of a thread that is apart mean nothing elsewhere.
fn register(fd: i32) {
    let index = fd as usize;
    if index < TRACKED && !Table::current().is_apart() {
        OURS[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
    }
}

fn forget(fd: i32) {
    if let Ok(index) = usize::try_from(fd)
        && index < TRACKED
        && !Table::current().is_apart()
    {
        OURS[index / 64].fetch_and(!(1 << (index % 64)), Ordering::Relaxed);
    }
}

/// Takes over `fd`, which came from elsewhere (the command line, an exec): moves
/// it into the range and registers it. Returns its new number.
pub(crate) fn adopt(fd: i32) -> i32 {
    raise(c_long::from(fd))
}

/// Moves a fresh descriptor up; passes `-1` on.
fn raise(fd: c_long) -> c_int {
    if fd < 0 {
        return -1;
    }
    let fd = fd as c_int;
    // SAFETY: plain system calls on a descriptor that this function owns.
    unsafe {
        let up = libc::syscall(libc::SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, base()) as c_int;
        if up < 0 {
            // The range is full: better a low descriptor, which is registered all
            // the same, than a failing driver.
            libc::syscall(libc::SYS_fcntl, fd, libc::F_SETFD, libc::FD_CLOEXEC);
            register(fd);
            return fd;
        }
        libc::syscall(libc::SYS_close, fd);
        register(up);
        up
    }
}

macro_rules! wrappers {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) = $call:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As the C function of this name.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> c_int {
            // SAFETY: the caller's arguments go to the kernel as they are.
            raise(unsafe { $call })
        }
    )*};
}

// `open` and its kin are variadic in C; on x86-64 the optional mode is in the
// third or fourth integer register either way, and unused bits are ignored.
wrappers! {
    /// open(2).
    fn open(path: *const c_char, flags: c_int, mode: mode_t) =
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode);
    /// open(2).
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) =
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode);
    /// openat(2).
    fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) =
        libc::syscall(libc::SYS_openat, dir, path, flags, mode);
    /// openat(2).
    fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) =
        libc::syscall(libc::SYS_openat, dir, path, flags, mode);
    /// creat(2).
    fn creat(path: *const c_char, mode: mode_t) =
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode);
    /// socket(2).
    fn socket(domain: c_int, kind: c_int, protocol: c_int) =
        libc::syscall(libc::SYS_socket, domain, kind, protocol);
    /// accept(2).
    fn accept(fd: c_int, address: *mut c_void, len: *mut c_void) =
        libc::syscall(libc::SYS_accept4, fd, address, len, 0);
    /// accept4(2).
    fn accept4(fd: c_int, address: *mut c_void, len: *mut c_void, flags: c_int) =
        libc::syscall(libc::SYS_accept4, fd, address, len, flags);
    /// eventfd(2).
    fn eventfd(initial: u32, flags: c_int) = libc::syscall(libc::SYS_eventfd2, initial, flags);
    /// epoll_create(2).
    fn epoll_create(_size: c_int) = libc::syscall(libc::SYS_epoll_create1, 0);
    /// epoll_create1(2).
    fn epoll_create1(flags: c_int) = libc::syscall(libc::SYS_epoll_create1, flags);
    /// timerfd_create(2).
    fn timerfd_create(clock: c_int, flags: c_int) =
        libc::syscall(libc::SYS_timerfd_create, clock, flags);
    /// memfd_create(2).
    fn memfd_create(name: *const c_char, flags: u32) =
        libc::syscall(libc::SYS_memfd_create, name, flags);
    /// inotify_init(2).
    fn inotify_init() = libc::syscall(libc::SYS_inotify_init1, 0);
    /// inotify_init1(2).
    fn inotify_init1(flags: c_int) = libc::syscall(libc::SYS_inotify_init1, flags);
    /// dup(2).
    fn dup(fd: c_int) = libc::syscall(libc::SYS_dup, fd);
}

/// fcntl(2): duplicates go up like any new descriptor.
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's arguments go to the kernel as they are.
    let result = unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) };
    if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
        return raise(result);
    }
    result as c_int
}

/// fcntl(2).
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: as this function's own contract.
    unsafe { fcntl(fd, command, argument) }
}

/// close(2): the number is the application's to use again.
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    forget(fd);
    // SAFETY: the caller owns the descriptor.
    unsafe { libc::syscall(libc::SYS_close, fd) as c_int }
}

/// Moves both descriptors of a pair up.
///
/// # Safety
/// `pair` points to two descriptors that the caller owns, when `result` is 0.
unsafe fn raise_pair(result: c_long, pair: *mut c_int) -> c_int {
    if result != 0 {
        return -1;
    }
    for index in 0..2 {
        // SAFETY: by this function's contract `pair` holds two integers.
        let slot = unsafe { &mut *pair.add(index) };
        *slot = raise(c_long::from(*slot));
    }
    0
}

/// pipe(2).
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipe(pair: *mut c_int) -> c_int {
    // SAFETY: the caller's pointer goes to the kernel, which checks it.
    unsafe { raise_pair(libc::syscall(libc::SYS_pipe2, pair, 0), pair) }
}

/// pipe2(2).
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipe2(pair: *mut c_int, flags: c_int) -> c_int {
    // SAFETY: the caller's pointer goes to the kernel, which checks it.
    unsafe { raise_pair(libc::syscall(libc::SYS_pipe2, pair, flags), pair) }
}

/// socketpair(2).
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn socketpair(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    pair: *mut c_int,
) -> c_int {
    // SAFETY: the caller's pointer goes to the kernel, which checks it.
    unsafe {
        raise_pair(
            libc::syscall(libc::SYS_socketpair, domain, kind, protocol, pair),
            pair,
        )
    }
}

/// opendir(3): libc's own opens without asking us.
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn opendir(path: *const c_char) -> *mut libc::DIR {
    // SAFETY: the caller's path goes to the kernel, which checks it.
    let fd = unsafe {
        open(
            path,
            libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC,
            0,
        )
    };
    if fd < 0 {
        return std::ptr::null_mut();
    }
    // SAFETY: `fd` is a directory that this function opened.
    unsafe { libc::fdopendir(fd) }
}

/// fopen(3): libc's own opens without asking us.
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: `mode` is a C string by fopen's contract.
    let Some(flags) = (unsafe { open_flags(mode) }) else {
        // SAFETY: errno is this thread's own.
        unsafe { *libc::__errno_location() = libc::EINVAL };
        return std::ptr::null_mut();
    };
    // SAFETY: the caller's path goes to the kernel, which checks it.
    let fd = unsafe { open(path, flags, 0o666) };
    if fd < 0 {
        return std::ptr::null_mut();
    }
    // SAFETY: `fd` was just opened with flags that fit `mode`.
    unsafe { libc::fdopen(fd, mode) }
}

/// fopen(3).
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: as this function's own contract.
    unsafe { fopen(path, mode) }
}

/// A function of libc's that this file replaces, found once.
pub(crate) fn next(cell: &AtomicUsize, name: &std::ffi::CStr) -> usize {
    let mut found = cell.load(Ordering::Relaxed);
    if found == 0 {
        // SAFETY: RTLD_NEXT and a C string; the executable is never unloaded.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
        cell.store(found, Ordering::Relaxed);
    }
    found
}

/// fclose(3): libc's own closes without asking us.
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fclose(file: *mut libc::FILE) -> c_int {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: `file` is open by fclose's contract.
    forget(unsafe { libc::fileno(file) });
    // SAFETY: libc's fclose has this type.
    let close: unsafe extern "C" fn(*mut libc::FILE) -> c_int =
        unsafe { std::mem::transmute(next(&NEXT, c"fclose")) };
    // SAFETY: as this function's own contract.
    unsafe { close(file) }
}

/// closedir(3): libc's own closes without asking us.
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closedir(directory: *mut libc::DIR) -> c_int {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: `directory` is open by closedir's contract.
    forget(unsafe { libc::dirfd(directory) });
    // SAFETY: libc's closedir has this type.
    let close: unsafe extern "C" fn(*mut libc::DIR) -> c_int =
        unsafe { std::mem::transmute(next(&NEXT, c"closedir")) };
    // SAFETY: as this function's own contract.
    unsafe { close(directory) }
}

/// The flags of an fopen mode, `None` if it is none.
///
/// # Safety
/// `mode` is a C string.
unsafe fn open_flags(mode: *const c_char) -> Option<c_int> {
    // SAFETY: by contract a C string.
    let mode =
        unsafe { std::slice::from_raw_parts(mode.cast::<u8>(), libc::strlen(mode) as size_t) };
    let plus = mode.contains(&b'+');
    let access = match (mode.first()?, plus) {
        (b'r', false) => libc::O_RDONLY,
        (b'r', true) => libc::O_RDWR,
        (b'w', false) => libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC,
        (b'w', true) => libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC,
        (b'a', false) => libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND,
        (b'a', true) => libc::O_RDWR | libc::O_CREAT | libc::O_APPEND,
        _ => return None,
    };
    let exclusive = if mode.contains(&b'x') {
        libc::O_EXCL
    } else {
        0
    };
    Some(access | exclusive)
}
