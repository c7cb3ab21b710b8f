//! Streams of the API, and which one a handle means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use cuda_abi::driver::CUlaunchAttributeValue;
use cuda_abi::driver::result::*;

use crate::call::Answer;
use crate::context::Context;
use crate::driver::Driver;
use crate::handles::Handle;
use crate::schedule::{Lane, Ticket};
use crate::sync::lock;
use crate::thread;

/// How a stream stands to the legacy default stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is the legacy default stream: waits for all blocking streams.
    Legacy,
    /// Waits for the legacy default stream, and the other way round.
    Blocking,
    /// Has nothing to do with it.
    NonBlocking,
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) handle: Handle,
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) flags: u32,
    pub(crate) priority: i32,
    pub(crate) lane: Arc<Lane>,
    context: Weak<Context>,
    generation: u64,
    last: Mutex<Option<Arc<Ticket>>>,
    /// Hints that a program sets and may ask for: they change nothing.
    attributes: Mutex<HashMap<u32, CUlaunchAttributeValue>>,
}

/// Attributes that streams have: access policy window, synchronisation
/// policy, priority, memory domain map and memory domain.
const ATTRIBUTES: [u32; 5] = [1, 3, 8, 9, 10];
const PRIORITY: u32 = 8;

type DeviceWork = Box<dyn FnOnce(&Arc<Context>) -> Answer + Send>;
type OtherWork = Box<dyn FnOnce(&Arc<Context>) + Send>;

/// What an entry of a stream does.
pub(crate) enum Work {
    /// Device work: skipped in a poisoned context; its error poisons.
    Device(DeviceWork),
    /// Runs in any case (callbacks learn the error by themselves).
    Always(OtherWork),
    /// Marks a place in the stream.
    Nothing,
}

impl Work {
    /// Device work.
    pub(crate) fn device(work: impl FnOnce(&Arc<Context>) -> Answer + Send + 'static) -> Work {
        Work::Device(Box::new(work))
    }

    /// Does it.
    pub(crate) fn run(self, context: &Arc<Context>) {
        match self {
            Work::Device(work) => {
                if context.check().is_ok()
                    && let Err(code) = work(context)
                {
                    context.poison(code);
                }
            }
            Work::Always(work) => work(context),
            Work::Nothing => (),
        }
    }
}

impl Stream {
    pub(crate) fn new(
        driver: &Driver,
        context: &Arc<Context>,
        handle: Handle,
        kind: Kind,
        flags: u32,
        priority: i32,
    ) -> Stream {
        Stream {
            handle,
            id: driver.next_id(),
            kind,
            flags,
            priority,
            lane: Arc::default(),
            context: Arc::downgrade(context),
            generation: context.generation(),
            last: Mutex::new(None),
            attributes: Mutex::default(),
        }
    }

    /// The ticket of the work accepted last.
    pub(crate) fn last(&self) -> Option<Arc<Ticket>> {
        lock(&self.last).clone()
    }

    /// Notes the work accepted last. Under the context's order.
    pub(crate) fn set_last(&self, ticket: Arc<Ticket>) {
        *lock(&self.last) = Some(ticket);
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// `CUDA_ERROR_INVALID_VALUE` for one that streams do not have.
    pub(crate) fn set_attribute(&self, attribute: u32, value: CUlaunchAttributeValue) -> Answer {
        if !ATTRIBUTES.contains(&attribute) || attribute == PRIORITY {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        lock(&self.attributes).insert(attribute, value);
        Ok(())
    }

    /// Reads an attribute.
    ///
    /// # Errors
    /// As [`Stream::set_attribute`].
    pub(crate) fn attribute(&self, attribute: u32) -> Answer<CUlaunchAttributeValue> {
        if !ATTRIBUTES.contains(&attribute) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let mut value = CUlaunchAttributeValue::ZERO;
        if attribute == PRIORITY {
            value.set_word(0, self.priority as u32);
            return Ok(value);
        }
        let attributes = lock(&self.attributes);
        Ok(attributes.get(&attribute).copied().unwrap_or(value))
    }

    /// Takes over another stream's attributes.
    pub(crate) fn copy_attributes(&self, from: &Stream) {
        let attributes = lock(&from.attributes).clone();
        *lock(&self.attributes) = attributes;
    }

    /// The context it was made in.
    ///
    /// # Errors
    /// `CUDA_ERROR_CONTEXT_IS_DESTROYED` when that is gone.
    pub(crate) fn context(&self) -> Answer<Arc<Context>> {
        self.context
            .upgrade()
            .filter(|c| !c.is_destroyed() && c.generation() == self.generation)
            .ok_or(CUDA_ERROR_CONTEXT_IS_DESTROYED)
    }

    /// Whether everything accepted is done.
    pub(crate) fn is_idle(&self) -> bool {
        self.last().is_none_or(|ticket| ticket.is_done())
    }
}

/// The stream that a handle means, with its context: 0 is the default stream
/// of the calling function's variant, 1 the legacy and 2 the per-thread one.
///
/// # Errors
/// `CUDA_ERROR_INVALID_HANDLE`, and those of the context, poisoned included.
pub(crate) fn resolve(
    driver: &Driver,
    handle: Handle,
    per_thread: bool,
) -> Answer<(Arc<Context>, Arc<Stream>)> {
    let found = resolve_any(driver, handle, per_thread)?;
    found.0.check()?;
    Ok(found)
}

/// As [`resolve`], for queries that a poisoned context answers too.
pub(crate) fn resolve_any(
    driver: &Driver,
    handle: Handle,
    per_thread: bool,
) -> Answer<(Arc<Context>, Arc<Stream>)> {
    if handle > 2 {
        let stream = driver.handles.get::<Stream>(handle)?;
        return Ok((stream.context()?, stream));
    }
    let context = thread::alive()?;
    let stream = if handle == 2 || (handle == 0 && per_thread) {
        context.per_thread(driver)
    } else {
        context.legacy(driver)
    };
    Ok((context, stream))
}
