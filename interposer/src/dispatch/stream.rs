//! Streams: identity, attributes, and functions of the application in stream order.

use cuda_abi::driver::{CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_INVALID_VALUE, CUDA_SUCCESS};

use super::{Call, generic, generic_forward};
use crate::callbacks::{self, Request};
use crate::driver;
use crate::guest;
use crate::handles::{Kind, Real, Virtual};
use crate::threads;

/// `cuStreamGetCtx` and `_v2`; green contexts are refused, so there never is one.
pub(crate) fn context(call: &Call) -> u32 {
    if call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let stream = match call.real(0, Kind::Stream) {
        Ok(stream) => stream,
        Err(status) => return status,
    };
    let (mut context, mut green) = (0u64, 0u64);
    let status = call.driver(&[stream, driver::out(&mut context), driver::out(&mut green)]);
    if status == CUDA_SUCCESS.0 {
        let handle = call
            .session
            .recorder()
            .find(Kind::Context, Real::from_driver(context));
        guest::write(
            call.arg(1),
            handle.or_else(threads::current).map_or(0, Virtual::bits),
        );
        if call.arg(2) != 0 {
            guest::write(call.arg(2), 0u64);
        }
    }
    status
}

/// `cuStreamGetId`: the driver's numbers would change with a restart; the handle is as unique.
pub(crate) fn id(call: &Call) -> u32 {
    if call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let bits = call.arg(0);
    let id = if bits <= 2 {
        threads::current().map(|context| context.bits() << 2 | bits)
    } else {
        call.real(0, Kind::Stream).ok().map(|_| bits)
    };
    match id {
        Some(id) => {
            guest::write(call.arg(1), id);
            CUDA_SUCCESS.0
        }
        None => CUDA_ERROR_INVALID_HANDLE.0,
    }
}

/// `cuStreamDestroy`: what it was given goes on.
pub(crate) fn destroy(call: &Call) -> u32 {
    let handle = Virtual::from_application(call.arg(0));
    if let Some(stream) = handle.and_then(|handle| call.session.handles.real(handle)) {
        call.session.orphans.tidy(call.session);
        call.session.orphans.note(call.session, stream.bits());
    }
    let _ending = call.session.endings.end();
    generic(call)
}

/// `cuStreamCopyAttributes`: destination, source.
pub(crate) fn copy_attributes(call: &Call) -> u32 {
    let status = generic_forward(call);
    if status == CUDA_SUCCESS.0
        && let (Some(to), Some(from)) = (
            Virtual::from_application(call.arg(0)),
            Virtual::from_application(call.arg(1)),
        )
    {
        call.session.recorder().copy_states(from, to);
    }
    status
}

/// `cuLaunchHostFunc` and `_v2`: stream, function, user data, and the second's mode.
pub(crate) fn host_func(call: &Call) -> u32 {
    add(
        call,
        callbacks::run_host as extern "C" fn(u64) as usize as u64,
    )
}

/// `cuStreamAddCallback`: stream, function, user data, flags.
pub(crate) fn add_callback(call: &Call) -> u32 {
    add(
        call,
        callbacks::run_stream as extern "C" fn(u64, u32, u64) as usize as u64,
    )
}

fn add(call: &Call, ours: u64) -> u32 {
    if call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let stream = match call.real(0, Kind::Stream) {
        Ok(stream) => stream,
        Err(status) => return status,
    };
    let request = Request {
        function: call.arg(1),
        data: call.arg(2),
        stream: call.arg(0),
    };
    let data = callbacks::lend(request);
    let status = call.driver(&[stream, ours, data, call.arg(3)]);
    if status != CUDA_SUCCESS.0 {
        drop(callbacks::take_back(data));
    }
    status
}
