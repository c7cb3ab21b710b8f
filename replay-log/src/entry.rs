//! A record as its maker describes it.

use smallvec::SmallVec;

use crate::{Kind, ObjectId};

/// The description of one call, given to [`crate::Log::push`]. Bytes are copied by `push`; an
/// entry only borrows them.
#[derive(Clone, Debug)]
#[must_use = "an entry does nothing until it is pushed"]
pub struct Entry<'a> {
    pub(crate) op: u32,
    pub(crate) payload: &'a [u8],
    pub(crate) blobs: SmallVec<[&'a [u8]; 1]>,
    pub(crate) creates: SmallVec<[(ObjectId, Kind); 1]>,
    pub(crate) inside: SmallVec<[ObjectId; 2]>,
    pub(crate) needs: SmallVec<[ObjectId; 2]>,
    pub(crate) destroys: Option<ObjectId>,
    pub(crate) key: Option<(u64, u64)>,
}

impl<'a> Entry<'a> {
    /// A record of operation `op`, in the user's numbering.
    #[inline]
    pub fn new(op: u32) -> Self {
        Self {
            op,
            payload: &[],
            blobs: SmallVec::new(),
            creates: SmallVec::new(),
            inside: SmallVec::new(),
            needs: SmallVec::new(),
            destroys: None,
            key: None,
        }
    }

    /// The operation's arguments, encoded by the user. They must own what they mean: no pointer.
    #[inline]
    pub fn payload(mut self, bytes: &'a [u8]) -> Self {
        self.payload = bytes;
        self
    }

    /// Attaches large bytes, stored once for equal contents. Their order is kept.
    #[inline]
    pub fn blob(mut self, bytes: &'a [u8]) -> Self {
        self.blobs.push(bytes);
        self
    }

    /// The call made this object.
    #[inline]
    pub fn creates(mut self, id: ObjectId, kind: Kind) -> Self {
        self.creates.push((id, kind));
        self
    }

    /// The record, and what it creates, dies with this object.
    #[inline]
    pub fn inside(mut self, id: ObjectId) -> Self {
        self.inside.push(id);
        self
    }

    /// A replay of the record needs this object, even when it has been destroyed since.
    #[inline]
    pub fn needs(mut self, id: ObjectId) -> Self {
        self.needs.push(id);
        self
    }

    /// The call destroyed this object.
    #[inline]
    pub fn destroys(mut self, id: ObjectId) -> Self {
        self.destroys = Some(id);
        self
    }

    /// The record replaces the one that had this key before. Not for records that create.
    #[inline]
    pub fn key(mut self, scope: u64, slot: u64) -> Self {
        self.key = Some((scope, slot));
        self
    }
}
