//! Device memory as one running kernel sees it.

#![allow(unsafe_code, reason = "implements the interpreter's unsafe trait")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use super::mapping::Access;
use super::{Backing, Kind, Space};
use crate::ptx::{Memory, Region};
use crate::sync::lock;

/// The memory that a context's kernels can reach.
#[derive(Debug)]
pub(crate) struct View<'a> {
    space: &'a Space,
    device: usize,
    peers: HashSet<u64>,
    /// What was looked up stays until the kernel ends.
    kept: Mutex<HashMap<usize, Arc<Backing>>>,
}

impl<'a> View<'a> {
    /// For kernels of `device` in a context with these peers.
    pub(crate) fn new(space: &'a Space, device: usize, peers: HashSet<u64>) -> View<'a> {
        View {
            space,
            device,
            peers,
            kept: Mutex::default(),
        }
    }
}

// SAFETY: the backing of every region that is given out is kept until the view
// is dropped, after the launch; it covers the mapping's size. Nobody holds
// Rust references to the bytes.
unsafe impl Memory for View<'_> {
    fn region(&self, address: u64) -> Option<Region> {
        let mapping = self.space.reachable(address)?;
        let access = mapping.access(self.device, |owner| self.peers.contains(&owner));
        if access == Access::None {
            return None;
        }
        let host = mapping.backing.start();
        lock(&self.kept).insert(host as usize, mapping.backing.clone());
        Some(Region {
            start: mapping.start,
            end: mapping.reach(),
            host,
            writable: access == Access::Write && !matches!(mapping.kind, Kind::Constants),
        })
    }
}
