//! No EINTR of ours is ever seen: a thread that left a blocking call because
//! it was to park stands at that call again when it resumes, with less time
//! to wait where the call has a limit.
//!
//! The kernel says nowhere which call a frame comes from. The sample taken
//! before the signal was sent does, the instructions before often do ([`site`]).
#![allow(unsafe_code, reason = "reads code and stack of the parked thread")]

use crate::abi::{REISSUE, is_upper};
use crate::after::After;
use crate::arch::{Frame, time_stamp};
use crate::record::{REWOUND, Record};
use crate::reissue::{self, Limit, NO_LIMIT, REISSUE_RETURN, Reissue};
use crate::signal::bit;
use crate::{site, sys, transfer};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

const EINTR: i64 = -(libc::EINTR as i64);

/// The call that a parked thread stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Interrupted {
    pub(crate) nr: i64,
    /// Nanoseconds left to wait, for calls that wait a relative time.
    pub(crate) remaining: Option<u64>,
    /// What is moved already, of a call that moves much.
    pub(crate) done: u64,
}

impl Interrupted {
    /// The thread need only make the call again, as the application made it.
    pub(crate) fn is_made_as_it_was(&self) -> bool {
        let after = After::of(self.nr);
        self.remaining.is_none() && self.done == 0 && after != After::Removed
    }
}

/// Looks at a frame that is about to park. If our signal cut a call short,
/// the frame is put back to the call and the call is returned.
///
/// # Safety
/// Called on the thread itself, whose frame and stack these are.
pub(crate) unsafe fn rewind(record: &Record, frame: &mut Frame) -> Option<Interrupted> {
    if (frame.rip == REISSUE || frame.rip == REISSUE_RETURN) && is_upper(frame.rsp) {
        // SAFETY: at these addresses the stack pointer points to a Reissue.
        return unsafe { leave_reissue(record, frame) };
    }
    // SAFETY: only this thread reads its sample after the signal was sent.
    let sample = unsafe { *record.sample.get() };
    let sampled = sample.is_of(frame);
    if frame.rax as i64 == EINTR && site::is_after_syscall(frame.rip) {
        let nr = if sampled {
            site::remember(frame.rip, sample.nr);
            if record.delivered.load(Relaxed) != sample.delivered
                && just_interrupted_by_application(record, frame)
            {
                return None; // the application's own signal ended the call
            }
            sample.nr
        } else {
            if just_interrupted_by_application(record, frame) {
                return None;
            }
            site::number(frame.rip)?
        };
        if matches!(
            nr,
            libc::SYS_close | libc::SYS_close_range | libc::SYS_rt_sigreturn
        ) {
            return None;
        }
        let args = frame.args();
        let waited = if sampled { sample.since.until_now() } else { 0 };
        let remaining = match reissue::limit_of(nr, &args) {
            Some(Limit::Sleep(_, rest)) if is_upper(args[rest]) => {
                Some(reissue::read_time(args[rest]))
            }
            Some(limit) => Some(reissue::asked(limit, &args))
                .filter(|r| *r != NO_LIMIT)
                .map(|asked| left_of(asked, waited)),
            None => None,
        };
        frame.rip -= 2;
        frame.rax = nr as u64;
        return Some(Interrupted {
            nr,
            remaining,
            done: 0,
        });
    }
    if let Some(nr) = cut_short(frame, sampled.then_some(sample.nr)) {
        let done = frame.rax;
        frame.rip -= 2;
        frame.rax = nr as u64;
        return Some(Interrupted {
            nr,
            remaining: None,
            done,
        });
    }
    // The kernel itself has put the thread back to a call that it restarts.
    let restarted = sample.blocked
        && sample.pc == frame.rip.wrapping_add(2)
        && sample.sp == frame.rsp
        && frame.rax as i64 == sample.nr;
    restarted.then_some(Interrupted {
        nr: sample.nr,
        remaining: None,
        done: 0,
    })
}

/// What is left of a wait of which `waited` has passed, if that can be.
fn left_of(asked: u64, waited: u64) -> u64 {
    const LATE: u64 = 1_000_000_000; // a thread that is due may not have run yet
    if waited > asked.saturating_add(LATE) {
        return asked;
    }
    asked.saturating_sub(waited)
}

/// A call that our signal ended with a part moved; without it, it would have gone on.
fn cut_short(frame: &Frame, sampled: Option<i64>) -> Option<i64> {
    if frame.rax as i64 <= 0 || !site::is_after_syscall(frame.rip) {
        return None;
    }
    let nr = sampled.or_else(|| site::number(frame.rip))?;
    transfer::is_cut_short(nr, &frame.args(), frame.rax).then_some(nr)
}

/// True when a handler of the application's returned to this very place a
/// moment ago: then the EINTR is the application's.
fn just_interrupted_by_application(record: &Record, frame: &Frame) -> bool {
    const MOMENT: u64 = 100_000_000; // cycles, some tens of milliseconds
    record.last_rip == frame.rip
        && record.last_sp == frame.rsp
        && time_stamp().wrapping_sub(record.last_tsc) < MOMENT
}

/// True when a handler of the application's ran since the call was issued, and so ended
/// it: what interrupts it from then on comes after its end. One that ran just before the
/// call was made does not count.
fn handler_ran(record: &Record, frame: &Frame, words: &Reissue) -> bool {
    let since = record.delivered.load(Relaxed).wrapping_sub(words.delivered);
    let before = record.last_rip == REISSUE && record.last_sp == frame.rsp;
    since != 0 && !(since == 1 && before)
}

/// A thread in a reissued call goes back to the application's own.
///
/// # Safety
/// The stack pointer of `frame` points to a `Reissue`.
unsafe fn leave_reissue(record: &Record, frame: &mut Frame) -> Option<Interrupted> {
    // SAFETY: by the caller's promise.
    let words = unsafe { (frame.rsp as *const Reissue).read_unaligned() };
    let nr = words.nr as i64;
    let interrupted = frame.rip == REISSUE_RETURN;
    let mut done = words.done;
    let part = frame.rax as i64;
    let itself = words.after == After::Nothing as u64;
    let wrote_part = interrupted && itself && part > 0 && cut_short(frame, Some(nr)).is_some();
    if wrote_part {
        done += part as u64;
    } else if interrupted && (frame.rax as i64 != EINTR || handler_ran(record, frame, &words)) {
        return None; // finished: it parks in the window and returns by itself
    }
    let issued_args = frame.args();
    let limit = reissue::limit_of(nr, &issued_args);
    let remaining = match limit {
        _ if words.remaining == NO_LIMIT => None,
        Some(Limit::Socket(_)) if wrote_part => None,
        Some(Limit::Sleep(_, rest)) if interrupted => Some(reissue::read_time(issued_args[rest])),
        Some(_) if interrupted => {
            let waited = sys::monotonic().saturating_sub(words.issued);
            Some(words.remaining.saturating_sub(waited))
        }
        _ => Some(words.remaining),
    };
    words.leave(frame);
    frame.rip -= 2;
    frame.rax = words.nr;
    Some(Interrupted {
        nr,
        remaining,
        done,
    })
}

/// Marks the thread as standing at a rewound call, so that a signal that
/// comes before the call is made again gives its EINTR after all.
pub(crate) fn mark(record: &Record, frame: &Frame) {
    // SAFETY: only this thread uses the field, signals are blocked.
    unsafe { *record.rewound.get() = [frame.rip, frame.rsp, frame.rax] };
    record.attention.fetch_or(REWOUND, SeqCst);
}

/// A handler of the application's is about to run on top of `frame`. If that
/// stands at a rewound call that was not made again yet, the call ends with
/// EINTR as it would have natively.
pub(crate) fn undo_for_signal(record: &Record, frame: &mut Frame, signal: i32) {
    // SAFETY: only this thread uses the field.
    let [rip, rsp, nr] = unsafe { *record.rewound.get() };
    if frame.rip != rip || frame.rsp != rsp || frame.rax != nr {
        return;
    }
    let nr = if rip == REISSUE {
        // SAFETY: at this address the stack pointer points to a Reissue.
        unsafe { (frame.rsp as *const Reissue).read_unaligned() }.nr as i64
    } else {
        nr as i64
    };
    if nr == libc::SYS_futex && crate::trap::is_inheriting(frame.rsi) {
        return; // the kernel restarts these whatever the action says
    }
    let restarts = sys::sigaction(signal, None)
        .is_ok_and(|a| a.flags & libc::SA_RESTART as u64 != 0 && bit(signal) != 0);
    if restarts && !never_restarts(nr) {
        return;
    }
    if rip == REISSUE
        && let Some(Limit::Sleep(_, rest)) = reissue::limit_of(nr, &frame.args())
        && is_upper(frame.args()[rest])
    {
        // SAFETY: as above; the rest goes where the kernel would write it.
        unsafe {
            let time = (*(frame.rsp as *const Reissue)).time;
            (frame.args()[rest] as *mut [u64; 2]).write_unaligned(time);
        }
    }
    frame.rip += 2;
    frame.set_result(EINTR);
}

/// Calls that a handler ends with EINTR even under SA_RESTART (signal(7)).
fn never_restarts(nr: i64) -> bool {
    matches!(
        nr,
        libc::SYS_pause
            | libc::SYS_rt_sigsuspend
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
            | libc::SYS_poll
            | libc::SYS_ppoll
            | libc::SYS_select
            | libc::SYS_pselect6
            | libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_semop
            | libc::SYS_semtimedop
            | libc::SYS_msgrcv
            | libc::SYS_msgsnd
            | libc::SYS_io_getevents
    )
}
