//! Ends of streams and contexts against the drain, which asks the driver about them: a
//! driver may crash when it is asked about an object that another thread is destroying.
//!
//! Neither side holds a lock across a driver call. An end is counted for as long as it
//! takes, the driver's call and the end of the handle; a question waits until no end is on its
//! way, and keeps new ones waiting for the moment that it takes. Questions never block in
//! the driver; ends may, so that a question has a deadline.
//!
//! Work of a stream goes on when the stream has ended. An event at its end stands for it
//! until it is done: see [`Orphans`].

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cuda_abi::driver::{CUDA_ERROR_NOT_READY, CUDA_SUCCESS};

use crate::arena::Block;
use crate::dispatch::context::with_current;
use crate::driver::{self, out};
use crate::handles::{Kind, Real, Virtual};
use crate::memory;
use crate::quiesce::is_live;
use crate::session::Session;
use crate::table::ids;

/// Between two looks of somebody who waits.
const PAUSE: Duration = Duration::from_micros(20);

/// Who is at it.
#[derive(Default)]
pub(crate) struct Endings {
    asking: AtomicBool,
    ending: AtomicUsize,
    /// Ends of contexts so far: each takes events of ours along.
    contexts: AtomicUsize,
}

/// An end on its way.
pub(crate) struct Ending<'a>(&'a Endings);

/// A question.
pub(crate) struct Question<'a>(&'a Endings);

impl Endings {
    /// To be held while an object ends, its handle included.
    pub(crate) fn end(&self) -> Ending<'_> {
        loop {
            self.ending.fetch_add(1, SeqCst);
            if !self.asking.load(SeqCst) {
                return Ending(self);
            }
            self.ending.fetch_sub(1, SeqCst);
            while self.asking.load(SeqCst) {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// To be held for a question about an object whose handle lives; `None` when an end
    /// takes longer than the deadline.
    pub(crate) fn ask(&self, deadline: Instant) -> Option<Question<'_>> {
        while self.asking.swap(true, SeqCst) {
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
        let question = Question(self);
        while self.ending.load(SeqCst) != 0 {
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
        Some(question)
    }
}

impl Endings {
    /// How many contexts have ended. To be called with a [`Question`] held.
    pub(crate) fn of_contexts(&self) -> usize {
        self.contexts.load(SeqCst)
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.ending.fetch_sub(1, SeqCst);
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.0.asking.store(false, SeqCst);
    }
}

/// What waits for work of a stream to be done.
struct Orphan {
    /// The stream's context.
    context: Virtual,
    /// At the end of the work.
    event: u64,
    /// Device memory that is free then.
    free: Option<Freed>,
}

/// A block of device memory that has left the arena's books.
#[derive(Clone, Copy)]
pub(crate) struct Freed {
    pub(crate) address: u64,
    pub(crate) block: Block,
    /// The context that it ends with, which need not be the stream's.
    pub(crate) owner: Virtual,
}

/// Work of streams that have ended, and memory that is freed in stream order.
#[derive(Default)]
pub(crate) struct Orphans(Mutex<Vec<Orphan>>);

/// `CU_EVENT_DISABLE_TIMING`
const NO_TIMING: u64 = 2;

impl Orphans {
    fn lock(&self) -> MutexGuard<'_, Vec<Orphan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the work that a stream has left, before its end. What cannot be noted is not:
    /// a stream must end whatever becomes of its work.
    pub(crate) fn note(&self, session: &Session, stream: u64) {
        if driver::call(ids::cuStreamQuery, &[stream]) != CUDA_ERROR_NOT_READY.0 {
            return;
        }
        let mut context = 0u64;
        driver::call(ids::cuStreamGetCtx, &[stream, out(&mut context)]);
        let context = Real::from_driver(context);
        let Some(context) = session.recorder().find(Kind::Context, context) else {
            return;
        };
        self.push(session, context, stream, None);
    }

    /// Lets a block of memory that has left the arena's books be free when a stream gets there;
    /// false when that cannot be noted. `stream` is of `context`.
    pub(crate) fn free_after(
        &self,
        session: &Session,
        context: Virtual,
        stream: u64,
        free: Freed,
    ) -> bool {
        self.push(session, context, stream, Some(free))
    }

    fn push(&self, session: &Session, context: Virtual, stream: u64, free: Option<Freed>) -> bool {
        let at_end = with_current(session, context, || {
            let mut event = 0u64;
            let made = driver::call(ids::cuEventCreate, &[out(&mut event), NO_TIMING]);
            if made != CUDA_SUCCESS.0 {
                return None;
            }
            if driver::call(ids::cuEventRecord, &[event, stream]) == CUDA_SUCCESS.0 {
                return Some(event);
            }
            driver::call(ids::cuEventDestroy_v2, &[event]);
            None
        });
        let Ok(Some(event)) = at_end else {
            return false;
        };
        self.lock().push(Orphan {
            context,
            event,
            free,
        });
        true
    }

    /// Drops what is done, if nobody else is at it.
    pub(crate) fn tidy(&self, session: &Session) {
        self.tidy_until(session, Instant::now());
    }

    /// The same, waiting for others until the deadline.
    pub(crate) fn tidy_until(&self, session: &Session, deadline: Instant) {
        if !self.is_empty()
            && let Some(_question) = session.endings.ask(deadline)
        {
            self.done(session);
        }
    }

    /// All objects of `context` have ended, the events too. A primary context may live on
    /// under its handle. To be called with an [`Ending`] held.
    pub(crate) fn context_ended(&self, session: &Session, context: Virtual) {
        session.endings.contexts.fetch_add(1, SeqCst);
        let gone: Vec<Orphan> = {
            let mut list = self.lock();
            for orphan in list.iter_mut() {
                // Its addresses may soon be another context's.
                orphan.free = orphan.free.filter(|freed| freed.owner != context);
            }
            list.extract_if(.., |orphan| orphan.context == context)
                .collect()
        };
        for freed in gone.into_iter().filter_map(|orphan| orphan.free) {
            memory::release(session, freed.address, freed.block);
        }
    }

    /// Held across a fork.
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.lock()
    }

    /// True when there is no such work.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Drops those whose work is done; true when none is left. To be called with a
    /// [`Question`] held.
    pub(crate) fn done(&self, session: &Session) -> bool {
        let list = std::mem::take(&mut *self.lock());
        let busy = |orphan: &Orphan| {
            // A context takes its events along.
            if !is_live(session, orphan.context) {
                return false;
            }
            let busy = driver::call(ids::cuEventQuery, &[orphan.event]) == CUDA_ERROR_NOT_READY.0;
            if !busy {
                driver::call(ids::cuEventDestroy_v2, &[orphan.event]);
                if let Some(Freed { address, block, .. }) = orphan.free {
                    memory::release(session, address, block);
                }
            }
            busy
        };
        let left: Vec<_> = list.into_iter().filter(busy).collect();
        let mut list = self.lock();
        list.extend(left);
        list.is_empty()
    }
}
