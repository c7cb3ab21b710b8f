//! Streams, events, capture and stream memory operations.
//!
//! Values as in the CUDA driver API's header and manual; checked against `cudarc` in this crate's tests.
#![allow(
    missing_docs,
    non_camel_case_types,
    reason = "each name is the driver API's own"
)]

enumeration! {
    /// `CUstream_flags` of the driver API.
    CUstream_flags: u32 as CUstream_flags_enum {
        CU_STREAM_DEFAULT = 0,
        CU_STREAM_NON_BLOCKING = 1,
    }
}

enumeration! {
    /// `CUevent_flags` of the driver API.
    CUevent_flags: u32 as CUevent_flags_enum {
        CU_EVENT_DEFAULT = 0,
        CU_EVENT_BLOCKING_SYNC = 1,
        CU_EVENT_DISABLE_TIMING = 2,
        CU_EVENT_INTERPROCESS = 4,
    }
}

enumeration! {
    /// `CUevent_record_flags` of the driver API.
    CUevent_record_flags: u32 as CUevent_record_flags_enum {
        CU_EVENT_RECORD_DEFAULT = 0,
        CU_EVENT_RECORD_EXTERNAL = 1,
    }
}

enumeration! {
    /// `CUevent_wait_flags` of the driver API.
    CUevent_wait_flags: u32 as CUevent_wait_flags_enum {
        CU_EVENT_WAIT_DEFAULT = 0,
        CU_EVENT_WAIT_EXTERNAL = 1,
    }
}

enumeration! {
    /// `CUstreamWaitValue_flags` of the driver API.
    CUstreamWaitValue_flags: u32 as CUstreamWaitValue_flags_enum {
        CU_STREAM_WAIT_VALUE_GEQ = 0,
        CU_STREAM_WAIT_VALUE_EQ = 1,
        CU_STREAM_WAIT_VALUE_AND = 2,
        CU_STREAM_WAIT_VALUE_NOR = 3,
        CU_STREAM_WAIT_VALUE_FLUSH = 0x40000000,
    }
}

enumeration! {
    /// `CUstreamWriteValue_flags` of the driver API.
    CUstreamWriteValue_flags: u32 as CUstreamWriteValue_flags_enum {
        CU_STREAM_WRITE_VALUE_DEFAULT = 0,
        CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER = 1,
    }
}

enumeration! {
    /// `CUstreamBatchMemOpType` of the driver API.
    CUstreamBatchMemOpType: u32 as CUstreamBatchMemOpType_enum {
        CU_STREAM_MEM_OP_WAIT_VALUE_32 = 1,
        CU_STREAM_MEM_OP_WRITE_VALUE_32 = 2,
        CU_STREAM_MEM_OP_WAIT_VALUE_64 = 4,
        CU_STREAM_MEM_OP_WRITE_VALUE_64 = 5,
        CU_STREAM_MEM_OP_BARRIER = 6,
        CU_STREAM_MEM_OP_ATOMIC_REDUCTION = 8,
        CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES = 3,
    }
}

enumeration! {
    /// `CUstreamMemoryBarrier_flags` of the driver API.
    CUstreamMemoryBarrier_flags: u32 as CUstreamMemoryBarrier_flags_enum {
        CU_STREAM_MEMORY_BARRIER_TYPE_SYS = 0,
        CU_STREAM_MEMORY_BARRIER_TYPE_GPU = 1,
    }
}

enumeration! {
    /// `CUstreamUpdateCaptureDependencies_flags` of the driver API.
    CUstreamUpdateCaptureDependencies_flags: u32 as CUstreamUpdateCaptureDependencies_flags_enum {
        CU_STREAM_ADD_CAPTURE_DEPENDENCIES = 0,
        CU_STREAM_SET_CAPTURE_DEPENDENCIES = 1,
    }
}

enumeration! {
    /// `CUstreamCaptureStatus` of the driver API.
    CUstreamCaptureStatus: u32 as CUstreamCaptureStatus_enum {
        CU_STREAM_CAPTURE_STATUS_NONE = 0,
        CU_STREAM_CAPTURE_STATUS_ACTIVE = 1,
        CU_STREAM_CAPTURE_STATUS_INVALIDATED = 2,
    }
}

enumeration! {
    /// `CUstreamCaptureMode` of the driver API.
    CUstreamCaptureMode: u32 as CUstreamCaptureMode_enum {
        CU_STREAM_CAPTURE_MODE_GLOBAL = 0,
        CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
        CU_STREAM_CAPTURE_MODE_RELAXED = 2,
    }
}

enumeration! {
    /// `CUsynchronizationPolicy` of the driver API.
    CUsynchronizationPolicy: u32 as CUsynchronizationPolicy_enum {
        CU_SYNC_POLICY_AUTO = 1,
        CU_SYNC_POLICY_SPIN = 2,
        CU_SYNC_POLICY_YIELD = 3,
        CU_SYNC_POLICY_BLOCKING_SYNC = 4,
    }
}
