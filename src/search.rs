//! Finding the file of a command, as execvp(3) does.

use crate::failure::{Code, Failure, Result};
use nix::unistd::{AccessFlags, access};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What execvp searches when PATH is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What there is to execute, after execvp's rules.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Executable {
    /// An ELF file or a script with `#!`.
    Direct(PathBuf),
    /// A file of text without `#!`, which execvp gives to the shell.
    ForShell(PathBuf),
}

/// Searches `command` in `path` (the value of PATH) unless it has a slash.
pub(crate) fn find(command: &OsStr, path: Option<OsString>) -> Result<Executable> {
    let what = || format!("cannot execute `{}`", command.display());
    if command.is_empty() {
        return Err(Failure::new(
            Code::CommandNotFound,
            what(),
            "the name is empty",
        ));
    }
    if command.as_bytes().contains(&b'/') {
        let file = PathBuf::from(command);
        return match fs::metadata(&file) {
            Ok(_) => check(file, &what()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Failure::new(Code::CommandNotFound, what(), error))
            }
            Err(error) => Err(Failure::new(Code::CannotExecute, what(), error)),
        };
    }
    let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
    let mut denied = None;
    for folder in path.as_bytes().split(|&byte| byte == b':') {
        // An empty entry is the working directory.
        let folder = if folder.is_empty() { b"." } else { folder };
        let file = Path::new(OsStr::from_bytes(folder)).join(command);
        if !fs::metadata(&file).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        if access(&file, AccessFlags::X_OK).is_ok() {
            return check(file, &what());
        }
        denied.get_or_insert(file);
    }
    match denied {
        Some(file) => check(file, &what()),
        None => Err(
            Failure::new(Code::CommandNotFound, what(), "no such file in PATH")
                .advise("give a path, as in ./app, for a file outside PATH"),
        ),
    }
}

fn check(file: PathBuf, what: &str) -> Result<Executable> {
    let refuse = |why: String| Err(Failure::new(Code::CannotExecute, what, why));
    let shown = file.display();
    if fs::metadata(&file).is_ok_and(|meta| !meta.is_file()) {
        return refuse(format!("{shown} is not a regular file"));
    }
    if let Err(error) = access(&file, AccessFlags::X_OK) {
        return refuse(format!("{shown}: {}", error.desc()));
    }
    // The program is loaded by a reader in user space, unlike by the kernel.
    let mut head = [0; 64];
    let got = match File::open(&file).and_then(|mut opened| opened.read(&mut head)) {
        Ok(got) => got,
        Err(error) => return refuse(format!("{shown} cannot be read: {error}")),
    };
    let head = &head[..got];
    if head.starts_with(b"#!") {
        return Ok(Executable::Direct(file));
    }
    if head.starts_with(b"\x7fELF") {
        return match foreign(head) {
            None => Ok(Executable::Direct(file)),
            Some(kind) => refuse(format!(
                "{shown} is {kind}; only x86-64 programs are supported"
            )),
        };
    }
    if head.contains(&0) {
        return refuse(format!("{shown} is neither a program nor a script"));
    }
    Ok(Executable::ForShell(file))
}

/// Says what kind of foreign ELF file this is the beginning of, if it is one.
fn foreign(head: &[u8]) -> Option<&'static str> {
    const CLASS: usize = 4;
    const MACHINE: usize = 18;
    const X86_64: [u8; 2] = [62, 0];
    match (head.get(CLASS), head.get(MACHINE..MACHINE + 2)) {
        (Some(2), Some(machine)) if machine == X86_64 => None,
        (Some(1), _) => Some("a 32-bit program"),
        (_, Some(_)) => Some("a program for another kind of processor"),
        (_, None) => Some("a damaged program"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    fn file(dir: &TempDir, name: &str, mode: u32, content: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn status(found: Result<Executable>) -> i32 {
        found.unwrap_err().status()
    }

    #[test]
    fn searches_the_path_in_order_and_skips_folders() {
        let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::create_dir(first.path().join("tool")).unwrap();
        let script = file(&second, "tool", 0o755, b"#!/bin/sh\n");
        let path = std::env::join_paths([first.path(), second.path()]).unwrap();
        let found = find(OsStr::new("tool"), Some(path)).unwrap();
        assert_eq!(found, Executable::Direct(script));
    }

    #[test]
    fn without_path_the_system_s_folders_are_searched() {
        assert!(find(OsStr::new("sh"), None).is_ok());
        assert_eq!(status(find(OsStr::new("no-such-tool"), None)), 127);
    }

    #[test]
    fn text_without_interpreter_goes_to_the_shell() {
        let dir = TempDir::new().unwrap();
        let text = file(&dir, "run", 0o755, b"echo hi\n");
        assert_eq!(
            find(text.as_os_str(), None).unwrap(),
            Executable::ForShell(text)
        );
    }

    #[test]
    fn what_cannot_be_executed_is_126_and_what_is_not_there_127() {
        let dir = TempDir::new().unwrap();
        let plain = file(&dir, "plain", 0o644, b"#!/bin/sh\n");
        let object = file(
            &dir,
            "object",
            0o755,
            b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0",
        );
        let arm = file(
            &dir,
            "arm",
            0o755,
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0",
        );
        let blob = file(&dir, "blob", 0o755, b"\0\x01\x02");
        for path in [&plain, &object, &arm, &blob] {
            assert_eq!(status(find(path.as_os_str(), None)), 126, "{path:?}");
        }
        assert_eq!(status(find(dir.path().as_os_str(), None)), 126);
        assert_eq!(status(find(dir.path().join("gone").as_os_str(), None)), 127);
        assert_eq!(status(find(OsStr::new(""), None)), 127);
        // A file without the permission hides nothing that is found later, as in execvp.
        let path = Some(dir.path().as_os_str().to_owned());
        assert_eq!(status(find(OsStr::new("plain"), path)), 126);
    }
}
