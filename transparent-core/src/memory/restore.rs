//! Puts saved memory back into a process that has nothing in those places.
//!
//! Order: files are opened and compared; shared objects are made; mappings are made
//! with the access that filling needs; pages are read into them; then guards,
//! advice, locks and the final protection.

use super::{
    Backing, DATA_SECTION, INDEX_SECTION, MappedFile, MemoryError, MemoryIndex, PAGE, SavedMapping,
    Stats, VERSION,
};
use crate::identity::FileIdentity;
use crate::image::{ImageReader, SectionKind};
use crate::sys::memory::Fresh;
use crate::{Range, Refusal, sys};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

/// Says which mapped files are missing or changed; touches nothing.
///
/// # Errors
/// When the image has no readable section `memory`.
pub fn check(reader: &ImageReader) -> Result<Vec<Refusal>, MemoryError> {
    Ok(open_files(&index(reader)?).1)
}

/// Restores all memory. Nothing may be mapped where it goes. `progress` is told
/// bytes done and bytes in all.
///
/// # Errors
/// A damaged image, a file that changed, a place that is taken, not enough memory.
/// What was mapped until then stays: the process is of no use any more.
pub fn restore(
    reader: &ImageReader,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Stats, MemoryError> {
    let begin = Instant::now();
    let index = index(reader)?;
    let (files, refused) = open_files(&index);
    if !refused.is_empty() {
        return Err(MemoryError::Files(refused));
    }
    let objects = Objects::new(&index)?;
    let mut fresh = Vec::with_capacity(index.mappings.len());
    let mut extents = index.extents.iter().peekable();
    let mut filled = Vec::with_capacity(index.mappings.len());
    for mapping in &index.mappings {
        let first = extents.peek().is_some_and(|e| e.start < mapping.range.end);
        while extents.next_if(|e| e.start < mapping.range.end).is_some() {}
        filled.push(first);
        let made = make(mapping, first, &files, &objects)
            .map_err(|e| MemoryError::map("map", mapping.range, e))?;
        early_advice(mapping);
        fresh.push(made);
    }
    drop(objects);
    drop(files);
    let bytes = fill(reader, &index, &mut fresh, progress)?;
    drop(fresh);
    for (mapping, filled) in index.mappings.iter().zip(filled) {
        finish(mapping, filled)?;
    }
    for &guard in &index.guards {
        install_guard(guard)?;
    }
    for mapping in index.mappings.iter().filter(|m| m.has(b"sl")) {
        if let Err(e) = sys::memory::seal(mapping.range) {
            tracing::warn!(range = ?mapping.range, error = %e, "memory is not sealed again");
        }
    }
    Ok(Stats {
        mappings: index.mappings.len() as u64,
        extents: index.extents.len() as u64,
        bytes,
        saved: bytes,
        mapped: index.mappings.iter().map(|m| m.range.len()).sum(),
        time: begin.elapsed(),
    })
}

/// Reads the index and makes sure that it makes sense.
fn index(reader: &ImageReader) -> Result<MemoryIndex, MemoryError> {
    let index: MemoryIndex = reader.get_bincode(INDEX_SECTION, SectionKind::MEMORY, VERSION)?;
    if index.page_size != PAGE {
        return Err(MemoryError::Index("the page size"));
    }
    let whole =
        |r: &Range| !r.is_empty() && r.start.is_multiple_of(PAGE) && r.end.is_multiple_of(PAGE);
    let ascending = |ranges: &[Range]| {
        ranges.iter().all(whole) && ranges.windows(2).all(|pair| pair[0].end <= pair[1].start)
    };
    let mappings: Vec<Range> = index.mappings.iter().map(|m| m.range).collect();
    if !ascending(&mappings) {
        return Err(MemoryError::Index("a mapping"));
    }
    for ranges in [&index.extents, &index.guards] {
        let inside = |r: &Range| {
            let at = index.mappings.partition_point(|m| m.range.end <= r.start);
            index
                .mappings
                .get(at)
                .is_some_and(|m| m.range.intersection(r) == Some(*r))
        };
        let guards = std::ptr::eq(ranges, &index.guards);
        if !ascending(ranges) || !(guards || ranges.iter().all(inside)) {
            return Err(MemoryError::Index("an extent"));
        }
    }
    let backed = |m: &SavedMapping| match m.backing {
        Backing::Anonymous => true,
        Backing::SharedAnonymous { object, offset } => {
            index.objects.get(object as usize).is_some_and(|&length| {
                offset
                    .checked_add(m.range.len())
                    .is_some_and(|e| e <= length)
            })
        }
        Backing::PrivateFile { file, .. } | Backing::SharedFile { file, .. } => {
            (file as usize) < index.files.len()
        }
    };
    if !index.mappings.iter().all(backed) {
        return Err(MemoryError::Index("a mapping's backing"));
    }
    Ok(index)
}

/// Opens every file, read-write where a mapping needs it, and compares.
fn open_files(index: &MemoryIndex) -> (Vec<Option<OwnedFd>>, Vec<Refusal>) {
    let mut refused = Vec::new();
    let mut files = Vec::with_capacity(index.files.len());
    for (at, file) in index.files.iter().enumerate() {
        let users = || index.mappings.iter().filter(|m| uses(m, at));
        let may_write = users().any(|m| {
            matches!(
                m.backing,
                Backing::SharedFile {
                    may_write: true,
                    ..
                }
            )
        });
        let private = users().any(|m| matches!(m.backing, Backing::PrivateFile { .. }));
        match open_file(file, may_write, private) {
            Ok(fd) => files.push(Some(fd)),
            Err(why) => {
                files.push(None);
                refused.push(Refusal::new(
                    format!("mapped file {}", file.path),
                    why,
                    "put the file back as it was at the checkpoint",
                ));
            }
        }
    }
    (files, refused)
}

fn uses(mapping: &SavedMapping, at: usize) -> bool {
    match mapping.backing {
        Backing::PrivateFile { file, .. } | Backing::SharedFile { file, .. } => file as usize == at,
        _ => false,
    }
}

fn open_file(file: &MappedFile, may_write: bool, private: bool) -> Result<OwnedFd, String> {
    let mode = if may_write {
        libc::O_RDWR
    } else {
        libc::O_RDONLY
    };
    let flags = mode | libc::O_NOCTTY | libc::O_NONBLOCK;
    let fd = sys::descriptor::open(file.path.as_path(), flags, 0)
        .map_err(|e| format!("it cannot be opened: {e}"))?;
    let now = FileIdentity::of_descriptor(fd.as_raw_fd())
        .map_err(|e| format!("it cannot be examined: {e}"))?;
    let was = &file.identity;
    if private {
        if let Some(difference) = was.difference(&now) {
            return Err(difference);
        }
    } else if now.size < was.size {
        let (was, is) = (was.size, now.size);
        return Err(format!("it had {was} bytes and has {is}"));
    }
    Ok(fd)
}

/// The shared anonymous objects, mapped somewhere until the mappings are made.
struct Objects(Vec<Range>);

impl Objects {
    fn new(index: &MemoryIndex) -> Result<Self, MemoryError> {
        let mut objects = Self(Vec::new());
        for (at, &length) in index.objects.iter().enumerate() {
            // The kernel decided for the object as a whole when it was made.
            let unaccounted = index.mappings.iter().any(|m| {
                m.has(b"nr")
                    && matches!(m.backing, Backing::SharedAnonymous { object, .. }
                        if object as usize == at)
            });
            let flags = if unaccounted { libc::MAP_NORESERVE } else { 0 };
            let range = sys::memory::map_shared_anywhere(length, flags)
                .map_err(|e| MemoryError::map("make shared", Range::new(0, length), e))?;
            objects.0.push(range);
        }
        Ok(objects)
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        for &range in &self.0 {
            let _ = sys::memory::unmap(range);
        }
    }
}

/// The access that a mapping has while it is filled.
fn filling(mapping: &SavedMapping, filled: bool) -> i32 {
    let protection = i32::from(mapping.protection);
    if filled {
        protection | libc::PROT_READ | libc::PROT_WRITE
    } else {
        protection
    }
}

fn make(
    mapping: &SavedMapping,
    filled: bool,
    files: &[Option<OwnedFd>],
    objects: &Objects,
) -> std::io::Result<Fresh> {
    let range = mapping.range;
    let protection = filling(mapping, filled);
    // Address space that was not accounted must not be on the way back either.
    let unaccounted = mapping.has(b"nr") || (filled && !mapping.has(b"ac"));
    let mut flags = if unaccounted { libc::MAP_NORESERVE } else { 0 };
    if mapping.has(b"gd") {
        flags |= libc::MAP_GROWSDOWN;
    }
    let fd = |file: u32| {
        let open = files.get(file as usize).and_then(Option::as_ref);
        open.map_or(-1, AsRawFd::as_raw_fd)
    };
    match mapping.backing {
        Backing::Anonymous => {
            let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            sys::memory::map(range, protection, flags, -1, 0)
        }
        Backing::PrivateFile { file, offset } => sys::memory::map(
            range,
            protection,
            flags | libc::MAP_PRIVATE,
            fd(file),
            offset,
        ),
        Backing::SharedFile { file, offset, .. } => {
            let protection = i32::from(mapping.protection);
            sys::memory::map(
                range,
                protection,
                flags | libc::MAP_SHARED,
                fd(file),
                offset,
            )
        }
        Backing::SharedAnonymous { object, offset } => {
            let place = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let both = libc::PROT_READ | libc::PROT_WRITE;
            let fresh = sys::memory::map(range, both, place, -1, 0)?;
            sys::memory::duplicate(objects.0[object as usize].start + offset, range)?;
            Ok(fresh)
        }
    }
}

/// Advice that decides how pages are made when they are filled.
fn early_advice(mapping: &SavedMapping) {
    for (flag, advice) in [(b"hg", libc::MADV_HUGEPAGE), (b"nh", libc::MADV_NOHUGEPAGE)] {
        if mapping.has(flag) {
            // A kernel without huge pages has nothing to advise.
            let _ = sys::memory::advise(mapping.range, advice);
        }
    }
}

fn fill(
    reader: &ImageReader,
    index: &MemoryIndex,
    fresh: &mut [Fresh],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, MemoryError> {
    let mut data = reader.section_of(DATA_SECTION, SectionKind::MEMORY_DATA, VERSION)?;
    let total = index.extents.iter().map(Range::len).sum();
    let mut done = 0;
    let mut at = 0;
    for extent in &index.extents {
        while index.mappings[at].range.end <= extent.start {
            at += 1;
        }
        let mut part = *extent;
        while !part.is_empty() {
            let piece = Range::new(part.start, part.end.min(part.start + (16 << 20)));
            let bytes = fresh[at].bytes(piece);
            data.get(bytes.ok_or(MemoryError::Index("an extent"))?)?;
            done += piece.len();
            part.start = piece.end;
            progress(done, total);
        }
    }
    data.expect_end()?;
    Ok(done)
}

/// Final protection and advice.
fn finish(mapping: &SavedMapping, filled: bool) -> Result<(), MemoryError> {
    let range = mapping.range;
    let protection = i32::from(mapping.protection);
    let made_with = match mapping.backing {
        Backing::SharedFile { .. } => protection,
        Backing::SharedAnonymous { .. } => libc::PROT_READ | libc::PROT_WRITE,
        _ => filling(mapping, filled),
    };
    if made_with != protection {
        sys::memory::protect(range, protection)
            .map_err(|e| MemoryError::map("protect", range, e))?;
    }
    // These change what a fork gives: they must hold.
    for (flag, advice) in [(b"dc", libc::MADV_DONTFORK), (b"wf", libc::MADV_WIPEONFORK)] {
        if mapping.has(flag) {
            sys::memory::advise(range, advice)
                .map_err(|e| MemoryError::map("advise on", range, e))?;
        }
    }
    let hints = [
        (b"dd", libc::MADV_DONTDUMP),
        (b"mg", libc::MADV_MERGEABLE),
        (b"sr", libc::MADV_SEQUENTIAL),
        (b"rr", libc::MADV_RANDOM),
    ];
    for (flag, advice) in hints {
        if mapping.has(flag)
            && let Err(e) = sys::memory::advise(range, advice)
        {
            tracing::warn!(?range, advice, error = %e, "advice is not given again");
        }
    }
    if mapping.has(b"lo")
        && let Err(e) = sys::memory::lock_on_fault(range)
    {
        tracing::warn!(?range, error = %e, "memory is not locked again; see ulimit -l");
    }
    if let Some(name) = &mapping.name {
        let _ = sys::memory::name(range, name);
    }
    Ok(())
}

fn install_guard(range: Range) -> Result<(), MemoryError> {
    if sys::memory::advise(range, sys::memory::MADV_GUARD_INSTALL).is_ok() {
        return Ok(());
    }
    // A kernel without guard pages: no access has the same effect.
    sys::memory::protect(range, libc::PROT_NONE).map_err(|e| MemoryError::map("guard", range, e))
}
