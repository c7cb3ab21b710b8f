//! The last error of each thread, and the words for errors.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::cell::Cell;
use core::ffi::c_char;

use cuda_abi::runtime::{CudaError, cudaErrorNotReady, cudaSuccess};

use crate::export::Answer;

thread_local! {
    static LAST: Cell<CudaError> = const { Cell::new(cudaSuccess) };
}

/// A function's answer; it becomes the thread's last error.
///
/// "Not ready" is an answer to a query, not an error, and success leaves an older error standing.
pub(crate) fn finish(answer: Answer) -> CudaError {
    match answer {
        Ok(()) => cudaSuccess,
        Err(error) => {
            if error != cudaErrorNotReady {
                LAST.set(error);
            }
            error
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetLastError() -> CudaError {
    LAST.replace(cudaSuccess)
}

#[unsafe(no_mangle)]
extern "C" fn cudaPeekAtLastError() -> CudaError {
    LAST.get()
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetErrorName(error: CudaError) -> *const c_char {
    error
        .name_c()
        .unwrap_or(c"unrecognized error code")
        .as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn cudaGetErrorString(error: CudaError) -> *const c_char {
    error
        .text_c()
        .unwrap_or(c"unrecognized error code")
        .as_ptr()
}

/// The thread's last error, left standing.
pub(crate) fn last() -> CudaError {
    LAST.get()
}
