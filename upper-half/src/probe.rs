//! What this machine must offer, for `doctor` and before a program is started.
#![allow(unsafe_code, reason = "asks the kernel")]

use crate::abi::{W_HI, W_LO};
use crate::sys;

/// Something that cannot be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is about.
    pub object: String,
    /// Why it cannot be.
    pub why: String,
    /// What to do about it.
    pub advice: String,
}

fn refusal(object: &str, why: impl Into<String>, advice: &str) -> Refusal {
    Refusal {
        object: object.into(),
        why: why.into(),
        advice: advice.into(),
    }
}

/// One line of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// `None` when it is as it should be.
    pub problem: Option<Refusal>,
}

/// SECCOMP_RET_TRAP is known to the kernel.
pub fn seccomp_trap() -> Option<Refusal> {
    let action: u32 = libc::SECCOMP_RET_TRAP;
    let args = [
        libc::SECCOMP_GET_ACTION_AVAIL as u64,
        0,
        &raw const action as u64,
        0,
        0,
        0,
    ];
    // SAFETY: the word lives across the call.
    let r = unsafe { sys::call(libc::SYS_seccomp, args) };
    sys::failed(r).then(|| {
        refusal(
            "seccomp",
            format!(
                "system call filters that trap are not available (errno {})",
                -r
            ),
            "use a kernel with CONFIG_SECCOMP_FILTER and a container that allows seccomp",
        )
    })
}

/// The window's ends can be mapped.
pub fn window() -> Option<Refusal> {
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
    [W_LO, W_HI - 0x1_0000].into_iter().find_map(|at| {
        // SAFETY: NOREPLACE harms nothing that is mapped.
        let r = unsafe { sys::mmap(at, 0x1_0000, libc::PROT_NONE as u64, flags, -1, 0) };
        if r as u64 == at {
            // SAFETY: just mapped.
            unsafe { sys::munmap(at, 0x1_0000) };
            return None;
        }
        let ours = r == -(libc::EEXIST as i64) && crate::record::Record::current().is_some();
        (!ours).then(|| {
            refusal(
                "address space",
                format!("the address {at:#x} cannot be mapped (errno {})", -r),
                "use an x86-64 kernel of 4.17 or later and no limit on virtual memory",
            )
        })
    })
}

/// True when a filter of ours (or anyone's) is in force for this thread.
pub fn filter_in_force() -> bool {
    // SAFETY: no addresses.
    unsafe {
        sys::call(
            libc::SYS_prctl,
            [libc::PR_GET_SECCOMP as u64, 0, 0, 0, 0, 0],
        ) == 2
    }
}

/// Everything that `doctor` shows about hosting programs.
pub fn checks() -> Vec<Check> {
    vec![
        Check {
            name: "seccomp",
            problem: seccomp_trap(),
        },
        Check {
            name: "window",
            problem: window(),
        },
    ]
}

/// The first thing that this machine lacks.
pub(crate) fn machine() -> Result<(), Refusal> {
    match seccomp_trap() {
        Some(refusal) => Err(refusal),
        None => Ok(()),
    }
}
