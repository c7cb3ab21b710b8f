//! The `syscall` instruction, and what the processor tells. No errno, no TLS:
//! usable with the application's FS in place.
#![allow(unsafe_code, reason = "system calls are assembly")]

use std::arch::asm;

/// Issues a system call; the kernel's answer, negative errno included.
///
/// # Safety
/// The call must be one that the caller may make with these arguments.
pub(crate) unsafe fn syscall6(nr: i64, args: [u64; 6]) -> i64 {
    let result;
    // SAFETY: the instruction's register contract; memory effects are the caller's.
    unsafe {
        asm!("syscall", inlateout("rax") nr => result, in("rdi") args[0], in("rsi") args[1],
            in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// The time stamp counter.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The features that XGETBV says the kernel has enabled.
pub(crate) fn enabled_features() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE is part of every kernel that this runs on.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack))
    };
    u64::from(high) << 32 | u64::from(low)
}
