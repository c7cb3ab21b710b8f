//! What the tests of the kit share: the folder that `cargo xtask gpu-kit` made, and
//! runs of its command with the evidence that they leave.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use gpu_kit::evidence::{Answer, Evidence};
use gpu_kit::protocol::State;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The kit's folder: `GPUCKPT_KIT`, else `gpu-kit-here` in the target folder.
pub(crate) fn kit() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("a target folder");
    let kit =
        std::env::var_os("GPUCKPT_KIT").map_or_else(|| target.join("gpu-kit-here"), PathBuf::from);
    assert!(
        kit.join("dist/bin/gpuckpt").exists() && kit.join("guests/vector").exists(),
        "{} is not made: run `cargo xtask gpu-kit --here`, or the tests by `cargo xtask test`",
        kit.display()
    );
    kit
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).expect("a copy")),
        }
    }
}

/// A run of the kit in a folder of its own.
pub(crate) struct Run {
    folder: TempDir,
    command: Command,
}

impl Run {
    /// The program under test with the kit's folder, on the mock device.
    pub(crate) fn new() -> Self {
        let mut run = Self::of(Path::new(env!("CARGO_BIN_EXE_run")), "mock");
        run.command.env("KIT", kit());
        run
    }

    /// This program on this device, with nothing said about where the kit is.
    pub(crate) fn of(program: &Path, device: &str) -> Self {
        let folder = TempDir::new().expect("a folder for the evidence");
        let mut command = Command::new(program);
        command
            .args(["--device", device, "--out"])
            .arg(folder.path().join("out"));
        for variable in ["KIT", "KIT_EXTRA_STEPS", "GPUCKPT_MOCK"] {
            command.env_remove(variable);
        }
        command.current_dir(folder.path()).stdin(Stdio::null());
        Self { folder, command }
    }

    /// With more options.
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// With a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// With steps made for the test, and only those.
    pub(crate) fn steps(self, steps: &serde_json::Value) -> Self {
        let path = self.folder.path().join("steps.json");
        fs::write(&path, steps.to_string()).expect("a file of steps");
        self.env("KIT_EXTRA_STEPS", path).args(&["--only", "x-*"])
    }

    /// Where the evidence goes.
    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// The command, to be started by the test itself.
    pub(crate) fn command(&mut self) -> &mut Command {
        // A kit whose output nobody reads must not stop.
        let log = File::create(self.folder.path().join("log")).expect("a log");
        self.command.stdout(Stdio::null()).stderr(log);
        &mut self.command
    }

    /// The evidence that is there now.
    pub(crate) fn evidence(&self) -> Option<Evidence> {
        let path = self.out().join("evidence.json");
        path.exists()
            .then(|| Evidence::read(&path).expect("evidence is whole at any moment"))
    }

    /// Runs it to its end.
    pub(crate) fn finish(mut self) -> Done {
        let output = self.command.output().expect("the kit starts");
        let evidence = self.evidence();
        let page = fs::read_to_string(self.out().join("evidence.md")).unwrap_or_default();
        Done {
            output,
            evidence,
            page,
            run: self,
        }
    }
}

/// A run that ended.
pub(crate) struct Done {
    output: Output,
    evidence: Option<Evidence>,
    /// `evidence.md`.
    pub(crate) page: String,
    run: Run,
}

impl Done {
    /// Exit status.
    pub(crate) fn code(&self) -> i32 {
        self.output.status.code().expect("an exit status")
    }

    /// What it printed, both streams.
    pub(crate) fn said(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&self.output.stdout) + &text(&self.output.stderr)
    }

    /// `evidence.json`.
    pub(crate) fn evidence(&self) -> &Evidence {
        self.evidence
            .as_ref()
            .unwrap_or_else(|| panic!("no evidence: {}", self.said()))
    }

    /// Path of `evidence.json`.
    pub(crate) fn path(&self) -> PathBuf {
        self.run.out().join("evidence.json")
    }

    /// A step's answer.
    pub(crate) fn step(&self, name: &str) -> &Answer {
        let step = self.evidence().step(name);
        step.unwrap_or_else(|| panic!("no step {name}: {}", self.said()))
    }

    /// Asserts a step's state and that its reason has these words.
    pub(crate) fn assert(&self, name: &str, state: State, words: &str) -> &Answer {
        let step = self.step(name);
        assert_eq!(step.state, state, "{step:#?}");
        assert!(step.reason.contains(words), "`{words}` is not in {step:#?}");
        step
    }
}
