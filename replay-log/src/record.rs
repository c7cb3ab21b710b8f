//! A record as the log stores it, and the places that point to one another.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{Kind, ObjectId};

/// A record's position in the whole history, which is never used again.
pub(crate) type Seq = u64;

/// Where a record lies in the log's [`crate::slots::Slots`], as long as it lives.
pub(crate) type Slot = u32;

/// No slot.
pub(crate) const NONE: Slot = Slot::MAX;

/// An object's place: the record that created it, and which of that record's objects it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: Slot,
    pub(crate) index: u32,
}

/// One stored record. A log may hold hundreds of thousands of small ones, so what most of them
/// lack is set apart.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) seq: Seq,
    pub(crate) op: u32,
    pub(crate) payload: SmallVec<[u8; 32]>,
    pub(crate) creates: SmallVec<[Created; 1]>,
    /// Objects that this record lies inside, each once.
    pub(crate) inside: SmallVec<[Tie; 1]>,
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few records have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rare {
    pub(crate) blobs: Vec<Arc<[u8]>>,
    /// Objects that its replay needs, besides those it lies inside.
    pub(crate) needs: Vec<Place>,
    /// Every object whose `needed` this record has raised.
    pub(crate) raised: Vec<Place>,
    /// The object that this record destroys.
    pub(crate) destroys: Option<Place>,
    pub(crate) key: Option<(u64, u64)>,
}

static NOTHING_RARE: Rare = Rare {
    blobs: Vec::new(),
    needs: Vec::new(),
    raised: Vec::new(),
    destroys: None,
    key: None,
};

impl Stored {
    pub(crate) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING_RARE)
    }
}

/// Whether an object exists for the application, or for the replay only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It exists.
    Alive,
    /// It was destroyed, and is kept because something needs it or something inside it.
    Kept,
    /// It lies inside an object that is kept.
    KeptInside,
}

/// An object in the record that created it.
#[derive(Clone, Debug)]
pub(crate) struct Created {
    pub(crate) id: ObjectId,
    /// References that the user counts; one at creation.
    pub(crate) references: u32,
    /// How many live records outside the object need it or something inside it.
    pub(crate) needed: u32,
    /// The records inside it, in order: a list through their ties.
    pub(crate) first: Link,
    pub(crate) last: Link,
    /// The record of its destruction, if that is kept.
    pub(crate) destroyer: Slot,
    pub(crate) kind: Kind,
    pub(crate) life: Life,
}

impl Created {
    pub(crate) fn new(id: ObjectId, kind: Kind) -> Self {
        Self {
            id,
            references: 1,
            needed: 0,
            first: Link::END,
            last: Link::END,
            destroyer: NONE,
            kind,
            life: Life::Alive,
        }
    }

    pub(crate) fn destroyer(&self) -> Option<Slot> {
        (self.destroyer != NONE).then_some(self.destroyer)
    }
}

/// That a record lies inside an object, as one of the list of all that lie there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tie {
    pub(crate) place: Place,
    pub(crate) before: Link,
    pub(crate) after: Link,
}

impl Tie {
    /// Adds a tie to `place`, in no list yet, unless there is one.
    pub(crate) fn add(ties: &mut SmallVec<[Self; 1]>, place: Place) {
        if ties.iter().all(|tie| tie.place != place) {
            ties.push(Self {
                place,
                before: Link::END,
                after: Link::END,
            });
        }
    }
}

/// One tie of a record, or the end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) slot: Slot,
    pub(crate) tie: u32,
}

impl Link {
    pub(crate) const END: Self = Self { slot: NONE, tie: 0 };
}
