//! Stubs against a gate of the test's own: arguments arrive in their slots, answers come back.
#![allow(
    unsafe_code,
    reason = "maps code at the gate's address and calls C functions"
)]

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use libcuda_upper as _;

const PAGE: usize = 0x1600_0100_1000;
const ENTRY: usize = 0x1600_0100_1400;

static CALLS: Mutex<Vec<(u32, Vec<u64>)>> = Mutex::new(Vec::new());

extern "C" fn fake_gate(id: u32, slots: *mut u64) -> u64 {
    // The stack must be aligned as for any C call, or SSE code behind the gate faults.
    let aligned: u128 = 0;
    assert_eq!(std::ptr::from_ref(&aligned) as usize % 16, 0);
    if id == (1 << 31 | 3) {
        return 1;
    }
    // SAFETY: the frames of all stubs tested here have eleven readable words above the slots.
    let slots = unsafe { std::slice::from_raw_parts(slots, 11) }.to_vec();
    CALLS.lock().unwrap().push((id, slots));
    801
}

fn map_gate() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: a fresh page at an address where nothing is.
        let page = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            libc::mmap(
                PAGE as *mut c_void,
                4096,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                flags,
                -1,
                0,
            )
        };
        assert_eq!(page as usize, PAGE);
        // movabs $fake_gate, %rax; jmp *%rax
        let mut code = vec![0x48, 0xb8];
        code.extend((fake_gate as extern "C" fn(u32, *mut u64) -> u64 as usize).to_le_bytes());
        code.extend([0xff, 0xe0]);
        // SAFETY: inside the page.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), ENTRY as *mut u8, code.len()) };
    });
}

unsafe extern "C" {
    fn cuInit(flags: u32) -> u32;
    fn cuCtxSynchronize() -> u32;
    fn cuLaunchKernel(
        f: u64,
        gx: u32,
        gy: u32,
        gz: u32,
        bx: u32,
        by: u32,
        bz: u32,
        shared: u32,
        s: u64,
        p: u64,
        e: u64,
    ) -> u32;
    fn cuMemcpyPeerAsync(a: u64, b: u64, c: u64, d: u64, n: usize, s: u64) -> u32;
    fn cuGetErrorName(error: u32, name: *mut *const c_char) -> u32;
    fn cuGetErrorString(error: u32, text: *mut *const c_char) -> u32;
    fn cuGetProcAddress_v2(
        name: *const c_char,
        pfn: *mut *const c_void,
        version: i32,
        flags: u64,
        status: *mut u32,
    ) -> u32;
}

#[test]
fn arguments_arrive_in_their_slots() {
    map_gate();
    // SAFETY: the gate above takes every call and follows no pointer.
    unsafe {
        assert_eq!(
            cuLaunchKernel(0x1111_2222_3333, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
            801
        );
        assert_eq!(cuMemcpyPeerAsync(21, 22, 23, 24, 25, 26), 801);
        assert_eq!(cuInit(77), 801);
        assert_eq!(cuCtxSynchronize(), 801);
    }
    let calls = CALLS.lock().unwrap();
    let seen = |id: u32| {
        &calls
            .iter()
            .find(|call| call.0 == id)
            .unwrap_or_else(|| panic!("no call {id}"))
            .1
    };
    // Registers hold 32-bit arguments in their lower halves; the upper ones are not defined.
    let launch: Vec<u64> = seen(289)
        .iter()
        .enumerate()
        .map(|(i, v)| {
            if (1..8).contains(&i) {
                v & 0xffff_ffff
            } else {
                *v
            }
        })
        .collect();
    assert_eq!(launch, [0x1111_2222_3333, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(seen(474)[..6], [21, 22, 23, 24, 25, 26]);
    assert_eq!(seen(264)[0] & 0xffff_ffff, 77);
}

#[test]
fn texts_and_addresses_are_this_library_s_own() {
    map_gate();
    let mut text: *const c_char = std::ptr::null();
    // SAFETY: valid pointers; the texts are constants.
    unsafe {
        assert_eq!(cuGetErrorName(2, &raw mut text), 0);
        assert_eq!(CStr::from_ptr(text), c"CUDA_ERROR_OUT_OF_MEMORY");
        assert_eq!(cuGetErrorString(2, &raw mut text), 0);
        assert_eq!(CStr::from_ptr(text), c"out of memory");
        assert_eq!(cuGetErrorString(123_456, &raw mut text), 1);
        assert!(text.is_null());
        let (mut pfn, mut status): (*const c_void, u32) = (std::ptr::null(), 9);
        assert_eq!(
            cuGetProcAddress_v2(c"cuInit".as_ptr(), &raw mut pfn, 12000, 0, &raw mut status),
            0
        );
        assert_eq!(
            (pfn as usize, status),
            (cuInit as unsafe extern "C" fn(u32) -> u32 as usize, 0)
        );
        assert_eq!(
            cuGetProcAddress_v2(
                c"cuNothing".as_ptr(),
                &raw mut pfn,
                12000,
                0,
                &raw mut status
            ),
            500
        );
        assert_eq!((pfn.is_null(), status), (true, 1));
        assert_eq!(
            cuGetProcAddress_v2(c"cuInit".as_ptr(), &raw mut pfn, 12000, 3, &raw mut status),
            1
        );
    }
}
