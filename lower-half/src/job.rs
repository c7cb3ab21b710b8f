//! The job as this process sees it: its options, what it runs, who belongs to it.
#![allow(unsafe_code, reason = "_exit(2)")]

use crate::layout::Layout;
use crate::processes::ProcessTable;
use lower_half::config::{Bytes, Device, JobOptions};
use lower_half::protocol::{Activity, JobStatus};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use transparent_core::fds::StandardStreams;

/// Exit status of a job that `checkpoint --kill` ended: Slurm's RequeueExit and
/// HTCondor's checkpoint_exit_code both use it.
const CHECKPOINTED: i32 = 85;

/// Everything that this process knows of its job.
#[derive(Debug)]
pub(crate) struct Job {
    /// Options as given at launch or restart.
    pub(crate) options: JobOptions,
    /// Where our parts are.
    pub(crate) layout: Layout,
    /// The device in use: never `Auto`.
    pub(crate) device: Device,
    /// The driver's file, unless the device is `None`.
    pub(crate) driver: Option<PathBuf>,
    /// The program's file.
    pub(crate) program: Bytes,
    /// The program's arguments at its start.
    pub(crate) argv: Vec<Bytes>,
    /// Was this process made by a restart?
    pub(crate) restarted: bool,
    /// The job's processes.
    pub(crate) processes: ProcessTable,
    /// The process that owns the control socket; its forks have other PIDs.
    pub(crate) root_pid: Option<u32>,
    /// What descriptors 0 to 2 were when this process began.
    pub(crate) streams: StandardStreams,
    /// When this process took the job up.
    pub(crate) began: Instant,
    /// Committed checkpoints of this process.
    pub(crate) checkpoints: AtomicU64,
    /// The newest of them. Never held across a call that can block.
    pub(crate) last_image: Mutex<Option<String>>,
}

impl Job {
    /// `DIR/NAME`, where the job's record and images are.
    pub(crate) fn folder(&self) -> PathBuf {
        self.options.dir.to_path().join(&self.options.name)
    }

    /// True in the process that owns the control socket.
    pub(crate) fn is_root(&self) -> bool {
        self.root_pid == Some(std::process::id())
    }

    /// True when a driver is behind the gate.
    pub(crate) fn has_device(&self) -> bool {
        self.device != Device::None
    }

    /// The device's name as options spell it.
    pub(crate) fn device_name(&self) -> &'static str {
        match self.device {
            Device::Auto => "auto",
            Device::Cuda => "cuda",
            Device::Mock => "mock",
            Device::None => "none",
        }
    }

    /// Answers `gpuckpt status`.
    pub(crate) fn status(&self) -> JobStatus {
        let status = JobStatus {
            obstacles: crate::checkpoint::obstacles(self),
            ..self.status_while(Activity {
                what: "start".into(),
                seconds: self.began.elapsed().as_secs_f64(),
            })
        };
        // It is being loaded until it has a thread.
        let doing = status.doing.filter(|_| status.threads == 0);
        JobStatus { doing, ..status }
    }

    /// The same while it is busy: what must not be looked at meanwhile is left out.
    pub(crate) fn status_while(&self, doing: Activity) -> JobStatus {
        JobStatus {
            name: self.options.name.clone(),
            pid: std::process::id() as i32,
            program: String::from_utf8_lossy(&self.program.0).into_owned(),
            device: self.device_name().into(),
            threads: upper_half::threads().len() as u64,
            checkpoints: self.checkpoints.load(Ordering::Relaxed),
            last_image: self
                .last_image
                .lock()
                .map(|image| image.clone())
                .unwrap_or_default(),
            obstacles: Vec::new(),
            restarted: self.restarted,
            doing: Some(doing),
        }
    }

    /// Ends the process with the status that says "checkpointed": the application
    /// is parked, so nothing of it runs between the image and this.
    pub(crate) fn end_after_checkpoint(&self) -> ! {
        // SAFETY: `_exit` runs no code of either half.
        unsafe { libc::_exit(CHECKPOINTED) }
    }
}
