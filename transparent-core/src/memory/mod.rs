//! Saves the memory of the program and puts it back at its addresses.
//!
//! - [`plan`] looks at the mappings in the program's ranges and says how each is
//!   saved, or refuses what cannot be. It may run while the program runs.
//! - [`MemoryPlan::save`] finds the pages that matter and writes them. The
//!   program's threads are parked; it runs in a thread of the lower half and may
//!   allocate, because that memory is outside the ranges.
//! - [`restore`] maps everything again, where nothing may be mapped, and fills it.
//!
//! Two sections result: `memory`, a [`MemoryIndex`], and `memory-data`, the pages
//! of its extents one after the other.
//!
//! | mapping | saved |
//! |---|---|
//! | private anonymous | pages that are not zero |
//! | private, of a file | path, and the pages that the program changed |
//! | private, of a file that is deleted | all pages; comes back anonymous |
//! | shared anonymous | pages that are not zero; comes back as one object |
//! | shared, of a regular file | path |
//!
//! What is not here: threads, descriptors, device memory. Must not touch memory
//! outside the ranges that it was given.

mod pages;
mod plan;
mod restore;
mod save;

pub use plan::{MemoryPlan, plan};
pub use restore::{check, restore};

use crate::Range;
use crate::RawPath;
use crate::identity::FileIdentity;
use crate::image::ImageError;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;
use thiserror::Error;

/// Name of the section that holds the [`MemoryIndex`].
pub const INDEX_SECTION: &str = "memory";
/// Name of the section that holds the pages.
pub const DATA_SECTION: &str = "memory-data";
/// Version of both sections.
pub const VERSION: u32 = 1;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// The section `memory`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryIndex {
    /// Bytes of a page on the machine that wrote it.
    pub page_size: u64,
    /// Files that mappings name by their place in this list.
    pub files: Vec<MappedFile>,
    /// Lengths in bytes of the shared anonymous objects.
    pub objects: Vec<u64>,
    /// All mappings, ascending.
    pub mappings: Vec<SavedMapping>,
    /// Pages in the data section, ascending, in the order of their bytes. None
    /// reaches over the end of a mapping.
    pub extents: Vec<Range>,
    /// Guard pages made by `MADV_GUARD_INSTALL`, ascending.
    pub guards: Vec<Range>,
}

/// A file that is mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedFile {
    /// Where it was.
    pub path: RawPath,
    /// What it was.
    pub identity: FileIdentity,
}

/// What stands behind a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    /// Zeros.
    Anonymous,
    /// A shared anonymous object.
    SharedAnonymous {
        /// Place in [`MemoryIndex::objects`].
        object: u32,
        /// Offset in it, in bytes.
        offset: u64,
    },
    /// A file, copied on write.
    PrivateFile {
        /// Place in [`MemoryIndex::files`].
        file: u32,
        /// Offset in it, in bytes.
        offset: u64,
    },
    /// A file that holds the contents.
    SharedFile {
        /// Place in [`MemoryIndex::files`].
        file: u32,
        /// Offset in it, in bytes.
        offset: u64,
        /// True when the mapping may be made writable: the file was open for
        /// writing.
        may_write: bool,
    },
}

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMapping {
    /// Its addresses.
    pub range: Range,
    /// `PROT_*` bits.
    pub protection: u8,
    /// What is behind it.
    pub backing: Backing,
    /// Flags of `VmFlags` that come back by `mmap` or `madvise`, of those in
    /// [`KEPT_FLAGS`].
    pub flags: Vec<[u8; 2]>,
    /// Name given by `PR_SET_VMA_ANON_NAME`.
    pub name: Option<String>,
}

impl SavedMapping {
    fn has(&self, flag: &[u8; 2]) -> bool {
        self.flags.contains(flag)
    }
}

/// Flags of `VmFlags` that are restored: dontfork, wipeonfork, dontdump, mergeable,
/// hugepage, nohugepage, growsdown, locked, noreserve, sequential, random, sealed,
/// accounted.
pub const KEPT_FLAGS: [&[u8; 2]; 13] = [
    b"dc", b"wf", b"dd", b"mg", b"hg", b"nh", b"gd", b"lo", b"nr", b"sr", b"rr", b"sl", b"ac",
];

/// What saving or restoring took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Mappings.
    pub mappings: u64,
    /// Extents.
    pub extents: u64,
    /// Bytes of pages that were read or filled.
    pub bytes: u64,
    /// Bytes of pages in the image: those read, without pages of zeros.
    pub saved: u64,
    /// Bytes of address space.
    pub mapped: u64,
    /// How long it took.
    pub time: Duration,
}

/// How much of a mapping is in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingBytes {
    /// The mapping, or the part of it that is in the program's ranges.
    pub range: Range,
    /// Bytes of its pages in the section `memory-data`.
    pub saved: u64,
}

/// Memory could not be saved or restored.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The image could not be written or read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file of `/proc/self` failed.
    #[error(
        "cannot read {path}: {source}; {}",
        crate::refusal::proc_advice(source)
    )]
    Proc {
        /// Which.
        path: &'static str,
        /// The errno.
        source: io::Error,
    },
    /// A page could not be read.
    #[error("cannot read memory at {address:#x}: {source}; the image was not written")]
    Unreadable {
        /// Where.
        address: u64,
        /// The errno.
        source: io::Error,
    },
    /// A mapping could not be made or changed.
    #[error("cannot {action} memory {start:#x}-{end:#x}: {source}; {advice}")]
    Map {
        /// Verb phrase.
        action: &'static str,
        /// First address.
        start: u64,
        /// End.
        end: u64,
        /// The errno.
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// A file that was mapped is not what it was.
    #[error("{}", list(.0))]
    Files(Vec<crate::Refusal>),
    /// The index contradicts itself, though its checksum is right.
    #[error("image section memory: {0} is impossible; it was written by a faulty gpuckpt")]
    Index(&'static str),
}

fn list(refusals: &[crate::Refusal]) -> String {
    let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    all.join("\n")
}

impl MemoryError {
    fn map(action: &'static str, range: Range, source: io::Error) -> Self {
        let advice = match source.raw_os_error() {
            Some(libc::EEXIST) => "something of gpuckpt's own is in the program's window",
            Some(libc::ENOMEM) => {
                "not enough memory, address space (ulimit -v) or mappings (vm.max_map_count)"
            }
            Some(libc::EPERM | libc::EACCES) => "check the mode of the mapped file",
            _ => "check the kernel's log",
        };
        Self::Map {
            action,
            start: range.start,
            end: range.end,
            source,
            advice,
        }
    }
}

#[cfg(test)]
mod tests;
