//! Question 4: what calls cost under gpuckpt, and whether a program of several
//! threads runs right for minutes.

use crate::across::rounded;
use crate::job::{Finished, Job, run};
use crate::probe::{Outcome, Probe, Verdict};
use crate::probes::broken;
use crate::statistics::{median, short};
use crate::steps::Step;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Pairs of a native and a launched run.
const PAIRS: usize = 5;
/// The program's batches on the mock device, whose figures mean nothing, in milliseconds.
const MOCK_BATCH: &str = "2";
/// The longest useful run of the program of several threads, in seconds, and one
/// that fits into any.
const LONGEST: u64 = 600;
const SHORT: u64 = 20;
/// What is kept of a step's time for the driver's start and end.
const RESERVE: Duration = Duration::from_secs(12);

pub(crate) fn steps() -> Vec<Step> {
    let costs = Step::new(
        "costs",
        4,
        100,
        "what do driver calls and launches cost under gpuckpt, against native?",
        costs,
    );
    let endurance = |name, worth, seconds: u64| {
        let asks = "do threads that use the device get right results, and for how long?";
        Step::new(name, 4, worth, asks, endurance)
            .about(seconds.to_string())
            .time(30, seconds + 40)
    };
    vec![
        costs.time(20, 120),
        endurance("threads", 105, SHORT),
        endurance("endurance", 900, LONGEST),
    ]
}

type Rows = BTreeMap<String, f64>;

fn costs(probe: &Probe) -> Outcome {
    let program = probe.kit.program("costs");
    let (pairs, args): (_, &[&str]) = match probe.is_mock() {
        true => (2, &[MOCK_BATCH]),
        false => (PAIRS, &[]),
    };
    let native_run = |number: usize| -> Result<Finished> {
        let prefix = probe.out.join(format!("native-{number}"));
        let mut command = probe.kit.native(&program);
        run(command.args(args), &prefix, probe.deadline)
    };
    // The driver compiles PTX once and keeps the result.
    let first = native_run(0)?;
    probe.figure("first_native_run_s", rounded(first.seconds));
    if first.code != 0 {
        return Ok(Verdict::Failed(format!("natively: {}", first.last_words())));
    }
    let mut native: Vec<Rows> = Vec::new();
    let mut launched: Vec<Rows> = Vec::new();
    for pair in 1..=pairs {
        let begin = Instant::now();
        let plain = native_run(pair)?;
        let mut job = Job::new(probe, &format!("launched-{pair}"), program.clone(), args);
        job.launch()?;
        let under = job.finish()?;
        if under.code != 0 || plain.code != 0 {
            return Ok(match plain.code {
                0 => broken(&under, "launched"),
                _ => Verdict::Failed(format!("natively: {}", plain.last_words())),
            });
        }
        native.push(rows(&plain.out)?);
        launched.push(rows(&under.out)?);
        tell(probe, &native, &launched)?;
        if probe.left() < begin.elapsed() * 2 {
            break;
        }
    }
    Ok(Verdict::Supported)
}

/// `NAME NANOSECONDS` a line.
fn rows(output: &str) -> Result<Rows> {
    let row = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let parse = |line| row(line).with_context(|| format!("`{line}` is no name and number"));
    output.lines().map(parse).collect()
}

fn tell(probe: &Probe, native: &[Rows], launched: &[Rows]) -> Result<()> {
    probe.figure("pairs", native.len());
    let Some(names) = native.first() else {
        return Ok(());
    };
    for name in names.keys() {
        let (Some(plain), Some(under)) = (middle(native, name), middle(launched, name)) else {
            bail!("a run did not measure {name}");
        };
        probe.figure(&format!("{name}_native_ns"), short(plain));
        probe.figure(&format!("{name}_launched_ns"), short(under));
        probe.figure(&format!("{name}_ratio"), short(under / plain));
        if name == "launch" {
            probe.figure("launches_native_per_s", short(1e9 / plain));
            probe.figure("launches_launched_per_s", short(1e9 / under));
        }
    }
    Ok(())
}

/// The median of one row over all runs; none when a run lacks it.
fn middle(runs: &[Rows], name: &str) -> Option<f64> {
    let values: Option<Vec<f64>> = runs.iter().map(|rows| rows.get(name).copied()).collect();
    values.map(|values| median(&values))
}

fn endurance(probe: &Probe) -> Outcome {
    let asked: u64 = probe.subject.parse().context("the step's seconds")?;
    let most = if probe.is_mock() { 2 } else { asked };
    let seconds = probe.left().saturating_sub(RESERVE).as_secs().min(most);
    if seconds == 0 {
        return Ok(Verdict::NotRun(format!(
            "{:.0} s are too few",
            probe.left().as_secs_f64()
        )));
    }
    let cores = std::thread::available_parallelism().map_or(4, usize::from);
    let threads = cores.clamp(4, 16).to_string();
    let args = [&seconds.to_string(), &threads];
    let mut job = Job::new(
        probe,
        "endure",
        probe.kit.program("endure"),
        &args.map(String::as_str),
    );
    probe.figure("asked_for_s", seconds);
    job.launch()?;
    let ended = job.finish()?;
    probe.figure("ran_s", rounded(ended.seconds));
    if ended.code != 0 {
        return Ok(broken(&ended, "launched"));
    }
    for (name, value) in rows(&ended.out)? {
        probe.figure(&name, value as u64);
    }
    Ok(Verdict::Supported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_names_and_numbers() {
        let found = rows("gate 10.5\nlaunch 2000\n").unwrap();
        assert_eq!(found["gate"], 10.5);
        assert_eq!(found["launch"], 2000.0);
        assert!(rows("gate\n").is_err());
        assert!(rows("gate fast\n").is_err());
    }

    #[test]
    fn a_row_that_a_run_lacks_has_no_median() {
        let runs = [rows("a 1\nb 2\n").unwrap(), rows("a 3\n").unwrap()];
        assert_eq!(middle(&runs, "a"), Some(2.0));
        assert_eq!(middle(&runs, "b"), None);
    }
}
