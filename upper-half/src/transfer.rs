//! Calls that move much data and may end early when a signal comes: what is missing
//! is moved by a second call, so that the application sees one that was not cut short.
//!
//! Without a signal they end early only where there is nothing more to have: then the
//! second call finds that out as well, and the result is that of the first.
#![allow(unsafe_code, reason = "asks about descriptors, reads lists of pieces")]

use crate::abi::is_upper;
use crate::arch::Frame;
use crate::sys;

/// An address and a length, as in `struct iovec`.
type Piece = [u64; 2];

/// How a call names what it moves, by the numbers of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Bytes: address, length.
    Bytes(usize, usize),
    /// A length only: the kernel keeps the positions.
    Length(usize),
    /// An array of pieces: address, count.
    Pieces(usize, usize),
    /// A `struct msghdr`.
    Message(usize),
    /// An array of `struct mmsghdr`: address, count. Counts messages, not bytes.
    Messages(usize, usize),
}

/// Calls that can be cut short, with the argument that has their flags.
fn shape(nr: i64) -> Option<(Shape, Option<usize>)> {
    Some(match nr {
        libc::SYS_write | libc::SYS_read => (Shape::Bytes(1, 2), None),
        libc::SYS_sendto | libc::SYS_recvfrom => (Shape::Bytes(1, 2), Some(3)),
        libc::SYS_getrandom => (Shape::Bytes(0, 1), None),
        libc::SYS_sendfile => (Shape::Length(3), None),
        libc::SYS_writev => (Shape::Pieces(1, 2), None),
        libc::SYS_sendmsg | libc::SYS_recvmsg => (Shape::Message(1), Some(2)),
        libc::SYS_sendmmsg | libc::SYS_recvmmsg => (Shape::Messages(1, 2), Some(3)),
        _ => return None,
    })
}

/// Length of a `struct mmsghdr`.
const MESSAGE_HEADER: u64 = 64;
/// A `struct msghdr` takes the place of so many pieces, nearly.
const HEADER_PIECES: usize = 4;

/// True when call `nr` with these arguments moved `moved` and would have gone on, had
/// no signal come.
pub(crate) fn is_cut_short(nr: i64, args: &[u64; 6], moved: u64) -> bool {
    let Some((shape, flags)) = shape(nr) else {
        return false;
    };
    let flags = flags.map_or(0, |i| args[i] as i32);
    moved < wanted(shape, args) && flags & libc::MSG_DONTWAIT == 0 && waits_for_all(nr, args, flags)
}

/// What the call is to move.
fn wanted(shape: Shape, args: &[u64; 6]) -> u64 {
    match shape {
        Shape::Bytes(_, length) | Shape::Length(length) | Shape::Messages(_, length) => {
            args[length]
        }
        Shape::Pieces(address, count) => total(&pieces(args[address], args[count])),
        Shape::Message(header) => total(&message(args[header]).1),
    }
}

/// True for calls that wait until everything is moved.
fn waits_for_all(nr: i64, args: &[u64; 6], flags: i32) -> bool {
    let fd = args[0];
    match nr {
        libc::SYS_getrandom => true,
        libc::SYS_read => is_endless_device(fd),
        libc::SYS_recvfrom | libc::SYS_recvmsg => {
            flags & libc::MSG_WAITALL != 0 && is_stream_socket(fd) && blocks(fd)
        }
        libc::SYS_sendmmsg => !is_stream_socket(fd) && blocks(fd),
        libc::SYS_recvmmsg => {
            flags & libc::MSG_WAITFORONE == 0 && args[4] == 0 && !is_stream_socket(fd) && blocks(fd)
        }
        libc::SYS_sendfile => kind(fd).0 == libc::S_IFSOCK && blocks(fd),
        _ => matches!(kind(fd).0, libc::S_IFIFO | libc::S_IFSOCK) && blocks(fd),
    }
}

fn blocks(fd: u64) -> bool {
    // SAFETY: no addresses.
    let flags = unsafe { sys::call(libc::SYS_fcntl, [fd, libc::F_GETFL as u64, 0, 0, 0, 0]) };
    flags >= 0 && flags & i64::from(libc::O_NONBLOCK) == 0
}

/// Kind of file and device number.
fn kind(fd: u64) -> (u32, u64) {
    // SAFETY: an all-zero `stat` is valid; it lives across the call.
    let stat: libc::stat = unsafe {
        let mut stat = std::mem::zeroed();
        sys::call(libc::SYS_fstat, [fd, &raw mut stat as u64, 0, 0, 0, 0]);
        stat
    };
    (stat.st_mode & libc::S_IFMT, stat.st_rdev)
}

/// /dev/zero, full, random and urandom.
fn is_endless_device(fd: u64) -> bool {
    let (kind, device) = kind(fd);
    kind == libc::S_IFCHR && libc::major(device) == 1 && matches!(libc::minor(device), 5 | 7..=9)
}

fn is_stream_socket(fd: u64) -> bool {
    socket_option(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM)
}

fn socket_option(fd: u64, option: i32) -> Option<i32> {
    let (mut value, mut length) = (0i32, 4u32);
    let (value_at, length_at) = (&raw mut value as u64, &raw mut length as u64);
    let (level, option) = (libc::SOL_SOCKET as u64, option as u64);
    let args = [fd, level, option, value_at, length_at, 0];
    // SAFETY: both live across the call and have the sizes given.
    let r = unsafe { sys::call(libc::SYS_getsockopt, args) };
    (r == 0).then_some(value)
}

/// A list of pieces, the application's or one that [`PieceLists`] keeps for a call that
/// was made. None where the address is bad.
fn pieces(address: u64, count: u64) -> Vec<Piece> {
    const MOST: u64 = 1024;
    let mut list = vec![[0u64; 2]; count.min(MOST) as usize];
    if is_upper(address) {
        return sys::read_all(address, &mut list).map_or(Vec::new(), |()| list);
    }
    for (i, piece) in list.iter_mut().enumerate() {
        // SAFETY: not the application's: a list of ours, which the kernel has just read.
        *piece = unsafe { *(address as *const Piece).add(i) };
    }
    list
}

/// The name in a `struct msghdr`, and its pieces.
fn message(address: u64) -> (Piece, Vec<Piece>) {
    // Its first half: what follows is not looked at.
    let parts = pieces(address, 2);
    let &[name, [list, count]] = parts.as_slice() else {
        return ([0; 2], Vec::new());
    };
    (name, pieces(list, count))
}

fn total(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|[_, length]| length).sum()
}

/// What is left of `pieces` after their first `done` bytes.
fn without_first(pieces: &[Piece], mut done: u64) -> Vec<Piece> {
    let mut left = Vec::with_capacity(pieces.len());
    for &[address, length] in pieces {
        let skip = done.min(length);
        done -= skip;
        if skip < length {
            left.push([address + skip, length - skip]);
        }
    }
    left
}

/// Changes the arguments of call `nr` in `frame` to what is left after `done`.
pub(crate) fn leave_out(nr: i64, frame: &mut Frame, done: u64, lists: &mut PieceLists) {
    let args = frame.args();
    match shape(nr) {
        Some((Shape::Bytes(address, length), _)) => {
            frame.set_argument(address, args[address] + done);
            frame.set_argument(length, args[length] - done);
        }
        Some((Shape::Length(length), _)) => frame.set_argument(length, args[length] - done),
        Some((Shape::Messages(address, count), _)) => {
            // recvmmsg has left our interruption behind as an error for the next call.
            socket_option(args[0], libc::SO_ERROR);
            frame.set_argument(address, args[address] + done * MESSAGE_HEADER);
            frame.set_argument(count, args[count] - done);
        }
        Some((Shape::Pieces(address, count), _)) => {
            let left = without_first(&pieces(args[address], args[count]), done);
            frame.set_argument(count, left.len() as u64);
            frame.set_argument(address, lists.keep(frame.rsp, left));
        }
        Some((Shape::Message(header), _)) => {
            let (name, list) = message(args[header]);
            let left = without_first(&list, done);
            // The header goes first, in the place of four pieces: what came with the
            // first byte (descriptors, credentials) has gone with it.
            let count = left.len() as u64;
            let mut list = vec![[0u64; 2]; HEADER_PIECES];
            list.extend(left);
            let at = lists.keep(frame.rsp, list);
            let pieces_at = at + (HEADER_PIECES * size_of::<Piece>()) as u64;
            lists.set(frame.rsp, &[name, [pieces_at, count]]);
            frame.set_argument(header, at);
        }
        None => {}
    }
}

/// Lists of pieces for calls of one thread that are not finished, each with
/// the stack pointer of its call: a handler's calls lie deeper.
#[derive(Default)]
pub(crate) struct PieceLists(Vec<(u64, Vec<Piece>)>);

impl PieceLists {
    /// Keeps `list` until the call at `sp` is over; its address.
    fn keep(&mut self, sp: u64, list: Vec<Piece>) -> u64 {
        self.0.retain(|(other, _)| *other > sp);
        let address = list.as_ptr() as u64;
        self.0.push((sp, list));
        address
    }

    /// Writes the first pieces of the list kept for the call at `sp`.
    fn set(&mut self, sp: u64, first: &[Piece]) {
        if let Some((_, list)) = self.0.iter_mut().find(|(other, _)| *other == sp) {
            list[..first.len()].copy_from_slice(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_on_where_a_part_ended() {
        let pieces = [[1000, 10], [2000, 0], [3000, 5], [4000, 7]];
        assert_eq!(
            without_first(&pieces, 0),
            [[1000, 10], [3000, 5], [4000, 7]]
        );
        assert_eq!(without_first(&pieces, 3), [[1003, 7], [3000, 5], [4000, 7]]);
        assert_eq!(without_first(&pieces, 10), [[3000, 5], [4000, 7]]);
        assert_eq!(without_first(&pieces, 14), [[3004, 1], [4000, 7]]);
        assert_eq!(without_first(&pieces, 22), [[0u64; 2]; 0]);
    }

    #[test]
    fn a_handlers_list_leaves_that_of_the_interrupted_call() {
        let mut lists = PieceLists::default();
        let outer = lists.keep(0x8000, vec![[1, 2]]);
        let inner = lists.keep(0x7000, vec![[3, 4]]);
        assert_ne!(outer, inner);
        assert_eq!(lists.0.len(), 2);
        lists.keep(0x8000, vec![[5, 6]]);
        assert_eq!(lists.0.len(), 1);
    }
}
