//! The rendezvous: every upper thread waits on its own signal frame, in its
//! own stack, until it is released.
//!
//! A thread parks in the handler of the park signal, or as it leaves a trap,
//! the gate or the vDSO, which look at `Record::pending`. The epoch is odd
//! while a park is wanted; a thread is parked when it noted this epoch.
//! While parked its host waits with the lower FS on the lower stack.
#![allow(unsafe_code, reason = "works on frames of parked threads")]

use crate::abi::{PARK_COOKIE, PARK_SIGNAL};
use crate::arch::{self, Frame};
use crate::probe::Refusal;
use crate::record::{PARK_REQUEST, Record};
use crate::rewind::{self, Interrupted};
use crate::sample::{Sample, Waiting};
use crate::sys::{self, SigInfo};
use crate::{reissue, state, threads, vdso};
use std::fs;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static EPOCH: AtomicU32 = AtomicU32::new(0);
/// Counts parks and ends of threads; the controller waits on it.
static EVENTS: AtomicU32 = AtomicU32::new(0);
/// Threads that are parked, or were and have not queued their signals again yet.
static HELD: AtomicU32 = AtomicU32::new(0);
/// Threads of the rendezvous before this epoch may run on: all have queued their
/// signals again, so none that is sent from now on can overtake them.
static RELEASED: AtomicU32 = AtomicU32::new(0);
/// Rounds of taking signals: when it changes, all threads are parked, nobody can send
/// another, and each takes what is pending for it.
static COLLECT: AtomicU32 = AtomicU32::new(0);
/// Threads that have done so.
static COLLECTED: AtomicU32 = AtomicU32::new(0);
/// Signals that they took in this round.
static TAKEN: AtomicU32 = AtomicU32::new(0);
/// Rings for parked threads to look at `COLLECT` and `EPOCH`.
static BELL: AtomicU32 = AtomicU32::new(0);
/// One rendezvous at a time.
static CONTROL: Mutex<()> = Mutex::new(());

/// How a thread is parked; written by the thread before it says that it is.
#[derive(Clone, Default)]
pub(crate) struct ParkSlot {
    pub(crate) frame: u64,
    pub(crate) fs: u64,
    pub(crate) interrupted: Option<Interrupted>,
    pub(crate) name: [u8; 16],
    /// `PR_GET_TIMERSLACK`, in nanoseconds.
    pub(crate) timer_slack: u64,
    /// `PR_GET_PDEATHSIG`: 0 is none.
    pub(crate) parent_death: i32,
    /// Signals that were pending for the thread.
    pub(crate) private: Vec<SigInfo>,
    /// Signals for the process that this thread queues again as it resumes.
    pub(crate) shared: Vec<SigInfo>,
}

/// A thread that did not park.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unparked {
    /// The kernel's id.
    pub tid: i32,
    /// The application's id.
    pub vtid: i32,
    /// What it was doing: system call and kernel wait channel.
    pub doing: String,
}

/// Why a rendezvous failed; everybody runs on.
#[derive(Debug, thiserror::Error)]
pub enum ParkError {
    /// Threads were still busy at the deadline.
    #[error("{} of {total} threads did not come to rest: {}", waiting.len(), describe(waiting))]
    Deadline {
        /// Those that did not park.
        waiting: Vec<Unparked>,
        /// All upper threads.
        total: usize,
    },
    /// The program has no thread yet, or no longer.
    #[error("the program has no threads: it has not begun to run, or has just ended")]
    Nobody,
}

fn describe(waiting: &[Unparked]) -> String {
    let one = |u: &Unparked| format!("thread {} (tid {}) {}", u.vtid, u.tid, u.doing);
    waiting.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Every upper thread is parked; dropping it lets them run on.
#[must_use = "threads run on when this is dropped"]
pub struct Parked {
    epoch: u32,
    began: Instant,
    _control: MutexGuard<'static, ()>,
}

/// Parks every upper thread, by `deadline` or not at all. Called by a lower
/// thread with all signals blocked.
///
/// # Errors
/// [`ParkError::Deadline`] names each thread that did not come to rest;
/// [`ParkError::Nobody`]: there was none.
pub fn park(deadline: Instant) -> Result<Parked, ParkError> {
    let control = CONTROL.lock().unwrap_or_else(PoisonError::into_inner);
    let waiting = Waiting::look();
    let began = Instant::now();
    let epoch = EPOCH.fetch_add(1, SeqCst) + 1;
    let parked = Parked {
        epoch,
        began,
        _control: control,
    };
    let mut round = 0u32;
    loop {
        let events = EVENTS.load(SeqCst);
        let (total, missing) = ask_all(epoch, round, &waiting);
        if missing == 0 && total != 0 {
            parked.take_signals_of_threads();
            parked.take_signals();
            return Ok(parked);
        }
        if Instant::now() >= deadline {
            if total == 0 {
                return Err(ParkError::Nobody);
            }
            let waiting = unparked(epoch);
            if waiting.is_empty() {
                continue;
            }
            return Err(ParkError::Deadline { waiting, total });
        }
        let pause = Duration::from_micros(if round < 10 { 200 } else { 2000 });
        sys::futex_wait(&EVENTS, events, Some(pause));
        round = round.saturating_add(1);
    }
}

/// What would keep the upper threads from coming to rest: threads that wait
/// for a vfork child, which no signal interrupts.
pub fn preflight() -> Vec<Refusal> {
    let list = threads::lock();
    // SAFETY: the list's lock is held.
    let records = list.list.iter().map(|r| unsafe { r.get() });
    let waiting = records.filter(|r| r.doing.load(Relaxed) >= 0);
    waiting
        .map(|r| Refusal {
            object: format!("thread {}", r.vtid.load(Relaxed)),
            why: "it waits for a child that it started by vfork or posix_spawn".into(),
            advice: "try again when the child has started its program".into(),
        })
        .collect()
}

/// Requests a park of every thread that is not parked, and signals those
/// that were not signalled yet (all again after a while). Total and missing.
///
/// In the first rounds only threads that are seen to be blocked get the signal: of one
/// that blocks just before it comes, the call might not be known.
fn ask_all(epoch: u32, round: u32, waiting: &Waiting) -> (usize, usize) {
    const AGAIN: u32 = 20;
    const PATIENT: u32 = 5;
    let pid = sys::getpid() as i32;
    let list = threads::lock();
    let mut missing = 0;
    for record in &list.list {
        // SAFETY: the list's lock is held.
        let record = unsafe { record.get() };
        if record.parked.load(Acquire) == epoch {
            continue;
        }
        missing += 1;
        if record.asked.load(Relaxed) == epoch && round % AGAIN != AGAIN - 1 {
            continue;
        }
        let tid = record.tid.load(Acquire);
        record.pending.fetch_or(PARK_REQUEST, SeqCst);
        let delivered = record.delivered.load(Relaxed);
        let sample = Sample {
            delivered,
            ..waiting.observe(tid)
        };
        if !sample.blocked && round < PATIENT {
            continue;
        }
        record.asked.store(epoch, Relaxed);
        // SAFETY: the thread reads it only in the handler of the signal sent
        // below; an earlier one still under way at worst finds a later sample.
        unsafe { *record.sample.get() = sample };
        sys::queue_to_thread(pid, tid, &SigInfo::queued(PARK_SIGNAL, pid, PARK_COOKIE));
    }
    (list.list.len(), missing)
}

/// Those that are not parked, with what they do.
fn unparked(epoch: u32) -> Vec<Unparked> {
    let list = threads::lock();
    // SAFETY: the list's lock is held.
    let records = list.list.iter().map(|r| unsafe { r.get() });
    let busy = records.filter(|r| r.parked.load(Acquire) != epoch);
    busy.map(|r| {
        let tid = r.tid.load(Relaxed);
        let read = |file: &str| {
            let text = fs::read_to_string(format!("/proc/self/task/{tid}/{file}"));
            text.unwrap_or_default().trim().to_owned()
        };
        let (call, channel) = (read("syscall"), read("wchan"));
        let number = call.split_ascii_whitespace().next().unwrap_or("?");
        let wait = if channel.is_empty() || channel == "0" {
            "-"
        } else {
            &channel
        };
        let trap = match r.doing.load(Relaxed) {
            nr if nr >= 0 => format!(", waiting in trapped call {nr}"),
            _ => String::new(),
        };
        let doing = match number {
            "running" | "?" => format!("is running outside of the application's code{trap}"),
            nr => format!("is in system call {nr} ({wait}){trap}"),
        };
        Unparked {
            tid,
            vtid: r.vtid.load(Relaxed),
            doing,
        }
    })
    .collect()
}

impl Parked {
    /// Everything about the upper half but its memory.
    pub fn state(&self) -> state::UpperState {
        state::capture()
    }

    /// When the first thread may have been stopped.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Lets everybody run on.
    pub fn release(self) {}

    /// The same for signals that are pending for single threads, which timers can raise.
    pub fn take_signals_of_threads(&self) -> bool {
        let threads = threads::lock().list.len() as u32;
        COLLECTED.store(0, SeqCst);
        TAKEN.store(0, SeqCst);
        COLLECT.fetch_add(1, SeqCst);
        ring();
        wait_while(&COLLECTED, |done| done != threads);
        TAKEN.load(SeqCst) != 0
    }

    /// Takes the signals that are pending for the whole process into the state; one
    /// thread queues them again as it resumes. True when there were any. Whoever saves
    /// what raises signals (interval timers) calls this afterwards, and saves it again
    /// when it was true: what was raised before the one is then not raised by the other.
    pub fn take_signals(&self) -> bool {
        // The controller's own, such as a SIGPIPE of its last write, must not reach
        // the application. They are taken first, as the kernel would.
        drop(take_private());
        let mut shared = Vec::new();
        while let Some(info) = sys::take_signal(u64::MAX) {
            if !is_ours(&info) {
                shared.push(info);
            }
        }
        if shared.is_empty() {
            return false;
        }
        let pid = sys::getpid() as i32;
        let list = threads::lock();
        // SAFETY: the list's lock is held.
        let mut records = list.list.iter().map(|r| unsafe { r.get() });
        // Only the first thread may queue every signal unchanged.
        let first = records.clone().find(|r| r.tid.load(Relaxed) == pid);
        if let Some(record) = first.or_else(|| records.next()) {
            // SAFETY: the thread is parked.
            unsafe { (*record.slot.get()).shared.append(&mut shared) };
        }
        true
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        for record in &threads::lock().list {
            // SAFETY: the list's lock is held.
            let record = unsafe { record.get() };
            record.pending.fetch_and(!PARK_REQUEST, SeqCst);
        }
        EPOCH.store(self.epoch + 1, SeqCst);
        ring();
        wait_while(&HELD, |held| held != 0);
        RELEASED.store(self.epoch + 1, SeqCst);
        sys::futex_wake(&RELEASED);
    }
}

/// Wakes the parked threads.
fn ring() {
    BELL.fetch_add(1, SeqCst);
    sys::futex_wake(&BELL);
}

/// Sleeps while the word is so.
fn wait_while(word: &AtomicU32, condition: impl Fn(u32) -> bool) {
    loop {
        let value = word.load(SeqCst);
        if !condition(value) {
            return;
        }
        sys::futex_wait(word, value, None);
    }
}

/// A thread has parked or ended.
pub(crate) fn something_changed() {
    EVENTS.fetch_add(1, SeqCst);
    sys::futex_wake(&EVENTS);
}

/// In the child of a fork nobody asks for a park.
pub(crate) fn reset_in_child() {
    EPOCH.store(0, SeqCst);
    HELD.store(0, SeqCst);
    RELEASED.store(0, SeqCst);
}

fn is_ours(info: &SigInfo) -> bool {
    info.signo == PARK_SIGNAL && info.value == PARK_COOKIE
}

/// The park signal, on a thread in the application's code.
pub(crate) unsafe extern "C" fn on_park_signal(
    _signal: i32,
    _info: &SigInfo,
    frame: &mut Frame,
    fs: u64,
) -> u64 {
    let Some(record) = Record::current() else {
        return fs;
    };
    vdso::begin_anew(frame);
    // SAFETY: the frame is this thread's, on its own stack.
    unsafe {
        let interrupted = rewind::rewind(record, frame);
        park_at(record, frame, fs, interrupted);
    }
    fs
}

/// Parks on a frame whose result is set (as a trap is left).
///
/// # Safety
/// `frame` is this thread's, in the application's memory; all signals are blocked.
pub(crate) unsafe fn park_here(record: &'static Record, frame: &mut Frame, fs: u64) {
    // SAFETY: by the caller's promise.
    unsafe { park_at(record, frame, fs, None) }
}

/// # Safety
/// As for [`park_here`].
unsafe fn park_at(
    record: &'static Record,
    frame: &mut Frame,
    fs: u64,
    interrupted: Option<Interrupted>,
) {
    record.pending.fetch_and(!PARK_REQUEST, SeqCst);
    let epoch = EPOCH.load(SeqCst);
    if epoch & 1 == 1 {
        // SAFETY: the slot is this thread's until it says that it is parked.
        let slot = unsafe { &mut *record.slot.get() };
        *slot = ParkSlot {
            frame: &raw const *frame as u64,
            fs,
            interrupted,
            name: name(),
            timer_slack: timer_slack(),
            parent_death: parent_death_signal(),
            private: Vec::new(),
            shared: Vec::new(),
        };
        HELD.fetch_add(1, SeqCst);
        let mut round = COLLECT.load(SeqCst);
        record.parked.store(epoch, SeqCst);
        something_changed();
        loop {
            let bell = BELL.load(SeqCst);
            if EPOCH.load(SeqCst) != epoch {
                break;
            }
            let asked = COLLECT.load(SeqCst);
            if asked != round {
                round = asked;
                let mut taken = take_private();
                TAKEN.fetch_add(taken.len() as u32, SeqCst);
                slot.private.append(&mut taken);
                COLLECTED.fetch_add(1, SeqCst);
                sys::futex_wake(&COLLECTED);
            }
            sys::futex_wait(&BELL, bell, None);
        }
        queue_again(slot);
        HELD.fetch_sub(1, SeqCst);
        sys::futex_wake(&HELD);
        wait_while(&RELEASED, |released| released <= epoch);
    }
    // SAFETY: by the caller's promise.
    unsafe { resume(record, frame, fs, interrupted) };
}

/// The last step before a parked thread runs on; returns when the frame can be
/// resumed where it is.
///
/// # Safety
/// `frame` is complete and this thread's, nothing on the lower stack is needed.
pub(crate) unsafe fn resume(
    record: &'static Record,
    frame: &mut Frame,
    fs: u64,
    interrupted: Option<Interrupted>,
) {
    let Some(interrupted) = interrupted else {
        return;
    };
    if interrupted.is_made_as_it_was() {
        rewind::mark(record, frame);
        return;
    }
    // SAFETY: only this thread uses its scratch frame, and not while it is in use.
    let copy = unsafe { (*record.frame.get()).fill(frame) };
    make_ready(record, copy, Some(interrupted));
    // SAFETY: by the caller's promise.
    unsafe { arch::enter_again(copy, fs) }
}

/// Prepares `copy`, a frame outside of the application's stack, to run on.
pub(crate) fn make_ready(record: &Record, copy: &mut Frame, interrupted: Option<Interrupted>) {
    let Some(interrupted) = interrupted else {
        return;
    };
    let Interrupted {
        nr,
        remaining,
        done,
    } = interrupted;
    if !interrupted.is_made_as_it_was() {
        copy.rip += 2;
        let limit = reissue::limit_of(nr, &copy.args());
        if remaining == Some(0) && matches!(limit, Some(reissue::Limit::Socket(_))) {
            copy.set_result(-i64::from(libc::EAGAIN));
            return;
        }
        reissue::prepare(record, copy, nr, remaining, done);
    }
    rewind::mark(record, copy);
}

fn timer_slack() -> u64 {
    // SAFETY: a number that asks, no addresses.
    let answer = unsafe {
        sys::call(
            libc::SYS_prctl,
            [libc::PR_GET_TIMERSLACK as u64, 0, 0, 0, 0, 0],
        )
    };
    answer.max(0) as u64
}

fn parent_death_signal() -> i32 {
    let mut signal = 0i32;
    // SAFETY: the call writes one int.
    unsafe {
        let args = [
            libc::PR_GET_PDEATHSIG as u64,
            &raw mut signal as u64,
            0,
            0,
            0,
            0,
        ];
        sys::call(libc::SYS_prctl, args);
    }
    signal
}

fn name() -> [u8; 16] {
    let mut name = [0u8; 16];
    // SAFETY: the buffer has the 16 bytes that the call writes.
    unsafe {
        let args = [
            libc::PR_GET_NAME as u64,
            name.as_mut_ptr() as u64,
            0,
            0,
            0,
            0,
        ];
        sys::call(libc::SYS_prctl, args);
    }
    name
}

/// Takes the signals that are pending for this thread alone.
fn take_private() -> Vec<SigInfo> {
    let mut taken = Vec::new();
    while sys::pending() != 0 && has_private() {
        let Some(info) = sys::take_signal(u64::MAX) else {
            break;
        };
        if !is_ours(&info) {
            taken.push(info);
        }
    }
    taken
}

/// True when the kernel has a signal for this very thread; rt_sigtimedwait
/// takes those before the process's.
fn has_private() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("SigPnd:"));
    line.and_then(|l| u64::from_str_radix(l.trim(), 16).ok())
        .is_some_and(|set| set != 0)
}

/// Queues what was taken; everything is blocked until the frame is resumed.
pub(crate) fn queue_again(slot: &mut ParkSlot) {
    let (pid, tid) = (sys::getpid() as i32, sys::gettid() as i32);
    for info in slot.shared.drain(..) {
        if pid == tid {
            sys::queue_to_process(pid, &info);
        } else {
            sys::queue_to_thread(pid, tid, &info);
        }
    }
    for info in slot.private.drain(..) {
        sys::queue_to_thread(pid, tid, &info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As for a request that comes while the program is still being loaded.
    #[test]
    fn nobody_cannot_be_parked() {
        let soon = Instant::now() + Duration::from_millis(5);
        assert!(matches!(park(soon), Err(ParkError::Nobody)));
    }
}
