//! The log of what was done to a device, kept as short as what is still alive.
//!
//! A restart rebuilds the state of a driver by doing again what the application did. This crate
//! holds the records of those calls, prunes them *while they are made*, writes them into bytes
//! and reads them back, and hands them to a [`Replayer`] in their original order. It knows no
//! CUDA: an operation is a number, its arguments are bytes, an object is a 64-bit id.
//!
//! # What stays in the log
//! A record ([`Entry`]) may
//! - **create** objects. It stays while one of them lives.
//! - lie **inside** other objects (a function in its module, a module in its context). It dies
//!   when one of them dies, and everything that it created dies with it.
//! - **need** other objects without lying inside them (an executable graph needs the graph it
//!   was made from). If such an object is destroyed first, its records and the destruction are
//!   kept for the replay until nothing needs them any more.
//! - have a **key**: a state of something, where the last word counts. It replaces the record
//!   that had the key before. A state that steers how *later objects* come out must not be
//!   keyed; put it into those objects' own records.
//! - **destroy** one object. Mostly nothing of it is kept.
//!
//! Large bytes (module images) are *blobs*, stored once for equal contents.
//!
//! Every call costs amortised constant time (destroying: constant for each record that goes),
//! and memory follows the live records, not history.
//!
//! # Example
//! ```
//! use replay_log::{Entry, Kind, Log, ObjectId, Record, Replayer};
//!
//! const CREATE_CONTEXT: u32 = 1;
//! const LOAD_MODULE: u32 = 2;
//! const SET_LIMIT: u32 = 3;
//! let (context, module) = (ObjectId(0x10), ObjectId(0x20));
//! let image = vec![7_u8; 100_000];
//!
//! let mut log = Log::new();
//! log.push(Entry::new(CREATE_CONTEXT).payload(b"device 0").creates(context, Kind(1)))?;
//! log.push(Entry::new(LOAD_MODULE).blob(&image).creates(module, Kind(2)).inside(context))?;
//! for limit in [1_u64, 2, 3] {
//!     let bytes = limit.to_le_bytes();
//!     log.push(Entry::new(SET_LIMIT).payload(&bytes).inside(context).key(context.0, 5))?;
//! }
//! assert_eq!((log.counters().total, log.counters().live), (5, 3));
//!
//! struct Print(Vec<u32>);
//! impl Replayer for Print {
//!     type Error = std::convert::Infallible;
//!     fn replay(&mut self, record: &Record<'_>) -> Result<(), Self::Error> {
//!         self.0.push(record.op());
//!         Ok(())
//!     }
//! }
//! let mut print = Print(Vec::new());
//! Log::decode(&log.encode())?.replay(&mut print)?;
//! assert_eq!(print.0, [CREATE_CONTEXT, LOAD_MODULE, SET_LIMIT]);
//!
//! // The context takes everything in it along, and says so.
//! assert_eq!(log.destroy(context)?[..], [module, context]);
//! assert_eq!(log.counters().live, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod blobs;
mod codec;
mod collect;
mod entry;
mod hash;
mod log;
mod prune;
mod record;
mod replay;
mod slots;

pub use codec::{DecodeError, FORMAT_VERSION};
pub use entry::Entry;
pub use log::{Counters, Died, Log, LogError, Pushed, Released};
pub use replay::{CreatedObject, Record, ReplayError, Replayer};

/// An object's name for the log's user: unique among the objects alive at one time. A name may
/// be given again after its object is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u64);

/// What sort of object it is, in the user's numbering; the log only keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub u16);
