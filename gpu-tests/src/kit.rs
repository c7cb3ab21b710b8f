//! Where the parts of the kit are, and which device the questions are put to.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the questions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// NVIDIA's own driver.
    Cuda,
    /// The mock device of the distribution: tries the kit itself.
    Mock,
}

impl Device {
    /// As in `--device` of the kit and of gpuckpt.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Device::Cuda => "cuda",
            Device::Mock => "mock",
        }
    }
}

/// Folders in which drivers are found besides the dynamic linker's own, as in
/// containers whose linker cache does not know the driver.
const DRIVER_FOLDERS: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/local/nvidia/lib64",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
];

/// The folder that was carried here.
#[derive(Clone, Debug)]
pub struct Kit {
    /// Its root: where the program `run` lies.
    pub root: PathBuf,
    /// What the questions are put to.
    pub device: Device,
}

impl Kit {
    /// The kit around the running program; `KIT` names another.
    ///
    /// # Errors
    /// There is no distribution tree there.
    pub fn find(device: Device) -> Result<Self> {
        let root = match std::env::var_os("KIT") {
            Some(root) if !root.is_empty() => PathBuf::from(root),
            _ => {
                let program = std::env::current_exe().context("where is this program?")?;
                program.parent().unwrap_or(Path::new("/")).to_path_buf()
            }
        };
        let root = root
            .canonicalize()
            .with_context(|| format!("cannot find {}", root.display()))?;
        let kit = Self { root, device };
        if !kit.gpuckpt_path().exists() {
            bail!(
                "{} is not the folder of the kit: it has no dist/bin/gpuckpt (`cargo xtask gpu-kit` makes one, KIT names one)",
                kit.root.display()
            );
        }
        Ok(kit)
    }

    /// The distribution tree.
    #[must_use]
    pub fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// The command line under test.
    #[must_use]
    pub fn gpuckpt_path(&self) -> PathBuf {
        self.dist().join("bin/gpuckpt")
    }

    /// A CUDA guest, built with the shared runtime.
    #[must_use]
    pub fn guest(&self, name: &str) -> PathBuf {
        self.root.join("guests").join(name)
    }

    /// A CUDA guest, built with NVIDIA's static runtime.
    #[must_use]
    pub fn static_guest(&self, name: &str) -> PathBuf {
        self.root.join("static").join(name)
    }

    /// A small C program that a probe launches.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("programs").join(name)
    }

    /// A Python program.
    #[must_use]
    pub fn python(&self, name: &str) -> PathBuf {
        self.root.join("python").join(name)
    }

    /// What to give to dlopen for the driver.
    #[must_use]
    pub fn driver_path(&self) -> PathBuf {
        match self.device {
            Device::Mock => self.dist().join("libexec/gpuckpt/mock/libcuda.so.1"),
            Device::Cuda => PathBuf::from("libcuda.so.1"),
        }
    }

    /// `LD_LIBRARY_PATH` of a program that runs natively: on the mock device its
    /// driver, then `ours`. What the variable had stays behind.
    fn library_path(&self, ours: Option<PathBuf>) -> OsString {
        let mut folders = Vec::new();
        if self.device == Device::Mock {
            folders.push(self.dist().join("libexec/gpuckpt/mock"));
        }
        folders.extend(ours);
        if let Some(given) = std::env::var_os("LD_LIBRARY_PATH") {
            folders.extend(std::env::split_paths(&given).filter(|p| !p.as_os_str().is_empty()));
        }
        // A folder with a colon in its name cannot be said; such a kit fails by name.
        std::env::join_paths(&folders).unwrap_or_default()
    }

    /// `LD_LIBRARY_PATH` for every process of a run, where the dynamic linker does not
    /// find the driver by itself: the driver loads libraries of its own by name.
    #[must_use]
    pub fn driver_folder(&self) -> Option<OsString> {
        let given = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&given).collect();
        folders.retain(|folder| !folder.as_os_str().is_empty());
        if self.device == Device::Mock || found_by_itself(&folders) {
            return None;
        }
        folders.push(driver_elsewhere()?.parent()?.to_path_buf());
        std::env::join_paths(&folders).ok()
    }

    /// A program of the kit without gpuckpt, with our libcudart.
    #[must_use]
    pub fn native(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let cudart = self.dist().join("lib/gpuckpt/cudart");
        command.env("LD_LIBRARY_PATH", self.library_path(Some(cudart)));
        command
    }

    /// A program without gpuckpt that brings its own CUDA libraries.
    #[must_use]
    pub fn foreign(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let path = self.library_path(None);
        if !path.is_empty() {
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }

    /// A command of gpuckpt; `images` is its folder of images.
    #[must_use]
    pub fn gpuckpt(&self, images: &Path) -> Command {
        let mut command = Command::new(self.gpuckpt_path());
        command.env("GPUCKPT_DIR", images);
        command
    }

    /// `gpuckpt launch` up to `--`: the program and its arguments follow.
    #[must_use]
    pub fn launch(&self, images: &Path, name: &str) -> Command {
        let mut command = self.gpuckpt(images);
        command.args([
            "launch",
            "--name",
            name,
            "--device",
            self.device.name(),
            "--",
        ]);
        command
    }
}

/// True when the dynamic linker finds a driver: in one of `folders`, or in its cache.
fn found_by_itself(folders: &[PathBuf]) -> bool {
    const NAME: &[u8] = b"libcuda.so.1\0";
    let cache = || std::fs::read("/etc/ld.so.cache").unwrap_or_default();
    folders.iter().any(|f| f.join("libcuda.so.1").exists())
        || cache().windows(NAME.len()).any(|window| window == NAME)
}

/// The driver's file in a folder that the dynamic linker does not search.
#[must_use]
pub fn driver_elsewhere() -> Option<PathBuf> {
    let file = |folder: &str| Path::new(folder).join("libcuda.so.1");
    DRIVER_FOLDERS
        .iter()
        .copied()
        .map(file)
        .find(|p| p.exists())
}

#[cfg(test)]
mod tests {
    use super::found_by_itself;

    #[test]
    fn a_driver_in_a_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_path_buf()];
        let without = found_by_itself(&folders);
        assert_eq!(without, found_by_itself(&[]), "the cache alone decides");
        std::fs::write(folder.path().join("libcuda.so.1"), "").unwrap();
        assert!(found_by_itself(&folders));
    }
}
