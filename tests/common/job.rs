//! A job under test: a guest that is launched, checkpointed, killed and restarted
//! in a folder of its own, with its output in files.

use super::guests::{Device, Guest};
use super::process::{Process, code, describe, wait_until};
use super::{dist, long, target};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Exit status of a job that `checkpoint --kill` ended.
pub(crate) const CHECKPOINTED: i32 = 85;
/// Exit status of gpuckpt's own failures.
pub(crate) const FAILURE: i32 = 125;

/// What a finished run left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// Exit status as a shell gives it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// What a command of gpuckpt answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Exit status.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Answer {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// Panics unless the command succeeded.
    pub(crate) fn expect_success(self, what: &str) -> Self {
        assert_eq!(self.code, 0, "{what}: {self:#?}");
        self
    }
}

/// A folder with everything of one guest: images, output, files. Removed on drop
/// unless the test panics.
pub(crate) struct Bench {
    guest: Guest,
    /// Where images go (`--dir`).
    pub(crate) images: PathBuf,
    folder: Option<TempDir>,
    /// The distribution in use.
    pub(crate) dist: PathBuf,
    args: Vec<OsString>,
    /// Variables that launch and restart get.
    pub(crate) env: Vec<(String, String)>,
    /// Options that launch and restart get.
    pub(crate) options: Vec<String>,
    runs: u32,
    /// Output files of the first process of the chain: a restart reopens them.
    origin: Option<(PathBuf, PathBuf)>,
    job: Option<Running>,
}

struct Running {
    process: Process,
    out: PathBuf,
    err: PathBuf,
    own_out: PathBuf,
    own_err: PathBuf,
}

impl Running {
    /// What was said on standard error, by the program and by a restart.
    fn errors(&self) -> String {
        if self.err == self.own_err {
            text(&self.err)
        } else {
            text(&self.err) + &text(&self.own_err)
        }
    }
}

/// True when a request failed because the job had ended, or was ending.
pub(crate) fn job_gone(errors: &str) -> bool {
    ["[no-job]", "[no-answer]", "[job-gone]"]
        .iter()
        .any(|code| errors.contains(code))
}

impl Bench {
    /// A fresh folder for `guest`, with its default arguments.
    pub(crate) fn new(guest: Guest) -> Self {
        let steps = if long() {
            guest.long_steps
        } else {
            guest.steps
        };
        let mut bench = Self::with_args(guest, &[]);
        bench.steps(steps);
        bench
    }

    /// From now on the guest runs with `factor` times as many steps.
    pub(crate) fn lengthen(&mut self, factor: u32) {
        let steps: Option<u32> = self.args[0].to_str().and_then(|steps| steps.parse().ok());
        let steps = steps.expect("the guest's first argument is its number of steps");
        self.steps(steps.saturating_mul(factor));
    }

    fn steps(&mut self, steps: u32) {
        self.args = vec![steps.to_string().into()];
        if self.guest.wants_folder {
            // The same path in every run: it may be part of the guest's state.
            self.args.push(self.path("work").into());
        }
    }

    /// The same with the arguments `args`.
    pub(crate) fn with_args(guest: Guest, args: &[&OsStr]) -> Self {
        let base = target().join("e2e");
        fs::create_dir_all(&base).expect("a folder for the jobs");
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-", guest.name))
            .tempdir_in(base);
        let folder = folder.expect("a folder for the job");
        Self {
            guest,
            images: folder.path().join("images"),
            folder: Some(folder),
            dist: dist(),
            args: args.iter().map(|&a| a.to_owned()).collect(),
            env: Vec::new(),
            options: Vec::new(),
            runs: 0,
            origin: None,
            job: None,
        }
    }

    /// A path in the job's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder
            .as_ref()
            .expect("the folder lives as long as the bench")
            .path()
            .join(name)
    }

    /// The job's name.
    pub(crate) fn name(&self) -> &'static str {
        self.guest.name
    }

    /// Adds an argument of the guest.
    pub(crate) fn arg(&mut self, arg: impl Into<OsString>) {
        self.args.push(arg.into());
    }

    /// `gpuckpt` with `args`, not yet run.
    pub(crate) fn gpuckpt(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dist.join("bin/gpuckpt"));
        command
            .args(args)
            .current_dir(self.path(""))
            .env("GPUCKPT_DIR", &self.images);
        command
    }

    /// Runs `gpuckpt` with `args` to its end.
    pub(crate) fn ask(&self, args: &[&str]) -> Answer {
        self.answer(&mut self.gpuckpt(args), &args.join(" "))
    }

    /// Runs any command to its end.
    pub(crate) fn answer(&self, command: &mut Command, what: &str) -> Answer {
        let out = tempfile::NamedTempFile::new_in(self.path("")).expect("a file for the output");
        let err = tempfile::NamedTempFile::new_in(self.path("")).expect("a file for the errors");
        command
            .stdin(Stdio::null())
            .stdout(out.reopen().expect("the output"))
            .stderr(err.reopen().expect("the errors"));
        let mut process = Process::spawn(command, what);
        let pid = self.job.as_ref().map(|job| job.process.pid());
        // A command that hangs is mostly waiting for the job: show where that stands.
        let status = wait_until(what, Some(pid.unwrap_or(process.pid())), || {
            process.try_wait()
        });
        Answer {
            code: code(status),
            out: text(out.path()),
            err: text(err.path()),
        }
    }

    fn fresh_files(&mut self) -> (PathBuf, PathBuf, File, File) {
        self.runs += 1;
        let (out, err) = (
            self.path(&format!("out-{}", self.runs)),
            self.path(&format!("err-{}", self.runs)),
        );
        let create = |path: &Path| {
            OpenOptions::new()
                .create_new(true)
                .write(true)
                .open(path)
                .expect("an output file")
        };
        let (o, e) = (create(&out), create(&err));
        (out, err, o, e)
    }

    fn start(&mut self, mut command: Command, what: &str) {
        assert!(self.job.is_none(), "a job is running already");
        let (own_out, own_err, o, e) = self.fresh_files();
        if what != "restart" {
            self.origin = Some((own_out.clone(), own_err.clone()));
        }
        let (out, err) = self.origin.clone().expect("a restart follows a launch");
        command.stdin(Stdio::null()).stdout(o).stderr(e);
        for (name, value) in &self.env {
            command.env(name, value);
        }
        let process = Process::spawn(&mut command, &format!("{what} {}", self.guest.name));
        self.job = Some(Running {
            process,
            out,
            err,
            own_out,
            own_err,
        });
    }

    fn prepare(&mut self) {
        let work = self.path("work");
        let _ = fs::remove_dir_all(&work);
        fs::create_dir(&work).expect("a folder to work in");
    }

    /// Runs the guest without gpuckpt: on the mock device where it needs one.
    pub(crate) fn native(&mut self) -> Finished {
        self.start_native();
        self.finish()
    }

    /// Starts the guest without gpuckpt.
    pub(crate) fn start_native(&mut self) {
        self.prepare();
        let words = self.guest.command();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(&self.args)
            .current_dir(self.path(""));
        let device = self.device();
        if device == "mock" {
            let folders = [
                self.dist.join("libexec/gpuckpt/mock"),
                self.dist.join("lib/gpuckpt/cudart"),
            ];
            command.env(
                "LD_LIBRARY_PATH",
                std::env::join_paths(folders).expect("folders"),
            );
        } else if device != "none" {
            command.env("LD_LIBRARY_PATH", self.dist.join("lib/gpuckpt/cudart"));
        }
        self.start(command, "native");
    }

    /// What `--device` says.
    fn device(&self) -> String {
        match self.guest.device {
            Device::Gpu => device_name(),
            Device::Mock => "mock".to_owned(),
            Device::None => "none".to_owned(),
        }
    }

    /// Starts `gpuckpt launch`.
    pub(crate) fn launch(&mut self) {
        self.prepare();
        let device = self.device();
        let mut command = self.gpuckpt(&["launch", "--name", self.guest.name, "--device", &device]);
        command
            .args(&self.options)
            .arg("--")
            .args(self.guest.command())
            .args(&self.args);
        self.start(command, "launch");
    }

    /// Starts `gpuckpt restart` of the newest image.
    pub(crate) fn restart(&mut self) {
        self.restart_from(self.guest.name);
    }

    /// Starts `gpuckpt restart` of an image or a name.
    pub(crate) fn restart_from(&mut self, image: &str) {
        let mut command = self.gpuckpt(&["restart"]);
        command.args(&self.options).arg(image);
        self.start(command, "restart");
    }

    /// Waits until the job answers requests. False when it ended first.
    pub(crate) fn wait_ready(&mut self) -> bool {
        let record = self.images.join(self.guest.name).join("job.json");
        let job = self.job.as_mut().expect("a job");
        let pid = job.process.pid();
        let running = format!("\"pid\":{pid},");
        wait_until("the job to register", Some(pid), || {
            if job.process.try_wait().is_some() {
                return Some(false);
            }
            let text = fs::read_to_string(&record)
                .unwrap_or_default()
                .replace(": ", ":");
            text.contains(&running).then_some(true)
        })
    }

    /// Waits until the job has printed `line`. False when it ended without.
    pub(crate) fn wait_for_line(&mut self, line: &str) -> bool {
        let job = self.job.as_mut().expect("a job");
        let pid = job.process.pid();
        wait_until(&format!("`{line}`"), Some(pid), || {
            let ended = job.process.try_wait().is_some();
            let seen = text(&job.out).lines().any(|l| l == line);
            (seen || ended).then_some(seen)
        })
    }

    /// Waits until something new is printed after `known` bytes; false at the end.
    pub(crate) fn wait_for_progress(&mut self, known: usize) -> bool {
        let job = self.job.as_mut().expect("a job");
        let pid = job.process.pid();
        wait_until("progress", Some(pid), || {
            let ended = job.process.try_wait().is_some();
            let more = text(&job.out).len() > known;
            (more || ended).then_some(more && !ended)
        })
    }

    /// Standard output of the running job so far.
    pub(crate) fn output(&self) -> String {
        text(&self.job.as_ref().expect("a job").out)
    }

    /// Process id of the running job.
    pub(crate) fn pid(&self) -> i32 {
        self.job.as_ref().expect("a job").process.pid()
    }

    /// A signal to the running job.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        self.job.as_ref().expect("a job").process.signal(signal);
    }

    /// True while the job runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.job
            .as_mut()
            .is_some_and(|job| job.process.try_wait().is_none())
    }

    /// `gpuckpt checkpoint --json` with `options`.
    pub(crate) fn checkpoint(&mut self, options: &[&str]) -> Answer {
        let mut args = vec!["checkpoint", "--json"];
        args.extend(options);
        args.push(self.guest.name);
        self.ask(&args)
    }

    /// `checkpoint --kill`, if the job still runs: true when it was saved and ended
    /// with status 85, false when it had ended by itself before.
    pub(crate) fn checkpoint_kill(&mut self) -> bool {
        let answer = self.checkpoint(&["--kill"]);
        if answer.code != 0 {
            // The only excuse is that the guest reached its end meanwhile.
            let job = self.job.as_mut().expect("a job");
            let pid = job.process.pid();
            assert!(
                job_gone(&answer.err),
                "the checkpoint failed: {answer:#?}\nits errors: {}",
                job.errors()
            );
            let grace = std::time::Instant::now();
            while job.process.try_wait().is_none() {
                assert!(
                    grace.elapsed() < Duration::from_secs(10),
                    "the checkpoint failed: {answer:#?}\n{}\nits errors: {}",
                    describe(pid),
                    job.errors()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            return false;
        }
        let image = answer.json()["image"]
            .as_str()
            .expect("the image's path")
            .to_owned();
        assert!(Path::new(&image).is_dir(), "{image} is no folder");
        let job = self.job.as_mut().expect("a job");
        let status = code(job.process.wait());
        assert_eq!(
            status,
            CHECKPOINTED,
            "a saved and ended job; its errors: {}",
            job.errors()
        );
        self.job = None;
        true
    }

    /// Waits for the end of the job and gives what it printed, in the file in
    /// which its standard output began (a regular file is reopened by a restart).
    pub(crate) fn finish(&mut self) -> Finished {
        let mut job = self.job.take().expect("a job");
        let status = job.process.wait();
        if job.own_out != job.out {
            assert_eq!(
                text(&job.own_out),
                "",
                "a restarted job writes where it wrote, and gpuckpt says nothing"
            );
        }
        Finished {
            code: code(status),
            out: text(&job.out),
            err: job.errors(),
        }
    }

    /// Ends the job with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut job) = self.job.take() {
            job.process.signal(nix::sys::signal::Signal::SIGKILL);
            job.process.wait();
        }
    }

    /// How many processes were started so far.
    pub(crate) fn runs_started(&self) -> u32 {
        self.runs
    }

    /// Folders of committed images, oldest first.
    pub(crate) fn images_of_job(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.images.join(self.guest.name)) else {
            return Vec::new();
        };
        let mut images: Vec<_> = entries
            .flatten()
            .map(|e| e.path())
            .filter(|p| {
                p.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with("ckpt-"))
            })
            .collect();
        images.sort();
        images
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(job) = &mut self.job {
                if job.process.try_wait().is_none() {
                    eprintln!("the job at that moment:\n{}", describe(job.process.pid()));
                }
                eprintln!("its errors:\n{}", tail(&job.errors()));
                eprintln!("its output:\n{}", tail(&text(&job.out)));
            }
            if let Some(folder) = self.folder.take() {
                eprintln!("kept: {}", folder.keep().display());
            }
        }
    }
}

/// `mock`, or what `GPUCKPT_TEST_DEVICE` says.
pub(crate) fn device_name() -> String {
    std::env::var("GPUCKPT_TEST_DEVICE").unwrap_or_else(|_| "mock".to_owned())
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
