//! New threads and processes.
//!
//! Lock order around fork: hooks, threads, break, image, ids; all are held
//! across it, so the child finds them free and its data whole.
#![allow(unsafe_code, reason = "clones, forks and builds the child's frame")]

use super::{Outcome, Trap, error};
use crate::arch::{self, Frame, FrameCopy};
use crate::ids::Pair;
use crate::record::{PARK_REQUEST, Record, TRANSLATE};
use crate::signal::Actions;
use crate::threads::{self, Birth};
use crate::{ids, park, process, sys, window};
use std::sync::atomic::Ordering::Relaxed;

const VM: u64 = libc::CLONE_VM as u64;
const VFORK: u64 = libc::CLONE_VFORK as u64;
const THREAD: u64 = libc::CLONE_THREAD as u64;
const SETTLS: u64 = libc::CLONE_SETTLS as u64;
const PARENT_SETTID: u64 = libc::CLONE_PARENT_SETTID as u64;
const CHILD_SETTID: u64 = libc::CLONE_CHILD_SETTID as u64;
const CHILD_CLEARTID: u64 = libc::CLONE_CHILD_CLEARTID as u64;
const PIDFD: u64 = libc::CLONE_PIDFD as u64;
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;
/// Sharing that a process without CLONE_VM can ask for; fork cannot give it.
const SHARING: u64 =
    (libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_PARENT | libc::CLONE_PTRACE) as u64;

pub(super) fn clone(t: &mut Trap<'_>) -> Outcome {
    let flags = t.args[0] & 0xffff_ffff;
    if flags & NAMESPACES != 0 {
        sys::complain("clone into a new namespace refused: it could not be restored");
        return error(libc::EPERM);
    }
    if flags & THREAD != 0 {
        return thread(t, flags);
    }
    if flags & VM != 0 && flags & VFORK != 0 {
        return vfork(t, flags, t.args[1]);
    }
    if flags & (VM | SHARING) != 0 {
        sys::complain(&format!(
            "clone with flags {flags:#x} refused: shared without being a thread"
        ));
        return error(libc::EINVAL);
    }
    fork(t, flags)
}

fn thread(t: &mut Trap<'_>, flags: u64) -> Outcome {
    let [_, stack, parent_word, child_word, tls, _] = t.args;
    let needed = VM | libc::CLONE_SIGHAND as u64;
    if flags & needed != needed {
        return error(libc::EINVAL);
    }
    let mut record = Record::new(t.record.handlers, t.record.actions);
    record
        .attention
        .store(t.record.attention.load(Relaxed) & TRANSLATE, Relaxed);
    // SAFETY: only the parent uses its mask bits; the new record is not shared yet.
    unsafe { *record.mask_bits.get() = *t.record.mask_bits.get() };
    if flags & CHILD_CLEARTID != 0 {
        record.clear_tid = child_word.into();
    }
    // SAFETY: the trapped frame is complete; the record is not shared yet.
    let frame = unsafe { (*record.frame.get()).fill(t.frame) };
    frame.set_result(0);
    if stack != 0 {
        frame.rsp = stack;
    }
    frame.without_altstack();
    let frame: *const Frame = frame;
    let word = |flag, address| if flags & flag != 0 { address } else { 0 };
    let birth = Birth {
        record: Box::into_raw(record),
        frame,
        fs: if flags & SETTLS != 0 { tls } else { t.fs },
        id_words: [
            word(PARENT_SETTID, parent_word),
            word(CHILD_SETTID, child_word),
        ],
        blocked: std::ptr::null(),
    };
    match threads::spawn(Box::new(birth)) {
        Ok(vtid) => Outcome::Done(i64::from(vtid)),
        Err(errno) => error(errno),
    }
}

pub(super) fn fork(t: &mut Trap<'_>, flags: u64) -> Outcome {
    // The plain system call has no arguments.
    let [stack, parent_word, child_word, tls] = if t.nr == libc::SYS_fork {
        [0; 4]
    } else {
        [t.args[1], t.args[2], t.args[3], t.args[4]]
    };
    if flags & 0xff != libc::SIGCHLD as u64 {
        sys::complain(&format!(
            "clone with exit signal {} refused: only SIGCHLD",
            flags & 0xff
        ));
        return error(libc::EINVAL);
    }
    process::hooks().before_fork();
    let mut list = threads::lock();
    let break_guard = window::lock_break();
    let image_guard = process::image();
    let mut ids_guard = ids::lock();
    // SAFETY: the hooks and the locks above make the child's data whole.
    let child = unsafe { libc::fork() };
    let failure = if child < 0 {
        // SAFETY: errno of this thread.
        -i64::from(unsafe { *libc::__errno_location() })
    } else {
        0
    };
    let mut virtual_child = child;
    if child > 0 {
        let pair = ids_guard.of_child(child, |id| list.knows(id));
        virtual_child = pair.virt;
        ids_guard.child_born(pair);
    }
    if child == 0 {
        let pair = ids_guard.of_child(sys::getpid() as i32, |id| list.knows(id));
        ids_guard.forked(pair);
        threads::keep_only(&mut list, t.record);
        park::reset_in_child();
        let record = t.record;
        record.pending.fetch_and(!PARK_REQUEST, Relaxed);
        // Epochs begin anew: what the parent's meant says nothing here.
        record.parked.store(0, Relaxed);
        record.asked.store(0, Relaxed);
        record.tid.store(pair.real, Relaxed);
        record.vtid.store(pair.virt, Relaxed);
        record.is_main.store(true, Relaxed);
        record.robust_head.store(0, Relaxed);
        record.clear_tid.store(
            if flags & CHILD_CLEARTID != 0 {
                child_word
            } else {
                0
            },
            Relaxed,
        );
        if flags & CHILD_SETTID != 0 {
            sys::store(child_word, pair.virt);
        }
        if stack != 0 {
            t.frame.rsp = stack;
        }
    }
    drop((ids_guard, image_guard, break_guard, list));
    process::hooks().after_fork(child == 0, child);
    if child > 0 {
        if flags & PARENT_SETTID != 0 {
            sys::store(parent_word, virtual_child);
        } else if flags & PIDFD != 0 {
            // SAFETY: no addresses.
            let fd = unsafe { sys::call(libc::SYS_pidfd_open, [child as u64, 0, 0, 0, 0, 0]) };
            sys::store(parent_word, fd as i32);
        }
    }
    if child == 0 && flags & SETTLS != 0 {
        t.fs = tls;
        t.frame.set_result(0);
        // SAFETY: the trap handler is done; FS is the one that was asked for.
        unsafe { arch::enter_again(t.frame, tls) };
    }
    Outcome::Done(if child < 0 {
        failure
    } else {
        virtual_child.into()
    })
}

/// What a vfork child needs, in memory that it shares with its parent.
struct Borrowed {
    record: *mut Record,
    frame: *const Frame,
    fs: u64,
}

/// The child runs in its parent's memory until it execs or ends: with a
/// record, signal actions and a piece of lower stack of its own.
pub(super) fn vfork(t: &mut Trap<'_>, flags: u64, stack: u64) -> Outcome {
    let (mut ours, mut childs) = (FrameCopy::empty(), FrameCopy::empty());
    // SAFETY: the trapped frame is complete.
    let (saved, child_frame) = unsafe { (ours.fill(t.frame), childs.fill(t.frame)) };
    child_frame.set_result(0);
    if stack != 0 {
        child_frame.rsp = stack;
    }
    // SAFETY: this thread's own process's actions.
    let mut actions: Box<Actions> = unsafe { t.record.actions() }.private_copy();
    let mut record = Record::new(actions.handlers as u64, &raw mut *actions);
    record.is_vfork_child = true;
    record.lower_fs = t.record.lower_fs;
    // SAFETY: only the parent uses its mask bits; the new record is not shared yet.
    unsafe { *record.mask_bits.get() = *t.record.mask_bits.get() };
    record
        .attention
        .store(t.record.attention.load(Relaxed) & TRANSLATE, Relaxed);
    let fs = if flags & SETTLS != 0 { t.args[4] } else { t.fs };
    let borrowed = Borrowed {
        record: record.me,
        frame: child_frame,
        fs,
    };
    let plain = flags & !(SETTLS | CHILD_SETTID | CHILD_CLEARTID);
    t.record.doing.store(t.nr as i32, Relaxed);
    // SAFETY: `plain` has CLONE_VM and CLONE_VFORK; `vfork_child` never returns.
    let child = unsafe {
        let argument = &raw const borrowed as u64;
        arch::vfork_with(
            plain,
            vfork_child,
            argument,
            if t.nr == libc::SYS_clone {
                t.args[2]
            } else {
                0
            },
        )
    };
    t.record.doing.store(-1, Relaxed);
    t.frame_restored(saved);
    let child = if child > 0 {
        let pair = pair_of_child(child as i32);
        ids::lock().child_born(pair);
        if flags & PARENT_SETTID != 0 && t.nr == libc::SYS_clone {
            sys::store(t.args[2], pair.virt);
        }
        pair.virt.into()
    } else {
        child
    };
    t.frame.set_result(child);
    let (frame, fs, record_here): (*mut Frame, u64, &'static Record) = (t.frame, t.fs, t.record);
    drop((record, actions, childs, ours));
    while record_here.pending.load(Relaxed) & PARK_REQUEST != 0 {
        // SAFETY: the frame is whole again, in the application's memory.
        unsafe { park::park_here(record_here, &mut *frame, fs) };
    }
    // The handler's own return address may have been overwritten by the child.
    // SAFETY: nothing on the lower stack is needed any more.
    unsafe { arch::enter_again(frame, fs) }
}

/// What the application calls a child whose memory is ours, in both processes.
fn pair_of_child(real: i32) -> Pair {
    let list = threads::lock();
    ids::lock().of_child(real, |id| list.knows(id))
}

impl Trap<'_> {
    /// Puts the frame and its extended state back where the kernel had them.
    fn frame_restored(&mut self, saved: &Frame) {
        let copy_of_state = saved.fpstate;
        // SAFETY: the copy's state is complete; its place in the application's
        // stack lies below all that the application uses there.
        unsafe {
            let (length, _) = arch::extended_state(copy_of_state);
            let place = self.fpstate_at;
            *self.frame = *saved;
            self.frame.fpstate = place;
            if length != 0 {
                std::ptr::copy_nonoverlapping(copy_of_state as *const u8, place as *mut u8, length);
            }
        }
    }
}

unsafe extern "C" fn vfork_child(argument: u64) -> ! {
    // SAFETY: made by `vfork`, whose frames stay while the parent waits.
    let borrowed = unsafe { &*(argument as *const Borrowed) };
    // SAFETY: the child's own record, used by nobody else.
    let record = unsafe { &*borrowed.record };
    let id = pair_of_child(sys::getpid() as i32);
    record.tid.store(id.real, Relaxed);
    record.vtid.store(id.virt, Relaxed);
    // SAFETY: all signals are blocked; the frame and the record outlive the child.
    unsafe {
        arch::set_gs_base(borrowed.record as u64);
        arch::enter_borrowed(borrowed.record, borrowed.frame, borrowed.fs)
    }
}
