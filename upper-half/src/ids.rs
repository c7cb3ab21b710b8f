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
    /// Children whose id from the kernel means something else to the application.
    /// A job with children is not saved, so images know none.
    #[serde(skip)]
    pub children: Vec<Pair>,
}

const SAME: Pair = Pair { virt: 0, real: 0 };
static IDS: Mutex<IdState> = Mutex::new(IdState {
    active: false,
    pid: SAME,
    ppid: SAME,
    pgid: SAME,
    sid: SAME,
    former: Vec::new(),
    children: Vec::new(),
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
            children: Vec::new(),
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
            children: Vec::new(),
        }
    }

    /// In a child: its own id, its parent is who we were.
    pub(crate) fn forked(&mut self, pid: Pair) {
        self.ppid = self.pid;
        self.pid = pid;
        self.former.clear();
        self.children.clear();
    }

    /// Another meaning of the kernel's id `real` than the one it has for the kernel.
    fn means_another(&self, real: i32) -> bool {
        let own = [self.pid, self.ppid, self.pgid, self.sid];
        self.active && own.iter().any(|p| p.virt == real && p.real != real)
    }

    /// The application's id of a new child: the kernel's, unless that means something
    /// else. Parent and child come to the same answer. `is_thread`: the application
    /// knows a thread by this id.
    pub(crate) fn of_child(&self, real: i32, is_thread: impl Fn(i32) -> bool) -> Pair {
        let taken = |id| {
            self.means_another(id)
                || is_thread(id)
                || self.children.iter().any(|c| c.virt == id && c.real != real)
        };
        let mut virt = real;
        while self.active && taken(virt) {
            virt = next_free(virt);
        }
        Pair { virt, real }
    }

    /// In the parent: remembers a child that is known by another id.
    pub(crate) fn child_born(&mut self, child: Pair) {
        self.children.retain(|c| c.real != child.real);
        if child.virt != child.real {
            self.children.push(child);
        }
    }

    fn child_real(&self, id: i32) -> Option<i32> {
        let child = self.children.iter().find(|c| c.virt == id);
        child.map(|c| c.real)
    }

    fn child_virtual(&self, id: i32) -> Option<i32> {
        let child = self.children.iter().find(|c| c.real == id);
        child.map(|c| c.virt)
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
    ids.means_another(id) || ids.child_real(id).is_some()
}

/// Another virtual id to try for a thread whose real one is in use.
pub(crate) fn next_free(id: i32) -> i32 {
    id.wrapping_add(BEYOND_KERNEL) & 0x3fff_ffff
}

/// The kernel's id of a process or thread.
pub(crate) fn to_real(id: i32) -> i32 {
    let (pid, ppid, child) = {
        let ids = lock();
        (ids.pid, ids.ppid, ids.child_real(id))
    };
    if let Some(child) = child {
        return child;
    }
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
    let (pid, ppid, child) = {
        let ids = lock();
        (ids.pid, ids.ppid, ids.child_virtual(id))
    };
    if let Some(child) = child {
        return child;
    }
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
    let own = all.iter().find(|p| p.virt == id).map(|p| p.real);
    own.or_else(|| ids.child_real(id)).unwrap_or(id)
}

/// The application's id of a process group or session.
pub(crate) fn group_to_virtual(id: i32) -> i32 {
    let ids = lock();
    let all = [ids.pgid, ids.sid, ids.pid];
    let own = all.iter().find(|p| p.real == id).map(|p| p.virt);
    own.or_else(|| ids.child_virtual(id)).unwrap_or(id)
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
    let is_stale = info.signo != libc::SIGCHLD
        && known == info.pid
        && known != ids.pid.virt
        && ids.former.contains(&known)
        && !exists(known);
    info.pid = if is_stale { ids.pid.virt } else { known };
}

fn exists(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
