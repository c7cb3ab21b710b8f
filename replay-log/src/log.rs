//! The log itself: adding records, naming objects, counting.

use std::collections::hash_map::Entry as Named;

use smallvec::SmallVec;

use crate::blobs::Blobs;
use crate::hash::{IdMap, shrink};
use crate::record::{Created, Life, Place, Rare, Seq, Slot, Stored, Tie};
use crate::slots::Slots;
use crate::{Entry, Kind, ObjectId};

/// The pruned log; see the crate's documentation for its rules.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub(crate) records: Slots,
    /// The objects that exist, by their user's name.
    pub(crate) live: IdMap<u64, Place>,
    pub(crate) keys: IdMap<(u64, u64), Slot>,
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

/// Objects that died together, contents first.
pub type Died = SmallVec<[ObjectId; 4]>;

/// What [`Log::push`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The record's position in the whole history.
    pub seq: u64,
    /// The objects that died with the one that the record destroys, and that one, contents first.
    pub died: Died,
}

/// What [`Log::release`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// So many references are left.
    Left(u32),
    /// It was the last one: these objects died, contents first.
    Died(Died),
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

/// An [`Entry`] as slices.
#[derive(Clone, Copy, Default)]
struct Parts<'a> {
    op: u32,
    payload: &'a [u8],
    blobs: &'a [&'a [u8]],
    creates: &'a [(ObjectId, Kind)],
    inside: &'a [ObjectId],
    needs: &'a [ObjectId],
    key: Option<(u64, u64)>,
}

impl<'a> Parts<'a> {
    fn of(entry: &'a Entry<'_>) -> Self {
        Self {
            op: entry.op,
            payload: entry.payload,
            blobs: &entry.blobs,
            creates: &entry.creates,
            inside: &entry.inside,
            needs: &entry.needs,
            key: entry.key,
        }
    }
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
        let parts = Parts::of(&entry);
        if let Some(id) = entry.destroys {
            let seq = self.next;
            let died = self.push_destruction(&parts, id)?;
            self.next += 1;
            self.shrink();
            return Ok(Pushed { seq, died });
        }
        self.add(&parts).map(|seq| Pushed {
            seq,
            died: Died::new(),
        })
    }

    /// Adds a record of what most records are of: operation `op` made one object inside others.
    ///
    /// # Errors
    /// As those of [`Log::push`].
    pub fn create(
        &mut self,
        op: u32,
        payload: &[u8],
        object: (ObjectId, Kind),
        inside: &[ObjectId],
    ) -> Result<u64, LogError> {
        self.add(&Parts {
            op,
            payload,
            creates: &[object],
            inside,
            ..Parts::default()
        })
    }

    #[inline]
    fn add(&mut self, parts: &Parts<'_>) -> Result<Seq, LogError> {
        let op = parts.op;
        if !parts.creates.is_empty() && parts.key.is_some() {
            return Err(LogError::Malformed {
                op,
                why: "a record that creates cannot have a key",
            });
        }
        // All names are looked up before anything is changed.
        let mut inside = SmallVec::new();
        for &id in parts.inside {
            Tie::add(&mut inside, self.place(op, id)?);
        }
        let mut needs = Vec::new();
        for &id in parts.needs {
            needs.push(self.place(op, id)?);
        }
        let creates = self.name(op, parts.creates)?;
        if let Some(key) = parts.key
            && let Some(old) = self.keys.remove(&key)
        {
            self.free(old);
        }
        let stored = self.stored(parts, creates, inside, needs, None);
        let slot = self.link(stored);
        if let Some(key) = parts.key {
            self.keys.insert(key, slot);
            self.shrink();
        }
        let seq = self.next;
        self.next += 1;
        Ok(seq)
    }

    fn push_destruction(&mut self, entry: &Parts<'_>, id: ObjectId) -> Result<Died, LogError> {
        let op = entry.op;
        if !entry.creates.is_empty() || entry.key.is_some() {
            return Err(LogError::Malformed {
                op,
                why: "a destruction can neither create nor have a key",
            });
        }
        let place = self.place(op, id)?;
        for &id in entry.inside.iter().chain(entry.needs) {
            self.place(op, id)?;
        }
        if !self.must_keep(place) {
            return Ok(self.free(place.slot));
        }
        let died = self.keep(place);
        // What a destruction takes along needs no edge of its own: its record goes with the object.
        let left = |&id: &ObjectId| self.place(op, id).ok();
        let mut inside = SmallVec::new();
        for place in entry.inside.iter().filter_map(left) {
            Tie::add(&mut inside, place);
        }
        let needs = entry.needs.iter().filter_map(left).collect();
        let stored = self.stored(entry, SmallVec::new(), inside, needs, Some(place));
        self.link(stored);
        self.one_kept();
        Ok(died)
    }

    /// Destroys an object without a record. Where the object must be kept for a replay (see
    /// [`Entry::needs`]), the replay will not destroy it: push an entry that
    /// [destroys](Entry::destroys) where that matters.
    ///
    /// # Errors
    /// The object does not exist.
    pub fn destroy(&mut self, id: ObjectId) -> Result<Died, LogError> {
        let place = self.place(0, id)?;
        let died = self.end(place);
        self.shrink();
        Ok(died)
    }

    fn end(&mut self, place: Place) -> Died {
        if self.must_keep(place) {
            self.keep(place)
        } else {
            self.free(place.slot)
        }
    }

    /// Destroys everything inside an object; the object stays (a context that is reset).
    ///
    /// # Errors
    /// The object does not exist.
    pub fn destroy_inside(&mut self, id: ObjectId) -> Result<Died, LogError> {
        let place = self.place(0, id)?;
        let mut died = Died::new();
        let all: Vec<Slot> = self
            .records
            .created(place)
            .map(|created| self.records.list(created.first).collect())
            .unwrap_or_default();
        for slot in all {
            let Some(record) = self.records.get(slot) else {
                continue;
            };
            let ids: SmallVec<[ObjectId; 1]> = record
                .creates
                .iter()
                .filter(|c| c.life == Life::Alive)
                .map(|c| c.id)
                .collect();
            if record.creates.is_empty() && record.rare().destroys.is_none() {
                self.free(slot);
            }
            for id in ids {
                if let Ok(place) = self.place(0, id) {
                    died.extend(self.end(place));
                }
            }
        }
        self.shrink();
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
            .records
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
            .records
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
            .filter_map(|&place| self.records.created(place))
            .map(|created| (created.id, created.kind))
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

    /// New objects, with names that are theirs from now on, in the slot that is filled next.
    fn name(
        &mut self,
        op: u32,
        objects: &[(ObjectId, Kind)],
    ) -> Result<SmallVec<[Created; 1]>, LogError> {
        let slot = self.records.next();
        let mut creates: SmallVec<[Created; 1]> = SmallVec::new();
        for (index, &(id, kind)) in (0..).zip(objects) {
            if let Named::Vacant(name) = self.live.entry(id.0) {
                name.insert(Place { slot, index });
                creates.push(Created::new(id, kind));
                continue;
            }
            for created in &creates {
                self.live.remove(&created.id.0);
            }
            return Err(LogError::Exists { op, id });
        }
        Ok(creates)
    }

    /// The record of an entry.
    #[inline]
    fn stored(
        &mut self,
        entry: &Parts<'_>,
        creates: SmallVec<[Created; 1]>,
        inside: SmallVec<[Tie; 1]>,
        needs: Vec<Place>,
        destroys: Option<Place>,
    ) -> Stored {
        let is_rare = !entry.blobs.is_empty()
            || !needs.is_empty()
            || destroys.is_some()
            || entry.key.is_some();
        let rare = is_rare.then(|| {
            Box::new(Rare {
                blobs: entry
                    .blobs
                    .iter()
                    .map(|bytes| self.blobs.hold(bytes))
                    .collect(),
                needs,
                raised: Vec::new(),
                destroys,
                key: entry.key,
            })
        });
        Stored {
            seq: self.next,
            op: entry.op,
            payload: SmallVec::from_slice(entry.payload),
            creates,
            inside,
            rare,
        }
    }

    /// Puts a record in and ties it to what it lies inside, needs and destroys.
    #[inline]
    pub(crate) fn link(&mut self, mut stored: Stored) -> Slot {
        self.payload_bytes += stored.payload.len() as u64;
        if let Some(rare) = &stored.rare {
            let raised = self.to_raise(&stored.inside, &rare.needs);
            for &place in &raised {
                if let Some(created) = self.records.created_mut(place) {
                    created.needed += 1;
                }
            }
            if let Some(rare) = &mut stored.rare {
                rare.raised = raised;
            }
        }
        let destroys = stored.rare().destroys;
        let ties = stored.inside.len() as u32;
        let slot = self.records.insert(stored);
        for tie in 0..ties {
            self.records.tie(slot, tie);
        }
        if let Some(place) = destroys
            && let Some(created) = self.records.created_mut(place)
        {
            created.destroyer = slot;
        }
        slot
    }

    /// The objects outside of a record's own surroundings that must outlive it: what it needs,
    /// and what that lies inside.
    fn to_raise(&self, inside: &[Tie], needs: &[Place]) -> Vec<Place> {
        if needs.is_empty() {
            return Vec::new();
        }
        let around = self.surroundings(inside.iter().map(|tie| tie.place).collect());
        let mut raised = self.surroundings(needs.iter().copied().collect());
        raised.retain(|place| !around.contains(place));
        raised.to_vec()
    }

    /// The places themselves and everything they lie inside, each once.
    fn surroundings(&self, mut todo: SmallVec<[Place; 8]>) -> SmallVec<[Place; 8]> {
        let mut found: SmallVec<[Place; 8]> = SmallVec::new();
        while let Some(place) = todo.pop() {
            if found.contains(&place) {
                continue;
            }
            found.push(place);
            if let Some(record) = self.records.get(place.slot) {
                todo.extend(record.inside.iter().map(|tie| tie.place));
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

    /// Gives memory back after much has gone; slots may have other numbers then.
    pub(crate) fn shrink(&mut self) {
        shrink(&mut self.live);
        let (live, keys) = (&mut self.live, &mut self.keys);
        self.records.shrink(|number| {
            for place in live.values_mut() {
                number(&mut place.slot);
            }
            for slot in keys.values_mut() {
                number(slot);
            }
        });
    }
}
