//! `run`: the kit's one command. `run probe NAME` and `run part NAME PART` are its
//! own children.

use anyhow::{Context, Result, bail};
use clap::Parser;
use gpu_kit::evidence::{Evidence, Origin};
use gpu_kit::kit::{Device, Kit};
use gpu_kit::protocol::State;
use gpu_kit::runner::Runner;
use gpu_kit::steps::{self, Step};
use gpu_kit::{children, compare, inherited, machine, probe, report, runner};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

/// Exit status when nothing could be asked: the command line, the kit, the disk.
const FAILED: u8 = 2;
/// Exit status when there is no device: nothing passed.
const SKIPPED: u8 = 77;

/// Asks this machine's GPU what only it can answer, and writes evidence.json and
/// evidence.md.
///
/// Exit status: 0 nothing is wrong or failed, 1 something is, 77 there is no GPU or
/// no driver here, 2 nothing could be asked: the command line, the folder, the disk.
#[derive(Debug, Parser)]
#[command(name = "run", version)]
struct Options {
    /// Stop after so many minutes; the most valuable steps come first
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// Only these steps: names, beginnings like `guest-*`, questions like `q3`;
    /// separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    only: Vec<String>,
    /// What is asked: NVIDIA's driver, or the mock device, to try the kit itself
    #[arg(long, value_enum, default_value_t = Device::Cuda)]
    device: Device,
    /// Folder for the evidence [default: ./gpu-evidence-DATE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder for images while a step runs: fast, and as big as the device's memory
    /// [default: below --out]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Compare with the evidence of an earlier run
    #[arg(long, value_name = "evidence.json")]
    against: Option<PathBuf>,
    /// Only list the steps
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["probe", name] => probe::run(name).map(|()| 0),
        ["part", name, part] => probe::run_part(name, part).map(|()| 0),
        _ => run(Options::parse()),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("run: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(options: Options) -> Result<u8> {
    let all = steps::all()?;
    let unknown = steps::unknown(&all, &options.only);
    if !unknown.is_empty() {
        bail!(
            "there is no step `{}`; --list shows them",
            unknown.join("`, `")
        );
    }
    let wanted = |step: &Step| step.name == steps::DRIVER || steps::wanted(step, &options.only);
    let chosen: Vec<Step> = all.into_iter().filter(wanted).collect();
    if options.list {
        list(&chosen);
        return Ok(0);
    }
    // A mistyped path is told now, not after the run.
    let before = options.against.as_deref().map(Evidence::read).transpose()?;
    let begin = Instant::now();
    inherited::keep_to_ourselves().context("cannot mark inherited descriptors")?;
    children::adopt_orphans().context("prctl(PR_SET_CHILD_SUBREAPER)")?;
    inherited::heed_signals().context("cannot set signal actions")?;
    let kit = Kit::find(options.device)?;
    let mut runner = prepare(kit, &options, begin)?;
    let no_driver = runner.run(&chosen)?;
    finish(&runner, before.as_ref())?;
    Ok(match no_driver {
        Some(why) if why.absent => {
            eprintln!("run: skipped: {}", why.reason);
            SKIPPED
        }
        _ => u8::from(runner.evidence.steps.iter().any(|step| step.state.is_bad())),
    })
}

fn list(steps: &[Step]) {
    for step in steps {
        let (name, question, limit) = (&step.name, step.question, step.limit_s);
        println!("{name:<32} q{question:<2} {limit:>4} s  {}", step.asks);
    }
}

fn prepare(kit: Kit, options: &Options, begin: Instant) -> Result<Runner> {
    let machine = machine::describe();
    let now = machine::utc(SystemTime::now()).replace(':', "");
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("gpu-evidence-{now}")));
    let made = |path: &Path| {
        std::fs::create_dir_all(path)
            .and_then(|()| path.canonicalize())
            .with_context(|| format!("cannot make {}", path.display()))
    };
    let out = made(&out)?;
    let scratch = options.scratch.as_deref().map(made).transpose()?;
    let sockets = runner::place_for_sockets(&out)?;
    let origin = std::fs::read(kit.root.join("kit.json")).unwrap_or_default();
    let unknown = || Origin {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Origin::default()
    };
    let until = options
        .minutes
        .map(|minutes| begin + Duration::try_from_secs_f64(minutes * 60.0).unwrap_or_default());
    Ok(Runner {
        evidence: Evidence {
            version: 1,
            kit: serde_json::from_slice(&origin).unwrap_or_else(|_| unknown()),
            machine,
            device: kit.device.name().to_owned(),
            minutes: options.minutes,
            seconds: 0.0,
            complete: false,
            steps: Vec::new(),
        },
        kit,
        out,
        scratch,
        until,
        before: children::here_before(),
        sockets,
        begin,
    })
}

fn finish(runner: &Runner, before: Option<&Evidence>) -> Result<()> {
    let evidence = &runner.evidence;
    if let Some(before) = before {
        let compared = compare::text(before, evidence);
        let page = report::text(evidence, Some(&compared));
        gpu_kit::evidence::replace(&runner.out.join("evidence.md"), page.as_bytes())?;
        println!("{compared}");
    }
    let count = |state: State| evidence.count(state);
    eprintln!(
        "run: {} supported, {} refused, {} wrong, {} failed, {} not run; {}",
        count(State::Supported),
        count(State::Refused),
        count(State::Wrong),
        count(State::Failed),
        count(State::NotRun),
        runner.out.join("evidence.md").display()
    );
    Ok(())
}
