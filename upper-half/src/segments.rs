//! Whether user programs may change FS and GS by instructions here (FSGSBASE).
//! Kernels before 5.9, those started with `nofsgsbase`, processors before 2012
//! and some virtual machines do not allow it; then it takes a system call each
//! time, and all else is the same.
//!
//! Applications are never told that they may: GS is ours, and one that was
//! told so could not go on where they may not.
#![allow(unsafe_code, reason = "asks the kernel, tells whom a thread hosts")]

use crate::{arch, sys};
use std::time::{Duration, Instant};

/// `off`: as on a machine without the instructions. For tests of what runs there.
pub const VARIABLE: &str = "GPUCKPT_FSGSBASE";

/// The bit of AT_HWCAP2 (HWCAP2_FSGSBASE).
pub(crate) const FSGSBASE: u64 = 2;

/// [`VARIABLE`] holds something else than `off`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}={0:?} is unknown: it can be `off`, or be left out")]
pub struct UnknownSetting(String);

/// True where FS and GS are changed by instructions, false where by system calls.
///
/// # Errors
/// [`UnknownSetting`].
pub fn fsgsbase() -> Result<bool, UnknownSetting> {
    let allowed = wanted(std::env::var_os(VARIABLE).as_deref())?;
    // SAFETY: no arguments but a number.
    let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    Ok(allowed && capabilities & FSGSBASE != 0)
}

fn wanted(setting: Option<&std::ffi::OsStr>) -> Result<bool, UnknownSetting> {
    match setting.unwrap_or_default() {
        empty if empty.is_empty() => Ok(true),
        off if off == "off" => Ok(false),
        other => Err(UnknownSetting(other.to_string_lossy().into_owned())),
    }
}

/// Chooses how FS and GS are changed. The first thing that a process does, before it
/// has other threads, if it is to host an application.
///
/// # Errors
/// [`UnknownSetting`].
pub fn prepare() -> Result<(), UnknownSetting> {
    if !arch::chosen() {
        arch::choose(fsgsbase()?);
    }
    Ok(())
}

/// Makes the calling thread, which one that hosts an application's thread may have
/// started, known as one that hosts nobody.
pub fn host_nobody() {
    // SAFETY: by what this function is for.
    unsafe { arch::set_gs_base(arch::nobody()) };
}

/// What it takes here to change FS twice by system calls: the price of the gate where
/// there are no instructions for it.
pub fn price_of_calls() -> Duration {
    const ROUNDS: u32 = 500;
    let mut fs = 0u64;
    let ask = [arch::ARCH_GET_FS, &raw mut fs as u64, 0, 0, 0, 0];
    // SAFETY: the word lives across the call.
    unsafe { sys::call(libc::SYS_arch_prctl, ask) };
    let set = [arch::ARCH_SET_FS, fs, 0, 0, 0, 0];
    let round = || {
        let begin = Instant::now();
        for _ in 0..2 * ROUNDS {
            // SAFETY: the base is what it has been.
            unsafe { sys::call(libc::SYS_arch_prctl, set) };
        }
        begin.elapsed() / ROUNDS
    };
    // The least, for others may run meanwhile.
    (0..10).map(|_| round()).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_setting_is_refused() {
        assert_eq!(wanted(None), Ok(true));
        assert_eq!(wanted(Some("".as_ref())), Ok(true));
        assert_eq!(wanted(Some("off".as_ref())), Ok(false));
        let error = wanted(Some("of".as_ref())).unwrap_err().to_string();
        assert!(
            error.contains(VARIABLE) && error.contains("`off`"),
            "{error}"
        );
    }
}
