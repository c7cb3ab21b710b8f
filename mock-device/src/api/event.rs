//! Events.

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{put, wanted};
use crate::call::{Answer, exports};
use crate::driver::alive;
use crate::event::Event;
use crate::handles::Handle;
use crate::stream::resolve;
use crate::thread;

fn record(event: Handle, stream: Handle, per_thread: bool) -> Answer {
    let driver = alive()?;
    let (context, stream) = resolve(driver, stream, per_thread)?;
    driver
        .handles
        .get::<Event>(event)?
        .record(&context, &stream)
}

fn destroy(event: Handle) -> Answer {
    let driver = alive()?;
    let event = driver.handles.remove::<Event>(event)?;
    if let Ok(context) = event.context() {
        context.disown_event(event.handle);
    }
    Ok(())
}

fn elapsed(out: *mut f32, start: Handle, end: Handle) -> Answer {
    let driver = alive()?;
    let start = driver.handles.get::<Event>(start)?;
    let end = driver.handles.get::<Event>(end)?;
    end.context()?.check()?;
    put(out, end.since(&start)?)
}

exports! {
    2000 "cuEventCreate" fn cuEventCreate(out: *mut Handle, flags: u32) {
        wanted(out)?;
        put(out, Event::create(alive()?, &thread::current()?, flags)?)
    }
    2000 "cuEventDestroy" fn cuEventDestroy(event: Handle) { destroy(event) }
    4000 "cuEventDestroy" fn cuEventDestroy_v2(event: Handle) { destroy(event) }
    2000 "cuEventRecord"
    fn cuEventRecord | cuEventRecord_ptsz [per_thread] (event: Handle, stream: Handle) {
        record(event, stream, per_thread)
    }
    11010 "cuEventRecordWithFlags"
    fn cuEventRecordWithFlags | cuEventRecordWithFlags_ptsz [per_thread]
    (event: Handle, stream: Handle, flags: u32) {
        if flags & !CU_EVENT_RECORD_EXTERNAL != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        record(event, stream, per_thread)
    }
    2000 "cuEventQuery" fn cuEventQuery(event: Handle) {
        let event = alive()?.handles.get::<Event>(event)?;
        event.context()?.check()?;
        if event.mark().is_none_or(|mark| mark.is_done()) {
            return event.context()?.check();
        }
        Err(CUDA_ERROR_NOT_READY)
    }
    2000 "cuEventSynchronize" fn cuEventSynchronize(event: Handle) {
        let event = alive()?.handles.get::<Event>(event)?;
        event.context()?.check()?;
        if let Some(mark) = event.mark() {
            mark.wait();
        }
        event.context()?.check()
    }
    2000 "cuEventElapsedTime"
    fn cuEventElapsedTime(out: *mut f32, start: Handle, end: Handle) { elapsed(out, start, end) }
    12080 "cuEventElapsedTime"
    fn cuEventElapsedTime_v2(out: *mut f32, start: Handle, end: Handle) { elapsed(out, start, end) }
}
