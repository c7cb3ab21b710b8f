//! Pipes whose ends are all inside the job, with what is in them.

use super::look::Look;
use super::survey::{Group, Survey};
use super::{Kind, standard};
use crate::apart::hold;
use crate::{Refusal, sys};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipe {
    /// Capacity in bytes (`F_GETPIPE_SZ`).
    pub capacity: u32,
    /// What is in it: one piece, or one for each packet of a packet pipe.
    pub contents: Vec<Vec<u8>>,
    /// A packet pipe (`O_DIRECT`).
    pub packets: bool,
    /// Some end can be read.
    pub has_reader: bool,
    /// Some end can be written.
    pub has_writer: bool,
}

/// Takes one end; the pipe itself with the first of its ends.
pub(super) fn take(
    group: &Group,
    survey: &Survey<'_>,
    pipes: &mut Vec<Pipe>,
    known: &mut HashMap<u64, u32>,
) -> Result<Kind, Refusal> {
    let look = group.first();
    if let Some(&pipe) = known.get(&look.inode) {
        return Ok(Kind::Pipe(pipe));
    }
    let ends: Vec<&Look> = survey
        .groups
        .iter()
        .map(Group::first)
        .filter(|l| {
            l.file_type() == libc::S_IFIFO
                && l.inode == look.inode
                && l.device == look.device
                && l.flags & libc::O_PATH == 0
        })
        .collect();
    let has_reader = ends.iter().any(|l| l.readable());
    let has_writer = ends.iter().any(|l| l.writable());
    let whole = has_reader && has_writer;
    if !whole && !other_end_is_gone(group) {
        return standard::or_refuse(
            group,
            survey,
            "the other end of this pipe is outside the job",
            "redirect it to a file, or connect it to standard input or output",
        );
    }
    let packets = ends
        .iter()
        .any(|l| l.writable() && l.flags & libc::O_DIRECT != 0);
    let mut pipe = Pipe {
        capacity: 0,
        contents: Vec::new(),
        packets,
        has_reader,
        has_writer,
    };
    if survey.stopped {
        let reader = ends.iter().find(|l| l.readable()).map(|l| l.fd);
        pipe.look_into(look.fd, reader).map_err(|e| {
            let advice = "raise fs.pipe-max-size and fs.pipe-user-pages-soft";
            look.refuse(format!("what is in it cannot be copied: {e}"), advice)
        })?;
    }
    let number = pipes.len() as u32;
    pipes.push(pipe);
    known.insert(look.inode, number);
    Ok(Kind::Pipe(number))
}

/// True when nobody at all has the other end. A standard output that nobody reads
/// any more is left to the restarting command all the same.
fn other_end_is_gone(group: &Group) -> bool {
    let look = group.first();
    let (event, gone) = if look.readable() {
        (libc::POLLIN, libc::POLLHUP)
    } else if group.looks.iter().any(|l| l.fd <= 2) {
        return false;
    } else {
        (libc::POLLOUT, libc::POLLERR)
    };
    let pending = hold(look.fd).and_then(|file| sys::descriptor::poll_now(file.as_raw_fd(), event));
    pending.is_ok_and(|events| events & gone != 0)
}

impl Pipe {
    /// Copies what is in the pipe by `tee`, which takes nothing out.
    fn look_into(&mut self, any_end: i32, reader: Option<i32>) -> io::Result<()> {
        let any_end = hold(any_end)?;
        let capacity = sys::descriptor::fcntl(any_end.as_raw_fd(), libc::F_GETPIPE_SZ, 0)?;
        self.capacity = capacity as u32;
        let Some(reader) = reader else {
            return Ok(());
        };
        let held = hold(reader)?;
        let reader = held.as_raw_fd();
        let length = sys::objects::readable_bytes(reader)?;
        if length == 0 {
            return Ok(());
        }
        let (copy, into) = sys::objects::pipe(libc::O_CLOEXEC | libc::O_NONBLOCK)?;
        sys::descriptor::fcntl(into.as_raw_fd(), libc::F_SETPIPE_SZ, capacity)?;
        let copied = sys::objects::tee(reader, into.as_raw_fd(), length)?;
        if copied != length {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        drop(into);
        let mut left = length;
        while left > 0 {
            let mut piece = vec![0; left];
            // Of a packet pipe, a read takes one packet.
            let n = sys::descriptor::read(copy.as_raw_fd(), &mut piece)?;
            if n == 0 {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            piece.truncate(n);
            self.contents.push(piece);
            left -= n;
        }
        if !self.packets {
            self.contents = vec![self.contents.concat()];
        }
        Ok(())
    }

    /// Makes the pipe and fills it; both ends, to open more from.
    pub(super) fn make(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let direct = if self.packets { libc::O_DIRECT } else { 0 };
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | direct;
        let (reader, writer) = sys::objects::pipe(flags)?;
        let fd = writer.as_raw_fd();
        if self.capacity > 0 {
            let size = sys::descriptor::fcntl(fd, libc::F_SETPIPE_SZ, self.capacity as i32);
            let held: usize = self.contents.iter().map(Vec::len).sum();
            match size {
                Err(e) if held > 4096 => return Err(e),
                _ => {}
            }
        }
        for piece in &self.contents {
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                let n = sys::descriptor::write(fd, rest)?;
                rest = &rest[n..];
            }
        }
        Ok((reader, writer))
    }
}
