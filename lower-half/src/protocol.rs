//! The control protocol: a client connects to the job's socket, sends one
//! [`Request`] as a line of JSON, and reads lines of JSON: any number of
//! [`Reply::Progress`], then one other [`Reply`].
//!
//! The socket is `SOCKET_DIR/PID.sock` with SOCKET_DIR from [`socket_dir`]; both
//! ends check the peer's uid. A job also writes `DIR/NAME/job.json`
//! ([`JobRecord`]) so that NAME and `--dir` find it from anywhere on the host.

use crate::config::Bytes;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Save the job.
    Checkpoint {
        /// End the job with status 85 once the image is committed.
        kill: bool,
        /// Milliseconds that quiescing may take.
        deadline_ms: u64,
    },
    /// Say what the job is doing.
    Status,
}

/// What the job answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// Work in progress, for a progress bar.
    Progress {
        /// `quiesce`, `host`, `device`, `commit`.
        phase: String,
        /// Bytes done in this phase.
        done: u64,
        /// Bytes in all, 0 when unknown.
        total: u64,
    },
    /// The image is committed.
    Done(CheckpointReport),
    /// Nothing was saved; the job runs on.
    Failed {
        /// What failed, on what, why, and what to do; one string a cause.
        reasons: Vec<String>,
        /// True when it was refused before anything was stopped.
        refused: bool,
    },
    /// Answer to [`Request::Status`].
    Status(JobStatus),
}

/// Figures of one committed checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointReport {
    /// Path of the image's folder.
    pub image: String,
    /// Milliseconds for which the application stood still.
    pub stall_ms: f64,
    /// Milliseconds from the request to the commit.
    pub write_ms: f64,
    /// Bytes of host memory saved, before compression.
    pub bytes_host: u64,
    /// Bytes of device memory saved, before compression.
    pub bytes_device: u64,
    /// Bytes of the image's files.
    pub bytes_written: u64,
    /// Threads saved.
    pub threads: u64,
}

/// What a running job says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Job name.
    pub name: String,
    /// Process id on this host.
    pub pid: i32,
    /// The program's file.
    pub program: String,
    /// `cuda`, `mock` or `none`.
    pub device: String,
    /// Threads of the application.
    pub threads: u64,
    /// Committed checkpoints since this process started.
    pub checkpoints: u64,
    /// The newest image of this process, if any.
    pub last_image: Option<String>,
    /// Why a checkpoint would be refused now; empty when it would not.
    pub obstacles: Vec<String>,
    /// True when this process was made by a restart.
    pub restarted: bool,
    /// What keeps it busy; obstacles are not looked for meanwhile.
    #[serde(default)]
    pub doing: Option<Activity>,
}

/// Something that a job does for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// `start`, `checkpoint` or `restart`.
    pub what: String,
    /// For how long it has been doing so.
    pub seconds: f64,
}

/// `DIR/NAME/job.json`: who runs under this name. Stale when the process is gone
/// or its start time differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Format; must be 1.
    pub version: u32,
    /// Host name, as the files may be on a shared file system.
    pub host: String,
    /// Process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub start_time: u64,
    /// Path of the control socket.
    pub socket: Bytes,
}

/// `$XDG_RUNTIME_DIR/gpuckpt`, else `/tmp/gpuckpt-UID`: a 0700 folder of the user's.
pub fn socket_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir).join("gpuckpt"),
        _ => PathBuf::from(format!("/tmp/gpuckpt-{}", nix::unistd::getuid())),
    }
}
