//! Calls about signals: actions, masks, and the two pseudo calls of the gate image.
#![allow(
    unsafe_code,
    reason = "reads and writes what the application passed by address"
)]

use super::{Outcome, Trap, error};
use crate::abi::is_upper;
use crate::record::{MASK_RESTORE, REWOUND, TRANSLATE};
use crate::signal::{OURS, bit};
use crate::sys::{self, KernelAction, SigInfo};
use crate::{after, ids, rewind, vdso};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

const EFAULT: i32 = libc::EFAULT;

/// Signals that can be neither blocked nor handled.
const UNBLOCKABLE: u64 = bit(libc::SIGKILL) | bit(libc::SIGSTOP);

pub(super) fn action(t: &mut Trap<'_>) -> Outcome {
    let [signal, new, old, size, ..] = t.args;
    if size != 8 || signal == 0 || signal > 64 {
        return error(libc::EINVAL);
    }
    if (new != 0 && !is_upper(new)) || (old != 0 && !is_upper(old)) {
        return error(EFAULT);
    }
    let signal = signal as i32;
    // SAFETY: only this call borrows the actions, on their own process's thread.
    let actions = unsafe { t.record.actions() };
    let result = if new == 0 {
        actions.get(signal)
    } else {
        match sys::read::<KernelAction>(new) {
            Ok(new) => actions.set(signal, new),
            Err(errno) => return error(errno),
        }
    };
    match result {
        Err(errno) => Outcome::Done(errno),
        Ok(action) => {
            if old != 0
                && let Err(errno) = sys::write(old, &action)
            {
                return error(errno);
            }
            Outcome::Done(0)
        }
    }
}

/// The mask lives in the frame; our two signals only in the record.
pub(super) fn mask(t: &mut Trap<'_>) -> Outcome {
    let [how, set, old, size, ..] = t.args;
    if size != 8 {
        return error(libc::EINVAL);
    }
    if (set != 0 && !is_upper(set)) || (old != 0 && !is_upper(old)) {
        return error(EFAULT);
    }
    // The page with the top of the stack is there; anything else is asked for.
    let is_near = |address: u64| address >> 12 == t.frame.rsp >> 12 && address & 0xfff <= 4088;
    if set != 0 && !is_near(set) && !sys::is_readable(set) {
        return error(EFAULT);
    }
    // SAFETY: only this thread uses its mask bits.
    let bits = unsafe { &mut *t.record.mask_bits.get() };
    let current = t.frame.mask | *bits;
    if set != 0 {
        // SAFETY: just seen to be readable.
        let set = unsafe { (set as *const u64).read_unaligned() };
        let next = match how as i32 {
            libc::SIG_BLOCK => current | set,
            libc::SIG_UNBLOCK => current & !set,
            libc::SIG_SETMASK => set,
            _ => return error(libc::EINVAL),
        } & !UNBLOCKABLE;
        t.frame.mask = next & !OURS;
        *bits = next & OURS;
    }
    if old != 0 {
        if !is_near(old) && !sys::is_writable(old) {
            return error(EFAULT);
        }
        // SAFETY: just seen to be writable.
        unsafe { (old as *mut u64).write_unaligned(current) };
    }
    Outcome::Done(0)
}

/// A descriptor for signals never swallows ours.
pub(super) fn signalfd(t: &mut Trap<'_>) -> Outcome {
    let [fd, set, size, flags, ..] = t.args;
    if size != 8 {
        return error(libc::EINVAL);
    }
    let set = match sys::read::<u64>(set) {
        Ok(set) => set & !OURS,
        Err(errno) => return error(errno),
    };
    // SAFETY: the copy lives across the call.
    unsafe { sys::call(t.nr, [fd, &raw const set as u64, size, flags, 0, 0]) }.into()
}

/// Something waited while the thread was in lower code; a park request is
/// seen to by the caller.
pub(super) fn pending(t: &mut Trap<'_>) -> Outcome {
    if t.record.pending.fetch_and(!MASK_RESTORE, SeqCst) & MASK_RESTORE != 0 {
        // SAFETY: only this thread uses its saved mask.
        t.frame.mask = unsafe { *t.record.saved_mask.get() };
    }
    if after::is_asked(t.frame) {
        // SAFETY: just seen; the frame is this thread's.
        unsafe { after::finish(t.frame) };
    }
    Outcome::AsIs
}

/// The wrapper's question before it runs a handler: rdi signal, rsi its
/// information, rdx the interrupted frame.
pub(super) fn wrapper(t: &mut Trap<'_>) -> Outcome {
    let [signal, info, frame, ..] = t.args;
    // SAFETY: the wrapper passes what the kernel built on this thread's stack.
    let frame = unsafe { &mut *(frame as *mut crate::arch::Frame) };
    vdso::begin_anew(frame);
    let attention = t.record.attention.load(Relaxed);
    if attention & REWOUND != 0 {
        t.record.attention.fetch_and(!REWOUND, SeqCst);
        rewind::undo_for_signal(t.record, frame, signal as i32);
    }
    if attention & TRANSLATE != 0 {
        // SAFETY: as above.
        let info = unsafe { &mut *(info as *mut SigInfo) };
        ids::translate_info(info);
    }
    Outcome::AsIs
}
