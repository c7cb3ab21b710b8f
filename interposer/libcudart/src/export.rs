//! How a function of the runtime is written: its body answers a `Result`, its pointers from the
//! application are checked, and a twin with the per-thread default stream comes for free.
#![allow(
    unsafe_code,
    reason = "writes through the application's pointers, as the API asks"
)]

use cuda_abi::driver::CUstream;
use cuda_abi::runtime::{CudaError, cudaErrorInvalidValue};

/// What a function's body gives.
pub(crate) type Answer<T = ()> = Result<T, CudaError>;

/// Exports a function, and perhaps its twin.
///
/// `fn name(args) { body }` exports `name`. `fn name, twin(args) per_thread(stream) { body }`
/// also exports `twin`, where a null `stream` means the calling thread's default stream.
macro_rules! export {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($($arg: $ty),*) -> cuda_abi::runtime::CudaError {
                #[allow(clippy::too_many_arguments, reason = "the API's arguments")]
                fn body($($arg: $ty),*) -> crate::export::Answer $body
                crate::error::finish(body($($arg),*))
            }
        )*
    };
}

/// Exports a function on a stream and its twin for per-thread default streams.
macro_rules! export_on_stream {
    ($(fn $name:ident, $twin:ident($($arg:ident: $ty:ty),* $(,)?) on $stream:ident $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($($arg: $ty),*) -> cuda_abi::runtime::CudaError {
                #[allow(clippy::too_many_arguments, reason = "the API's arguments")]
                fn body($($arg: $ty),*) -> crate::export::Answer $body
                crate::error::finish(body($($arg),*))
            }

            #[unsafe(no_mangle)]
            extern "C" fn $twin($($arg: $ty),*) -> cuda_abi::runtime::CudaError {
                #[allow(clippy::too_many_arguments, reason = "the API's arguments")]
                fn body($($arg: $ty),*) -> crate::export::Answer $body
                let $stream = crate::export::per_thread($stream);
                crate::error::finish(body($($arg),*))
            }
        )*
    };
}

/// The stream that a twin works on.
pub(crate) fn per_thread(stream: CUstream) -> CUstream {
    if stream.is_null() {
        crate::stream::PER_THREAD
    } else {
        stream
    }
}

/// A pointer from the application to a place for an answer.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes the answer; a null pointer is the application's mistake.
    pub(crate) fn set(self, value: T) -> Answer {
        if self.0.is_null() {
            return Err(cudaErrorInvalidValue);
        }
        // SAFETY: not null, and by the API's contract the application's place for a `T`.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// Writes the answer where one is wanted.
    pub(crate) fn set_if_wanted(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: as above.
            unsafe { self.0.write_unaligned(value) };
        }
    }

    /// Checks before work is done that an answer could be given.
    pub(crate) fn check(self) -> Answer {
        if self.0.is_null() {
            Err(cudaErrorInvalidValue)
        } else {
            Ok(())
        }
    }

    /// The bare pointer, for the driver.
    pub(crate) fn pointer(self) -> *mut T {
        self.0
    }
}

/// A pointer from the application to something to read.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// Reads it; a null pointer is the application's mistake.
    pub(crate) fn get(self) -> Answer<T> {
        if self.0.is_null() {
            return Err(cudaErrorInvalidValue);
        }
        // SAFETY: not null, and by the API's contract it points to a `T`.
        Ok(unsafe { self.0.read_unaligned() })
    }
}
