//! System calls of the upper half that the filter trapped, by subject.
//!
//! Entered on the host's stack with the lower FS and every signal blocked, so
//! nothing here may block for long: a call that can is issued again from the
//! window ([`crate::reissue`]). The frame is the application's; its result
//! register is set on return, or the thread parks right here.
#![allow(unsafe_code, reason = "works on the trapped frame")]

mod exec;
mod files;
mod futex;
mod identity;
mod process;
mod signals;
mod thread;

use crate::abi::{
    NR_PENDING, NR_PROBE_BASE, NR_PROBE_IDS, NR_PROBE_LOW, NR_PROBE_LOW_IDS, NR_SIGNAL,
};
use crate::after::After;
use crate::arch::Frame;
use crate::park;
use crate::record::{PARK_REQUEST, Record};
use crate::sys::SigInfo;
use crate::{reissue, window};
use std::sync::atomic::Ordering::Relaxed;

pub(crate) use futex::is_inheriting;

/// One trapped call.
pub(crate) struct Trap<'a> {
    pub(crate) record: &'static Record,
    pub(crate) frame: &'a mut Frame,
    pub(crate) nr: i64,
    pub(crate) fs: u64,
    pub(crate) args: [u64; 6],
    /// Where the kernel put the extended state.
    pub(crate) fpstate_at: u64,
}

/// How a trapped call goes on.
pub(crate) enum Outcome {
    /// With this result.
    Done(i64),
    /// With the frame as it is.
    AsIs,
    /// Natively, from the window, with translated arguments.
    Reissue,
    /// After this futex wait, from the window, in the call's place.
    Wait([u64; 6], After),
}

impl From<i64> for Outcome {
    fn from(value: i64) -> Self {
        Self::Done(value)
    }
}

/// A negative errno as a result.
pub(crate) const fn error(errno: i32) -> Outcome {
    Outcome::Done(-(errno as i64))
}

/// A trapped call; returns the FS base to go on with.
pub(crate) unsafe extern "C" fn on_trap(
    _signal: i32,
    info: &SigInfo,
    frame: &mut Frame,
    fs: u64,
) -> u64 {
    let Some(record) = Record::current() else {
        return fs;
    };
    // `si_syscall` stands where a queued signal has its value.
    let nr = i64::from(info.value as i32);
    let args = frame.args();
    let fpstate_at = frame.fpstate;
    let mut trap = Trap {
        record,
        frame,
        nr,
        fs,
        args,
        fpstate_at,
    };
    match dispatch(&mut trap) {
        Outcome::Done(value) => trap.frame.set_result(value),
        Outcome::AsIs => {}
        Outcome::Reissue | Outcome::Wait(..)
            if record.pending.load(Relaxed) & PARK_REQUEST != 0 =>
        {
            // Trapped again after the resume, with ids as they are then.
            trap.frame.rip -= 2;
            trap.frame.rax = nr as u64;
        }
        // SAFETY: the trap handler is done with the lower stack.
        Outcome::Reissue => unsafe { reissue::issue(record, trap.frame, fs, nr, None) },
        // SAFETY: as above.
        Outcome::Wait(args, after) => unsafe { reissue::wait(record, trap.frame, fs, args, after) },
    }
    while record.pending.load(Relaxed) & PARK_REQUEST != 0 {
        // SAFETY: the frame is the application's, on its own stack.
        unsafe { park::park_here(record, frame, fs) };
    }
    fs
}

fn dispatch(t: &mut Trap<'_>) -> Outcome {
    let a = t.args;
    match t.nr {
        libc::SYS_mmap => window::map(a[0], a[1], a[2], a[3], a[4] as i64, a[5]).into(),
        libc::SYS_mremap => window::remap(a[0], a[1], a[2], a[3], a[4]).into(),
        libc::SYS_brk => window::set_break(a[0]).into(),
        libc::SYS_shmat => window::attach(a[0], a[1], a[2]).into(),

        libc::SYS_clone => process::clone(t),
        libc::SYS_fork => process::fork(t, libc::SIGCHLD as u64),
        libc::SYS_vfork => process::vfork(
            t,
            (libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD) as u64,
            0,
        ),
        libc::SYS_exit => thread::exit(t),
        libc::SYS_set_tid_address => thread::set_tid_address(t),
        libc::SYS_set_robust_list => thread::set_robust_list(t),

        libc::SYS_execve => exec::execve(t),
        libc::SYS_execveat => exec::execveat(t),

        libc::SYS_rt_sigaction => signals::action(t),
        libc::SYS_rt_sigprocmask => signals::mask(t),
        libc::SYS_rt_sigsuspend
        | libc::SYS_rt_sigtimedwait
        | libc::SYS_ppoll
        | libc::SYS_pselect6
        | libc::SYS_epoll_pwait
        | libc::SYS_epoll_pwait2 => Outcome::Reissue,
        libc::SYS_signalfd | libc::SYS_signalfd4 => signals::signalfd(t),
        libc::SYS_futex => futex::inheriting(t),
        NR_PENDING => signals::pending(t),
        NR_SIGNAL => signals::wrapper(t),

        libc::SYS_readlink | libc::SYS_readlinkat => files::readlink(t),
        libc::SYS_close => files::close(t),
        libc::SYS_dup2 | libc::SYS_dup3 => files::dup(t),
        libc::SYS_close_range => files::close_range(t),

        NR_PROBE_BASE | NR_PROBE_LOW | NR_PROBE_IDS | NR_PROBE_LOW_IDS => Outcome::Done(1),
        _ => identity::translated(t),
    }
}
