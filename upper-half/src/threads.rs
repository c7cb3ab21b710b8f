//! The upper threads of this process and the lower pthreads that host them.
//!
//! A thread is in the list from before the application can know its id until
//! its last write to the application's memory, so a rendezvous over the list
//! misses nobody. The list's lock is held only for short looks; no thread
//! parks with it.
#![allow(unsafe_code, reason = "hosts threads")]

use crate::arch::{self, Frame};
use crate::record::Record;
use crate::{ids, park, process, sys};
use std::ffi::c_void;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An upper thread, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadInfo {
    /// The kernel's id.
    pub tid: i32,
    /// The application's id.
    pub vtid: i32,
}

#[derive(Clone, Copy)]
pub(crate) struct RecordPtr(pub(crate) *mut Record);
// SAFETY: records are shared by the rules in `record`.
unsafe impl Send for RecordPtr {}

impl RecordPtr {
    /// The record.
    ///
    /// # Safety
    /// The list's lock is held or the thread is parked, so it cannot vanish.
    pub(crate) unsafe fn get<'a>(self) -> &'a Record {
        // SAFETY: by the caller's promise.
        unsafe { &*self.0 }
    }
}

#[derive(Default)]
pub(crate) struct Threads {
    pub(crate) list: Vec<RecordPtr>,
    /// Exit status of the first thread once it has ended before others.
    pub(crate) main_status: i32,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads {
    list: Vec::new(),
    main_status: 0,
});

/// The list.
pub(crate) fn lock() -> MutexGuard<'static, Threads> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All upper threads of this process.
pub fn threads() -> Vec<ThreadInfo> {
    let list = lock();
    // SAFETY: the lock is held.
    let records = list.list.iter().map(|r| unsafe { r.get() });
    records
        .map(|r| ThreadInfo {
            tid: r.tid.load(Relaxed),
            vtid: r.vtid.load(Relaxed),
        })
        .collect()
}

/// The application's id of the calling thread; 0 on a thread that hosts none.
pub fn current_vtid() -> i32 {
    Record::current().map_or(0, |r| r.vtid.load(Relaxed))
}

/// The kernel's id of the thread that the application calls `vtid`.
pub(crate) fn real_tid(vtid: i32) -> Option<i32> {
    let list = lock();
    // SAFETY: the lock is held.
    let mut records = list.list.iter().map(|r| unsafe { r.get() });
    records
        .find(|r| r.vtid.load(Relaxed) == vtid)
        .map(|r| r.tid.load(Relaxed))
}

/// The application's id of the thread that the kernel calls `tid`.
pub(crate) fn virtual_tid(tid: i32) -> Option<i32> {
    let list = lock();
    // SAFETY: the lock is held.
    let mut records = list.list.iter().map(|r| unsafe { r.get() });
    records
        .find(|r| r.tid.load(Relaxed) == tid)
        .map(|r| r.vtid.load(Relaxed))
}

impl Threads {
    /// True when the application knows a thread by this id, which the kernel has
    /// given to something else.
    pub(crate) fn knows(&self, id: i32) -> bool {
        // SAFETY: whoever has the list has its lock.
        let mut records = self.list.iter().map(|r| unsafe { r.get() });
        records.any(|r| r.vtid.load(Relaxed) == id)
    }
}

/// Adds the thread that the kernel calls `tid`; a virtual id is chosen when
/// the record has none: the real one, unless that is in use.
pub(crate) fn register(record: &Record, tid: i32) {
    let mut threads = lock();
    if record.vtid.load(Relaxed) == 0 {
        let taken = |id: i32| threads.knows(id) || ids::in_use(id);
        let mut id = tid;
        while taken(id) {
            id = ids::next_free(id);
        }
        record.vtid.store(id, Relaxed);
    }
    threads.list.push(RecordPtr(record.me));
    record.tid.store(tid, Release);
}

/// Forgets all threads but `record`: in the child of a fork.
pub(crate) fn keep_only(threads: &mut Threads, record: &Record) {
    // Records of threads that do not exist here are freed; their hosts'
    // stacks belong to the lower libc, which frees them after a fork.
    for other in threads.list.drain(..) {
        if other.0 != record.me {
            // SAFETY: made by `Box`, and no thread of this process uses it.
            drop(unsafe { Box::from_raw(other.0) });
        }
    }
    threads.list.push(RecordPtr(record.me));
}

/// First of all that a host does: libc starts every thread with the signal of
/// cancellation unblocked, and that one is the application's (glibc uses it for timers
/// that start threads, too).
pub(crate) fn block_all() {
    sys::set_mask(u64::MAX);
}

/// What a host is to do before it enters the upper half.
pub(crate) struct Birth {
    pub(crate) record: *mut Record,
    pub(crate) frame: *const Frame,
    pub(crate) fs: u64,
    /// Words that get the new thread's id (CLONE_PARENT_SETTID, CLONE_CHILD_SETTID).
    pub(crate) id_words: [u64; 2],
    /// Where the creator learns that the host has every signal blocked; [`spawn`] sets it.
    pub(crate) blocked: *const AtomicU32,
}

/// Stack of a host: drivers compile kernels on it.
const HOST_STACK: usize = 8 << 20;

// Bits of a word for something that happens once (`Record::birth`: the thread is
// registered).
const HAPPENED: u32 = 1;
const SOMEBODY_WAITS: u32 = 2;

/// Starts a host for `birth`; the application's id of the new thread, or an
/// errno. The creator registers the thread, so that the host rarely
/// has to wait for that.
pub(crate) fn spawn(mut birth: Box<Birth>) -> Result<i32, i32> {
    let (record, words) = (birth.record, birth.id_words);
    let blocked = AtomicU32::new(0);
    birth.blocked = &raw const blocked;
    let raw = Box::into_raw(birth);
    let tid = create_pthread(host, raw.cast()).inspect_err(|_| {
        // SAFETY: no host was made, so both are still ours.
        unsafe {
            drop(Box::from_raw(raw));
            drop(Box::from_raw(record));
        }
    })?;
    // SAFETY: the host waits for the registration, so the record lives.
    let shared = unsafe { &*record };
    register(shared, tid);
    let vtid = shared.vtid.load(Relaxed);
    for word in words {
        if word != 0 {
            // Both words are written before the thread runs.
            sys::store(word, vtid);
        }
    }
    happen(&shared.birth);
    // From here on the thread may end, and its record with it. Nobody may know it before
    // it has every signal blocked.
    wait_for(&blocked);
    Ok(vtid)
}

/// A detached pthread of the lower libc with a host's stack: the kernel's id
/// of it, which is valid while the host lives, or an errno.
pub(crate) fn create_pthread(
    start: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> Result<i32, i32> {
    // SAFETY: attributes and handle live across the calls; the argument is the
    // new thread's. Hosts do not end before they were registered, so the
    // handle is valid.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        libc::pthread_attr_init(&raw mut attributes);
        libc::pthread_attr_setstacksize(&raw mut attributes, HOST_STACK);
        libc::pthread_attr_setdetachstate(&raw mut attributes, libc::PTHREAD_CREATE_DETACHED);
        let mut thread: libc::pthread_t = std::mem::zeroed();
        let error = libc_create()(&raw mut thread, &raw const attributes, start, argument);
        libc::pthread_attr_destroy(&raw mut attributes);
        if error != 0 {
            return Err(error);
        }
        // A thread's CPU clock is its id in another shape.
        let mut clock = 0;
        match libc::pthread_getcpuclockid(thread, &raw mut clock) {
            0 => Ok(!(clock >> 3)),
            error => Err(error),
        }
    }
}

type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    extern "C" fn(*mut c_void) -> *mut c_void,
    *mut c_void,
) -> libc::c_int;

/// libc's own pthread_create. The executable's stands before it for threads of
/// libraries, which it has block all signals and give up GS; hosts are made with all
/// signals blocked and set GS themselves.
fn libc_create() -> Create {
    static FOUND: AtomicUsize = AtomicUsize::new(0);
    let mut found = FOUND.load(Relaxed);
    if found == 0 {
        // SAFETY: RTLD_NEXT and a C string; libc is never unloaded.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) } as usize;
        FOUND.store(found, Relaxed);
    }
    assert_ne!(found, 0, "libc has pthread_create");
    // SAFETY: libc's pthread_create has this type.
    unsafe { std::mem::transmute::<usize, Create>(found) }
}

extern "C" fn host(argument: *mut c_void) -> *mut c_void {
    block_all();
    // SAFETY: made by `spawn` from a Box, given to this host alone.
    let birth = *unsafe { Box::from_raw(argument.cast::<Birth>()) };
    let record = birth.record;
    // SAFETY: the host alone uses this field; the record lives until `finish`.
    unsafe {
        (*record).lower_fs = arch::fs_base();
        arch::set_gs_base(record as u64);
    }
    // SAFETY: the creator waits in `spawn`, where the word is, until this.
    happen(unsafe { &*birth.blocked });
    // SAFETY: as above.
    let shared = unsafe { &*record };
    wait_for(&shared.birth);
    process::hooks().on_thread_start(shared.vtid.load(Relaxed));
    // SAFETY: GS is set, all signals are blocked, and the frame lies in the record.
    unsafe { arch::enter(record, birth.frame, birth.fs) };
    finish(record);
    std::ptr::null_mut()
}

/// It has happened: whoever waits goes on. The word may be gone as soon as that is known;
/// a wake-up that comes later wakes nobody, or somebody who looks again.
fn happen(word: &AtomicU32) {
    if word.swap(HAPPENED, AcqRel) == SOMEBODY_WAITS {
        sys::futex_wake(word);
    }
}

/// Waits until it has happened.
fn wait_for(word: &AtomicU32) {
    for _ in 0..200 {
        if word.load(Acquire) == HAPPENED {
            return;
        }
        std::hint::spin_loop();
    }
    let _ = word.compare_exchange(0, SOMEBODY_WAITS, AcqRel, Acquire);
    while word.load(Acquire) != HAPPENED {
        sys::futex_wait(word, SOMEBODY_WAITS, None);
    }
}

/// The calling thread's upper thread has ended: what the kernel does at the
/// end of a thread, with the application's ids.
pub(crate) fn finish(record: *mut Record) {
    // SAFETY: still this host's record.
    let shared = unsafe { &*record };
    process::hooks().on_thread_exit(shared.vtid.load(Relaxed));
    release_robust(shared);
    let word = shared.clear_tid.load(Relaxed);
    if word != 0 {
        sys::store(word, 0);
        sys::futex_wake_shared(word, 1);
    }
    let last = {
        let mut threads = lock();
        threads.list.retain(|r| r.0 != record);
        if shared.is_main.load(Relaxed) {
            threads.main_status = shared.exit_status.load(Relaxed);
        }
        threads.list.is_empty().then_some(threads.main_status)
    };
    park::something_changed();
    if let Some(status) = last {
        sys::exit_group(status as u64);
    }
    if shared.is_main.load(Relaxed) {
        wait_as_ended(record);
    }
    // SAFETY: the thread hosts nobody any more.
    unsafe { arch::set_gs_base(arch::nobody()) };
    // SAFETY: made by `Box`, no longer in the list, GS leads elsewhere.
    drop(unsafe { Box::from_raw(record) });
}

/// The process's first thread has ended before others. It stays: a process
/// whose first thread is a zombie has an empty /proc/self.
pub(crate) fn wait_as_ended(_record: *mut Record) -> ! {
    // SAFETY: the thread hosts nobody any more; its record is never freed.
    unsafe { arch::set_gs_base(arch::nobody()) };
    let never = std::sync::atomic::AtomicU32::new(0);
    loop {
        sys::futex_wait(&never, 0, None);
    }
}

/// The kernel's exit_robust_list with the virtual id: marks the futexes that
/// the thread still owns and wakes a waiter of each. As there, a list that leads
/// to a bad address ends.
fn release_robust(record: &Record) {
    let head = record.robust_head.load(Relaxed);
    if head == 0 {
        return;
    }
    walk_robust(head, record.vtid.load(Relaxed) as u32);
    // The host's own list again: the kernel must not walk one whose memory
    // the application frees now.
    let args = [record.host_robust.load(Relaxed), 24, 0, 0, 0, 0];
    // SAFETY: the list that the lower libc had registered for this host.
    unsafe { sys::call(libc::SYS_set_robust_list, args) };
}

fn walk_robust(head: u64, vtid: u32) {
    const LIMIT: usize = 2048;
    let Ok([mut entry, offset, pending]) = sys::read::<[u64; 3]>(head) else {
        return;
    };
    let release = |entry: u64| {
        let word = (entry & !1).wrapping_add(offset);
        sys::is_futex(word) && release_dead(word, vtid, entry & 1 != 0)
    };
    for _ in 0..LIMIT {
        if entry & !1 == head {
            break;
        }
        let next = sys::read::<u64>(entry & !1);
        if entry & !1 != pending & !1 && !release(entry) {
            return;
        }
        match next {
            Ok(next) => entry = next,
            Err(_) => return,
        }
    }
    if pending & !1 != 0 {
        release(pending);
    }
}

/// Marks a lock whose owner ends; true, for a lock has been seen to.
fn release_dead(address: u64, vtid: u32, inherits: bool) -> bool {
    const OWNER_DIED: u32 = 0x4000_0000;
    const WAITERS: u32 = 0x8000_0000;
    const TID: u32 = 0x3fff_ffff;
    // SAFETY: an aligned word of the application's, just seen to be writable.
    let word = unsafe { AtomicU32::from_ptr(address as *mut u32) };
    let died = |v: u32| (v & TID == vtid).then_some(v & WAITERS | OWNER_DIED);
    if let Ok(old) = word.fetch_update(Release, Relaxed, died) {
        // Those with priority inheritance are handed over by the kernel, as long as
        // it knows the owner.
        if (!inherits || ids::active()) && old & WAITERS != 0 {
            sys::futex_wake_shared(address, 1);
        }
    }
    true
}
