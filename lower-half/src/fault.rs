//! Faults on request, for tests of what a checkpoint leaves behind: see
//! [`lower_half::faults`] for what can be asked for.
#![allow(unsafe_code, reason = "kill(2) on this process")]

use anyhow::{Context, Result};
use lower_half::faults::{Action, Fault, Phase, VARIABLE};
use std::io;
use std::sync::OnceLock;

static FAULT: OnceLock<Fault> = OnceLock::new();

/// Reads the variable once.
pub(crate) fn init() -> Result<()> {
    let Some(wish) = std::env::var_os(VARIABLE).filter(|wish| !wish.is_empty()) else {
        return Ok(());
    };
    let fault = wish.to_string_lossy().parse();
    let fault = fault.context("cannot start with this fault")?;
    let _ = FAULT.set(fault);
    Ok(())
}

/// Marks that `phase` is reached; fails or ends the process when told to.
pub(crate) fn at(phase: Phase) -> io::Result<()> {
    let Some(fault) = FAULT.get().filter(|fault| fault.phase == phase) else {
        return Ok(());
    };
    let signal = match fault.action {
        Action::Abort => libc::SIGKILL,
        Action::Stop => libc::SIGSTOP,
        Action::Enospc => return Err(io::Error::from_raw_os_error(libc::ENOSPC)),
    };
    // SAFETY: a signal to this very process.
    unsafe { libc::kill(libc::getpid(), signal) };
    Ok(())
}
