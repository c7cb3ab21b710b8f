//! Strings that the application gets pointers to. They live in its own memory, so that they are in
//! every image and stay where they are.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::guest;
use crate::session::Session;

const CHUNK: usize = 64 << 10;

/// Every string given out so far; none is ever freed, as the driver frees none.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Names {
    addresses: HashMap<Vec<u8>, u64>,
    next: u64,
    end: u64,
}

impl Names {
    /// The address of a string (with its NUL), placed at its first use.
    pub(crate) fn intern(&mut self, session: &Session, text: &[u8]) -> Option<u64> {
        if let Some(&address) = self.addresses.get(text) {
            return Some(address);
        }
        if self.end.saturating_sub(self.next) < text.len() as u64 {
            let len = text.len().next_multiple_of(CHUNK);
            let memory = (session.options.window_mmap)(len);
            if memory.is_null() {
                return None;
            }
            self.next = memory as u64;
            self.end = self.next + len as u64;
        }
        let address = self.next;
        guest::write_bytes(address, text);
        self.next += text.len() as u64;
        self.addresses.insert(text.to_vec(), address);
        Some(address)
    }
}
