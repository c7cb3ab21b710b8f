//! One program three times: natively, launched and saved while it is busy, and
//! continued from that image. All outputs must be equal.
//!
//! The program says `half way` and works on without changing its results while the
//! file that `KIT_HOLD` names exists (programs/kit.h, python/kitlib.py), so that the
//! checkpoint finds it there however fast it is.

use crate::job::{Finished, Job, Said, difference};
use crate::probe::{Outcome, Probe, Verdict, first_difference};
use crate::statistics::short;
use anyhow::{Context, Result};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// The line after which the program can be saved.
const HALF_WAY: &str = "half way";
/// Exit status of a program that cannot be tried here; its last words say why.
const NOT_HERE: i32 = 77;
/// Lines of standard error that are shown of a run that failed: the last ones, and
/// gpuckpt's own.
const LAST: usize = 3;
const MOST_OURS: usize = 12;

/// What the job must have done before it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It said `half way`, and stays there until the checkpoint is done.
    HalfWay,
    /// It printed its first line.
    FirstLine,
}

impl Moment {
    fn came(self, output: &str) -> bool {
        match self {
            Moment::HalfWay => output.lines().any(|line| line == HALF_WAY),
            Moment::FirstLine => output.contains('\n'),
        }
    }
}

/// Runs `job` in the three ways and compares.
///
/// # Errors
/// It cannot be started, or a part of it does not end before the step does.
pub fn across(probe: &Probe, job: &mut Job, moment: Moment) -> Outcome {
    let native = job.native()?;
    probe.figure("native_s", rounded(native.seconds));
    if native.code != 0 {
        probe.figure("native_said", essence(&native.err));
    }
    match native.code {
        0 => {}
        NOT_HERE => return Ok(Verdict::NotRun(native.last_words().to_owned())),
        code => {
            return Ok(Verdict::NotRun(format!(
                "it does not run natively: status {code}: {}",
                native.last_words()
            )));
        }
    }
    launched(probe, job, moment, &native)
}

/// As [`across`], for a program whose native run is known.
///
/// # Errors
/// As of [`across`].
pub fn launched(probe: &Probe, job: &mut Job, moment: Moment, native: &Finished) -> Outcome {
    let hold = Hold::new(probe, job)?;
    job.launch()?;
    let came = job.wait_until("the place to save the program at", |job| {
        moment.came(&job.output())
    })?;
    if !came {
        let early = job.finish()?;
        ended(probe, &early);
        let unsaved = || Verdict::Failed("it ended before it could be saved".to_owned());
        return Ok(differs(job, native, &early, "launched")?.unwrap_or_else(unsaved));
    }
    let saved = job.checkpoint(&[])?;
    drop(hold);
    let launched = job.finish()?;
    ended(probe, &launched);
    probe.figure("launched_s", rounded(launched.seconds));
    if let Some(verdict) = differs(job, native, &launched, "launched")? {
        return Ok(verdict);
    }
    probe.figure("launched_output", "equal");
    match saved {
        Ok(report) => {
            for key in ["stall_ms", "write_ms", "bytes_host", "bytes_device"] {
                let value = report[key].as_f64().context("a report without figures")?;
                match key.ends_with("_ms") {
                    true => probe.figure(key, short(value)),
                    false => probe.figure(key, value as u64),
                }
            }
        }
        Err(said) => return Ok(not_saved(probe, &said)),
    }
    restarted(probe, job, native)
}

fn ended(probe: &Probe, launched: &Finished) {
    probe.figure("launched_status", launched.code);
    if launched.code != 0 {
        probe.figure("launched_said", essence(&launched.err));
    }
}

/// What gpuckpt said in a text, and its last lines.
fn essence(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (before, last) = lines.split_at(lines.len().saturating_sub(LAST));
    let ours = before.iter().filter(|line| line.starts_with("gpuckpt: "));
    let shown: Vec<&str> = ours.take(MOST_OURS).chain(last).copied().collect();
    shown.join("\n")
}

fn not_saved(probe: &Probe, said: &Said) -> Verdict {
    probe.figure("checkpoint_said", said.text.trim());
    said.verdict("launched with the right output, but not saved")
}

fn restarted(probe: &Probe, job: &mut Job, native: &Finished) -> Outcome {
    // What came after the checkpoint must be gone, so that nothing old is taken for new.
    let mut old = OpenOptions::new()
        .append(true)
        .open(job.output_path().context("a launched job has an output")?)?;
    writeln!(old, "this line is not in the image")?;
    drop(old);
    job.restart()?;
    let restarted = job.finish()?;
    probe.figure("restarted_status", restarted.code);
    probe.figure("restarted_s", rounded(restarted.seconds));
    if let Some(verdict) = differs(job, native, &restarted, "restarted")? {
        return Ok(verdict);
    }
    probe.figure("restarted_output", "equal");
    Ok(Verdict::Supported)
}

/// [`difference`], after a look whether the program gives the same output natively
/// each time: where it does not, nothing can be said.
fn differs(
    job: &mut Job,
    native: &Finished,
    other: &Finished,
    when: &str,
) -> Result<Option<Verdict>> {
    let Some(verdict) = difference(native, other, when) else {
        return Ok(None);
    };
    // The programs compare what they can themselves.
    let words = other.last_words();
    if other.code != native.code && words.contains(", expected ") {
        return Ok(Some(Verdict::Wrong(format!("{when}: {words}"))));
    }
    if let Verdict::Wrong(found) = &verdict {
        let again = job.native()?;
        if let Some(drift) = first_difference(&native.out, &again.out) {
            return Ok(Some(Verdict::Failed(format!(
                "nothing can be compared: two native runs differ ({drift}); {found}"
            ))));
        }
    }
    Ok(Some(verdict))
}

/// The file that keeps a program half way; gone with it.
struct Hold {
    path: PathBuf,
}

impl Hold {
    fn new(probe: &Probe, job: &mut Job) -> Result<Self> {
        let path = probe.scratch.join("hold");
        fs::write(&path, "").with_context(|| format!("cannot make {}", path.display()))?;
        job.env.push(("KIT_HOLD".into(), path.clone().into()));
        Ok(Self { path })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // If it stays, the program stays, and the step's limit says so.
        let _ = fs::remove_file(&self.path);
    }
}

/// Seconds to the millisecond.
#[must_use]
pub fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::essence;

    #[test]
    fn what_gpuckpt_said_is_never_lost() {
        let text = "gpuckpt: cuA is not supported: no\na\nb\nc\nd\n";
        assert_eq!(essence(text), "gpuckpt: cuA is not supported: no\nb\nc\nd");
        assert_eq!(essence("a\n"), "a");
    }
}
