//! Steps that are made to hang, crash, answer wrong, leave daemons behind or run out
//! of time: each costs only itself, and the evidence says what happened.

mod common;

use common::Run;
use gpu_kit::evidence::Evidence;
use gpu_kit::protocol::State;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

fn shell(name: &str, script: &str) -> Value {
    // A limit that a loaded machine does not reach by itself.
    json!({"name": name, "worth": 1000, "limit_s": 60, "command": ["/bin/sh", "-c", script]})
}

const SUPPORTED: &str = r#"echo '{"state":"supported","figures":{"done":1}}'"#;

/// Waits until `condition` gives something; panics after a minute.
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes with this word in their command line.
fn alive(word: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0)
            .any(|arg| arg == word.as_bytes())
    };
    pids.filter(has).collect()
}

/// A number of seconds to sleep that no other process sleeps: its mark.
fn mark(number: u32) -> String {
    format!("{}.{number:03}", 100_000 + std::process::id())
}

#[test]
fn a_bad_step_costs_only_itself() {
    let steps = json!([
        shell(
            "x-hang",
            r#"trap "" TERM INT; echo '{"figures":{"before":7}}'; sleep 1000"#
        ),
        shell(
            "x-crash",
            r#"echo '{"figures":{"before":8}}'; kill -SEGV $$"#
        ),
        shell("x-status", "echo one >&2; echo two words >&2; exit 3"),
        shell("x-silent", "echo not a line of the protocol"),
        shell(
            "x-wrong",
            r#"echo '{"state":"wrong","reason":"line 4: expected a, found b"}'"#
        ),
        shell(
            "x-refused",
            r#"echo '{"state":"refused","reason":"cannot save it"}'"#
        ),
        shell("x-liar", r#"echo '{"state":"supported"}'; exit 1"#),
        json!({"name": "x-missing", "worth": 1000, "command": ["/nowhere/at/all"]}),
        shell("x-last", SUPPORTED),
    ]);
    let mut steps = steps;
    steps[0]["limit_s"] = json!(1);
    let done = Run::new().steps(&steps).finish();
    assert_eq!(done.code(), 1, "{}", done.said());
    let hang = done.assert("x-hang", State::Failed, "no end after its limit of 1 s");
    assert_eq!(
        hang.figures["before"], 7,
        "what was said before the end is kept"
    );
    let crash = done.assert("x-crash", State::Failed, "SIGSEGV");
    assert_eq!(crash.figures["before"], 8);
    let status = done.assert("x-status", State::Failed, "status 3: two words");
    assert_eq!(status.stderr, "one\ntwo words");
    done.assert("x-silent", State::Failed, "without an answer");
    done.assert("x-wrong", State::Wrong, "line 4: expected a, found b");
    done.assert("x-refused", State::Refused, "cannot save it");
    done.assert(
        "x-liar",
        State::Failed,
        "said supported, but ended with status 1",
    );
    done.assert("x-missing", State::Failed, "/nowhere/at/all");
    done.assert("x-last", State::Supported, "");
    assert!(done.evidence().complete);
    for words in ["two words", "line 4: expected a, found b", "| x-hang |"] {
        assert!(
            done.page.contains(words),
            "`{words}` is not in {}",
            done.page
        );
    }
}

#[test]
fn what_a_step_leaves_behind_is_ended() {
    let mark = mark(1);
    // One daemon of its own session, and one whose parents are gone.
    let script =
        format!("setsid sleep {mark} & setsid sh -c 'sleep {mark} & exit' & wait $!; {SUPPORTED}");
    let hanging = format!("setsid sleep {mark} & sleep 1000");
    let mut steps = json!([
        shell("x-daemon", &script),
        shell("x-hang", &hanging),
        shell("x-last", SUPPORTED)
    ]);
    steps[1]["limit_s"] = json!(1);
    let done = Run::new().steps(&steps).finish();
    let daemon = done.assert("x-daemon", State::Supported, "");
    // Under which names they are found depends on how far they have come.
    let names = daemon.figures["left_behind"].as_str().unwrap();
    assert_eq!(names.split(", ").count(), 2, "{names}");
    done.assert("x-hang", State::Failed, "no end after");
    done.assert("x-last", State::Supported, "");
    assert_eq!(alive(&mark), [0; 0], "daemons were left");
}

#[test]
fn jobs_have_a_place_for_their_sockets_where_the_machine_has_none() {
    let done = Run::new()
        .env("XDG_RUNTIME_DIR", "/dev/null/no-folder")
        .args(&["--only", "chain-vector"])
        .finish();
    done.assert("chain-vector", State::Supported, "");
}

#[test]
fn processes_that_were_there_before_are_left_alone() {
    let mark = mark(4);
    let script = format!(
        "sleep {mark} >/dev/null 2>&1 & exec {} --device mock --only machine --out \"$0\"",
        env!("CARGO_BIN_EXE_run")
    );
    let out = tempfile::TempDir::new().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .arg(out.path())
        .env("KIT", common::kit());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let left = alive(&mark);
    for pid in &left {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    assert_eq!(left.len(), 1);
}

#[test]
fn a_step_that_does_not_fit_is_not_begun_and_one_that_outlasts_the_minutes_is_ended() {
    let mut steps = json!([
        shell("x-first", SUPPORTED),
        shell("x-long", SUPPORTED),
        shell(
            "x-outlasts",
            r#"echo '{"figures":{"before":1}}'; sleep 1000"#
        ),
        shell("x-late", SUPPORTED),
    ]);
    steps[1]["takes_s"] = json!(3600);
    steps[1]["limit_s"] = json!(4000);
    steps[2]["limit_s"] = json!(4000);
    steps[3]["takes_s"] = json!(1);
    let done = Run::new()
        .steps(&steps)
        .args(&["--minutes", "0.05"])
        .finish();
    assert_eq!(done.code(), 0, "nothing went wrong: {}", done.said());
    done.assert("x-first", State::Supported, "");
    done.assert("x-long", State::NotRun, "it takes about 3600 s");
    let ended = done.assert(
        "x-outlasts",
        State::NotRun,
        "the minutes ended while it ran",
    );
    assert_eq!(ended.figures["before"], 1);
    done.assert("x-late", State::NotRun, "0 s of the minutes were left");
}

#[test]
fn the_most_valuable_steps_come_first() {
    let mut steps = json!([shell("x-second", SUPPORTED), shell("x-first", SUPPORTED)]);
    steps[1]["worth"] = json!(999);
    let done = Run::new().steps(&steps).finish();
    let names: Vec<&str> = done
        .evidence()
        .steps
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(names, ["driver", "x-first", "x-second"]);
}

#[test]
fn an_interrupted_run_ends_its_step_and_says_so() {
    let mark = mark(2);
    let steps = json!([
        shell("x-first", SUPPORTED),
        shell("x-running", &format!("sleep {mark}")),
        shell("x-never", SUPPORTED),
    ]);
    let mut run = Run::new().steps(&steps);
    let mut child = run.command().spawn().unwrap();
    wait_for("the second step", || {
        (!alive(&mark).is_empty()).then_some(())
    });
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    assert_eq!(alive(&mark), [0; 0]);
    let evidence = run.evidence().unwrap();
    let state = |name: &str| evidence.step(name).unwrap().state;
    assert_eq!(state("x-first"), State::Supported);
    assert_eq!(
        (state("x-running"), state("x-never")),
        (State::NotRun, State::NotRun)
    );
    assert!(evidence.complete);
}

#[test]
fn a_run_that_dies_leaves_the_evidence_so_far_and_no_process() {
    let mark = mark(3);
    let steps = json!([
        shell("x-first", SUPPORTED),
        shell("x-running", &format!("exec sleep {mark}"))
    ]);
    let mut run = Run::new().steps(&steps);
    let mut child = run.command().spawn().unwrap();
    wait_for("the second step", || {
        (!alive(&mark).is_empty()).then_some(())
    });
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    let evidence = run.evidence().unwrap();
    assert!(!evidence.complete);
    let names: Vec<&str> = evidence.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["driver", "x-first"]);
    wait_for("the end of the step", || {
        alive(&mark).is_empty().then_some(())
    });
}

#[test]
fn without_a_device_nothing_passes() {
    // On a machine that has one, it is hidden.
    let done = Run::of(std::path::Path::new(env!("CARGO_BIN_EXE_run")), "cuda")
        .env("KIT", common::kit())
        .env("CUDA_VISIBLE_DEVICES", "")
        .finish();
    assert_eq!(done.code(), 77, "{}", done.said());
    assert!(done.evidence().steps.len() > 30);
    for step in &done.evidence().steps {
        assert_eq!(step.state, State::NotRun, "{step:#?}");
        assert!(step.reason.starts_with("no "), "{step:#?}");
    }
}

#[test]
fn a_wrong_command_line_is_told_before_anything_runs() {
    let run = |args: &[&str]| {
        let run = Run::new().args(args);
        let out = run.out();
        (run.finish().code(), out.exists())
    };
    assert_eq!(run(&["--only", "no-such-step"]), (2, false));
    assert_eq!(run(&["--against", "/nowhere/evidence.json"]), (2, false));
    assert_eq!(run(&["--frobnicate"]), (2, false));
    let elsewhere =
        Run::of(std::path::Path::new(env!("CARGO_BIN_EXE_run")), "mock").env("KIT", "/usr");
    let done = elsewhere.finish();
    assert_eq!(done.code(), 2);
    assert!(
        done.said().contains("is not the folder of the kit"),
        "{}",
        done.said()
    );
}

#[test]
fn descriptors_of_whoever_starts_the_kit_do_not_reach_jobs() {
    // A pipe to somebody outside would make every checkpoint refused.
    let kit = common::kit();
    let out = tempfile::TempDir::new().unwrap();
    let script = format!(
        "exec 9> >(cat >/dev/null); KIT={} {} --device mock --only chain-vector --out {}; exit $?",
        kit.display(),
        env!("CARGO_BIN_EXE_run"),
        out.path().display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let evidence = Evidence::read(&out.path().join("evidence.json"));
    let evidence = evidence.unwrap_or_else(|error| panic!("{error:#}: {said}"));
    let chain = evidence.step("chain-vector").unwrap();
    assert_eq!(chain.state, State::Supported, "{chain:#?}");
}
