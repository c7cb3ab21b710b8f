//! Calls about descriptors of the lower half and about the program's own path.
#![allow(
    unsafe_code,
    reason = "reads and writes what the application passed by address"
)]

use super::{Outcome, Trap, error};
use crate::process::{hooks, image};
use crate::{ids, sys};

/// `readlink` of /proc/self/exe names the application.
pub(super) fn readlink(t: &mut Trap<'_>) -> Outcome {
    let at = usize::from(t.nr == libc::SYS_readlinkat);
    let (path, buffer, size) = (t.args[at], t.args[at + 1], t.args[at + 2]);
    let path = match sys::read_string(path, libc::PATH_MAX as usize, libc::ENAMETOOLONG) {
        Ok(path) => path,
        Err(errno) => return error(errno),
    };
    if !is_own_exe(&path) {
        // SAFETY: the call as the application made it.
        return unsafe { sys::call(t.nr, t.args) }.into();
    }
    if size as i32 <= 0 {
        return error(libc::EINVAL);
    }
    let exe = &image().path;
    let length = exe.len().min(size as u32 as usize);
    match sys::write_bytes(buffer, &exe[..length]) {
        Ok(()) => Outcome::Done(length as i64),
        Err(errno) => error(errno),
    }
}

/// True for the names under which a process finds its own executable.
pub(super) fn is_own_exe(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/proc/") else {
        return false;
    };
    let Some(who) = rest.strip_suffix(b"/exe") else {
        return false;
    };
    who == b"self"
        || who == b"thread-self"
        || std::str::from_utf8(who).ok().and_then(|w| w.parse().ok()) == Some(ids::pid())
}

pub(super) fn close(t: &mut Trap<'_>) -> Outcome {
    if hooks().fd_is_ours(t.args[0] as i32) {
        return error(libc::EBADF);
    }
    // SAFETY: a descriptor of the application's.
    unsafe { sys::call(t.nr, t.args) }.into()
}

pub(super) fn dup(t: &mut Trap<'_>) -> Outcome {
    if hooks().fd_is_ours(t.args[0] as i32) || hooks().fd_is_ours(t.args[1] as i32) {
        return error(libc::EBADF);
    }
    // SAFETY: descriptors of the application's.
    unsafe { sys::call(t.nr, t.args) }.into()
}

/// Spares the lower half's descriptors.
pub(super) fn close_range(t: &mut Trap<'_>) -> Outcome {
    let [first, last, flags, ..] = t.args;
    let (first, last) = (u64::from(first as u32), u64::from(last as u32));
    let base = hooks().fd_base() as u64;
    // SAFETY: numbers below the base are the application's.
    let native =
        |first, last| unsafe { sys::call(libc::SYS_close_range, [first, last, flags, 0, 0, 0]) };
    if first > last || last < base {
        return native(first, last).into();
    }
    if first < base {
        let r = native(first, base - 1);
        if sys::failed(r) {
            return r.into();
        }
    }
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return Outcome::Done(0);
    };
    let open: Vec<u64> = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str().and_then(|n| n.parse().ok()))
        .filter(|fd| (first.max(base)..=last).contains(fd))
        .filter(|fd| !hooks().fd_is_ours(*fd as i32))
        .collect();
    for fd in open {
        native(fd, fd);
    }
    Outcome::Done(0)
}
