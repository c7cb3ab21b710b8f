//! A minimal image, to try restarts: one file with the state and every page
//! of the application's ranges that is not zero.
#![allow(unsafe_code, reason = "reads and writes the application's memory")]

use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use upper_half::{UpperState, is_upper_range};

#[derive(Serialize, Deserialize)]
struct Mapping {
    start: u64,
    end: u64,
    prot: i32,
    /// Offsets of pages within the mapping, in the order of their data.
    pages: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Index {
    state: UpperState,
    mappings: Vec<Mapping>,
}

/// Writes the image; all upper threads are parked.
pub(crate) fn save(file: &str, state: UpperState) -> std::io::Result<()> {
    let memory = fs::File::open("/proc/self/mem")?;
    let (mut mappings, mut data) = (Vec::new(), Vec::new());
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        let mut words = line.split(' ');
        let (range, prot) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let Some((start, end)) = range.split_once('-') else {
            continue;
        };
        let hex = |s| u64::from_str_radix(s, 16).unwrap_or(0);
        let (start, end) = (hex(start), hex(end));
        if !is_upper_range(start, end) {
            continue;
        }
        let bit = |c, value| if prot.contains(c) { value } else { 0 };
        let prot =
            bit('r', libc::PROT_READ) | bit('w', libc::PROT_WRITE) | bit('x', libc::PROT_EXEC);
        let mut pages = Vec::new();
        let mut page = [0u8; 4096];
        for offset in (0..end - start).step_by(4096) {
            if memory.read_exact_at(&mut page, start + offset).is_ok() && page != [0; 4096] {
                pages.push(offset);
                data.extend_from_slice(&page);
            }
        }
        mappings.push(Mapping {
            start,
            end,
            prot,
            pages,
        });
    }
    let index = serde_json::to_vec(&Index { state, mappings })?;
    let mut out = fs::File::create(format!("{file}.tmp"))?;
    out.write_all(&(index.len() as u64).to_le_bytes())?;
    out.write_all(&index)?;
    out.write_all(&data)?;
    fs::rename(format!("{file}.tmp"), file)
}

/// Maps the image's memory; the state to restore.
pub(crate) fn load(file: &str) -> std::io::Result<UpperState> {
    let bytes = fs::read(file)?;
    let length = bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b)) as usize;
    let index: Index = serde_json::from_slice(&bytes[8..8 + length])?;
    let mut data = bytes[8 + length..].chunks_exact(4096);
    for m in &index.mappings {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let size = (m.end - m.start) as usize;
        // SAFETY: NOREPLACE harms nothing that is mapped; pages lie within.
        unsafe {
            let write = libc::PROT_READ | libc::PROT_WRITE;
            let at = libc::mmap(
                m.start as *mut _,
                size,
                write,
                flags | libc::MAP_NORESERVE,
                -1,
                0,
            );
            if at as u64 != m.start {
                return Err(std::io::Error::last_os_error());
            }
            for (offset, page) in m.pages.iter().zip(&mut data) {
                std::ptr::copy_nonoverlapping(page.as_ptr(), (m.start + offset) as *mut u8, 4096);
            }
            libc::mprotect(m.start as *mut _, size, m.prot);
        }
    }
    Ok(index.state)
}
