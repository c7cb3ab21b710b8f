//! A thread with a descriptor table of its own, for work on the program's from outside.
//!
//! While threads share a table, the kernel counts references in every call that takes a
//! descriptor: a quarter of the time of a short read. A program of one thread need not
//! pay that for a thread of ours that sleeps, if that one leaves the table. From then on
//! what it opens is its own, also by number. The program's descriptors it sees in
//! `/proc/self`, which shows the first thread's, and it gets the open file behind one by
//! pidfd_getfd(2). So the first thread must stay, also when the program's has ended.
//!
//! Threads that it starts have its table, and are told so by [`Table::set`].

use crate::sys;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

/// Whose descriptors a thread's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// In a table of its own: this process, in the form that pidfd_getfd(2) takes.
    process: Option<RawFd>,
}

const PROGRAMS: Table = Table { process: None };

thread_local! {
    static TABLE: Cell<Table> = const { Cell::new(PROGRAMS) };
}

impl Table {
    /// The calling thread's.
    pub fn current() -> Self {
        TABLE.get()
    }

    /// Notes which one the calling thread has: that of the thread that started it.
    pub fn set(self) {
        TABLE.set(self);
    }

    /// True when it is not the program's.
    pub fn is_apart(self) -> bool {
        self.process.is_some()
    }
}

/// Gives the calling thread a table of its own, with `keep` alone of what is in the
/// shared one. Nothing is opened or closed there meanwhile. Returns what is in both now,
/// to be closed by a thread that stays.
///
/// # Errors
/// Where the kernel or a container does not offer what it takes; the thread then goes
/// on sharing.
pub fn leave(keep: &[RawFd]) -> io::Result<Vec<RawFd>> {
    let process = sys::descriptor::own_process()?;
    sys::descriptor::of_process(process.as_raw_fd(), process.as_raw_fd())?;
    let shared = sys::descriptor::numbers("/proc/self/fd")?;
    sys::descriptor::unshare()?;
    let process = process.into_raw_fd();
    TABLE.set(Table {
        process: Some(process),
    });
    let both = [keep, &[process]].concat();
    for fd in shared {
        if !both.contains(&fd) {
            let _ = sys::descriptor::close(fd);
        }
    }
    // Nothing that is opened later may pass for a standard stream: who writes to this gets EINVAL.
    for stream in (0..3).filter(|stream| !both.contains(stream)) {
        let _ = sys::descriptor::dup_to(process, stream, true);
    }
    Ok(both)
}

/// An open file of the program's, for calls on it.
#[derive(Debug)]
pub enum Held {
    /// In the calling thread's own table, too.
    Shared(RawFd),
    /// A second descriptor.
    Own(OwnedFd),
}

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Shared(fd) => *fd,
            Self::Own(fd) => fd.as_raw_fd(),
        }
    }
}

/// The open file behind descriptor `fd` of the program's.
///
/// # Errors
/// EBADF when there is none; for a thread that is apart also EMFILE.
pub fn hold(fd: RawFd) -> io::Result<Held> {
    match Table::current().process {
        None => Ok(Held::Shared(fd)),
        Some(process) => sys::descriptor::of_process(process, fd).map(Held::Own),
    }
}
