//! The bases of FS and GS: by instruction where user programs may use those
//! (FSGSBASE), by arch_prctl(2) elsewhere. All of the lower half's instructions
//! of that kind are here; the gate image has its own.
//!
//! GS always points to a [`Record`](crate::record::Record), or to [`NOBODY`],
//! so that it is known without an instruction or a call: both begin with the
//! record's address.
#![allow(unsafe_code, reason = "segment bases are changed by assembly")]

use super::syscall6;
use std::arch::{asm, naked_asm};
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

const ARCH_SET_GS: u64 = 0x1001;
pub(crate) const ARCH_SET_FS: u64 = 0x1002;
pub(crate) const ARCH_GET_FS: u64 = 0x1003;

const UNKNOWN: u8 = 0;
const INSTRUCTIONS: u8 = 1;
const CALLS: u8 = 2;

/// How the bases are changed; read by the code below in place of a register.
static WAY: AtomicU8 = AtomicU8::new(UNKNOWN);

/// What GS points to on threads that host no upper thread: as much of a record
/// as assembly looks at, with no address.
static NOBODY: [u64; 16] = [0; 16];

/// Chooses the way, once a process, and makes the calling thread, and those
/// that it starts, known as nobody's host.
pub(crate) fn choose(instructions: bool) {
    let way = if instructions { INSTRUCTIONS } else { CALLS };
    if WAY.swap(way, Relaxed) == UNKNOWN {
        // SAFETY: the thread hosts nobody yet.
        unsafe { set_gs_base(nobody()) };
    }
}

/// True when the way has been chosen.
pub(crate) fn chosen() -> bool {
    WAY.load(Relaxed) != UNKNOWN
}

/// True when the bases are changed by system calls.
pub(crate) fn by_calls() -> bool {
    WAY.load(Relaxed) == CALLS
}

/// The GS base of threads that host no upper thread.
pub(crate) fn nobody() -> u64 {
    &raw const NOBODY as u64
}

/// The record that GS leads to; zero when the thread hosts nobody.
pub(crate) fn hosted() -> u64 {
    if !chosen() {
        return 0;
    }
    let record;
    // SAFETY: from `choose` on GS points to a record or to `NOBODY`, in every thread.
    unsafe { asm!("mov {}, gs:[0]", out(reg) record, options(readonly, nostack, preserves_flags)) };
    record
}

/// The FS base.
pub(crate) fn fs_base() -> u64 {
    // SAFETY: needs no stack but its own.
    unsafe { get_fs() }
}

/// Sets the GS base.
///
/// # Safety
/// `value` is [`nobody`] or the address of this thread's `Record`.
pub(crate) unsafe fn set_gs_base(value: u64) {
    if WAY.load(Relaxed) == INSTRUCTIONS {
        // SAFETY: the lower half's code uses GS in `hosted` alone.
        unsafe { asm!("wrgsbase {}", in(reg) value, options(nostack, preserves_flags)) };
        return;
    }
    // SAFETY: as above.
    unsafe { syscall6(libc::SYS_arch_prctl, [ARCH_SET_GS, value, 0, 0, 0, 0]) };
}

/// The FS base in rax. Changes rax, rcx, r11 and flags only.
///
/// # Safety
/// None but a stack.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn get_fs() -> u64 {
    naked_asm!(
        "cmp byte ptr [rip + {way}], {calls}",
        "je 2f",
        "rdfsbase rax",
        "ret",
        "2: push rdi",
        "push rsi",
        "push rax",
        "mov edi, {get}",
        "mov rsi, rsp",
        "mov eax, {arch_prctl}",
        "syscall",
        "pop rax",
        "pop rsi",
        "pop rdi",
        "ret",
        way = sym WAY,
        calls = const CALLS,
        get = const ARCH_GET_FS,
        arch_prctl = const libc::SYS_arch_prctl,
    )
}

/// Sets the FS base to rax. Changes rax, rcx, r11 and flags only.
///
/// # Safety
/// Called from assembly, which knows what runs with that base.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn set_fs() {
    naked_asm!(
        "cmp byte ptr [rip + {way}], {calls}",
        "je 2f",
        "wrfsbase rax",
        "ret",
        "2: push rdi",
        "push rsi",
        "mov rsi, rax",
        "mov edi, {set}",
        "mov eax, {arch_prctl}",
        "syscall",
        "pop rsi",
        "pop rdi",
        "ret",
        way = sym WAY,
        calls = const CALLS,
        set = const ARCH_SET_FS,
        arch_prctl = const libc::SYS_arch_prctl,
    )
}
