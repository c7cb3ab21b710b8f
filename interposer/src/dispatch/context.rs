//! Contexts: created and primary, and each thread's stack of current ones.

use std::collections::HashMap;

use cuda_abi::driver::{
    CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_OUT_OF_MEMORY, CUDA_SUCCESS,
};

use super::{Call, library};
use crate::driver;
use crate::guest;
use crate::handles::{Kind, Real, Virtual};
use crate::memory;
use crate::record::Op;
use crate::session::Session;
use crate::table::ids;
use crate::threads;

/// Contexts that need more than a record.
#[derive(Default)]
pub(crate) struct Contexts {
    /// Primary contexts by device.
    pub(crate) primary: HashMap<i32, Primary>,
}

/// A device's primary context. Its handle stays the same when it is released and retained again.
#[derive(Clone)]
pub(crate) struct Primary {
    pub(crate) handle: Virtual,
    /// Retains that were not released.
    pub(crate) references: u32,
}

/// Device of a context, from its handle's note.
pub(crate) fn device_of(session: &Session, context: Virtual) -> Option<i32> {
    let note = session
        .handles
        .note(context)?
        .load(std::sync::atomic::Ordering::Relaxed);
    note.checked_sub(1).map(|device| device as i32)
}

/// Writes down the device of a context.
pub(crate) fn set_device(session: &Session, context: Virtual, device: i32) {
    if let Some(note) = session.handles.note(context) {
        note.store(device as u64 + 1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Runs `work` with a context current on the calling thread, and takes it off again.
pub(crate) fn with_current<R>(
    session: &Session,
    context: Virtual,
    work: impl FnOnce() -> R,
) -> Result<R, u32> {
    let real = session
        .handles
        .real(context)
        .ok_or(CUDA_ERROR_INVALID_CONTEXT.0)?;
    let status = driver::call(ids::cuCtxPushCurrent_v2, &[real.bits()]);
    if status != CUDA_SUCCESS.0 {
        return Err(status);
    }
    let result = work();
    let mut popped = 0u64;
    driver::call(ids::cuCtxPopCurrent_v2, &[driver::out(&mut popped)]);
    Ok(result)
}

fn made(call: &Call, real: u64, flags: u32, device: i32) -> u32 {
    let real = Real::from_driver(real);
    let Some(handle) = call.session.new_handle(Kind::Context, real) else {
        return CUDA_ERROR_OUT_OF_MEMORY.0;
    };
    set_device(call.session, handle, device);
    let op = Op::Context {
        id: call.row.id,
        handle,
        flags,
        device,
    };
    call.session.recorder().create(handle, real, &[], &op);
    threads::push(handle);
    guest::write(call.arg(0), handle.bits());
    CUDA_SUCCESS.0
}

/// `cuCtxCreate` and `cuCtxCreate_v2`
pub(crate) fn create(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let mut real = 0u64;
    let status = call.driver(&[driver::out(&mut real), call.arg(1), call.arg(2)]);
    if status != CUDA_SUCCESS.0 {
        status
    } else {
        made(call, real, call.arg(1) as u32, call.arg(2) as i32)
    }
}

/// `cuCtxCreate_v3`, without execution affinity
pub(crate) fn create_affinity(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    if call.arg(2) as i32 > 0 {
        return call.refuse("execution affinity is not recorded");
    }
    let mut real = 0u64;
    let status = call.driver(&[driver::out(&mut real), 0, 0, call.arg(3), call.arg(4)]);
    if status != CUDA_SUCCESS.0 {
        status
    } else {
        made(call, real, call.arg(3) as u32, call.arg(4) as i32)
    }
}

/// `cuCtxCreate_v4`, without parameters
pub(crate) fn create_params(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    // CUctxCreateParams: execAffinityParams, numExecAffinityParams, cigParams.
    if call.arg(1) != 0 && guest::read::<[u64; 3]>(call.arg(1)) != [0; 3] {
        return call.refuse("execution affinity and graphics sharing are not recorded");
    }
    let mut real = 0u64;
    let status = call.driver(&[driver::out(&mut real), 0, call.arg(2), call.arg(3)]);
    if status != CUDA_SUCCESS.0 {
        status
    } else {
        made(call, real, call.arg(2) as u32, call.arg(3) as i32)
    }
}

/// Everything that lived in a context is gone.
fn emptied(call: &Call, context: Virtual) {
    let session = call.session;
    let op = super::op_of(call, None);
    let dead = session.recorder().destroy(context, Some(&op));
    for handle in dead.into_iter().filter(|&handle| handle != context) {
        session.end_handle(handle);
    }
    library::context_ended(session, context);
    session.orphans.context_ended(session, context);
    memory::context_ended(session, context);
    crate::host::context_ended(session, context);
}

/// `cuCtxDestroy`
pub(crate) fn destroy(call: &Call) -> u32 {
    let real = match call.real(0, Kind::Context) {
        Ok(real) => real,
        Err(status) => return status,
    };
    let _ending = call.session.endings.end();
    let status = call.driver(&[real]);
    if status == CUDA_SUCCESS.0
        && let Some(handle) = Virtual::from_application(call.arg(0))
    {
        if threads::current() == Some(handle) {
            threads::pop();
        }
        emptied(call, handle);
        call.session.end_handle(handle);
    }
    status
}

/// `cuCtxPushCurrent`
pub(crate) fn push(call: &Call) -> u32 {
    let status = super::generic_forward(call);
    if status == CUDA_SUCCESS.0
        && let Some(handle) = Virtual::from_application(call.arg(0))
    {
        threads::push(handle);
    }
    status
}

/// `cuCtxPopCurrent`
pub(crate) fn pop(call: &Call) -> u32 {
    let mut real = 0u64;
    let status = call.driver(&[driver::out(&mut real)]);
    if status == CUDA_SUCCESS.0 {
        let handle = call
            .session
            .recorder()
            .find(Kind::Context, Real::from_driver(real));
        if call.arg(0) != 0 {
            guest::write(
                call.arg(0),
                handle.or(threads::current()).map_or(0, Virtual::bits),
            );
        }
        threads::pop();
    }
    status
}

/// `cuCtxSetCurrent`
pub(crate) fn set_current(call: &Call) -> u32 {
    let status = super::generic_forward(call);
    if status == CUDA_SUCCESS.0 {
        threads::set_current(Virtual::from_application(call.arg(0)));
    }
    status
}

/// `cuCtxGetId`: the driver's numbers would change with a restart; the handle is as unique.
pub(crate) fn id(call: &Call) -> u32 {
    if call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let context = if call.arg(0) == 0 {
        threads::current()
    } else {
        Virtual::from_application(call.arg(0))
    };
    match context.filter(|&handle| call.session.handles.real(handle).is_some()) {
        Some(handle) => {
            guest::write(call.arg(1), handle.bits());
            CUDA_SUCCESS.0
        }
        None => CUDA_ERROR_INVALID_CONTEXT.0,
    }
}

/// `cuDevicePrimaryCtxRetain`
pub(crate) fn primary_retain(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let (session, device) = (call.session, call.arg(1) as i32);
    let mut bits = 0u64;
    let status = call.driver(&[driver::out(&mut bits), call.arg(1)]);
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    let real = Real::from_driver(bits);
    let mut contexts = session.contexts();
    let handle = match contexts.primary.get(&device) {
        Some(primary) => primary.handle,
        None => {
            let Some(handle) = session.new_handle(Kind::Context, real) else {
                return CUDA_ERROR_OUT_OF_MEMORY.0;
            };
            set_device(session, handle, device);
            contexts.primary.insert(
                device,
                Primary {
                    handle,
                    references: 0,
                },
            );
            handle
        }
    };
    if session.handles.real(handle) != Some(real) {
        session.restore_handle(handle, real);
        set_device(session, handle, device);
    }
    if let Some(primary) = contexts.primary.get_mut(&device) {
        primary.references += 1;
        if primary.references == 1 {
            session
                .recorder()
                .create(handle, real, &[], &Op::Primary { device, handle });
        }
    }
    drop(contexts);
    guest::write(call.arg(0), handle.bits());
    CUDA_SUCCESS.0
}

/// `cuDevicePrimaryCtxRelease`
pub(crate) fn primary_release(call: &Call) -> u32 {
    let _ending = call.session.endings.end();
    let status = call.driver(&[call.arg(0)]);
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    let last = {
        let mut contexts = call.session.contexts();
        contexts
            .primary
            .get_mut(&(call.arg(0) as i32))
            .and_then(|primary| {
                primary.references = primary.references.saturating_sub(1);
                (primary.references == 0).then_some(primary.handle)
            })
    };
    if let Some(handle) = last {
        emptied(call, handle);
    }
    status
}

/// `cuDevicePrimaryCtxReset`: its objects end, its references stay.
pub(crate) fn primary_reset(call: &Call) -> u32 {
    let _ending = call.session.endings.end();
    let status = call.driver(&[call.arg(0)]);
    let device = call.arg(0) as i32;
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    let primary = call.session.contexts().primary.get(&device).cloned();
    if let Some(primary) = primary {
        emptied(call, primary.handle);
        if primary.references > 0
            && let Some(real) = call.session.handles.real(primary.handle)
        {
            call.session.recorder().create(
                primary.handle,
                real,
                &[],
                &Op::Primary {
                    device,
                    handle: primary.handle,
                },
            );
        }
    }
    status
}

/// `cuDevicePrimaryCtxSetFlags`
pub(crate) fn primary_set_flags(call: &Call) -> u32 {
    let status = call.driver(&[call.arg(0), call.arg(1)]);
    if status == CUDA_SUCCESS.0 {
        let op = Op::Call {
            id: call.row.id,
            context: None,
            slots: smallvec::SmallVec::from_slice(call.args),
            data: Vec::new(),
            out: None,
        };
        call.session.recorder().root(1 + call.arg(0), op);
    }
    status
}
