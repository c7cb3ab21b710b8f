//! The exported C functions of the driver API, one file a subject.
//!
//! Each is a row of a table (see `call::exports!`): it turns what C passes
//! into Rust values, calls the inside, and stores results. Nothing is decided
//! here that a second caller would need.

#![allow(
    unsafe_code,
    reason = "exports C functions, which are given bare pointers"
)]

mod context;
mod copy;
mod device;
mod entry;
mod event;
mod function;
mod host;
mod launch;
mod library;
mod link;
mod managed;
mod memory;
mod module;
mod occupancy;
mod pointer;
mod pool;
mod refused;
mod set;
mod stream;
mod virtual_memory;

use cuda_abi::driver::result::CUDA_ERROR_INVALID_VALUE;

use crate::call::{Answer, Export};

/// Every table.
pub(crate) const TABLES: &[&[Export]] = &[
    context::EXPORTS,
    copy::EXPORTS,
    device::EXPORTS,
    entry::EXPORTS,
    event::EXPORTS,
    function::EXPORTS,
    host::EXPORTS,
    launch::EXPORTS,
    library::EXPORTS,
    link::EXPORTS,
    managed::EXPORTS,
    memory::EXPORTS,
    module::EXPORTS,
    occupancy::EXPORTS,
    pointer::EXPORTS,
    pool::EXPORTS,
    refused::EXPORTS,
    set::EXPORTS,
    stream::EXPORTS,
    virtual_memory::EXPORTS,
];

/// Stores a result.
fn put<T>(at: *mut T, value: T) -> Answer {
    if at.is_null() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: the API's caller passes a place for the result.
    unsafe { at.write(value) };
    Ok(())
}

/// Stores a result if it is asked for.
fn put_if<T>(at: *mut T, value: T) {
    if !at.is_null() {
        // SAFETY: the API's caller passes a place for the result.
        unsafe { at.write(value) };
    }
}

/// Checks that there is a place for a result before anything is done.
fn wanted<T>(at: *mut T) -> Answer {
    if at.is_null() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    Ok(())
}

/// Reads a value that the caller points to.
fn get<T: Copy>(at: *const T) -> Answer<T> {
    if at.is_null() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: the API's caller points to a value.
    Ok(unsafe { at.read() })
}

/// Reads `count` values that the caller points to.
fn get_all<T: Copy>(at: *const T, count: usize) -> Answer<Vec<T>> {
    if count > 0 && at.is_null() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: the API's caller points to that many values.
    Ok((0..count).map(|i| unsafe { at.add(i).read() }).collect())
}

/// Reads a name; names that are no UTF-8 are found nowhere.
fn name(at: *const std::ffi::c_char) -> Answer<String> {
    if at.is_null() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: the API's caller points to a string that ends with NUL.
    let text = unsafe { std::ffi::CStr::from_ptr(at) };
    Ok(text.to_string_lossy().into_owned())
}

/// Stores a text with its NUL, cut to fit.
fn put_text(at: *mut std::ffi::c_char, size: i32, text: &str) -> Answer {
    let size = usize::try_from(size).unwrap_or(0);
    if at.is_null() || size == 0 {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    let count = text.len().min(size - 1);
    // SAFETY: the API's caller passes a buffer of `size` bytes.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), at.cast(), count) };
    // SAFETY: as above; the last byte written is within the buffer.
    unsafe { at.add(count).write(0) };
    Ok(())
}
