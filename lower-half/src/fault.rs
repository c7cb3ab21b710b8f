//! Faults on request, for tests of what a checkpoint leaves behind:
//! `GPUCKPT_FAULT=PHASE:ACTION` in the environment of `launch` or `restart`.
//!
//! Phases, in their order: `preflight`, `drain`, `rendezvous`, `host`, `device`,
//! `manifest`, `before-rename`, `after-rename`. Actions: `abort` (SIGKILL to the
//! process), `stop` (SIGSTOP to the process), `enospc` (the phase fails as on a
//! full disk).
#![allow(unsafe_code, reason = "kill(2) on this process")]

use std::io;
use std::sync::OnceLock;

static FAULT: OnceLock<Option<(String, String)>> = OnceLock::new();

/// Reads the variable once.
pub(crate) fn init() {
    let wish = std::env::var("GPUCKPT_FAULT").ok();
    let _ = FAULT.set(wish.and_then(|text| {
        text.split_once(':')
            .map(|(phase, action)| (phase.to_owned(), action.to_owned()))
    }));
}

/// Marks that `phase` is reached; fails or ends the process when told to.
pub(crate) fn at(phase: &str) -> io::Result<()> {
    let Some(Some((wanted, action))) = FAULT.get() else {
        return Ok(());
    };
    if wanted != phase {
        return Ok(());
    }
    let signal = match action.as_str() {
        "abort" => libc::SIGKILL,
        "stop" => libc::SIGSTOP,
        "enospc" => return Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        _ => return Ok(()),
    };
    // SAFETY: a signal to this very process.
    unsafe { libc::kill(libc::getpid(), signal) };
    Ok(())
}
