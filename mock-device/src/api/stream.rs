//! Streams: creation, queries, order, callbacks and host functions.

use std::ffi::c_void;
use std::sync::Arc;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{get, put, put_if, wanted};
use crate::call::{Answer, exports};
use crate::context::Context;
use crate::device::PRIORITIES;
use crate::driver::alive;
use crate::event::Event;
use crate::handles::Handle;
use crate::stream::{Kind, Stream, Work, resolve, resolve_any};
use crate::thread;

fn create(out: *mut Handle, flags: u32, priority: i32) -> Answer {
    wanted(out)?;
    let driver = alive()?;
    let context = thread::current()?;
    if flags & !CU_STREAM_NON_BLOCKING != 0 {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    // Priorities out of range are clamped, as documented.
    let priority = priority.clamp(PRIORITIES.1, PRIORITIES.0);
    put(out, context.create_stream(driver, flags, priority)?)
}

fn destroy(handle: Handle) -> Answer {
    let driver = alive()?;
    if handle <= 2 {
        return Err(CUDA_ERROR_INVALID_HANDLE);
    }
    let stream = driver.handles.remove::<Stream>(handle)?;
    if let Ok(context) = stream.context() {
        context.destroy_stream(&stream);
    }
    Ok(())
}

fn in_stream(handle: Handle, per_thread: bool, work: Work) -> Answer {
    let (context, stream) = resolve(alive()?, handle, per_thread)?;
    context.submit(&stream, Vec::new(), work, false);
    Ok(())
}

/// What the program passes to its callback, to carry to another thread.
struct UserData(*mut c_void);

// SAFETY: only the program knows what it points to, and it passed it to be
// used on the driver's thread.
unsafe impl Send for UserData {}

impl UserData {
    fn into_inner(self) -> *mut c_void {
        self.0
    }
}

fn host_function(function: CUhostFn, data: *mut c_void, lane: (Handle, bool)) -> Answer {
    let function = function.ok_or(CUDA_ERROR_INVALID_VALUE)?;
    let data = UserData(data);
    let work = Work::device(move |_: &Arc<Context>| {
        let data = data.into_inner();
        // SAFETY: the program's function with the program's argument.
        thread::as_callback(|| unsafe { function(data) });
        Ok(())
    });
    in_stream(lane.0, lane.1, work)
}

fn wait_event(handle: Handle, event: Handle, flags: u32, per_thread: bool) -> Answer {
    let driver = alive()?;
    let (context, stream) = resolve(driver, handle, per_thread)?;
    if flags & !CU_EVENT_WAIT_EXTERNAL != 0 {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    let event = driver.handles.get::<Event>(event)?;
    event.context()?;
    if let Some(mark) = event.mark().filter(|m| !m.is_done()) {
        context.submit(&stream, vec![mark], Work::Nothing, false);
    }
    Ok(())
}

/// No stream ever captures; everything else stays unwritten, as documented.
fn not_capturing(handle: Handle, per_thread: bool, status: *mut u32) -> Answer {
    resolve_any(alive()?, handle, per_thread)?;
    put(status, CU_STREAM_CAPTURE_STATUS_NONE)
}

exports! {
    2000 "cuStreamCreate" fn cuStreamCreate(out: *mut Handle, flags: u32) {
        create(out, flags, 0)
    }
    5050 "cuStreamCreateWithPriority"
    fn cuStreamCreateWithPriority(out: *mut Handle, flags: u32, priority: i32) {
        create(out, flags, priority)
    }
    2000 "cuStreamDestroy" fn cuStreamDestroy(stream: Handle) { destroy(stream) }
    4000 "cuStreamDestroy" fn cuStreamDestroy_v2(stream: Handle) { destroy(stream) }
    2000 "cuStreamQuery" fn cuStreamQuery | cuStreamQuery_ptsz [per_thread] (handle: Handle) {
        let (context, stream) = resolve(alive()?, handle, per_thread)?;
        let idle = match stream.kind {
            Kind::Legacy => context.legacy_is_idle(),
            _ => stream.is_idle(),
        };
        if idle {
            return context.check();
        }
        Err(CUDA_ERROR_NOT_READY)
    }
    2000 "cuStreamSynchronize"
    fn cuStreamSynchronize | cuStreamSynchronize_ptsz [per_thread] (handle: Handle) {
        let (context, stream) = resolve(alive()?, handle, per_thread)?;
        match stream.kind {
            // An empty entry waits for whatever the default stream waits for.
            Kind::Legacy => context.submit(&stream, Vec::new(), Work::Nothing, true).wait(),
            _ => stream.last().iter().for_each(|last| last.wait()),
        }
        context.check()
    }
    3020 "cuStreamWaitEvent"
    fn cuStreamWaitEvent | cuStreamWaitEvent_ptsz [per_thread] (stream: Handle, event: Handle, flags: u32) {
        wait_event(stream, event, flags, per_thread)
    }
    5000 "cuStreamAddCallback"
    fn cuStreamAddCallback | cuStreamAddCallback_ptsz [per_thread]
    (handle: Handle, callback: CUstreamCallback, data: *mut c_void, flags: u32) {
        let callback = callback.ok_or(CUDA_ERROR_INVALID_VALUE)?;
        if flags != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        let data = UserData(data);
        in_stream(handle, per_thread, Work::Always(Box::new(move |context| {
            let status = context.check().err().unwrap_or(CUDA_SUCCESS);
            let data = data.into_inner();
            let stream = std::ptr::without_provenance_mut(handle as usize);
            // SAFETY: the program's function with the program's arguments.
            thread::as_callback(|| unsafe { callback(stream, status, data) });
        })))
    }
    10000 "cuLaunchHostFunc"
    fn cuLaunchHostFunc | cuLaunchHostFunc_ptsz [per_thread]
    (stream: Handle, function: CUhostFn, data: *mut c_void) {
        host_function(function, data, (stream, per_thread))
    }
    5050 "cuStreamGetPriority"
    fn cuStreamGetPriority | cuStreamGetPriority_ptsz [per_thread] (handle: Handle, out: *mut i32) {
        put(out, resolve_any(alive()?, handle, per_thread)?.1.priority)
    }
    5050 "cuStreamGetFlags"
    fn cuStreamGetFlags | cuStreamGetFlags_ptsz [per_thread] (handle: Handle, out: *mut u32) {
        put(out, resolve_any(alive()?, handle, per_thread)?.1.flags)
    }
    12000 "cuStreamGetId"
    fn cuStreamGetId | cuStreamGetId_ptsz [per_thread] (handle: Handle, out: *mut u64) {
        put(out, resolve_any(alive()?, handle, per_thread)?.1.id)
    }
    9020 "cuStreamGetCtx"
    fn cuStreamGetCtx | cuStreamGetCtx_ptsz [per_thread] (handle: Handle, out: *mut Handle) {
        put(out, resolve_any(alive()?, handle, per_thread)?.0.handle)
    }
    12050 "cuStreamGetCtx"
    fn cuStreamGetCtx_v2 | cuStreamGetCtx_v2_ptsz [per_thread]
    (handle: Handle, out: *mut Handle, green: *mut Handle) {
        put(out, resolve_any(alive()?, handle, per_thread)?.0.handle)?;
        put_if(green, 0);
        Ok(())
    }
    12080 "cuStreamGetDevice"
    fn cuStreamGetDevice | cuStreamGetDevice_ptsz [per_thread] (handle: Handle, out: *mut i32) {
        put(out, resolve_any(alive()?, handle, per_thread)?.0.device as i32)
    }
    11000 "cuStreamCopyAttributes"
    fn cuStreamCopyAttributes | cuStreamCopyAttributes_ptsz [per_thread] (to: Handle, from: Handle) {
        let driver = alive()?;
        let (context, to) = resolve(driver, to, per_thread)?;
        let (other, from) = resolve(driver, from, per_thread)?;
        if !Arc::ptr_eq(&context, &other) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        to.copy_attributes(&from);
        Ok(())
    }
    11000 "cuStreamSetAttribute"
    fn cuStreamSetAttribute | cuStreamSetAttribute_ptsz [per_thread]
    (handle: Handle, attribute: u32, value: *const CUlaunchAttributeValue) {
        let (_, stream) = resolve(alive()?, handle, per_thread)?;
        stream.set_attribute(attribute, get(value)?)
    }
    11000 "cuStreamGetAttribute"
    fn cuStreamGetAttribute | cuStreamGetAttribute_ptsz [per_thread]
    (handle: Handle, attribute: u32, out: *mut CUlaunchAttributeValue) {
        let (_, stream) = resolve(alive()?, handle, per_thread)?;
        put(out, stream.attribute(attribute)?)
    }
    10000 "cuStreamIsCapturing"
    fn cuStreamIsCapturing | cuStreamIsCapturing_ptsz [per_thread] (handle: Handle, out: *mut u32) {
        not_capturing(handle, per_thread, out)
    }
    10010 "cuStreamGetCaptureInfo"
    fn cuStreamGetCaptureInfo | cuStreamGetCaptureInfo_ptsz [per_thread]
    (handle: Handle, status: *mut u32, _id: *mut u64) {
        not_capturing(handle, per_thread, status)
    }
    11030 "cuStreamGetCaptureInfo"
    fn cuStreamGetCaptureInfo_v2 | cuStreamGetCaptureInfo_v2_ptsz [per_thread]
    (handle: Handle, status: *mut u32, _id: *mut u64, _graph: *mut Handle, _nodes: u64, _count: *mut usize) {
        not_capturing(handle, per_thread, status)
    }
    12030 "cuStreamGetCaptureInfo"
    fn cuStreamGetCaptureInfo_v3 | cuStreamGetCaptureInfo_v3_ptsz [per_thread]
    (
        handle: Handle, status: *mut u32, _id: *mut u64, _graph: *mut Handle,
        _nodes: u64, _edges: u64, _count: *mut usize,
    ) {
        not_capturing(handle, per_thread, status)
    }
    13010 "cuLaunchHostFunc"
    fn cuLaunchHostFunc_v2 | cuLaunchHostFunc_v2_ptsz [per_thread]
    (stream: Handle, function: CUhostFn, data: *mut c_void, mode: u32) {
        // Modes tell how the stream's thread waits; nothing else.
        if mode > 1 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        host_function(function, data, (stream, per_thread))
    }
    10010 "cuThreadExchangeStreamCaptureMode" fn cuThreadExchangeStreamCaptureMode(mode: *mut u32) {
        let wish = get(mode)?;
        if wish > CU_STREAM_CAPTURE_MODE_RELAXED {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        put(mode, thread::exchange_capture_mode(wish))
    }
}
