//! Before a checkpoint: is there anything that cannot be saved, and has all device work ended?

use std::time::{Duration, Instant};

use cuda_abi::driver::{CUDA_ERROR_NOT_READY, CUDA_SUCCESS};

use crate::dispatch::context::with_current;
use crate::dispatch::text;
use crate::driver::{self, out};
use crate::handles::{Kind, Virtual};
use crate::session::{self, Session};
use crate::table::ids;

/// Something that stands in the way of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it is.
    pub object: String,
    /// Why it cannot be saved.
    pub why: String,
    /// What the user can do.
    pub advice: String,
}

/// Why the devices did not come to rest.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// Work goes on.
    #[error("device work of {what} has not ended before the deadline")]
    Deadline {
        /// Stream or context.
        what: String,
    },
    /// The device is in an error state, which cannot be saved.
    #[error("{what} is in an error state: {status}")]
    Device {
        /// Stream or context.
        what: String,
        /// The driver's answer.
        status: String,
    },
}

/// Everything that is known to stand in the way of a checkpoint. Touches nothing.
pub fn preflight() -> Vec<Refusal> {
    let Some(session) = session::get() else {
        return Vec::new();
    };
    let refuse = |why: String| Refusal {
        object: "CUDA".into(),
        why,
        advice: "see docs/api-coverage.md for what can be checkpointed".into(),
    };
    let failure = session.recorder().failure.clone();
    session
        .poisoned()
        .into_iter()
        .chain(failure)
        .map(refuse)
        .collect()
}

/// Waits until no device has work left, asking again and again, never longer than the deadline.
///
/// The gate must be closed for new work. Host callbacks go on: the application's callback thread
/// may pass the closed gate.
///
/// # Errors
/// The deadline, or a device in an error state; in both cases the job may simply go on.
pub fn drain(deadline: Instant) -> Result<(), DrainError> {
    let Some(session) = session::get() else {
        return Ok(());
    };
    for (context, _) in session.handles.all(Kind::Context) {
        drain_context(session, context, deadline)?;
    }
    for (handle, _) in session.handles.all(Kind::Stream) {
        wait(session, "a stream", deadline, || {
            let stream = session.handles.real(handle);
            stream.map_or(CUDA_SUCCESS.0, |stream| {
                driver::call(ids::cuStreamQuery, &[stream.bits()])
            })
        })?;
    }
    wait(session, "a stream that has ended", deadline, || {
        if session.orphans.done(session) {
            CUDA_SUCCESS.0
        } else {
            CUDA_ERROR_NOT_READY.0
        }
    })?;
    session.callbacks.set_hurry(true);
    Ok(())
}

pub(crate) fn is_live(session: &Session, context: Virtual) -> bool {
    session.handles.real(context).is_some() && is_active(session, context)
}

/// The checkpoint is over, or given up.
pub fn resume() {
    if let Some(session) = session::get() {
        session.callbacks.set_hurry(false);
    }
}

/// A primary context that nobody retains keeps its handle but has no life.
pub(crate) fn is_active(session: &Session, context: Virtual) -> bool {
    let contexts = session.contexts();
    contexts
        .primary
        .values()
        .all(|primary| primary.handle != context || primary.references > 0)
}

/// `CU_STREAM_LEGACY`: waits for every blocking stream of the context, the threads' default streams
/// included, which only their threads could name.
const LEGACY: u64 = 1;
/// `CU_EVENT_DISABLE_TIMING`
const NO_TIMING: u64 = 2;

fn drain_context(session: &Session, context: Virtual, deadline: Instant) -> Result<(), DrainError> {
    // An event, and how many contexts had ended when it was made.
    let mut mark: Option<(u64, usize)> = None;
    let drained = wait(session, "a context", deadline, || {
        let ends = session.endings.of_contexts();
        // A context may end between two questions, and takes the event along. Which one
        // it was is not known: at worst an event is left over in a context.
        mark = mark.filter(|&(_, then)| then == ends);
        if !is_live(session, context) {
            return CUDA_SUCCESS.0;
        }
        let made = match mark {
            Some((event, _)) => Ok(event),
            None => with_current(session, context, make_mark).and_then(|made| made),
        };
        made.map_or_else(
            |status| status,
            |made| {
                mark = Some((made, ends));
                driver::call(ids::cuEventQuery, &[made])
            },
        )
    });
    if let Some((event, then)) = mark
        && let Some(_question) = session.endings.ask(deadline.max(Instant::now() + TIDY))
        && session.endings.of_contexts() == then
    {
        driver::call(ids::cuEventDestroy_v2, &[event]);
    }
    drained
}

/// How long the end of an event of ours may wait for ends of other objects.
const TIDY: Duration = Duration::from_millis(20);

/// An event behind all work of the current context.
fn make_mark() -> Result<u64, u32> {
    let mut event = 0u64;
    let status = driver::call(ids::cuEventCreate, &[out(&mut event), NO_TIMING]);
    if status != CUDA_SUCCESS.0 {
        return Err(status);
    }
    match driver::call(ids::cuEventRecord, &[event, LEGACY]) {
        status if status == CUDA_SUCCESS.0 => Ok(event),
        status => {
            driver::call(ids::cuEventDestroy_v2, &[event]);
            Err(status)
        }
    }
}

/// Asks until the answer is no longer "not ready"; between two questions objects may end.
fn wait(
    session: &Session,
    what: &str,
    deadline: Instant,
    mut ask: impl FnMut() -> u32,
) -> Result<(), DrainError> {
    let mut pause = Duration::from_micros(20);
    loop {
        let status = match session.endings.ask(deadline) {
            Some(_question) => ask(),
            None => CUDA_ERROR_NOT_READY.0,
        };
        if status == CUDA_SUCCESS.0 {
            return Ok(());
        }
        if status != CUDA_ERROR_NOT_READY.0 {
            return Err(DrainError::Device {
                what: what.into(),
                status: text(status),
            });
        }
        if Instant::now() >= deadline {
            return Err(DrainError::Deadline { what: what.into() });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}
