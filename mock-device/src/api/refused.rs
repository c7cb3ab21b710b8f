//! What real programs probe for and the mock does not have: the answer is
//! `CUDA_ERROR_NOT_SUPPORTED`. Everything else that is missing is not
//! exported at all.

use cuda_abi::driver::result::*;

use crate::call::exports;

exports! {
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
