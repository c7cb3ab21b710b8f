//! How the kernel schedules one thread: policy and priority, nice value, the processors it
//! may run on, and the priority of its input and output (sched(7), ioprio_set(2)).
//!
//! Linux keeps all of it for each thread. It is taken from outside, by thread id, and given
//! back by the thread itself. What this machine or its user may not have becomes a note; a
//! thread that runs with less is better than none.

use crate::sys::scheduling as sys;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::io;

/// How a thread is scheduled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Of the policies that have one.
    pub nice: i32,
    /// Of real-time policies.
    pub priority: u32,
    /// Nanoseconds of `SCHED_DEADLINE`: runtime, deadline, period.
    pub deadline: [u64; 3],
    /// Processors that the thread may run on, as the kernel's bits; none when it was left
    /// where its process had been started.
    pub processors: Option<Vec<u8>>,
    /// Class and level of `ioprio_get(2)`; 0 when none was set.
    pub io: u32,
}

/// Policies that nobody may refuse, with the names of all.
const POLICIES: [(u32, &str); 6] = [
    (0, "SCHED_OTHER"),
    (1, "SCHED_FIFO"),
    (2, "SCHED_RR"),
    (3, "SCHED_BATCH"),
    (5, "SCHED_IDLE"),
    (6, "SCHED_DEADLINE"),
];

impl Scheduling {
    /// How thread `tid` of this process is scheduled; 0 is the calling one.
    ///
    /// # Errors
    /// When there is no such thread.
    pub fn of(tid: i32) -> io::Result<Self> {
        let attributes = sys::attributes(tid)?;
        Ok(Self {
            policy: attributes.policy,
            flags: attributes.flags & KEPT_FLAGS,
            nice: attributes.nice,
            priority: attributes.priority,
            deadline: attributes.deadline,
            processors: Some(trimmed(sys::processors(tid)?)),
            io: sys::io_priority(tid)?,
        })
    }

    /// Forgets where the thread may run if that is where `others` may: nobody chose it for
    /// this thread, and another machine has other processors.
    #[must_use]
    pub fn unless_bound_as(mut self, others: &Self) -> Self {
        if self.processors == others.processors {
            self.processors = None;
        }
        self
    }

    /// Gives the calling thread what this says; `home` is where threads may run that are
    /// bound to no processors of their own. Returns what could not be had.
    pub fn restore(&self, home: &Self) -> Vec<String> {
        let mut notes = Vec::new();
        let now = Self::of(0).unwrap_or_default();
        // First: SCHED_DEADLINE is refused to threads that may not run everywhere.
        self.restore_processors(&now, home, &mut notes);
        if let Err(error) = self.restore_policy(&now) {
            let (policy, rest) = match POLICIES.iter().find(|(number, _)| *number == self.policy) {
                Some((_, name)) => ((*name).to_string(), self.level()),
                None => (format!("policy {}", self.policy), String::new()),
            };
            notes.push(format!(
                "it had {policy}{rest}, which is not to be had here: {error}; \
                 raise `ulimit -r` (real time) or `ulimit -e` (nice), or give CAP_SYS_NICE"
            ));
            // The nice value alone may still be had.
            let ordinary = Self {
                policy: 0,
                priority: 0,
                deadline: [0; 3],
                ..self.clone()
            };
            let _ = ordinary.restore_policy(&now);
        }
        if self.io != now.io
            && let Err(error) = sys::set_io_priority(self.io)
        {
            let (class, level) = (self.io >> 13, self.io & 0x1fff);
            notes.push(format!(
                "its input and output had class {class}, level {level} (ionice), which is not \
                 to be had here: {error}; give CAP_SYS_NICE for class 1"
            ));
        }
        notes
    }

    /// Its nice value or priority, for people.
    fn level(&self) -> String {
        match self.policy {
            1 | 2 => format!(" with priority {}", self.priority),
            0 | 3 => format!(" with nice value {}", self.nice),
            _ => String::new(),
        }
    }

    fn restore_policy(&self, now: &Self) -> io::Result<()> {
        let same = |a: &Self| (a.policy, a.flags, a.nice, a.priority, a.deadline);
        if same(self) == same(now) {
            return Ok(());
        }
        sys::set_attributes(&sys::Attributes {
            policy: self.policy,
            flags: self.flags & KEPT_FLAGS,
            nice: self.nice,
            priority: self.priority,
            deadline: self.deadline,
        })
    }

    fn restore_processors(&self, now: &Self, home: &Self, notes: &mut Vec<String>) {
        let bound = self.processors.is_some();
        let Some(wish) = self.processors.as_ref().or(home.processors.as_ref()) else {
            return;
        };
        if now.processors.as_ref() == Some(wish) {
            return;
        }
        let done = sys::set_processors(wish);
        let got = sys::processors(0).map(trimmed).unwrap_or_default();
        match done {
            Ok(()) if !bound || got == *wish => {}
            Ok(()) => notes.push(format!(
                "it was bound to the processors {}, of which {} are here",
                list(wish),
                list(&got)
            )),
            Err(_) => {
                if let Some(home) = &home.processors {
                    let _ = sys::set_processors(home);
                }
                notes.push(format!(
                    "it was bound to the processors {}, of which none is here: it runs on any",
                    list(wish)
                ));
            }
        }
    }
}

/// Reset on fork, reclaim, overrun signals.
const KEPT_FLAGS: u64 = 7;

/// Without zeros at the end: machines have masks of different lengths.
fn trimmed(mut mask: Vec<u8>) -> Vec<u8> {
    let end = mask.iter().rposition(|&byte| byte != 0);
    mask.truncate(end.map_or(0, |last| last + 1));
    mask
}

/// Processors as people write them: `0-3,8`.
fn list(mask: &[u8]) -> String {
    let has = |n: usize| mask.get(n / 8).is_some_and(|byte| byte >> (n % 8) & 1 != 0);
    let mut text = String::new();
    let mut n = 0;
    while n < mask.len() * 8 {
        if !has(n) {
            n += 1;
            continue;
        }
        let first = n;
        while has(n) {
            n += 1;
        }
        let comma = if text.is_empty() { "" } else { "," };
        let _ = match n - first {
            1 => write!(text, "{comma}{first}"),
            _ => write!(text, "{comma}{first}-{}", n - 1),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;

    #[test]
    fn processors_as_people_write_them() {
        for (mask, expected) in [
            (&[][..], ""),
            (&[0b1], "0"),
            (&[0b1111, 0b1], "0-3,8"),
            (&[0b1000_0000, 0b1], "7-8"),
            (&[0xff, 0xff], "0-15"),
        ] {
            assert_eq!(list(mask), expected);
        }
        assert_eq!(trimmed(vec![1, 0, 2, 0, 0]), [1, 0, 2]);
        assert_eq!(trimmed(vec![0, 0]), []);
    }

    #[test]
    fn what_is_given_back_is_what_was_taken() {
        in_child(|| {
            let home = Scheduling::of(0).unwrap();
            let first = home.processors.as_ref().unwrap();
            let lowest = first.iter().position(|&byte| byte != 0).unwrap();
            let mut one = vec![0; lowest + 1];
            one[lowest] = 1 << first[lowest].trailing_zeros();
            let wish = Scheduling {
                policy: 3,
                nice: home.nice + 2,
                processors: Some(one),
                io: 2 << 13 | 6,
                ..home.clone()
            };
            assert_eq!(wish.restore(&home), Vec::<String>::new());
            assert_eq!(Scheduling::of(0).unwrap(), wish);
            // Unbound again, and the rest as before where a user may have that.
            let back = Scheduling {
                processors: None,
                nice: wish.nice,
                io: 2 << 13 | 4,
                ..home.clone()
            };
            assert_eq!(back.restore(&home), Vec::<String>::new());
            let now = Scheduling::of(0).unwrap();
            assert_eq!((now.policy, now.io), (home.policy, 2 << 13 | 4));
            assert_eq!(now.processors, home.processors);
        });
    }

    #[test]
    fn processors_that_are_not_here_are_told() {
        in_child(|| {
            let home = Scheduling::of(0).unwrap();
            let mut mask = vec![0; 1000];
            mask[999] = 0x80;
            let elsewhere = Scheduling {
                processors: Some(mask.clone()),
                ..home.clone()
            };
            let notes = elsewhere.restore(&home);
            assert!(
                notes[0].contains("7999") && notes[0].contains("none"),
                "{notes:?}"
            );
            assert_eq!(Scheduling::of(0).unwrap(), home, "it runs on any");
            mask[0] = home.processors.as_ref().unwrap()[0];
            let partly = Scheduling {
                processors: Some(mask),
                ..home.clone()
            };
            let notes = partly.restore(&home);
            assert!(notes[0].contains("of which"), "{notes:?}");
        });
    }

    #[test]
    fn what_may_not_be_had_is_told_and_the_rest_given() {
        in_child(|| {
            let home = Scheduling::of(0).unwrap();
            crate::sys::process::set_limit(libc::RLIMIT_RTPRIO, 0, 0).unwrap();
            crate::testing::without_privileges();
            let wish = Scheduling {
                policy: 1,
                priority: 30,
                nice: 0,
                ..home.clone()
            };
            let notes = wish.restore(&home);
            assert_eq!(notes.len(), 1, "{notes:?}");
            for part in ["SCHED_FIFO", "priority 30", "ulimit -r"] {
                assert!(notes[0].contains(part), "{part}: {notes:?}");
            }
            assert_eq!(Scheduling::of(0).unwrap().policy, 0);
            let impossible = Scheduling {
                policy: 77,
                ..home.clone()
            };
            assert!(impossible.restore(&home)[0].contains("policy 77"));
        });
    }

    #[test]
    fn only_what_was_chosen_for_a_thread_is_kept() {
        let home = Scheduling {
            processors: Some(vec![3]),
            ..Scheduling::default()
        };
        assert_eq!(home.clone().unless_bound_as(&home).processors, None);
        let bound = Scheduling {
            processors: Some(vec![1]),
            ..home.clone()
        };
        assert_eq!(bound.unless_bound_as(&home).processors, Some(vec![1]));
    }
}
