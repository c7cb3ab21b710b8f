//! What a thread is seen to do just before the park signal is sent: in which call the
//! kernel has it blocked, and since when where that matters.

use crate::arch::Frame;
use crate::blocked::{Clocks, Since};
use crate::{reissue, threads};
use std::collections::HashMap;
use std::fs;

/// What `/proc/self/task/TID/syscall` said before the park signal was sent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    /// The thread was blocked in `nr`.
    pub(crate) blocked: bool,
    pub(crate) nr: i64,
    pub(crate) sp: u64,
    pub(crate) pc: u64,
    pub(crate) args: [u64; 6],
    /// Since when, where that matters and is known.
    pub(crate) since: Since,
    /// `Record::delivered` at that time.
    pub(crate) delivered: u64,
}

impl Sample {
    fn is_same_call(&self, other: &Self) -> bool {
        let call = |s: &Self| (s.blocked, s.nr, s.sp, s.pc, s.args);
        call(self) == call(other)
    }

    /// True when `frame` is what the blocked call left.
    pub(crate) fn is_of(&self, frame: &Frame) -> bool {
        self.blocked && self.pc == frame.rip && self.sp == frame.rsp && self.args == frame.args()
    }
}

/// Threads that were seen to wait for a limited time in calls that do not say how much
/// of it is left, and since when.
pub(crate) struct Waiting(HashMap<i32, Sample>);

impl Waiting {
    /// Looks at all threads: before anybody stands, for it takes its time.
    pub(crate) fn look() -> Self {
        let threads = threads::threads();
        let samples = threads.iter().map(|t| (t.tid, sample(t.tid)));
        let mut waiting: HashMap<i32, Sample> = samples
            .filter(|(_, s)| s.blocked && reissue::tells_no_rest(s.nr, &s.args))
            .collect();
        let tids: Vec<i32> = waiting.keys().copied().collect();
        let clocks = Clocks::of(&tids);
        for (tid, sample) in &mut waiting {
            sample.since = clocks.since(*tid).unwrap_or_default();
        }
        Self(waiting)
    }

    /// Where the kernel has the thread blocked now, and since when if that is known.
    pub(crate) fn observe(&self, tid: i32) -> Sample {
        let now = sample(tid);
        match self.0.get(&tid) {
            Some(seen) if seen.is_same_call(&now) => Sample {
                since: seen.since,
                ..now
            },
            _ => now,
        }
    }
}

/// Where the kernel has the thread blocked, if it has.
fn sample(tid: i32) -> Sample {
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap_or_default();
    let mut words = text.split_ascii_whitespace();
    let hex = |w: &str| u64::from_str_radix(w.trim_start_matches("0x"), 16).ok();
    let mut parse = || {
        let nr = words.next()?.parse::<i64>().ok().filter(|nr| *nr >= 0)?;
        let mut args = [0u64; 6];
        for argument in &mut args {
            *argument = hex(words.next()?)?;
        }
        let (sp, pc) = (hex(words.next()?)?, hex(words.next()?)?);
        Some(Sample {
            blocked: true,
            nr,
            sp,
            pc,
            args,
            ..Sample::default()
        })
    };
    parse().unwrap_or_default()
}
