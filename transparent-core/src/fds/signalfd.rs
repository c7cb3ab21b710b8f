//! Descriptors that receive signals (signalfd(2)). What waits in them are the signals
//! that are pending, which are saved with the threads.

use super::look::Look;
use crate::{Refusal, sys};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;

/// A signalfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signalfd {
    /// The signals: bit 0 is signal 1.
    pub mask: u64,
}

pub(super) fn take(look: &Look) -> Result<Signalfd, Refusal> {
    let mask = look.value("sigmask");
    match mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()) {
        Some(mask) => Ok(Signalfd { mask }),
        None => Err(look.refuse("the kernel does not show its signals", "use a newer kernel")),
    }
}

impl Signalfd {
    pub(super) fn make(&self, flags: i32) -> io::Result<OwnedFd> {
        sys::sockets::signalfd(self.mask, flags & libc::O_NONBLOCK)
    }
}
