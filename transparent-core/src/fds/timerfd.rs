//! Timers with a descriptor (timerfd_create(2)).

use super::look::Look;
use crate::apart::hold;
use crate::{Refusal, sys};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A timerfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timerfd {
    /// Its clock.
    pub clock: i32,
    /// Flags of the last `timerfd_settime`.
    pub settime_flags: i32,
    /// Expirations that nobody has read.
    pub ticks: u64,
    /// Nanoseconds left; 0 when disarmed.
    pub remaining_ns: u64,
    /// Time of the next expiration on its clock; used for an absolute
    /// `CLOCK_REALTIME` timer.
    pub deadline_ns: u64,
    /// Interval in nanoseconds.
    pub interval_ns: u64,
}

pub(super) fn take(look: &Look) -> Result<Timerfd, Refusal> {
    let timer = parse(look).and_then(|timer| {
        if timer.remaining_ns > 0 || timer.ticks == 0 || timer.interval_ns == 0 {
            return Some(timer);
        }
        // It has expired and nobody has read it: the kernel goes on with its intervals
        // when it is next asked, and counts those that are over.
        let file = hold(look.fd).ok()?;
        sys::objects::timerfd_wind(file.as_raw_fd()).ok()?;
        parse(&Look::at(look.fd).ok()??)
    });
    timer.ok_or_else(|| {
        look.refuse(
            "the kernel does not show its settings",
            "use a kernel with CONFIG_PROC_FS and timerfd in fdinfo",
        )
    })
}

fn parse(look: &Look) -> Option<Timerfd> {
    let clock = look.value("clockid")?.parse().ok()?;
    let remaining_ns = pair(look.value("it_value")?)?;
    let now = sys::objects::clock_ns(clock).ok()?;
    Some(Timerfd {
        clock,
        settime_flags: i32::from_str_radix(look.value("settime flags")?, 8).ok()?,
        ticks: look.value("ticks")?.parse().ok()?,
        remaining_ns,
        deadline_ns: now.saturating_add(remaining_ns),
        interval_ns: pair(look.value("it_interval")?)?,
    })
}

/// `(seconds, nanoseconds)`
fn pair(text: &str) -> Option<u64> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (seconds, ns) = inner.split_once(',')?;
    let seconds: u64 = seconds.trim().parse().ok()?;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(ns.trim().parse().ok()?)
}

impl Timerfd {
    pub(super) fn make(&self, flags: i32) -> io::Result<OwnedFd> {
        sys::objects::timerfd_create(self.clock, flags & libc::O_NONBLOCK)
    }

    /// Starts it. Time does not pass for it between checkpoint and restart, except
    /// for an absolute time of day.
    pub(super) fn arm(&self, fd: i32) -> io::Result<()> {
        let absolute =
            self.clock == libc::CLOCK_REALTIME && self.settime_flags & libc::TFD_TIMER_ABSTIME != 0;
        let armed = self.remaining_ns > 0;
        let (flags, value) = match (armed, absolute) {
            (false, _) => (0, 0),
            (true, true) => (self.settime_flags, self.deadline_ns),
            (true, false) => (0, self.remaining_ns),
        };
        sys::objects::timerfd_set(fd, flags, value, self.interval_ns)?;
        if self.ticks > 0 && sys::objects::timerfd_set_ticks(fd, self.ticks).is_err() {
            // A kernel without CONFIG_CHECKPOINT_RESTORE: one expiration at once.
            sys::objects::timerfd_set(fd, 0, 1, self.interval_ns)?;
        }
        Ok(())
    }
}
