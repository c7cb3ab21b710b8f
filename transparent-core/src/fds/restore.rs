//! Puts descriptors back: everything is opened out of sight and compared first, and
//! only when all of it can be had are numbers taken. What others can see (files
//! truncated, terminals set) is a step of its own, [`settle`]: a restart that fails
//! on the way to it has changed nothing outside of its process.

use super::regular::FilesRule;
use super::standard::{self, Standard};
use super::{FdTable, Kind, OpenFile, look};
use crate::{Refusal, sys};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use thiserror::Error;

/// Descriptors could not be restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// Found before anything was changed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<Refusal>),
    /// The kernel refused; descriptors may be partly in place.
    #[error("cannot {action} descriptor {number}: {source}; check ulimit -n and the system log")]
    Failed {
        /// Verb phrase.
        action: &'static str,
        /// The descriptor.
        number: i32,
        /// The errno.
        source: io::Error,
    },
    /// The table contradicts itself, though its checksum is right.
    #[error("image section fds: {0} is impossible; it was written by a faulty gpuckpt")]
    Table(&'static str),
}

/// Something that a restart could not bring back exactly, and that does not stop it.
pub type Note = String;

/// Says which files are missing or changed. Opens, compares and closes; changes
/// nothing.
pub fn check_restore(table: &FdTable, rule: FilesRule) -> Vec<Refusal> {
    let _limit = RaisedLimit::new(table);
    match Made::new(table, rule) {
        Ok(_) => Vec::new(),
        Err(RestoreError::Refused(refused)) => refused,
        Err(other) => vec![Refusal::new(
            "descriptors",
            other.to_string(),
            "see the message",
        )],
    }
}

/// Restores the table; [`settle`] is to follow. Descriptors of `is_ours` stay; all
/// others that the process has and the table has not are closed.
///
/// # Errors
/// [`RestoreError::Refused`] before anything was changed; else the process is of no
/// use any more.
pub fn restore(
    table: &FdTable,
    rule: FilesRule,
    is_ours: &dyn Fn(i32) -> bool,
) -> Result<(), RestoreError> {
    let _limit = RaisedLimit::new(table);
    let made = Made::new(table, rule)?;
    let keep: Vec<i32> = made.descriptors();
    let open = look::open_numbers().map_err(|source| RestoreError::Failed {
        action: "list",
        number: -1,
        source,
    })?;
    for fd in open {
        let wanted = table.descriptors.iter().any(|d| d.number == fd);
        if !wanted && !keep.contains(&fd) && !is_ours(fd) {
            let _ = sys::descriptor::close(fd);
        }
    }
    for descriptor in &table.descriptors {
        let number = descriptor.number;
        let source = made.source(descriptor.file as usize, number);
        sys::descriptor::dup_to(source, number, descriptor.close_on_exec)
            .map_err(failed("put back", number))?;
    }
    for file in 0..table.files.len() {
        made.complete(file)?;
    }
    Ok(())
}

/// What a restart changes outside of its process: truncates files where `rule` says
/// so, and sets terminals and the flags of shared standard streams. For the end of a
/// restart, when nothing can refuse it any more. Returns what could not be set.
///
/// # Errors
/// When a file cannot be truncated: it may not have been rolled back.
pub fn settle(table: &FdTable, rule: FilesRule) -> Result<Vec<Note>, RestoreError> {
    let mut notes = Vec::new();
    for (file, open) in table.files.iter().enumerate() {
        let mut users = table.descriptors.iter().map(|d| (d.file, d.number));
        let Some((_, fd)) = users.find(|(of, _)| *of as usize == file) else {
            continue;
        };
        match &open.kind {
            Kind::Regular(regular) => regular
                .roll_back(fd, open.flags, rule)
                .map_err(failed("roll back the file of", fd))?,
            Kind::Standard(standard) => set_stream(standard, open.flags, fd, &mut notes),
            _ => {}
        }
    }
    Ok(notes)
}

fn set_stream(standard: &Standard, flags: i32, fd: i32, notes: &mut Vec<Note>) {
    let wanted = flags & (libc::O_NONBLOCK | libc::O_APPEND);
    let now = sys::descriptor::fcntl(fd, libc::F_GETFL, 0).unwrap_or(wanted);
    if now & libc::O_NONBLOCK != wanted & libc::O_NONBLOCK {
        let flags = now & !libc::O_NONBLOCK | wanted & libc::O_NONBLOCK;
        if let Err(e) = sys::descriptor::fcntl(fd, libc::F_SETFL, flags) {
            notes.push(format!("descriptor {fd} keeps its O_NONBLOCK: {e}"));
        }
    }
    if let Some(modes) = &standard.modes
        && let Err(e) = modes.apply(fd)
    {
        notes.push(format!(
            "the terminal of descriptor {fd} keeps its modes: {e}"
        ));
    }
}

/// Starts the timers once more with what they had left. For the end of a restart,
/// so that the time it took does not count.
///
/// # Errors
/// When a descriptor is not the timer that the table says.
pub fn rearm_timers(table: &FdTable) -> Result<(), RestoreError> {
    let mut armed = vec![false; table.files.len()];
    for descriptor in &table.descriptors {
        let file = descriptor.file as usize;
        let number = descriptor.number;
        let first = armed
            .get_mut(file)
            .is_some_and(|a| !std::mem::replace(a, true));
        if let (true, Kind::Timerfd(timer)) = (first, &table.files[file].kind) {
            timer
                .arm(number)
                .map_err(failed("start the timer of", number))?;
        }
    }
    Ok(())
}

/// Objects with several ends, by their place in the table, while ends are opened.
#[derive(Default)]
struct Parts {
    pipes: HashMap<u32, (OwnedFd, OwnedFd)>,
    sockets: HashMap<u32, [Option<OwnedFd>; 2]>,
}

/// Every open file of the table, opened again, out of sight.
struct Made<'a> {
    table: &'a FdTable,
    streams: [OwnedFd; 3],
    /// Nothing for standard streams.
    files: Vec<Option<OwnedFd>>,
}

impl<'a> Made<'a> {
    fn new(table: &'a FdTable, rule: FilesRule) -> Result<Self, RestoreError> {
        let streams = standard::current_streams().map_err(failed("copy", 0))?;
        let mut made = Self {
            table,
            streams,
            files: Vec::with_capacity(table.files.len()),
        };
        if table
            .descriptors
            .iter()
            .any(|d| d.number < 0 || d.file as usize >= table.files.len())
        {
            return Err(RestoreError::Table("a descriptor"));
        }
        let mut parts = Parts::default();
        let mut refused = Vec::new();
        for file in &table.files {
            match made.open(file, rule, &mut parts) {
                Ok(fd) => made.files.push(fd),
                Err(refusal) => {
                    made.files.push(None);
                    refused.push(refusal);
                }
            }
        }
        if refused.is_empty() {
            Ok(made)
        } else {
            Err(RestoreError::Refused(refused))
        }
    }

    fn open(
        &self,
        file: &OpenFile,
        rule: FilesRule,
        parts: &mut Parts,
    ) -> Result<Option<OwnedFd>, Refusal> {
        let flags = file.flags;
        let made = |result: io::Result<OwnedFd>| {
            result.map_err(|e| {
                let why = format!("it cannot be made again: {e}");
                let advice = "check ulimit -n and the kernel's limits";
                Refusal::new(format!("descriptor of {}", file.label), why, advice)
            })
        };
        let fd = match &file.kind {
            Kind::Regular(regular) => regular.open(flags, rule)?,
            Kind::Place(place) => place.open(flags)?,
            Kind::Kernel(kernel) => kernel.open(flags)?,
            Kind::Device(device) => device.open(flags)?,
            Kind::Standard(_) => return Ok(None),
            Kind::Terminal(terminal) => terminal.open(flags, &self.streams)?,
            Kind::Pipe(pipe) => made(self.pipe_end(*pipe, flags, &mut parts.pipes))?,
            Kind::Eventfd(eventfd) => made(eventfd.make(flags))?,
            Kind::Epoll(_) => made(sys::objects::epoll_create())?,
            Kind::Timerfd(timerfd) => made(timerfd.make(flags))?,
            Kind::Socket(pair, end) => {
                made(self.socket_end((*pair, *end), flags, &mut parts.sockets))?
            }
            Kind::Signalfd(signalfd) => made(signalfd.make(flags))?,
        };
        Ok(Some(fd))
    }

    /// Opens an end of a pipe; the pipe is made with its first end, and its own two
    /// ends stay open until all are there.
    fn pipe_end(
        &self,
        pipe: u32,
        flags: i32,
        pipes: &mut HashMap<u32, (OwnedFd, OwnedFd)>,
    ) -> io::Result<OwnedFd> {
        let (reader, _) = match pipes.entry(pipe) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => {
                let saved = self.table.pipes.get(pipe as usize);
                let saved = saved.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
                place.insert(saved.make()?)
            }
        };
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        // Packet mode cannot be asked for when a pipe is opened, only afterwards.
        let end = sys::descriptor::open(path.as_ref(), flags & !libc::O_DIRECT, 0)?;
        if flags & libc::O_DIRECT != 0 {
            sys::descriptor::fcntl(end.as_raw_fd(), libc::F_SETFL, flags)?;
        }
        Ok(end)
    }

    /// An end of a pair of sockets, which is made with its first end. Whatever no open
    /// file of the table takes is closed when all are there.
    fn socket_end(
        &self,
        (pair, end): (u32, u32),
        flags: i32,
        pairs: &mut HashMap<u32, [Option<OwnedFd>; 2]>,
    ) -> io::Result<OwnedFd> {
        let impossible = || io::Error::from_raw_os_error(libc::EINVAL);
        let ends = match pairs.entry(pair) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => {
                let saved = self.table.pairs.get(pair as usize);
                place.insert(saved.ok_or_else(impossible)?.make()?.map(Some))
            }
        };
        let end = ends.get_mut(end as usize).and_then(Option::take);
        let end = end.ok_or_else(impossible)?;
        sys::descriptor::fcntl(end.as_raw_fd(), libc::F_SETFL, flags)?;
        Ok(end)
    }

    fn source(&self, file: usize, number: i32) -> i32 {
        match (&self.files[file], &self.table.files[file].kind) {
            (Some(fd), _) => fd.as_raw_fd(),
            (None, Kind::Standard(standard)) => {
                let own = standard::STREAMS.contains(&number);
                let stream = if own { number } else { standard.stream };
                self.streams[stream.clamp(0, 2) as usize].as_raw_fd()
            }
            (None, _) => -1,
        }
    }

    /// Numbers that are in use out of sight.
    fn descriptors(&self) -> Vec<i32> {
        let streams = self.streams.iter();
        streams
            .chain(self.files.iter().flatten())
            .map(AsRawFd::as_raw_fd)
            .collect()
    }

    /// What can be done only when every number is taken.
    fn complete(&self, file: usize) -> Result<(), RestoreError> {
        let open = &self.table.files[file];
        let mut users = self.table.descriptors.iter();
        let number = users
            .find(|d| d.file as usize == file)
            .map_or(-1, |d| d.number);
        let fd = self.source(file, number);
        match &open.kind {
            Kind::Regular(regular) => regular.seek(fd).map_err(failed("seek in", number)),
            Kind::Timerfd(timer) => timer.arm(fd).map_err(failed("start the timer of", number)),
            Kind::Epoll(epoll) => epoll.fill(fd).map_err(failed("fill the set of", number)),
            _ => Ok(()),
        }
    }
}

/// While descriptors are restored there are twice as many, half of them above the
/// program's, and the program may have had more than the restarting command may.
struct RaisedLimit {
    before: Option<(u64, u64)>,
    needed: u64,
}

impl RaisedLimit {
    fn new(table: &FdTable) -> Self {
        let highest = table.descriptors.iter().map(|d| d.number).max();
        let before = sys::process::limit(libc::RLIMIT_NOFILE).ok();
        if let Some((soft, hard)) = before
            && soft < hard
        {
            let _ = sys::process::set_limit(libc::RLIMIT_NOFILE, hard, hard);
        }
        Self {
            before,
            needed: highest.map_or(0, |n| n.max(0) as u64 + 1),
        }
    }
}

impl Drop for RaisedLimit {
    fn drop(&mut self) {
        if let Some((soft, hard)) = self.before {
            let soft = soft.max(self.needed.min(hard));
            let _ = sys::process::set_limit(libc::RLIMIT_NOFILE, soft, hard);
        }
    }
}

fn failed(action: &'static str, number: i32) -> impl FnOnce(io::Error) -> RestoreError {
    move |source| RestoreError::Failed {
        action,
        number,
        source,
    }
}
