//! Doing it all again, in the original order.

use crate::record::{Life, Stored};
use crate::{Kind, Log, ObjectId};

/// Does one record again.
pub trait Replayer {
    /// Why a record could not be done again.
    type Error;

    /// Does the record again. What it lies inside and what it needs has been replayed before.
    ///
    /// # Errors
    /// Whatever stands in the way; the replay stops there.
    fn replay(&mut self, record: &Record<'_>) -> Result<(), Self::Error>;
}

/// A replay that stopped.
#[derive(Debug, thiserror::Error)]
#[error("replay stopped at record {seq}, operation {op}: {source}")]
pub struct ReplayError<E: std::error::Error + 'static> {
    /// The record's position in the whole history.
    pub seq: u64,
    /// Its operation.
    pub op: u32,
    /// What the replayer said.
    pub source: E,
}

/// A live record, as the replayer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    stored: &'a Stored,
    log: &'a Log,
}

/// An object that a record created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedObject {
    /// Its name.
    pub id: ObjectId,
    /// Its kind.
    pub kind: Kind,
    /// How many references its user holds: one from the creation, others from
    /// [`Log::retain`].
    pub references: u32,
    /// False if the application has destroyed it, and it is replayed for others that need it.
    /// Its name may by then belong to another object that a later record creates.
    pub alive: bool,
}

impl<'a> Record<'a> {
    /// The record's position in the whole history.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.stored.seq
    }

    /// The operation.
    #[must_use]
    pub fn op(&self) -> u32 {
        self.stored.op
    }

    /// The operation's arguments.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.stored.payload
    }

    /// The large bytes, in the order they were attached in.
    pub fn blobs(&self) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.stored.rare().blobs.iter().map(|blob| &**blob)
    }

    /// The objects that the call made.
    pub fn creates(&self) -> impl Iterator<Item = CreatedObject> + 'a {
        self.stored.creates.iter().map(|created| CreatedObject {
            id: created.id,
            kind: created.kind,
            references: created.references,
            alive: created.life == Life::Alive,
        })
    }

    /// The objects that the record lies inside.
    pub fn inside(&self) -> impl Iterator<Item = ObjectId> + 'a {
        let log = self.log;
        self.stored
            .inside
            .iter()
            .filter_map(|tie| log.records.created(tie.place))
            .map(|c| c.id)
    }

    /// The objects that it needs besides.
    pub fn needs(&self) -> impl Iterator<Item = ObjectId> + 'a {
        let log = self.log;
        self.stored
            .rare()
            .needs
            .iter()
            .filter_map(|&place| log.records.created(place))
            .map(|c| c.id)
    }

    /// The object that the call destroyed.
    #[must_use]
    pub fn destroys(&self) -> Option<ObjectId> {
        self.stored
            .rare()
            .destroys
            .and_then(|place| self.log.records.created(place))
            .map(|c| c.id)
    }
}

impl Log {
    /// The live records in their original order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let order = self.records.in_order().into_iter();
        order.map(|stored| Record { stored, log: self })
    }

    /// Does every live record again, in the original order.
    ///
    /// # Errors
    /// The replayer's first error, with the record it came from.
    pub fn replay<R>(&self, replayer: &mut R) -> Result<(), ReplayError<R::Error>>
    where
        R: Replayer,
        R::Error: std::error::Error + 'static,
    {
        for record in self.records() {
            replayer.replay(&record).map_err(|source| ReplayError {
                seq: record.seq(),
                op: record.op(),
                source,
            })?;
        }
        Ok(())
    }
}
