//! The C library of an older release to link with: programs ask for the versions of
//! symbols that they were linked with, and so run wherever that release's C library,
//! or a newer one, is.

use crate::sh;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unpacks packages of a Debian release into a folder: release, folder, packages.
pub(crate) const DEBIAN_ROOT: &str = include_str!("debian_root.py");

/// glibc 2.31.
const RELEASE: &str = "bullseye";
/// Version of its compiler, whose support libraries are linked statically.
const COMPILER: &str = "10";
const PACKAGES: [&str; 8] = [
    "libc6",
    "libc6-dev",
    "linux-libc-dev",
    "libcrypt-dev",
    "libgcc-s1",
    "libgcc-10-dev",
    "libstdc++6",
    "libstdc++-10-dev",
];

/// A folder with libraries and headers of [`RELEASE`].
#[derive(Debug)]
pub(crate) struct Sysroot {
    root: PathBuf,
}

impl Sysroot {
    /// Fetches it once, about 20 MB.
    pub(crate) fn fetch() -> Result<Self> {
        let root = sh::target_dir().join("sysroot");
        let (mark, wanted) = (root.join("packages.txt"), PACKAGES.join("\n"));
        if fs::read_to_string(&mark).is_ok_and(|have| have == wanted) {
            return Ok(Self { root });
        }
        eprintln!("xtask: fetching the C library of Debian {RELEASE} to link with");
        fs::remove_dir_all(&root).ok();
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let mut python = Command::new("python3");
        python
            .args(["-c", DEBIAN_ROOT, RELEASE])
            .arg(&root)
            .args(PACKAGES);
        sh::output(&mut python)?;
        let sysroot = Self { root };
        if !sysroot.libraries().join("crt1.o").exists() {
            bail!(
                "the packages brought no {}/crt1.o",
                sysroot.libraries().display()
            );
        }
        fs::write(&mark, wanted).with_context(|| format!("cannot write {}", mark.display()))?;
        Ok(sysroot)
    }

    fn libraries(&self) -> PathBuf {
        self.root.join("usr/lib/x86_64-linux-gnu")
    }

    /// What a compiler needs to see these headers and libraries before the system's.
    /// It searches for its own libraries beside itself, not in the folder it is given.
    pub(crate) fn flags(&self) -> Vec<String> {
        let support = self
            .root
            .join("usr/lib/gcc/x86_64-linux-gnu")
            .join(COMPILER);
        let flag = |name: &str, path: &Path| format!("{name}{}", path.display());
        vec![
            flag("--sysroot=", &self.root),
            flag("-B", &self.libraries()),
            flag("-L", &support),
            flag("-L", &self.libraries()),
        ]
    }

    /// The same for C++, whose headers have to fit to the library.
    pub(crate) fn cxx_flags(&self) -> Vec<String> {
        let mut flags = self.flags();
        for folder in ["c++", "x86_64-linux-gnu/c++"] {
            let headers = self.root.join("usr/include").join(folder).join(COMPILER);
            flags.extend(["-isystem".to_owned(), headers.display().to_string()]);
        }
        flags
    }

    /// Makes a `cargo build` link with it. Build scripts are left alone: they run here.
    pub(crate) fn apply(&self, cargo: &mut Command, target_dir: &Path) {
        let flags: Vec<String> = self
            .flags()
            .iter()
            .map(|flag| format!("-Clink-arg={flag}"))
            .collect();
        cargo
            .args(["--target", TARGET])
            .env("CARGO_TARGET_DIR", target_dir)
            // The one form in which a path may have blanks; it wins over all others.
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("CFLAGS_x86_64_unknown_linux_gnu", &self.flags()[0]);
    }
}

/// The target that is built for, and so the name of cargo's folder.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
