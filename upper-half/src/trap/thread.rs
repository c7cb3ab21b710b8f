//! Calls about the calling thread itself.
#![allow(
    unsafe_code,
    reason = "leaves the upper half, sets the kernel's robust list"
)]

use super::{Outcome, Trap, error};
use crate::{arch, sys};
use std::sync::atomic::Ordering::Relaxed;

/// `exit`: the thread's host takes over, on its own stack.
pub(super) fn exit(t: &mut Trap<'_>) -> Outcome {
    if t.record.is_vfork_child {
        sys::exit_thread(t.args[0]);
    }
    t.record
        .exit_status
        .store((t.args[0] & 0xff) as i32, Relaxed);
    // SAFETY: FS is the host's; nothing on this stack needs dropping.
    unsafe { arch::leave(t.record.me) }
}

/// The word to clear at the thread's end; the kernel clears the host's.
pub(super) fn set_tid_address(t: &mut Trap<'_>) -> Outcome {
    t.record.clear_tid.store(t.args[0], Relaxed);
    Outcome::Done(i64::from(t.record.vtid.load(Relaxed)))
}

/// The robust list, for the kernel too: it walks it when the process is killed.
pub(super) fn set_robust_list(t: &mut Trap<'_>) -> Outcome {
    let (head, length) = (t.args[0], t.args[1]);
    if length != 24 {
        return error(libc::EINVAL);
    }
    if t.record.robust_head.load(Relaxed) == 0 {
        let (mut host, mut host_length) = (0u64, 0u64);
        let args = [
            0,
            &raw mut host as u64,
            &raw mut host_length as u64,
            0,
            0,
            0,
        ];
        // SAFETY: both words live across the call.
        unsafe { sys::call(libc::SYS_get_robust_list, args) };
        t.record.host_robust.store(host, Relaxed);
    }
    t.record.robust_head.store(head, Relaxed);
    t.record.robust_len.store(length, Relaxed);
    // SAFETY: the application's own list.
    unsafe { sys::call(libc::SYS_set_robust_list, [head, length, 0, 0, 0, 0]) }.into()
}
