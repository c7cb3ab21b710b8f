//! Bytes of a log: what is written, and a reader that trusts none of it.
//!
//! ```text
//!  0  8 bytes  "gckptlog"
//!  8  u32      FORMAT_VERSION
//! 12  u32      0
//! 16  u64      length of the body
//! 24  u64      XXH3-64 of the body
//! 32  body     `Body` in bincode's standard configuration (little-endian, variable integers)
//! ```
//!
//! The header alone can be read by every release. The reader borrows bytes from its input and
//! allocates in proportion to it; a body that contradicts itself is refused.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::hash::IdMap;
use crate::record::{Created, Life, Place, Rare, Seq, Slot, Stored, Tie};
use crate::{Kind, Log, ObjectId};

/// The version that [`Log::encode`] writes, and the only one that is read.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"gckptlog";
const HEADER: usize = 32;

/// Why bytes are not a log.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header, or than the header says.
    #[error("log truncated: {have} bytes of {need}")]
    Truncated {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// The first bytes are not a log's.
    #[error("not a replay log")]
    Magic,
    /// A version that this release does not read.
    #[error("replay log of version {0}; this release reads {FORMAT_VERSION}")]
    Version(u32),
    /// The body's checksum is wrong.
    #[error("replay log damaged: its checksum is wrong")]
    Checksum,
    /// The body cannot be decoded.
    #[error("replay log damaged: {0}")]
    Body(#[from] bincode::error::DecodeError),
    /// The body contradicts itself.
    #[error("replay log damaged: record {seq} {why}")]
    Record {
        /// The record.
        seq: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Bytes are left over.
    #[error("replay log damaged: {0} bytes are left over")]
    Leftover(usize),
}

/// Bytes that are written as one piece and borrowed when read.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Bytes)
    }
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    next: u64,
    #[serde(borrow)]
    blobs: Vec<Bytes<'a>>,
    #[serde(borrow)]
    records: Vec<WireRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WireRecord<'a> {
    seq: u64,
    op: u32,
    #[serde(borrow)]
    payload: Bytes<'a>,
    blobs: Vec<u32>,
    creates: Vec<WireObject>,
    inside: Vec<(u64, u32)>,
    needs: Vec<(u64, u32)>,
    destroys: Option<(u64, u32)>,
    key: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct WireObject {
    id: u64,
    kind: u16,
    references: u32,
    /// 0 alive, 1 kept, 2 inside one that is kept.
    life: u8,
}

impl Log {
    /// The log as bytes, header included. What is kept for nothing is freed first.
    #[must_use]
    pub fn encode(&mut self) -> Vec<u8> {
        self.collect();
        let written = |&place: &Place| self.records.written(place);
        let mut blobs = Vec::new();
        let mut numbers: HashMap<*const u8, u32> = HashMap::new();
        let mut number = |blob: &Arc<[u8]>, blobs: &mut Vec<Arc<[u8]>>| {
            *numbers.entry(blob.as_ptr()).or_insert_with(|| {
                blobs.push(Arc::clone(blob));
                blobs.len() as u32 - 1
            })
        };
        let records = self
            .records
            .in_order()
            .into_iter()
            .map(|stored| WireRecord {
                seq: stored.seq,
                op: stored.op,
                payload: Bytes(&stored.payload),
                blobs: stored
                    .rare()
                    .blobs
                    .iter()
                    .map(|blob| number(blob, &mut blobs))
                    .collect(),
                creates: stored.creates.iter().map(WireObject::from).collect(),
                inside: stored
                    .inside
                    .iter()
                    .filter_map(|tie| written(&tie.place))
                    .collect(),
                needs: stored.rare().needs.iter().filter_map(written).collect(),
                destroys: stored.rare().destroys.as_ref().and_then(written),
                key: stored.rare().key,
            })
            .collect();
        let blobs = blobs.iter().map(|blob| Bytes(blob)).collect();
        let body = Body {
            next: self.next,
            blobs,
            records,
        };
        let mut bytes = vec![0; HEADER];
        let written = bincode::serde::encode_into_std_write(body, &mut bytes, config());
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        let body = bytes.get(HEADER..).unwrap_or(&[]);
        let (len, sum) = (body.len() as u64, xxh3_64(body));
        let header = [
            &MAGIC[..],
            &FORMAT_VERSION.to_le_bytes(),
            &[0; 4],
            &len.to_le_bytes(),
            &sum.to_le_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(header.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Reads what [`Log::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are no log, of another version, damaged, or followed by others.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = checked_body(bytes)?;
        let (wire, read): (Body<'_>, usize) =
            bincode::serde::borrow_decode_from_slice(body, config())?;
        if read != body.len() {
            return Err(DecodeError::Leftover(body.len() - read));
        }
        let mut log = Self {
            next: wire.next,
            ..Self::default()
        };
        let mut last = None;
        // Where a record lies, by its position in the history.
        let mut slots = IdMap::default();
        for record in &wire.records {
            let bad = |why| DecodeError::Record {
                seq: record.seq,
                why,
            };
            if last.is_some_and(|last| record.seq <= last) || record.seq >= wire.next {
                return Err(bad("is out of order"));
            }
            last = Some(record.seq);
            let stored = log.check_record(record, &slots, &wire.blobs).map_err(bad)?;
            log.kept += stored
                .creates
                .iter()
                .filter(|c| c.life == Life::Kept)
                .count();
            slots.insert(record.seq, log.link(stored));
        }
        Ok(log)
    }

    /// One record, if it fits those before it. Names and keys are entered here.
    fn check_record(
        &mut self,
        wire: &WireRecord<'_>,
        slots: &IdMap<Seq, Slot>,
        blobs: &[Bytes<'_>],
    ) -> Result<Stored, &'static str> {
        let place = |&(seq, index): &(u64, u32)| {
            let slot = slots.get(&seq);
            let place = slot.map(|&slot| Place { slot, index });
            place
                .filter(|&place| self.records.created(place).is_some())
                .ok_or("names an object that is not there")
        };
        let mut inside = SmallVec::new();
        for at in &wire.inside {
            Tie::add(&mut inside, place(at)?);
        }
        let needs = wire.needs.iter().map(place).collect::<Result<_, _>>()?;
        let destroys = wire.destroys.as_ref().map(place).transpose()?;
        let whole = inside
            .iter()
            .filter_map(|tie| self.records.created(tie.place))
            .all(|created| created.life == Life::Alive);
        let gone = destroys.and_then(|p| self.records.created(p));
        if gone.is_some_and(|gone| gone.life == Life::Alive || gone.destroyer().is_some())
            || (destroys.is_some() && !wire.creates.is_empty())
        {
            return Err("destroys what it cannot");
        }
        let slot = self.records.next();
        let mut creates: SmallVec<[Created; 1]> = SmallVec::new();
        for (index, object) in wire.creates.iter().enumerate() {
            let created = object
                .created()
                .ok_or("holds an object in an unknown state")?;
            if created.life == Life::Alive {
                let index = index as u32;
                if !whole {
                    return Err("holds a live object inside one that is gone");
                }
                if self.live.insert(object.id, Place { slot, index }).is_some() {
                    return Err("creates an object that exists");
                }
            }
            creates.push(created);
        }
        if let Some(key) = wire.key {
            if !creates.is_empty() || destroys.is_some() {
                return Err("has a key, and creates or destroys");
            }
            if whole && self.keys.insert(key, slot).is_some() {
                return Err("has the key of another record");
            }
        }
        let held = |&at: &u32| {
            blobs
                .get(at as usize)
                .ok_or("names a blob that is not there")
        };
        let held: Vec<_> = wire.blobs.iter().map(held).collect::<Result<_, _>>()?;
        let blobs = held
            .into_iter()
            .map(|blob| self.blobs.hold(blob.0))
            .collect();
        let rare = Rare {
            blobs,
            needs,
            raised: Vec::new(),
            destroys,
            key: wire.key,
        };
        Ok(Stored {
            seq: wire.seq,
            op: wire.op,
            payload: SmallVec::from_slice(wire.payload.0),
            creates,
            inside,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
        })
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard()
}

/// The body, if header and checksum are right.
fn checked_body(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let truncated = |need| DecodeError::Truncated {
        have: bytes.len(),
        need,
    };
    let (header, body) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or(truncated(HEADER))?;
    if !header.starts_with(&MAGIC) {
        return Err(DecodeError::Magic);
    }
    let word = |at: usize| {
        header
            .get(at..at + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    };
    let version = word(8) as u32;
    if version != FORMAT_VERSION {
        return Err(DecodeError::Version(version));
    }
    let len = usize::try_from(word(16)).unwrap_or(usize::MAX);
    if body.len() < len {
        return Err(truncated(HEADER.saturating_add(len)));
    }
    if body.len() > len {
        return Err(DecodeError::Leftover(body.len() - len));
    }
    if xxh3_64(body) != word(24) || word(8) >> 32 != 0 {
        return Err(DecodeError::Checksum);
    }
    Ok(body)
}

impl From<&Created> for WireObject {
    fn from(created: &Created) -> Self {
        let life = match created.life {
            Life::Alive => 0,
            Life::Kept => 1,
            Life::KeptInside => 2,
        };
        Self {
            id: created.id.0,
            kind: created.kind.0,
            references: created.references,
            life,
        }
    }
}

impl WireObject {
    fn created(&self) -> Option<Created> {
        let life = match self.life {
            0 => Life::Alive,
            1 => Life::Kept,
            2 => Life::KeptInside,
            _ => return None,
        };
        let mut created = Created::new(ObjectId(self.id), Kind(self.kind));
        created.life = life;
        created.references = self.references;
        (self.references > 0).then_some(created)
    }
}
