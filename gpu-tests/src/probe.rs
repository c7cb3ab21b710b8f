//! The inside of a step: the process that answers one question.
//!
//! The runner starts it as `run probe NAME` with `KIT`, `KIT_DEVICE`, `KIT_OUT`
//! (its folder, kept), `KIT_SCRATCH` (its folder for what is big, removed after it)
//! and `KIT_SECONDS`.

use crate::driver::Driver;
use crate::kit::{Device, Kit};
use crate::protocol::{Figures, Line, State};
use crate::steps::{self, Work};
use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde::Serialize;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a probe found; an error is [`State::Failed`] with the error's text.
pub type Outcome = Result<Verdict>;

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Supported,
    /// gpuckpt or the driver said no; its words.
    Refused(String),
    /// What differed.
    Wrong(String),
    /// What broke.
    Failed(String),
    /// Why there was nothing to try.
    NotRun(String),
}

/// A running step, seen from inside.
#[derive(Debug)]
pub struct Probe {
    /// The kit.
    pub kit: Kit,
    /// Name of the step.
    pub name: String,
    /// What the step is about.
    pub subject: String,
    /// Its folder: what is written here stays with the evidence.
    pub out: PathBuf,
    /// Its folder for images and other big files, removed after the step.
    pub scratch: PathBuf,
    /// When it will be ended.
    pub deadline: Instant,
}

impl Probe {
    /// Tells a result at once, so that a later crash does not lose it.
    pub fn figure(&self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.figures(Figures::from_iter([(name.to_owned(), value)]));
    }

    /// Tells several results at once.
    pub fn figures(&self, figures: Figures) {
        say(&Line {
            figures,
            ..Line::default()
        });
    }

    /// Time until the step is ended.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// True on the mock device.
    #[must_use]
    pub fn is_mock(&self) -> bool {
        self.kit.device == Device::Mock
    }

    /// The driver, loaded into this process.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn driver(&self) -> Result<Driver> {
        Ok(Driver::load(&self.kit.driver_path())?)
    }

    /// The folder of images of this step's jobs.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.scratch.join("images")
    }

    /// This program again, as another probe in the folders of this one: for what
    /// needs fresh processes. It prints what it finds, in a form of its own.
    ///
    /// # Errors
    /// The program's own path is unknown.
    pub fn again(&self, part: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("part").arg(&self.name).arg(part);
        Ok(command)
    }
}

fn say(line: &Line) {
    let text = serde_json::to_string(line).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    // Nobody is left to tell when the runner is gone.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn folder(variable: &str) -> Result<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .with_context(|| format!("{variable} names no folder: `run` starts probes, not people"))
}

/// The probe of the step `name` as the runner's environment describes it.
fn from_environment(step: &steps::Step) -> Result<Probe> {
    let device = match std::env::var("KIT_DEVICE").as_deref() {
        Ok("cuda") => Device::Cuda,
        Ok("mock") => Device::Mock,
        other => bail!("KIT_DEVICE is {other:?}: `run` starts probes, not people"),
    };
    let seconds: f64 = std::env::var("KIT_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .context("KIT_SECONDS is no number")?;
    Ok(Probe {
        kit: Kit::find(device)?,
        name: step.name.clone(),
        subject: step.subject.clone(),
        out: folder("KIT_OUT")?,
        scratch: folder("KIT_SCRATCH")?,
        deadline: Instant::now() + Duration::from_secs_f64(seconds),
    })
}

fn find(name: &str) -> Result<steps::Step> {
    let found = steps::all()?.into_iter().find(|step| step.name == name);
    found.with_context(|| format!("there is no step `{name}`"))
}

/// `run probe NAME`: answers one question and says the last line.
///
/// # Errors
/// The step is unknown or the environment is not the runner's.
pub fn run(name: &str) -> Result<()> {
    // A session of its own, which no terminal's signal reaches; and an end when the
    // runner ends.
    nix::unistd::setsid().context("setsid")?;
    prctl::set_pdeathsig(Signal::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    let step = find(name)?;
    let probe = match &step.work {
        Work::Probe(probe) => *probe,
        Work::Command(words) => {
            let error = Command::new(&words[0]).args(&words[1..]).exec();
            return Err(error).with_context(|| format!("cannot run {}", words[0]));
        }
    };
    let context = from_environment(&step)?;
    let verdict = probe(&context).unwrap_or_else(|e| Verdict::Failed(format!("{e:#}")));
    let (state, reason) = match verdict {
        Verdict::Supported => (State::Supported, String::new()),
        Verdict::Refused(reason) => (State::Refused, reason),
        Verdict::Wrong(reason) => (State::Wrong, reason),
        Verdict::Failed(reason) => (State::Failed, reason),
        Verdict::NotRun(reason) => (State::NotRun, reason),
    };
    say(&Line {
        state: Some(state),
        reason,
        figures: Figures::new(),
    });
    Ok(())
}

/// `run part NAME PART`: a fresh process of a probe, see [`Probe::again`].
///
/// # Errors
/// What the part says.
pub fn run_part(name: &str, part: &str) -> Result<()> {
    let step = find(name)?;
    let context = from_environment(&step)?;
    crate::probes::part(&context, part)
}

/// The first line in which two texts differ, both shown; `None` when they are equal.
#[must_use]
pub fn first_difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let (mut a, mut b) = (expected.lines(), found.lines());
    for number in 1.. {
        match (a.next(), b.next()) {
            (None, None) => break,
            (x, y) if x == y => {}
            (x, y) => {
                let shown = |line: Option<&str>| match line {
                    Some(line) => format!("`{}`", line.chars().take(200).collect::<String>()),
                    None => "nothing".to_owned(),
                };
                return Some(format!(
                    "line {number}: expected {}, found {}",
                    shown(x),
                    shown(y)
                ));
            }
        }
    }
    Some("only the ends of lines differ".to_owned())
}

/// The text of a file, empty when there is none.
#[must_use]
pub fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_difference_is_shown_with_its_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        let said = first_difference("a\nb\nc\n", "a\nx\nc\n").unwrap();
        assert_eq!(said, "line 2: expected `b`, found `x`");
        let said = first_difference("a\n", "a\nmore\n").unwrap();
        assert_eq!(said, "line 2: expected nothing, found `more`");
        assert!(first_difference("a\n", "a").is_some());
    }
}
