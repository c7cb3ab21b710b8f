//! Devices without state: null, zero, full, random, urandom, and `/dev/tty`.

use super::look::Look;
use crate::{RawPath, Refusal, sys};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// A device that is only opened again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its path.
    pub path: RawPath,
}

/// Major and minor numbers (Documentation/admin-guide/devices.txt).
const KNOWN: [(u32, u32); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];

pub(super) fn take(look: &Look) -> Result<Device, Refusal> {
    let number = (libc::major(look.rdev), libc::minor(look.rdev));
    if KNOWN.contains(&number) {
        return Ok(Device {
            path: look.link.clone(),
        });
    }
    let (major, minor) = number;
    Err(look.refuse(
        format!("device {major}:{minor} has state that cannot be saved"),
        "close it before the checkpoint",
    ))
}

impl Device {
    pub(super) fn open(&self, flags: i32) -> Result<OwnedFd, Refusal> {
        let flags = flags | libc::O_NOCTTY;
        sys::descriptor::open(self.path.as_path(), flags, 0).map_err(|e| {
            let why = format!("it cannot be opened: {e}");
            let advice = "restart where the device exists (for /dev/tty: from a terminal)";
            Refusal::new(format!("device {}", self.path), why, advice)
        })
    }
}
