//! A program natively and as a job of gpuckpt: launched, saved, ended, continued.
//! Its output goes to files in the step's folder, as a batch system would do it.

use crate::probe::{Probe, Verdict, first_difference, text};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Exit status of a job that `checkpoint --kill` ended.
pub const CHECKPOINTED: i32 = 85;
const NAP: Duration = Duration::from_millis(2);
/// So much before the step's own end a wait gives up, to say what it waited for.
const MARGIN: Duration = Duration::from_millis(500);

/// What a finished run left.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Exit status as a shell gives it: 128 and the number for a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How long it took.
    pub seconds: f64,
}

impl Finished {
    /// The last line of standard error, or of standard output.
    #[must_use]
    pub fn last_words(&self) -> &str {
        let last = |text| str::lines(text).rfind(|line| !line.trim().is_empty());
        last(&self.err)
            .or_else(|| last(&self.out))
            .unwrap_or_default()
    }
}

/// What gpuckpt said instead of doing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its standard error.
    pub text: String,
}

impl Said {
    /// True when the error is this one of docs/errors.md.
    #[must_use]
    pub fn is(&self, code: &str) -> bool {
        self.text.contains(&format!("[{code}]"))
    }

    /// [`Verdict::Refused`] for a refusal, else [`Verdict::Failed`], with gpuckpt's words.
    #[must_use]
    pub fn verdict(&self, when: &str) -> Verdict {
        let text = format!("{when}: {}", self.text.trim());
        match self.is("refused") {
            true => Verdict::Refused(text),
            false => Verdict::Failed(text),
        }
    }
}

/// Runs a command to its end with its output in `PREFIX.out` and `PREFIX.err`.
///
/// # Errors
/// It cannot be started, or has not ended shortly before `deadline`.
pub fn run(command: &mut Command, prefix: &Path, deadline: Instant) -> Result<Finished> {
    let (out, err) = (prefix.with_added("out"), prefix.with_added("err"));
    let begin = Instant::now();
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(create(&out)?)
        .stderr(create(&err)?)
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    let status = wait(&mut child, deadline, &shown)?;
    Ok(Finished {
        code: code(status),
        out: text(&out),
        err: text(&err),
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// Paths with one more ending; `with_extension` would replace part of a name.
trait WithAdded {
    fn with_added(&self, ending: &str) -> PathBuf;
}

impl WithAdded for Path {
    fn with_added(&self, ending: &str) -> PathBuf {
        let mut path = self.as_os_str().to_owned();
        path.push(".");
        path.push(ending);
        path.into()
    }
}

fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

fn wait(child: &mut Child, deadline: Instant, what: &str) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() + MARGIN > deadline {
            let stuck = text(Path::new(&format!("/proc/{}/wchan", child.id())));
            bail!("no end of {what} (its main thread waits in `{stuck}`)");
        }
        sleep(NAP);
    }
}

/// Exit status as a shell gives it.
#[must_use]
pub fn code(status: ExitStatus) -> i32 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(-1)
}

/// A program of the kit with its arguments, and its runs.
#[derive(Debug)]
pub struct Job<'a> {
    probe: &'a Probe,
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    /// Variables that every run gets.
    pub env: Vec<(OsString, OsString)>,
    /// True when the program brings its own CUDA libraries: natively it gets none of ours.
    pub foreign: bool,
    runs: u32,
    origin: Option<(PathBuf, PathBuf)>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    own_err: PathBuf,
    begin: Instant,
}

impl<'a> Job<'a> {
    /// `program` with `args`, under `name` (of jobs, and of output files).
    #[must_use]
    pub fn new(probe: &'a Probe, name: &str, program: PathBuf, args: &[&str]) -> Self {
        Self {
            probe,
            name: name.to_owned(),
            program,
            args: args.iter().map(OsString::from).collect(),
            env: Vec::new(),
            foreign: false,
            runs: 0,
            origin: None,
            running: None,
        }
    }

    /// Runs the program without gpuckpt.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub fn native(&mut self) -> Result<Finished> {
        self.begin_native()?;
        self.finish()
    }

    /// Starts the program without gpuckpt.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn begin_native(&mut self) -> Result<()> {
        let mut command = match self.foreign {
            true => self.probe.kit.foreign(&self.program),
            false => self.probe.kit.native(&self.program),
        };
        command.args(&self.args);
        self.start(command, "native")
    }

    /// Starts `gpuckpt launch`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.probe.kit.launch(&self.probe.images(), &self.name);
        command.arg(&self.program).args(&self.args);
        self.start(command, "launch")
    }

    /// Starts `gpuckpt restart` of the newest image.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = self.probe.kit.gpuckpt(&self.probe.images());
        command.arg("restart").arg(&self.name);
        self.start(command, "restart")
    }

    fn start(&mut self, mut command: Command, what: &str) -> Result<()> {
        self.runs += 1;
        let prefix = self
            .probe
            .out
            .join(format!("{}-{}-{what}", self.name, self.runs));
        let (out, err) = (prefix.with_added("out"), prefix.with_added("err"));
        let (o, e) = (create(&out)?, create(&err)?);
        // A restarted job goes on in the files in which it began.
        if what != "restart" {
            self.origin = Some((out, err.clone()));
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(o).stderr(e);
        let begin = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        self.running = Some(Running {
            child,
            own_err: err,
            begin,
        });
        Ok(())
    }

    fn running(&mut self) -> Result<&mut Running> {
        self.running.as_mut().context("no run of the job goes on")
    }

    /// Process id of the run that goes on.
    ///
    /// # Errors
    /// There is none.
    pub fn pid(&mut self) -> Result<u32> {
        Ok(self.running()?.child.id())
    }

    /// Standard output of the job so far, over all restarts.
    #[must_use]
    pub fn output(&self) -> String {
        self.origin
            .as_ref()
            .map(|(out, _)| text(out))
            .unwrap_or_default()
    }

    /// The file of standard output of the job, over all restarts.
    #[must_use]
    pub fn output_path(&self) -> Option<PathBuf> {
        self.origin.as_ref().map(|(out, _)| out.clone())
    }

    /// Waits until `condition` holds; false when the job ended first.
    ///
    /// # Errors
    /// Neither happened before the step's end.
    pub fn wait_until(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<bool> {
        loop {
            if condition(self) {
                return Ok(true);
            }
            if self.running()?.child.try_wait()?.is_some() {
                return Ok(condition(self));
            }
            if self.probe.left() < MARGIN {
                bail!("{what} did not happen in time");
            }
            sleep(NAP);
        }
    }

    /// Waits until the job can be asked for checkpoints; false when it ended first.
    ///
    /// # Errors
    /// Neither happened before the step's end.
    pub fn wait_ready(&mut self) -> Result<bool> {
        let record = self.probe.images().join(&self.name).join("job.json");
        let pid = u64::from(self.pid()?);
        self.wait_until("the job's registration", |_| {
            let record: Value = serde_json::from_str(&text(&record)).unwrap_or_default();
            record["pid"].as_u64() == Some(pid)
        })
    }

    /// True while the run goes on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.running()?.child.try_wait()?.is_none())
    }

    /// `gpuckpt checkpoint --json OPTIONS NAME`: what it answers, or said instead.
    ///
    /// # Errors
    /// It cannot be started, does not end in time, or its answer is no JSON.
    pub fn checkpoint(&mut self, options: &[&str]) -> Result<Result<Value, Said>> {
        let mut command = self.probe.kit.gpuckpt(&self.probe.images());
        command
            .args(["checkpoint", "--json"])
            .args(options)
            .arg(&self.name);
        let prefix = self.probe.out.join(format!("{}-checkpoint", self.name));
        let answer = run(&mut command, &prefix, self.probe.deadline)?;
        if answer.code != 0 {
            return Ok(Err(Said { text: answer.err }));
        }
        let value = serde_json::from_str(&answer.out)
            .with_context(|| format!("checkpoint --json said: {}", answer.out))?;
        Ok(Ok(value))
    }

    /// Saves and ends the job and waits for its end. `None` when it had ended by
    /// itself before.
    ///
    /// # Errors
    /// As of [`Job::checkpoint`]; or the job ended with another status than 85.
    pub fn checkpoint_kill(&mut self) -> Result<Option<Result<Value, Said>>> {
        let answer = match self.checkpoint(&["--kill"])? {
            Ok(value) => value,
            Err(said) => {
                return Ok((!self.ended_before(&said)?).then_some(Err(said)));
            }
        };
        let deadline = self.probe.deadline;
        let status = code(wait(&mut self.running()?.child, deadline, "a saved job")?);
        if status != CHECKPOINTED {
            bail!("saved and ended, but with status {status} instead of {CHECKPOINTED}");
        }
        self.running = None;
        Ok(Some(Ok(answer)))
    }

    /// True when gpuckpt `said` so because the job ended by itself meanwhile.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ended_before(&mut self, said: &Said) -> Result<bool> {
        let mut too_late = ["no-job", "no-answer", "job-gone"].iter();
        // It has a moment to go.
        Ok(too_late.any(|code| said.is(code)) && self.ends_soon()?)
    }

    fn ends_soon(&mut self) -> Result<bool> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) && self.probe.left() > MARGIN {
            if !self.runs()? {
                return Ok(true);
            }
            sleep(NAP);
        }
        Ok(false)
    }

    /// Waits for the end and gives what the job printed since its launch.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn finish(&mut self) -> Result<Finished> {
        let mut running = self.running.take().context("no run of the job goes on")?;
        let what = format!("{} (run {})", self.name, self.runs);
        let status = wait(&mut running.child, self.probe.deadline, &what)?;
        let seconds = running.begin.elapsed().as_secs_f64();
        let (out, err) = self.origin.clone().context("a run has files")?;
        let mut errors = text(&err);
        if running.own_err != err {
            errors.push_str(&text(&running.own_err));
        }
        Ok(Finished {
            code: code(status),
            out: text(&out),
            err: errors,
            seconds,
        })
    }

    /// Ends the run at once.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It may have ended; then there is only its status to take.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Compares a run with the native one: `None` when status and output are equal.
#[must_use]
pub fn difference(native: &Finished, other: &Finished, when: &str) -> Option<Verdict> {
    if other.code != native.code {
        let text = format!(
            "{when}: status {} instead of {}: {}",
            other.code,
            native.code,
            other.last_words()
        );
        let named = |line: &str| line.starts_with("gpuckpt: ") && line.contains("not supported");
        let refused = other.err.contains("[refused]") || other.err.lines().any(named);
        return Some(match refused {
            true => Verdict::Refused(text),
            false => Verdict::Failed(text),
        });
    }
    let differs = first_difference(&native.out, &other.out)?;
    Some(Verdict::Wrong(format!("{when}, against native: {differs}")))
}
