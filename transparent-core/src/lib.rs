//! The host side of a checkpoint: what of a process is saved, how it comes back,
//! and the image that holds it.
//!
//! Place in the flow: `lower-half` drives it. At a checkpoint it asks
//! [`fds::check`], [`memory::plan`] and [`attributes::check`] what cannot be saved
//! while the program still runs, parks the program, and then has [`fds::capture`],
//! [`attributes::capture`] and [`memory::MemoryPlan::save`] put their sections into
//! an [`image::ImageWriter`]. At a restart the same modules put everything back
//! into a fresh process.
//!
//! This crate knows the kernel's interfaces and nothing else of gpuckpt: no
//! threads of the program, no device, no command line. What belongs to the program
//! is told to it: address ranges for memory, a predicate for descriptors.
//!
//! Every system call that the standard library lacks is wrapped in `sys`, the only
//! module with unsafe code.

pub mod apart;
pub mod attributes;
pub mod codec;
pub mod fds;
pub mod identity;
pub mod image;
pub mod maps;
pub mod memory;
mod path;
pub mod posix_timers;
mod refusal;
pub mod scheduling;
mod sys;
#[cfg(test)]
mod testing;

pub use path::RawPath;
pub use refusal::Refusal;
pub use sys::descriptor::set_descriptor_base;

/// Half-open range of addresses.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
}

impl Range {
    /// The range `[start, end)`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// Length in bytes.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// True when nothing is in it.
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// The part that both have, if any.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let both = Self::new(self.start.max(other.start), self.end.min(other.end));
        (!both.is_empty()).then_some(both)
    }
}
