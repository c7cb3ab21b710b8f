//! Reads one section: chunks in order, each checked before a byte of it is used.

use super::error::{Fault, ImageError};
use super::layout::{
    CHUNK_ENTRY, ChunkEntry, Codec, FORMAT_VERSION, SECTION_HEADER, SectionRecord, align_up,
    decode_table, section_header,
};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The contents of a section, from the beginning.
#[derive(Debug)]
pub struct SectionReader {
    image: PathBuf,
    file: Arc<File>,
    record: SectionRecord,
    table: Vec<ChunkEntry>,
    next: usize,
    end: u64,
    stored: Vec<u8>,
    chunk: Vec<u8>,
    used: usize,
}

impl SectionReader {
    /// Reads header and chunk table and holds them against the manifest.
    pub(super) fn open(
        image: &Path,
        file: Arc<File>,
        record: &SectionRecord,
        image_id: u64,
    ) -> Result<Self, ImageError> {
        let mut reader = Self {
            image: image.to_path_buf(),
            file,
            record: record.clone(),
            table: Vec::new(),
            next: 0,
            end: SECTION_HEADER as u64,
            stored: Vec::new(),
            chunk: Vec::new(),
            used: 0,
        };
        let mut covered = vec![0; SECTION_HEADER];
        reader.read_at(&mut covered, 0)?;
        let expected = section_header(record, image_id);
        if covered != expected {
            return Err(reader.wrong_header(&covered, &expected));
        }
        // The length was compared with the file's; so this much is on disk.
        let table_len = record.chunks * CHUNK_ENTRY as u64;
        covered.resize(SECTION_HEADER + table_len as usize, 0);
        reader.read_at(&mut covered[SECTION_HEADER..], record.file_len - table_len)?;
        if xxh3_64(&covered) != record.checksum {
            return Err(reader.damaged(Fault::Checksum("its chunk table".into())));
        }
        reader.table = decode_table(record, &covered[SECTION_HEADER..])
            .map_err(|fault| reader.damaged(fault))?;
        Ok(reader)
    }

    /// Length of the contents in bytes.
    pub fn raw_len(&self) -> u64 {
        self.record.raw_len
    }

    /// Version of the contents.
    pub fn version(&self) -> u32 {
        self.record.version
    }

    /// Fills `out` with the next bytes. Large pieces go to it without a copy.
    ///
    /// # Errors
    /// A damaged section, or one that is shorter; `out` is then of no use.
    pub fn get(&mut self, mut out: &mut [u8]) -> Result<(), ImageError> {
        while !out.is_empty() {
            let ready = &self.chunk[self.used..];
            if !ready.is_empty() {
                let n = ready.len().min(out.len());
                out[..n].copy_from_slice(&ready[..n]);
                self.used += n;
                out = &mut out[n..];
                continue;
            }
            let Some(entry) = self.table.get(self.next).copied() else {
                return Err(self.damaged(Fault::Content("more was expected in it".into())));
            };
            let raw_len = entry.raw_len as usize;
            if raw_len <= out.len() {
                let (head, tail) = out.split_at_mut(raw_len);
                self.load(entry, head)?;
                out = tail;
            } else {
                let mut chunk = std::mem::take(&mut self.chunk);
                chunk.resize(raw_len, 0);
                self.load(entry, &mut chunk)?;
                self.chunk = chunk;
                self.used = 0;
            }
        }
        Ok(())
    }

    /// The rest of the contents in one piece.
    ///
    /// # Errors
    /// As [`Self::get`]; contents longer than `limit` bytes.
    pub fn get_all(&mut self, limit: u64) -> Result<Vec<u8>, ImageError> {
        if self.record.raw_len > limit {
            return Err(self.damaged(Fault::Content(format!(
                "it has {} bytes where at most {limit} make sense",
                self.record.raw_len
            ))));
        }
        let mut out = Vec::new();
        // Grows with what has been verified: a table cannot claim memory.
        while let Some(entry) = self.table.get(self.next) {
            let at = out.len();
            let chunk = entry.raw_len as usize;
            out.resize(at + self.chunk.len() - self.used + chunk, 0);
            self.get(&mut out[at..])?;
        }
        let rest = self.chunk.len() - self.used;
        let at = out.len();
        out.resize(at + rest, 0);
        self.get(&mut out[at..])?;
        Ok(out)
    }

    /// Reads the rest and throws it away: only the checks matter.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn verify_rest(&mut self) -> Result<(), ImageError> {
        let mut chunk = Vec::new();
        while let Some(entry) = self.table.get(self.next).copied() {
            chunk.resize(entry.raw_len as usize, 0);
            self.load(entry, &mut chunk)?;
        }
        Ok(())
    }

    /// Nothing may be left when the contents have been used.
    ///
    /// # Errors
    /// When something is.
    pub fn expect_end(&self) -> Result<(), ImageError> {
        if self.next == self.table.len() && self.used == self.chunk.len() {
            Ok(())
        } else {
            Err(self.damaged(Fault::Content("it holds more than was expected".into())))
        }
    }

    pub(crate) fn damaged(&self, fault: Fault) -> ImageError {
        ImageError::damaged(&self.image, &self.record.name, fault)
    }

    /// Loads the next chunk into `out`, which has its raw length.
    fn load(&mut self, entry: ChunkEntry, out: &mut [u8]) -> Result<(), ImageError> {
        self.check_pad()?;
        let at = self.next;
        if entry.codec == Codec::Raw {
            self.read_at(out, entry.offset)?;
            self.check_sum(entry, at, out)?;
        } else {
            let mut stored = std::mem::take(&mut self.stored);
            stored.resize(entry.stored_len as usize, 0);
            self.read_at(&mut stored, entry.offset)?;
            self.check_sum(entry, at, &stored)?;
            let length = zstd::bulk::decompress_to_buffer(&stored, out)
                .map_err(|e| self.damaged(Fault::Content(format!("chunk {at}: {e}"))))?;
            if length != out.len() {
                return Err(self.damaged(Fault::Content(format!("chunk {at} is too short"))));
            }
            self.stored = stored;
        }
        self.next += 1;
        self.end = entry.offset + u64::from(entry.stored_len);
        Ok(())
    }

    fn check_sum(&self, entry: ChunkEntry, at: usize, stored: &[u8]) -> Result<(), ImageError> {
        if xxh3_64(stored) == entry.checksum {
            return Ok(());
        }
        let what = format!("chunk {at} at byte {}", entry.offset);
        Err(self.damaged(Fault::Checksum(what)))
    }

    /// What lies between two chunks is zero.
    fn check_pad(&self) -> Result<(), ImageError> {
        let offset = align_up(self.end, self.record.alignment).unwrap_or(self.end);
        let mut pad = vec![0; (offset - self.end) as usize];
        self.read_at(&mut pad, self.end)?;
        if pad.iter().any(|&b| b != 0) {
            return Err(self.damaged(Fault::Checksum(format!("the pad at byte {}", self.end))));
        }
        Ok(())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> Result<(), ImageError> {
        self.file.read_exact_at(out, offset).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                let found = self.file.metadata().map_or(0, |m| m.len());
                self.damaged(Fault::Length {
                    expected: self.record.file_len,
                    found,
                })
            } else {
                ImageError::io("read", &self.image.join(self.record.file_name()), e)
            }
        })
    }

    fn wrong_header(&self, found: &[u8], expected: &[u8; SECTION_HEADER]) -> ImageError {
        let version = u32::from_le_bytes([found[8], found[9], found[10], found[11]]);
        if found[..8] != expected[..8] {
            return self.damaged(Fault::Magic);
        }
        if version != FORMAT_VERSION {
            return ImageError::Version {
                image: self.image.clone(),
                section: self.record.name.clone(),
                found: version,
                known: FORMAT_VERSION,
            };
        }
        if found[24..32] != expected[24..32] {
            return self.damaged(Fault::Content("it belongs to another image".into()));
        }
        self.damaged(Fault::Checksum("its header".into()))
    }
}

impl io::Read for SectionReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut left = self.chunk.len() - self.used;
        for entry in &self.table[self.next..] {
            if left >= out.len() {
                break;
            }
            left += entry.raw_len as usize;
        }
        let n = out.len().min(left);
        self.get(&mut out[..n]).map_err(io::Error::other)?;
        Ok(n)
    }
}
