//! The few places where a thread changes halves, in naked functions.
//!
//! ```text
//!   host's stack (lower half)
//!     ... host start routine
//!     return address of `enter`
//!     rbx rbp r12 r13 r14 r15        <- Record::exit_sp
//!     (aligned, 128 bytes spare)     <- Record::lower_sp: traps and the gate start here
//! ```
#![allow(unsafe_code, reason = "changing stack and FS needs assembly")]

use super::Frame;
use crate::abi;
use crate::record::Record;
use std::arch::naked_asm;
use std::mem::offset_of;

/// Enters the upper half on `frame` with FS base `fs`; returns when the upper
/// thread ends ([`leave`]).
///
/// # Safety
/// GS base is `record`, all signals are blocked, `frame` is complete.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter(record: *mut Record, frame: *const Frame, fs: u64) {
    naked_asm!(
        "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
        "mov [rdi + {exit_sp}], rsp",
        "lea rax, [rsp - 128]",
        "and rax, -64",
        "mov [rdi + {lower_sp}], rax",
        "wrfsbase rdx",
        "mov rsp, rsi",
        "mov eax, 15",
        "syscall",
        "ud2",
        exit_sp = const offset_of!(Record, exit_sp),
        lower_sp = const offset_of!(Record, lower_sp),
    )
}

/// Enters the upper half again from a trap handler; the stack's use ends here.
///
/// # Safety
/// As for [`enter`]; nothing on the lower stack is needed any more.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter_again(frame: *const Frame, fs: u64) -> ! {
    naked_asm!(
        "wrfsbase rsi",
        "mov rsp, rdi",
        "mov eax, 15",
        "syscall",
        "ud2"
    )
}

/// Enters the upper half from a new thread of control that has no host of its
/// own, a vfork child: traps start below the present stack pointer.
///
/// # Safety
/// As for [`enter`]; the frame asked for does not return here.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter_borrowed(
    record: *mut Record,
    frame: *const Frame,
    fs: u64,
) -> ! {
    naked_asm!(
        "lea rax, [rsp - 128]",
        "and rax, -64",
        "mov [rdi + {lower_sp}], rax",
        "wrfsbase rdx",
        "mov rsp, rsi",
        "mov eax, 15",
        "syscall",
        "ud2",
        lower_sp = const offset_of!(Record, lower_sp),
    )
}

/// Ends the upper thread: returns from the [`enter`] that began it.
///
/// # Safety
/// FS is the host's; `record` is this thread's.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn leave(record: *mut Record) -> ! {
    naked_asm!(
        "mov rsp, [rdi + {exit_sp}]",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
        "ret",
        exit_sp = const offset_of!(Record, exit_sp),
    )
}

/// Calls `f(argument)` with FS 0, as a piece of upper code would run; a trap
/// in it finds room 64 KiB further down the same stack.
///
/// # Safety
/// GS base is a record; `f` uses no TLS; signals other than SIGSYS are blocked.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn with_zero_fs(f: extern "C" fn(i64) -> i64, argument: i64) -> i64 {
    naked_asm!(
        "push rbx",
        "rdfsbase rbx",
        "lea rax, [rsp - 65536]",
        "and rax, -64",
        "mov gs:[{lower_sp}], rax",
        "mov rax, rdi",
        "mov rdi, rsi",
        "xor ecx, ecx",
        "wrfsbase rcx",
        "call rax",
        "wrfsbase rbx",
        "pop rbx",
        "ret",
        lower_sp = const offset_of!(Record, lower_sp),
    )
}

/// SIGSYS: a trapped system call. Everything is blocked while it runs.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn on_sigsys() {
    naked_asm!(
        "cmp dword ptr [rsi + 8], 1", // SYS_SECCOMP; else someone sent it
        "jne 2f",
        "rdgsbase rax",
        "test rax, rax",
        "jz 2f",
        "rdfsbase rcx",
        "mov rax, gs:[{lower_fs}]",
        "cmp rax, rcx",
        "je 2f",
        "push rbx",
        "mov rbx, rsp",
        "wrfsbase rax",
        "mov rsp, gs:[{lower_sp}]",
        "call {trap}",
        "wrfsbase rax",
        "mov rsp, rbx",
        "pop rbx",
        "ret",
        "2: jmp {stray}",
        lower_fs = const offset_of!(Record, lower_fs),
        lower_sp = const offset_of!(Record, lower_sp),
        trap = sym crate::trap::on_trap,
        stray = sym crate::signal::stray_sigsys,
    )
}

/// The park signal. In the gate or the vDSO it only leaves a note.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn on_park_signal() {
    naked_asm!(
        "movabs r8, {cookie}",
        "cmp r8, [rsi + 24]",
        "jne 4f",
        "rdgsbase rax",
        "test rax, rax",
        "jz 3f",
        "rdfsbase rcx",
        "mov rax, gs:[{lower_fs}]",
        "cmp rax, rcx",
        "je 3f",
        "mov r8d, [rdx + 172]",
        "test r8d, r8d",
        "jz 2f",
        "sub r8d, {window_lo}",
        "cmp r8d, {window_size}",
        "jae 3f",
        "2: push rbx",
        "mov rbx, rsp",
        "wrfsbase rax",
        "mov rsp, gs:[{lower_sp}]",
        "call {park}",
        "wrfsbase rax",
        "mov rsp, rbx",
        "pop rbx",
        "3: ret",
        "4: jmp {foreign}",
        cookie = const abi::PARK_COOKIE,
        lower_fs = const offset_of!(Record, lower_fs),
        lower_sp = const offset_of!(Record, lower_sp),
        window_lo = const abi::W_LO >> 32,
        window_size = const (abi::W_HI - abi::W_LO) >> 32,
        park = sym crate::park::on_park_signal,
        foreign = sym crate::signal::foreign_park_signal,
    )
}

/// `vfork` in the middle of a trap handler: the parent returns the child's
/// real id (or a negative errno), also at `parent_word` if the flags say so; the child goes on with `child(argument)` on
/// the same stack below the parent's frames and never returns.
///
/// # Safety
/// `flags` holds CLONE_VM and CLONE_VFORK; `child` never returns.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn vfork_with(
    flags: u64,
    child: unsafe extern "C" fn(u64) -> !,
    argument: u64,
    parent_word: u64,
) -> i64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "mov rbx, rsi",
        "mov r12, rdx",
        "mov rdx, rcx",
        "mov eax, 56",
        "xor esi, esi",
        "xor r10d, r10d",
        "xor r8d, r8d",
        "syscall",
        "test rax, rax",
        "jnz 2f",
        "xor ebp, ebp",
        "sub rsp, 4096",
        "and rsp, -64",
        "mov rdi, r12",
        "call rbx",
        "ud2",
        "2: pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}
