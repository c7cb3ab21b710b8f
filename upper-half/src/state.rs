//! Everything about the upper half but its memory: what goes into an image,
//! and how a fresh process takes it up again.
#![allow(unsafe_code, reason = "reads frames, hosts restored threads")]

use crate::arch::{self, Frame};
use crate::filter::Filters;
use crate::hooks::Hooks;
use crate::launch::{StartError, install_filters};
use crate::park::{self, ParkSlot};
use crate::process::{self, Image};
use crate::record::{Record, TRANSLATE};
use crate::rewind::Interrupted;
use crate::signal::{self, ActionState, Actions};
use crate::sys::SigInfo;
use crate::window::{self, WindowState};
use crate::{abi, ids, stack, sys, threads, vdso};
use serde::{Deserialize, Serialize};
use std::ffi::c_void;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

/// A thread as it was parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadState {
    /// The application's id.
    pub vtid: i32,
    /// Its name.
    pub name: Vec<u8>,
    /// Address of its signal frame, in the application's memory.
    pub frame: u64,
    fs: u64,
    timer_slack: u64,
    parent_death: i32,
    clear_tid: u64,
    robust: [u64; 2],
    mask_bits: u64,
    interrupted: Option<Interrupted>,
    /// Signals that were pending for it, as `siginfo` bytes.
    private: Vec<Vec<u8>>,
    shared: Vec<Vec<u8>>,
    is_main: bool,
}

/// Everything about the upper half but its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpperState {
    /// [`abi::VERSION`].
    pub abi: u32,
    /// The application's threads, the first one first.
    pub threads: Vec<ThreadState>,
    /// XCR0 bits that the saved registers use.
    pub features: u64,
    ids: ids::IdState,
    image: Image,
    window: WindowState,
    actions: ActionState,
    low: bool,
    main_status: i32,
    /// membarrier(2) commands that the process had registered for.
    membarrier: u64,
}

impl UpperState {
    /// What /proc/self/exe names.
    pub fn program(&self) -> &[u8] {
        &self.image.path
    }

    /// The process id as the application knows it.
    pub fn vpid(&self) -> i32 {
        self.ids.pid.virt
    }

    /// Why this machine cannot continue the threads.
    ///
    /// # Errors
    /// Another ABI version, or processor state that this machine lacks.
    pub fn check_machine(&self) -> Result<(), StartError> {
        if self.abi != abi::VERSION {
            return Err(StartError::Version {
                found: self.abi.into(),
                known: abi::VERSION,
            });
        }
        let missing = self.features & !arch::enabled_features();
        if missing != 0 {
            return Err(StartError::Features { missing });
        }
        Ok(())
    }
}

/// Captures the state; every upper thread is parked.
pub(crate) fn capture() -> UpperState {
    let list = threads::lock();
    // SAFETY: the list's lock is held.
    let records: Vec<&Record> = list.list.iter().map(|r| unsafe { r.get() }).collect();
    let mut threads: Vec<ThreadState> = records.iter().map(|r| thread_state(r)).collect();
    threads.sort_by_key(|t| !t.is_main);
    let features = threads.iter().fold(0, |all, t| {
        // SAFETY: frames of parked threads are complete.
        all | unsafe { arch::extended_state((*(t.frame as *const Frame)).fpstate).1 }
    });
    // SAFETY: all threads of the process share one table and are parked.
    let actions = records
        .first()
        .map(|r| unsafe { (*r.actions).state() })
        .unwrap_or_default();
    UpperState {
        abi: abi::VERSION,
        threads,
        features,
        ids: ids::lock().clone(),
        image: process::image().clone(),
        window: window::state(),
        actions,
        low: process::low(),
        main_status: list.main_status,
        membarrier: membarrier_registrations(),
    }
}

fn thread_state(record: &Record) -> ThreadState {
    // SAFETY: the thread is parked: its slot and mask bits do not change.
    let (slot, mask_bits) = unsafe { (&*record.slot.get(), *record.mask_bits.get()) };
    let bytes = |infos: &[SigInfo]| {
        let detached = infos.iter().map(|info| {
            let mut info = *info;
            ids::detach_info(&mut info);
            info.to_bytes().to_vec()
        });
        detached.collect()
    };
    let length = slot.name.iter().position(|b| *b == 0).unwrap_or(16);
    ThreadState {
        vtid: record.vtid.load(Relaxed),
        name: slot.name[..length].to_vec(),
        frame: slot.frame,
        fs: slot.fs,
        timer_slack: slot.timer_slack,
        parent_death: slot.parent_death,
        clear_tid: record.clear_tid.load(Relaxed),
        robust: [
            record.robust_head.load(Relaxed),
            record.robust_len.load(Relaxed),
        ],
        mask_bits,
        interrupted: slot.interrupted,
        private: bytes(&slot.private),
        shared: bytes(&slot.shared),
        is_main: record.is_main.load(Relaxed),
    }
}

/// None are known where the kernel cannot tell (before 6.3).
fn membarrier_registrations() -> u64 {
    const GET_REGISTRATIONS: u64 = 1 << 9;
    // SAFETY: no addresses.
    let r = unsafe { sys::call(libc::SYS_membarrier, [GET_REGISTRATIONS, 0, 0, 0, 0, 0]) };
    u64::try_from(r).unwrap_or(0)
}

/// Hosts wait for this word to become 1.
static GO: AtomicU32 = AtomicU32::new(0);
/// Hosts that are ready.
static READY: AtomicU32 = AtomicU32::new(0);

/// Threads wait in their hosts; [`Restored::resume`] lets them run.
#[must_use = "nothing runs until it is resumed"]
pub struct Restored {
    record: *mut Record,
    first: ThreadState,
    /// The first thread had ended before the others.
    first_ended: bool,
}

/// Takes the state up in a fresh process whose window holds the image's
/// memory. Called on the process's first thread; afterwards all its signals
/// are blocked and the filters are in force. `on_host` is called on each
/// host, the calling thread's last, before its thread runs.
///
/// # Errors
/// [`StartError`]: another version, missing processor features, no thread.
pub fn restore(
    state: UpperState,
    hooks: &'static dyn Hooks,
    on_host: fn(vtid: i32),
) -> Result<Restored, StartError> {
    crate::segments::prepare()?;
    crate::probe::machine().map_err(StartError::Machine)?;
    state.check_machine()?;
    process::set_hooks(hooks);
    sys::set_mask(!signal::bit(libc::SIGSYS));
    let found = vdso::restored_version();
    if found != u64::from(abi::VERSION) {
        return Err(StartError::Version {
            found,
            known: abi::VERSION,
        });
    }
    window::set_state(&state.window);
    *process::image() = state.image.clone();
    process::set_low(state.low);
    *ids::lock() = state.ids.restarted();
    stack::show_in_proc(&state.image);
    let actions = Box::leak(Actions::for_process());
    let record = Record::new(actions.handlers as u64, actions);
    let record = Box::into_raw(record);
    // SAFETY: the record is leaked: it lives as long as the process.
    unsafe {
        (*record).lower_fs = arch::fs_base();
        arch::set_gs_base(record as u64);
    }
    vdso::fill();
    signal::install();
    install_filters(Filters::needed(state.low, true))?;
    sys::set_mask(u64::MAX);
    actions.restore(&state.actions);
    for command in (0..32)
        .map(|i| 1 << i)
        .filter(|c| state.membarrier & c != 0)
    {
        // SAFETY: no addresses; registers the process for a kind of barrier.
        unsafe { sys::call(libc::SYS_membarrier, [command, 0, 0, 0, 0, 0]) };
    }

    let first_ended = state.threads.first().is_none_or(|t| !t.is_main);
    let mut rest = state.threads.into_iter();
    let first = if first_ended { None } else { rest.next() };
    let mut count = 0;
    for thread in rest {
        spawn(thread, actions, on_host)?;
        count += 1;
    }
    // SAFETY: made above; only this thread uses it until it is registered.
    let main = unsafe { &*record };
    main.is_main.store(true, Relaxed);
    if first_ended {
        threads::lock().main_status = state.main_status;
    }
    if let Some(first) = &first {
        adopt(main, first, on_host);
    }
    while READY.load(Acquire) < count {
        let ready = READY.load(Acquire);
        if ready < count {
            sys::futex_wait(&READY, ready, None);
        }
    }
    let placeholder = ThreadState {
        vtid: 0,
        name: Vec::new(),
        frame: 0,
        fs: 0,
        timer_slack: 0,
        parent_death: 0,
        clear_tid: 0,
        robust: [0; 2],
        mask_bits: 0,
        interrupted: None,
        private: Vec::new(),
        shared: Vec::new(),
        is_main: true,
    };
    Ok(Restored {
        record,
        first: first.unwrap_or(placeholder),
        first_ended,
    })
}

impl Restored {
    /// Lets every thread run; the calling thread becomes the first one.
    pub fn resume(self) -> ! {
        queue_signals(&self.first);
        GO.store(1, SeqCst);
        sys::futex_wake(&GO);
        if self.first_ended {
            threads::wait_as_ended(self.record);
        }
        // SAFETY: this thread's own record.
        continue_thread(unsafe { &*self.record }, &self.first);
        threads::finish(self.record);
        unreachable!("the first thread's host waits for the others or ends the process")
    }
}

struct Host {
    record: Box<Record>,
    thread: ThreadState,
    on_host: fn(i32),
}

fn spawn(thread: ThreadState, actions: *mut Actions, on_host: fn(i32)) -> Result<(), StartError> {
    // SAFETY: the process's actions, just made.
    let record = Record::new(unsafe { (*actions).handlers } as u64, actions);
    let host = Box::into_raw(Box::new(Host {
        record,
        thread,
        on_host,
    }));
    let made = threads::create_pthread(restored_host, host.cast());
    made.map(drop)
        .map_err(|e| StartError::Thread(std::io::Error::from_raw_os_error(e)))
}

extern "C" fn restored_host(argument: *mut c_void) -> *mut c_void {
    threads::block_all();
    // SAFETY: made by `spawn` from a Box, given to this host alone.
    let Host {
        record,
        thread,
        on_host,
    } = *unsafe { Box::from_raw(argument.cast::<Host>()) };
    let record = Box::into_raw(record);
    // SAFETY: this host owns the record; it lives until `finish` resets GS.
    let shared: &Record = unsafe {
        (*record).lower_fs = arch::fs_base();
        arch::set_gs_base(record as u64);
        &*record
    };
    adopt(shared, &thread, on_host);
    queue_signals(&thread);
    READY.fetch_add(1, SeqCst);
    sys::futex_wake(&READY);
    while GO.load(Acquire) == 0 {
        sys::futex_wait(&GO, 0, None);
    }
    continue_thread(shared, &thread);
    drop(thread);
    threads::finish(record);
    std::ptr::null_mut()
}

/// Makes the calling host that of `thread`.
fn adopt(record: &Record, thread: &ThreadState, on_host: fn(i32)) {
    record.vtid.store(thread.vtid, Relaxed);
    record.clear_tid.store(thread.clear_tid, Relaxed);
    // SAFETY: only this thread uses its mask bits.
    unsafe { *record.mask_bits.get() = thread.mask_bits };
    record.attention.fetch_or(TRANSLATE, SeqCst);
    let mut name = [0u8; 16];
    let length = thread.name.len().min(15);
    name[..length].copy_from_slice(&thread.name[..length]);
    // SAFETY: 16 bytes with a terminator; the robust list is the
    // application's own.
    unsafe {
        let set_name = [libc::PR_SET_NAME as u64, name.as_ptr() as u64, 0, 0, 0, 0];
        sys::call(libc::SYS_prctl, set_name);
        if thread.timer_slack != 0 {
            let slack = [
                libc::PR_SET_TIMERSLACK as u64,
                thread.timer_slack,
                0,
                0,
                0,
                0,
            ];
            sys::call(libc::SYS_prctl, slack);
        }
        if thread.parent_death != 0 {
            let signal = thread.parent_death as u64;
            let set = [libc::PR_SET_PDEATHSIG as u64, signal, 0, 0, 0, 0];
            sys::call(libc::SYS_prctl, set);
        }
        if thread.robust[0] != 0 {
            let (mut host, mut length) = (0u64, 0u64);
            let get = [0, &raw mut host as u64, &raw mut length as u64, 0, 0, 0];
            sys::call(libc::SYS_get_robust_list, get);
            record.host_robust.store(host, Relaxed);
            record.robust_head.store(thread.robust[0], Relaxed);
            record.robust_len.store(thread.robust[1], Relaxed);
            sys::call(
                libc::SYS_set_robust_list,
                [thread.robust[0], thread.robust[1], 0, 0, 0, 0],
            );
        }
    }
    threads::register(record, sys::gettid() as i32);
    on_host(thread.vtid);
    process::hooks().on_thread_start(thread.vtid);
}

/// Queues the signals that were pending for the thread, before any thread runs: none
/// that is sent later may overtake them.
fn queue_signals(thread: &ThreadState) {
    let infos = |all: &[Vec<u8>]| -> Vec<SigInfo> {
        let exact = all.iter().filter_map(|b| b.as_slice().try_into().ok());
        exact.map(SigInfo::from_bytes).collect()
    };
    let mut slot = ParkSlot {
        private: infos(&thread.private),
        shared: infos(&thread.shared),
        ..ParkSlot::default()
    };
    park::queue_again(&mut slot);
}

/// Runs the thread from its frame; returns when it ends.
fn continue_thread(record: &Record, thread: &ThreadState) {
    // SAFETY: the image brought the frame back; only this thread uses its
    // scratch frame.
    unsafe {
        let frame = thread.frame as *mut Frame;
        let copy = (*record.frame.get()).fill(&*frame);
        park::make_ready(record, copy, thread.interrupted);
        arch::enter(record.me, copy, thread.fs);
    }
}
