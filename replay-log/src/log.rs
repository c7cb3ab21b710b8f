//! The log itself: adding records, naming objects, counting.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use smallvec::SmallVec;

use crate::blobs::Blobs;
use crate::hash::IdMap;
use crate::record::{Created, Life, Place, Rare, Seq, Stored};
use crate::{Entry, ObjectId};

/// The pruned log; see the crate's documentation for its rules.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub(crate) records: IdMap<Seq, Stored>,
    /// The objects that exist, by their user's name.
    pub(crate) live: IdMap<u64, Place>,
    pub(crate) keys: HashMap<(u64, u64), Seq>,
    pub(crate) blobs: Blobs,
    pub(crate) next: Seq,
    pub(crate) payload_bytes: u64,
    /// Objects that were kept since the last collection.
    pub(crate) kept: usize,
}

/// A call that contradicts the log. The log is unchanged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LogError {
    /// An object was named that does not exist.
    #[error("operation {op}: object {:#x} does not exist", .id.0)]
    Unknown {
        /// The record's operation; 0 where a call has none.
        op: u32,
        /// The name.
        id: ObjectId,
    },
    /// An object was created whose name is taken.
    #[error("operation {op}: object {:#x} exists already", .id.0)]
    Exists {
        /// The record's operation.
        op: u32,
        /// The name.
        id: ObjectId,
    },
    /// An entry asks for what does not go together.
    #[error("operation {op}: {why}")]
    Malformed {
        /// The record's operation.
        op: u32,
        /// What does not go together.
        why: &'static str,
    },
}

/// What [`Log::push`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The record's position in the whole history.
    pub seq: u64,
    /// The objects that died with the one that the record destroys, and that one, contents first.
    pub died: Vec<ObjectId>,
}

/// What [`Log::release`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// So many references are left.
    Left(u32),
    /// It was the last one: these objects died, contents first.
    Died(Vec<ObjectId>),
}

/// Sizes, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records ever pushed.
    pub total: u64,
    /// Records that a replay would do.
    pub live: u64,
    /// Objects that exist.
    pub objects: u64,
    /// Bytes of the live records' payloads.
    pub payload_bytes: u64,
    /// Different blobs.
    pub blobs: u64,
    /// Bytes of the blobs, each counted once.
    pub blob_bytes: u64,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record and prunes what it makes superfluous.
    ///
    /// # Errors
    /// An object does not exist, or exists already; a key or a destruction together with
    /// creation. The log is then unchanged.
    pub fn push(&mut self, entry: Entry<'_>) -> Result<Pushed, LogError> {
        let op = entry.op;
        self.check(&entry)?;
        let seq = self.next;
        if let Some(id) = entry.destroys {
            let place = self.place(op, id)?;
            let died = if self.must_keep(place) {
                let died = self.keep(place);
                let stored = self.stored(&entry, Some(place))?;
                self.next += 1;
                self.link(seq, stored);
                self.one_kept();
                died
            } else {
                self.next += 1;
                self.free(place.seq)
            };
            return Ok(Pushed { seq, died });
        }
        let stored = self.stored(&entry, None)?;
        self.next += 1;
        if let Some(key) = entry.key
            && let Some(old) = self.keys.insert(key, seq)
        {
            self.free(old);
        }
        for (index, created) in stored.creates.iter().enumerate() {
            self.live.insert(
                created.id.0,
                Place {
                    seq,
                    index: index as u32,
                },
            );
        }
        self.link(seq, stored);
        Ok(Pushed {
            seq,
            died: Vec::new(),
        })
    }

    /// Destroys an object without a record. Where the object must be kept for a replay (see
    /// [`Entry::needs`]), the replay will not destroy it: push an entry that
    /// [destroys](Entry::destroys) where that matters.
    ///
    /// # Errors
    /// The object does not exist.
    pub fn destroy(&mut self, id: ObjectId) -> Result<Vec<ObjectId>, LogError> {
        let place = self.place(0, id)?;
        Ok(if self.must_keep(place) {
            self.keep(place)
        } else {
            self.free(place.seq)
        })
    }

    /// Destroys everything inside an object; the object stays (a context that is reset).
    ///
    /// # Errors
    /// The object does not exist.
    pub fn destroy_inside(&mut self, id: ObjectId) -> Result<Vec<ObjectId>, LogError> {
        let place = self.place(0, id)?;
        let mut died = Vec::new();
        for seq in self
            .created(place)
            .map(|c| c.dependents().to_vec())
            .unwrap_or_default()
        {
            let Some(record) = self.records.get(&seq) else {
                continue;
            };
            let ids: SmallVec<[ObjectId; 1]> = record
                .creates
                .iter()
                .filter(|c| c.life == Life::Alive)
                .map(|c| c.id)
                .collect();
            if record.creates.is_empty() && record.rare().destroys.is_none() {
                self.free(seq);
            }
            for id in ids {
                if self.live.contains_key(&id.0) {
                    died.extend(self.destroy(id)?);
                }
            }
        }
        Ok(died)
    }

    /// One reference more to an object that its user counts (a primary context). A replay finds
    /// the count in [`crate::CreatedObject::references`].
    ///
    /// # Errors
    /// The object does not exist.
    pub fn retain(&mut self, id: ObjectId) -> Result<u32, LogError> {
        let place = self.place(0, id)?;
        let created = self
            .created_mut(place)
            .ok_or(LogError::Unknown { op: 0, id })?;
        created.references = created.references.saturating_add(1);
        Ok(created.references)
    }

    /// One reference less; the last one destroys the object as [`Log::destroy`] does.
    ///
    /// # Errors
    /// The object does not exist.
    pub fn release(&mut self, id: ObjectId) -> Result<Released, LogError> {
        let place = self.place(0, id)?;
        let created = self
            .created_mut(place)
            .ok_or(LogError::Unknown { op: 0, id })?;
        if created.references > 1 {
            created.references -= 1;
            return Ok(Released::Left(created.references));
        }
        self.destroy(id).map(Released::Died)
    }

    /// Whether an object exists.
    #[must_use]
    pub fn exists(&self, id: ObjectId) -> bool {
        self.live.contains_key(&id.0)
    }

    /// The objects that exist, with their kinds, in no particular order.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectId, crate::Kind)> + '_ {
        self.live
            .values()
            .filter_map(|&place| self.created(place).map(|c| (c.id, c.kind)))
    }

    /// Sizes, for people.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            total: self.next,
            live: self.records.len() as u64,
            objects: self.live.len() as u64,
            payload_bytes: self.payload_bytes,
            blobs: self.blobs.count() as u64,
            blob_bytes: self.blobs.bytes(),
        }
    }

    /// Everything about an entry that can be wrong, before anything is changed.
    fn check(&self, entry: &Entry<'_>) -> Result<(), LogError> {
        let op = entry.op;
        if !entry.creates.is_empty() && (entry.key.is_some() || entry.destroys.is_some()) {
            let why = "a record that creates can neither have a key nor destroy";
            return Err(LogError::Malformed { op, why });
        }
        if entry.key.is_some() && entry.destroys.is_some() {
            return Err(LogError::Malformed {
                op,
                why: "a destruction cannot have a key",
            });
        }
        for (i, &(id, _)) in entry.creates.iter().enumerate() {
            let twice = entry.creates.iter().take(i).any(|&(other, _)| other == id);
            if twice || self.exists(id) {
                return Err(LogError::Exists { op, id });
            }
        }
        // Without a destruction, `stored` looks the names up before anything is changed.
        let Some(destroyed) = &entry.destroys else {
            return Ok(());
        };
        let mut named = entry.inside.iter().chain(&entry.needs).chain([destroyed]);
        match named.find(|id| !self.exists(**id)) {
            Some(&id) => Err(LogError::Unknown { op, id }),
            None => Ok(()),
        }
    }

    /// The record of an entry that has been checked. Of a destruction, what it destroys is
    /// already gone from the names.
    fn stored(&mut self, entry: &Entry<'_>, destroys: Option<Place>) -> Result<Stored, LogError> {
        // What a destruction takes along needs no edge of its own: its record goes with the object.
        let find = |id: &ObjectId| match self.place(entry.op, *id) {
            Err(_) if destroys.is_some() => None,
            found => Some(found),
        };
        let inside = entry
            .inside
            .iter()
            .filter_map(find)
            .collect::<Result<_, _>>()?;
        let needs = entry
            .needs
            .iter()
            .filter_map(find)
            .collect::<Result<_, _>>()?;
        let creates = entry
            .creates
            .iter()
            .map(|&(id, kind)| Created::new(id, kind))
            .collect();
        let is_rare = !entry.blobs.is_empty()
            || !entry.needs.is_empty()
            || destroys.is_some()
            || entry.key.is_some();
        let rare = is_rare.then(|| Rare {
            blobs: entry
                .blobs
                .iter()
                .map(|bytes| self.blobs.hold(bytes))
                .collect(),
            needs,
            raised: Vec::new(),
            destroys,
            key: entry.key,
        });
        Ok(Stored::new(entry.op, entry.payload, creates, inside, rare))
    }

    /// Puts a record in and ties it to what it lies inside, needs and destroys.
    pub(crate) fn link(&mut self, seq: Seq, mut stored: Stored) {
        let raised = self.to_raise(&stored);
        self.payload_bytes += stored.payload.len() as u64;
        for &place in &raised {
            if let Some(created) = self.created_mut(place) {
                created.needed += 1;
            }
        }
        stored.set_raised(raised);
        for &place in &stored.inside {
            if let Some(created) = self.created_mut(place) {
                created.ties().dependents.push(seq);
            }
        }
        let destroys = stored.rare().destroys;
        if let Some(created) = destroys.and_then(|place| self.created_mut(place)) {
            created.ties().destroyer = Some(seq);
        }
        match self.records.entry(seq) {
            Slot::Vacant(slot) => {
                slot.insert(stored);
            }
            Slot::Occupied(_) => unreachable!("sequence numbers are used once"),
        }
    }

    /// The objects outside of the record's own surroundings that must outlive it: what it needs,
    /// and what that lies inside.
    fn to_raise(&self, stored: &Stored) -> Vec<Place> {
        let mut raised = Vec::new();
        let needs = &stored.rare().needs;
        if needs.is_empty() {
            return raised;
        }
        let around = self.surroundings(&stored.inside);
        for place in self.surroundings(needs) {
            if !around.contains(&place) {
                raised.push(place);
            }
        }
        raised
    }

    /// The places themselves and everything they lie inside, each once.
    fn surroundings(&self, from: &[Place]) -> SmallVec<[Place; 8]> {
        let mut found: SmallVec<[Place; 8]> = SmallVec::new();
        let mut todo: SmallVec<[Place; 8]> = SmallVec::from_slice(from);
        while let Some(place) = todo.pop() {
            if found.contains(&place) {
                continue;
            }
            found.push(place);
            if let Some(record) = self.records.get(&place.seq) {
                todo.extend_from_slice(&record.inside);
            }
        }
        found
    }

    fn place(&self, op: u32, id: ObjectId) -> Result<Place, LogError> {
        self.live
            .get(&id.0)
            .copied()
            .ok_or(LogError::Unknown { op, id })
    }

    pub(crate) fn created(&self, place: Place) -> Option<&Created> {
        self.records
            .get(&place.seq)?
            .creates
            .get(place.index as usize)
    }

    pub(crate) fn created_mut(&mut self, place: Place) -> Option<&mut Created> {
        self.records
            .get_mut(&place.seq)?
            .creates
            .get_mut(place.index as usize)
    }
}
