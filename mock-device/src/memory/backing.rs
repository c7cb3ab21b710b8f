//! Host memory behind device memory.

#![allow(
    unsafe_code,
    reason = "maps and unmaps memory, allocates uninitialised blocks"
)]

use std::alloc::Layout;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Blocks from this size on are mappings of their own.
const LARGE: usize = 1 << 16;
const ALIGN: usize = 512;

/// A piece of memory charged to a device; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl Charge {
    /// Charges `bytes`, unless that exceeds `limit`.
    pub(crate) fn new(used: &Arc<AtomicU64>, bytes: u64, limit: u64) -> Option<Charge> {
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            now.checked_add(bytes).filter(|&sum| sum <= limit)
        })
        .ok()?;
        Some(Charge {
            used: used.clone(),
            bytes,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Source {
    Mapped,
    Allocated(Layout),
    /// Memory of the program's.
    Foreign,
}

/// Host memory that backs device memory.
#[derive(Debug)]
pub(crate) struct Backing {
    start: *mut u8,
    size: usize,
    source: Source,
    _charge: Option<Charge>,
}

// SAFETY: the bytes are only ever accessed through raw pointers, by code that
// follows the rules of device memory (unordered accesses race as on a GPU).
unsafe impl Send for Backing {}
// SAFETY: as above.
unsafe impl Sync for Backing {}

impl Backing {
    /// Zeroed memory; `None` when the host has none left.
    pub(crate) fn zeroed(size: u64, charge: Option<Charge>) -> Option<Backing> {
        let size = usize::try_from(size).ok()?;
        let (start, source) = if size >= LARGE {
            // SAFETY: a new anonymous mapping at an address of the kernel's
            // choice.
            let at = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    size,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if at == libc::MAP_FAILED {
                return None;
            }
            (at.cast::<u8>(), Source::Mapped)
        } else {
            let layout = Layout::from_size_align(size.max(1), ALIGN).ok()?;
            // SAFETY: the layout has a size above zero.
            let at = unsafe { std::alloc::alloc_zeroed(layout) };
            if at.is_null() {
                return None;
            }
            (at, Source::Allocated(layout))
        };
        Some(Backing {
            start,
            size,
            source,
            _charge: charge,
        })
    }

    /// Memory of the program's, which stays the program's.
    pub(crate) fn foreign(start: u64, size: u64) -> Backing {
        Backing {
            start: std::ptr::with_exposed_provenance_mut(start as usize),
            size: size as usize,
            source: Source::Foreign,
            _charge: None,
        }
    }

    /// The first byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        match self.source {
            // SAFETY: made by mmap with this size; nobody holds the backing
            // any more, so nobody has the address.
            Source::Mapped => unsafe {
                libc::munmap(self.start.cast(), self.size);
            },
            // SAFETY: made by the allocator with this layout; as above.
            Source::Allocated(layout) => unsafe { std::alloc::dealloc(self.start, layout) },
            Source::Foreign => (),
        }
    }
}
