//! What the machine has besides a driver: Pythons with their frameworks, and
//! NVIDIA's libraries. All of it is optional.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A Python that has what was asked for.
#[derive(Clone, Debug)]
pub struct Python {
    /// The interpreter.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
    /// Modules and their versions; `?` where none is told.
    pub modules: Vec<(String, String)>,
}

/// How long a Python may take to say what it has; a cold disk is slow.
const PATIENCE: Duration = Duration::from_secs(30);
const NAP: Duration = Duration::from_millis(5);
/// Newest first.
const VERSIONS: [&str; 3] = ["13", "12", "11"];

/// Says versions of Python and of the modules, or ends with status 9.
const ASK: &str = "\
import importlib.metadata as m, importlib.util as u, sys
print(sys.version.split()[0])
for name in sys.argv[1:]:
    if u.find_spec(name) is None: sys.exit(9)
    for package in (name, name + '-cuda13x', name + '-cuda12x', name + '-cuda11x'):
        try: print(name, m.version(package)); break
        except m.PackageNotFoundError: pass
    else: print(name, '?')
";

/// Prints where packages lie.
const WHERE: &str = "import sys; print('\\n'.join(sys.path))";

/// The Pythons of this machine: `KIT_PYTHON`, the active environment's, those of the
/// PATH, and those of usual folders.
#[must_use]
pub fn pythons() -> Vec<PathBuf> {
    let mut found = Vec::new();
    found.extend(env::var_os("KIT_PYTHON").map(PathBuf::from));
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        let folder = env::var_os(variable).map(PathBuf::from);
        found.extend(folder.map(|folder| folder.join("bin/python3")));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    found.extend(env::split_paths(&path).map(|folder| folder.join("python3")));
    for folder in children(Path::new("/opt")) {
        for inside in ["bin/python3", ".venv/bin/python3", "venv/bin/python3"] {
            found.push(folder.join(inside));
        }
    }
    found.extend(["/usr/local/bin/python3", "/usr/bin/python3"].map(PathBuf::from));
    let mut seen = BTreeSet::new();
    // A link is not followed: an environment is known by the place of its link.
    found.retain(|path| path.is_file() && path.is_absolute() && seen.insert(path.clone()));
    found
}

/// The first Python with all these modules.
#[must_use]
pub fn python_with(pythons: &[PathBuf], modules: &[&str], deadline: Instant) -> Option<Python> {
    pythons.iter().find_map(|path| {
        let said = ask(path, ASK, modules, deadline)?;
        let mut lines = said.lines();
        let version = lines.next()?.to_owned();
        let module = |line: &str| {
            let (name, version) = line.split_once(' ')?;
            Some((name.to_owned(), version.to_owned()))
        };
        Some(Python {
            path: path.clone(),
            version,
            modules: lines.filter_map(module).collect(),
        })
    })
}

/// The newest `STEM.so.N` of CUDA's folders, of the dynamic linker's, or of Python's
/// packages of NVIDIA.
#[must_use]
pub fn library(stem: &str, pythons: &[PathBuf], deadline: Instant) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let path = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    folders.extend(env::split_paths(&path).filter(|folder| folder.is_absolute()));
    folders.extend(["/usr/lib/x86_64-linux-gnu", "/usr/lib64"].map(PathBuf::from));
    for toolkit in children(Path::new("/usr/local")) {
        let name = toolkit.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("cuda") {
            folders.push(toolkit.join("lib64"));
            folders.push(toolkit.join("targets/x86_64-linux/lib"));
        }
    }
    in_folders(stem, &folders).or_else(|| {
        pythons.iter().find_map(|python| {
            let said = ask(python, WHERE, &[], deadline)?;
            let packages = said.lines().map(|line| Path::new(line).join("nvidia"));
            let inside = packages.flat_map(|nvidia| children(&nvidia));
            let folders: Vec<PathBuf> = inside.map(|package| package.join("lib")).collect();
            in_folders(stem, &folders)
        })
    })
}

fn in_folders(stem: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    VERSIONS.iter().find_map(|version| {
        let name = format!("{stem}.so.{version}");
        let mut files = folders.iter().map(|folder| folder.join(&name));
        files.find(|file| file.is_file())
    })
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// What a Python prints; none when it fails, or hangs.
fn ask(python: &Path, program: &str, args: &[&str], deadline: Instant) -> Option<String> {
    let mut child = Command::new(python)
        .args(["-c", program])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let until = (Instant::now() + PATIENCE).min(deadline);
    let status = loop {
        // A pipe holds more than these programs print.
        match child.try_wait().ok()? {
            Some(status) => break status,
            None if Instant::now() < until => sleep(NAP),
            None => {
                // It hangs; its status is of no interest.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let mut said = String::new();
    child.stdout.take()?.read_to_string(&mut said).ok()?;
    status.success().then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn program(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("python3");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_newest_library_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        assert_eq!(in_folders("libx", std::slice::from_ref(&path)), None);
        for version in ["11", "12"] {
            fs::write(path.join(format!("libx.so.{version}")), "").unwrap();
        }
        let found = in_folders("libx", std::slice::from_ref(&path));
        assert_eq!(found, Some(path.join("libx.so.12")));
    }

    #[test]
    fn a_python_says_its_modules() {
        let folder = tempfile::tempdir().unwrap();
        let python = program(folder.path(), "echo 3.12.3; echo torch 2.11.0+cu130");
        let found = python_with(std::slice::from_ref(&python), &["torch"], soon()).unwrap();
        assert_eq!(found.path, python);
        assert_eq!(found.version, "3.12.3");
        let torch = ("torch".to_owned(), "2.11.0+cu130".to_owned());
        assert_eq!(found.modules, [torch]);
    }

    #[test]
    fn a_python_that_lacks_a_module_or_hangs_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let lacks = program(folder.path(), "echo 3.12.3; exit 9");
        assert!(python_with(&[lacks], &["torch"], soon()).is_none());
        let other = tempfile::tempdir().unwrap();
        let hangs = program(other.path(), "exec sleep 60");
        let begin = Instant::now();
        let deadline = begin + Duration::from_millis(100);
        assert!(python_with(&[hangs], &["torch"], deadline).is_none());
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}
