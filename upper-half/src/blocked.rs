//! How long a thread has been blocked, before it is interrupted.
//!
//! A call that waits a relative time and says nothing about the rest would wait all of
//! it again. The kernel shows in `/proc/self/task/TID/sched` when a thread last ran, in
//! the clock of the processor on which it did; what that clock says now is seen by
//! running there. Where the file does not exist nothing is known, and the wait is
//! longer by what had passed; it is never shorter.
#![allow(unsafe_code, reason = "moves the calling thread between processors")]

use crate::sys;
use std::fs;

/// When a thread began to be blocked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Since {
    /// CLOCK_MONOTONIC, in nanoseconds.
    at: u64,
    /// How often the thread had been blocked then, this time included.
    times: u64,
}

/// A clock that counts in its own way differs by at most this part.
const CLOCKS_DIFFER: u64 = 2048;

impl Since {
    /// Nanoseconds for which the calling thread was blocked until it was interrupted;
    /// none when it was not blocked since, or has been again.
    pub(crate) fn until_now(self) -> u64 {
        if self.at == 0 || sys::times_blocked() != self.times {
            return 0;
        }
        let elapsed = sys::monotonic().saturating_sub(self.at);
        elapsed - elapsed / CLOCKS_DIFFER
    }
}

/// What the clocks of some processors said not long ago.
#[derive(Default)]
pub(crate) struct Clocks {
    /// Processor, and CLOCK_MONOTONIC when its clock was zero.
    seen: Vec<(usize, i64)>,
}

impl Clocks {
    /// Looks at the clocks of the processors on which these threads last ran: the
    /// calling thread runs on one after the other, which takes its time.
    pub(crate) fn of(threads: &[i32]) -> Self {
        const LONG_ENOUGH: u64 = 50_000_000;
        let begun = sys::monotonic();
        let mut clocks = Self::default();
        let mut affinity = None;
        for tid in threads {
            let stat = fs::read_to_string(format!("/proc/self/task/{tid}/stat"));
            let Some(processor) = stat.ok().as_deref().and_then(processor) else {
                continue;
            };
            if clocks.zero(processor).is_some() || sys::monotonic() - begun > LONG_ENOUGH {
                continue;
            }
            affinity.get_or_insert_with(|| sys::affinity(0));
            if let Some(zero) = look(processor) {
                clocks.seen.push((processor, zero));
            }
        }
        if let Some(mask) = affinity {
            sys::set_affinity(&mask);
        }
        clocks
    }

    /// Since when the thread, which was seen to be blocked, has been so.
    pub(crate) fn since(&self, tid: i32) -> Option<Since> {
        let task = format!("/proc/self/task/{tid}");
        let (at, times) = last_ran(&fs::read_to_string(format!("{task}/sched")).ok()?)?;
        let processor = processor(&fs::read_to_string(format!("{task}/stat")).ok()?)?;
        let at = u64::try_from(self.zero(processor)?.checked_add(at)?).ok()?;
        Some(Since { at, times })
    }

    /// CLOCK_MONOTONIC when the processor's clock was zero.
    fn zero(&self, processor: usize) -> Option<i64> {
        let clock = self.seen.iter().find(|(p, _)| *p == processor);
        clock.map(|(_, zero)| *zero)
    }
}

fn look(processor: usize) -> Option<i64> {
    let mut mask = vec![0u8; (processor / 64 + 1) * 8];
    mask[processor / 8] |= 1 << (processor % 8);
    if !sys::set_affinity(&mask) {
        return None;
    }
    // A thread that begins to run gets the clock's present value.
    sys::sleep_a_moment();
    let text = fs::read_to_string("/proc/thread-self/sched").ok()?;
    let (ran, _) = last_ran(&text)?;
    i64::try_from(sys::monotonic()).ok()?.checked_sub(ran)
}

/// When the thread last ran, in nanoseconds of its processor's clock, and how often it
/// has been blocked.
fn last_ran(sched: &str) -> Option<(i64, u64)> {
    let value = |name: &str| {
        let line = sched
            .lines()
            .find(|l| l.split([' ', ':']).next() == Some(name))?;
        Some(line.split(':').nth(1)?.trim())
    };
    let (millis, nanos) = value("se.exec_start")?.split_once('.')?;
    let ran = millis.parse::<i64>().ok()? * 1_000_000 + nanos.parse::<i64>().ok()?;
    let times = value("nr_voluntary_switches")?.parse().ok()?;
    (ran != 0 && nanos.len() == 6).then_some((ran, times))
}

/// The processor on which a thread last ran (field 39).
fn processor(stat: &str) -> Option<usize> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(36)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicI32;
    use std::sync::atomic::Ordering::SeqCst;

    #[test]
    fn the_kernels_words_are_understood() {
        let sched = "x (1, #threads: 1)\n----\n\
            se.exec_start                                :      12591058.639395\n\
            se.vruntime                                  :          3289.162050\n\
            nr_voluntary_switches                        :                  113\n";
        assert_eq!(last_ran(sched), Some((12_591_058_639_395, 113)));
        assert_eq!(last_ran("se.exec_start : 0.000000\n"), None);
        let stat = format!("7 (a) b) S {} 5 0 0", "1 ".repeat(35));
        assert_eq!(processor(&stat), Some(5));
    }

    /// A time at which the thread, which only blocks for good, was blocked.
    fn blocked_by(tid: i32) -> u64 {
        let call = format!("/proc/self/task/{tid}/syscall");
        while fs::read_to_string(&call).is_ok_and(|call| call.starts_with("running")) {
            std::thread::yield_now();
        }
        sys::monotonic()
    }

    #[test]
    fn a_blocked_thread_tells_since_when() {
        static PARKS: AtomicI32 = AtomicI32::new(0);
        let began = sys::monotonic();
        let blocked = std::thread::spawn(|| {
            PARKS.store(sys::gettid() as i32, SeqCst);
            std::thread::park();
        });
        while PARKS.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        let tid = PARKS.load(SeqCst);
        let seen = blocked_by(tid);
        // For a while: who says the present time is wrong by that.
        std::thread::sleep(std::time::Duration::from_millis(80));
        let before = sys::affinity(0);
        let Some(since) = Clocks::of(&[tid]).since(tid) else {
            assert!(!std::path::Path::new("/proc/self/sched").exists());
            return;
        };
        assert_eq!(before, sys::affinity(0));
        // Late by as long as this thread was kept from looking at the clock, on a busy
        // machine; a wait then takes longer, never less.
        let late = since.at as i64 - seen as i64;
        assert!(late < 60_000_000, "{late} ns after it was blocked");
        let early = began as i64 - since.at as i64;
        assert!(early < 5_000_000, "{early} ns before it began");
        blocked.thread().unpark();
        blocked.join().expect("its end");
    }
}
