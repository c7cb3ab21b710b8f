//! The application's memory, as far as driver calls name it.
//!
//! Both halves share an address space, so the application's pointers are read and written directly.
//! They are trusted exactly as far as the native driver trusts them: a null pointer is checked where
//! the driver checks it, a wild one faults in the calling thread. Nothing here may keep a pointer
//! beyond the call.
#![allow(
    unsafe_code,
    reason = "reads and writes through pointers that the application passes to the driver API"
)]

/// Reads a value.
pub(crate) fn read<T: Copy>(address: u64) -> T {
    // SAFETY: by the documentation of the call, the application passes a readable T; unaligned
    // reads cover packed structures of the application.
    unsafe { std::ptr::read_unaligned(address as *const T) }
}

/// Writes a value.
pub(crate) fn write<T: Copy>(address: u64, value: T) {
    // SAFETY: by the documentation of the call, the application passes a writable T.
    unsafe { std::ptr::write_unaligned(address as *mut T, value) }
}

/// Copies bytes out.
pub(crate) fn bytes(address: u64, len: usize) -> Vec<u8> {
    // SAFETY: by the documentation of the call, `len` bytes can be read.
    unsafe { std::slice::from_raw_parts(address as *const u8, len) }.to_vec()
}

/// A C string with its terminating zero.
pub(crate) fn c_string(address: u64) -> Vec<u8> {
    // SAFETY: by the documentation of the call, a C string.
    unsafe { std::ffi::CStr::from_ptr(address as *const std::ffi::c_char) }
        .to_bytes_with_nul()
        .to_vec()
}

/// Writes bytes.
pub(crate) fn write_bytes(address: u64, bytes: &[u8]) {
    // SAFETY: the caller checked that the application's buffer is that long.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) }
}

/// Fills a buffer.
pub(crate) fn read_into(address: u64, buffer: &mut [u8]) {
    // SAFETY: by the documentation of the call, the application passes an image that is this long.
    unsafe {
        std::ptr::copy_nonoverlapping(address as *const u8, buffer.as_mut_ptr(), buffer.len())
    }
}
