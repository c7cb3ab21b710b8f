//! What the tests share: a child process for what would change the test process.
#![allow(unsafe_code, reason = "fork, memory at chosen addresses")]

use crate::Range;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    Panicked(String),
    Killed(i32),
}

/// Where a child's panic goes; -1 in the test process.
static REPORT: AtomicI32 = AtomicI32::new(-1);
/// A child that takes longer hangs.
const DEADLINE_MS: i32 = 120_000;

/// Installed before the first fork: a lock that another thread holds at that moment
/// would stay locked in the child.
fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let out = REPORT.load(Ordering::Relaxed);
            if out < 0 {
                return usual(info);
            }
            // SAFETY: `out` is this child's and owned by nothing else.
            let mut out = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(out) });
            let _ = write!(out, "{info}");
        }));
    });
}

/// Runs `test` in a forked child and says how that ended.
pub(crate) fn child(test: impl FnOnce()) -> Ended {
    report_panics();
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(made, 0);
    // SAFETY: glibc makes its allocator usable in the child; the child runs `test`
    // alone and leaves by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // High, out of the way of what is tested.
        // SAFETY: plain integers; nothing owns the two ends in the child.
        unsafe {
            REPORT.store(
                libc::fcntl(ends[1], libc::F_DUPFD_CLOEXEC, 500),
                Ordering::Relaxed,
            );
            libc::close(ends[0]);
            libc::close(ends[1]);
        }
        crate::set_descriptor_base(400);
        let result = catch_unwind(AssertUnwindSafe(test));
        // SAFETY: ends the child without the test harness's exit handlers.
        unsafe { libc::_exit(i32::from(result.is_err())) };
    }
    // SAFETY: the write end is the child's; the read end goes into a File.
    let mut from = unsafe {
        libc::close(ends[1]);
        std::fs::File::from_raw_fd(ends[0])
    };
    let mut end = libc::pollfd {
        fd: ends[0],
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure; then, past the deadline, our own child.
    unsafe {
        if libc::poll(&mut end, 1, DEADLINE_MS) == 0 {
            libc::kill(pid, libc::SIGKILL);
        }
    }
    let mut message = String::new();
    from.read_to_string(&mut message).unwrap();
    let mut status = 0;
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    if libc::WIFSIGNALED(status) {
        Ended::Killed(libc::WTERMSIG(status))
    } else if libc::WEXITSTATUS(status) == 0 {
        Ended::Well
    } else {
        Ended::Panicked(message)
    }
}

/// As [`child`]; the child must end well.
pub(crate) fn in_child(test: impl FnOnce()) {
    match child(test) {
        Ended::Well => {}
        other => panic!("{other:?}"),
    }
}

pub(crate) fn kill_self() {
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// Gives up root's rights, where this process has them.
pub(crate) fn without_privileges() {
    const NOBODY: libc::uid_t = 65534;
    // SAFETY: plain integers; it fails for those who have no such rights.
    unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) };
}

/// Makes writes beyond this size fail with EFBIG.
pub(crate) fn set_file_size_limit(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a valid limit; SIGXFSZ is ignored so that writes fail instead.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

/// Makes a tmpfs of this size at `path`, in namespaces of its own. False where that
/// is not allowed.
pub(crate) fn small_tmpfs(path: &std::path::Path, bytes: u64) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
    // SAFETY: C strings that live across the calls.
    unsafe {
        let flags = libc::CLONE_NEWNS;
        if libc::unshare(flags) != 0 && libc::unshare(flags | libc::CLONE_NEWUSER) != 0 {
            return false;
        }
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let null = std::ptr::null();
        libc::mount(null, c"/".as_ptr(), null, private, null.cast());
        let tmpfs = c"tmpfs".as_ptr();
        libc::mount(tmpfs, path.as_ptr(), tmpfs, 0, options.as_ptr().cast()) == 0
    }
}

/// Memory that a test has mapped.
pub(crate) fn bytes<'a>(range: Range) -> &'a mut [u8] {
    // SAFETY: the tests map it first and use it from one thread.
    unsafe { std::slice::from_raw_parts_mut(range.start as *mut u8, range.len() as usize) }
}

/// `mmap` at a fixed place; panics when it fails.
pub(crate) fn map(range: Range, protection: i32, flags: i32, fd: i32, offset: u64) {
    // SAFETY: the tests own the range.
    let at = unsafe {
        libc::mmap(
            range.start as *mut libc::c_void,
            range.len() as usize,
            protection,
            flags | libc::MAP_FIXED,
            fd,
            offset as i64,
        )
    };
    assert_eq!(
        at as u64,
        range.start,
        "{}",
        std::io::Error::last_os_error()
    );
}

/// A memfd of this size.
pub(crate) fn memfd(name: &str, length: u64) -> std::fs::File {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: a C string that lives across the call; the result is ours.
    let file = unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        std::fs::File::from_raw_fd(fd)
    };
    file.set_len(length).unwrap();
    file
}

/// Attaches a System V segment that goes with its last mapping.
pub(crate) fn system_v(range: Range) {
    // SAFETY: a new segment at a place that the test owns.
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, range.len() as usize, 0o600);
        assert!(id >= 0);
        let at = libc::shmat(id, range.start as *const libc::c_void, libc::SHM_REMAP);
        libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        assert_eq!(at as u64, range.start);
    }
}

/// Descriptors of kinds that are not supported: signalfd, inotify, pidfd.
pub(crate) fn odd_objects() -> Vec<std::fs::File> {
    // SAFETY: fresh descriptors of this process.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        let fds = [
            libc::signalfd(-1, &set, libc::SFD_CLOEXEC),
            libc::inotify_init1(libc::IN_CLOEXEC),
            libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) as i32,
        ];
        fds.into_iter()
            .map(|fd| {
                assert!(fd >= 0);
                std::fs::File::from_raw_fd(fd)
            })
            .collect()
    }
}

pub(crate) fn make_fifo(path: &std::path::Path) {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a C string that lives across the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

pub(crate) fn flock(fd: i32) {
    // SAFETY: plain integers.
    assert_eq!(unsafe { libc::flock(fd, libc::LOCK_EX) }, 0);
}

pub(crate) fn parent() -> i32 {
    // SAFETY: no arguments.
    unsafe { libc::getppid() }
}

/// A timer of timer_create that never fires.
pub(crate) fn posix_timer() {
    let mut timer = std::ptr::null_mut();
    // SAFETY: SIGEV_NONE needs no event structure beyond zeros; room for the id.
    let made = unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_NONE;
        libc::timer_create(libc::CLOCK_THREAD_CPUTIME_ID, &mut event, &mut timer)
    };
    assert_eq!(made, 0);
}

/// Sends a byte of urgent data; false where the kernel has none between AF_UNIX sockets.
pub(crate) fn send_urgent(through: i32) -> bool {
    // SAFETY: one readable byte.
    unsafe { libc::send(through, b"u".as_ptr().cast(), 1, libc::MSG_OOB) == 1 }
}

/// Sends the byte `d` and a descriptor with it.
pub(crate) fn send_descriptor(through: i32, fd: i32) {
    let mut byte = *b"d";
    let mut piece = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut control = [0_u64; 3];
    // SAFETY: the control buffer has room for a header and one descriptor, and all that
    // the message names lives across the call.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        assert_eq!(libc::sendmsg(through, &message, 0), 1);
    }
}

/// Blocks a signal and sends it to this process.
pub(crate) fn block_and_queue(signal: i32) {
    // SAFETY: plain integers, and a set that lives across the call.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, signal);
        assert_eq!(
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()),
            0
        );
        assert_eq!(libc::raise(signal), 0);
    }
}
