//! A progress bar on standard error, for what takes over a second, on a terminal
//! only.

use crate::text::bytes;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const QUIET: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(100);
const WIDTH: usize = 24;

/// A bar that may never show.
pub(crate) struct Bar {
    shown: bool,
    terminal: bool,
    next: Instant,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            shown: false,
            terminal,
            next: Instant::now() + QUIET,
        }
    }

    /// Shows how far it is, if it is time to.
    pub(crate) fn show(&mut self, phase: &str, done: u64, total: u64) {
        let now = Instant::now();
        if !self.terminal || now < self.next {
            return;
        }
        self.next = now + BETWEEN;
        self.shown = true;
        // A bar that cannot be drawn is no reason to fail.
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", line(phase, done, total));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(phase: &str, done: u64, total: u64) -> String {
    if total == 0 {
        return match done {
            0 => format!("{phase} …"),
            _ => format!("{phase} … {}", bytes(done)),
        };
    }
    let share = done.min(total) as f64 / total as f64;
    let full = (share * WIDTH as f64) as usize;
    let (full, rest) = ("█".repeat(full), "░".repeat(WIDTH - full));
    format!(
        "{phase:<8} {full}{rest} {:3.0} % of {}",
        share * 100.0,
        bytes(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(line("quiesce", 0, 0), "quiesce …");
        assert_eq!(line("host", 2048, 0), "host … 2.0 KiB");
        assert!(line("host", 512, 1024).ends_with("  50 % of 1.0 KiB"));
        // More than all, as when a total was a guess, must not overflow the bar.
        assert!(line("host", 9, 3).contains("100 % of 3 B"));
    }
}
