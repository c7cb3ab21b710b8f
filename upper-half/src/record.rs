//! What the lower half knows about one upper thread. GS base points to it
//! while the thread lives; the gate image reads its first part. `me` stands at
//! GS itself: it says whether there is a record at all.
//!
//! A record belongs to its thread. Others touch only its atomics, and its
//! park slot once `parked` says that the thread waits there.
#![allow(unsafe_code, reason = "records are found through GS")]

use crate::arch::{self, FrameCopy};
use crate::park::ParkSlot;
use crate::sample::Sample;
use crate::signal::Actions;
use crate::transfer::PieceLists;
use std::cell::UnsafeCell;
use std::mem::offset_of;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

/// Bits of `pending`: what the thread must see to before it runs on.
pub(crate) const PARK_REQUEST: u64 = 1;
/// Signals were held back while lower code ran: the mask must be put back.
pub(crate) const MASK_RESTORE: u64 = 2;
/// Bits of `attention`: what the signal wrapper must see to.
pub(crate) const REWOUND: u64 = 1;
/// Ids in `siginfo` need translation.
pub(crate) const TRANSLATE: u64 = 2;

/// One upper thread.
#[repr(C)]
pub(crate) struct Record {
    pub(crate) me: *mut Record,
    pub(crate) lower_fs: u64,
    pub(crate) lower_sp: u64,
    pub(crate) upper_fs: u64,
    pub(crate) pending: AtomicU64,
    pub(crate) handlers: u64,
    pub(crate) attention: AtomicU64,
    pub(crate) exit_sp: u64,
    pub(crate) last_rip: u64,
    pub(crate) last_sp: u64,
    pub(crate) last_tsc: u64,
    pub(crate) delivered: AtomicU64,

    // From here on assembly looks at nothing.
    /// The kernel's id; 0 until the host runs.
    pub(crate) tid: AtomicI32,
    /// The application's id.
    pub(crate) vtid: AtomicI32,
    /// Epoch in which the thread was last signalled.
    pub(crate) asked: AtomicU32,
    /// Epoch at which the thread is parked.
    pub(crate) parked: AtomicU32,
    /// State of the handshake between creator and host (`threads`).
    pub(crate) birth: AtomicU32,
    /// In a trap handler or a gate call that has no end in sight, for reports.
    pub(crate) doing: AtomicI32,
    /// Word to clear and wake when the thread ends.
    pub(crate) clear_tid: AtomicU64,
    pub(crate) robust_head: AtomicU64,
    pub(crate) robust_len: AtomicU64,
    /// The list that the lower libc registered for the host.
    pub(crate) host_robust: AtomicU64,
    /// Bits of our two signals as the application set them in its mask.
    pub(crate) mask_bits: UnsafeCell<u64>,
    /// The mask to put back when lower code that was interrupted is left.
    pub(crate) saved_mask: UnsafeCell<u64>,
    /// Where a rewound call stands: rip, rsp, number.
    pub(crate) rewound: UnsafeCell<[u64; 3]>,
    /// Status of `exit`.
    pub(crate) exit_status: AtomicI32,
    pub(crate) slot: UnsafeCell<ParkSlot>,
    pub(crate) sample: UnsafeCell<Sample>,
    /// Frame on which the thread begins, then scratch for frames that move.
    pub(crate) frame: UnsafeCell<FrameCopy>,
    /// What calls with lists of pieces have yet to move.
    pub(crate) pieces: UnsafeCell<PieceLists>,
    /// The process's signal actions; a vfork child has its own.
    pub(crate) actions: *mut Actions,
    /// True for a child that shares its parent's memory until it execs.
    pub(crate) is_vfork_child: bool,
    /// True for the process's first thread.
    pub(crate) is_main: std::sync::atomic::AtomicBool,
}

// SAFETY: shared fields are atomics; the others follow the rule in the module's text.
unsafe impl Sync for Record {}
// SAFETY: a record is made by one thread and then handed to its host.
unsafe impl Send for Record {}

const _: () = assert!(offset_of!(Record, me) == 0);
const _: () = assert!(offset_of!(Record, lower_fs) == 8);
const _: () = assert!(offset_of!(Record, lower_sp) == 16);
const _: () = assert!(offset_of!(Record, upper_fs) == 24);
const _: () = assert!(offset_of!(Record, pending) == 32);
const _: () = assert!(offset_of!(Record, handlers) == 40);
const _: () = assert!(offset_of!(Record, attention) == 48);
const _: () = assert!(offset_of!(Record, last_rip) == 64);
const _: () = assert!(offset_of!(Record, last_sp) == 72);
const _: () = assert!(offset_of!(Record, last_tsc) == 80);
const _: () = assert!(offset_of!(Record, delivered) == 88);

impl Record {
    /// A record for a thread that does not run yet.
    pub(crate) fn new(handlers: u64, actions: *mut Actions) -> Box<Self> {
        let mut record = Box::new(Self {
            me: std::ptr::null_mut(),
            lower_fs: 0,
            lower_sp: 0,
            upper_fs: 0,
            pending: AtomicU64::new(0),
            handlers,
            attention: AtomicU64::new(0),
            exit_sp: 0,
            last_rip: 0,
            last_sp: 0,
            last_tsc: 0,
            delivered: AtomicU64::new(0),
            tid: AtomicI32::new(0),
            vtid: AtomicI32::new(0),
            asked: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            birth: AtomicU32::new(0),
            doing: AtomicI32::new(-1),
            clear_tid: AtomicU64::new(0),
            robust_head: AtomicU64::new(0),
            robust_len: AtomicU64::new(0),
            host_robust: AtomicU64::new(0),
            mask_bits: UnsafeCell::new(0),
            saved_mask: UnsafeCell::new(0),
            rewound: UnsafeCell::new([0; 3]),
            exit_status: AtomicI32::new(0),
            slot: UnsafeCell::new(ParkSlot::default()),
            sample: UnsafeCell::new(Sample::default()),
            frame: UnsafeCell::new(FrameCopy::empty()),
            pieces: UnsafeCell::new(PieceLists::default()),
            actions,
            is_vfork_child: false,
            is_main: false.into(),
        });
        record.me = &raw mut *record;
        record
    }

    /// The calling thread's record, if it hosts an upper thread.
    pub(crate) fn current() -> Option<&'static Record> {
        let record = arch::hosted();
        // SAFETY: zero or this thread's record, which outlives the thread's time
        // in the upper half.
        (record != 0).then(|| unsafe { &*(record as *const Record) })
    }

    /// The signal actions of this thread's process.
    ///
    /// # Safety
    /// Called by the thread itself; the reference ends before the next call.
    #[allow(
        clippy::mut_from_ref,
        reason = "one process, one table; writes are word-sized"
    )]
    pub(crate) unsafe fn actions(&self) -> &mut Actions {
        // SAFETY: set when the record was made, lives as long as the process.
        unsafe { &mut *self.actions }
    }
}
