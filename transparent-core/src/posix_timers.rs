//! Timers made by timer_create(2): read from `/proc/self/timers`, made again with the
//! ids that the program knows them by.
//!
//! An absolute time is kept as what is left of it: the kernel does not tell the two
//! apart. Part of the section [`crate::attributes`].

use crate::{Refusal, sys};
use serde::{Deserialize, Serialize};
use std::io;
use sys::timers::{Event, Notify};
use thiserror::Error;

/// A timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PosixTimer {
    /// The id, as `timer_create` gave it.
    pub id: i32,
    /// Its clock; the CPU clock of the whole process is `CLOCK_PROCESS_CPUTIME_ID`.
    pub clock: i32,
    /// The signal that it raises, if any.
    pub signal: Option<i32>,
    /// The thread that gets it; else any.
    pub thread: Option<i32>,
    /// The program's own word (`sigev_value`).
    pub value: u64,
    /// Nanoseconds left; 0 when it does not run.
    pub remaining_ns: u64,
    /// Interval in nanoseconds.
    pub interval_ns: u64,
}

impl PosixTimer {
    /// Gives the thread another name (its id in another process). A timer whose thread
    /// has ended raises nothing any more.
    pub fn name_thread(&mut self, name: impl FnOnce(i32) -> Option<i32>) {
        if let Some(thread) = self.thread {
            self.thread = name(thread);
            self.signal = self.signal.filter(|_| self.thread.is_some());
        }
    }
}

/// Timers could not be taken or made.
#[derive(Debug, Error)]
pub enum TimerError {
    /// The kernel does not tell.
    #[error("cannot read POSIX timer {id}: {source}")]
    Read {
        /// Its id.
        id: i32,
        /// The errno.
        source: io::Error,
    },
    /// It is of a kind that a checkpoint refuses.
    #[error("{0}")]
    Refused(Refusal),
    /// It could not be made with its id and settings.
    #[error("cannot make POSIX timer {id} again: {source}; see `ulimit -i` (pending signals)")]
    Make {
        /// Its id.
        id: i32,
        /// The errno.
        source: io::Error,
    },
}

/// How many ids are tried where the kernel cannot be asked for one (before 6.15).
const TRIES: i32 = 1 << 20;

/// One refusal for each timer that cannot be saved.
pub(crate) fn check() -> Vec<Refusal> {
    let all = read().into_iter();
    all.filter_map(|timer| timer.err()).collect()
}

/// Takes the timers; of each, what is left is as of this moment.
pub(crate) fn capture() -> Result<Vec<PosixTimer>, TimerError> {
    let mut timers = Vec::new();
    for timer in read() {
        let mut timer = timer.map_err(TimerError::Refused)?;
        let id = timer.id;
        (timer.remaining_ns, timer.interval_ns) =
            sys::timers::left(id).map_err(|source| TimerError::Read { id, source })?;
        timers.push(timer);
    }
    timers.sort_unstable_by_key(|timer| timer.id);
    Ok(timers)
}

fn read() -> Vec<Result<PosixTimer, Refusal>> {
    // A kernel without the file has no such timers to show.
    let text = std::fs::read_to_string("/proc/self/timers").unwrap_or_default();
    let text = format!("\n{text}");
    text.split("\nID:").skip(1).map(parse).collect()
}

/// What follows `ID:`; the lines `signal`, `notify` and `ClockID` (proc_pid_timers(5)).
fn parse(block: &str) -> Result<PosixTimer, Refusal> {
    let (id, rest) = block.split_once('\n').unwrap_or((block, ""));
    let refuse = |why: &str| {
        let advice = "use setitimer or timerfd, or delete it before the checkpoint";
        Refusal::new(format!("POSIX timer {}", id.trim()), why, advice)
    };
    let line = |key: &str| {
        let line = rest.lines().find_map(|line| line.strip_prefix(key));
        line.map(str::trim)
    };
    let words = || {
        let (signal, value) = line("signal:")?.split_once('/')?;
        let (how, whom) = line("notify:")?.split_once('/')?;
        let (kind, thread) = whom.split_once('.')?;
        let timer = PosixTimer {
            id: id.trim().parse().ok()?,
            clock: line("ClockID:")?.parse().ok()?,
            signal: match how {
                "none" => None,
                _ => Some(signal.parse().ok()?),
            },
            thread: match kind {
                "tid" => Some(thread.parse().ok()?),
                _ => None,
            },
            value: u64::from_str_radix(value, 16).ok()?,
            remaining_ns: 0,
            interval_ns: 0,
        };
        Some(timer)
    };
    let mut timer = words().ok_or_else(|| refuse("the kernel does not show its settings"))?;
    if timer.clock < 0 {
        // CPU clocks: the complement of an id, a bit for threads, two for the kind.
        const OF_THREAD: i32 = 4;
        let of = !(timer.clock >> 3);
        let own = of == 0 || of == std::process::id() as i32;
        if timer.clock & OF_THREAD != 0 || timer.clock & 3 != 2 || !own {
            return Err(refuse(
                "it runs on the CPU clock of a thread or of another process",
            ));
        }
        timer.clock = libc::CLOCK_PROCESS_CPUTIME_ID;
    }
    Ok(timer)
}

/// Makes the timers and starts those that ran. Ids ascend.
pub(crate) fn restore(timers: &[PosixTimer]) -> Result<(), TimerError> {
    for timer in timers {
        let id = timer.id;
        make(timer).map_err(|source| TimerError::Make { id, source })?;
    }
    for timer in timers.iter().filter(|timer| timer.remaining_ns != 0) {
        let id = timer.id;
        sys::timers::start(id, timer.remaining_ns, timer.interval_ns)
            .map_err(|source| TimerError::Make { id, source })?;
    }
    Ok(())
}

fn make(timer: &PosixTimer) -> io::Result<()> {
    let event = Event {
        value: timer.value,
        notify: match (timer.signal, timer.thread) {
            (None, _) => Notify::None,
            (Some(signal), None) => Notify::Process(signal),
            (Some(signal), Some(thread)) => Notify::Thread(signal, thread),
        },
    };
    if let Ok(made) = sys::timers::create_as(timer.id, timer.clock, event) {
        if made == timer.id {
            return Ok(());
        }
        sys::timers::delete(made)?;
    }
    // Ids of a process ascend from 0.
    for _ in 0..TRIES {
        let made = sys::timers::create(timer.clock, event)?;
        if made == timer.id {
            return Ok(());
        }
        sys::timers::delete(made)?;
        if made > timer.id {
            break;
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;

    #[test]
    fn timers_come_back_with_their_ids() {
        in_child(|| {
            const S: u64 = 1_000_000_000;
            let event = |notify| Event {
                value: 0x1234_5678_9abc,
                notify,
            };
            let me = std::process::id() as i32;
            let made: Vec<i32> = [
                (libc::CLOCK_MONOTONIC, Notify::Process(libc::SIGUSR1)),
                (libc::CLOCK_REALTIME, Notify::None),
                (libc::CLOCK_BOOTTIME, Notify::Thread(40, me)),
                (libc::CLOCK_PROCESS_CPUTIME_ID, Notify::Process(40)),
            ]
            .into_iter()
            .map(|(clock, notify)| sys::timers::create(clock, event(notify)).unwrap())
            .collect();
            sys::timers::delete(made[1]).unwrap();
            sys::timers::start(made[0], 1000 * S, 7 * S).unwrap();
            assert_eq!(check(), []);
            let taken = capture().unwrap();
            assert_eq!(taken.len(), 3);
            assert!(taken[0].remaining_ns > 900 * S && taken[0].interval_ns == 7 * S);
            for timer in &taken {
                sys::timers::delete(timer.id).unwrap();
            }
        });
        in_child(|| {
            let timer = |id, thread| PosixTimer {
                id,
                clock: libc::CLOCK_MONOTONIC,
                signal: Some(libc::SIGUSR1),
                thread,
                value: 5,
                remaining_ns: 1 << 50,
                interval_ns: 0,
            };
            let me = std::process::id() as i32;
            let wanted = [timer(3, None), timer(17, Some(me)), timer(18, None)];
            restore(&wanted).unwrap();
            let mut now = capture().unwrap();
            for timer in &mut now {
                assert!(timer.remaining_ns > 1 << 49);
                timer.remaining_ns = 1 << 50;
            }
            assert_eq!(now, wanted);
            assert!(restore(&wanted[..1]).is_err(), "the id is taken");
        });
    }

    #[test]
    fn clocks_of_threads_are_refused_and_so_is_what_is_not_understood() {
        let text = " 7\nsignal: 10/0000000000123456\nnotify: signal/tid.5\nClockID: -2\n";
        let refused = parse(text).unwrap_err();
        assert!(refused.object.ends_with('7') && refused.why.contains("CPU clock"));
        let process = text.replace("-2", "-6");
        assert_eq!(
            parse(&process).unwrap().clock,
            libc::CLOCK_PROCESS_CPUTIME_ID
        );
        for length in 0..text.len() - 12 {
            assert!(parse(&text[..length]).is_err());
        }
    }
}
