//! Collecting what is kept in a circle.
//!
//! Counting (`needed`) frees almost everything at once. It cannot free two destroyed objects
//! whose contents need one another: those are found by tracing from the living, now and then and
//! before the log is written.

use std::collections::HashSet;

use crate::Log;
use crate::record::{Life, Seq};

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
        let garbage: Vec<Seq> = self
            .records
            .keys()
            .copied()
            .filter(|seq| !marked.contains(seq))
            .collect();
        for seq in garbage {
            let died = self.free(seq);
            debug_assert!(died.is_empty(), "a living object was unreachable");
        }
        self.kept = self
            .records
            .values()
            .flat_map(|record| &record.creates)
            .filter(|created| created.life == Life::Kept)
            .count();
    }

    /// Every record that the replay of a living one needs.
    fn reachable(&self) -> HashSet<Seq> {
        let mut marked = HashSet::new();
        let mut todo: Vec<Seq> = self
            .records
            .keys()
            .copied()
            .filter(|&seq| self.is_living(seq))
            .collect();
        while let Some(seq) = todo.pop() {
            let Some(record) = self.records.get(&seq) else {
                continue;
            };
            if !marked.insert(seq) {
                continue;
            }
            todo.extend(
                record
                    .inside
                    .iter()
                    .chain(&record.rare().needs)
                    .map(|place| place.seq),
            );
            for created in record.creates.iter().filter(|c| c.life != Life::Alive) {
                todo.extend_from_slice(created.dependents());
                todo.extend(created.destroyer());
            }
        }
        marked
    }

    /// Whether a record matters by itself: it created something that lives, or it changed the
    /// state of things that all live.
    fn is_living(&self, seq: Seq) -> bool {
        self.records.get(&seq).is_some_and(|record| {
            let alive = |place| self.created(place).is_some_and(|c| c.life == Life::Alive);
            if record.creates.is_empty() {
                record.rare().destroys.is_none() && record.inside.iter().all(|&place| alive(place))
            } else {
                record
                    .creates
                    .iter()
                    .any(|created| created.life == Life::Alive)
            }
        })
    }
}
