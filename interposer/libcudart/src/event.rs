//! Events.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::c_uint;

use cuda_abi::driver::{CU_EVENT_DEFAULT, CUevent, CUstream};

use crate::context::bind;
use crate::export::Out;

export! {
    fn cudaEventCreate(event: Out<CUevent>) {
        event.check()?;
        bind()?.event_create(event.pointer(), CU_EVENT_DEFAULT)
    }

    fn cudaEventCreateWithFlags(event: Out<CUevent>, flags: c_uint) {
        event.check()?;
        bind()?.event_create(event.pointer(), flags)
    }

    fn cudaEventQuery(event: CUevent) {
        bind()?.event_query(event)
    }

    fn cudaEventSynchronize(event: CUevent) {
        bind()?.event_synchronize(event)
    }

    fn cudaEventDestroy(event: CUevent) {
        bind()?.event_destroy(event)
    }

    fn cudaEventElapsedTime(milliseconds: Out<f32>, start: CUevent, end: CUevent) {
        milliseconds.check()?;
        bind()?.event_elapsed_time(milliseconds.pointer(), start, end)
    }

    fn cudaEventElapsedTime_v2(milliseconds: Out<f32>, start: CUevent, end: CUevent) {
        milliseconds.check()?;
        bind()?.event_elapsed_time(milliseconds.pointer(), start, end)
    }
}

export_on_stream! {
    fn cudaEventRecord, cudaEventRecord_ptsz(event: CUevent, stream: CUstream) on stream {
        bind()?.event_record(event, stream)
    }

    fn cudaEventRecordWithFlags, cudaEventRecordWithFlags_ptsz(
        event: CUevent,
        stream: CUstream,
        flags: c_uint,
    ) on stream {
        bind()?.event_record_with_flags(event, stream, flags)
    }
}
