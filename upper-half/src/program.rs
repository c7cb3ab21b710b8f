//! What kind of file a program is, with the errors that execve would give:
//! ELF for this machine, a script, or something only the kernel can start.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An ELF program for x86-64.
    Elf,
    /// An ELF program for another machine mode; only the kernel starts it.
    Foreign,
    /// A script: interpreter and its one argument.
    Script(PathBuf, Option<Vec<u8>>),
}

/// How many `#!` lines may lead to each other.
const DEPTH: usize = 5;

/// Looks at `path` as execve would; the errno when it would fail. Scripts
/// are followed to their interpreters, whose kind counts.
pub(crate) fn inspect(path: &Path) -> Result<Kind, i32> {
    let mut kind = look(path)?;
    for _ in 0..DEPTH {
        match kind {
            Kind::Script(interpreter, _) => kind = look(&interpreter)?,
            other => return Ok(other),
        }
    }
    Err(libc::ELOOP)
}

/// Follows `#!` lines: the ELF program to load and its arguments.
pub(crate) fn resolve(path: &Path, argv: Vec<Vec<u8>>) -> Result<(PathBuf, Vec<Vec<u8>>), i32> {
    let (mut path, mut argv) = (path.to_path_buf(), argv);
    for _ in 0..DEPTH {
        match look(&path)? {
            Kind::Script(interpreter, argument) => {
                let script = path.as_os_str().as_bytes().to_vec();
                let rest = argv.into_iter().skip(1);
                let name = interpreter.as_os_str().as_bytes().to_vec();
                argv = [name]
                    .into_iter()
                    .chain(argument)
                    .chain([script])
                    .chain(rest)
                    .collect();
                path = interpreter;
            }
            Kind::Elf => return Ok((path, argv)),
            Kind::Foreign => return Err(libc::ENOEXEC),
        }
    }
    Err(libc::ELOOP)
}

fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn look(path: &Path) -> Result<Kind, i32> {
    let metadata = std::fs::metadata(path).map_err(|e| errno(&e))?;
    if !metadata.is_file() || !may_execute(path) {
        return Err(libc::EACCES);
    }
    let file = File::open(path).map_err(|e| errno(&e))?;
    let mut head = [0u8; 256];
    let length = file.read_at(&mut head, 0).map_err(|e| errno(&e))?;
    classify(&head[..length])
}

/// Execute permission with the effective ids.
#[allow(unsafe_code, reason = "faccessat has no std counterpart")]
fn may_execute(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: the string lives across the call.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) == 0 }
}

fn classify(head: &[u8]) -> Result<Kind, i32> {
    if let Some(rest) = head.strip_prefix(b"#!") {
        return script(rest, head.len() == 256);
    }
    match head {
        [0x7f, b'E', b'L', b'F', class, ..] if head.len() >= 64 => {
            let machine = u16::from_le_bytes([head[18], head[19]]);
            let kind = u16::from_le_bytes([head[16], head[17]]);
            match (*class, machine) {
                (2, 62) if kind == 2 || kind == 3 => Ok(Kind::Elf),
                (1, 3) | (1, 62) => Ok(Kind::Foreign),
                _ => Err(libc::ENOEXEC),
            }
        }
        _ => Err(libc::ENOEXEC),
    }
}

/// The line after `#!`: interpreter, blanks, everything else as one argument.
fn script(rest: &[u8], cut: bool) -> Result<Kind, i32> {
    let end = rest.iter().position(|b| *b == b'\n');
    let line = rest[..end.unwrap_or(rest.len())].trim_ascii();
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let split = line.iter().position(blank);
    let (name, argument) = match split {
        Some(at) => (&line[..at], line[at..].trim_ascii()),
        None if cut && end.is_none() => return Err(libc::ENOEXEC),
        None => (line, &[][..]),
    };
    if name.is_empty() {
        return Err(libc::ENOEXEC);
    }
    let argument = (!argument.is_empty()).then(|| argument.to_vec());
    Ok(Kind::Script(
        PathBuf::from(OsStr::from_bytes(name)),
        argument,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_lines_are_split_as_the_kernel_does() {
        let of = |line: &[u8]| classify(line);
        let kind = |name: &str, argument: Option<&str>| {
            Ok(Kind::Script(
                name.into(),
                argument.map(|a| a.as_bytes().to_vec()),
            ))
        };
        assert_eq!(of(b"#!/bin/sh\nrest"), kind("/bin/sh", None));
        assert_eq!(
            of(b"#! /usr/bin/env  python3 -u \n"),
            kind("/usr/bin/env", Some("python3 -u"))
        );
        assert_eq!(of(b"#!\n"), Err(libc::ENOEXEC));
        assert_eq!(of(b"hello"), Err(libc::ENOEXEC));
    }

    #[test]
    fn errors_are_those_of_execve() {
        assert_eq!(inspect(Path::new("/nonexistent/x")), Err(libc::ENOENT));
        assert_eq!(inspect(Path::new("/tmp")), Err(libc::EACCES));
        assert_eq!(inspect(Path::new("/etc/passwd")), Err(libc::EACCES));
        assert_eq!(inspect(Path::new("/bin/sh")), Ok(Kind::Elf));
    }
}
