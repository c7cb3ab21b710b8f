//! Streams as ordered queues, and the pool of threads that runs them.
//!
//! A [`Lane`] is one stream's queue. Each entry has a [`Ticket`] that is done
//! when the entry has run, and the tickets that it waits for. A lane that has
//! to wait leaves its thread and is put back by the ticket, so waiting costs
//! no thread and cannot starve others; only work that blocks by itself (a host
//! function, a kernel) holds one. The pool grows as needed.
//!
//! Knows no context, stream or event of the API. Lock order: lane, then
//! ticket, then pool.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sync::{lock, spawn};

/// Done once; threads and lanes can wait for it.
#[derive(Debug)]
pub(crate) struct Ticket {
    done: AtomicBool,
    state: Mutex<TicketState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct TicketState {
    at: Option<Instant>,
    lanes: Vec<Arc<Lane>>,
}

impl Ticket {
    /// A ticket that is not done.
    pub(crate) fn new() -> Arc<Ticket> {
        Arc::new(Ticket {
            done: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Whether the work has run; what it wrote is then visible.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// When it was done.
    pub(crate) fn time(&self) -> Option<Instant> {
        lock(&self.state).at
    }

    /// Blocks until done.
    pub(crate) fn wait(&self) {
        if self.is_done() {
            return;
        }
        let mut state = lock(&self.state);
        while state.at.is_none() {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Marks it done and wakes whoever waits. A second call changes nothing.
    pub(crate) fn complete(&self) {
        let lanes = {
            let mut state = lock(&self.state);
            if state.at.is_some() {
                return;
            }
            state.at = Some(Instant::now());
            self.done.store(true, Ordering::Release);
            self.changed.notify_all();
            std::mem::take(&mut state.lanes)
        };
        for lane in lanes {
            lane.kick();
        }
    }

    /// Has `lane` looked at again when done; false when it is done already.
    fn call_back(&self, lane: &Arc<Lane>) -> bool {
        let mut state = lock(&self.state);
        if state.at.is_some() {
            return false;
        }
        state.lanes.push(lane.clone());
        true
    }
}

/// One entry of a lane.
struct Entry {
    after: Vec<Arc<Ticket>>,
    work: Box<dyn FnOnce() + Send>,
    ticket: Arc<Ticket>,
}

/// An ordered queue of work.
#[derive(Default)]
pub(crate) struct Lane {
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    entries: VecDeque<Entry>,
    /// A pool thread has it, or it is in the pool's list.
    scheduled: bool,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

impl Lane {
    /// Adds work that starts when everything in `after` is done.
    pub(crate) fn push(
        self: &Arc<Self>,
        after: Vec<Arc<Ticket>>,
        ticket: Arc<Ticket>,
        work: Box<dyn FnOnce() + Send>,
    ) {
        lock(&self.state).entries.push_back(Entry {
            after,
            work,
            ticket,
        });
        self.kick();
    }

    /// Hands the lane to the pool unless it is there already.
    fn kick(self: &Arc<Self>) {
        {
            let mut state = lock(&self.state);
            if state.scheduled || state.entries.is_empty() {
                return;
            }
            state.scheduled = true;
        }
        POOL.add(self.clone());
    }

    /// Runs entries until the lane is empty or has to wait.
    fn run(self: &Arc<Self>) {
        loop {
            let entry = {
                let mut state = lock(&self.state);
                let Some(first) = state.entries.front() else {
                    state.scheduled = false;
                    return;
                };
                if first.after.iter().any(|t| t.call_back(self)) {
                    state.scheduled = false;
                    return;
                }
                let Some(entry) = state.entries.pop_front() else {
                    return;
                };
                entry
            };
            run_work(entry.work);
            drop(entry.after);
            entry.ticket.complete();
        }
    }
}

/// Runs `work`; a panic ends the work, not the thread.
pub(crate) fn run_work(work: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
        crate::report(format_args!("internal error: work on a stream panicked"));
    }
}

/// How long an idle thread stays.
const IDLE: Duration = Duration::from_secs(5);

static POOL: Pool = Pool {
    state: Mutex::new(PoolState {
        lanes: VecDeque::new(),
        idle: 0,
    }),
    added: Condvar::new(),
};

struct Pool {
    state: Mutex<PoolState>,
    added: Condvar,
}

struct PoolState {
    lanes: VecDeque<Arc<Lane>>,
    idle: usize,
}

impl Pool {
    fn add(&'static self, lane: Arc<Lane>) {
        let grow = {
            let mut state = lock(&self.state);
            state.lanes.push_back(lane);
            self.added.notify_one();
            state.lanes.len() > state.idle
        };
        if grow && spawn("mock-stream", || self.work()).is_err() {
            // Whoever is busy now takes it later; with nobody there at all
            // there is nothing better than to run it here.
            crate::report(format_args!("no thread left for a stream"));
        }
    }

    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some(lane) = state.lanes.pop_front() {
                drop(state);
                lane.run();
                state = lock(&self.state);
                continue;
            }
            state.idle += 1;
            let (next, timeout) = self
                .added
                .wait_timeout(state, IDLE)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            state = next;
            state.idle -= 1;
            if timeout.timed_out() && state.lanes.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_lane_keeps_its_order() {
        let lane = Arc::new(Lane::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut last = Ticket::new();
        for i in 0..1000 {
            let seen = seen.clone();
            last = Ticket::new();
            lane.push(
                Vec::new(),
                last.clone(),
                Box::new(move || lock(&seen).push(i)),
            );
        }
        last.wait();
        assert_eq!(*lock(&seen), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn an_entry_waits_for_other_lanes_without_a_thread() {
        let gate = Ticket::new();
        let count = Arc::new(AtomicUsize::new(0));
        let tickets: Vec<_> = (0..200)
            .map(|_| {
                let (ticket, count) = (Ticket::new(), count.clone());
                Arc::new(Lane::default()).push(
                    vec![gate.clone()],
                    ticket.clone(),
                    Box::new(move || {
                        count.fetch_add(1, Ordering::Relaxed);
                    }),
                );
                ticket
            })
            .collect();
        assert!(tickets.iter().all(|t| !t.is_done()));
        gate.complete();
        tickets.iter().for_each(|t| t.wait());
        assert_eq!(count.load(Ordering::Relaxed), 200);
    }

    #[test]
    fn a_panic_ends_the_work_alone() {
        let lane = Arc::new(Lane::default());
        let (first, second) = (Ticket::new(), Ticket::new());
        lane.push(Vec::new(), first.clone(), Box::new(|| panic!("on purpose")));
        lane.push(Vec::new(), second.clone(), Box::new(|| ()));
        second.wait();
        assert!(first.is_done());
    }
}
