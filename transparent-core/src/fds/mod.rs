//! Saves the program's descriptors and puts them back at their numbers.
//!
//! - [`check`] says what cannot be saved, while the program runs.
//! - [`capture`] takes the table, with the program parked: what is in pipes and sockets, counts
//!   of eventfds, sets of epolls, remaining times of timers, positions.
//! - [`check_restore`] and [`restore`] are the other half, in the fresh process,
//!   before a driver opens anything.
//! - [`settle`] changes what others see (files rolled back, terminals set), when
//!   nothing can refuse the restart any more.
//!
//! Descriptors that share an open file description share it again: position and
//! status flags belong to an [`OpenFile`], numbers to it. One file here is one kind
//! of object; a kind that no file here knows is refused by name.
//!
//! Whose a descriptor is, is told by a predicate: this module never guesses it, and
//! never touches a descriptor of the lower half.

mod device;
mod directory;
mod epoll;
mod eventfd;
mod kernel;
mod look;
mod pipe;
mod regular;
mod restore;
mod signalfd;
mod socketpair;
mod standard;
mod survey;
mod terminal;
mod timerfd;

pub(crate) use look::written_files;

pub use device::Device;
pub use directory::Place;
pub use epoll::{Epoll, Watch};
pub use eventfd::Eventfd;
pub use kernel::KernelFile;
pub use look::room;
pub use pipe::Pipe;
pub use regular::{FilesRule, Regular};
pub use restore::{Note, RestoreError, check_restore, rearm_timers, restore, settle};
pub use signalfd::Signalfd;
pub use socketpair::{End, SocketPair};
pub use standard::{Standard, StandardStreams};
pub use terminal::{Modes, Terminal};
pub use timerfd::Timerfd;

use crate::Refusal;
use serde::{Deserialize, Serialize};

/// Name of the section that holds the [`FdTable`].
pub const SECTION: &str = "fds";
/// Version of the section; images with another one are of another layout.
pub const VERSION: u32 = 2;

/// The section `fds`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdTable {
    /// Open file descriptions.
    pub files: Vec<OpenFile>,
    /// Pipes that [`Kind::Pipe`] names by their place.
    pub pipes: Vec<pipe::Pipe>,
    /// Pairs of sockets that [`Kind::Socket`] names by their place.
    pub pairs: Vec<socketpair::SocketPair>,
    /// Descriptors, by number.
    pub descriptors: Vec<Descriptor>,
}

/// One number of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The number.
    pub number: i32,
    /// `FD_CLOEXEC`.
    pub close_on_exec: bool,
    /// Place in [`FdTable::files`].
    pub file: u32,
}

/// One open file description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFile {
    /// What `/proc/self/fd` called it, for people.
    pub label: String,
    /// Access mode and status flags (`F_GETFL`).
    pub flags: i32,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of objects that come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    Regular(regular::Regular),
    /// A directory being read, or anything opened with `O_PATH`.
    Place(directory::Place),
    /// A file of `/proc` or `/sys`.
    Kernel(kernel::KernelFile),
    /// A device of `/dev` without state.
    Device(device::Device),
    /// A standard stream of the restarting command.
    Standard(standard::Standard),
    /// Another opening of a standard stream's terminal.
    Terminal(terminal::Terminal),
    /// An end of a pipe inside the job: place in [`FdTable::pipes`].
    Pipe(u32),
    /// A counter.
    Eventfd(eventfd::Eventfd),
    /// A set of watched descriptors.
    Epoll(epoll::Epoll),
    /// A timer.
    Timerfd(timerfd::Timerfd),
    /// A socket inside the job: place in [`FdTable::pairs`], and which end.
    Socket(u32, u32),
    /// A receiver of signals.
    Signalfd(signalfd::Signalfd),
}

impl Kind {
    /// One word for a list.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Regular(_) => "file",
            Self::Place(_) => "directory",
            Self::Kernel(_) => "kernel file",
            Self::Device(_) => "device",
            Self::Standard(_) => "standard stream",
            Self::Terminal(_) => "terminal",
            Self::Pipe(_) => "pipe",
            Self::Eventfd(_) => "eventfd",
            Self::Epoll(_) => "epoll",
            Self::Timerfd(_) => "timerfd",
            Self::Socket(..) => "socket",
            Self::Signalfd(_) => "signalfd",
        }
    }
}

/// Says which descriptors cannot be saved. Changes nothing; the program may run:
/// what is seen once and not again (a pipe of which one end was not there yet) is
/// passed over.
///
/// # Errors
/// One refusal for each descriptor.
pub fn check(is_ours: &dyn Fn(i32) -> bool, streams: &StandardStreams) -> Result<(), Vec<Refusal>> {
    let survey = || survey::survey(is_ours, streams, false).map(drop);
    let mut persisting: Option<Vec<Refusal>> = None;
    for _ in 0..3 {
        let Err(mut refused) = survey() else {
            return Ok(());
        };
        if let Some(before) = &persisting {
            refused.retain(|refusal| before.contains(refusal));
        }
        if refused.is_empty() {
            return Ok(());
        }
        persisting = Some(refused);
    }
    Err(persisting.unwrap_or_default())
}

/// Takes the table. The program's threads must be parked. Nothing is consumed:
/// what was in a pipe is still in it.
///
/// # Errors
/// As [`check`].
pub fn capture(
    is_ours: &dyn Fn(i32) -> bool,
    streams: &StandardStreams,
) -> Result<FdTable, Vec<Refusal>> {
    survey::survey(is_ours, streams, true)
}

#[cfg(test)]
mod tests;
