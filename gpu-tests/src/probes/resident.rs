//! A process that holds so much device memory with known content
//! (programs/resident.c): the subject of questions 8 and its peer.

use crate::job::{Finished, Job, difference};
use crate::probe::{Probe, Verdict};
use crate::probes::broken;
use crate::statistics::short;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
/// The program's answer when the device has not so much memory.
const TOO_LITTLE: i32 = 3;
const SEED: &str = "2024";

/// Bytes of the step whose subject is a number of GiB; small ones on the mock.
pub(super) fn bytes(probe: &Probe) -> Result<u64> {
    let gib: u64 = probe.subject.parse().context("the step's size")?;
    Ok(match (probe.is_mock(), gib) {
        (false, _) => gib * GIB,
        (true, 1) => 16 * MIB,
        (true, _) => 64 * MIB,
    })
}

/// The program, which works until it is told to verify.
pub(super) struct Resident<'a> {
    pub(super) job: Job<'a>,
    native: Finished,
    beat: PathBuf,
    stop: PathBuf,
}

impl<'a> Resident<'a> {
    /// Runs it once natively from begin to end, for its digest. The other value of
    /// the result says why it cannot be.
    pub(super) fn new(probe: &'a Probe, bytes: u64) -> Result<Result<Self, Verdict>> {
        let number = bytes.to_string();
        let program = probe.kit.program("resident");
        let mut plain = Job::new(probe, "whole", program.clone(), &[&number, SEED]);
        let native = plain.native()?;
        probe.figure("bytes", bytes);
        probe.figure("native_fill_and_verify_s", short(native.seconds));
        match native.code {
            0 => {}
            TOO_LITTLE => return Ok(Err(Verdict::NotRun(native.last_words().to_owned()))),
            _ => {
                let words = native.last_words();
                return Ok(Err(Verdict::Failed(format!("natively: {words}"))));
            }
        }
        // The program compares every word; what it found must not count as right.
        for what in ["words that differ", "samples that differ"] {
            if !native.out.lines().any(|line| line == format!("{what} 0")) {
                let text = format!("natively, {what}: {}", native.out.replace('\n', "; "));
                return Ok(Err(Verdict::Wrong(text)));
            }
        }
        let (beat, stop) = (probe.scratch.join("beat"), probe.scratch.join("stop"));
        let args = [&number, SEED, path(&beat)?, path(&stop)?];
        Ok(Ok(Self {
            job: Job::new(probe, "resident", program, &args),
            native,
            beat,
            stop,
        }))
    }

    /// Waits until the memory is filled and the device was used afterwards.
    pub(super) fn wait_filled(&mut self) -> Result<Option<Verdict>> {
        let filled = |job: &Job| job.output().lines().any(|line| line == "filled");
        if !self.job.wait_until("filling the memory", filled)? {
            return Ok(Some(broken(&self.job.finish()?, "filling the memory")));
        }
        self.wait_beat()
    }

    /// Forgets that the process used the device; from now on [`Resident::wait_beat`]
    /// waits for the next time.
    pub(super) fn forget_beat(&self) -> Result<()> {
        match fs::remove_dir(&self.beat) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Waits until the process has used the device again.
    pub(super) fn wait_beat(&mut self) -> Result<Option<Verdict>> {
        let beat = self.beat.clone();
        if self
            .job
            .wait_until("a use of the device", |_| beat.is_dir())?
        {
            return Ok(None);
        }
        Ok(Some(broken(&self.job.finish()?, "using the device again")))
    }

    /// Seconds from `begin` to the next use of the device.
    pub(super) fn first_use(&mut self, begin: Instant) -> Result<Result<f64, Verdict>> {
        Ok(match self.wait_beat()? {
            Some(verdict) => Err(verdict),
            None => Ok(begin.elapsed().as_secs_f64()),
        })
    }

    /// Lets it verify and end, and compares with the native run.
    pub(super) fn verify(&mut self, when: &str) -> Result<Verdict> {
        fs::write(&self.stop, "").context("cannot make the file that ends the process")?;
        let ended = self.job.finish()?;
        if ended.code != 0 {
            return Ok(broken(&ended, when));
        }
        Ok(difference(&self.native, &ended, when).unwrap_or(Verdict::Supported))
    }
}

fn path(path: &Path) -> Result<&str> {
    match path.to_str() {
        Some(path) => Ok(path),
        None => bail!("{} is no UTF-8", path.display()),
    }
}
