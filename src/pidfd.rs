//! Waiting for the end of a process that is not our child (pidfd_open(2), Linux 5.3).
#![allow(unsafe_code, reason = "pidfd_open has no wrapper")]

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A process, also after its number has gone to another one.
pub(crate) struct Process(Option<OwnedFd>);

impl Process {
    /// The process that has this number now.
    pub(crate) fn open(pid: i32) -> Self {
        // SAFETY: the call takes two integers and gives a new descriptor or an error.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0);
        // SAFETY: the kernel has just made this descriptor for us.
        Self(fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Waits until the process has ended; false when it still runs after `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        // Without a descriptor the process was gone when it was opened.
        let Some(fd) = &self.0 else { return true };
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(Errno::EINTR) => {}
                Ok(0) | Err(_) => return false,
                Ok(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn waits_for_the_end_and_no_longer_than_told() {
        let mut child = Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = Process::open(child.id().cast_signed());
        assert!(!process.wait(Duration::from_millis(20)));
        drop(child.stdin.take());
        // It has ended although nobody has reaped it.
        assert!(process.wait(Duration::from_secs(20)));
        child.wait().unwrap();
        assert!(Process::open(child.id().cast_signed()).wait(Duration::ZERO));
    }
}
