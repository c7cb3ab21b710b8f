//! Mapping memory at given addresses, and looking at pages without touching them.
//!
//! Every function here works on addresses that the caller owns: the window of the
//! program being saved or restored, which no Rust object lives in.
#![allow(
    unsafe_code,
    reason = "system calls on memory that no Rust object is in"
)]

use super::{check, check_int};
use crate::Range;
use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;

/// `MADV_GUARD_INSTALL` (linux 6.13).
pub(crate) const MADV_GUARD_INSTALL: i32 = 102;
/// `VM_ANON_NAME` options of prctl (linux 5.17).
const PR_SET_VMA: i32 = 0x5356_4d41;
const SYS_MSEAL: libc::c_long = 462;
const MLOCK_ONFAULT: libc::c_long = 1;

/// Categories of `PAGEMAP_SCAN` (linux/fs.h).
pub(crate) mod category {
    pub(crate) const FILE: u64 = 1 << 2;
    pub(crate) const PRESENT: u64 = 1 << 3;
    pub(crate) const SWAPPED: u64 = 1 << 4;
    pub(crate) const PFNZERO: u64 = 1 << 5;
    pub(crate) const GUARD: u64 = 1 << 8;
}

/// Pages of one category set (`struct page_region`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PageRegion {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) categories: u64,
}

#[repr(C)]
struct PagemapScan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;

/// Which pages a scan returns: all of `mask` (with `inverted` ones absent), one of
/// `any_of`; regions differ in the categories of `returned`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanFilter {
    pub(crate) inverted: u64,
    pub(crate) mask: u64,
    pub(crate) any_of: u64,
    pub(crate) returned: u64,
}

/// One `PAGEMAP_SCAN`: fills `regions`, returns how many and where the walk ended.
pub(crate) fn pagemap_scan(
    pagemap: RawFd,
    range: Range,
    filter: ScanFilter,
    regions: &mut [PageRegion],
) -> io::Result<(usize, u64)> {
    let mut scan = PagemapScan {
        size: size_of::<PagemapScan>() as u64,
        flags: 0,
        start: range.start,
        end: range.end,
        walk_end: 0,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        max_pages: 0,
        category_inverted: filter.inverted,
        category_mask: filter.mask,
        category_anyof_mask: filter.any_of,
        return_mask: filter.returned,
    };
    // SAFETY: the kernel writes at most `vec_len` regions and the structure itself.
    let n = check_int(unsafe { libc::ioctl(pagemap, PAGEMAP_SCAN, &mut scan) })?;
    Ok((n as usize, scan.walk_end))
}

/// Memory that this process has mapped and that nothing else uses yet.
#[derive(Debug)]
pub(crate) struct Fresh {
    range: Range,
    writable: bool,
}

impl Fresh {
    /// The bytes of a part; nothing when it is not inside, or not writable.
    pub(crate) fn bytes(&mut self, part: Range) -> Option<&mut [u8]> {
        let inside = self.range.intersection(&part) == Some(part);
        if !inside || !self.writable {
            return None;
        }
        // SAFETY: the range was mapped readable and writable by `map`, where nothing
        // was before; it is unmapped or protected only after this value is gone.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(part.start as *mut u8, part.len() as usize) };
        Some(bytes)
    }
}

/// Maps memory where nothing is mapped.
pub(crate) fn map(
    range: Range,
    protection: i32,
    flags: i32,
    fd: RawFd,
    offset: u64,
) -> io::Result<Fresh> {
    let flags = flags | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: MAP_FIXED_NOREPLACE never replaces a mapping.
    let at = unsafe {
        libc::mmap(
            range.start as *mut libc::c_void,
            range.len() as usize,
            protection,
            flags,
            fd,
            offset as libc::off_t,
        )
    };
    let at = check(at as libc::c_long)? as u64;
    if at == range.start {
        let both = libc::PROT_READ | libc::PROT_WRITE;
        return Ok(Fresh {
            range,
            writable: protection & both == both,
        });
    }
    // A kernel before 4.17 takes the address as a hint.
    let _ = unmap(Range::new(at, at + range.len()));
    Err(io::Error::from_raw_os_error(libc::EEXIST))
}

/// Maps shared anonymous memory anywhere.
pub(crate) fn map_shared_anywhere(length: u64, flags: i32) -> io::Result<Range> {
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    let at = check(at as libc::c_long)? as u64;
    Ok(Range::new(at, at + length))
}

/// Maps the object behind `from` a second time, over `to`, which was mapped by
/// [`map`] to keep it free (mremap of a shared mapping with an old size of 0).
pub(crate) fn duplicate(from: u64, to: Range) -> io::Result<()> {
    // SAFETY: `to` is a placeholder of ours, and `from` stays as it is.
    let at = unsafe {
        libc::mremap(
            from as *mut libc::c_void,
            0,
            to.len() as usize,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            to.start as *mut libc::c_void,
        )
    };
    check(at as libc::c_long).map(drop)
}

pub(crate) fn unmap(range: Range) -> io::Result<()> {
    // SAFETY: the caller owns what is mapped there.
    check_int(unsafe { libc::munmap(range.start as *mut libc::c_void, range.len() as usize) })
        .map(drop)
}

pub(crate) fn protect(range: Range, protection: i32) -> io::Result<()> {
    let at = range.start as *mut libc::c_void;
    // SAFETY: the caller owns what is mapped there.
    check_int(unsafe { libc::mprotect(at, range.len() as usize, protection) }).map(drop)
}

pub(crate) fn advise(range: Range, advice: i32) -> io::Result<()> {
    let at = range.start as *mut libc::c_void;
    // SAFETY: the caller owns what is mapped there.
    check_int(unsafe { libc::madvise(at, range.len() as usize, advice) }).map(drop)
}

/// Locks pages as they are touched, and those that are there.
pub(crate) fn lock_on_fault(range: Range) -> io::Result<()> {
    // SAFETY: changes no contents.
    check(unsafe { libc::syscall(libc::SYS_mlock2, range.start, range.len(), MLOCK_ONFAULT) })
        .map(drop)
}

/// Forbids further changes of the mapping (linux 6.10).
pub(crate) fn seal(range: Range) -> io::Result<()> {
    // SAFETY: changes no contents.
    check(unsafe { libc::syscall(SYS_MSEAL, range.start, range.len(), 0) }).map(drop)
}

/// Gives an anonymous mapping its name in `/proc/self/maps`.
pub(crate) fn name(range: Range, name: &str) -> io::Result<()> {
    let name = CString::new(name).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let zero: libc::c_ulong = 0;
    // SAFETY: `name` is a C string that lives across the call.
    let result = unsafe { libc::prctl(PR_SET_VMA, zero, range.start, range.len(), name.as_ptr()) };
    check_int(result).map(drop)
}

/// One byte for each page: bit 0 says that it is in memory.
pub(crate) fn in_core(range: Range, out: &mut [u8]) -> io::Result<()> {
    let pages = (range.len() / 4096) as usize;
    let out = out
        .get_mut(..pages)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let at = range.start as *mut libc::c_void;
    // SAFETY: `out` has a byte for each page.
    check_int(unsafe { libc::mincore(at, range.len() as usize, out.as_mut_ptr()) }).map(drop)
}

/// Copies memory of this process, range after range, into `out`, and returns how
/// many bytes before a page that cannot be read.
pub(crate) fn copy_ranges(ranges: &[Range], out: &mut [u8]) -> io::Result<usize> {
    let remote: Vec<libc::iovec> = ranges
        .iter()
        .map(|r| libc::iovec {
            iov_base: r.start as *mut libc::c_void,
            iov_len: r.len() as usize,
        })
        .collect();
    let local = libc::iovec {
        iov_base: out.as_mut_ptr().cast(),
        iov_len: out.len(),
    };
    // SAFETY: the kernel writes into `out` alone and reads what it may.
    let n = unsafe {
        libc::process_vm_readv(
            std::process::id() as libc::pid_t,
            &local,
            1,
            remote.as_ptr(),
            remote.len() as libc::c_ulong,
            0,
        )
    };
    check(n as libc::c_long).map(|n| n as usize)
}

/// True when this kernel has guard pages inside mappings.
pub(crate) fn has_guard_pages() -> bool {
    let Ok(page) = map_private_page() else {
        return false;
    };
    let has = advise(page, MADV_GUARD_INSTALL).is_ok();
    let _ = unmap(page);
    has
}

fn map_private_page() -> io::Result<Range> {
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    let at = check(at as libc::c_long)? as u64;
    Ok(Range::new(at, at + 4096))
}
