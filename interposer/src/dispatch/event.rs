//! Events, and times that stay plausible across a restart.
//!
//! An event that was recorded before a checkpoint has no record in the new driver. A checkpoint
//! therefore notes how long before it each event was, and a restart records one base event a
//! context; times between old and new events count through the two, without the time in between.

use std::sync::atomic::Ordering;

use cuda_abi::driver::{CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_INVALID_VALUE, CUDA_SUCCESS};

use super::{Call, generic, generic_forward};
use crate::driver::{self, out};
use crate::guest;
use crate::handles::{Kind, Virtual};
use crate::session::Session;
use crate::table::ids;
use crate::threads;

/// `CU_EVENT_INTERPROCESS`
const INTERPROCESS: u64 = 4;

/// An event's note: in the two lowest bits, whether it was recorded; above them, its context.
const STATE: u64 = 3;

/// Recorded in this life.
pub(crate) const RECORDED: u64 = 1;

/// Last recorded in an earlier life.
pub(crate) const PAST: u64 = 2;

/// Whether an event was recorded, and when.
pub(crate) fn state_of(session: &Session, event: Virtual) -> u64 {
    session
        .handles
        .note(event)
        .map_or(0, |note| note.load(Ordering::Acquire) & STATE)
}

/// Says whether an event was recorded; what was known before.
pub(crate) fn set_state(session: &Session, event: Virtual, state: u64) -> u64 {
    let Some(note) = session.handles.note(event) else {
        return 0;
    };
    let before = note.load(Ordering::Acquire);
    if before & STATE != state {
        note.store(before & !STATE | state, Ordering::Release);
    }
    before & STATE
}

/// The context of an event, which [`set_context`] noted when it was made.
pub(crate) fn context_of(session: &Session, event: Virtual) -> Option<Virtual> {
    let note = session.handles.note(event)?.load(Ordering::Acquire);
    Some(Virtual::from_short(Kind::Context, note >> 2))
}

/// Notes the context of an event that is new, or back.
pub(crate) fn set_context(session: &Session, event: Virtual, context: Virtual) {
    if let Some(note) = session.handles.note(event) {
        note.store(context.short() << 2, Ordering::Release);
    }
}

/// `cuEventCreate`
pub(crate) fn create(call: &Call) -> u32 {
    if call.arg(1) & INTERPROCESS != 0 {
        return call.refuse("events shared between processes are not recorded");
    }
    let status = generic(call);
    if status == CUDA_SUCCESS.0
        && let Some(event) = Virtual::from_application(guest::read(call.arg(0)))
        && let Some(context) = threads::current()
    {
        set_context(call.session, event, context);
    }
    status
}

/// `cuEventDestroy`
pub(crate) fn destroy(call: &Call) -> u32 {
    generic(call)
}

/// `cuEventRecord`
pub(crate) fn record(call: &Call) -> u32 {
    let status = generic_forward(call);
    if status == CUDA_SUCCESS.0
        && let Some(handle) = Virtual::from_application(call.arg(0))
        && set_state(call.session, handle, RECORDED) == PAST
    {
        call.session.recorder().clock.past.remove(&handle);
    }
    status
}

/// Milliseconds from the restart's base event to an event of this life.
fn since_base(base: u64, event: u64) -> Result<f64, u32> {
    let mut time = 0f32;
    let status = driver::call(ids::cuEventElapsedTime, &[out(&mut time), base, event]);
    if status == CUDA_SUCCESS.0 {
        Ok(f64::from(time))
    } else {
        Err(status)
    }
}

/// `cuEventElapsedTime`: result, start, end.
pub(crate) fn elapsed(call: &Call) -> u32 {
    let handles = [
        Virtual::from_application(call.arg(1)),
        Virtual::from_application(call.arg(2)),
    ];
    let note = |handle: Option<Virtual>| handle.map_or(0, |handle| state_of(call.session, handle));
    if handles.iter().all(|&handle| note(handle) != PAST) {
        return generic(call);
    }
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let mut times = [0f64; 2];
    for (index, handle) in handles.into_iter().enumerate() {
        let Some(handle) = handle else {
            return CUDA_ERROR_INVALID_HANDLE.0;
        };
        // Milliseconds relative to the restart, negative before it.
        times[index] = match note(Some(handle)) {
            PAST => match call.session.recorder().clock.past.get(&handle) {
                Some(before) => -before,
                None => return CUDA_ERROR_INVALID_HANDLE.0,
            },
            RECORDED => {
                let context = context_of(call.session, handle);
                let base = context
                    .and_then(|context| call.session.recorder().clock.bases.get(&context).copied());
                let both = base.zip(call.real(1 + index, Kind::Event).ok());
                let Some((base, event)) = both else {
                    return CUDA_ERROR_INVALID_HANDLE.0;
                };
                match since_base(base, event) {
                    Ok(time) => time,
                    Err(status) => return status,
                }
            }
            _ => return CUDA_ERROR_INVALID_HANDLE.0,
        };
    }
    guest::write(call.arg(0), (times[1] - times[0]) as f32);
    CUDA_SUCCESS.0
}
