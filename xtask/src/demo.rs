//! `demo`: the main job on the mock device, told step by step. A CUDA program is run
//! natively, then under gpuckpt: saved in the middle, killed, restarted in a new
//! process. Both must print the same.

use crate::{dist, sh};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

/// Exit status of a job that `checkpoint --kill` ended.
const CHECKPOINTED: i32 = 85;

/// The line after which the job is saved.
const MIDDLE: &str = "step 16";

/// The task `demo`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "demo takes no options");
    tell("Building gpuckpt, and a CUDA program that knows nothing of it");
    let tree = dist::build("release")?;
    let stage = Stage::set(tree)?;

    tell("The program alone, on the mock device (it runs the program's PTX on the CPU)");
    let mut alone = Command::new(&stage.program);
    alone.env("LD_LIBRARY_PATH", stage.tree.join("libexec/gpuckpt/mock"));
    let (expected, status) = stage.watch(alone, |_| Ok(()))?;
    ensure!(status.success(), "the program ended with {status}");

    tell("The same program under gpuckpt; in the middle it is saved and killed");
    let mut launch = stage.gpuckpt();
    launch
        .args(["launch", "--name", "demo", "--device", "mock"])
        .arg(&stage.program);
    let save = |line: &str| {
        if line.starts_with(MIDDLE) {
            stage.show(stage.gpuckpt().args(["checkpoint", "--kill", "demo"]))?;
        }
        Ok(())
    };
    let (mut printed, status) = stage.watch(launch, save)?;
    ensure!(
        status.code() == Some(CHECKPOINTED),
        "the saved job ended with {status}, not with status {CHECKPOINTED}"
    );
    println!("  the process is gone; its exit status {CHECKPOINTED} says that it was checkpointed");

    tell("What is in the image");
    stage.show(stage.gpuckpt().args(["verify", "demo"]))?;
    stage.show_without("Mappings", stage.gpuckpt().args(["inspect", "demo"]))?;

    tell("The job goes on in a new process, with a new driver behind it");
    let mut restart = stage.gpuckpt();
    restart.args(["restart", "demo"]);
    let (rest, status) = stage.watch(restart, |_| Ok(()))?;
    ensure!(status.success(), "the restarted job ended with {status}");
    printed.extend(rest);

    tell("Did the program notice?");
    let (printed, expected) = (comparable(printed), comparable(expected));
    if printed != expected {
        bail!(
            "the output differs\n  alone:      {expected:#?}\n  across the restart: {printed:#?}"
        );
    }
    println!(
        "  no: {} lines, digests of device memory included, are equal",
        printed.len()
    );
    Ok(())
}

fn tell(what: &str) {
    println!("\n== {what}");
}

/// The programs and folders of one demonstration.
struct Stage {
    tree: PathBuf,
    program: PathBuf,
    images: PathBuf,
}

impl Stage {
    /// Compiles the program, and begins with no images.
    fn set(tree: PathBuf) -> Result<Self> {
        let folder = sh::target_dir().join("demo");
        let images = folder.join("images");
        if images.exists() {
            fs::remove_dir_all(&images)
                .with_context(|| format!("cannot remove {}", images.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let program = folder.join("logistic");
        let driver = tree.join("lib/gpuckpt/driver/libcuda.so.1");
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-O2", "-Wall", "-o"])
            .arg(&program)
            .arg(sh::root().join("xtask/demo/logistic.c"))
            .arg(&driver);
        sh::run(&mut cc)?;
        Ok(Self {
            tree,
            program,
            images,
        })
    }

    fn gpuckpt(&self) -> Command {
        let mut command = Command::new(self.tree.join("bin/gpuckpt"));
        command.env("GPUCKPT_DIR", &self.images);
        command
    }

    /// Runs a command, shows what it prints, and calls `each` after each line.
    fn watch(
        &self,
        mut command: Command,
        mut each: impl FnMut(&str) -> Result<()>,
    ) -> Result<(Vec<String>, ExitStatus)> {
        println!("  $ {}", self.shown(&command));
        // Both streams are pipes: a file that our own output is redirected to would belong to
        // the job, and a restart rolls such files back.
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let child = child.with_context(|| format!("cannot run `{}`", sh::show(&command)))?;
        let mut child = Running(child);
        let stdout = child
            .0
            .stdout
            .take()
            .context("the child's output is a pipe")?;
        let stderr = child
            .0
            .stderr
            .take()
            .context("the child's errors are a pipe")?;
        let errors = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("  ! {line}");
            }
        });
        let mut lines = Vec::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read the program's output")?;
            println!("  | {line}");
            each(&line)?;
            lines.push(line);
        }
        let status = child.0.wait().context("cannot wait for the program")?;
        if errors.join().is_err() {
            bail!("cannot show what the program said on standard error");
        }
        Ok((lines, status))
    }

    /// Runs a command of a few lines.
    fn show(&self, command: &mut Command) -> Result<()> {
        println!("  $ {}", self.shown(command));
        for line in sh::output(command)?.lines() {
            println!("    {line}");
        }
        Ok(())
    }

    /// The same, without the rows of one of its tables.
    fn show_without(&self, table: &str, command: &mut Command) -> Result<()> {
        println!("  $ {}", self.shown(command));
        let text = sh::output(command)?;
        for part in text.split("\n\n") {
            let shown = if part.starts_with(table) {
                1
            } else {
                usize::MAX
            };
            for line in part.lines().take(shown) {
                println!("    {line}");
            }
            println!();
        }
        Ok(())
    }

    /// A command without the folders of this machine.
    fn shown(&self, command: &Command) -> String {
        let folder = |path: &Path| format!("{}/", path.display());
        let shown = sh::show(command).replace(&folder(&self.tree.join("bin")), "");
        match self.program.parent() {
            Some(parent) => shown.replace(&folder(parent), "./"),
            None => shown,
        }
    }
}

/// The first line has an address: the mock gives another one in each native run.
fn comparable(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().skip(1).collect()
}

/// A child that does not outlive an error.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already unless an error came first; then nothing more can be done.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
