//! Opens an image: the manifest, and one open file for each section, so that an
//! image that is pruned while it is being read stays readable.

use super::error::{Fault, ImageError};
use super::layout::{
    FORMAT_VERSION, MAX_MANIFEST, Manifest, ManifestFault, SectionKind, SectionRecord,
};
use super::section_reader::SectionReader;
use super::writer::MANIFEST;
use crate::{codec, sys};
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A committed image. Opening it checks the manifest, that every file of it is
/// there with its length, and no other; not the contents.
#[derive(Debug)]
pub struct ImageReader {
    folder: PathBuf,
    manifest: Manifest,
    files: Vec<Arc<File>>,
}

/// What [`ImageReader::verify_all`] has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Sections, the manifest not counted.
    pub sections: u64,
    /// Bytes on disk.
    pub file_bytes: u64,
    /// Bytes of contents.
    pub raw_bytes: u64,
}

impl ImageReader {
    /// Opens the image in `folder`.
    ///
    /// # Errors
    /// No image there, a damaged manifest, a file that is missing, too long, too
    /// short or one too many.
    pub fn open(folder: &Path) -> Result<Self, ImageError> {
        let manifest = read_manifest(folder)?;
        let mut files = Vec::with_capacity(manifest.sections.len());
        for section in &manifest.sections {
            files.push(open_section(folder, section)?);
        }
        no_other_files(folder, &manifest)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            manifest,
            files,
        })
    }

    /// The image's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// When it was committed.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.manifest.created_ns)
    }

    /// Name and version of the program that wrote it.
    pub fn writer(&self) -> &str {
        &self.manifest.writer
    }

    /// All sections, in the order in which they were finished.
    pub fn sections(&self) -> &[SectionRecord] {
        &self.manifest.sections
    }

    /// Bytes on disk, without the manifest.
    pub fn file_bytes(&self) -> u64 {
        self.manifest.sections.iter().map(|s| s.file_len).sum()
    }

    /// True when there is such a section.
    pub fn has(&self, name: &str) -> bool {
        self.manifest.sections.iter().any(|s| s.name == name)
    }

    /// Opens a section by name.
    ///
    /// # Errors
    /// No such section, or a damaged header or chunk table.
    pub fn section(&self, name: &str) -> Result<SectionReader, ImageError> {
        let at = self.manifest.sections.iter().position(|s| s.name == name);
        let at = at.ok_or_else(|| ImageError::NoSection {
            image: self.folder.clone(),
            section: name.to_owned(),
        })?;
        self.reader(at)
    }

    /// Opens a section that must be of this kind, with a version that the caller
    /// reads: at most `version`.
    ///
    /// # Errors
    /// As [`Self::section`]; another kind; a newer version.
    pub fn section_of(
        &self,
        name: &str,
        kind: SectionKind,
        version: u32,
    ) -> Result<SectionReader, ImageError> {
        let reader = self.section(name)?;
        let record = self.manifest.sections.iter().find(|s| s.name == name);
        if record.is_some_and(|r| r.kind != kind) {
            return Err(reader.damaged(Fault::Content("it is of another kind".into())));
        }
        if reader.version() > version {
            return Err(ImageError::Version {
                image: self.folder.clone(),
                section: name.to_owned(),
                found: reader.version(),
                known: version,
            });
        }
        Ok(reader)
    }

    /// The contents of a section, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Self::section_of`] and [`SectionReader::get_all`].
    pub fn get_bytes(
        &self,
        name: &str,
        kind: SectionKind,
        version: u32,
        limit: u64,
    ) -> Result<Vec<u8>, ImageError> {
        self.section_of(name, kind, version)?.get_all(limit)
    }

    /// The value that [`put_bincode`](super::ImageWriter::put_bincode) wrote.
    ///
    /// # Errors
    /// As [`Self::get_bytes`]; bytes that are no such value.
    pub fn get_bincode<T: DeserializeOwned>(
        &self,
        name: &str,
        kind: SectionKind,
        version: u32,
    ) -> Result<T, ImageError> {
        let bytes = self.get_bytes(name, kind, version, codec::LIMIT as u64)?;
        codec::decode(&bytes)
            .map_err(|e| ImageError::damaged(&self.folder, name, Fault::Content(e.to_string())))
    }

    /// As [`Self::get_bincode`], of exactly this version: the type is not that of older ones.
    ///
    /// # Errors
    /// As [`Self::get_bincode`]; an older version.
    pub fn get_bincode_of<T: DeserializeOwned>(
        &self,
        name: &str,
        kind: SectionKind,
        version: u32,
    ) -> Result<T, ImageError> {
        let found = self.section(name)?.version();
        if found != version {
            return Err(ImageError::Version {
                image: self.folder.clone(),
                section: name.to_owned(),
                found,
                known: version,
            });
        }
        self.get_bincode(name, kind, version)
    }

    /// Reads every byte of the image and checks it.
    ///
    /// # Errors
    /// The first section that is not as it was written.
    pub fn verify_all(&self) -> Result<Verified, ImageError> {
        let mut verified = Verified::default();
        for (at, record) in self.manifest.sections.iter().enumerate() {
            self.reader(at)?.verify_rest()?;
            verified.sections += 1;
            verified.file_bytes += record.file_len;
            verified.raw_bytes += record.raw_len;
        }
        Ok(verified)
    }

    /// As [`Self::verify_all`], with every section that is damaged.
    pub fn verify_each(&self) -> Vec<ImageError> {
        (0..self.files.len())
            .filter_map(|at| self.reader(at).and_then(|mut r| r.verify_rest()).err())
            .collect()
    }

    fn reader(&self, at: usize) -> Result<SectionReader, ImageError> {
        SectionReader::open(
            &self.folder,
            Arc::clone(&self.files[at]),
            &self.manifest.sections[at],
            self.manifest.id,
        )
    }
}

fn read_manifest(folder: &Path) -> Result<Manifest, ImageError> {
    let path = folder.join(MANIFEST);
    let file = match sys::descriptor::open_read(&path) {
        Ok(file) => file,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) && folder.is_dir() => {
            return Err(ImageError::damaged(folder, MANIFEST, Fault::Missing));
        }
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Err(ImageError::NotAnImage {
                image: folder.to_path_buf(),
                why: "there is no such folder".into(),
            });
        }
        Err(e) => return Err(ImageError::io("open", &path, e)),
    };
    let read = || {
        let length = file.metadata()?.len();
        let mut bytes = vec![0; length.min(MAX_MANIFEST + 1) as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e| ImageError::io("read", &path, e))?;
    if bytes.len() as u64 > MAX_MANIFEST {
        let fault = Fault::Field("the length of the manifest");
        return Err(ImageError::damaged(folder, MANIFEST, fault));
    }
    Manifest::decode(&bytes).map_err(|fault| match fault {
        ManifestFault::Fault(fault) => ImageError::damaged(folder, MANIFEST, fault),
        ManifestFault::Version(found) => ImageError::Version {
            image: folder.to_path_buf(),
            section: MANIFEST.into(),
            found,
            known: FORMAT_VERSION,
        },
    })
}

fn open_section(folder: &Path, section: &SectionRecord) -> Result<Arc<File>, ImageError> {
    let path = folder.join(section.file_name());
    let file = match sys::descriptor::open_read(&path) {
        Ok(file) => file,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            return Err(ImageError::damaged(folder, &section.name, Fault::Missing));
        }
        Err(e) => return Err(ImageError::io("open", &path, e)),
    };
    let meta = file
        .metadata()
        .map_err(|e| ImageError::io("read", &path, e))?;
    if !meta.is_file() || meta.len() != section.file_len {
        let fault = Fault::Length {
            expected: section.file_len,
            found: meta.len(),
        };
        return Err(ImageError::damaged(folder, &section.name, fault));
    }
    Ok(Arc::new(file))
}

fn no_other_files(folder: &Path, manifest: &Manifest) -> Result<(), ImageError> {
    let names: std::collections::HashSet<String> = manifest
        .sections
        .iter()
        .map(SectionRecord::file_name)
        .collect();
    let list = fs::read_dir(folder).map_err(|e| ImageError::io("list", folder, e))?;
    for entry in list {
        let entry = entry.map_err(|e| ImageError::io("list", folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // NFS names a file that is removed while open.
        if name != MANIFEST && !names.contains(&name) && !name.starts_with(".nfs") {
            return Err(ImageError::damaged(folder, MANIFEST, Fault::Extra(name)));
        }
    }
    Ok(())
}
