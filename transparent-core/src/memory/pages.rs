//! Which pages of a mapping matter, without touching one.
//!
//! `PAGEMAP_SCAN` (linux 6.7) walks page tables and skips holes; before it,
//! `/proc/self/pagemap` is read in large pieces (Documentation/admin-guide/mm/
//! pagemap.rst). Shared anonymous memory is asked by `mincore`: its pages may be in
//! the object and not in the page tables.

use super::plan::{Pages, Planned};
use super::{MemoryError, PAGE};
use crate::Range;
use crate::sys;
use crate::sys::memory::{PageRegion, ScanFilter, category};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

const PAGEMAP: &str = "/proc/self/pagemap";
/// Entries a read of `pagemap` takes at a time: 256 MiB of address space.
const BATCH: u64 = 64 << 10;

/// Pages of one mapping, ascending, neighbours joined.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Those to read.
    pub(super) runs: Vec<Range>,
    /// Those that are guards.
    pub(super) guards: Vec<Range>,
}

/// What this kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// `PAGEMAP_SCAN`, guard pages told apart.
    ScanGuards,
    /// `PAGEMAP_SCAN`.
    Scan,
    /// Reads of `pagemap`.
    Read,
}

#[derive(Debug)]
pub(super) struct Scanner {
    pagemap: File,
    method: Method,
}

impl Scanner {
    pub(super) fn new() -> Result<Self, MemoryError> {
        Ok(Self {
            pagemap: open_proc(PAGEMAP)?,
            method: Method::ScanGuards,
        })
    }

    /// Without `PAGEMAP_SCAN`, as on an older kernel.
    #[cfg(test)]
    pub(super) fn reading() -> Result<Self, MemoryError> {
        Ok(Self {
            method: Method::Read,
            ..Self::new()?
        })
    }

    /// The pages of a mapping that its plan asks for.
    pub(super) fn scan(&mut self, planned: &Planned) -> Result<Found, MemoryError> {
        let range = planned.mapping.range;
        match planned.pages {
            Pages::None => Ok(Found::default()),
            Pages::All | Pages::Object { in_core: false } => Ok(Found {
                runs: vec![range],
                guards: Vec::new(),
            }),
            Pages::Object { in_core: true } => in_core(range).map_err(proc_error),
            Pages::Touched => self.private(range, category::PFNZERO, planned.resident),
            Pages::Copied => self.private(range, category::FILE, planned.resident),
        }
    }

    /// Pages in memory or swap that are not in the category `not`.
    fn private(&mut self, range: Range, not: u64, resident: bool) -> Result<Found, MemoryError> {
        loop {
            let found = match self.method {
                Method::ScanGuards => self.by_scan(range, not, category::GUARD),
                Method::Scan => self.by_scan(range, not, 0),
                Method::Read if !resident => Ok(Found::default()),
                Method::Read => self.by_read(range, not),
            };
            match found {
                // EINVAL: a category that this kernel does not know.
                Err(e)
                    if e.raw_os_error() == Some(libc::EINVAL)
                        && self.method == Method::ScanGuards =>
                {
                    self.method = Method::Scan;
                }
                Err(_) if self.method != Method::Read => self.method = Method::Read,
                other => return other.map_err(proc_error),
            }
        }
    }

    fn by_scan(&self, range: Range, not: u64, guard: u64) -> io::Result<Found> {
        let filter = ScanFilter {
            inverted: not,
            mask: not,
            any_of: category::PRESENT | category::SWAPPED,
            returned: guard | category::PRESENT,
        };
        let mut regions = vec![PageRegion::default(); 4096];
        let mut found = Found::default();
        let mut at = range.start;
        while at < range.end {
            let rest = Range::new(at, range.end);
            let fd = self.pagemap.as_raw_fd();
            let (n, end) = sys::memory::pagemap_scan(fd, rest, filter, &mut regions)?;
            for region in &regions[..n] {
                let pages = Range::new(region.start, region.end);
                let is_guard = region.categories & guard != 0;
                push(
                    if is_guard {
                        &mut found.guards
                    } else {
                        &mut found.runs
                    },
                    pages,
                );
            }
            // Linux 6.18 may say that the walk ended before the last region that it
            // gave, when they just fit.
            let end = regions[..n].last().map_or(end, |r| end.max(r.end));
            if end <= at {
                return Err(io::Error::from_raw_os_error(libc::ENOTTY));
            }
            at = end;
        }
        Ok(found)
    }

    fn by_read(&self, range: Range, not: u64) -> io::Result<Found> {
        const PRESENT_OR_SWAPPED: u64 = 3 << 62;
        const OF_FILE: u64 = 1 << 61;
        const GUARD: u64 = 1 << 58;
        let mut found = Found::default();
        let mut bytes = vec![0; (BATCH.min(range.len() / PAGE) * 8) as usize];
        let mut at = range.start;
        while at < range.end {
            let pages = BATCH.min((range.end - at) / PAGE);
            let entries = &mut bytes[..(pages * 8) as usize];
            self.pagemap.read_exact_at(entries, at / PAGE * 8)?;
            for (i, entry) in entries.chunks_exact(8).enumerate() {
                let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
                let page = at + i as u64 * PAGE;
                let page = Range::new(page, page + PAGE);
                let of_file = not == category::FILE && entry & OF_FILE != 0;
                if entry & GUARD != 0 {
                    push(&mut found.guards, page);
                } else if entry & PRESENT_OR_SWAPPED != 0 && !of_file {
                    push(&mut found.runs, page);
                }
            }
            at += pages * PAGE;
        }
        Ok(found)
    }
}

/// Pages of a shared object that are in memory.
fn in_core(range: Range) -> io::Result<Found> {
    let mut found = Found::default();
    let mut core = vec![0; BATCH.min(range.len() / PAGE) as usize];
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at + BATCH * PAGE);
        sys::memory::in_core(Range::new(at, end), &mut core)?;
        for (i, &byte) in core[..((end - at) / PAGE) as usize].iter().enumerate() {
            if byte & 1 != 0 {
                let page = at + i as u64 * PAGE;
                push(&mut found.runs, Range::new(page, page + PAGE));
            }
        }
        at = end;
    }
    Ok(found)
}

/// Appends a range, joined to the last when it follows it.
pub(super) fn push(runs: &mut Vec<Range>, next: Range) {
    match runs.last_mut() {
        Some(last) if last.end == next.start => last.end = next.end,
        _ => runs.push(next),
    }
}

fn proc_error(source: io::Error) -> MemoryError {
    MemoryError::Proc {
        path: PAGEMAP,
        source,
    }
}

/// Opens a file of `/proc/self` that the kernel gives only to a dumpable process.
pub(super) fn open_proc(path: &'static str) -> Result<File, MemoryError> {
    let open = || sys::descriptor::open_read(path.as_ref());
    match open() {
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
            let was = sys::process::prctl(libc::PR_GET_DUMPABLE, 0).unwrap_or(1);
            let _ = sys::process::prctl(libc::PR_SET_DUMPABLE, 1);
            let result = open();
            let _ = sys::process::prctl(libc::PR_SET_DUMPABLE, was as libc::c_ulong);
            result
        }
        other => other,
    }
    .map_err(|source| MemoryError::Proc { path, source })
}
