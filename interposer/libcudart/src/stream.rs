//! Streams. A runtime stream is the driver's, and so are the two default ones.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_int, c_uint, c_void};

use cuda_abi::driver::*;
use cuda_abi::runtime::cudaErrorInvalidValue;

use crate::context::bind;
use crate::export::Out;

/// The calling thread's default stream.
pub(crate) const PER_THREAD: CUstream =
    core::ptr::without_provenance_mut(CU_STREAM_PER_THREAD_HANDLE as usize);

/// How a call that does work ends.
#[derive(Clone, Copy)]
pub(crate) enum WhenDone {
    /// On the legacy default stream, with the driver's own waiting.
    Wait,
    /// On the calling thread's default stream, waiting for it.
    WaitPerThread,
    /// On a stream, not waiting.
    Queue(CUstream),
}

export! {
    fn cudaStreamCreate(stream: Out<CUstream>) {
        stream.check()?;
        bind()?.stream_create(stream.pointer(), CU_STREAM_DEFAULT)
    }

    fn cudaStreamCreateWithFlags(stream: Out<CUstream>, flags: c_uint) {
        stream.check()?;
        bind()?.stream_create(stream.pointer(), flags)
    }

    fn cudaStreamCreateWithPriority(stream: Out<CUstream>, flags: c_uint, priority: c_int) {
        stream.check()?;
        bind()?.stream_create_with_priority(stream.pointer(), flags, priority)
    }

    fn cudaStreamDestroy(stream: CUstream) {
        bind()?.stream_destroy(stream)
    }
}

export_on_stream! {
    fn cudaStreamSynchronize, cudaStreamSynchronize_ptsz(stream: CUstream) on stream {
        bind()?.stream_synchronize(stream)
    }

    fn cudaStreamQuery, cudaStreamQuery_ptsz(stream: CUstream) on stream {
        bind()?.stream_query(stream)
    }

    fn cudaStreamWaitEvent, cudaStreamWaitEvent_ptsz(
        stream: CUstream,
        event: CUevent,
        flags: c_uint,
    ) on stream {
        bind()?.stream_wait_event(stream, event, flags)
    }

    fn cudaStreamAddCallback, cudaStreamAddCallback_ptsz(
        stream: CUstream,
        callback: CUstreamCallback,
        data: *mut c_void,
        flags: c_uint,
    ) on stream {
        if callback.is_none() {
            return Err(cudaErrorInvalidValue);
        }
        // A runtime callback takes an error where the driver's takes a result: the same numbers.
        bind()?.stream_add_callback(stream, callback, data, flags)
    }

    fn cudaStreamGetFlags, cudaStreamGetFlags_ptsz(stream: CUstream, flags: Out<c_uint>) on stream {
        flags.check()?;
        bind()?.stream_get_flags(stream, flags.pointer())
    }

    fn cudaStreamGetPriority, cudaStreamGetPriority_ptsz(
        stream: CUstream,
        priority: Out<c_int>,
    ) on stream {
        priority.check()?;
        bind()?.stream_get_priority(stream, priority.pointer())
    }

    fn cudaStreamGetId, cudaStreamGetId_ptsz(stream: CUstream, id: Out<u64>) on stream {
        id.check()?;
        bind()?.stream_get_id(stream, id.pointer())
    }

    fn cudaStreamGetDevice, cudaStreamGetDevice_ptsz(
        stream: CUstream,
        device: Out<CUdevice>,
    ) on stream {
        device.check()?;
        bind()?.stream_get_device(stream, device.pointer())
    }

    fn cudaStreamIsCapturing, cudaStreamIsCapturing_ptsz(
        stream: CUstream,
        status: Out<CUstreamCaptureStatus>,
    ) on stream {
        status.check()?;
        bind()?.stream_is_capturing(stream, status.pointer())
    }

    fn cudaStreamGetAttribute, cudaStreamGetAttribute_ptsz(
        stream: CUstream,
        attribute: CUlaunchAttributeID,
        value: Out<CUlaunchAttributeValue>,
    ) on stream {
        value.check()?;
        bind()?.stream_get_attribute(stream, attribute, value.pointer())
    }

    fn cudaStreamSetAttribute, cudaStreamSetAttribute_ptsz(
        stream: CUstream,
        attribute: CUlaunchAttributeID,
        value: *const CUlaunchAttributeValue,
    ) on stream {
        bind()?.stream_set_attribute(stream, attribute, value)
    }

    fn cudaStreamCopyAttributes, cudaStreamCopyAttributes_ptsz(
        dst: CUstream,
        src: CUstream,
    ) on dst {
        bind()?.stream_copy_attributes(dst, src)
    }
}
