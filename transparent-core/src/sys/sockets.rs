//! Calls on sockets, and what sock_diag(7) says of those of the AF_UNIX family.
#![allow(unsafe_code, reason = "system calls")]

use super::descriptor::raise;
use super::{check, check_int};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What sock_diag says of one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnixSocket {
    /// `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_SEQPACKET`.
    pub(crate) kind: i32,
    /// It has a name in a file system or of the abstract kind.
    pub(crate) named: bool,
    /// Inode of the socket that it is connected to; 0 when that has been closed.
    pub(crate) peer: Option<u64>,
    /// Bit 0: no more is received; bit 1: no more is sent.
    pub(crate) shutdown: u8,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const HEADER: usize = 16;

/// Asks for the AF_UNIX socket with this inode.
pub(crate) fn unix_socket(inode: u64) -> io::Result<UnixSocket> {
    const SHOW_NAME: u32 = 1;
    const SHOW_PEER: u32 = 4;
    // SAFETY: plain integers.
    let made = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_SOCK_DIAG,
        )
    };
    let socket = check_int(made).and_then(raise)?;
    let mut request = Vec::with_capacity(40);
    request.extend(40_u32.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    let inode = inode as u32; // the kernel compares as many bits
    for word in [u32::MAX, inode, SHOW_NAME | SHOW_PEER, u32::MAX, u32::MAX] {
        request.extend(word.to_ne_bytes());
    }
    send(socket.as_raw_fd(), &request)?;
    let mut answer = [0; 4096];
    let length = super::descriptor::read(socket.as_raw_fd(), &mut answer)?;
    parse(&answer[..length])
}

fn parse(answer: &[u8]) -> io::Result<UnixSocket> {
    let strange = || io::Error::from_raw_os_error(libc::EPROTO);
    let half = |at: usize| {
        let bytes = answer.get(at..at + 2).ok_or_else(strange)?;
        Ok::<_, io::Error>(u16::from_ne_bytes([bytes[0], bytes[1]]))
    };
    let word = |at: usize| {
        let bytes = answer.get(at..at + 4).ok_or_else(strange)?;
        Ok::<_, io::Error>(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    if half(4)? != SOCK_DIAG_BY_FAMILY {
        let errno = (word(HEADER)? as i32).wrapping_neg();
        return Err(io::Error::from_raw_os_error(errno));
    }
    // struct unix_diag_msg, then attributes.
    let mut found = UnixSocket {
        kind: i32::from(*answer.get(HEADER + 1).ok_or_else(strange)?),
        ..UnixSocket::default()
    };
    let end = (word(0)? as usize).min(answer.len());
    let mut at = HEADER + 16;
    while at + 4 <= end {
        let length = usize::from(half(at)?);
        match half(at + 2)? {
            0 => found.named = length > 4,
            2 => found.peer = Some(u64::from(word(at + 4)?)),
            6 => found.shutdown = *answer.get(at + 4).ok_or_else(strange)?,
            _ => {}
        }
        at += length.max(4).next_multiple_of(4);
    }
    Ok(found)
}

/// Two connected AF_UNIX sockets.
pub(crate) fn pair(kind: i32) -> io::Result<[OwnedFd; 2]> {
    let mut ends = [0; 2];
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `ends` has room for two descriptors.
    check_int(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    let [a, b] = ends.map(raise);
    Ok([a?, b?])
}

/// An option of the level `SOL_SOCKET`, at most 16 bytes long.
pub(crate) fn option(fd: RawFd, name: i32) -> io::Result<Vec<u8>> {
    let mut value = vec![0; 16];
    let mut length = 16;
    // SAFETY: the value has room for `length` bytes.
    check_int(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &mut length,
        )
    })?;
    value.truncate(length as usize);
    Ok(value)
}

pub(crate) fn set_option(fd: RawFd, name: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: the value is readable for its length.
    check_int(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    })
    .map(drop)
}

pub(crate) fn int_option(fd: RawFd, name: i32) -> io::Result<i32> {
    let value = option(fd, name)?;
    let bytes = value.first_chunk().copied();
    bytes
        .map(i32::from_ne_bytes)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
}

pub(crate) fn set_int_option(fd: RawFd, name: i32, value: i32) -> io::Result<()> {
    set_option(fd, name, &value.to_ne_bytes())
}

/// What a look at the next message, or at the next bytes of a stream, finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peeked {
    /// Its length, more than the room when it does not fit.
    pub(crate) length: usize,
    /// Something beside the bytes comes with it: descriptors, credentials.
    pub(crate) has_more: bool,
}

/// Looks at what is to be received, from where `SO_PEEK_OFF` stands.
pub(crate) fn peek(fd: RawFd, out: &mut [u8]) -> io::Result<Peeked> {
    let mut piece = libc::iovec {
        iov_base: out.as_mut_ptr().cast(),
        iov_len: out.len(),
    };
    // SAFETY: all zeros is a message without name, pieces and control bytes.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut piece;
    message.msg_iovlen = 1;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: the message names one writable piece, which lives across the call.
    let length = check(unsafe { libc::recvmsg(fd, &mut message, flags) } as libc::c_long)?;
    Ok(Peeked {
        length: length as usize,
        has_more: message.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// Sends without waiting and without SIGPIPE.
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is readable for its length.
    check(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) } as libc::c_long)
        .map(|n| n as usize)
}

pub(crate) fn shutdown(fd: RawFd, how: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    check_int(unsafe { libc::shutdown(fd, how) }).map(drop)
}

/// A descriptor that receives the signals of `mask`.
pub(crate) fn signalfd(mask: u64, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: the mask is as long as the kernel's; libc's is longer.
    let made = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            std::ptr::from_ref(&mask),
            size_of::<u64>(),
            flags | libc::SFD_CLOEXEC,
        )
    };
    check(made).and_then(|fd| raise(fd as RawFd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_any_shape_are_read_or_refused() {
        assert!(parse(&[]).is_err());
        assert!(parse(&[0; 16]).is_err());
        let mut answer = vec![0_u8; 44];
        answer[0] = 44;
        answer[4] = SOCK_DIAG_BY_FAMILY as u8;
        answer[HEADER + 1] = libc::SOCK_DGRAM as u8;
        answer[32..44].copy_from_slice(&[8, 0, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        let expected = UnixSocket {
            kind: libc::SOCK_DGRAM,
            peer: Some(7),
            ..UnixSocket::default()
        };
        // The last attribute has no length: it is passed over.
        assert_eq!(
            parse(&answer).unwrap(),
            UnixSocket {
                named: false,
                ..expected
            }
        );
        for length in 0..answer.len() {
            let _ = parse(&answer[..length]);
        }
        let mut error = vec![0_u8; 20];
        error[4] = 2; // NLMSG_ERROR
        error[HEADER..].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(
            parse(&error).unwrap_err().raw_os_error(),
            Some(libc::ENOENT)
        );
    }
}
