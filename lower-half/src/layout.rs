//! Where the parts of an installation are: everything is found from the running
//! executable, `PREFIX/libexec/gpuckpt/gpuckpt-lower`.

use crate::control::private_directory;
use anyhow::{Context, Result, bail};
use lower_half::config::{Bytes, Device};
use lower_half::driver_path;
use lower_half::protocol::socket_dir;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Paths of one installation.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// `gpuckpt-lower` itself.
    pub(crate) lower: PathBuf,
    prefix: PathBuf,
}

/// The libraries that the upper half gets before all others, in `lib/gpuckpt`.
const PRELOADED: [&str; 3] = [
    "driver/libcuda.so.1",
    "cudart/libcudart.so.12",
    "cudart/libcudart.so.13",
];

impl Layout {
    /// Finds the installation.
    pub(crate) fn find() -> Result<Self> {
        let lower = std::fs::read_link("/proc/self/exe").context("cannot read /proc/self/exe")?;
        let prefix = lower.ancestors().nth(3).context("gpuckpt-lower is not in an installation: expected PREFIX/libexec/gpuckpt/gpuckpt-lower")?;
        Ok(Self {
            prefix: prefix.to_path_buf(),
            lower,
        })
    }

    /// The device that a wish comes to on this machine.
    pub(crate) fn resolve_device(&self, wish: Device, env: &[Bytes]) -> Device {
        match wish {
            Device::Auto
                if Path::new("/dev/nvidiactl").exists() && self.find_driver(env).is_some() =>
            {
                Device::Cuda
            }
            Device::Auto => Device::None,
            other => other,
        }
    }

    /// The driver's library to load into the lower half.
    pub(crate) fn driver(&self, device: Device, env: &[Bytes]) -> PathBuf {
        match device {
            Device::Mock => self.prefix.join("libexec/gpuckpt/mock/libcuda.so.1"),
            _ => self
                .find_driver(env)
                .unwrap_or_else(|| PathBuf::from("libcuda.so.1")),
        }
    }

    /// The lower half's own `LD_LIBRARY_PATH=…`, when `env` is the program's.
    pub(crate) fn library_path(&self, device: Device, env: &[Vec<u8>]) -> Option<Vec<u8>> {
        if device != Device::Cuda {
            return None;
        }
        let mut values = env
            .iter()
            .filter_map(|entry| entry.strip_prefix(b"LD_LIBRARY_PATH="));
        let given = values.next().map(OsStr::from_bytes);
        let path = driver_path::for_lower_half(given, &self.prefix)?;
        Some([b"LD_LIBRARY_PATH=", path.as_bytes()].concat())
    }

    fn find_driver(&self, env: &[Bytes]) -> Option<PathBuf> {
        let mut values = env
            .iter()
            .filter_map(|entry| entry.0.strip_prefix(b"LD_LIBRARY_PATH="));
        driver_path::find(values.next().map(OsStr::from_bytes), &self.prefix)
    }

    /// `env` with our libraries first in LD_PRELOAD. Our libcuda takes them out of
    /// the environment again before the program sees it.
    pub(crate) fn with_preload(&self, env: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let mut value = Vec::new();
        let prefix = self.preloadable_prefix()?;
        for name in PRELOADED {
            let path = prefix.join("lib/gpuckpt").join(name);
            anyhow::ensure!(
                path.exists(),
                "{} is missing: the installation is incomplete",
                path.display()
            );
            if !value.is_empty() {
                value.push(b':');
            }
            value.extend_from_slice(path.as_os_str().as_bytes());
        }
        let mut rest = Vec::with_capacity(env.len() + 1);
        let mut user: &[u8] = b"";
        for entry in env {
            match entry.strip_prefix(b"LD_PRELOAD=") {
                Some(list) => user = list,
                None => rest.push(entry.clone()),
            }
        }
        let mut entry = b"LD_PRELOAD=".to_vec();
        entry.extend_from_slice(&value);
        if !user.is_empty() {
            entry.push(b':');
            entry.extend_from_slice(user);
        }
        rest.push(entry);
        Ok(rest)
    }

    /// The prefix under a name without blanks and colons, which end a path in
    /// LD_PRELOAD: itself, or a link to it in our private folder.
    fn preloadable_prefix(&self) -> Result<PathBuf> {
        let splits = |path: &Path| {
            path.as_os_str()
                .as_bytes()
                .iter()
                .any(|byte| matches!(byte, b':' | b' '))
        };
        if !splits(&self.prefix) {
            return Ok(self.prefix.clone());
        }
        let folder = socket_dir();
        private_directory(&folder)?;
        let found = std::fs::metadata(&self.prefix)?;
        let link = folder.join(format!("prefix-{:x}-{:x}", found.dev(), found.ino()));
        if splits(&link) {
            bail!(
                "the dynamic linker cannot preload from a path with a blank or a colon, and both {} and {} have one; set XDG_RUNTIME_DIR to a folder without",
                self.prefix.display(),
                folder.display()
            );
        }
        if std::fs::read_link(&link).ok().as_ref() != Some(&self.prefix) {
            // Made under another name and renamed: a link that is being used stays whole.
            let fresh = folder.join(format!(".prefix-{}", std::process::id()));
            let _ = std::fs::remove_file(&fresh);
            std::os::unix::fs::symlink(&self.prefix, &fresh)
                .and_then(|()| std::fs::rename(&fresh, &link))
                .with_context(|| format!("cannot make the link {}", link.display()))?;
        }
        Ok(link)
    }
}
