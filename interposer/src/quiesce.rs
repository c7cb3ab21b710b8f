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
        if !is_active(session, context) {
            continue;
        }
        let done = with_current(session, context, || drain_context(deadline));
        let done = done.unwrap_or_else(|status| {
            Err(DrainError::Device {
                what: "a context".into(),
                status: text(status),
            })
        });
        unless_ended(done, || is_live(session, context))?;
    }
    for (handle, stream) in session.handles.all(Kind::Stream) {
        let done = wait("a stream", deadline, || {
            driver::call(ids::cuStreamQuery, &[stream.bits()])
        });
        unless_ended(done, || session.handles.real(handle).is_some())?;
    }
    session.callbacks.set_hurry(true);
    Ok(())
}

fn is_live(session: &Session, context: Virtual) -> bool {
    session.handles.real(context).is_some() && is_active(session, context)
}

/// A call that was in the gate when it closed may end the object while it is asked: then the
/// driver's complaint is about nothing that is left. Its handle goes a moment after the object.
fn unless_ended(
    done: Result<(), DrainError>,
    is_live: impl Fn() -> bool,
) -> Result<(), DrainError> {
    const MOMENTS: u32 = 20;
    if !matches!(done, Err(DrainError::Device { .. })) {
        return done;
    }
    for _ in 0..MOMENTS {
        if !is_live() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    done
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

fn drain_context(deadline: Instant) -> Result<(), DrainError> {
    let what = "a context";
    let mut event = 0u64;
    let failed = |status| DrainError::Device {
        what: what.into(),
        status: text(status),
    };
    let status = driver::call(ids::cuEventCreate, &[out(&mut event), NO_TIMING]);
    if status != CUDA_SUCCESS.0 {
        return Err(failed(status));
    }
    let status = driver::call(ids::cuEventRecord, &[event, LEGACY]);
    let result = if status == CUDA_SUCCESS.0 {
        wait(what, deadline, || driver::call(ids::cuEventQuery, &[event]))
    } else {
        Err(failed(status))
    };
    driver::call(ids::cuEventDestroy_v2, &[event]);
    result
}

/// Asks until the answer is no longer "not ready".
fn wait(what: &str, deadline: Instant, ask: impl Fn() -> u32) -> Result<(), DrainError> {
    let mut pause = Duration::from_micros(20);
    loop {
        let status = ask();
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
