//! execve: the process is replaced by a fresh lower half that starts the new
//! program, after everything that could fail has been looked at here, so that
//! the caller gets its errno unharmed.
#![allow(unsafe_code, reason = "reads strings of the application's")]

use super::{Outcome, Trap, error};
use crate::hooks::Inherited;
use crate::ids::{self, Pair};
use crate::program::{self, Kind};
use crate::{abi, process, sys};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn execve(t: &mut Trap<'_>) -> Outcome {
    let [path, argv, env, ..] = t.args;
    let path = match read_path(path) {
        Ok(path) => path,
        Err(errno) => return error(errno),
    };
    if path.is_empty() {
        return error(libc::ENOENT);
    }
    run(t, or_own_program(path), argv, env)
}

pub(super) fn execveat(t: &mut Trap<'_>) -> Outcome {
    let [fd, path, argv, env, flags, _] = t.args;
    let path = match read_path(path) {
        Ok(path) => path,
        Err(errno) => return error(errno),
    };
    let fd = fd as i32;
    let path = match path.as_slice() {
        [b'/', ..] => or_own_program(path),
        _ if fd == libc::AT_FDCWD && !path.is_empty() => path.to_vec(),
        [] if flags & libc::AT_EMPTY_PATH as u64 == 0 => return error(libc::ENOENT),
        _ => match base_of(fd) {
            Ok(mut base) => {
                if !path.is_empty() {
                    base.push(b'/');
                    base.extend_from_slice(&path);
                }
                // Opened as /proc/self/exe: see below.
                if is_lower_half(&base) {
                    base.clone_from(&process::image().path);
                }
                base
            }
            Err(errno) => return error(errno),
        },
    };
    run(t, path, argv, env)
}

/// The kernel's limit for one string (MAX_ARG_STRLEN).
const LONGEST: usize = 128 << 10;

fn read_path(address: u64) -> Result<Vec<u8>, i32> {
    sys::read_string(address, libc::PATH_MAX as usize, libc::ENAMETOOLONG)
}

/// A program that starts itself again by /proc/self/exe means its own file, and the
/// kernel would start the lower half's.
fn or_own_program(path: Vec<u8>) -> Vec<u8> {
    if super::files::is_own_exe(&path) {
        process::image().path.clone()
    } else {
        path
    }
}

/// The path of a descriptor; one without a name stays a /proc path.
fn base_of(fd: i32) -> Result<Vec<u8>, i32> {
    let link = format!("/proc/self/fd/{fd}");
    let name = std::fs::read_link(&link)
        .map_err(|_| libc::EBADF)?
        .into_os_string()
        .into_vec();
    if name.starts_with(b"/") && !name.ends_with(b" (deleted)") {
        return Ok(name);
    }
    // The number must survive the exec: without FD_CLOEXEC, out of the way.
    // SAFETY: duplicates a descriptor of the application's.
    let high = unsafe { libc::fcntl(fd, libc::F_DUPFD, 100) };
    if high < 0 {
        Err(libc::EBADF)
    } else {
        Ok(format!("/proc/self/fd/{high}").into_bytes())
    }
}

/// A NULL-terminated array of strings.
fn strings(address: u64) -> Result<Vec<Vec<u8>>, i32> {
    let mut all = Vec::new();
    if address == 0 {
        return Ok(all);
    }
    for i in 0.. {
        let string = sys::read::<u64>(address + 8 * i)?;
        if string == 0 {
            break;
        }
        all.push(sys::read_string(string, LONGEST, libc::E2BIG)?);
    }
    Ok(all)
}

fn run(t: &mut Trap<'_>, path: Vec<u8>, argv: u64, env: u64) -> Outcome {
    let (mut argv, env) = match (strings(argv), strings(env)) {
        (Ok(argv), Ok(env)) => (argv, env),
        (Err(errno), _) | (_, Err(errno)) => return error(errno),
    };
    if argv.is_empty() {
        argv.push(Vec::new()); // as Linux does since 5.18
    }
    let file = PathBuf::from(std::ffi::OsString::from_vec(path.clone()));
    let kind = match program::inspect(&file) {
        Ok(kind) => kind,
        Err(errno) => return error(errno),
    };
    if too_big(&argv, &env) {
        return error(libc::E2BIG);
    }
    // SAFETY: this thread's own process's actions; its own mask bits.
    let (actions, bits) = unsafe { (t.record.actions(), *t.record.mask_bits.get()) };
    let native = kind == Kind::Foreign || is_lower_half(&path);
    let errno = if native {
        // The new program gets the application's mask at once.
        let blocked = sys::set_mask(t.frame.mask | bits);
        let errno = process::hooks().exec_native(&path, argv, env);
        sys::set_mask(blocked);
        errno
    } else {
        let mut ids = ids::lock().clone();
        if t.record.is_vfork_child {
            ids.forked(Pair {
                virt: t.record.vtid.load(Relaxed),
                real: t.record.tid.load(Relaxed),
            });
        }
        let inherited = Inherited {
            abi: abi::VERSION,
            mask: t.frame.mask,
            mask_bits: bits,
            ignored: actions.ignored_own(),
            children: ids.children.clone(),
            ids,
        };
        process::hooks().exec(&path, argv, env, inherited)
    };
    error(errno)
}

/// The kernel's limit: a quarter of the stack's, at least 128 KiB.
fn too_big(argv: &[Vec<u8>], env: &[Vec<u8>]) -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure lives across the call.
    unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) };
    let most = (limit.rlim_cur / 4).clamp(128 << 10, 6 << 20) as usize;
    let strings = argv.iter().chain(env);
    strings.clone().any(|s| s.len() >= LONGEST)
        || strings.map(|s| s.len() + 9).sum::<usize>() > most
}

/// True when `path` is the lower half's own executable.
fn is_lower_half(path: &[u8]) -> bool {
    let stat = |path: &CStr| {
        // SAFETY: the string and the structure live across the call.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            (libc::stat(path.as_ptr(), &raw mut stat) == 0).then_some((stat.st_dev, stat.st_ino))
        }
    };
    let Ok(path) = CString::new(path) else {
        return false;
    };
    stat(&path).is_some_and(|s| Some(s) == stat(c"/proc/self/exe"))
}
