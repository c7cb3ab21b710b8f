//! What can go wrong with an image. Every message names the image and the section,
//! or the file and what to do.

use crate::codec::CodecError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a section or the manifest is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Not a file of this kind.
    #[error("it does not begin with the right magic")]
    Magic,
    /// Bytes changed.
    #[error("checksum mismatch in {0}")]
    Checksum(String),
    /// Too long or too short.
    #[error("it has {found} bytes where {expected} were written")]
    Length {
        /// By the manifest.
        expected: u64,
        /// On disk.
        found: u64,
    },
    /// A field that no writer can have written.
    #[error("{0} is impossible")]
    Field(&'static str),
    /// A section of the manifest has no file.
    #[error("its file is missing")]
    Missing,
    /// A file that the manifest does not know.
    #[error("the folder holds {0}, which does not belong to the image")]
    Extra(String),
    /// The checksums are right, the contents are not.
    #[error("{0}")]
    Content(String),
}

/// An operation on an image failed.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The image was damaged after it was committed.
    #[error(
        "image {image}: section {section} is damaged: {fault}; use an older image, or a copy of this one"
    )]
    Damaged {
        /// The image's folder.
        image: PathBuf,
        /// Section, or `manifest`.
        section: String,
        /// What is wrong.
        fault: Fault,
    },
    /// Written by a release with another format.
    #[error(
        "image {image}: section {section} has version {found}, this gpuckpt reads {known}; use the release that wrote it"
    )]
    Version {
        /// The image's folder.
        image: PathBuf,
        /// Section, or `manifest`.
        section: String,
        /// In the image.
        found: u32,
        /// The newest that this release reads.
        known: u32,
    },
    /// A section that was asked for is not in the image.
    #[error("image {image}: it has no section {section}; it was not written by this kind of job")]
    NoSection {
        /// The image's folder.
        image: PathBuf,
        /// The section.
        section: String,
    },
    /// No such image.
    #[error("image {image}: {why}")]
    NotAnImage {
        /// The folder.
        image: PathBuf,
        /// Why it is none.
        why: String,
    },
    /// The file system refused.
    #[error("cannot {action} {path}: {source}; {advice}", path = path.display())]
    Io {
        /// Verb phrase: `write`, `sync`, `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The errno.
        source: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// A name that cannot be a file name here.
    #[error(
        "{name:?} cannot be the name of {what}: use letters, digits, '.', '_' and '-', at most {limit} of them, a letter or digit first"
    )]
    Name {
        /// The name.
        name: String,
        /// A job, a section.
        what: &'static str,
        /// The longest.
        limit: usize,
    },
    /// A section of that name was written already.
    #[error("section {0} is in this image already")]
    Duplicate(String),
    /// A value has no encoding.
    #[error("section {section}: {source}")]
    Encode {
        /// The section.
        section: String,
        /// Why.
        source: CodecError,
    },
}

impl ImageError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let advice = advice(&source);
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
            advice,
        }
    }

    pub(crate) fn damaged(image: &Path, section: &str, fault: Fault) -> Self {
        Self::Damaged {
            image: image.to_path_buf(),
            section: section.to_owned(),
            fault,
        }
    }

    /// The section that is at fault, where there is one.
    pub fn section(&self) -> Option<&str> {
        match self {
            Self::Damaged { section, .. }
            | Self::Version { section, .. }
            | Self::NoSection { section, .. }
            | Self::Encode { section, .. }
            | Self::Duplicate(section) => Some(section),
            _ => None,
        }
    }

    /// The errno, where the system refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => "free space on that file system, prune images, or use another --dir",
        Some(libc::EDQUOT) => "your disk quota is used up: free space, or use another --dir",
        Some(libc::EFBIG) => "a file size limit is in force: raise ulimit -f",
        Some(libc::EIO) => "the device reports an error: check the system log, use another --dir",
        Some(libc::EROFS) => "the file system is read-only: use another --dir",
        Some(libc::EACCES | libc::EPERM) => {
            "check the owner and mode of the folder, or use another --dir"
        }
        Some(libc::ENOENT) => "check the path; was the folder removed?",
        Some(libc::EMFILE | libc::ENFILE) => "too many open files: raise ulimit -n",
        Some(libc::ESTALE) => "the network file system lost the file: check the server",
        _ => "check the file system",
    }
}
