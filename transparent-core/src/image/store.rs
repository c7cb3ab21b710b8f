//! Finds, creates, lists and prunes the images of one job name.

use super::error::ImageError;
use super::reader::ImageReader;
use super::section_writer::Compression;
use super::writer::{ImageWriter, MANIFEST_TMP};
use crate::sys;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const MAX_JOB_NAME: usize = 128;

/// The images of one name, `DIR/NAME/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    dir: PathBuf,
    folder: PathBuf,
}

/// One committed image as [`Store::list`] finds it.
#[derive(Debug)]
pub struct ImageInfo {
    /// Its folder.
    pub folder: PathBuf,
    /// Its number.
    pub number: u32,
    /// When it was committed, and its bytes on disk; or why it is none.
    pub state: Result<(SystemTime, u64), ImageError>,
}

impl Store {
    /// The store of `name` in `dir`; neither needs to exist yet.
    ///
    /// # Errors
    /// A name that cannot be a folder's.
    pub fn open(dir: &Path, name: &str) -> Result<Self, ImageError> {
        if !good_job_name(name) {
            return Err(ImageError::Name {
                name: name.to_owned(),
                what: "a job",
                limit: MAX_JOB_NAME,
            });
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            folder: dir.join(name),
        })
    }

    /// `DIR/NAME`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins an image: makes the folders that are missing and removes what
    /// writers that died have left.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn create(&self, compression: Compression) -> Result<ImageWriter, ImageError> {
        let fresh = !self.folder.is_dir();
        sys::descriptor::make_folders(&self.folder)
            .map_err(|e| ImageError::io("create", &self.folder, e))?;
        if fresh {
            sys::descriptor::open_folder(&self.dir)
                .and_then(|d| d.sync_all())
                .map_err(|e| ImageError::io("sync", &self.dir, e))?;
        }
        self.remove_leftovers()?;
        let next = self.numbers()?.last().map_or(1, |n| n.saturating_add(1));
        ImageWriter::new(&self.folder, next, compression)
    }

    /// The newest image whose manifest and file lengths are right, without a look
    /// at the contents; and, newest first, what is wrong with those that are newer.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn newest_valid(&self) -> Result<(Option<ImageReader>, Vec<ImageError>), ImageError> {
        let mut passed_over = Vec::new();
        for number in self.numbers()?.into_iter().rev() {
            match ImageReader::open(&self.image(number)) {
                Ok(reader) => return Ok((Some(reader), passed_over)),
                Err(error) => passed_over.push(error),
            }
        }
        Ok((None, passed_over))
    }

    /// All images, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn list(&self) -> Result<Vec<ImageInfo>, ImageError> {
        let info = |number| {
            let folder = self.image(number);
            let state = ImageReader::open(&folder).map(|r| (r.created(), r.file_bytes()));
            ImageInfo {
                folder,
                number,
                state,
            }
        };
        Ok(self.numbers()?.into_iter().map(info).collect())
    }

    /// Removes all but the newest `keep` valid images (at least one) and returns
    /// the folders that are gone. Damaged images newer than those stay: someone may
    /// want to look at them.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn prune(&self, keep: u32) -> Result<Vec<PathBuf>, ImageError> {
        let mut kept = 0;
        let mut gone = Vec::new();
        for number in self.numbers()?.into_iter().rev() {
            let folder = self.image(number);
            if kept < keep.max(1) {
                kept += u32::from(ImageReader::open(&folder).is_ok());
                continue;
            }
            // Renamed first: a half-removed image must not look like one.
            let doomed = self
                .folder
                .join(format!(".tmp-{number}-{}", std::process::id()));
            match fs::rename(&folder, &doomed) {
                Ok(()) => {}
                // Another process prunes, too.
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
                Err(e) => return Err(ImageError::io("rename", &folder, e)),
            }
            fs::remove_dir_all(&doomed).map_err(|e| ImageError::io("remove", &doomed, e))?;
            gone.push(folder);
        }
        Ok(gone)
    }

    /// Names in `dir` that have at least one folder of an image.
    ///
    /// # Errors
    /// When the folder cannot be listed; one that does not exist has no names.
    pub fn names(dir: &Path) -> Result<Vec<String>, ImageError> {
        let mut names: Vec<String> = entries(dir)?
            .into_iter()
            .filter(|name| good_job_name(name))
            .filter(|name| {
                Self::open(dir, name)
                    .and_then(|store| store.numbers())
                    .is_ok_and(|numbers| !numbers.is_empty())
            })
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn image(&self, number: u32) -> PathBuf {
        self.folder.join(format!("ckpt-{number:08}"))
    }

    /// Numbers of the images, ascending.
    fn numbers(&self) -> Result<Vec<u32>, ImageError> {
        let mut numbers: Vec<u32> = entries(&self.folder)?
            .iter()
            .filter_map(|name| {
                let number = name.strip_prefix("ckpt-")?.parse().ok()?;
                (format!("ckpt-{number:08}") == *name).then_some(number)
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes `.tmp-N-PID` where no lock is held and no process has that PID.
    fn remove_leftovers(&self) -> Result<(), ImageError> {
        for name in entries(&self.folder)? {
            let Some(pid) = writer_pid(&name) else {
                continue;
            };
            let folder = self.folder.join(&name);
            if sys::process::is_alive(pid) || sys::descriptor::is_locked(&folder.join(MANIFEST_TMP))
            {
                continue;
            }
            match fs::remove_dir_all(&folder) {
                Ok(()) => tracing::info!(folder = %folder.display(), "removed what a writer left"),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                Err(e) => return Err(ImageError::io("remove", &folder, e)),
            }
        }
        Ok(())
    }
}

/// A file name that is not hidden; any program's own file name is one.
fn good_job_name(name: &str) -> bool {
    (1..=MAX_JOB_NAME).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control())
}

fn writer_pid(name: &str) -> Option<i32> {
    let (number, pid) = name.strip_prefix(".tmp-")?.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok().filter(|&pid| pid > 0)
}

/// The names in a folder; none when it does not exist.
fn entries(folder: &Path) -> Result<Vec<String>, ImageError> {
    let fail = |e| ImageError::io("list", folder, e);
    let list = match fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut names = Vec::new();
    for entry in list {
        names.push(
            entry
                .map_err(fail)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    Ok(names)
}
