//! What the lower half does when a reissued call has returned: the gate image asks
//! for it by a trap, with the call's result in the words on the stack.
//!
//! The thread may have parked, and the program may have been restarted, between the
//! return and this.
#![allow(unsafe_code, reason = "reads the words of a reissued call")]

use crate::abi::{REISSUE, SIGNAL_WRAPPER, is_upper};
use crate::arch::Frame;
use crate::reissue::{REISSUE_RETURN, Reissue};
use crate::sys::SigInfo;
use crate::{ids, sys};

/// What is to be done; its number is in [`Reissue::after`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum After {
    /// Nothing: the call returns by itself.
    Nothing = 0,
    /// The application's own call is made again: this was a wait on its behalf.
    Again,
    /// The call ends with EAGAIN, whatever the wait gave.
    ByChance,
    /// Translate ids in the `siginfo` at the second argument.
    Info,
    /// The same at the third.
    ChildInfo,
    /// The result is a child's id.
    Child,
    /// A wait for a queue or semaphore is made a second time: what is not there now
    /// was removed meanwhile, and the first would have said so.
    Removed,
    /// It was asked whether the application's own call need wait any longer; its time
    /// limit is that of the socket.
    Ready,
}

impl After {
    /// What a call needs that is made with the application's own arguments.
    pub(crate) fn of(nr: i64) -> Self {
        match nr {
            libc::SYS_rt_sigtimedwait if ids::active() => Self::Info,
            libc::SYS_waitid => Self::ChildInfo,
            libc::SYS_wait4 => Self::Child,
            libc::SYS_msgrcv | libc::SYS_msgsnd | libc::SYS_semop | libc::SYS_semtimedop => {
                Self::Removed
            }
            _ => Self::Nothing,
        }
    }

    fn from_word(word: u64) -> Self {
        let all = [
            Self::Again,
            Self::ByChance,
            Self::Info,
            Self::ChildInfo,
            Self::Child,
            Self::Removed,
            Self::Ready,
        ];
        let found = all.into_iter().find(|a| *a as u64 == word);
        found.unwrap_or(Self::Nothing)
    }
}

/// True when `frame` stands behind the gate image's question.
pub(crate) fn is_asked(frame: &Frame) -> bool {
    (REISSUE_RETURN..SIGNAL_WRAPPER).contains(&frame.rip)
}

/// Ends the reissued call: the frame is the application's again, with its result.
///
/// # Safety
/// [`is_asked`]; the frame is the calling thread's.
pub(crate) unsafe fn finish(frame: &mut Frame) {
    // SAFETY: there the stack pointer points to a Reissue.
    let words = unsafe { (frame.rsp as *const Reissue).read_unaligned() };
    words.leave(frame);
    frame.set_result(words.result);
    match After::from_word(words.after) {
        After::Nothing => {}
        After::Ready if words.result == 0 => frame.set_result(-i64::from(libc::EAGAIN)),
        After::Ready if words.result < 0 => {}
        After::Again | After::Ready => {
            frame.rip -= 2;
            frame.rax = words.nr;
        }
        After::ByChance => frame.set_result(-i64::from(libc::EAGAIN)),
        After::Info if words.result > 0 => translate(frame.rsi),
        After::ChildInfo if words.result == 0 => translate(frame.rdx),
        After::Child if words.result > 0 => {
            frame.set_result(ids::to_virtual(words.result as i32).into());
        }
        After::Removed if words.result == -i64::from(libc::EINVAL) => {
            frame.set_result(-i64::from(libc::EIDRM));
        }
        After::Removed | After::Info | After::ChildInfo | After::Child => {}
    }
}

/// Ids in the `siginfo` that the kernel has just written.
fn translate(address: u64) {
    if !is_upper(address) {
        return;
    }
    if let Ok(mut info) = sys::read::<SigInfo>(address) {
        ids::translate_info(&mut info);
        let _ = sys::write(address, &info);
    }
}

const _: () = assert!(REISSUE_RETURN > REISSUE && REISSUE_RETURN < SIGNAL_WRAPPER);
