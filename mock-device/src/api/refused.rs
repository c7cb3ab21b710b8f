//! What real programs probe for and the mock does not have: the answer is
//! `CUDA_ERROR_NOT_SUPPORTED`. Everything else that is missing is not
//! exported at all.

use cuda_abi::driver::result::*;

use super::{put, wanted};
use crate::call::exports;
use crate::driver::alive;

exports! {
    11020 "cuDeviceGetDefaultMemPool" fn cuDeviceGetDefaultMemPool(out: *mut u64, device: i32) {
        alive()?.device(device)?;
        put(out, 0)?;
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
    11020 "cuDeviceGetMemPool" fn cuDeviceGetMemPool(out: *mut u64, device: i32) {
        alive()?.device(device)?;
        put(out, 0)?;
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
    11020 "cuMemAllocAsync"
    fn cuMemAllocAsync | cuMemAllocAsync_ptsz [_per_thread] (out: *mut u64, _size: usize, _stream: u64) {
        wanted(out)?;
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
    11020 "cuMemFreeAsync"
    fn cuMemFreeAsync | cuMemFreeAsync_ptsz [_per_thread] (_address: u64, _stream: u64) {
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
    10010 "cuStreamBeginCapture"
    fn cuStreamBeginCapture_v2 | cuStreamBeginCapture_v2_ptsz [_per_thread] (_stream: u64, _mode: u32) {
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
    4010 "cuIpcGetMemHandle" fn cuIpcGetMemHandle(_out: *mut u8, _address: u64) {
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
    4010 "cuIpcGetEventHandle" fn cuIpcGetEventHandle(_out: *mut u8, _event: u64) {
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
}
