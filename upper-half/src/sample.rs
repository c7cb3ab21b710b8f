//! What a thread is seen to do just before the park signal is sent: in which call the
//! kernel has it blocked, and since when where that matters.

use crate::arch::Frame;
use crate::blocked::{Clocks, Since};
use crate::{reissue, threads};
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
    /// True when `frame` is what the blocked call left.
    pub(crate) fn is_of(&self, frame: &Frame) -> bool {
        self.blocked && self.pc == frame.rip && self.sp == frame.rsp && self.args == frame.args()
    }
}

/// Where the kernel has the thread blocked, and since when if that is needed.
pub(crate) fn observe(tid: i32, clocks: &Clocks) -> Sample {
    let seen = sample(tid);
    if !waits_without_rest(&seen) {
        return seen;
    }
    // To find out takes so long that the thread must be looked at again.
    let since = clocks.since(tid).unwrap_or_default();
    Sample {
        since,
        ..sample(tid)
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

fn waits_without_rest(sample: &Sample) -> bool {
    sample.blocked && reissue::tells_no_rest(sample.nr, &sample.args)
}

/// The clocks of the processors of threads of which it will matter since when they have
/// been blocked: before anybody stands and waits for that.
pub(crate) fn look_at_clocks() -> Clocks {
    let threads = threads::threads();
    let waiting = threads.iter().map(|t| t.tid);
    let waiting: Vec<i32> = waiting
        .filter(|tid| waits_without_rest(&sample(*tid)))
        .collect();
    Clocks::of(&waiting)
}
