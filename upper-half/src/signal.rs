//! Signal actions of the application, and signals that arrive at a bad time.
//!
//! The kernel knows every handler of the application as the wrapper in the
//! gate image, which runs the real one on the application's own stack and FS.
//! A handler never runs while lower code has frames on the thread's stacks:
//! such a signal is sent to the thread again and blocked (with all others)
//! until the gate or the vDSO shim is left.
//!
//! Functions that the kernel enters here may find either FS in place: they
//! use no TLS, no allocation and no libc.
#![allow(unsafe_code, reason = "signal handlers")]

use crate::abi::{self, PARK_SIGNAL, SIGNAL_WRAPPER, slot};
use crate::arch::{self, Frame};
use crate::record::{MASK_RESTORE, Record};
use crate::sys::{self, KernelAction, SigInfo};
use crate::vdso;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The bit of `signal` in a mask.
pub(crate) const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The two signals that the application can neither block nor handle itself.
pub(crate) const OURS: u64 = bit(libc::SIGSYS) | bit(PARK_SIGNAL);
/// Signals that a fault raises on the spot.
const FAULTS: u64 = bit(libc::SIGSEGV)
    | bit(libc::SIGBUS)
    | bit(libc::SIGILL)
    | bit(libc::SIGFPE)
    | bit(libc::SIGTRAP);
/// The mask while signals are held back: all but faults and traps.
const HOLD: u64 = !(FAULTS | bit(libc::SIGSYS));
const SA_RESTORER: u64 = 0x0400_0000;
const SA_SIGINFO: u64 = libc::SA_SIGINFO as u64;
const SA_RESETHAND: u64 = 0x8000_0000;
const SIGNALS: usize = 65;

/// Actions of one process as the application set them.
pub(crate) struct Actions {
    /// Handler addresses, where the wrapper in the window finds them.
    pub(crate) handlers: *mut u64,
    /// Bits of our signals in each action's mask.
    mask_bits: [u64; SIGNALS],
    /// Whether the application asked for SA_SIGINFO. The kernel is always
    /// asked: without it `siginfo` stays unwritten.
    siginfo: [bool; SIGNALS],
    /// What the kernel was told for handlers that it takes out as it calls them.
    once: [Option<KernelAction>; SIGNALS],
    /// Actions for SIGSYS and the park signal, which the kernel never sees.
    own: [KernelAction; 2],
    /// Memory of `handlers` when it is not the table page.
    _private: Option<Box<[u64; SIGNALS]>>,
}

/// What a restart needs to install the same actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ActionState {
    actions: Vec<(i32, KernelAction)>,
    mask_bits: Vec<u64>,
    own: [KernelAction; 2],
}

impl Actions {
    /// The process's actions, with the handlers in the table page.
    pub(crate) fn for_process() -> Box<Self> {
        Box::new(Self {
            handlers: (abi::TABLE as *mut u64).wrapping_add(slot::HANDLERS),
            mask_bits: [0; SIGNALS],
            siginfo: [false; SIGNALS],
            once: [None; SIGNALS],
            own: [KernelAction::default(); 2],
            _private: None,
        })
    }

    /// A copy for a child that shares the memory but not the actions.
    pub(crate) fn private_copy(&self) -> Box<Self> {
        // SAFETY: `handlers` has one word for each signal.
        let mut memory = Box::new(unsafe { *self.handlers.cast::<[u64; SIGNALS]>() });
        Box::new(Self {
            handlers: memory.as_mut_ptr(),
            mask_bits: self.mask_bits,
            siginfo: self.siginfo,
            once: self.once,
            own: self.own,
            _private: Some(memory),
        })
    }

    fn handler(&self, signal: i32) -> u64 {
        // SAFETY: one word for each signal; callers check the number.
        unsafe { self.handlers.add(signal as usize).read() }
    }

    fn set_handler(&mut self, signal: i32, handler: u64) {
        // SAFETY: as above.
        unsafe { self.handlers.add(signal as usize).write(handler) }
    }

    /// Reserved signals that are ignored, for `execve`.
    pub(crate) fn ignored_own(&self) -> u64 {
        let ignored = |i: usize, s| if self.own[i].handler == 1 { bit(s) } else { 0 };
        ignored(0, libc::SIGSYS) | ignored(1, PARK_SIGNAL)
    }

    /// The counterpart of [`Self::ignored_own`] in the new program.
    pub(crate) fn set_ignored_own(&mut self, ignored: u64) {
        for (i, signal) in [libc::SIGSYS, PARK_SIGNAL].into_iter().enumerate() {
            self.own[i].handler = u64::from(ignored & bit(signal) != 0);
        }
    }

    fn own_index(signal: i32) -> Option<usize> {
        match signal {
            libc::SIGSYS => Some(0),
            PARK_SIGNAL => Some(1),
            _ => None,
        }
    }

    /// The action for `signal` as the application set it.
    pub(crate) fn get(&self, signal: i32) -> Result<KernelAction, i64> {
        if let Some(i) = Self::own_index(signal) {
            return Ok(self.own[i]);
        }
        let mut action = sys::sigaction(signal, None)?;
        if action.handler == SIGNAL_WRAPPER {
            action.handler = self.handler(signal);
            action.mask |= self.mask_bits[signal as usize];
            if !self.siginfo[signal as usize] {
                action.flags &= !SA_SIGINFO;
            }
        }
        Ok(action)
    }

    /// Sets the action for `signal`; the old one.
    pub(crate) fn set(&mut self, signal: i32, new: KernelAction) -> Result<KernelAction, i64> {
        let old = self.get(signal)?;
        if let Some(i) = Self::own_index(signal) {
            self.own[i] = new;
            self.set_handler(signal, new.handler);
            return Ok(old);
        }
        let mut kernel = new;
        kernel.mask &= !OURS;
        if new.handler > 1 {
            // First the handler, then the kernel's word for it; an old
            // handler stays in the table for a signal already on its way.
            self.set_handler(signal, new.handler);
            kernel.handler = SIGNAL_WRAPPER;
            kernel.flags |= SA_SIGINFO;
        }
        // Known before the kernel can take the handler out.
        let once = new.handler > 1 && new.flags & SA_RESETHAND != 0;
        self.once[signal as usize] = once.then_some(kernel);
        sys::sigaction(signal, Some(&kernel))?;
        self.mask_bits[signal as usize] = new.mask & OURS;
        self.siginfo[signal as usize] = new.flags & SA_SIGINFO != 0;
        Ok(old)
    }

    /// A signal is sent again although the kernel called the wrapper for it: a
    /// handler that the kernel has taken out by that (SA_RESETHAND) is put back, or
    /// the signal would do its default action instead.
    fn put_back(&self, signal: i32) {
        if let Some(Some(action)) = self.once.get(signal as usize)
            && sys::sigaction(signal, None).is_ok_and(|now| now.handler == 0)
        {
            let _ = sys::sigaction(signal, Some(action));
        }
    }

    /// Everything that a restart needs.
    pub(crate) fn state(&self) -> ActionState {
        let get = |s| {
            self.get(s)
                .ok()
                .filter(|a| a.handler != 0 || a.flags != 0)
                .map(|a| (s, a))
        };
        ActionState {
            actions: (1..SIGNALS as i32)
                .filter(|s| Self::own_index(*s).is_none())
                .filter_map(get)
                .collect(),
            mask_bits: self.mask_bits.to_vec(),
            own: self.own,
        }
    }

    /// Installs the actions of `state` in a fresh process.
    pub(crate) fn restore(&mut self, state: &ActionState) {
        for (signal, action) in &state.actions {
            if (1..SIGNALS as i32).contains(signal) {
                let _ = self.set(*signal, *action);
            }
        }
        self.own = state.own;
        for (to, from) in self.mask_bits.iter_mut().zip(&state.mask_bits) {
            *to = *from;
        }
    }
}

/// Installs our handlers for SIGSYS and the park signal.
pub(crate) fn install() {
    // `restorer` of the lower libc, from an action that it installs itself.
    // SAFETY: all-zero is a valid sigaction; the old action is put back below.
    let restorer = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = arch::on_sigsys as *const () as usize;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut());
        sys::sigaction(libc::SIGSYS, None).map_or(0, |a| a.restorer)
    };
    let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART) as u64 | SA_RESTORER;
    let action = |handler: *const ()| KernelAction {
        handler: handler as u64,
        flags,
        restorer,
        mask: u64::MAX,
    };
    let _ = sys::sigaction(libc::SIGSYS, Some(&action(arch::on_sigsys as *const ())));
    let _ = sys::sigaction(
        PARK_SIGNAL,
        Some(&action(arch::on_park_signal as *const ())),
    );
}

fn current() -> Option<&'static Record> {
    Record::current()
}

/// A signal for the application while lower code runs on the thread, or on a
/// thread that hosts no upper thread. Entered from the wrapper, with either FS.
pub(crate) extern "C" fn held_signal(signal: i32, info: &SigInfo, frame: &mut Frame) {
    let record = current();
    if bit(signal) & FAULTS != 0 && info.code > 0 {
        if record.is_some_and(|r| arch::fs_base() != r.lower_fs) {
            // A bad pointer given to a vDSO function: the application's fault.
            run_handler(signal, info, frame);
            return;
        }
        // A fault in lower code has no handler: the default action ends us.
        let default = KernelAction {
            flags: SA_RESTORER,
            ..KernelAction::default()
        };
        let _ = sys::sigaction(signal, Some(&default));
        return;
    }
    let Some(record) = current() else {
        forward(info);
        return;
    };
    // SAFETY: the thread itself asks; nothing else is borrowed.
    unsafe { record.actions() }.put_back(signal);
    if record.pending.fetch_or(MASK_RESTORE, SeqCst) & MASK_RESTORE == 0 {
        // SAFETY: only this thread uses its saved mask.
        unsafe { *record.saved_mask.get() = frame.mask };
    }
    frame.mask |= HOLD;
    sys::queue_to_thread(sys::getpid() as i32, sys::gettid() as i32, info);
}

fn run_handler(signal: i32, info: &SigInfo, frame: &mut Frame) {
    let Some(record) = current() else { return };
    vdso::begin_anew(frame);
    // SAFETY: the table has a word for each signal; the application installed
    // this handler for this signal.
    unsafe {
        let address = *((record.handlers as *const u64).add(signal as usize));
        let handler: extern "C" fn(i32, &SigInfo, &mut Frame) = std::mem::transmute(address);
        handler(signal, info, frame);
    }
}

/// Sends a signal that reached a lower thread to an upper one.
fn forward(info: &SigInfo) {
    // Lower threads run with the lower FS: locks and std are fine.
    if let Some(thread) = crate::threads::threads().first() {
        sys::queue_to_thread(sys::getpid() as i32, thread.tid, info);
    }
}

/// SIGSYS that no trap raised on a hosted thread's upper side: someone sent
/// it, or lower code runs.
pub(crate) extern "C" fn stray_sigsys(_signal: i32, info: &SigInfo, frame: &mut Frame) {
    foreign(info, frame);
}

/// The application's own use of the park signal.
pub(crate) extern "C" fn foreign_park_signal(_signal: i32, info: &SigInfo, frame: &mut Frame) {
    foreign(info, frame);
}

/// One of our two signals, sent by someone else: the application's action.
pub(crate) fn foreign(info: &SigInfo, frame: &mut Frame) {
    let Some(record) = current() else {
        return;
    };
    let Some(index) = Actions::own_index(info.signo) else {
        return;
    };
    // SAFETY: the thread itself asks; nothing else is borrowed.
    let action = unsafe { record.actions() }.own[index];
    match action.handler {
        0 => {
            let default = KernelAction {
                flags: SA_RESTORER,
                ..KernelAction::default()
            };
            let _ = sys::sigaction(info.signo, Some(&default));
            frame.mask &= !bit(info.signo);
            sys::tgkill(
                sys::getpid() as u64,
                sys::gettid() as u64,
                info.signo as u64,
            );
        }
        1 => {}
        _ if arch::fs_base() == record.lower_fs || !abi::is_upper(frame.rip) => {
            if info.signo == libc::SIGSYS {
                return;
            }
            if record.pending.fetch_or(MASK_RESTORE, Relaxed) & MASK_RESTORE == 0 {
                // SAFETY: only this thread uses its saved mask.
                unsafe { *record.saved_mask.get() = frame.mask };
            }
            frame.mask |= HOLD;
            sys::queue_to_thread(sys::getpid() as i32, sys::gettid() as i32, info);
        }
        _ => run_handler(info.signo, info, frame),
    }
}
