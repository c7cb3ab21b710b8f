//! Ids as the application knows them. They equal the kernel's until a restart;
//! from then on every call that takes or gives one translates.
//!
//! Thread ids live in the thread list; here are those of the process.

use crate::sys::{self, SigInfo};
use crate::threads;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An id as the application knows it, and as the kernel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pair {
    /// The application's.
    pub virt: i32,
    /// The kernel's.
    pub real: i32,
}

/// The ids of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IdState {
    /// True once ids differ: after a restart.
    pub active: bool,
    /// Process.
    pub pid: Pair,
    /// Parent; another real parent shows as it is.
    pub ppid: Pair,
    /// Process group.
    pub pgid: Pair,
    /// Session.
    pub sid: Pair,
    /// The kernel's process ids in the lives before the restarts.
    pub former: Vec<i32>,
}

const SAME: Pair = Pair { virt: 0, real: 0 };
static IDS: Mutex<IdState> = Mutex::new(IdState {
    active: false,
    pid: SAME,
    ppid: SAME,
    pgid: SAME,
    sid: SAME,
    former: Vec::new(),
});

/// The ids.
pub(crate) fn lock() -> MutexGuard<'static, IdState> {
    IDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// First id that the kernel never gives: virtual ids that would collide go there.
const BEYOND_KERNEL: i32 = 0x40_0000;

impl IdState {
    /// The kernel's ids, as a launch begins.
    pub(crate) fn native() -> Self {
        let same = |id: i64| Pair {
            virt: id as i32,
            real: id as i32,
        };
        Self {
            active: false,
            pid: same(sys::getpid()),
            ppid: same(sys::getppid()),
            pgid: same(sys::getpgid(0)),
            sid: same(sys::getsid(0)),
            former: Vec::new(),
        }
    }

    /// The same virtual ids in a fresh process.
    pub(crate) fn restarted(&self) -> Self {
        let now = Self::native();
        let pair = |old: Pair, now: Pair| Pair {
            virt: old.virt,
            real: now.real,
        };
        Self {
            active: true,
            pid: pair(self.pid, now.pid),
            ppid: pair(self.ppid, now.ppid),
            pgid: pair(self.pgid, now.pgid),
            sid: pair(self.sid, now.sid),
            former: self.former.iter().copied().chain([self.pid.real]).collect(),
        }
    }

    /// In a child: its own id is the kernel's, its parent is who we were.
    pub(crate) fn forked(&mut self, pid: i32) {
        self.ppid = self.pid;
        self.pid = Pair {
            virt: pid,
            real: pid,
        };
        self.former.clear();
    }
}

/// The application's id of this process.
pub(crate) fn pid() -> i32 {
    lock().pid.virt
}

/// True once ids differ from the kernel's.
pub(crate) fn active() -> bool {
    lock().active
}

/// True when the application knows something else by this id.
pub(crate) fn in_use(id: i32) -> bool {
    let ids = lock();
    ids.active
        && [ids.pid, ids.ppid, ids.pgid, ids.sid]
            .iter()
            .any(|p| p.virt == id && p.real != id)
}

/// Another virtual id to try for a thread whose real one is in use.
pub(crate) fn next_free(id: i32) -> i32 {
    id.wrapping_add(BEYOND_KERNEL) & 0x3fff_ffff
}

/// The kernel's id of a process or thread.
pub(crate) fn to_real(id: i32) -> i32 {
    let (pid, ppid) = {
        let ids = lock();
        (ids.pid, ids.ppid)
    };
    if id == pid.virt {
        return pid.real;
    }
    if let Some(tid) = threads::real_tid(id) {
        return tid;
    }
    if id == ppid.virt { ppid.real } else { id }
}

/// The application's id of a process or thread.
pub(crate) fn to_virtual(id: i32) -> i32 {
    let (pid, ppid) = {
        let ids = lock();
        (ids.pid, ids.ppid)
    };
    if id == pid.real {
        return pid.virt;
    }
    if let Some(vtid) = threads::virtual_tid(id) {
        return vtid;
    }
    if id == ppid.real { ppid.virt } else { id }
}

/// The kernel's id of a process group or session.
pub(crate) fn group_to_real(id: i32) -> i32 {
    let ids = lock();
    let all = [ids.pgid, ids.sid, ids.pid];
    all.iter().find(|p| p.virt == id).map_or(id, |p| p.real)
}

/// The application's id of a process group or session.
pub(crate) fn group_to_virtual(id: i32) -> i32 {
    let ids = lock();
    let all = [ids.pgid, ids.sid, ids.pid];
    all.iter().find(|p| p.real == id).map_or(id, |p| p.virt)
}

/// A clock id; negative ones hold a process or thread.
pub(crate) fn clock_to_real(clock: i32) -> i32 {
    let id = !(clock >> 3);
    if clock >= 0 || id == 0 || clock & 7 == 3 {
        return clock; // 3: a descriptor
    }
    (!to_real(id) << 3) | (clock & 7)
}

/// A signal that the process sent to itself, before it goes into an image: the
/// kernel's id of this life means nothing in the next.
pub(crate) fn detach_info(info: &mut SigInfo) {
    let pid = lock().pid;
    if is_sent(info) && info.pid == pid.real {
        info.pid = pid.virt;
    }
}

fn is_sent(info: &SigInfo) -> bool {
    info.code <= 0 && info.code != libc::SI_TIMER
}

/// Who sent a signal, in `siginfo`. One that lay on a stack in the image, for a handler
/// that had not begun, has an id of a former life.
pub(crate) fn translate_info(info: &mut SigInfo) {
    if !is_sent(info) && (info.signo != libc::SIGCHLD || info.code <= 0) {
        return;
    }
    let known = to_virtual(info.pid);
    let ids = lock();
    let is_stale =
        known == info.pid && known != ids.pid.virt && ids.former.contains(&known) && !exists(known);
    info.pid = if is_stale { ids.pid.virt } else { known };
}

fn exists(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
