//! Pruning: what goes, and what a destroyed object leaves behind.
//!
//! Invariants, upheld by [`crate::Log::push`] and here:
//! - A record's surroundings exist as long as the record: freeing an object frees what lies
//!   inside it.
//! - `needed` of an object is the number of records outside it that need it or something in it.
//! - An object that is not [alive](Life::Alive) has no name, and nothing in it has one.

use smallvec::SmallVec;

use crate::hash::shrink;
use crate::record::{Life, Place, Seq, Stored};
use crate::{Log, ObjectId};

/// Dependents are swept when at least so many, and half of them, are gone.
const SWEEP_AT: usize = 32;

impl Log {
    /// Whether a destroyed object's records are still of use: something needs it, or it was
    /// created together with others that live on.
    pub(crate) fn must_keep(&self, place: Place) -> bool {
        let Some(record) = self.records.get(&place.seq) else {
            return false;
        };
        record.creates.iter().enumerate().any(|(index, created)| {
            created.needed > 0 || (index as u32 != place.index && created.life != Life::Kept)
        })
    }

    /// Takes an object's name, and the names of all that lies inside it, but keeps the records.
    /// Returns the names, contents first.
    pub(crate) fn keep(&mut self, place: Place) -> Vec<ObjectId> {
        let mut died = Vec::new();
        let mut todo = vec![(place, Life::Kept)];
        while let Some((place, life)) = todo.pop() {
            let Some(created) = self.created_mut(place) else {
                continue;
            };
            if created.life != Life::Alive {
                continue;
            }
            created.life = life;
            let (id, dependents) = (created.id, created.dependents().to_vec());
            self.live.remove(&id.0);
            died.push(id);
            for seq in dependents {
                let Some(record) = self.records.get(&seq) else {
                    continue;
                };
                if let Some(key) = record.rare().key
                    && self.keys.get(&key) == Some(&seq)
                {
                    self.keys.remove(&key);
                }
                for index in 0..record.creates.len() as u32 {
                    todo.push((Place { seq, index }, Life::KeptInside));
                }
            }
        }
        died.reverse();
        died
    }

    /// Removes a record, all that lies inside what it created, and whatever was kept only for
    /// those. Returns the names of the objects that still had one, contents first.
    pub(crate) fn free(&mut self, seq: Seq) -> Vec<ObjectId> {
        let mut died = Vec::new();
        let mut todo: SmallVec<[Seq; 8]> = SmallVec::from_slice(&[seq]);
        while let Some(seq) = todo.pop() {
            let Some(record) = self.records.remove(&seq) else {
                continue;
            };
            for created in &record.creates {
                if created.life == Life::Alive {
                    self.live.remove(&created.id.0);
                    died.push(created.id);
                }
                todo.extend_from_slice(created.dependents());
                todo.extend(created.destroyer());
            }
            self.untie(seq, &record, &mut todo);
        }
        shrink(&mut self.records);
        shrink(&mut self.live);
        died.reverse();
        died
    }

    /// Undoes what `link` did for a record that is gone, and lists records that may follow it.
    fn untie(&mut self, seq: Seq, record: &Stored, todo: &mut SmallVec<[Seq; 8]>) {
        self.payload_bytes -= record.payload.len() as u64;
        for blob in &record.rare().blobs {
            self.blobs.release(blob);
        }
        if let Some(key) = record.rare().key
            && self.keys.get(&key) == Some(&seq)
        {
            self.keys.remove(&key);
        }
        for &place in &record.inside {
            self.one_gone(place);
        }
        for &place in &record.rare().raised {
            let Some(created) = self.created_mut(place) else {
                continue;
            };
            created.needed -= 1;
            if created.needed == 0 && self.superfluous(place.seq) {
                todo.push(place.seq);
            }
        }
    }

    /// Whether a record is kept for nothing: all its objects were destroyed and nobody needs them.
    fn superfluous(&self, seq: Seq) -> bool {
        self.records.get(&seq).is_some_and(|record| {
            record
                .creates
                .iter()
                .all(|c| c.life == Life::Kept && c.needed == 0)
        })
    }

    /// Notes that one of an object's dependents is gone, and sweeps when half of them are.
    fn one_gone(&mut self, place: Place) {
        let Some(created) = self.created_mut(place) else {
            return;
        };
        let ties = created.ties();
        ties.gone += 1;
        if ties.gone < SWEEP_AT || ties.gone * 2 < ties.dependents.len() {
            return;
        }
        ties.gone = 0;
        let mut dependents = std::mem::take(&mut ties.dependents);
        dependents.retain(|seq| self.records.contains_key(seq));
        dependents.shrink_to(dependents.len() * 2);
        if let Some(created) = self.created_mut(place) {
            created.ties().dependents = dependents;
        }
    }
}
