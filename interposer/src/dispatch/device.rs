//! Initialisation and what is answered about devices by ourselves.

use std::sync::atomic::Ordering;

use cuda_abi::driver::{
    CUDA_ERROR_INVALID_DEVICE, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_NOT_FOUND, CUDA_SUCCESS,
};

use super::{Call, generic};
use crate::driver;
use crate::guest;
use crate::record::Op;
use crate::say::say;
use crate::table::ids;

/// `cuInit`
pub(crate) fn init(call: &Call) -> u32 {
    // A child of a fork amid this has a driver that is half initialised.
    call.session.initializing.fetch_add(1, Ordering::SeqCst);
    let status = call.driver(&[call.arg(0)]);
    call.session.initializing.fetch_sub(1, Ordering::SeqCst);
    if status == CUDA_SUCCESS.0 && !call.session.initialized.swap(true, Ordering::AcqRel) {
        call.session.recorder().root(
            0,
            Op::Init {
                flags: call.arg(0) as u32,
            },
        );
    }
    status
}

/// `CU_DEVICE_ATTRIBUTE_…` numbers of managed memory (83, 89), which the mock device alone has, and
/// of memory pools (115), of which there is less than programs on a real device may want.
const MOCKS: [u32; 3] = [83, 89, 115];

/// Capabilities of the device that this layer does not pass on yet: `CU_DEVICE_ATTRIBUTE_…` numbers
/// of VMM (102) and its handle types (103, 104, 105, 128), handle types of
/// memory pools (119), IPC events (125), unified function pointers (129),
/// multicast (132), stream memory operations (92, 93, 94, 122, 123, 124).
const HIDDEN: [u32; 15] = [
    102, 103, 104, 105, 128, 119, 125, 129, 132, 92, 93, 94, 122, 123, 124,
];

/// `cuDeviceGetAttribute`: what is refused is not advertised.
pub(crate) fn attribute(call: &Call) -> u32 {
    let status = generic(call);
    let asked = call.arg(1) as u32;
    let hidden = HIDDEN.contains(&asked) || (MOCKS.contains(&asked) && !call.session.options.mock);
    if status == CUDA_SUCCESS.0 && hidden {
        guest::write(call.arg(0), 0i32);
    }
    status
}

/// `cuDeviceCanAccessPeer`: peer access is refused, so it is not advertised.
pub(crate) fn can_access_peer(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let mut count = 0i32;
    let status = driver::call(ids::cuDeviceGetCount, &[driver::out(&mut count)]);
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    let exists = |device: u64| (0..count).contains(&(device as i32));
    if !exists(call.arg(1)) || !exists(call.arg(2)) {
        return CUDA_ERROR_INVALID_DEVICE.0;
    }
    guest::write(call.arg(0), 0i32);
    CUDA_SUCCESS.0
}

/// `cuGetExportTable`: private tables of the driver, asked for by NVIDIA's static runtime.
///
/// They are the genuine driver's to answer. The mock device has none; with a real driver the
/// pointer is handed through as it is, and the session cannot be checkpointed.
pub(crate) fn export_table(call: &Call) -> u32 {
    if call.arg(0) == 0 || call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    if call.session.options.mock {
        if call.session.static_runtime.swap(1, Ordering::Relaxed) == 0 {
            say(format_args!(
                "this program is built with NVIDIA's static runtime, which runs on NVIDIA's driver alone: \
                 build it with -cudart shared"
            ));
        }
        guest::write(call.arg(0), 0u64);
        return CUDA_ERROR_NOT_FOUND.0;
    }
    let status = call.driver(&[call.arg(0), call.arg(1)]);
    if status == CUDA_SUCCESS.0 {
        call.session.static_runtime.store(1, Ordering::Relaxed);
        call.session.poison(
            "the program uses NVIDIA's static runtime, which holds private state of the driver: build it with -cudart shared",
        );
    }
    status
}

/// Profiler control: accepted, without effect.
pub(crate) fn nothing(_: &Call) -> u32 {
    CUDA_SUCCESS.0
}
