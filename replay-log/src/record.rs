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

/// One stored record.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) op: u32,
    pub(crate) payload: SmallVec<[u8; 64]>,
    pub(crate) blobs: SmallVec<[Arc<[u8]>; 1]>,
    pub(crate) creates: SmallVec<[Created; 1]>,
    /// Objects that this record lies inside.
    pub(crate) inside: SmallVec<[Place; 2]>,
    /// Objects that its replay needs, besides.
    pub(crate) needs: SmallVec<[Place; 2]>,
    /// Every object whose `needed` this record has raised.
    pub(crate) raised: SmallVec<[Place; 2]>,
    /// The object that this record destroys.
    pub(crate) destroys: Option<Place>,
    pub(crate) key: Option<(u64, u64)>,
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
    pub(crate) kind: Kind,
    /// References that the user counts; one at creation.
    pub(crate) references: u32,
    pub(crate) life: Life,
    /// How many live records outside the object need it or something inside it.
    pub(crate) needed: u32,
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
            kind,
            references: 1,
            life: Life::Alive,
            needed: 0,
            dependents: Vec::new(),
            gone: 0,
            destroyer: None,
        }
    }
}
