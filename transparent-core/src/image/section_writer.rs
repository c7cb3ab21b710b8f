//! Writes one section file: chunks as they come, then the chunk table, then the
//! header, then fsync.

use super::error::ImageError;
use super::layout::{
    CHUNK_ENTRY, ChunkEntry, Codec, SECTION_HEADER, SectionRecord, align_up, section_header,
};
use super::writer::Shared;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Raw bytes a chunk has, but the last of a section.
const CHUNK: usize = 1 << 20;
/// `Auto` compresses this much of a chunk, from four places, to see whether it pays.
const SAMPLE: usize = 16 << 10;

/// How the contents of a section are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// Chunk by chunk, zstd 1 where a sample shrinks to two thirds.
    Auto,
    /// zstd at this level, where it makes a chunk smaller at all.
    Zstd(i32),
}

/// A section being written. [`Self::finish`] makes it part of the image; dropped
/// without, the image cannot be committed.
#[derive(Debug)]
pub struct SectionWriter {
    shared: Arc<Shared>,
    file: File,
    path: PathBuf,
    record: SectionRecord,
    compression: Compression,
    pending: Vec<u8>,
    table: Vec<u8>,
    end: u64,
    failed: bool,
}

impl SectionWriter {
    pub(super) fn new(
        shared: Arc<Shared>,
        file: File,
        path: PathBuf,
        record: SectionRecord,
        compression: Compression,
    ) -> Self {
        Self {
            shared,
            file,
            path,
            record,
            compression,
            pending: Vec::new(),
            table: Vec::new(),
            end: SECTION_HEADER as u64,
            failed: false,
        }
    }

    /// Appends bytes to the section.
    ///
    /// # Errors
    /// When the file cannot be written; the section is then lost, and with it the
    /// image.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<(), ImageError> {
        if !self.pending.is_empty() {
            let take = bytes.len().min(CHUNK - self.pending.len());
            self.pending.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.pending.len() == CHUNK {
                let full = std::mem::take(&mut self.pending);
                self.chunk(&full)?;
                self.pending = full;
                self.pending.clear();
            }
        }
        let mut whole = bytes.chunks_exact(CHUNK);
        for chunk in &mut whole {
            self.chunk(chunk)?;
        }
        self.pending.extend_from_slice(whole.remainder());
        Ok(())
    }

    /// Bytes put so far.
    pub fn raw_len(&self) -> u64 {
        self.record.raw_len + self.pending.len() as u64
    }

    /// Ends the section: the rest of the data, the chunk table, the header. Returns
    /// the length of its file, which the commit syncs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<u64, ImageError> {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.chunk(&rest)?;
        }
        if self.failed {
            return Err(ImageError::io(
                "write",
                &self.path,
                io::Error::from_raw_os_error(libc::EIO),
            ));
        }
        let table = std::mem::take(&mut self.table);
        self.write_at(&table, self.end)?;
        let mut covered = section_header(&self.record, self.shared.id).to_vec();
        self.write_at(&covered, 0)?;
        covered.extend(&table);
        self.record.checksum = xxh3_64(&covered);
        self.record.file_len = self.end + table.len() as u64;
        let length = self.record.file_len;
        self.shared.finished(self.record, self.file, self.path);
        Ok(length)
    }

    fn chunk(&mut self, raw: &[u8]) -> Result<(), ImageError> {
        let packed = self.pack(raw);
        let (codec, stored) = match &packed {
            Some(packed) => (Codec::Zstd, packed.as_slice()),
            None => (Codec::Raw, raw),
        };
        let offset = align_up(self.end, self.record.alignment).unwrap_or(u64::MAX);
        if offset > self.end {
            let pad = vec![0; (offset - self.end) as usize];
            self.write_at(&pad, self.end)?;
        }
        self.write_at(stored, offset)?;
        let entry = ChunkEntry {
            offset,
            checksum: xxh3_64(stored),
            raw_len: raw.len() as u32,
            stored_len: stored.len() as u32,
            codec,
        };
        self.table.reserve(CHUNK_ENTRY);
        self.table.extend(entry.encode());
        self.end = offset + stored.len() as u64;
        self.record.chunks += 1;
        self.record.raw_len += raw.len() as u64;
        Ok(())
    }

    fn pack(&self, raw: &[u8]) -> Option<Vec<u8>> {
        let level = match self.compression {
            Compression::None => return None,
            Compression::Auto if !sample_pays(raw) => return None,
            Compression::Auto => 1,
            Compression::Zstd(level) => level,
        };
        let packed = zstd::bulk::compress(raw, level).ok()?;
        (packed.len() < raw.len()).then_some(packed)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), ImageError> {
        self.file.write_all_at(bytes, offset).map_err(|e| {
            self.failed = true;
            ImageError::io("write", &self.path, e)
        })
    }
}

fn sample_pays(raw: &[u8]) -> bool {
    let mut sample = Vec::with_capacity(SAMPLE);
    let piece = SAMPLE / 4;
    if raw.len() <= SAMPLE {
        sample.extend_from_slice(raw);
    } else {
        let step = (raw.len() - piece) / 3;
        for i in 0..4 {
            sample.extend_from_slice(&raw[i * step..i * step + piece]);
        }
    }
    zstd::bulk::compress(&sample, 1).is_ok_and(|packed| packed.len() * 3 <= sample.len() * 2)
}

impl io::Write for SectionWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
