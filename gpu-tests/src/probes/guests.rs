//! Questions 4 and 5: every CUDA guest natively, launched, and across a chain of
//! checkpoint + kill + restart at random moments. All outputs must be equal.

use crate::job::{Finished, Job, difference};
use crate::probe::{Outcome, Probe, Verdict};
use crate::steps::Step;
use anyhow::{Context, Result};
use serde_json::Value;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Name and steps of a run of a few tenths of a second on the mock device, in the
/// order of their worth.
pub(crate) const GUESTS: [(&str, u64); 17] = [
    ("vector", 400),
    ("driver_ptx", 4000),
    ("streams", 2000),
    ("symbols", 10_000),
    ("pinned", 1600),
    ("reduce", 60),
    ("driver_linked", 4000),
    ("stencil", 500),
    ("list", 2400),
    ("threads", 1000),
    ("matmul", 80),
    ("cooperative", 40),
    ("algorithms", 4),
    ("simulations", 5),
    ("classes", 8),
    ("integers", 6),
    ("printing", 6000),
];

/// Those whose chain is as long as the question asks.
const LONG_CHAINS: [&str; 2] = ["vector", "driver_ptx"];
const ATTEMPTS: u32 = 4;

pub(crate) fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for (rank, (name, _)) in (0..).zip(GUESTS) {
        // The first few say most; the others come after costs and bandwidths.
        let (plain, chain) = match rank {
            0..3 => (20 + rank, 30 + rank),
            _ => (200 + 2 * rank, 201 + 2 * rank),
        };
        let asks = format!("{name}: the same output natively and launched?");
        let step = Step::new(format!("guest-{name}"), 4, plain, asks, launched);
        steps.push(step.about(name).time(6, 90));
        let asks = format!("{name}: the same output across restarts at random moments?");
        let step = Step::new(format!("chain-{name}"), 5, chain, asks, chain_of);
        steps.push(step.about(name).time(20, 240));
    }
    steps
}

fn job<'a>(probe: &'a Probe, steps: u64) -> Job<'a> {
    let name = &probe.subject;
    Job::new(probe, name, probe.kit.guest(name), &[&steps.to_string()])
}

/// Steps of a run of a few tenths of a second on the mock device.
pub(super) fn base_steps(name: &str) -> Result<u64> {
    let found = GUESTS.iter().find(|(guest, _)| *guest == name);
    Ok(found
        .with_context(|| format!("there is no guest {name}"))?
        .1)
}

/// A native run that is right by itself.
fn native(job: &mut Job) -> Result<Result<Finished, Verdict>> {
    let native = job.native()?;
    Ok(if native.code != 0 {
        let text = format!("natively: status {}: {}", native.code, native.last_words());
        Err(Verdict::Failed(text))
    } else if !native.out.contains("digest ") {
        Err(Verdict::Failed("natively: no digest".to_owned()))
    } else {
        Ok(native)
    })
}

fn launched(probe: &Probe) -> Outcome {
    let mut job = job(probe, base_steps(&probe.subject)?);
    let native = match native(&mut job)? {
        Ok(native) => native,
        Err(verdict) => return Ok(verdict),
    };
    probe.figure("native_s", native.seconds);
    job.launch()?;
    let launched = job.finish()?;
    probe.figure("launched_s", launched.seconds);
    let digest = native.out.lines().next_back().unwrap_or_default();
    probe.figure("output", digest);
    Ok(difference(&native, &launched, "launched").unwrap_or(Verdict::Supported))
}

/// A run that is long enough for a chain: its steps, and the run.
fn long_enough(probe: &Probe) -> Result<Result<(u64, Finished), Verdict>> {
    let (enough, most) = if probe.is_mock() {
        (0.3, 20)
    } else {
        (1.5, 1000)
    };
    let base = base_steps(&probe.subject)?;
    // What a run takes without any steps: loading and starting the driver.
    let start = match native(&mut job(probe, 1))? {
        Ok(native) => native.seconds,
        Err(verdict) => return Ok(Err(verdict)),
    };
    probe.figure("start_s", start);
    let mut steps = base;
    loop {
        let native = match native(&mut job(probe, steps))? {
            Ok(native) => native,
            Err(verdict) => return Ok(Err(verdict)),
        };
        let worked = (native.seconds - start).max(0.01);
        if worked >= enough || steps >= base * most {
            return Ok(Ok((steps, native)));
        }
        let factor = (enough / worked * 1.2).clamp(1.5, 20.0);
        steps = ((steps as f64 * factor) as u64).min(base * most);
    }
}

fn chain_of(probe: &Probe) -> Outcome {
    let links = match probe.is_mock() {
        true => 2,
        false if LONG_CHAINS.contains(&probe.subject.as_str()) => 10,
        false => 4,
    };
    let (steps, native) = match long_enough(probe)? {
        Ok(found) => found,
        Err(verdict) => return Ok(verdict),
    };
    probe.figure("steps", steps);
    probe.figure("native_s", native.seconds);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seed = u64::from(now.subsec_nanos());
    probe.figure("seed", seed);
    let mut chain = Chain {
        probe,
        random: seed,
        links,
        done: 0,
        stall_ms: 0.0,
        bytes_written: 0,
    };
    let mut most = 0;
    for attempt in 0..ATTEMPTS {
        let mut job = job(probe, steps);
        // Half as long between two links at each attempt.
        let span = native.seconds / f64::from(links) / f64::from(1 << attempt);
        if let Some(verdict) = chain.run(&mut job, span)? {
            return Ok(verdict);
        }
        let end = job.finish()?;
        let when = format!("after {} restarts", chain.done);
        if let Some(verdict) = difference(&native, &end, &when) {
            return Ok(verdict);
        }
        most = most.max(chain.done);
        if most == links {
            return Ok(Verdict::Supported);
        }
    }
    Ok(Verdict::Failed(format!(
        "it ended after {most} of {links} restarts at most, in {ATTEMPTS} attempts"
    )))
}

struct Chain<'a> {
    probe: &'a Probe,
    random: u64,
    links: u32,
    done: u32,
    stall_ms: f64,
    bytes_written: u64,
}

impl Chain<'_> {
    /// One chain from its launch on; `Some` when it broke.
    fn run(&mut self, job: &mut Job, span_s: f64) -> Result<Option<Verdict>> {
        self.done = 0;
        job.launch()?;
        while self.done < self.links && job.wait_ready()? {
            self.random = super::mix(self.random);
            let part = (self.random >> 11) as f64 / (1_u64 << 53) as f64;
            sleep(Duration::from_secs_f64(span_s * part));
            if !job.runs()? {
                break;
            }
            let link = self.done + 1;
            match job.checkpoint_kill()? {
                None => break,
                Some(Err(said)) => return Ok(Some(said.verdict(&format!("checkpoint {link}")))),
                Some(Ok(answer)) => self.link(&answer),
            }
            job.restart()?;
        }
        Ok(None)
    }

    fn link(&mut self, answer: &Value) {
        self.done += 1;
        self.stall_ms += answer["stall_ms"].as_f64().unwrap_or_default();
        self.bytes_written += answer["bytes_written"].as_u64().unwrap_or_default();
        let links = f64::from(self.done);
        self.probe.figure("links", self.done);
        self.probe.figure("stall_ms_mean", self.stall_ms / links);
        self.probe.figure(
            "image_bytes_mean",
            self.bytes_written / u64::from(self.done),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::GUESTS;

    #[test]
    fn every_cuda_guest_of_the_tests_has_its_steps() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/cuda");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "cu") {
                let name = path.file_stem().unwrap().to_str().unwrap();
                assert!(GUESTS.iter().any(|(guest, _)| *guest == name), "{name}");
            }
        }
    }
}
