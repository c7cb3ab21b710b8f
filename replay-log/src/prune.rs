//! Pruning: what goes, and what a destroyed object leaves behind.
//!
//! Invariants, upheld by [`crate::Log::push`] and here:
//! - A record's surroundings exist as long as the record: freeing an object frees what lies
//!   inside it.
//! - `needed` of an object is the number of records outside it that need it or something in it.
//! - An object that is not [alive](Life::Alive) has no name, and nothing in it has one.
//! - Whatever names a record's slot goes with the record, or before a slot is filled again.

use smallvec::SmallVec;

use crate::log::Died;
use crate::record::{Life, Link, NONE, Place, Slot, Stored};
use crate::{Log, ObjectId};

impl Log {
    /// Whether a destroyed object's records are still of use: something needs it, or it was
    /// created together with others that live on.
    pub(crate) fn must_keep(&self, place: Place) -> bool {
        let Some(record) = self.records.get(place.slot) else {
            return false;
        };
        record.creates.iter().enumerate().any(|(index, created)| {
            created.needed > 0 || (index as u32 != place.index && created.life != Life::Kept)
        })
    }

    /// Takes an object's name, and the names of all that lies inside it, but keeps the records.
    /// Returns the names, contents first.
    pub(crate) fn keep(&mut self, place: Place) -> Died {
        let mut died = Died::new();
        let mut todo = vec![(place, Life::Kept)];
        while let Some((place, life)) = todo.pop() {
            let Some(created) = self.records.created_mut(place) else {
                continue;
            };
            if created.life != Life::Alive {
                continue;
            }
            created.life = life;
            let (id, first) = (created.id, created.first);
            self.live.remove(&id.0);
            died.push(id);
            for slot in self.records.list(first) {
                let Some(record) = self.records.get(slot) else {
                    continue;
                };
                if let Some(key) = record.rare().key
                    && self.keys.get(&key) == Some(&slot)
                {
                    self.keys.remove(&key);
                }
                for index in 0..record.creates.len() as u32 {
                    todo.push((Place { slot, index }, Life::KeptInside));
                }
            }
        }
        died.reverse();
        died
    }

    /// Removes a record, all that lies inside what it created, and whatever was kept only for
    /// those. Returns the names of the objects that still had one, contents first.
    pub(crate) fn free(&mut self, slot: Slot) -> Died {
        let mut died = Died::new();
        if let Some(id) = self.free_lone(slot) {
            died.push(id);
            return died;
        }
        let mut todo: SmallVec<[Slot; 8]> = SmallVec::new();
        let mut next = Some(slot);
        while let Some(slot) = next {
            if let Some(record) = self.records.remove(slot) {
                for created in &record.creates {
                    if created.life == Life::Alive {
                        self.live.remove(&created.id.0);
                        died.push(created.id);
                    }
                    todo.extend(self.records.list(created.first));
                    todo.extend(created.destroyer());
                }
                self.untie(slot, &record, &mut todo);
            }
            next = todo.pop();
        }
        died.reverse();
        died
    }

    /// The usual case, quickly: a record that made one object and is tied to one, and has
    /// nothing inside it and nothing rare.
    fn free_lone(&mut self, slot: Slot) -> Option<ObjectId> {
        let record = self.records.get(slot)?;
        let ([created], [tie], None) = (&record.creates[..], &record.inside[..], &record.rare)
        else {
            return None;
        };
        if created.first != Link::END || created.destroyer != NONE || created.life != Life::Alive {
            return None;
        }
        let (id, tie) = (created.id, *tie);
        self.payload_bytes -= record.payload.len() as u64;
        self.live.remove(&id.0);
        self.records.untie(tie);
        self.records.drop(slot);
        Some(id)
    }

    /// Undoes what `link` did for a record that is gone, and lists records that may follow it.
    fn untie(&mut self, slot: Slot, record: &Stored, todo: &mut SmallVec<[Slot; 8]>) {
        self.payload_bytes -= record.payload.len() as u64;
        for &tie in &record.inside {
            self.records.untie(tie);
        }
        let Some(rare) = &record.rare else { return };
        for blob in &rare.blobs {
            self.blobs.release(blob);
        }
        if let Some(key) = rare.key
            && self.keys.get(&key) == Some(&slot)
        {
            self.keys.remove(&key);
        }
        if let Some(place) = rare.destroys
            && let Some(created) = self.records.created_mut(place)
        {
            created.destroyer = NONE;
        }
        for &place in &rare.raised {
            let Some(created) = self.records.created_mut(place) else {
                continue;
            };
            created.needed -= 1;
            if created.needed == 0 && self.superfluous(place.slot) {
                todo.push(place.slot);
            }
        }
    }

    /// Whether a record is kept for nothing: all its objects were destroyed and nobody needs them.
    fn superfluous(&self, slot: Slot) -> bool {
        self.records.get(slot).is_some_and(|record| {
            record
                .creates
                .iter()
                .all(|c| c.life == Life::Kept && c.needed == 0)
        })
    }
}
