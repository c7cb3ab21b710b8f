//! Question 8: bytes and seconds of a checkpoint and a restart by the size of
//! device memory.

use crate::probe::{Outcome, Probe, Verdict};
use crate::probes::broken;
use crate::probes::resident::{GIB, MIB, Resident, bytes};
use crate::statistics::{gb_s, median, short};
use crate::steps::Step;
use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// What an image has beyond the device's memory, with room to spare.
const BESIDE: u64 = 256 * MIB;
/// Bytes of the file that tells how fast the folder of images is.
const PLAIN: u64 = 512 * MIB;

/// Size in GiB, rank, what it takes, limit; the time is that of a disk of 1 GB/s.
const SIZES: [(u64, u32, u64, u64); 4] = [
    (1, 150, 15, 180),
    (4, 170, 30, 240),
    (16, 400, 60, 420),
    (64, 700, 180, 600),
];

pub(crate) fn steps() -> Vec<Step> {
    let step = |(gib, worth, takes, limit): (u64, u32, u64, u64)| {
        let step = Step::new(
            format!("checkpoint-{gib}gib"),
            8,
            worth,
            format!("bytes and seconds of checkpoint and restart with {gib} GiB on the device?"),
            sizes,
        );
        let step = step.time(takes, limit).about(gib.to_string());
        match gib {
            1 | 4 => step,
            _ => step.only_real("its memory is the host's"),
        }
    };
    SIZES.into_iter().map(step).collect()
}

/// Checkpoints and restarts of one size; a large one is written once.
fn repetitions(bytes: u64) -> usize {
    match bytes / GIB {
        0..2 => 3,
        2..8 => 2,
        _ => 1,
    }
}

fn sizes(probe: &Probe) -> Outcome {
    let bytes = bytes(probe)?;
    let times = repetitions(bytes);
    if let Some(too_little) = room(&probe.scratch, (bytes + BESIDE) * times as u64)? {
        return Ok(Verdict::NotRun(too_little));
    }
    let plain = (bytes / 4).min(PLAIN);
    let rate = plain_write(&probe.scratch.join("plain"), plain)?;
    probe.figure("plain_write_and_fsync_gb_s", rate);
    let mut resident = match Resident::new(probe, bytes)? {
        Ok(resident) => resident,
        Err(verdict) => return Ok(verdict),
    };
    let begin = Instant::now();
    resident.job.launch()?;
    if let Some(verdict) = resident.wait_filled()? {
        return Ok(verdict);
    }
    probe.figure("launch_and_fill_s", short(begin.elapsed().as_secs_f64()));
    if let Some(verdict) = save(probe, &mut resident, times)? {
        return Ok(verdict);
    }
    if let Some(verdict) = restart(probe, &mut resident, times)? {
        return Ok(verdict);
    }
    resident.verify("restarted")
}

/// Checkpoints `times`, the last one with `--kill`.
fn save(probe: &Probe, resident: &mut Resident, times: usize) -> Result<Option<Verdict>> {
    let mut seconds = Vec::new();
    let mut reports = Vec::new();
    for number in 1..=times {
        let begin = Instant::now();
        let answer = match number == times {
            true => resident.job.checkpoint_kill()?,
            false => match resident.job.checkpoint(&[])? {
                Err(said) if resident.job.ended_before(&said)? => None,
                answer => Some(answer),
            },
        };
        let report = match answer {
            Some(Ok(report)) => report,
            Some(Err(said)) => return Ok(Some(said.verdict("checkpoint"))),
            None => {
                let ended = resident.job.finish()?;
                return Ok(Some(broken(&ended, "before its checkpoint")));
            }
        };
        seconds.push(begin.elapsed().as_secs_f64());
        for key in ["bytes_device", "bytes_host", "bytes_written"] {
            probe.figure(key, &report[key]);
        }
        reports.push(report);
    }
    probe.figure("checkpoints", times);
    probe.figure("checkpoint_s", short(median(&seconds)));
    for key in ["stall_ms", "write_ms"] {
        let values: Vec<f64> = reports.iter().filter_map(|r| r[key].as_f64()).collect();
        probe.figure(key, short(median(&values)));
    }
    if let Some(written) = reports.last().and_then(|r| r["bytes_written"].as_f64()) {
        probe.figure("checkpoint_gb_s", gb_s(written, median(&seconds)));
    }
    Ok(None)
}

/// Restarts `times`; the last one goes on.
fn restart(probe: &Probe, resident: &mut Resident, times: usize) -> Result<Option<Verdict>> {
    let mut seconds = Vec::new();
    for _ in 0..times {
        resident.job.kill();
        resident.forget_beat()?;
        let begin = Instant::now();
        resident.job.restart()?;
        match resident.first_use(begin)? {
            Ok(took) => seconds.push(took),
            Err(verdict) => return Ok(Some(verdict)),
        }
    }
    probe.figure("restarts", times);
    probe.figure("restart_to_first_use_s", short(median(&seconds)));
    Ok(None)
}

/// Says so when the file system of `folder` has not `bytes` free.
fn room(folder: &Path, bytes: u64) -> Result<Option<String>> {
    let found = statvfs(folder).with_context(|| format!("statvfs {}", folder.display()))?;
    let free = found.blocks_available() * found.fragment_size();
    Ok((free < bytes).then(|| {
        format!(
            "its images need {} MiB, and {} has {} MiB free: --scratch names another folder",
            bytes / MIB,
            folder.display(),
            free / MIB
        )
    }))
}

/// Rate of a plain write and fsync in this folder.
fn plain_write(path: &Path, bytes: u64) -> Result<f64> {
    let what = || format!("cannot write {}", path.display());
    let mut chunk = vec![0_u8; 8 << 20];
    let mut state = 1_u64;
    for word in chunk.chunks_exact_mut(8) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        word.copy_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    let begin = Instant::now();
    let mut file = File::create(path).with_context(what)?;
    let mut written = 0;
    while written < bytes {
        let len = (bytes - written).min(chunk.len() as u64);
        file.write_all(&chunk[..len as usize]).with_context(what)?;
        written += len;
    }
    file.sync_all().with_context(what)?;
    let rate = gb_s(bytes as f64, begin.elapsed().as_secs_f64());
    fs::remove_file(path).with_context(what)?;
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_room_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(room(folder.path(), 1).unwrap(), None);
        let said = room(folder.path(), u64::MAX).unwrap().unwrap();
        assert!(said.contains(folder.path().to_str().unwrap()), "{said}");
        assert!(said.contains("--scratch"), "{said}");
    }

    #[test]
    fn large_sizes_are_written_once() {
        assert_eq!(repetitions(16 * MIB), 3);
        assert_eq!(repetitions(4 * GIB), 2);
        assert_eq!(repetitions(64 * GIB), 1);
    }
}
