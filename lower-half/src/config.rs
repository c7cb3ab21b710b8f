//! What `gpuckpt launch`, `gpuckpt restart` and an `execve` inside a job hand to
//! a fresh `gpuckpt-lower`: one JSON object in an unnamed file, whose descriptor
//! number is given as `gpuckpt-lower --config-fd N`.
//!
//! Byte strings travel as arrays of bytes: arguments, environment and paths need
//! not be UTF-8.

use serde::{Deserialize, Serialize};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::{ffi::OsString, time::Duration};

/// A string of bytes without interior NUL: an argument, a variable, a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub Vec<u8>);

impl From<OsString> for Bytes {
    fn from(value: OsString) -> Self {
        Self(value.into_vec())
    }
}

impl From<&std::path::Path> for Bytes {
    fn from(value: &std::path::Path) -> Self {
        Self(value.as_os_str().as_bytes().to_vec())
    }
}

impl Bytes {
    /// The same bytes as a path.
    pub fn to_path(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.0.clone()))
    }
}

/// Which driver the lower half loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// `cuda` where a real `libcuda.so.1` is found, else `none`.
    Auto,
    /// NVIDIA's driver.
    Cuda,
    /// The CPU mock device.
    Mock,
    /// No device: libcuda is not offered to the program.
    None,
}

/// How image data is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compress {
    /// Chunk by chunk, where a sample says it pays.
    Auto,
    /// Never.
    None,
    /// zstd at this level.
    Zstd(i32),
}

/// What a restart does with files that the job had open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// Truncate to the size at the checkpoint (the default).
    Rollback,
    /// Leave as they are.
    Keep,
    /// Refuse the restart if they changed.
    Refuse,
}

/// Options of a job, the same for launch and restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOptions {
    /// The job's name: images are kept in `dir/name/`.
    pub name: String,
    /// Absolute path of the image directory.
    pub dir: Bytes,
    /// Which driver to load.
    pub device: Device,
    /// Checkpoint this often.
    pub interval: Option<Duration>,
    /// How to compress.
    pub compress: Compress,
    /// How many images to keep; all when absent.
    pub keep: Option<u32>,
    /// Files rule, used at restart.
    pub files: Files,
    /// Refuse at the call what would otherwise fall back (io_uring_setup).
    pub strict: bool,
}

/// What the new process is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// A program from its beginning.
    Launch {
        /// File to execute, already searched in PATH by the caller.
        program: Bytes,
        /// Arguments, `argv[0]` first.
        argv: Vec<Bytes>,
        /// The program's whole environment, the user's `LD_*` included.
        env: Vec<Bytes>,
        /// Set when an `execve` inside a job comes here: what the process keeps.
        inherited: Option<Inherited>,
    },
    /// A program from an image.
    Restart {
        /// The image's folder.
        image: Bytes,
    },
}

/// What survives an `execve` inside a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Opaque to all but `upper-half`: virtual ids, ignored signals, mask.
    pub upper: serde_json::Value,
    /// True in the job's root process, which owns the control socket.
    pub is_root: bool,
    /// Descriptor of the job's shared process table.
    pub process_table_fd: i32,
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Format of this object; must equal [`VERSION`].
    pub version: u32,
    /// The job's options.
    pub job: JobOptions,
    /// The lower half chooses no lower number than this for its own descriptors. A
    /// restart must stay above the application's numbers, an exec inside a job above
    /// what the filter in force looks at.
    pub descriptors_from: Option<i32>,
    /// What to do.
    pub action: Action,
}

/// Current format of [`Config`].
pub const VERSION: u32 = 2;
