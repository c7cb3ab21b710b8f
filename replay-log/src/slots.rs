//! Where the records lie: a table of slots, of which free ones are used again first.
//!
//! A slot's number is short and leads to its record without a search. It is another record's
//! once its own is gone, so whatever names a slot goes with the record ([`crate::prune`]), or is
//! renumbered when the table becomes smaller.

use crate::hash::IdMap;
use crate::record::{Created, Link, NONE, Place, Seq, Slot, Stored, Tie};

/// Fewer slots than these are not given back.
const SMALL: usize = 1024;

/// The records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Option<Stored>>,
    free: Vec<Slot>,
}

impl Slots {
    /// Puts a record into a free slot.
    pub(crate) fn insert(&mut self, stored: Stored) -> Slot {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            *place = Some(stored);
            return slot;
        }
        self.slots.push(Some(stored));
        let slot = self.slots.len() - 1;
        assert!(slot < NONE as usize, "four billion records fit no memory");
        slot as Slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Stored> {
        let stored = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(stored)
    }

    /// Removes a record of which nothing is needed any more.
    pub(crate) fn drop(&mut self, slot: Slot) {
        if let Some(place) = self.slots.get_mut(slot as usize)
            && place.is_some()
        {
            *place = None;
            self.free.push(slot);
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Stored> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Stored> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(crate) fn created(&self, place: Place) -> Option<&Created> {
        self.get(place.slot)?.creates.get(place.index as usize)
    }

    pub(crate) fn created_mut(&mut self, place: Place) -> Option<&mut Created> {
        self.get_mut(place.slot)?
            .creates
            .get_mut(place.index as usize)
    }

    /// The slot that [`Slots::insert`] fills next.
    pub(crate) fn next(&self) -> Slot {
        self.free
            .last()
            .copied()
            .unwrap_or(self.slots.len() as Slot)
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All records, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Stored)> {
        let numbered = (0..).zip(&self.slots);
        numbered.filter_map(|(slot, stored)| stored.as_ref().map(|stored| (slot, stored)))
    }

    /// All records in the order in which they were made.
    pub(crate) fn in_order(&self) -> Vec<&Stored> {
        let mut order: Vec<_> = self.slots.iter().flatten().collect();
        order.sort_unstable_by_key(|stored| stored.seq);
        order
    }

    /// A place as it is written: with the record's position in the history.
    pub(crate) fn written(&self, place: Place) -> Option<(Seq, u32)> {
        self.get(place.slot).map(|stored| (stored.seq, place.index))
    }

    /// Puts a record last into the list of what lies inside an object, for one of its ties.
    pub(crate) fn tie(&mut self, slot: Slot, number: u32) {
        let here = Link { slot, tie: number };
        let Some(place) = self.at(here).map(|tie| tie.place) else {
            return;
        };
        let Some(created) = self.created_mut(place) else {
            return;
        };
        let before = std::mem::replace(&mut created.last, here);
        match self.at(before) {
            Some(tie) => tie.after = here,
            None => {
                if let Some(created) = self.created_mut(place) {
                    created.first = here;
                }
            }
        }
        if let Some(tie) = self.at(here) {
            tie.before = before;
        }
    }

    /// Takes a record that is gone, whose tie this was, out of such a list.
    pub(crate) fn untie(&mut self, tie: Tie) {
        // Where the object itself is gone, so is the list.
        let Some(created) = self.created_mut(tie.place) else {
            return;
        };
        if tie.after == Link::END {
            created.last = tie.before;
        }
        if tie.before == Link::END {
            created.first = tie.after;
        }
        if let Some(before) = self.at(tie.before) {
            before.after = tie.after;
        }
        if let Some(after) = self.at(tie.after) {
            after.before = tie.before;
        }
    }

    /// The records of a list of what lies inside an object, in order.
    pub(crate) fn list(&self, first: Link) -> impl Iterator<Item = Slot> {
        let link = |link: Link| (link != Link::END).then_some(link);
        let next = move |at: &Link| {
            let tie = self.get(at.slot)?.inside.get(at.tie as usize)?;
            link(tie.after)
        };
        std::iter::successors(link(first), next).map(|at| at.slot)
    }

    fn at(&mut self, link: Link) -> Option<&mut Tie> {
        self.get_mut(link.slot)?.inside.get_mut(link.tie as usize)
    }

    /// Gives memory back when few of many slots are left in use, at amortised constant cost.
    /// The keeper of other names of slots, `rest`, then gets the function that renumbers them.
    pub(crate) fn shrink(&mut self, rest: impl FnOnce(&dyn Fn(&mut Slot))) {
        if self.slots.len() <= SMALL || self.len() >= self.slots.len() / 8 {
            return;
        }
        let mut numbers: IdMap<Slot, Slot> = IdMap::default();
        for (slot, _) in self.iter() {
            numbers.insert(slot, numbers.len() as Slot);
        }
        let renumber = |slot: &mut Slot| *slot = numbers.get(slot).copied().unwrap_or(NONE);
        self.slots.retain(Option::is_some);
        self.slots.shrink_to(self.slots.len() * 2);
        self.free = Vec::new();
        for stored in self.slots.iter_mut().flatten() {
            stored.renumber(&renumber);
        }
        rest(&renumber);
    }
}

impl Stored {
    fn renumber(&mut self, number: &dyn Fn(&mut Slot)) {
        for created in &mut self.creates {
            number(&mut created.first.slot);
            number(&mut created.last.slot);
            number(&mut created.destroyer);
        }
        for tie in &mut self.inside {
            number(&mut tie.place.slot);
            number(&mut tie.before.slot);
            number(&mut tie.after.slot);
        }
        let Some(rare) = &mut self.rare else { return };
        for place in rare.needs.iter_mut().chain(&mut rare.raised) {
            number(&mut place.slot);
        }
        if let Some(place) = &mut rare.destroys {
            number(&mut place.slot);
        }
    }
}
