//! The processes of a job: a table in memory that all of them share, so that the
//! root process knows its descendants, also those whose parent has gone.
//!
//! A slot holds a PID and the time of its entry; a dead process leaves its slot
//! behind, which the next reader finds stale: no process has that PID, or one that
//! began after the entry. The table is passed on by fork (the mapping) and by exec
//! (the descriptor). An entry costs a fork's child next to nothing.
#![allow(unsafe_code, reason = "atomics in memory shared with other processes")]

use anyhow::{Context, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 4096;

/// One process of the job: PID in the low 32 bits and the low 32 bits of the time of
/// its entry (clock ticks since boot) above; 0 is free.
type Slot = AtomicU64;

/// The table as this process maps it.
#[derive(Debug)]
pub(crate) struct ProcessTable {
    fd: OwnedFd,
    slots: &'static [Slot],
}

impl ProcessTable {
    /// A new table, with this process in it.
    pub(crate) fn create() -> Result<Self> {
        // SAFETY: a C string and no flags but close-on-exec.
        let fd = unsafe { libc::memfd_create(c"gpuckpt-job".as_ptr(), libc::MFD_CLOEXEC) };
        anyhow::ensure!(
            fd >= 0,
            "cannot make the job's process table: {}",
            std::io::Error::last_os_error()
        );
        // SAFETY: `fd` was just made and is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        nix::unistd::ftruncate(&fd, (SLOTS * size_of::<Slot>()) as i64)
            .context("cannot size the job's process table")?;
        let table = Self::map(fd)?;
        table.add_self();
        Ok(table)
    }

    /// The table that an exec inside the job passed on as descriptor `fd`.
    pub(crate) fn inherit(fd: i32) -> Result<Self> {
        // SAFETY: the configuration hands this descriptor over to us.
        let table = Self::map(unsafe { OwnedFd::from_raw_fd(fd) })?;
        table.add_self();
        Ok(table)
    }

    fn map(fd: OwnedFd) -> Result<Self> {
        // SAFETY: a fresh shared mapping of a file of this size.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SLOTS * size_of::<Slot>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        anyhow::ensure!(
            memory != libc::MAP_FAILED,
            "cannot map the job's process table: {}",
            std::io::Error::last_os_error()
        );
        // SAFETY: the mapping is SLOTS aligned atomics, is never unmapped, and all
        // processes access it atomically.
        let slots = unsafe { std::slice::from_raw_parts(memory.cast::<Slot>(), SLOTS) };
        Ok(Self { fd, slots })
    }

    /// The table's descriptor, to be passed through an exec.
    pub(crate) fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Enters this process. A process beyond the table's size makes the job's
    /// count wrong on the safe side: the table then stays full.
    pub(crate) fn add_self(&self) {
        let pid = std::process::id() as i32;
        let own = entry(pid, ticks_since_boot());
        let first = pid as usize % SLOTS;
        for slot in self.slots[first..].iter().chain(&self.slots[..first]) {
            let seen = slot.load(Ordering::SeqCst);
            if (seen == 0 || pid_of(seen) == pid || !alive(seen))
                && slot
                    .compare_exchange(seen, own, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok()
            {
                return;
            }
        }
    }

    /// The live processes of the job other than this one; zombies count.
    pub(crate) fn others(&self) -> Vec<i32> {
        let own = std::process::id() as i32;
        let mut found: Vec<i32> = self
            .slots
            .iter()
            .map(|slot| slot.load(Ordering::SeqCst))
            .filter(|&seen| seen != 0 && pid_of(seen) != own && alive(seen))
            .map(pid_of)
            .chain(children())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn entry(pid: i32, ticks: u64) -> u64 {
    (ticks << 32) | u64::from(pid as u32)
}

fn pid_of(entry: u64) -> i32 {
    entry as u32 as i32
}

/// The process of an entry lives: it began before the entry was made.
fn alive(seen: u64) -> bool {
    let pid = pid_of(seen);
    // SAFETY: signal 0 only asks whether the process exists.
    let gone = unsafe { libc::kill(pid, 0) } != 0
        && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    !gone && start_time(pid).is_some_and(|start| began_before(start, (seen >> 32) as u32))
}

/// Compares clock ticks of which only the low 32 bits are known.
fn began_before(start: u64, entered: u32) -> bool {
    entered.wrapping_sub(start as u32) as i32 >= 0
}

/// Now, in the unit and from the beginning of [`start_time`].
fn ticks_since_boot() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid out pointer; sysconf takes none.
    let a_second = unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now);
        libc::sysconf(libc::_SC_CLK_TCK).max(1) as u64
    };
    now.tv_sec as u64 * a_second + now.tv_nsec as u64 * a_second / 1_000_000_000
}

/// Direct children, also those that a vfork has not yet turned into a program.
fn children() -> Vec<i32> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

/// Field 22 of `/proc/PID/stat`: clock ticks between boot and the start of `pid`.
/// `None` when there is no such process.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// What a process calls itself, for messages.
pub(crate) fn name(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or_else(|_| "?".into(), |name| name.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_of_the_process_that_made_it() {
        let own = std::process::id() as i32;
        let now = ticks_since_boot();
        assert!(alive(entry(own, now)));
        assert!(alive(entry(own, now + 1)));
        // Made before this process began: by another one of the same number.
        let start = start_time(own).unwrap();
        assert!(now >= start && now - start < 100 * 3600, "{start} {now}");
        assert!(!alive(entry(own, start - 1)));
        assert!(!alive(entry(i32::MAX, now)));
        assert!(began_before(u64::from(u32::MAX), 3));
        assert!(!began_before(3, u32::MAX));
    }

    #[test]
    fn a_process_enters_once_and_takes_the_place_of_the_dead() {
        let table = ProcessTable::create().unwrap();
        let used = || {
            let slots = table.slots.iter().map(|slot| slot.load(Ordering::SeqCst));
            slots.filter(|&seen| seen != 0).collect::<Vec<_>>()
        };
        table.add_self();
        assert_eq!(used().len(), 1);
        for slot in table.slots {
            slot.store(entry(i32::MAX, 1), Ordering::SeqCst);
        }
        table.add_self();
        let own = used()
            .iter()
            .filter(|&&seen| pid_of(seen) == std::process::id() as i32)
            .count();
        assert_eq!((own, used().len()), (1, SLOTS));
        assert!(table.others().is_empty());
    }
}
