//! Attributes of the process: working directory, umask, limits, interval timers,
//! timers made by timer_create, and what prctl keeps.
//!
//! Those of single threads (name, signal mask, scheduling, parent-death signal) are
//! saved with the threads. Nothing here is worth failing a restart for but the
//! working directory: what a restart may not set again (a hard limit that is lower
//! here) becomes a note.

use crate::posix_timers::{self, PosixTimer, TimerError};
use crate::{RawPath, Refusal, sys};
use serde::{Deserialize, Serialize};
use std::io;
use thiserror::Error;

/// Name of the section that holds the [`Attributes`].
pub const SECTION: &str = "attributes";
/// Version of the section; images with another one are of another layout.
pub const VERSION: u32 = 2;

/// The section `attributes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Working directory.
    pub cwd: Option<RawPath>,
    /// File mode creation mask.
    pub umask: u32,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Interval timers that run.
    pub timers: Vec<IntervalTimer>,
    /// Nice value of the first thread, to be looked at: [`crate::scheduling`] gives each
    /// thread its own back.
    pub nice: i32,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: i32,
    /// `PR_GET_DUMPABLE`.
    pub dumpable: i32,
    /// Execution domain (personality(2)).
    pub personality: u32,
    /// `PR_GET_THP_DISABLE`.
    pub huge_pages_disabled: bool,
    /// `PR_GET_CHILD_SUBREAPER`.
    pub child_subreaper: bool,
    /// Timers made by timer_create(2).
    pub posix_timers: Vec<PosixTimer>,
}

/// A resource limit (getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// `RLIMIT_…`
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// An interval timer (getitimer(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalTimer {
    /// `ITIMER_REAL`, `_VIRTUAL` or `_PROF`.
    pub which: i32,
    /// Microseconds left.
    pub remaining_us: u64,
    /// Interval in microseconds.
    pub interval_us: u64,
}

/// Attributes could not be taken or given.
#[derive(Debug, Error)]
pub enum AttributeError {
    /// The kernel does not tell.
    #[error(
        "cannot read the process's {what}: {source}; {}",
        crate::refusal::proc_advice(source)
    )]
    Read {
        /// Which attribute.
        what: &'static str,
        /// The errno.
        source: io::Error,
    },
    /// A timer could not be read or made.
    #[error(transparent)]
    Timer(#[from] TimerError),
    /// The working directory is gone.
    #[error(
        "cannot enter the working directory {path}: {source}; create it, or restart where it exists"
    )]
    Directory {
        /// It.
        path: RawPath,
        /// The errno.
        source: io::Error,
    },
}

const LIMITS: [(u32, &str); 16] = [
    (libc::RLIMIT_CPU, "CPU time"),
    (libc::RLIMIT_FSIZE, "file size"),
    (libc::RLIMIT_DATA, "data size"),
    (libc::RLIMIT_STACK, "stack size"),
    (libc::RLIMIT_CORE, "core file size"),
    (libc::RLIMIT_RSS, "resident memory"),
    (libc::RLIMIT_NPROC, "processes"),
    (libc::RLIMIT_NOFILE, "open files"),
    (libc::RLIMIT_MEMLOCK, "locked memory"),
    (libc::RLIMIT_AS, "address space"),
    (libc::RLIMIT_LOCKS, "file locks"),
    (libc::RLIMIT_SIGPENDING, "pending signals"),
    (libc::RLIMIT_MSGQUEUE, "message queues"),
    (libc::RLIMIT_NICE, "nice value"),
    (libc::RLIMIT_RTPRIO, "real-time priority"),
    (libc::RLIMIT_RTTIME, "real-time slice"),
];

const TIMERS: [i32; 3] = [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF];

/// Asks for the personality without changing it.
const ASK: u32 = u32::MAX;

/// Says what of the process itself cannot be saved. Changes nothing.
///
/// # Errors
/// One refusal for each thing.
pub fn check() -> Result<(), Vec<Refusal>> {
    let mut refused = Vec::new();
    refused.extend(posix_timers::check());
    if let Err(refusal) = cwd() {
        refused.push(refusal);
    }
    let root = std::fs::read_link("/proc/self/root");
    if root.is_ok_and(|root| root.as_os_str() != "/") {
        refused.push(Refusal::new(
            "the root directory",
            "the job has changed it (chroot)",
            "launch gpuckpt inside the new root instead",
        ));
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(refused)
    }
}

fn cwd() -> Result<RawPath, Refusal> {
    let refuse = |why: String| {
        let advice = "change to a directory that exists before the checkpoint";
        Refusal::new("the working directory", why, advice)
    };
    let cwd = std::env::current_dir().map_err(|e| refuse(e.to_string()))?;
    if !cwd.is_absolute() {
        return Err(refuse(format!("{} is out of reach", cwd.display())));
    }
    Ok(cwd.into())
}

/// Takes the attributes. The program's threads must be parked: the umask is set and
/// set back, and timers run on.
///
/// # Errors
/// When the kernel does not tell one.
pub fn capture() -> Result<Attributes, AttributeError> {
    let read = |what| move |source| AttributeError::Read { what, source };
    let umask = sys::process::umask(0o077);
    sys::process::umask(umask);
    let mut limits = Vec::new();
    for (resource, _) in LIMITS {
        let (soft, hard) = sys::process::limit(resource).map_err(read("limits"))?;
        limits.push(Limit {
            resource,
            soft,
            hard,
        });
    }
    let mut timers = Vec::new();
    for which in TIMERS {
        let (remaining_us, interval_us) =
            sys::process::interval_timer(which).map_err(read("interval timers"))?;
        if remaining_us > 0 {
            timers.push(IntervalTimer {
                which,
                remaining_us,
                interval_us,
            });
        }
    }
    let get = |option| sys::process::prctl(option, 0);
    Ok(Attributes {
        cwd: cwd().ok(),
        umask,
        limits,
        timers,
        nice: sys::process::nice().map_err(read("nice value"))?,
        oom_score_adj: oom_score_adj().unwrap_or(0),
        dumpable: get(libc::PR_GET_DUMPABLE).map_err(read("dumpable flag"))?,
        personality: sys::process::personality(ASK).map_err(read("personality"))?,
        huge_pages_disabled: get(libc::PR_GET_THP_DISABLE).unwrap_or(0) & 1 != 0,
        child_subreaper: sys::process::child_subreaper().map_err(read("subreaper flag"))?,
        posix_timers: posix_timers::capture()?,
    })
}

/// Gives the attributes back. To be called late, by the thread that the others will
/// be started from or after them, right before the program resumes: interval timers
/// begin to run, and limits bind from here on. Returns what could not be set.
///
/// # Errors
/// When the working directory is not there, or a timer cannot be made.
pub fn restore(attributes: &Attributes) -> Result<Vec<String>, AttributeError> {
    let mut notes = Vec::new();
    if let Some(path) = &attributes.cwd {
        std::env::set_current_dir(path.as_path()).map_err(|source| AttributeError::Directory {
            path: path.clone(),
            source,
        })?;
    }
    sys::process::umask(attributes.umask);
    let mut note = |what: &str, result: io::Result<()>| {
        if let Err(e) = result {
            notes.push(format!("the {what} is not as it was: {e}"));
        }
    };
    note("oom_score_adj", set_oom_score_adj(attributes.oom_score_adj));
    note("personality", set_personality(attributes.personality));
    let set = |option, value| sys::process::prctl(option, value).map(drop);
    // 2 cannot be set: the kernel gives it to set-uid programs alone.
    let dumpable = u64::from(attributes.dumpable == 1);
    note("dumpable flag", set(libc::PR_SET_DUMPABLE, dumpable));
    let disabled = u64::from(attributes.huge_pages_disabled);
    note("use of huge pages", set(libc::PR_SET_THP_DISABLE, disabled));
    let reaper = u64::from(attributes.child_subreaper);
    note(
        "child subreaper flag",
        set(libc::PR_SET_CHILD_SUBREAPER, reaper),
    );
    for limit in &attributes.limits {
        let name = LIMITS.iter().find(|(r, _)| *r == limit.resource);
        let name = name.map_or("resource limit", |(_, name)| name);
        note(&format!("limit of {name}"), set_limit(limit));
    }
    for timer in &attributes.timers {
        let result =
            sys::process::set_interval_timer(timer.which, timer.remaining_us, timer.interval_us);
        note("interval timer", result);
    }
    posix_timers::restore(&attributes.posix_timers)?;
    Ok(notes)
}

fn oom_score_adj() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj").ok()?;
    text.trim().parse().ok()
}

fn set_oom_score_adj(value: i32) -> io::Result<()> {
    if oom_score_adj() == Some(value) {
        return Ok(());
    }
    std::fs::write("/proc/self/oom_score_adj", value.to_string())
}

fn set_personality(value: u32) -> io::Result<()> {
    if sys::process::personality(ASK)? == value {
        return Ok(());
    }
    sys::process::personality(value).map(drop)
}

/// As far as allowed: a hard limit cannot be raised without privilege, the soft one
/// up to it can.
fn set_limit(limit: &Limit) -> io::Result<()> {
    let (soft, hard) = sys::process::limit(limit.resource)?;
    if (soft, hard) == (limit.soft, limit.hard) {
        return Ok(());
    }
    sys::process::set_limit(limit.resource, limit.soft, limit.hard).or_else(|e| {
        sys::process::set_limit(limit.resource, limit.soft.min(hard), limit.hard.min(hard))?;
        Err(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::scheduling::Scheduling;
    use crate::testing::in_child;
    use proptest::prelude::*;

    fn limit_of(attributes: &Attributes, resource: u32) -> Limit {
        let found = attributes.limits.iter().find(|l| l.resource == resource);
        *found.unwrap()
    }

    #[test]
    fn attributes_come_back_in_a_fresh_process() {
        let dir = tempfile::tempdir().unwrap();
        let saved = dir.path().join("attributes");
        let here = std::fs::canonicalize(dir.path()).unwrap();
        in_child(|| {
            std::env::set_current_dir(&here).unwrap();
            sys::process::umask(0o137);
            let (_, hard) = sys::process::limit(libc::RLIMIT_NOFILE).unwrap();
            sys::process::set_limit(libc::RLIMIT_NOFILE, 777, hard).unwrap();
            sys::process::set_limit(libc::RLIMIT_CORE, 0, 4096).unwrap();
            const HOUR: u64 = 3_600_000_000;
            sys::process::set_interval_timer(libc::ITIMER_REAL, HOUR, 5_000_000).unwrap();
            sys::process::set_interval_timer(libc::ITIMER_PROF, HOUR, 0).unwrap();
            let home = Scheduling::of(0).unwrap();
            let nice = Scheduling {
                nice: 5,
                ..home.clone()
            };
            assert_eq!(nice.restore(&home), Vec::<String>::new());
            set_oom_score_adj(321).unwrap();
            let on = |option| sys::process::prctl(option, 1).unwrap();
            on(libc::PR_SET_CHILD_SUBREAPER);
            on(libc::PR_SET_THP_DISABLE);
            sys::process::personality(0x0040_0000).unwrap();
            let bytes = codec::encode(&capture().unwrap()).unwrap();
            std::fs::write(&saved, bytes).unwrap();
        });
        in_child(|| {
            let taken: Attributes = codec::decode(&std::fs::read(&saved).unwrap()).unwrap();
            let before = capture().unwrap();
            assert_ne!(before.umask, taken.umask);
            let notes = restore(&taken).unwrap();
            let now = capture().unwrap();
            assert_eq!(notes, Vec::<String>::new());
            assert_eq!(now.cwd, Some(here.as_path().into()));
            assert_eq!(now.umask, 0o137);
            assert_eq!(limit_of(&now, libc::RLIMIT_NOFILE).soft, 777);
            assert_eq!(limit_of(&now, libc::RLIMIT_CORE).hard, 4096);
            let timers: Vec<i32> = now.timers.iter().map(|t| t.which).collect();
            assert_eq!(timers, [libc::ITIMER_REAL, libc::ITIMER_PROF]);
            assert_eq!(now.timers[0].interval_us, 5_000_000);
            assert!(now.timers[0].remaining_us > 3_500_000_000);
            assert_eq!((taken.nice, now.oom_score_adj), (5, 321));
            assert!(now.child_subreaper && now.huge_pages_disabled);
            assert_eq!(now.personality, 0x0040_0000);
        });
    }

    #[test]
    fn what_may_not_be_set_again_is_noted_and_the_rest_is_set() {
        in_child(|| {
            let mut wish = capture().unwrap();
            let limit = limit_of(&wish, libc::RLIMIT_CORE);
            // More than anyone may have of it.
            let at = wish
                .limits
                .iter()
                .position(|l| l.resource == libc::RLIMIT_NOFILE);
            wish.limits[at.unwrap()].hard = u64::MAX - 1;
            wish.umask = 0o111;
            let notes = restore(&wish).unwrap();
            assert_eq!(notes.len(), 1, "{notes:?}");
            assert!(notes[0].contains("open files"), "{notes:?}");
            let now = capture().unwrap();
            assert_eq!(now.umask, 0o111);
            assert_eq!(limit_of(&now, libc::RLIMIT_CORE), limit);
            wish.cwd = Some(RawPath(b"/nowhere/at/all".to_vec()));
            assert!(restore(&wish).unwrap_err().to_string().contains("/nowhere"));
        });
    }

    #[test]
    fn a_posix_timer_and_a_lost_directory_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        in_child(|| {
            check().unwrap();
            crate::testing::posix_timer();
            std::env::set_current_dir(dir.path()).unwrap();
            std::fs::remove_dir(dir.path()).unwrap();
            let refused = check().unwrap_err();
            assert_eq!(refused.len(), 2, "{refused:?}");
            assert!(refused[0].object.contains("POSIX timer"), "{refused:?}");
            assert!(
                refused[1].object.contains("working directory"),
                "{refused:?}"
            );
        });
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = codec::decode::<Attributes>(&bytes);
            let _ = codec::decode::<crate::fds::FdTable>(&bytes);
            let _ = codec::decode::<crate::memory::MemoryIndex>(&bytes);
        }
    }
}
