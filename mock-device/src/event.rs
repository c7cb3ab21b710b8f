//! Events: marks in streams that can be waited for and timed.

use std::sync::{Arc, Mutex, Weak};

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use crate::call::Answer;
use crate::context::Context;
use crate::driver::Driver;
use crate::handles::Handle;
use crate::schedule::Ticket;
use crate::stream::{Stream, Work};
use crate::sync::lock;

/// An event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) handle: Handle,
    pub(crate) flags: u32,
    context: Weak<Context>,
    generation: u64,
    recorded: Mutex<Option<Arc<Ticket>>>,
}

impl Event {
    /// Creates an event in a context.
    pub(crate) fn create(driver: &Driver, context: &Arc<Context>, flags: u32) -> Answer<Handle> {
        const KNOWN: u32 = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
        if flags & !KNOWN != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        if flags & CU_EVENT_INTERPROCESS != 0 {
            // Valid only without timing; the mock shares nothing with others.
            return Err(if flags & CU_EVENT_DISABLE_TIMING == 0 {
                CUDA_ERROR_INVALID_VALUE
            } else {
                CUDA_ERROR_NOT_SUPPORTED
            });
        }
        let event = driver.handles.insert(|handle| Event {
            handle,
            flags,
            context: Arc::downgrade(context),
            generation: context.generation(),
            recorded: Mutex::new(None),
        })?;
        context.own_event(event.handle);
        Ok(event.handle)
    }

    /// The context it was made in.
    pub(crate) fn context(&self) -> Answer<Arc<Context>> {
        self.context
            .upgrade()
            .filter(|c| !c.is_destroyed() && c.generation() == self.generation)
            .ok_or(CUDA_ERROR_CONTEXT_IS_DESTROYED)
    }

    /// Records the event behind what `stream` has accepted.
    pub(crate) fn record(&self, context: &Arc<Context>, stream: &Stream) -> Answer {
        if !Arc::ptr_eq(&self.context()?, context) {
            return Err(CUDA_ERROR_INVALID_HANDLE);
        }
        // Held across the submission: of two threads that record the same
        // event, the one whose mark is later must win.
        let mut recorded = lock(&self.recorded);
        *recorded = Some(context.submit(stream, Vec::new(), Work::Nothing, true));
        Ok(())
    }

    /// The mark of the latest record.
    pub(crate) fn mark(&self) -> Option<Arc<Ticket>> {
        lock(&self.recorded).clone()
    }

    /// Milliseconds from `start` to `self`.
    ///
    /// # Errors
    /// As `cuEventElapsedTime`: unrecorded or without timing, not done yet.
    pub(crate) fn since(&self, start: &Event) -> Answer<f32> {
        if (self.flags | start.flags) & CU_EVENT_DISABLE_TIMING != 0 {
            return Err(CUDA_ERROR_INVALID_HANDLE);
        }
        let (Some(from), Some(to)) = (start.mark(), self.mark()) else {
            return Err(CUDA_ERROR_INVALID_HANDLE);
        };
        let (Some(from), Some(to)) = (from.time(), to.time()) else {
            return Err(CUDA_ERROR_NOT_READY);
        };
        let seconds = match to.checked_duration_since(from) {
            Some(later) => later.as_secs_f64(),
            None => -from.duration_since(to).as_secs_f64(),
        };
        Ok((seconds * 1e3) as f32)
    }
}
