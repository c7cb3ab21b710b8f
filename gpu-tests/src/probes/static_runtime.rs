//! Question 6: guests with NVIDIA's static runtime, launched. That runtime asks the
//! driver for private tables; gpuckpt never answers for the driver, so what happens
//! is recorded: whether such a program runs, and what a checkpoint of it says.

use crate::across::{Moment, launched};
use crate::job::{Finished, Job};
use crate::probe::{Outcome, Probe, Verdict};
use crate::probes::guests;
use crate::statistics::short;
use crate::steps::Step;

/// Guests that the kit has with the static runtime too, and their ranks.
const GUESTS: [(&str, u32); 4] = [
    ("vector", 110),
    ("streams", 310),
    ("symbols", 311),
    ("reduce", 312),
];
/// So many times the steps that the mock device does in a part of a second keep a
/// real device busy for seconds.
const FASTER: u64 = 15;

pub(crate) fn steps() -> Vec<Step> {
    let step = |(name, worth)| {
        let asks = format!("{name} with NVIDIA's static runtime: does it run, is it saved?");
        Step::new(format!("static-{name}"), 6, worth, asks, static_runtime)
            .about(name)
            .time(10, 60)
    };
    GUESTS.into_iter().map(step).collect()
}

fn static_runtime(probe: &Probe) -> Outcome {
    let faster = if probe.is_mock() { 1 } else { FASTER };
    let steps = guests::base_steps(&probe.subject)? * faster;
    let program = probe.kit.static_guest(&probe.subject);
    let mut job = Job::new(probe, &probe.subject, program, &[&steps.to_string()]);
    job.foreign = true;
    let native = job.native()?;
    probe.figure("native_status", native.code);
    probe.figure("native_s", short(native.seconds));
    if native.code != 0 {
        probe.figure("native_said", native.last_words());
        return match probe.is_mock() {
            true => without_native(probe, &mut job, &native),
            false => Ok(Verdict::NotRun(format!(
                "it does not run natively: status {}: {}",
                native.code,
                native.last_words()
            ))),
        };
    }
    launched(probe, &mut job, Moment::FirstLine, &native)
}

/// On the mock device it cannot run: gpuckpt has to say so, and why.
fn without_native(probe: &Probe, job: &mut Job, native: &Finished) -> Outcome {
    job.launch()?;
    let ended = job.finish()?;
    probe.figure("launched_status", ended.code);
    probe.figure("launched_said", ended.err.trim());
    let named = ended.err.lines().find(|line| line.starts_with("gpuckpt: "));
    Ok(match (ended.code, named) {
        (1..128, Some(line)) => Verdict::Refused(line.to_owned()),
        (0, _) => Verdict::Wrong(format!(
            "launched it ends with status 0, natively with {}: {}",
            native.code,
            native.last_words()
        )),
        (code, _) => Verdict::Failed(format!(
            "launched: status {code}, and gpuckpt does not say why: {}",
            ended.last_words()
        )),
    })
}
