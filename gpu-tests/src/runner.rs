//! Runs the steps, one after the other, each in a process of its own that can
//! hang, crash or leave daemons behind without harm to the others.

use crate::children::{self, End};
use crate::evidence::{Answer, Evidence};
use crate::kit::{Device, Kit};
use crate::protocol::{Figures, Heard, State, hear};
use crate::steps::{self, Step};
use crate::{machine, report};
use anyhow::{Context, Result};
use nix::unistd::{AccessFlags, Pid, access};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(5);
/// So much of a step's standard output is read: the end of it.
const MOST_OUTPUT: u64 = 32 << 20;
/// So many lines of standard error are kept with a bad answer.
const TAIL_LINES: usize = 25;

/// Set by a signal: the run ends after what is being done.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A run of the kit.
#[derive(Debug)]
pub struct Runner {
    /// The kit.
    pub kit: Kit,
    /// Where evidence goes.
    pub out: PathBuf,
    /// Where images go while a step runs; below `out` by default.
    pub scratch: Option<PathBuf>,
    /// All that was found so far.
    pub evidence: Evidence,
    /// When the minutes end.
    pub until: Option<Instant>,
    /// Where sockets go on a machine without a place for them.
    pub sockets: Option<PathBuf>,
    /// Processes that are not of any step.
    pub before: BTreeSet<i32>,
    /// Begin of the run.
    pub begin: Instant,
}

/// Why no step can be answered, and whether that is for want of a device.
#[derive(Clone, Debug)]
pub struct NoDriver {
    /// In words.
    pub reason: String,
    /// True when there is no device or driver; false when it is broken.
    pub absent: bool,
}

impl Runner {
    /// Runs all `steps`. `Some` when the driver could not be used.
    ///
    /// # Errors
    /// The evidence cannot be written.
    pub fn run(&mut self, steps: &[Step]) -> Result<Option<NoDriver>> {
        let mut no_driver: Option<NoDriver> = None;
        for (index, step) in steps.iter().enumerate() {
            let answer = match self.excuse(step, no_driver.as_ref()) {
                Some(reason) => not_run(step, reason),
                None => self.ask(step)?,
            };
            if step.name == steps::DRIVER {
                machine::add_device(&mut self.evidence.machine, &answer.figures);
                no_driver = missing_driver(&answer);
            }
            eprintln!(
                "[{:>3}/{}] {:<30} {:<9} {:>6.1} s  {}",
                index + 1,
                steps.len(),
                answer.name,
                answer.state,
                answer.seconds,
                answer.reason.lines().next().unwrap_or_default()
            );
            self.evidence.steps.push(answer);
            self.evidence.complete = index + 1 == steps.len();
            self.write()?;
        }
        Ok(no_driver)
    }

    fn write(&mut self) -> Result<()> {
        self.evidence.seconds = rounded(self.begin.elapsed());
        self.evidence.write(&self.out.join("evidence.json"))?;
        let text = report::text(&self.evidence, None);
        crate::evidence::replace(&self.out.join("evidence.md"), text.as_bytes())
    }

    /// Why the step is not begun.
    fn excuse(&self, step: &Step, no_driver: Option<&NoDriver>) -> Option<String> {
        if let Some(no_driver) = no_driver {
            return Some(no_driver.reason.clone());
        }
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Some("the run was interrupted before it".to_owned());
        }
        if self.kit.device == Device::Mock
            && let Some(why) = step.only_real
        {
            return Some(format!("no meaning on the mock device: {why}"));
        }
        let left = self.left()?.as_secs_f64();
        (left < step.takes_s as f64).then(|| {
            format!(
                "it takes about {} s, and {left:.0} s of the minutes were left",
                step.takes_s
            )
        })
    }

    fn left(&self) -> Option<Duration> {
        let until = self.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Runs one step, whatever happens to it.
    fn ask(&self, step: &Step) -> Result<Answer> {
        let begin = Instant::now();
        let folder = self.out.join("steps").join(&step.name);
        let scratch = match &self.scratch {
            Some(scratch) => scratch.join(&step.name),
            None => folder.join("scratch"),
        };
        for path in [&folder, &scratch] {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let own = Duration::from_secs(step.limit_s);
        let limit = self.left().map_or(own, |left| left.min(own));
        let ran = self.process(step, &folder, &scratch, limit);
        let (ended, stuck) = children::end_all(&self.before);
        // Images may be bigger than everything else; what cannot be removed stays.
        let _ = fs::remove_dir_all(&scratch);
        let seconds = rounded(begin.elapsed());
        let heard = hear(&end_of(&folder.join("stdout"), MOST_OUTPUT));
        let stderr = tail(&end_of(&folder.join("stderr"), MOST_OUTPUT));
        let mut figures = heard.figures.clone();
        if matches!(ran, Ok(Ran::Ended(_))) && !ended.is_empty() {
            figures.insert("left_behind".to_owned(), ended.join(", ").into());
        }
        let (state, mut reason) = match ran {
            Ok(Ran::Ended(end)) => judge(end, &heard, &stderr),
            Ok(Ran::Interrupted) => (State::NotRun, format!("interrupted after {seconds} s")),
            Ok(Ran::TooLong) if limit < own => {
                let may = step.limit_s;
                let why = format!(
                    "the minutes ended while it ran: {seconds} s of the {may} s that it may take"
                );
                (State::NotRun, why)
            }
            Ok(Ran::TooLong) => {
                let why = format!("no end after its limit of {} s", step.limit_s);
                (State::Failed, why)
            }
            Err(error) => (State::Failed, format!("{error:#}")),
        };
        if !stuck.is_empty() {
            reason.push_str("; cannot be ended: ");
            reason.push_str(&stuck.join(", "));
        }
        Ok(Answer {
            name: step.name.clone(),
            question: step.question,
            asks: step.asks.clone(),
            state,
            reason,
            figures,
            seconds,
            stderr: if state.is_bad() {
                stderr
            } else {
                String::new()
            },
        })
    }

    /// The process of a step, from its begin to its end or its limit.
    fn process(&self, step: &Step, folder: &Path, scratch: &Path, limit: Duration) -> Result<Ran> {
        let create = |name: &str| {
            let path = folder.join(name);
            File::create(&path).with_context(|| format!("cannot make {}", path.display()))
        };
        let mut command = Command::new(std::env::current_exe().context("where is this program?")?);
        command
            .args(["probe", &step.name])
            .env("KIT", &self.kit.root)
            .env("KIT_DEVICE", self.kit.device.name())
            .env("KIT_OUT", folder)
            .env("KIT_SCRATCH", scratch)
            .env("KIT_SECONDS", limit.as_secs_f64().to_string())
            .envs(self.sockets.iter().map(|path| ("XDG_RUNTIME_DIR", path)))
            .current_dir(scratch)
            .stdin(Stdio::null())
            .stdout(create("stdout")?)
            .stderr(create("stderr")?);
        if let Some(path) = self.kit.driver_folder() {
            command.env("LD_LIBRARY_PATH", path);
        }
        let child = command.spawn().context("cannot start a process")?;
        let pid = Pid::from_raw(child.id() as i32);
        let until = Instant::now() + limit;
        loop {
            if let Some(end) = children::ended(pid) {
                return Ok(Ran::Ended(end));
            }
            if INTERRUPTED.load(Ordering::Relaxed) {
                return Ok(Ran::Interrupted);
            }
            if Instant::now() >= until {
                return Ok(Ran::TooLong);
            }
            sleep(NAP);
        }
    }
}

/// A private folder for the control sockets of jobs below `out`, where neither
/// `$XDG_RUNTIME_DIR` nor `/tmp` can be written. `None` where one can.
///
/// # Errors
/// The folder cannot be made.
pub fn place_for_sockets(out: &Path) -> Result<Option<PathBuf>> {
    let given = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let usual = given.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    if access(&usual, AccessFlags::W_OK | AccessFlags::X_OK).is_ok() {
        return Ok(None);
    }
    let path = out.join("run");
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {}", path.display()))
        }
        _ => Ok(Some(path)),
    }
}

/// What became of a step's process.
enum Ran {
    Ended(End),
    TooLong,
    Interrupted,
}

/// State and reason from how a process ended and what it said.
fn judge(end: End, heard: &Heard, stderr: &str) -> (State, String) {
    let last = stderr.lines().next_back().unwrap_or_default();
    let with_last = |what: String| match last {
        "" => what,
        last => format!("{what}: {last}"),
    };
    match (end, &heard.verdict) {
        (End::Exited(0), Some((state, reason))) => (*state, reason.clone()),
        (End::Exited(0), None) => (
            State::Failed,
            with_last("ended without an answer".to_owned()),
        ),
        (End::Exited(status), None) => (
            State::Failed,
            with_last(format!("ended with status {status}")),
        ),
        (End::Exited(status), Some((state, _))) => (
            State::Failed,
            with_last(format!("said {state}, but ended with status {status}")),
        ),
        (End::Signaled(signal), _) => (State::Failed, with_last(format!("ended by {signal}"))),
    }
}

fn not_run(step: &Step, reason: String) -> Answer {
    Answer {
        name: step.name.clone(),
        question: step.question,
        asks: step.asks.clone(),
        state: State::NotRun,
        reason,
        figures: Figures::new(),
        seconds: 0.0,
        stderr: String::new(),
    }
}

/// What the answer to the first step means for all others.
fn missing_driver(answer: &Answer) -> Option<NoDriver> {
    match answer.state {
        State::Supported => None,
        State::NotRun => Some(NoDriver {
            reason: answer.reason.clone(),
            absent: true,
        }),
        _ => Some(NoDriver {
            reason: format!("the driver could not be used: {}", answer.reason),
            absent: false,
        }),
    }
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The last `most` bytes of a file.
fn end_of(path: &Path, most: u64) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
