//! `evidence.json`: what was asked, of what machine, and what was answered.

use crate::protocol::{Figures, State};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// Format of this file; 1.
    pub version: u32,
    /// What asked.
    pub kit: Origin,
    /// What was asked.
    pub machine: Machine,
    /// `cuda` or `mock`.
    pub device: String,
    /// `--minutes`, when given.
    pub minutes: Option<f64>,
    /// Seconds that the whole run took so far.
    pub seconds: f64,
    /// False while steps are missing: the kit or the machine died.
    pub complete: bool,
    /// The answers, in the order of the run.
    pub steps: Vec<Answer>,
}

/// Which kit it was: `kit.json` of its folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Version of gpuckpt.
    pub version: String,
    /// Commit of its sources.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// Compiler of the CUDA guests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nvcc: String,
    /// When it was made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub made: String,
}

/// The machine. What could not be found out is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the first device.
    pub gpu: String,
    /// How many devices there are.
    pub gpus: u64,
    /// Memory of the first device in bytes.
    pub gpu_memory_bytes: u64,
    /// Compute capability, as in `9.0`.
    pub compute_capability: String,
    /// Version of the driver's kernel module.
    pub driver: String,
    /// Version of CUDA that the driver speaks, as in `13.0`.
    pub cuda: String,
    /// Kernel release.
    pub kernel: String,
    /// Version of the C library.
    pub glibc: String,
    /// Name of the distribution.
    pub distribution: String,
    /// Model of the processors.
    pub cpu: String,
    /// Processors that may be used.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Start of the run, UTC.
    pub date: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its name.
    pub name: String,
    /// The question that it belongs to.
    pub question: u8,
    /// What it asks.
    pub asks: String,
    /// How it ended.
    pub state: State,
    /// Why; empty when supported.
    pub reason: String,
    /// Results.
    pub figures: Figures,
    /// How long it took.
    pub seconds: f64,
    /// Last lines of its standard error, when somebody has to look.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
}

impl Evidence {
    /// Reads a file of an earlier run.
    ///
    /// # Errors
    /// It is not there, or not evidence.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not evidence of this kit", path.display()))
    }

    /// Writes the file so that at any moment one whole version is there.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).context("evidence as JSON")?;
        text.push(b'\n');
        replace(path, &text)
    }

    /// Steps in this state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.steps.iter().filter(|step| step.state == state).count()
    }

    /// The step called `name`.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Answer> {
        self.steps.iter().find(|step| step.name == name)
    }
}

/// Writes a file by a temporary one and a rename.
///
/// # Errors
/// The file system's.
pub fn replace(path: &Path, text: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = fs::File::create(&temporary)?;
        std::io::Write::write_all(&mut file, text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
