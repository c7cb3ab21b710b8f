//! A record as the log stores it, and the places that point to one another.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{Kind, ObjectId};

/// Records are named by their position in the whole history, which is never used again.
pub(crate) type Seq = u64;

/// An object's place: the record that created it, and which of that record's objects it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) seq: Seq,
    pub(crate) index: u32,
}

/// One stored record. A log may hold hundreds of thousands of small ones, so what most of them
/// lack is set apart.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) op: u32,
    pub(crate) payload: SmallVec<[u8; 32]>,
    pub(crate) creates: SmallVec<[Created; 1]>,
    /// Objects that this record lies inside.
    pub(crate) inside: SmallVec<[Place; 1]>,
    rare: Option<Box<Rare>>,
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
    pub(crate) fn new(
        op: u32,
        payload: &[u8],
        creates: SmallVec<[Created; 1]>,
        inside: SmallVec<[Place; 1]>,
        rare: Option<Rare>,
    ) -> Self {
        Self {
            op,
            payload: SmallVec::from_slice(payload),
            creates,
            inside,
            rare: rare.map(Box::new),
        }
    }

    pub(crate) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING_RARE)
    }

    /// Remembers what was raised; nothing, for most.
    pub(crate) fn set_raised(&mut self, raised: Vec<Place>) {
        if !raised.is_empty() {
            self.rare.get_or_insert_default().raised = raised;
        }
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
    pub(crate) kind: Kind,
    pub(crate) life: Life,
    ties: Option<Box<Ties>>,
}

/// What hangs on an object; most have nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ties {
    /// Records inside it, in order; those that are gone are swept out now and then.
    pub(crate) dependents: Vec<Seq>,
    /// At least so many of `dependents` are gone.
    pub(crate) gone: usize,
    /// The record of its destruction, if that is kept.
    pub(crate) destroyer: Option<Seq>,
}

impl Created {
    pub(crate) fn new(id: ObjectId, kind: Kind) -> Self {
        Self {
            id,
            references: 1,
            needed: 0,
            kind,
            life: Life::Alive,
            ties: None,
        }
    }

    pub(crate) fn dependents(&self) -> &[Seq] {
        self.ties.as_ref().map_or(&[], |ties| &ties.dependents)
    }

    pub(crate) fn destroyer(&self) -> Option<Seq> {
        self.ties.as_ref().and_then(|ties| ties.destroyer)
    }

    pub(crate) fn ties(&mut self) -> &mut Ties {
        self.ties.get_or_insert_default()
    }
}
