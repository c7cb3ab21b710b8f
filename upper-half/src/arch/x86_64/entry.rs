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

use super::{Frame, segments};
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
        "mov rax, rdx",
        "call {set_fs}",
        "mov rsp, rsi",
        "mov eax, 15",
        "syscall",
        "ud2",
        exit_sp = const offset_of!(Record, exit_sp),
        lower_sp = const offset_of!(Record, lower_sp),
        set_fs = sym segments::set_fs,
    )
}

/// Enters the upper half again from a trap handler; the stack's use ends here.
///
/// # Safety
/// As for [`enter`]; nothing on the lower stack is needed any more.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter_again(frame: *const Frame, fs: u64) -> ! {
    naked_asm!(
        "mov rax, rsi",
        "call {set_fs}",
        "mov rsp, rdi",
        "mov eax, 15",
        "syscall",
        "ud2",
        set_fs = sym segments::set_fs,
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
        "mov rax, rdx",
        "call {set_fs}",
        "mov rsp, rsi",
        "mov eax, 15",
        "syscall",
        "ud2",
        lower_sp = const offset_of!(Record, lower_sp),
        set_fs = sym segments::set_fs,
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
/// GS base is a record that knows its host's FS; `f` uses no TLS; signals other
/// than SIGSYS are blocked.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn with_zero_fs(f: extern "C" fn(i64) -> i64, argument: i64) -> i64 {
    naked_asm!(
        "push rbx",
        "lea rax, [rsp - 65536]",
        "and rax, -64",
        "mov gs:[{lower_sp}], rax",
        "mov r8, rdi",
        "mov rdi, rsi",
        "xor eax, eax",
        "call {set_fs}",
        "call r8",
        "mov rbx, rax",
        "mov rax, gs:[{lower_fs}]",
        "call {set_fs}",
        "mov rax, rbx",
        "pop rbx",
        "ret",
        lower_sp = const offset_of!(Record, lower_sp),
        lower_fs = const offset_of!(Record, lower_fs),
        set_fs = sym segments::set_fs,
    )
}

/// SIGSYS: a trapped system call. Everything is blocked while it runs.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn on_sigsys() {
    naked_asm!(
        "cmp dword ptr [rsi + 8], 1", // SYS_SECCOMP; else someone sent it
        "jne 2f",
        "cmp qword ptr gs:[{me}], 0",
        "je 2f",
        "call {get_fs}",
        "cmp rax, gs:[{lower_fs}]",
        "je 2f",
        "push rbx",
        "mov rbx, rsp",
        "mov r8, rax",
        "mov rax, gs:[{lower_fs}]",
        "call {set_fs}",
        "mov rcx, r8",
        "mov rsp, gs:[{lower_sp}]",
        "call {trap}",
        "call {set_fs}",
        "mov rsp, rbx",
        "pop rbx",
        "ret",
        "2: jmp {stray}",
        me = const offset_of!(Record, me),
        lower_fs = const offset_of!(Record, lower_fs),
        lower_sp = const offset_of!(Record, lower_sp),
        get_fs = sym segments::get_fs,
        set_fs = sym segments::set_fs,
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
        "cmp qword ptr gs:[{me}], 0",
        "je 3f",
        "call {get_fs}",
        "cmp rax, gs:[{lower_fs}]",
        "je 3f",
        "mov ecx, [rdx + 172]",
        "test ecx, ecx",
        "jz 2f",
        "sub ecx, {window_lo}",
        "cmp ecx, {window_size}",
        "jae 3f",
        "2: push rbx",
        "mov rbx, rsp",
        "mov r8, rax",
        "mov rax, gs:[{lower_fs}]",
        "call {set_fs}",
        "mov rcx, r8",
        "mov rsp, gs:[{lower_sp}]",
        "call {park}",
        "call {set_fs}",
        "mov rsp, rbx",
        "pop rbx",
        "3: ret",
        "4: jmp {foreign}",
        cookie = const abi::PARK_COOKIE,
        me = const offset_of!(Record, me),
        lower_fs = const offset_of!(Record, lower_fs),
        lower_sp = const offset_of!(Record, lower_sp),
        get_fs = sym segments::get_fs,
        set_fs = sym segments::set_fs,
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
