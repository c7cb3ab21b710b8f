//! Reads the pages that matter and writes them, in large pieces.

use super::pages::{Found, Scanner, open_proc, push};
use super::plan::{MemoryPlan, Pages, Planned};
use super::{
    Backing, DATA_SECTION, INDEX_SECTION, MappingBytes, MemoryError, MemoryIndex, PAGE, Stats,
    VERSION,
};
use crate::Range;
use crate::image::{ImageWriter, SectionKind, SectionWriter};
use crate::sys;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// Bytes read at a time.
const BUFFER: u64 = 4 << 20;
/// Pieces a call of `process_vm_readv` takes.
const MAX_PIECES: usize = 1024;
const MEM: &str = "/proc/self/mem";

impl MemoryPlan {
    /// Writes the sections `memory-data` and `memory`, and says how much of each
    /// mapping went there, ascending. `progress` is told bytes done and bytes in all.
    ///
    /// The program's threads must not run. Memory of the lower half may change.
    ///
    /// # Errors
    /// When pages cannot be read or the image cannot be written; the program's
    /// memory is as it was.
    pub fn save(
        &self,
        writer: &ImageWriter,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Stats, Vec<MappingBytes>), MemoryError> {
        let begin = Instant::now();
        let mut scanner = Scanner::new()?;
        let mut found = Vec::with_capacity(self.mappings.len());
        for planned in &self.mappings {
            found.push(scanner.scan(planned)?);
        }
        let total = found.iter().flat_map(|f| &f.runs).map(Range::len).sum();
        let compression = writer.compression();
        let kind = SectionKind::MEMORY_DATA;
        let mut saver = Saver {
            data: writer.page_section(DATA_SECTION, kind, VERSION, compression)?,
            mem: open_proc(MEM)?,
            buffer: vec![0; BUFFER as usize],
            extents: Vec::new(),
            guards: Vec::new(),
            done: 0,
            total,
            progress,
        };
        let mut each = Vec::with_capacity(self.mappings.len());
        for (planned, found) in self.mappings.iter().zip(found) {
            each.push(MappingBytes {
                range: planned.mapping.range,
                saved: saver.mapping(planned, found)?,
            });
        }
        let Saver {
            data,
            extents,
            guards,
            done,
            ..
        } = saver;
        data.finish()?;
        let stats = Stats {
            mappings: self.mappings.len() as u64,
            extents: extents.len() as u64,
            bytes: done,
            saved: each.iter().map(|one| one.saved).sum(),
            mapped: self.mapped(),
            time: begin.elapsed(),
        };
        let index = MemoryIndex {
            page_size: PAGE,
            files: self.files.clone(),
            objects: self.objects.clone(),
            mappings: self.mappings.iter().map(|p| p.mapping.clone()).collect(),
            extents,
            guards,
        };
        writer.put_bincode(INDEX_SECTION, SectionKind::MEMORY, VERSION, &index)?;
        let time = begin.elapsed();
        Ok((Stats { time, ..stats }, each))
    }
}

struct Saver<'a> {
    data: SectionWriter,
    mem: File,
    buffer: Vec<u8>,
    extents: Vec<Range>,
    guards: Vec<Range>,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Saver<'_> {
    /// Writes one mapping; returns the bytes of its pages that are in the image.
    fn mapping(&mut self, planned: &Planned, found: Found) -> Result<u64, MemoryError> {
        // No extent reaches from one mapping into the next.
        let first = self.extents.len();
        let mut guards = found.guards;
        let mut pieces = Vec::new();
        let mut room = BUFFER;
        for mut run in found.runs {
            while !run.is_empty() {
                let take = Range::new(run.start, run.end.min(run.start + room));
                room -= take.len();
                run.start = take.end;
                pieces.push(take);
                if room == 0 || pieces.len() == MAX_PIECES {
                    self.batch(planned, first, &pieces, &mut guards)?;
                    pieces.clear();
                    room = BUFFER;
                }
            }
        }
        self.batch(planned, first, &pieces, &mut guards)?;
        guards.sort_unstable();
        for guard in guards {
            push(&mut self.guards, guard);
        }
        Ok(self.extents[first..].iter().map(Range::len).sum())
    }

    /// Reads pieces of one mapping, together at most the buffer, and writes them.
    fn batch(
        &mut self,
        planned: &Planned,
        first: usize,
        pieces: &[Range],
        guards: &mut Vec<Range>,
    ) -> Result<(), MemoryError> {
        let mut pieces = pieces.to_vec();
        while !pieces.is_empty() {
            let wanted: u64 = pieces.iter().map(Range::len).sum();
            let got = self.read(planned, &pieces)?;
            let (read, mut rest) = split(&pieces, got);
            self.write(planned, first, &read)?;
            if got < wanted
                && let Some(hole) = rest.first_mut()
            {
                let page = Range::new(hole.start, hole.start + PAGE);
                unreadable(planned, page, guards)?;
                hole.start = page.end;
            }
            rest.retain(|r| !r.is_empty());
            pieces = rest;
        }
        (self.progress)(self.done, self.total);
        Ok(())
    }

    /// Fills the buffer; returns the bytes, in whole pages, before the first page
    /// that cannot be read.
    fn read(&mut self, planned: &Planned, pieces: &[Range]) -> Result<u64, MemoryError> {
        let wanted = pieces.iter().map(Range::len).sum::<u64>() as usize;
        if i32::from(planned.mapping.protection) & libc::PROT_READ != 0 {
            match sys::memory::copy_ranges(pieces, &mut self.buffer[..wanted]) {
                Ok(n) => return Ok(n as u64 / PAGE * PAGE),
                Err(e) if e.raw_os_error() == Some(libc::EFAULT) => return Ok(0),
                // Forbidden in some containers.
                Err(_) => {}
            }
        }
        let mut done = 0;
        for piece in pieces {
            let mut at = piece.start;
            while at < piece.end {
                let length = (piece.end - at) as usize;
                match self.mem.read_at(&mut self.buffer[done..done + length], at) {
                    Ok(n) if n > 0 => {
                        done += n;
                        at += n as u64;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
                        return Err(MemoryError::Proc {
                            path: MEM,
                            source: e,
                        });
                    }
                    _ => return Ok(done as u64 / PAGE * PAGE),
                }
            }
        }
        Ok(done as u64)
    }

    /// Writes what the buffer holds of these pieces, without pages of zeros where
    /// zeros come back by themselves.
    fn write(
        &mut self,
        planned: &Planned,
        first: usize,
        pieces: &[Range],
    ) -> Result<(), MemoryError> {
        let zeros_come_back = !matches!(planned.mapping.backing, Backing::PrivateFile { .. });
        let mut runs: Vec<(Range, usize)> = Vec::new();
        let mut at = 0;
        for piece in pieces {
            let mut page = piece.start;
            while page < piece.end {
                let bytes = &self.buffer[at..at + PAGE as usize];
                if !(zeros_come_back && is_zero(bytes)) {
                    match runs.last_mut() {
                        Some((run, from))
                            if run.end == page && *from + run.len() as usize == at =>
                        {
                            run.end += PAGE;
                        }
                        _ => runs.push((Range::new(page, page + PAGE), at)),
                    }
                }
                at += PAGE as usize;
                page += PAGE;
            }
        }
        for (run, from) in runs {
            self.data
                .put(&self.buffer[from..from + run.len() as usize])?;
            if self.extents.len() > first {
                push(&mut self.extents, run);
            } else {
                self.extents.push(run);
            }
        }
        self.done += at as u64;
        Ok(())
    }
}

/// Cuts pieces in two after `length` bytes.
fn split(pieces: &[Range], length: u64) -> (Vec<Range>, Vec<Range>) {
    let mut head = Vec::new();
    let mut tail = Vec::new();
    let mut left = length;
    for piece in pieces {
        let cut = piece.start + left.min(piece.len());
        left -= cut - piece.start;
        head.push(Range::new(piece.start, cut));
        tail.push(Range::new(cut, piece.end));
    }
    head.retain(|r| !r.is_empty());
    tail.retain(|r| !r.is_empty());
    (head, tail)
}

/// A page that the scan found and nobody can read.
fn unreadable(planned: &Planned, page: Range, guards: &mut Vec<Range>) -> Result<(), MemoryError> {
    match planned.pages {
        // Kernels between the guards' invention and their showing in pagemap.
        Pages::Touched if sys::memory::has_guard_pages() => guards.push(page),
        // Past the end of the file or object.
        Pages::All | Pages::Object { .. } => {}
        _ => {
            return Err(MemoryError::Unreadable {
                address: page.start,
                source: io::Error::from_raw_os_error(libc::EFAULT),
            });
        }
    }
    Ok(())
}

fn is_zero(page: &[u8]) -> bool {
    page.chunks(128)
        .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}
