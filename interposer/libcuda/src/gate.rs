//! The generated stubs, and the gate for this library's own calls.
#![allow(
    unsafe_code,
    reason = "calls the gate at its fixed address and reads the table of stub addresses"
)]

use std::ffi::c_void;

use crate::abi::GATE;
use crate::proc_address::STUBS;

std::arch::global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/stubs.s")),
    options(att_syntax)
);

unsafe extern "C" {
    #[link_name = "gpuckpt_stubs"]
    static STUB_ADDRESSES: [StubAddress; STUBS];
}

#[repr(transparent)]
struct StubAddress(*const c_void);

// SAFETY: addresses of code, written by the loader before any code of ours runs, never changed.
unsafe impl Sync for StubAddress {}

/// Address of the stub with this call id.
pub(crate) fn stub(id: u32) -> *const c_void {
    // SAFETY: the assembly defines exactly STUBS entries; the index is checked.
    unsafe { STUB_ADDRESSES[id as usize].0 }
}

/// Goes through the gate.
pub(crate) fn call(id: u32, slots: &mut [u64]) -> u64 {
    // SAFETY: the lower half maps the gate at this address before it starts the application; its
    // signature is part of the versioned ABI between the halves.
    let gate: extern "C" fn(u32, *mut u64) -> u64 =
        unsafe { std::mem::transmute(GATE as *const c_void) };
    gate(id, slots.as_mut_ptr())
}
