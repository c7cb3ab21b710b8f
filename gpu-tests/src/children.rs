//! Processes of a step: found by descent, ended to the last one.
//!
//! The runner is a subreaper, so what a step's processes leave behind, daemons too,
//! becomes a child of the runner and is found here.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(5);
/// How long a killed process may take to go: the kernel frees device memory first.
const GONE: Duration = Duration::from_secs(20);

/// A process as `/proc/PID/stat` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    parent: i32,
    state: char,
    name: String,
}

/// Makes the calling process the parent of whatever its descendants leave.
///
/// # Errors
/// The kernel's.
pub fn adopt_orphans() -> nix::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signaled(Signal),
}

/// Looks whether the child `pid` has ended.
#[must_use]
pub fn ended(pid: Pid) -> Option<End> {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, status)) => Some(End::Exited(status)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Some(End::Signaled(signal)),
        // Somebody else took its status: nothing is known of it.
        Err(Errno::ECHILD) => Some(End::Exited(-1)),
        _ => None,
    }
}

/// Processes below this one now: those that whoever started the kit had begun, when a
/// shell became the kit by `exec`.
#[must_use]
pub fn here_before() -> BTreeSet<i32> {
    let all = descendants(&processes(), std::process::id() as i32, &BTreeSet::new());
    all.into_iter().map(|(pid, _)| pid).collect()
}

/// Ends every descendant of this process but those `before` and theirs. Gives the names of those that had to be
/// ended, and of those that do not go: a process that waits in the kernel for a
/// device cannot be ended.
pub fn end_all(before: &BTreeSet<i32>) -> (Vec<String>, Vec<String>) {
    let begin = Instant::now();
    let mut ended: BTreeMap<i32, String> = BTreeMap::new();
    loop {
        reap();
        let alive: Vec<(i32, Seen)> = descendants(&processes(), std::process::id() as i32, before);
        let running = alive.iter().filter(|(_, seen)| seen.state != 'Z');
        for (pid, seen) in running {
            ended.insert(*pid, seen.name.clone());
            // It may have ended since.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        if alive.is_empty() || begin.elapsed() > GONE {
            let stuck =
                |(pid, seen): &(i32, Seen)| format!("{} ({pid}, state {})", seen.name, seen.state);
            let left = alive.iter().map(stuck).collect();
            return (ended.into_values().collect(), left);
        }
        sleep(NAP);
    }
}

/// Takes the status of every child that has ended.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

fn processes() -> BTreeMap<i32, Seen> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let seen = |pid: i32| {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parse(&String::from_utf8_lossy(&stat))?))
    };
    pids.filter_map(seen).collect()
}

/// `PID (NAME) STATE PARENT …`; a name may hold blanks and brackets.
fn parse(stat: &str) -> Option<Seen> {
    let (begin, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some(Seen {
        state: words.next()?.chars().next()?,
        parent: words.next()?.parse().ok()?,
        name: begin.split_once(" (")?.1.to_owned(),
    })
}

fn descendants(all: &BTreeMap<i32, Seen>, root: i32, without: &BTreeSet<i32>) -> Vec<(i32, Seen)> {
    let below = |mut pid: i32| {
        // A table read while it changes may hold a circle; it ends anyway.
        for _ in 0..all.len() {
            if without.contains(&pid) {
                return false;
            }
            match all.get(&pid) {
                Some(seen) if seen.parent == root => return true,
                Some(seen) => pid = seen.parent,
                None => return false,
            }
        }
        false
    };
    let mine = all.iter().filter(|(pid, _)| below(**pid));
    mine.map(|(pid, seen)| (*pid, seen.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let seen = parse("12 (a) b (c) S 7 12 12 0").unwrap();
        assert_eq!(seen.name, "a) b (c");
        assert_eq!((seen.state, seen.parent), ('S', 7));
        assert_eq!(parse("12"), None);
    }

    #[test]
    fn descendants_are_found_over_generations() {
        let at = |parent| Seen {
            parent,
            state: 'S',
            name: String::new(),
        };
        let all = BTreeMap::from([(2, at(1)), (3, at(2)), (4, at(3)), (5, at(1)), (6, at(9))]);
        let found = |without: &[i32]| -> Vec<i32> {
            let without = without.iter().copied().collect();
            descendants(&all, 2, &without)
                .into_iter()
                .map(|(pid, _)| pid)
                .collect()
        };
        assert_eq!(found(&[]), [3, 4]);
        assert_eq!(found(&[4]), [3]);
        assert_eq!(found(&[3]), [0; 0]);
    }
}
