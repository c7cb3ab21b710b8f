//! Pairs of connected, nameless AF_UNIX sockets (socketpair(2)) whose ends are all
//! inside the job, with what is in flight.
//!
//! Nothing is received: bytes and messages are looked at. An empty message can be
//! looked at once only: one that two checkpoints find in flight is not in the second.

use super::look::Look;
use super::survey::{Group, Survey};
use super::{Kind, standard};
use crate::apart::hold;
use crate::{Refusal, sys};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use sys::sockets::{self, UnixSocket};

/// A pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketPair {
    /// `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_SEQPACKET`.
    pub kind: i32,
    /// Its ends; the second may have been closed.
    pub ends: [Option<End>; 2],
}

/// One end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// What it has not received yet: pieces of a stream, or messages.
    pub contents: Vec<Vec<u8>>,
    /// Bit 0: no more is received; bit 1: no more is sent.
    pub shutdown: u8,
    /// The other end was closed before it had received everything, and this one has not
    /// been told (`ECONNRESET`).
    pub was_reset: bool,
    /// Options of the level `SOL_SOCKET`, with their values.
    pub options: Vec<(i32, Vec<u8>)>,
}

/// Options that are kept. Buffers are sized separately.
const OPTIONS: [i32; 6] = [
    libc::SO_RCVTIMEO,
    libc::SO_SNDTIMEO,
    libc::SO_PASSCRED,
    libc::SO_PEEK_OFF,
    libc::SO_RCVLOWAT,
    libc::SO_PRIORITY,
];
const BUFFERS: [(i32, i32); 2] = [
    (libc::SO_SNDBUF, libc::SO_SNDBUFFORCE),
    (libc::SO_RCVBUF, libc::SO_RCVBUFFORCE),
];

/// Takes one end; the pair itself with the first of its ends.
pub(super) fn take(
    group: &Group,
    survey: &Survey<'_>,
    pairs: &mut Vec<SocketPair>,
    known: &mut HashMap<u64, (u32, u32)>,
) -> Result<Kind, Refusal> {
    let look = group.first();
    if let Some(&(pair, end)) = known.get(&look.inode) {
        return Ok(Kind::Socket(pair, end));
    }
    let refused = |why: &str| {
        let advice = "close it before the checkpoint";
        standard::or_refuse(group, survey, why, advice)
    };
    let domain =
        hold(look.fd).and_then(|file| sockets::int_option(file.as_raw_fd(), libc::SO_DOMAIN));
    if domain.ok() != Some(libc::AF_UNIX) {
        return refused("sockets that lead out of the job cannot be saved yet");
    }
    let is_standard = || standard::of_group(group, survey).is_some();
    let socket = match sockets::unix_socket(look.inode) {
        Ok(socket) => socket,
        Err(_) if is_standard() => return refused(""),
        Err(e) => {
            let why = format!("the kernel does not tell what this socket is connected to: {e}");
            return Err(look.refuse(why, "use a kernel with CONFIG_UNIX_DIAG"));
        }
    };
    if socket.named {
        return refused("sockets with a name cannot be saved yet");
    }
    let Some(peer) = socket.peer else {
        return refused("a socket without a connection cannot be saved yet");
    };
    let other = survey.groups.iter().map(Group::first).find(|l| {
        peer != 0
            && l.inode == peer
            && l.file_type() == libc::S_IFSOCK
            && l.flags & libc::O_PATH == 0
    });
    if peer != 0 && other.is_none() {
        return refused("the other end of this socket is outside the job");
    }
    if other.is_none() && is_standard() {
        return refused("");
    }
    let mut ends = vec![(look, socket)];
    if let Some(other) = other {
        match sockets::unix_socket(other.inode) {
            Ok(found) if !found.named && found.peer == Some(look.inode) => {
                ends.push((other, found));
            }
            _ => return refused("its other end has a name or another connection"),
        }
    }
    let mut pair = SocketPair {
        kind: socket.kind,
        ends: [None, None],
    };
    let number = pairs.len() as u32;
    for (at, (look, socket)) in ends.into_iter().enumerate() {
        known.insert(look.inode, (number, at as u32));
        pair.ends[at] = Some(End::new(look, socket, survey.stopped)?);
    }
    pairs.push(pair);
    Ok(Kind::Socket(number, 0))
}

impl End {
    fn new(look: &Look, socket: UnixSocket, stopped: bool) -> Result<Self, Refusal> {
        let mut end = Self {
            contents: Vec::new(),
            shutdown: socket.shutdown & 3,
            was_reset: false,
            options: Vec::new(),
        };
        if !stopped {
            return Ok(end);
        }
        let failed = |e| look.refuse(format!("what is in it cannot be copied: {e}"), "close it");
        let file = hold(look.fd).map_err(failed)?;
        let fd = file.as_raw_fd();
        let names = OPTIONS.into_iter().chain(BUFFERS.map(|(name, _)| name));
        let options = names.filter_map(|name| Some((name, sockets::option(fd, name).ok()?)));
        end.options = options.collect();
        let found = sys::descriptor::poll_now(fd, libc::POLLPRI).map_err(failed)?;
        if found & libc::POLLPRI != 0 {
            let why = "urgent data (MSG_OOB) is in flight in it";
            return Err(look.refuse(why, "receive it before the checkpoint"));
        }
        end.was_reset = found & libc::POLLERR != 0;
        if end.was_reset && socket.kind != libc::SOCK_STREAM {
            let why = "its connection was reset, and the program has not been told yet";
            return Err(look.refuse(why, "receive the error before the checkpoint"));
        }
        let seen = with_option(fd, libc::SO_PEEK_OFF, 0, || {
            // Credentials beside the bytes would hide descriptors.
            with_option(fd, libc::SO_PASSCRED, 0, || end.look_into(fd, socket))
        });
        match seen {
            Ok(true) => Ok(end),
            Ok(false) => Err(look.refuse(
                "descriptors are in flight in it",
                "receive them before the checkpoint",
            )),
            Err(e) => Err(failed(e)),
        }
    }

    /// Looks at what is in flight; false when it is more than bytes.
    fn look_into(&mut self, fd: i32, socket: UnixSocket) -> io::Result<bool> {
        let is_stream = socket.kind == libc::SOCK_STREAM;
        // A look beyond the last byte of a stream would take an error away.
        let mut left = match is_stream {
            true => sys::objects::readable_bytes(fd)?,
            false => usize::MAX,
        };
        // Its end looks like an empty message, but for what is still to come.
        let may_end = socket.kind == libc::SOCK_SEQPACKET
            && (socket.shutdown & 1 != 0 || socket.peer == Some(0));
        let mut room = vec![0; 256 << 10];
        while left > 0 {
            let peeked = match sockets::peek(fd, &mut room) {
                Ok(peeked) => peeked,
                Err(e) if !is_stream && e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            };
            if peeked.has_more {
                return Ok(false);
            }
            if peeked.length == 0 && may_end && self.bytes() == sys::objects::readable_bytes(fd)? {
                break;
            }
            if peeked.length > room.len() || is_stream && peeked.length == 0 {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
            }
            self.contents.push(room[..peeked.length].to_vec());
            left = left.saturating_sub(peeked.length);
        }
        Ok(true)
    }

    fn bytes(&self) -> usize {
        self.contents.iter().map(Vec::len).sum()
    }

    fn give_options(&self, fd: i32) -> io::Result<()> {
        for (name, value) in &self.options {
            match BUFFERS.iter().find(|(buffer, _)| buffer == name) {
                None => {
                    // What this kernel does not know, the program cannot have set here.
                    let _ = sockets::set_option(fd, *name, value);
                }
                Some((name, force)) => {
                    let size = value.first_chunk().copied().map_or(0, i32::from_ne_bytes);
                    set_buffer(fd, *name, *force, size / 2)?;
                }
            }
        }
        Ok(())
    }
}

/// Does `work` with an option set to another value.
fn with_option<R>(
    fd: i32,
    name: i32,
    value: i32,
    work: impl FnOnce() -> io::Result<R>,
) -> io::Result<R> {
    let before = sockets::int_option(fd, name)?;
    if before == value {
        return work();
    }
    sockets::set_int_option(fd, name, value)?;
    let done = work();
    sockets::set_int_option(fd, name, before)?;
    done
}

/// The kernel doubles what it is given; beyond its limit only with privileges.
fn set_buffer(fd: i32, name: i32, force: i32, size: i32) -> io::Result<()> {
    sockets::set_int_option(fd, force, size).or_else(|_| sockets::set_int_option(fd, name, size))
}

impl SocketPair {
    /// Makes both ends with what was in flight. The caller closes the one that the job
    /// has not.
    pub(super) fn make(&self) -> io::Result<[OwnedFd; 2]> {
        let ends = sockets::pair(self.kind)?;
        let (sender, sender_force) = BUFFERS[0];
        for (at, end) in self.ends.iter().enumerate() {
            let Some(end) = end else { continue };
            let from = ends[1 - at].as_raw_fd();
            let held: usize = end.contents.iter().map(|piece| piece.len() + 1024).sum();
            if held > 64 << 10 {
                let most = i32::try_from(held).unwrap_or(i32::MAX / 2);
                set_buffer(from, sender, sender_force, most)?;
            }
            for piece in &end.contents {
                let mut rest = piece.as_slice();
                loop {
                    let sent = sockets::send(from, rest)?;
                    rest = &rest[sent..];
                    if rest.is_empty() {
                        break;
                    }
                }
            }
            if end.was_reset && self.ends[1 - at].is_none() {
                // Closed with a byte that it has not received.
                sockets::send(ends[at].as_raw_fd(), &[0])?;
            }
        }
        for (end, fd) in self.ends.iter().zip(&ends) {
            let Some(end) = end else { continue };
            end.give_options(fd.as_raw_fd())?;
            let how = match end.shutdown {
                1 => libc::SHUT_RD,
                2 => libc::SHUT_WR,
                3 => libc::SHUT_RDWR,
                _ => continue,
            };
            // A stream's end that is alone is shut down by the close of the other.
            if self.ends.iter().all(Option::is_some) || self.kind == libc::SOCK_DGRAM {
                sockets::shutdown(fd.as_raw_fd(), how)?;
            }
        }
        Ok(ends)
    }
}
