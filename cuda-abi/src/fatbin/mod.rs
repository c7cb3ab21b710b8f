//! The fatbin: the container in which nvcc embeds device code.
//!
//! ```text
//! container   0  u32 magic 0xBA55ED50        wrapper (24 bytes, in .nvFatBinSegment)
//!             4  u16 version (1)               0  u32 magic 0x466243B1
//!             6  u16 size of this header (16)  4  u32 version (1, or 2 with a list)
//!             8  u64 bytes that follow         8  pointer to the container
//!            16  entries, back to back        16  pointer: file name, or the list
//!
//! entry       0  u16 kind: 1 PTX, 2 ELF       32  u32 offset of the name, 0 none
//!             2  u16 version                  36  u32 length of the name
//!             4  u32 size of this header      40  u64 flags: 0x2000 LZ4, 0x8000 zstd
//!             8  u64 payload bytes, padded    48  u64 reserved
//!            16  u32 compressed bytes, or 0   56  u64 bytes when decompressed, or 0
//!            20  u32 offset of options        64  options, name
//!            24  u16 minor, u16 major version of the PTX or of the ELF
//!            28  u32 architecture (75 is sm_75)
//! ```
//!
//! Everything is little-endian. Parsing borrows; only decompression allocates, and never more
//! than [`MAX_PAYLOAD`]. No input makes it panic.

use std::borrow::Cow;
use std::io::Read as _;

mod measure;

pub use measure::{Image, Measured, linked, measure};

/// First word of a container.
pub const CONTAINER_MAGIC: u32 = 0xba55_ed50;
/// First word of the wrapper that `__cudaRegisterFatBinary` is given.
pub const WRAPPER_MAGIC: u32 = 0x4662_43b1;
/// The most bytes that one payload may decompress to.
pub const MAX_PAYLOAD: u64 = 1 << 30;

const CONTAINER_HEADER: usize = 16;
const ENTRY_HEADER: usize = 64;
const FLAG_LZ4: u64 = 0x2000;
const FLAG_ZSTD: u64 = 0x8000;
/// LZ4 cannot expand more than this, so a larger claim is a lie and is not allocated for.
const LZ4_MAX_RATIO: u64 = 255;

/// What is wrong with a container.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FatbinError {
    /// The first word is not a container's.
    #[error("not a fatbin container: it starts with {0:#010x}")]
    Magic(u32),
    /// The container's version is not known.
    #[error("fatbin container of unknown version {0}")]
    Version(u16),
    /// A part reaches past the end of what holds it.
    #[error("fatbin truncated: {what} at offset {offset} does not fit into {have} bytes")]
    Truncated {
        /// The part.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// How many bytes there are.
        have: usize,
    },
    /// A header contradicts itself.
    #[error("fatbin entry {index} is malformed: {why}")]
    Entry {
        /// Which entry, from 0.
        index: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// A payload could not be decompressed to the size its header gives.
    #[error("fatbin payload compressed with {codec} is damaged: {why}")]
    Payload {
        /// LZ4 or zstd.
        codec: &'static str,
        /// The decoder's words.
        why: String,
    },
    /// A payload says that it is larger than [`MAX_PAYLOAD`].
    #[error("fatbin payload claims {0} bytes")]
    TooLarge(u64),
}

/// What an entry holds: a newtype, because other kinds exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u16);

impl Kind {
    /// PTX text.
    pub const PTX: Self = Self(1);
    /// A cubin, an ELF file with machine code.
    pub const ELF: Self = Self(2);
}

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// One LZ4 block.
    Lz4,
    /// One zstd frame.
    Zstd,
}

/// One piece of device code in a container.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// PTX or ELF.
    pub kind: Kind,
    /// The architecture it is made for: 75 for `sm_75` and `compute_75`.
    pub arch: u32,
    /// Version of PTX, or of the ELF.
    pub version: (u16, u16),
    /// The header's flags, unknown ones included.
    pub flags: u64,
    /// Name of the source, where one was kept.
    pub name: Option<&'a [u8]>,
    /// How [`Entry::stored`] is compressed.
    pub compression: Compression,
    /// The payload as stored, without padding.
    pub stored: &'a [u8],
    /// The size of the decompressed payload.
    pub size: u64,
}

impl<'a> Entry<'a> {
    /// The payload, decompressed. PTX has its closing NUL and padding removed.
    ///
    /// # Errors
    /// The payload is damaged, or claims more than [`MAX_PAYLOAD`] bytes.
    pub fn payload(&self) -> Result<Cow<'a, [u8]>, FatbinError> {
        if self.size > MAX_PAYLOAD {
            return Err(FatbinError::TooLarge(self.size));
        }
        let mut bytes = match self.compression {
            Compression::None => Cow::Borrowed(self.stored),
            Compression::Lz4 => Cow::Owned(self.lz4()?),
            Compression::Zstd => Cow::Owned(self.zstd()?),
        };
        if self.kind == Kind::PTX {
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            match &mut bytes {
                Cow::Borrowed(slice) => *slice = slice.get(..end).unwrap_or(slice),
                Cow::Owned(vec) => vec.truncate(end),
            }
        }
        Ok(bytes)
    }

    fn lz4(&self) -> Result<Vec<u8>, FatbinError> {
        let damaged = |why: String| FatbinError::Payload { codec: "LZ4", why };
        if self.size > (self.stored.len() as u64 + 1) * LZ4_MAX_RATIO {
            return Err(damaged(format!(
                "{} bytes cannot hold {}",
                self.stored.len(),
                self.size
            )));
        }
        let bytes = lz4_flex::block::decompress(self.stored, self.size as usize)
            .map_err(|e| damaged(e.to_string()))?;
        self.check(bytes, "LZ4")
    }

    fn zstd(&self) -> Result<Vec<u8>, FatbinError> {
        let damaged = |e: std::io::Error| FatbinError::Payload {
            codec: "zstd",
            why: e.to_string(),
        };
        let mut bytes = Vec::new();
        zstd::stream::read::Decoder::with_buffer(self.stored)
            .map_err(damaged)?
            .single_frame()
            .take(self.size + 1)
            .read_to_end(&mut bytes)
            .map_err(damaged)?;
        self.check(bytes, "zstd")
    }

    fn check(&self, bytes: Vec<u8>, codec: &'static str) -> Result<Vec<u8>, FatbinError> {
        if bytes.len() as u64 == self.size {
            return Ok(bytes);
        }
        let why = format!(
            "got {} bytes where {} were promised",
            bytes.len(),
            self.size
        );
        Err(FatbinError::Payload { codec, why })
    }
}

/// A parsed container.
#[derive(Clone, Debug)]
pub struct Fatbin<'a> {
    /// The pieces of code, in file order.
    pub entries: Vec<Entry<'a>>,
    /// The container's whole length, header included.
    pub len: usize,
}

impl<'a> Fatbin<'a> {
    /// Parses the container at the start of `bytes`; what follows it is ignored.
    ///
    /// # Errors
    /// Another magic or version, or parts that do not fit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FatbinError> {
        let len = container_len(bytes)?;
        let body = part(bytes, 0, len, "container")?;
        let mut entries = Vec::new();
        let mut at = usize::from(u16_at(body, 6));
        while at < body.len() {
            let (entry, next) = parse_entry(body, at, entries.len())?;
            entries.push(entry);
            at = next;
        }
        Ok(Self { entries, len })
    }

    /// The PTX for the newest architecture that `arch` (75 for `sm_75`) can run.
    #[must_use]
    pub fn best_ptx(&self, arch: u32) -> Option<&Entry<'a>> {
        self.of_kind(Kind::PTX)
            .filter(|e| e.arch <= arch)
            .max_by_key(|e| e.arch)
    }

    /// The entries of one kind, in file order.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Entry<'a>> {
        self.entries.iter().filter(move |e| e.kind == kind)
    }
}

/// The containers that stand back to back in `bytes`, each padded to a multiple of 8: what
/// [`linked`] finds, copied together. What follows the last one, and is none, is ignored.
///
/// # Errors
/// As [`Fatbin::parse`], for any of them.
pub fn containers(bytes: &[u8]) -> Result<Vec<Fatbin<'_>>, FatbinError> {
    let mut found = Vec::new();
    let mut rest = bytes;
    loop {
        let container = Fatbin::parse(rest)?;
        let end = container.len.next_multiple_of(8);
        rest = rest.get(end..).unwrap_or_default();
        found.push(container);
        if !rest.starts_with(&CONTAINER_MAGIC.to_le_bytes()) {
            return Ok(found);
        }
    }
}

/// The length of the container that starts with these bytes (at least 16), header included.
///
/// # Errors
/// Another magic or version, or fewer bytes than a header.
pub fn container_len(header: &[u8]) -> Result<usize, FatbinError> {
    let header = part(header, 0, CONTAINER_HEADER, "container header")?;
    let magic = u32_at(header, 0);
    if magic != CONTAINER_MAGIC {
        return Err(FatbinError::Magic(magic));
    }
    let version = u16_at(header, 4);
    if version != 1 {
        return Err(FatbinError::Version(version));
    }
    let size = usize::from(u16_at(header, 6));
    let body = usize::try_from(u64_at(header, 8)).unwrap_or(usize::MAX);
    let truncated = FatbinError::Truncated {
        what: "container",
        offset: size,
        have: header.len(),
    };
    if size < CONTAINER_HEADER {
        return Err(truncated);
    }
    size.checked_add(body)
        .filter(|&len| len <= isize::MAX as usize)
        .ok_or(truncated)
}

fn parse_entry(body: &[u8], at: usize, index: usize) -> Result<(Entry<'_>, usize), FatbinError> {
    let head = part(body, at, ENTRY_HEADER, "entry header")?;
    let bad = |why| FatbinError::Entry { index, why };
    let header_size = u32_at(head, 4) as usize;
    if header_size < ENTRY_HEADER {
        return Err(bad("its header is shorter than 64 bytes"));
    }
    let header = part(body, at, header_size, "entry header")?;
    let padded = usize::try_from(u64_at(head, 8)).map_err(|_| bad("its payload is too long"))?;
    let start = at + header_size;
    let payload = part(body, start, padded, "payload")?;
    let (compressed, size, flags) = (
        u32_at(head, 16) as usize,
        u64_at(head, 56),
        u64_at(head, 40),
    );
    let compression = match (flags & FLAG_LZ4 != 0, flags & FLAG_ZSTD != 0) {
        (false, false) => Compression::None,
        (true, false) => Compression::Lz4,
        (false, true) => Compression::Zstd,
        (true, true) => return Err(bad("it claims two compressions")),
    };
    let stored = match compression {
        Compression::None => payload,
        _ => payload
            .get(..compressed)
            .ok_or(bad("its compressed size exceeds its payload"))?,
    };
    let name = match (u32_at(head, 32) as usize, u32_at(head, 36) as usize) {
        (0, _) | (_, 0) => None,
        (offset, len) => Some(part(header, offset, len, "entry name")?),
    };
    let entry = Entry {
        kind: Kind(u16_at(head, 0)),
        arch: u32_at(head, 28),
        version: (u16_at(head, 26), u16_at(head, 24)),
        flags,
        name,
        compression,
        stored,
        size: if compression == Compression::None {
            stored.len() as u64
        } else {
            size
        },
    };
    Ok((entry, start + padded))
}

/// `len` bytes from `offset`, or an error that names the part.
fn part<'a>(
    bytes: &'a [u8],
    offset: usize,
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], FatbinError> {
    offset
        .checked_add(len)
        .and_then(|end| bytes.get(offset..end))
        .ok_or(FatbinError::Truncated {
            what,
            offset,
            have: bytes.len(),
        })
}

/// Little-endian integers at an offset that the caller has checked; past the end they are zero.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}
