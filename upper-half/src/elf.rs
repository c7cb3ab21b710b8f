//! Reads ELF headers with every bound checked, and maps programs into the
//! application's ranges.
#![allow(unsafe_code, reason = "maps segments")]

use crate::abi;
use crate::sys;
use crate::window::{self, PAGE};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
const ET_DYN: u16 = 3;
const HEADER: usize = 64;
const SEGMENT: usize = 56;

/// An ELF header's fields that matter here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    kind: u16,
    entry: u64,
    table: u64,
    count: u16,
}

/// One program header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramHeader {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
    pub(crate) memory_size: u64,
    pub(crate) align: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl Header {
    /// Parses the first bytes of a 64-bit little-endian x86-64 ELF file.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER || !bytes.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        if u16_at(bytes, 18)? != 62 || u16_at(bytes, 54)? as usize != SEGMENT {
            return None;
        }
        Some(Self {
            kind: u16_at(bytes, 16)?,
            entry: u64_at(bytes, 24)?,
            table: u64_at(bytes, 32)?,
            count: u16_at(bytes, 56)?,
        })
    }

    /// The program headers, as far as `bytes` hold them.
    pub(crate) fn segments<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = ProgramHeader> + 'a {
        let table = usize::try_from(self.table)
            .ok()
            .and_then(|t| bytes.get(t..))
            .unwrap_or(&[]);
        table
            .chunks_exact(SEGMENT)
            .take(usize::from(self.count))
            .filter_map(segment)
    }
}

fn segment(b: &[u8]) -> Option<ProgramHeader> {
    Some(ProgramHeader {
        kind: u32_at(b, 0)?,
        flags: u32_at(b, 4)?,
        offset: u64_at(b, 8)?,
        address: u64_at(b, 16)?,
        file_size: u64_at(b, 32)?,
        memory_size: u64_at(b, 40)?,
        align: u64_at(b, 48)?,
    })
}

/// Why a program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not an ELF program that this machine runs.
    #[error("{} is not a program for this machine: {why}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The program insists on addresses that are not the application's.
    #[error("{} wants the fixed addresses {start:#x}-{end:#x}, which it cannot have", path.display())]
    Address {
        /// The file.
        path: PathBuf,
        /// First address.
        start: u64,
        /// First address after.
        end: u64,
    },
    /// The kernel refused a mapping.
    #[error("cannot map {}: {source}", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl LoadError {
    /// The errno that execve would have given.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Read { source, .. } | Self::Map { source, .. } => {
                source.raw_os_error().unwrap_or(libc::EIO)
            }
            Self::Format { .. } => libc::ENOEXEC,
            Self::Address { .. } => libc::ENOMEM,
        }
    }
}

/// A program in memory.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) base: u64,
    pub(crate) entry: u64,
    /// Address of the program headers and their number.
    pub(crate) headers: u64,
    pub(crate) count: u16,
    pub(crate) interpreter: Option<PathBuf>,
    /// True for a program that may lie anywhere.
    pub(crate) relocatable: bool,
    pub(crate) executable_stack: bool,
}

/// Maps the program at `path`; a relocatable one at `place` or after.
pub(crate) fn load(path: &Path, place: u64) -> Result<Loaded, LoadError> {
    let format = |why| LoadError::Format {
        path: path.into(),
        why,
    };
    let read = |source| LoadError::Read {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(read)?;
    let mut head = [0u8; HEADER];
    file.read_exact_at(&mut head, 0).map_err(read)?;
    let header = Header::parse(&head).ok_or_else(|| format("no x86-64 ELF header"))?;
    if header.count == 0 || header.count > 512 {
        return Err(format("a strange number of program headers"));
    }
    let mut table = vec![0u8; usize::from(header.count) * SEGMENT];
    file.read_exact_at(&mut table, header.table).map_err(read)?;
    let segments: Vec<_> = table.chunks_exact(SEGMENT).filter_map(segment).collect();
    let loads: Vec<_> = segments
        .iter()
        .filter(|s| s.kind == PT_LOAD && s.memory_size != 0)
        .collect();
    let start = loads.iter().map(|s| s.address & !(PAGE - 1)).min();
    let start = start.ok_or_else(|| format("nothing to load"))?;
    let mut end = 0;
    for s in &loads {
        let last = s.address.checked_add(s.memory_size).and_then(window::pages);
        end = end.max(
            last.filter(|l| *l < 1 << 47)
                .ok_or_else(|| format("a segment without end"))?,
        );
        if s.file_size > s.memory_size || s.offset % PAGE != s.address % PAGE {
            return Err(format("a segment that cannot be mapped"));
        }
    }
    let relocatable = header.kind == ET_DYN;
    let align = loads
        .iter()
        .map(|s| s.align)
        .filter(|a| a.is_power_of_two())
        .max();
    let align = align.unwrap_or(PAGE).clamp(PAGE, 1 << 30);
    let bias = reserve(path, start, end, relocatable.then_some((place, align)))?;
    for s in &loads {
        map_segment(&file, path, bias, s)?;
    }
    let in_file =
        |s: &&&ProgramHeader| header.table >= s.offset && header.table - s.offset < s.file_size;
    let headers = loads
        .iter()
        .find(in_file)
        .map(|s| s.address + (header.table - s.offset));
    Ok(Loaded {
        base: bias.wrapping_add(if relocatable { start } else { 0 }),
        entry: bias.wrapping_add(header.entry),
        headers: headers.map_or(0, |h| bias.wrapping_add(h)),
        count: header.count,
        interpreter: interpreter(&file, &segments).map_err(read)?,
        relocatable,
        executable_stack: segments
            .iter()
            .any(|s| s.kind == PT_GNU_STACK && s.flags & 1 != 0),
    })
}

/// Reserves the program's addresses; the bias to add to its own.
fn reserve(path: &Path, start: u64, end: u64, place: Option<(u64, u64)>) -> Result<u64, LoadError> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let length = end - start;
    let attempt = |at: u64| {
        // SAFETY: NOREPLACE harms nothing that is mapped.
        unsafe { sys::mmap(at, length, libc::PROT_NONE as u64, flags as u64, -1, 0) }
    };
    let refused = |r: i64| {
        let source = std::io::Error::from_raw_os_error(-r as i32);
        LoadError::Map {
            path: path.into(),
            source,
        }
    };
    let Some((place, align)) = place else {
        if !abi::is_upper_range(start, end) {
            return Err(LoadError::Address {
                path: path.into(),
                start,
                end,
            });
        }
        let r = attempt(start);
        return if r as u64 == start {
            Ok(0)
        } else {
            Err(refused(r))
        };
    };
    let mut at = place.next_multiple_of(align) + start % align;
    for _ in 0..64 {
        let r = attempt(at);
        if r as u64 == at {
            return Ok(at.wrapping_sub(start));
        }
        if r != -(libc::EEXIST as i64) {
            return Err(refused(r));
        }
        at += length.next_multiple_of(align);
    }
    Err(refused(-(libc::ENOMEM as i64)))
}

fn map_segment(file: &File, path: &Path, bias: u64, s: &ProgramHeader) -> Result<(), LoadError> {
    let failed = |r: i64| {
        let source = std::io::Error::from_raw_os_error(-r as i32);
        LoadError::Map {
            path: path.into(),
            source,
        }
    };
    let read = if s.flags & 4 != 0 { libc::PROT_READ } else { 0 };
    let write = if s.flags & 2 != 0 {
        libc::PROT_WRITE
    } else {
        0
    };
    let execute = if s.flags & 1 != 0 { libc::PROT_EXEC } else { 0 };
    let prot = (read | write | execute) as u64;
    let at = bias.wrapping_add(s.address);
    let (page, file_end, end) = (at & !(PAGE - 1), at + s.file_size, at + s.memory_size);
    let mut zero_from = page;
    if s.file_size != 0 {
        let flags = (libc::MAP_PRIVATE | libc::MAP_FIXED) as u64;
        let fd = i64::from(file.as_raw_fd());
        // SAFETY: within the reservation.
        let r = unsafe {
            sys::mmap(
                page,
                file_end - page,
                prot,
                flags,
                fd,
                s.offset & !(PAGE - 1),
            )
        };
        if r as u64 != page {
            return Err(failed(r));
        }
        zero_from = file_end.next_multiple_of(PAGE);
        if write != 0 && end > file_end {
            // SAFETY: the rest of the last page just mapped, writable.
            unsafe {
                std::ptr::write_bytes(file_end as *mut u8, 0, (zero_from - file_end) as usize);
            }
        }
    }
    let end = end.next_multiple_of(PAGE);
    if end > zero_from {
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
        // SAFETY: within the reservation.
        let r = unsafe { sys::mmap(zero_from, end - zero_from, prot, flags, -1, 0) };
        if r as u64 != zero_from {
            return Err(failed(r));
        }
    }
    Ok(())
}

fn interpreter(file: &File, segments: &[ProgramHeader]) -> std::io::Result<Option<PathBuf>> {
    let Some(s) = segments.iter().find(|s| s.kind == PT_INTERP) else {
        return Ok(None);
    };
    let mut name = vec![0u8; s.file_size.min(4096) as usize];
    file.read_exact_at(&mut name, s.offset)?;
    let length = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    name.truncate(length);
    use std::os::unix::ffi::OsStringExt;
    Ok(Some(PathBuf::from(std::ffi::OsString::from_vec(name))))
}
