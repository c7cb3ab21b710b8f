//! The bytes of an image. All integers are little endian.
//!
//! ```text
//! manifest
//!   0   8  magic "GPUCKPT\n"                              any release reads these
//!   8   4  format version (1)                             four fields, whatever the
//!  12   4  length of the manifest in bytes                version says
//!  16   8  XXH3-64 of the manifest with this field zero
//!  24   …  records, one after the other, up to the length:
//!            0  2  tag     1 image (exactly one, first), 2 section
//!            2  2  version of the record (1)
//!            4  4  length of what follows
//!            8  …  body
//!   image    0  8  image id, random; also in every section file
//!            8  8  created, nanoseconds since 1970
//!           16  1  length of the writer's name; its bytes, UTF-8
//!   section  0  4  kind            4  4  version of the contents
//!            8  4  alignment      12  4  zero
//!           16  8  chunks         24  8  raw bytes in all
//!           32  8  length of the file
//!           40  8  XXH3-64 of the file's header and chunk table
//!           48  1  length of the name; its bytes
//!
//! NAME.section
//!   0   8  magic "GPUCKSEC"
//!   8   4  format version    12  4  kind
//!  16   4  version           20  4  alignment (1 or 4096)
//!  24   8  image id          32 24  zero
//!  56   8  XXH3-64 of the name and of bytes 0 to 56
//!  64   …  chunks, each at the next multiple of the alignment, zeros between
//!   …   …  chunk table, up to the end of the file, 32 bytes a chunk:
//!            0  8  offset in the file     8  8  XXH3-64 of the stored bytes
//!           16  4  raw length            20  4  stored length
//!           24  1  codec (0 raw, 1 zstd) 25  7  zero
//! ```
//!
//! Decoding takes nothing on trust: every length is compared with what the file
//! has before memory is taken for it.

use super::error::Fault;
use xxhash_rust::xxh3::xxh3_64;

/// Version of manifest and section files that this release writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Longest chunk that a reader accepts, raw or stored.
pub const MAX_CHUNK: u32 = 4 << 20;

pub(super) const MANIFEST_MAGIC: [u8; 8] = *b"GPUCKPT\n";
pub(super) const SECTION_MAGIC: [u8; 8] = *b"GPUCKSEC";
pub(super) const MAX_MANIFEST: u64 = 16 << 20;
pub(super) const SECTION_HEADER: usize = 64;
pub(super) const CHUNK_ENTRY: usize = 32;
pub(super) const PAGE: u32 = 4096;
pub(super) const MAX_NAME: usize = 64;

const TAG_IMAGE: u16 = 1;
const TAG_SECTION: u16 = 2;
const RECORD_VERSION: u16 = 1;
const SECTION_BODY: usize = 49;

/// What a section holds. Numbers are never given to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SectionKind(pub u32);

impl SectionKind {
    /// Facts about job and host.
    pub const JOB: Self = Self(1);
    /// Threads, signals and virtual ids.
    pub const UPPER: Self = Self(2);
    /// Descriptors ([`crate::fds::FdTable`]).
    pub const FDS: Self = Self(3);
    /// Process attributes ([`crate::attributes::Attributes`]).
    pub const ATTRIBUTES: Self = Self(4);
    /// Mappings and extents ([`crate::memory::MemoryIndex`]).
    pub const MEMORY: Self = Self(5);
    /// The pages of the extents, one after the other.
    pub const MEMORY_DATA: Self = Self(6);
    /// The device log.
    pub const DEVICE_LOG: Self = Self(7);
    /// Device regions and where their bytes are.
    pub const DEVICE_MEMORY: Self = Self(8);
    /// Bytes of device regions.
    pub const DEVICE_DATA: Self = Self(9);
    /// How the threads are scheduled. (10 is the summary, which `lower-half` writes.)
    pub const SCHEDULING: Self = Self(11);
}

/// How a chunk is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// A section as the manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionRecord {
    /// Name; its file is `NAME.section`.
    pub name: String,
    /// What it holds.
    pub kind: SectionKind,
    /// Version of its contents.
    pub version: u32,
    /// Chunks begin at multiples of this in the file: 1 or 4096.
    pub alignment: u32,
    /// Number of chunks.
    pub chunks: u64,
    /// Length of the contents in bytes.
    pub raw_len: u64,
    /// Length of the file in bytes.
    pub file_len: u64,
    /// XXH3-64 of the file's header and chunk table.
    pub checksum: u64,
}

impl SectionRecord {
    /// The section's file name.
    pub fn file_name(&self) -> String {
        file_name(&self.name)
    }
}

pub(super) fn file_name(section: &str) -> String {
    format!("{section}.section")
}

/// One chunk of a section file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkEntry {
    pub(super) offset: u64,
    pub(super) checksum: u64,
    pub(super) raw_len: u32,
    pub(super) stored_len: u32,
    pub(super) codec: Codec,
}

/// The manifest's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) id: u64,
    pub(super) created_ns: u64,
    pub(super) writer: String,
    pub(super) sections: Vec<SectionRecord>,
}

/// Why a manifest was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ManifestFault {
    Fault(Fault),
    Version(u32),
}

impl From<Fault> for ManifestFault {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// True for a name that may be a file's: no separator, no hidden file.
pub(super) fn good_name(name: &str, limit: usize) -> bool {
    name.len() <= limit
        && name
            .bytes()
            .next()
            .is_some_and(|c| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
}

/// The offset at which the next chunk begins.
pub(super) fn align_up(offset: u64, alignment: u32) -> Option<u64> {
    offset.checked_next_multiple_of(u64::from(alignment))
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.sections.len() * 96);
        out.extend(MANIFEST_MAGIC);
        out.extend(FORMAT_VERSION.to_le_bytes());
        out.extend([0; 12]);
        let mut body = Vec::new();
        body.extend(self.id.to_le_bytes());
        body.extend(self.created_ns.to_le_bytes());
        push_name(&mut body, &self.writer);
        push_record(&mut out, TAG_IMAGE, &body);
        for section in &self.sections {
            body.clear();
            body.extend(section.kind.0.to_le_bytes());
            body.extend(section.version.to_le_bytes());
            body.extend(section.alignment.to_le_bytes());
            body.extend([0; 4]);
            body.extend(section.chunks.to_le_bytes());
            body.extend(section.raw_len.to_le_bytes());
            body.extend(section.file_len.to_le_bytes());
            body.extend(section.checksum.to_le_bytes());
            push_name(&mut body, &section.name);
            push_record(&mut out, TAG_SECTION, &body);
        }
        let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out[12..16].copy_from_slice(&length.to_le_bytes());
        let sum = xxh3_64(&out);
        out[16..24].copy_from_slice(&sum.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ManifestFault> {
        let mut cursor = Cursor(bytes);
        if cursor.take(8)? != MANIFEST_MAGIC {
            return Err(Fault::Magic.into());
        }
        let version = cursor.u32()?;
        let length = u64::from(cursor.u32()?);
        let sum = cursor.u64()?;
        if length != bytes.len() as u64 {
            return Err(Fault::Length {
                expected: length,
                found: bytes.len() as u64,
            }
            .into());
        }
        let mut copy = bytes.to_vec();
        copy[16..24].fill(0);
        if xxh3_64(&copy) != sum {
            return Err(Fault::Checksum("the manifest".into()).into());
        }
        if version != FORMAT_VERSION {
            return Err(ManifestFault::Version(version));
        }
        Ok(Self::records(cursor)?)
    }

    fn records(mut cursor: Cursor<'_>) -> Result<Self, Fault> {
        let mut image = None;
        let mut sections: Vec<SectionRecord> = Vec::new();
        while !cursor.0.is_empty() {
            let tag = cursor.u16()?;
            if cursor.u16()? != RECORD_VERSION {
                return Err(Fault::Field("the version of a record"));
            }
            let length = cursor.u32()? as usize;
            let mut body = Cursor(cursor.take(length)?);
            match tag {
                TAG_IMAGE if image.is_none() => {
                    image = Some((body.u64()?, body.u64()?, body.name()?));
                }
                TAG_SECTION if image.is_some() => sections.push(section_record(&mut body)?),
                _ => return Err(Fault::Field("the tag of a record")),
            }
            if !body.0.is_empty() {
                return Err(Fault::Field("the length of a record"));
            }
        }
        let (id, created_ns, writer) = image.ok_or(Fault::Field("the image record"))?;
        let mut names: Vec<&str> = sections.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Fault::Field("a section that occurs twice"));
        }
        Ok(Self {
            id,
            created_ns,
            writer,
            sections,
        })
    }
}

fn section_record(body: &mut Cursor<'_>) -> Result<SectionRecord, Fault> {
    let kind = SectionKind(body.u32()?);
    let version = body.u32()?;
    let alignment = body.u32()?;
    if body.u32()? != 0 {
        return Err(Fault::Field("a reserved field"));
    }
    let record = SectionRecord {
        kind,
        version,
        alignment,
        chunks: body.u64()?,
        raw_len: body.u64()?,
        file_len: body.u64()?,
        checksum: body.u64()?,
        name: body.name()?,
    };
    if !good_name(&record.name, MAX_NAME) {
        return Err(Fault::Field("the name of a section"));
    }
    if alignment != 1 && alignment != PAGE {
        return Err(Fault::Field("the alignment of a section"));
    }
    let table = record.chunks.checked_mul(CHUNK_ENTRY as u64);
    let least = table.and_then(|t| t.checked_add(SECTION_HEADER as u64));
    if least.is_none_or(|least| least > record.file_len) {
        return Err(Fault::Field("the number of chunks"));
    }
    Ok(record)
}

fn push_record(out: &mut Vec<u8>, tag: u16, body: &[u8]) {
    debug_assert!(tag != TAG_SECTION || body.len() >= SECTION_BODY);
    out.extend(tag.to_le_bytes());
    out.extend(RECORD_VERSION.to_le_bytes());
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    let name = &name.as_bytes()[..name.len().min(255)];
    out.push(name.len() as u8);
    out.extend(name);
}

/// The first 64 bytes of a section file.
pub(super) fn section_header(record: &SectionRecord, image_id: u64) -> [u8; SECTION_HEADER] {
    let mut out = [0; SECTION_HEADER];
    out[0..8].copy_from_slice(&SECTION_MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&record.kind.0.to_le_bytes());
    out[16..20].copy_from_slice(&record.version.to_le_bytes());
    out[20..24].copy_from_slice(&record.alignment.to_le_bytes());
    out[24..32].copy_from_slice(&image_id.to_le_bytes());
    let mut summed = record.name.as_bytes().to_vec();
    summed.extend(&out[..56]);
    out[56..64].copy_from_slice(&xxh3_64(&summed).to_le_bytes());
    out
}

impl ChunkEntry {
    pub(super) fn encode(&self) -> [u8; CHUNK_ENTRY] {
        let mut out = [0; CHUNK_ENTRY];
        out[0..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..16].copy_from_slice(&self.checksum.to_le_bytes());
        out[16..20].copy_from_slice(&self.raw_len.to_le_bytes());
        out[20..24].copy_from_slice(&self.stored_len.to_le_bytes());
        out[24] = self.codec as u8;
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut cursor = Cursor(bytes);
        let offset = cursor.u64()?;
        let checksum = cursor.u64()?;
        let raw_len = cursor.u32()?;
        let stored_len = cursor.u32()?;
        let codec = match cursor.take(8)? {
            [0, 0, 0, 0, 0, 0, 0, 0] => Codec::Raw,
            [1, 0, 0, 0, 0, 0, 0, 0] => Codec::Zstd,
            _ => return Err(Fault::Field("the codec of a chunk")),
        };
        let lengths = 1..=MAX_CHUNK;
        if !lengths.contains(&raw_len)
            || !lengths.contains(&stored_len)
            || (codec == Codec::Raw && raw_len != stored_len)
        {
            return Err(Fault::Field("the length of a chunk"));
        }
        Ok(Self {
            offset,
            checksum,
            raw_len,
            stored_len,
            codec,
        })
    }
}

/// Decodes a chunk table and holds it against the section's record: chunks follow
/// one another without gaps but alignment, and end where the table begins.
pub(super) fn decode_table(record: &SectionRecord, bytes: &[u8]) -> Result<Vec<ChunkEntry>, Fault> {
    let mut end = SECTION_HEADER as u64;
    let mut raw = 0_u64;
    let mut table = Vec::with_capacity(bytes.len() / CHUNK_ENTRY);
    for entry in bytes.chunks(CHUNK_ENTRY) {
        let chunk = ChunkEntry::decode(entry)?;
        if Some(chunk.offset) != align_up(end, record.alignment) {
            return Err(Fault::Field("the offset of a chunk"));
        }
        end = chunk.offset + u64::from(chunk.stored_len);
        raw += u64::from(chunk.raw_len);
        table.push(chunk);
    }
    if table.len() as u64 != record.chunks || end + bytes.len() as u64 != record.file_len {
        return Err(Fault::Field("the number of chunks"));
    }
    if raw != record.raw_len {
        return Err(Fault::Field("the length of the contents"));
    }
    Ok(table)
}

/// Bytes not yet decoded.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (head, tail) = self
            .0
            .split_at_checked(length)
            .ok_or(Fault::Field("a field that goes past the end"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Result<String, Fault> {
        let [length] = self.array()?;
        let bytes = self.take(usize::from(length))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Fault::Field("a name"))
    }
}
