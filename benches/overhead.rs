//! What a program pays for running under `gpuckpt launch`: each row is measured in
//! pairs, natively and launched in turn, and gives the medians and their ratio.
//! Figures are printed, never asserted.
//!
//!     cargo xtask dist && cargo bench --bench overhead [-- ROW…] [--pairs N]

#[path = "../tests/common/mod.rs"]
mod common;

use common::process::{keep_inherited, wait_until};
use common::{dist, root, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A row of the table: its name, the program, the argument, the device, the unit.
struct Row {
    key: &'static str,
    title: &'static str,
    program: &'static str,
    device: &'static str,
    goal: &'static str,
    /// True for programs that may not change FS by instructions.
    by_calls: bool,
}

const fn row(key: &'static str, title: &'static str, goal: &'static str) -> Row {
    Row {
        key,
        title,
        program: "micro",
        device: "none",
        goal,
        by_calls: false,
    }
}

const ROWS: [Row; 7] = [
    row("malloc", "malloc-heavy loop", "≤ 1.05"),
    row("read", "read 1 byte, 10^6 times", "≤ 1.15"),
    row("read-threaded", "the same, of two threads", "≤ 1.15"),
    row("clock", "clock_gettime", "≤ 1.15"),
    row("open", "open + close", "≤ 1.15"),
    row("fork", "fork + wait", "≤ 3"),
    row("thread", "pthread create + join", "≤ 1.5"),
];

/// What no program under any filter can go below.
const FILTERED: Row = row("read-filtered", "", "");

const PASSED: Row = Row {
    program: "device",
    device: "mock",
    ..row("passed", "driver call that is passed down", "")
};

const CALLS: [Row; 4] = [
    Row {
        program: "device",
        device: "mock",
        ..row(
            "gate",
            "the gate alone (native: two changes of FS)",
            "≤ 15 ns",
        )
    },
    Row {
        program: "device",
        device: "mock",
        by_calls: true,
        ..row("gate-by-calls", "the same by system calls", "")
    },
    PASSED,
    Row {
        program: "device",
        device: "mock",
        ..row("recorded", "recorded driver call", "+ ≤ 150 ns")
    },
];

struct Bench {
    dist: PathBuf,
    folder: tempfile::TempDir,
    pairs: usize,
    wanted: Vec<String>,
}

fn main() {
    keep_inherited();
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let (mut pairs, mut wanted) = (9, Vec::new());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--pairs" => pairs = args.next().and_then(|n| n.parse().ok()).expect("--pairs N"),
            _ => wanted.push(arg),
        }
    }
    let base = target().join("benches");
    fs::create_dir_all(&base).expect("a folder for the programs");
    let folder = tempfile::tempdir_in(&base).expect("a folder for jobs");
    let bench = Bench {
        dist: dist(),
        folder,
        pairs,
        wanted,
    };
    for program in ["micro", "device"] {
        build(&base, program);
    }
    println!("| | native | launched | ratio | goal |\n|---|---|---|---|---|");
    for row in ROWS.iter().filter(|row| bench.wants(row.key)) {
        let [native, launched] = bench.paired(|launched| bench.number(row, launched));
        println!(
            "| {} | {native:.1} ns | {launched:.1} ns | {:.2} | {} |",
            row.title,
            launched / native,
            row.goal
        );
    }
    if bench.wants(FILTERED.key) {
        let [without, filtered] = bench.paired(|filtered| {
            let row = if filtered { &FILTERED } else { &ROWS[1] };
            bench.number(row, false)
        });
        println!(
            "| the same, natively under a filter that allows all | {without:.1} ns | {filtered:.1} ns | {:.2} | |",
            filtered / without
        );
    }
    if bench.wants("trivial") {
        let [native, launched] = bench.paired(|launched| bench.trivial(launched));
        let (title, ratio) = ("launching a trivial program", launched / native);
        println!("| {title} | {native:.2} ms | {launched:.2} ms | {ratio:.2} | ≤ 10 ms |");
    }
    for row in CALLS.iter().filter(|row| bench.wants(row.key)) {
        let [native, launched] = bench.paired(|launched| bench.number(row, launched));
        let more = launched - native;
        println!(
            "| {} | {native:.1} ns | {launched:.1} ns | + {more:.1} ns | {} |",
            row.title, row.goal
        );
    }
    if bench.wants("pruning") {
        let [none, million] =
            bench.paired(|many| bench.restart_after(if many { 1_000_000 } else { 0 }));
        println!(
            "\n| restart to first progress | after none | after 10^6 malloc/free pairs | ratio | goal |"
        );
        println!(
            "|---|---|---|---|---|\n| | {none:.1} ms | {million:.1} ms | {:.2} | 1 |",
            million / none
        );
    }
}

fn build(base: &Path, program: &str) {
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O2", "-pthread", "-o"])
        .arg(base.join(program));
    cc.arg(root().join(format!("benches/programs/{program}.c")));
    assert!(cc.status().expect("cc").success(), "{cc:?}");
}

impl Bench {
    fn wants(&self, key: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|w| w == key)
    }

    fn program(&self, name: &str) -> PathBuf {
        target().join("benches").join(name)
    }

    /// Medians of `measure(false)` and `measure(true)`, taken in turn.
    fn paired(&self, measure: impl Fn(bool) -> f64) -> [f64; 2] {
        let mut samples = [Vec::new(), Vec::new()];
        for _ in 0..self.pairs {
            samples[0].push(measure(false));
            samples[1].push(measure(true));
        }
        samples.map(|mut all| {
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        })
    }

    fn command(&self, row: &Row, launched: bool) -> Command {
        let program = self.program(row.program);
        if !launched {
            let mut command = Command::new(program);
            command.env("LD_LIBRARY_PATH", self.dist.join("libexec/gpuckpt/mock"));
            return command;
        }
        let mut command = self.gpuckpt();
        if row.by_calls {
            command.env(upper_half::FSGSBASE_VARIABLE, "off");
        }
        command
            .args([
                "launch",
                "--name",
                row.program,
                "--device",
                row.device,
                "--",
            ])
            .arg(program);
        command
    }

    fn gpuckpt(&self) -> Command {
        let mut command = Command::new(self.dist.join("bin/gpuckpt"));
        command.env("GPUCKPT_DIR", self.folder.path());
        command
    }

    fn number(&self, row: &Row, launched: bool) -> f64 {
        let mut command = self.command(row, launched);
        let output = command
            .arg(row.key)
            .stderr(Stdio::inherit())
            .output()
            .expect("a program");
        assert!(output.status.success(), "{command:?}: {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim()
            .parse()
            .unwrap_or_else(|_| panic!("{command:?} printed {text}"))
    }

    fn trivial(&self, launched: bool) -> f64 {
        let mut command = self.command(&row("trivial", "", ""), launched);
        let begin = Instant::now();
        let status = command.arg("trivial").status().expect("a program");
        assert!(status.success(), "{command:?}: {status}");
        milliseconds(begin.elapsed())
    }

    /// Milliseconds from the restart command to the first progress of a program that
    /// had made `pairs` allocations and freed them.
    fn restart_after(&self, pairs: u64) -> f64 {
        let beat = self.folder.path().join("beat");
        let _ = fs::remove_file(&beat);
        let row = &PASSED;
        let mut launch = self.command(row, true);
        let mut job = Job(launch
            .arg("pairs")
            .arg(pairs.to_string())
            .arg(&beat)
            .spawn()
            .expect("launch"));
        wait_until("the pairs to be done", None, || beat.exists().then_some(()));
        let saved = self
            .gpuckpt()
            .args(["checkpoint", "--kill", row.program])
            .output()
            .expect("checkpoint");
        assert!(saved.status.success(), "{saved:?}");
        job.0.wait().expect("the job's end");
        fs::remove_file(&beat).expect("the beat");
        let begin = Instant::now();
        let _job = Job(self
            .gpuckpt()
            .args(["restart", row.program])
            .spawn()
            .expect("restart"));
        wait_until("progress", None, || beat.exists().then_some(()));
        milliseconds(begin.elapsed())
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A job that ends with its measurement.
struct Job(Child);

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
