//! Where NVIDIA's driver is on this machine, for the command line and the lower half.
//!
//! The lower half starts without the user's `LD_*`. A driver that the dynamic linker
//! does not find by itself, as in containers that mount it, loads libraries of its own
//! by name (the compiler for PTX): for these the lower half gets the one folder that
//! the driver lies in as its `LD_LIBRARY_PATH`, at a launch and at a restart.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

const NAME: &str = "libcuda.so.1";

/// Folders where drivers are installed, besides what the linker's cache names.
const FOLDERS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib/x86_64-linux-gnu",
    "/usr/local/nvidia/lib64",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
];

/// What to load: a path, or the bare name where the linker's cache knows one.
/// `library_path` is the user's `LD_LIBRARY_PATH`; what lies below `ours` is no driver.
#[must_use]
pub fn find(library_path: Option<&OsStr>, ours: &Path) -> Option<PathBuf> {
    let listed = in_folders(listed(library_path), ours);
    let known = || in_folders(FOLDERS.iter().map(PathBuf::from), ours);
    listed
        .or_else(known)
        .or_else(|| cached().then(|| PathBuf::from(NAME)))
}

/// `LD_LIBRARY_PATH` for the lower half: none where the linker's cache knows the
/// driver that [`find`] gives.
#[must_use]
pub fn for_lower_half(library_path: Option<&OsStr>, ours: &Path) -> Option<OsString> {
    let known = || in_folders(FOLDERS.iter().map(PathBuf::from), ours).filter(|_| !cached());
    let file = in_folders(listed(library_path), ours).or_else(known)?;
    Some(file.parent()?.as_os_str().to_owned())
}

fn listed(library_path: Option<&OsStr>) -> impl Iterator<Item = PathBuf> {
    let folders = library_path.into_iter().flat_map(std::env::split_paths);
    folders.filter(|folder| folder.is_absolute())
}

fn in_folders(folders: impl Iterator<Item = PathBuf>, ours: &Path) -> Option<PathBuf> {
    let mut files = folders.map(|folder| folder.join(NAME));
    files.find(|path| path.exists() && !path.starts_with(ours))
}

/// Does the dynamic linker's cache name a driver?
fn cached() -> bool {
    const ENTRY: &[u8] = b"libcuda.so.1\0";
    std::fs::read("/etc/ld.so.cache")
        .is_ok_and(|cache| cache.windows(ENTRY.len()).any(|window| window == ENTRY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_path_comes_first_and_goes_to_the_lower_half() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, other) = (folder.path().join("mine"), folder.path().join("other"));
        for folder in [&mine, &other] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join(NAME), "").unwrap();
        }
        let path = std::env::join_paths([&folder.path().join("none"), &mine, &other]).unwrap();
        let nowhere = Path::new("/nowhere");
        assert_eq!(find(Some(&path), nowhere), Some(mine.join(NAME)));
        assert_eq!(for_lower_half(Some(&path), nowhere), Some(mine.into()));
    }

    #[test]
    fn our_own_libraries_are_no_driver() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "").unwrap();
        let path = Some(folder.path().as_os_str());
        assert_eq!(find(path, folder.path()), find(None, folder.path()));
        assert_eq!(
            for_lower_half(path, folder.path()),
            for_lower_half(None, folder.path())
        );
    }

    #[test]
    fn a_folder_that_is_not_absolute_is_passed_over() {
        let listed: Vec<PathBuf> = listed(Some(OsStr::new(":lib:/a:"))).collect();
        assert_eq!(listed, [PathBuf::from("/a")]);
    }
}
