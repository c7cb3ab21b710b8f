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
use crate::table::ids;

/// `CU_EVENT_INTERPROCESS`
const INTERPROCESS: u64 = 4;

/// A bit of an event's note: recorded in this life.
pub(crate) const RECORDED: u64 = 1;
/// A bit of an event's note: last recorded in an earlier life.
pub(crate) const PAST: u64 = 2;

/// `cuEventCreate`
pub(crate) fn create(call: &Call) -> u32 {
    if call.arg(1) & INTERPROCESS != 0 {
        return call.refuse("events shared between processes are not recorded");
    }
    generic(call)
}

/// `cuEventDestroy`
pub(crate) fn destroy(call: &Call) -> u32 {
    let was = Virtual::from_application(call.arg(0));
    let past = was
        .and_then(|handle| call.session.handles.note(handle))
        .is_some_and(|n| n.load(Ordering::Relaxed) == PAST);
    let status = generic(call);
    if let (CUDA_SUCCESS, true, Some(handle)) = (cuda_abi::driver::CUresult(status), past, was) {
        call.session.recorder().clock.past.remove(&handle);
    }
    status
}

/// `cuEventRecord`
pub(crate) fn record(call: &Call) -> u32 {
    let status = generic_forward(call);
    if status == CUDA_SUCCESS.0
        && let Some(handle) = Virtual::from_application(call.arg(0))
        && let Some(note) = call.session.handles.note(handle)
        && note.swap(RECORDED, Ordering::AcqRel) == PAST
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
    let note = |handle: Option<Virtual>| {
        handle
            .and_then(|h| call.session.handles.note(h))
            .map_or(0, |n| n.load(Ordering::Acquire))
    };
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
                let base = call.session.recorder().clock.base_of(handle);
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
