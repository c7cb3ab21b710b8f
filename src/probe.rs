//! The doctor's instruments: what only trying can tell.
#![allow(
    unsafe_code,
    reason = "maps addresses, installs a filter and a handler for its signal"
)]

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use upper_half::abi::{ARENA_HI, ARENA_LO, W_HI, W_LO};

/// Tries pages at both ends and in the middle of the window and of the arena.
///
/// # Errors
/// Says which address is not to be had, and why.
pub(crate) fn addresses_free() -> Result<(), String> {
    const PAGE: u64 = 4096;
    for (low, high) in [(W_LO, W_HI), (ARENA_LO, ARENA_HI)] {
        for address in [low, low + (high - low) / 2, high - PAGE] {
            page_is_free(address).map_err(|why| format!("{address:#x}: {why}"))?;
        }
    }
    Ok(())
}

fn page_is_free(address: u64) -> Result<(), String> {
    const LENGTH: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
    let wished = usize::try_from(address).ok().and_then(NonZeroUsize::new);
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
    // SAFETY: MAP_FIXED_NOREPLACE replaces no mapping.
    let page = unsafe { mmap_anonymous(wished, LENGTH, ProtFlags::PROT_NONE, flags) };
    let page = page.map_err(|error| error.desc().to_string())?;
    let honoured = page.addr().get() as u64 == address;
    // SAFETY: the page was mapped above, and nothing refers to it.
    unsafe { munmap(page, LENGTH.get()) }.map_err(|error| error.desc().to_string())?;
    // Kernels before 4.17 take the address for a hint.
    if honoured {
        Ok(())
    } else {
        Err("the kernel chose another address".to_string())
    }
}

static TRAPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_trap(_: libc::c_int) {
    TRAPPED.store(true, Ordering::SeqCst);
}

/// Installs a filter that traps one system call, and makes that call. For a process
/// that ends next; returns its exit status and says on standard error what failed.
pub(crate) fn filter_traps() -> i32 {
    match try_filter() {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("{why}");
            1
        }
    }
}

fn try_filter() -> Result<(), String> {
    let action = SigAction::new(
        SigHandler::Handler(on_trap),
        SaFlags::SA_NODEFER,
        SigSet::empty(),
    );
    // SAFETY: the handler only stores to an atomic.
    unsafe { sigaction(Signal::SIGSYS, &action) }
        .map_err(|error| format!("SIGSYS: {}", error.desc()))?;
    set_no_new_privs().map_err(|error| format!("PR_SET_NO_NEW_PRIVS: {}", error.desc()))?;
    install_filter().map_err(|error| format!("PR_SET_SECCOMP: {error}"))?;
    // SAFETY: getppid has no arguments and no effect.
    unsafe { libc::syscall(libc::SYS_getppid) };
    match TRAPPED.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err("the filter is accepted, but nothing is trapped".to_string()),
    }
}

/// A filter that traps getppid and lets all else pass (seccomp(2)).
fn install_filter() -> std::io::Result<()> {
    const NUMBER: u32 = 0; // offset of `nr` in struct seccomp_data
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let give = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        line(load, 0, 0, NUMBER),
        line(equal, 0, 1, libc::SYS_getppid as u32),
        line(give, 0, 0, libc::SECCOMP_RET_TRAP),
        line(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: `filter` describes a program of `len` instructions, which the kernel
    // copies and checks.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
            0,
            0,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_use_is_not_free() {
        addresses_free().unwrap();
        let own = std::ptr::from_ref(&TRAPPED) as u64 & !4095;
        assert!(page_is_free(own).is_err());
    }
}
