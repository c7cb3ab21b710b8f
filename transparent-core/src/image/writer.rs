//! Writes an image under a temporary name and commits it.
//!
//! The commit, in order: every section file is synced, which is left to the commit so
//! that a program that stands still while sections are written need not wait for it; the
//! manifest is written as `manifest.tmp`, synced and renamed; the folder is synced,
//! renamed to `ckpt-N` (never over another), and its parent is synced. A process
//! that dies before the last rename leaves a folder named `.tmp-…`, which is no
//! image.
//!
//! `manifest.tmp` exists from the start and carries a POSIX record lock: so another
//! host on a shared file system sees that the writer lives, too.

use super::error::ImageError;
use super::layout::{MAX_NAME, Manifest, PAGE, SectionKind, SectionRecord, file_name, good_name};
use super::section_writer::{Compression, SectionWriter};
use crate::codec;
use crate::sys;
use serde::Serialize;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const MANIFEST: &str = "manifest";
pub(super) const MANIFEST_TMP: &str = "manifest.tmp";

/// What the sections of one image share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    begun: Vec<String>,
    finished: Vec<SectionRecord>,
    /// Files of the finished sections, to be synced.
    files: Vec<(File, PathBuf)>,
}

impl Shared {
    pub(super) fn finished(&self, record: SectionRecord, file: File, path: PathBuf) {
        self.with(|state| {
            state.finished.push(record);
            state.files.push((file, path));
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An image being written. Dropped without [`Self::commit`], it is removed.
#[derive(Debug)]
pub struct ImageWriter {
    parent: PathBuf,
    folder: PathBuf,
    number: u32,
    compression: Compression,
    manifest: File,
    shared: Arc<Shared>,
    owner: u32,
    committed: bool,
}

impl ImageWriter {
    /// Makes the temporary folder; `parent` exists.
    pub(super) fn new(
        parent: &Path,
        number: u32,
        compression: Compression,
    ) -> Result<Self, ImageError> {
        let owner = std::process::id();
        let folder = unique_folder(parent, number, owner)?;
        let path = folder.join(MANIFEST_TMP);
        let manifest = match sys::descriptor::create_file(&path) {
            Ok(file) => file,
            Err(e) => {
                let _ = fs::remove_dir_all(&folder);
                return Err(ImageError::io("create", &path, e));
            }
        };
        // Where locks do not exist, the writer's PID in the name must do.
        let _ = sys::descriptor::lock_whole(&manifest);
        Ok(Self {
            parent: parent.to_path_buf(),
            folder,
            number,
            compression,
            manifest,
            shared: Arc::new(Shared {
                id: sys::process::random_u64(),
                state: Mutex::default(),
            }),
            owner,
            committed: false,
        })
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The image's compression, for sections of bulk data.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Begins a section, compressed as the image is. Several may be written at a
    /// time, from several threads.
    ///
    /// # Errors
    /// A name that is taken or cannot be a file's; a file that cannot be created.
    pub fn section(
        &self,
        name: &str,
        kind: SectionKind,
        version: u32,
        compression: Compression,
    ) -> Result<SectionWriter, ImageError> {
        self.begin(name, kind, version, compression, 1)
    }

    /// Begins a section whose chunks lie at multiples of the page size in the
    /// file, so that raw ones can be mapped.
    ///
    /// # Errors
    /// As [`Self::section`].
    pub fn page_section(
        &self,
        name: &str,
        kind: SectionKind,
        version: u32,
        compression: Compression,
    ) -> Result<SectionWriter, ImageError> {
        self.begin(name, kind, version, compression, PAGE)
    }

    /// Writes a whole section of bytes.
    ///
    /// # Errors
    /// As [`Self::section`] and [`SectionWriter::put`].
    pub fn put_bytes(
        &self,
        name: &str,
        kind: SectionKind,
        version: u32,
        bytes: &[u8],
    ) -> Result<(), ImageError> {
        let mut section = self.section(name, kind, version, self.compression)?;
        section.put(bytes)?;
        section.finish().map(drop)
    }

    /// Writes a whole section that holds one value, for
    /// [`get_bincode`](super::ImageReader::get_bincode).
    ///
    /// # Errors
    /// As [`Self::put_bytes`]; a value that cannot be encoded.
    pub fn put_bincode<T: Serialize>(
        &self,
        name: &str,
        kind: SectionKind,
        version: u32,
        value: &T,
    ) -> Result<(), ImageError> {
        let bytes = codec::encode(value).map_err(|source| ImageError::Encode {
            section: name.to_owned(),
            source,
        })?;
        self.put_bytes(name, kind, version, &bytes)
    }

    /// Bytes of the finished sections' files.
    pub fn bytes_written(&self) -> u64 {
        self.shared
            .with(|state| state.finished.iter().map(|s| s.file_len).sum())
    }

    /// Makes the image visible under its own name and returns its folder.
    ///
    /// # Errors
    /// When a section was begun and not finished, or the file system refuses; the
    /// temporary folder is removed then.
    pub fn commit(mut self) -> Result<PathBuf, ImageError> {
        self.sync_sections()?;
        self.write_manifest()?;
        self.sync_folder(&self.folder)?;
        let target = self.rename_folder()?;
        self.committed = true;
        self.sync_folder(&self.parent)?;
        Ok(target)
    }

    fn begin(
        &self,
        name: &str,
        kind: SectionKind,
        version: u32,
        compression: Compression,
        alignment: u32,
    ) -> Result<SectionWriter, ImageError> {
        if !good_name(name, MAX_NAME) {
            return Err(ImageError::Name {
                name: name.to_owned(),
                what: "a section",
                limit: MAX_NAME,
            });
        }
        let fresh = self.shared.with(|state| {
            let fresh = !state.begun.iter().any(|n| n == name);
            if fresh {
                state.begun.push(name.to_owned());
            }
            fresh
        });
        if !fresh {
            return Err(ImageError::Duplicate(name.to_owned()));
        }
        let path = self.folder.join(file_name(name));
        let file =
            sys::descriptor::create_file(&path).map_err(|e| ImageError::io("create", &path, e))?;
        let record = SectionRecord {
            name: name.to_owned(),
            kind,
            version,
            alignment,
            chunks: 0,
            raw_len: 0,
            file_len: 0,
            checksum: 0,
        };
        Ok(SectionWriter::new(
            Arc::clone(&self.shared),
            file,
            path,
            record,
            compression,
        ))
    }

    pub(super) fn sync_sections(&self) -> Result<(), ImageError> {
        let files = self.shared.with(|state| std::mem::take(&mut state.files));
        files.iter().try_for_each(|(file, path)| {
            file.sync_all().map_err(|e| ImageError::io("sync", path, e))
        })
    }

    pub(super) fn write_manifest(&self) -> Result<(), ImageError> {
        let (begun, sections) = self
            .shared
            .with(|state| (state.begun.len(), std::mem::take(&mut state.finished)));
        let tmp = self.folder.join(MANIFEST_TMP);
        if begun != sections.len() {
            return Err(ImageError::NotAnImage {
                image: self.folder.clone(),
                why: "a section was begun and not finished".into(),
            });
        }
        let manifest = Manifest {
            id: self.shared.id,
            created_ns: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_nanos() as u64),
            writer: concat!("gpuckpt ", env!("CARGO_PKG_VERSION")).into(),
            sections,
        };
        self.manifest
            .write_all_at(&manifest.encode(), 0)
            .map_err(|e| ImageError::io("write", &tmp, e))?;
        self.manifest
            .sync_all()
            .map_err(|e| ImageError::io("sync", &tmp, e))?;
        fs::rename(&tmp, self.folder.join(MANIFEST)).map_err(|e| ImageError::io("rename", &tmp, e))
    }

    /// `ckpt-N`, or the next number when another writer took it meanwhile.
    pub(super) fn rename_folder(&self) -> Result<PathBuf, ImageError> {
        let mut number = self.number;
        loop {
            let target = self.parent.join(format!("ckpt-{number:08}"));
            match sys::descriptor::rename_new(&self.folder, &target) {
                Ok(()) => return Ok(target),
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) && number < u32::MAX => {
                    number += 1;
                }
                Err(e) => return Err(ImageError::io("rename", &self.folder, e)),
            }
        }
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), ImageError> {
        sys::descriptor::open_folder(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| ImageError::io("sync", folder, e))
    }
}

impl Drop for ImageWriter {
    fn drop(&mut self) {
        // A forked child that drops its copy must not take the parent's image away.
        if !self.committed && self.owner == std::process::id() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// `.tmp-N-PID`; a second writer of the same process takes the next number.
fn unique_folder(parent: &Path, number: u32, owner: u32) -> Result<PathBuf, ImageError> {
    let mut tag = number;
    loop {
        let folder = parent.join(format!(".tmp-{tag}-{owner}"));
        match sys::descriptor::make_folder(&folder) {
            Ok(()) => return Ok(folder),
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) && tag - number < 1000 => tag += 1,
            Err(e) => return Err(ImageError::io("create", &folder, e)),
        }
    }
}
