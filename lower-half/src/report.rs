//! What gpuckpt says to people while the application runs: single lines on standard
//! error, as long as descriptor 2 is still what it was at the start. An application
//! that has redirected or closed it hears nothing: standard error is then its own.

use nix::sys::stat::fstat;
use std::fmt::Arguments;
use std::io::Write;
use std::sync::OnceLock;

static FIRST: OnceLock<Option<(u64, u64)>> = OnceLock::new();

fn identity() -> Option<(u64, u64)> {
    fstat(std::io::stderr())
        .ok()
        .map(|seen| (seen.st_dev, seen.st_ino))
}

/// Remembers what standard error is. Called once at the start.
pub(crate) fn init() {
    let _ = FIRST.set(identity());
}

/// Writes `gpuckpt: MESSAGE` in one piece.
pub(crate) fn line(message: Arguments<'_>) {
    let first = FIRST.get().copied().flatten();
    if first.is_some() && first == identity() {
        let text = format!("gpuckpt: {message}\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    tracing::info!("{message}");
}
