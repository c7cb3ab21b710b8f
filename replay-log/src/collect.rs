//! Collecting what is kept in a circle.
//!
//! Counting (`needed`) frees almost everything at once. It cannot free two destroyed objects
//! whose contents need one another: those are found by tracing from the living, now and then and
//! before the log is written.

use std::collections::HashSet;

use crate::Log;
use crate::record::{Created, Life, Slot, Stored, Tie};

/// Tracing starts when so many destroyed objects have been kept since the last time, or as many
/// as there are records.
const COLLECT_AT: usize = 1024;

impl Log {
    /// Notes that an object is kept, and collects when that is due.
    pub(crate) fn one_kept(&mut self) {
        self.kept += 1;
        if self.kept >= COLLECT_AT.max(self.records.len()) {
            self.collect();
        }
    }

    /// Frees records that are kept only for one another.
    pub(crate) fn collect(&mut self) {
        if self.kept == 0 {
            return;
        }
        let marked = self.reachable();
        let is_garbage = |slot: &Slot| !marked.contains(slot);
        let slots = self.records.iter().map(|(slot, _)| slot);
        let garbage: Vec<Slot> = slots.filter(is_garbage).collect();
        for slot in garbage {
            let died = self.free(slot);
            debug_assert!(died.is_empty(), "a living object was unreachable");
        }
        self.kept = self
            .records
            .iter()
            .flat_map(|(_, record)| &record.creates)
            .filter(|created| created.life == Life::Kept)
            .count();
    }

    /// Every record that the replay of a living one needs.
    fn reachable(&self) -> HashSet<Slot> {
        let mut marked = HashSet::new();
        let living = self.records.iter().filter(|(_, r)| self.is_living(r));
        let mut todo: Vec<Slot> = living.map(|(slot, _)| slot).collect();
        while let Some(slot) = todo.pop() {
            let Some(record) = self.records.get(slot) else {
                continue;
            };
            if !marked.insert(slot) {
                continue;
            }
            todo.extend(record.inside.iter().map(|tie| tie.place.slot));
            todo.extend(record.rare().needs.iter().map(|place| place.slot));
            for created in record.creates.iter().filter(|c| c.life != Life::Alive) {
                todo.extend(self.records.list(created.first));
                todo.extend(created.destroyer());
            }
        }
        marked
    }

    /// Whether a record matters by itself: it created something that lives, or it changed the
    /// state of things that all live.
    fn is_living(&self, record: &Stored) -> bool {
        let is_alive = |created: &Created| created.life == Life::Alive;
        if !record.creates.is_empty() {
            return record.creates.iter().any(is_alive);
        }
        let alive = |tie: &Tie| self.records.created(tie.place).is_some_and(is_alive);
        record.rare().destroys.is_none() && record.inside.iter().all(alive)
    }
}
