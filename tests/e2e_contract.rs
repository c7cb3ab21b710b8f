//! The command line's contract with real jobs: exit statuses, standard streams,
//! `--interval`, `status`, names that are taken, a distribution that was moved.

mod common;

use common::guests::{GUESTS, Guest, find};
use common::job::{Bench, CHECKPOINTED, FAILURE};
use common::process::{Process, code, wait_until};
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn bench() -> Bench {
    Bench::new(find("plain_pie"))
}

/// The same with a program that does not end by itself before a test does.
fn long_bench() -> Bench {
    let mut guest = find("plain_pie");
    guest.steps *= 1000;
    Bench::new(guest)
}

fn launch(bench: &Bench, command: &[&str]) -> common::job::Answer {
    let mut args = vec!["launch", "--name", "any", "--device", "none", "--"];
    args.extend(command);
    bench.ask(&args)
}

#[test]
fn launch_gives_the_programs_status() {
    let bench = bench();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 125", 125),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
    ] {
        let answer = launch(&bench, &["sh", "-c", script]);
        assert_eq!(answer.code, code, "{script}: {answer:#?}");
        assert_eq!(
            (answer.out.as_str(), answer.err.as_str()),
            ("", ""),
            "{script}"
        );
    }
    let missing = launch(&bench, &["no-such-program-anywhere"]);
    assert_eq!(
        (missing.code, missing.out.as_str()),
        (127, ""),
        "{missing:#?}"
    );
    let text = bench.path("text");
    std::fs::write(&text, "no program").expect("a file");
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let refused = launch(&bench, &[text.to_str().expect("a path")]);
    assert_eq!(refused.code, 126, "{refused:#?}");
    let wrong = bench.ask(&["launch", "--device", "tpu", "true"]);
    assert_eq!(wrong.code, FAILURE, "{wrong:#?}");
}

#[test]
fn output_and_environment_are_the_programs() {
    let bench = bench();
    let script = "echo out; echo err >&2; echo $0 $1 \"$SOME_VARIABLE\"; pwd";
    let mut command = bench.gpuckpt(&[
        "launch", "--name", "any", "--device", "none", "--", "sh", "-c", script, "zero", "one",
    ]);
    command.env("SOME_VARIABLE", "a  value");
    let answer = bench.answer(&mut command, "launch of a shell");
    let here = bench.path("").canonicalize().expect("a path");
    assert_eq!(
        answer.out,
        format!("out\nzero one a  value\n{}\n", here.display()),
        "{answer:#?}"
    );
    assert_eq!((answer.code, answer.err.as_str()), (0, "err\n"));
    let environment = launch(&bench, &["env"]);
    let native = bench.answer(&mut native_env(&bench), "env");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|l| !l.starts_with("_="))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(
        sorted(&environment.out),
        sorted(&native.out),
        "the environment changed"
    );
}

fn native_env(bench: &Bench) -> Command {
    let mut command = Command::new("env");
    command
        .current_dir(bench.path(""))
        .env("GPUCKPT_DIR", &bench.images);
    command
}

#[test]
fn signals_reach_the_program_and_end_it() {
    let mut bench = long_bench();
    bench.launch();
    assert!(bench.wait_ready() && bench.wait_for_progress(0));
    bench.signal(Signal::SIGTERM);
    assert_eq!(bench.finish().code, 143);
    // Also after a restart.
    bench.launch();
    assert!(bench.wait_ready() && bench.wait_for_progress(0));
    assert!(bench.checkpoint_kill());
    bench.restart();
    assert!(bench.wait_ready());
    bench.signal(Signal::SIGINT);
    assert_eq!(bench.finish().code, 130);
}

#[test]
fn a_name_that_runs_is_taken() {
    let mut bench = bench();
    bench.launch();
    assert!(bench.wait_ready());
    bench.checkpoint(&[]).expect_success("a checkpoint");
    let restart = bench.ask(&["restart", bench.name()]);
    assert_eq!(restart.code, FAILURE, "{restart:#?}");
    assert!(restart.err.contains("[job-running]"), "{restart:#?}");
    let launch = bench.ask(&["launch", "--name", bench.name(), "--device", "none", "true"]);
    assert_eq!(launch.code, FAILURE, "{launch:#?}");
    assert!(bench.runs(), "the running job was harmed");
    bench.kill();
    bench.restart();
    assert_eq!(bench.finish().code, 0);
}

#[test]
fn checkpoint_and_status_by_name_by_pid_and_alone() {
    let mut bench = long_bench();
    let nobody = bench.ask(&["checkpoint", bench.name()]);
    assert_eq!(nobody.code, FAILURE, "{nobody:#?}");
    assert!(nobody.err.contains("[no-job]"), "{nobody:#?}");
    bench.launch();
    assert!(bench.wait_ready());
    let pid = bench.pid().to_string();
    for selector in [&[bench.name()][..], &[&pid], &[]] {
        let args: Vec<&str> = ["checkpoint", "--json"]
            .iter()
            .chain(selector)
            .copied()
            .collect();
        let report = bench.ask(&args).expect_success("checkpoint").json();
        for number in [
            "stall_ms",
            "write_ms",
            "bytes_host",
            "bytes_device",
            "bytes_written",
        ] {
            assert!(report[number].is_number(), "{number}: {report:#}");
        }
        assert!(
            report["bytes_host"].as_u64() > Some(0) && report["bytes_device"] == 0,
            "{report:#}"
        );
        let args: Vec<&str> = ["status", "--json"]
            .iter()
            .chain(selector)
            .copied()
            .collect();
        let status = bench.ask(&args).expect_success("status").json();
        // Without a name all of the user's jobs are listed.
        let mine =
            |all: &[serde_json::Value]| all.iter().find(|s| s["pid"] == bench.pid()).cloned();
        let status = status
            .as_array()
            .map_or(Some(status.clone()), |all| mine(all));
        let status = status.expect("the job is listed");
        assert_eq!(
            status["pid"].as_i64(),
            Some(bench.pid().into()),
            "{status:#}"
        );
        assert_eq!(
            status["obstacles"].as_array().map(Vec::len),
            Some(0),
            "{status:#}"
        );
        assert_eq!(status["last_image"], report["image"]);
        assert_eq!(status["threads"], 2, "{status:#}");
    }
    assert!(
        bench
            .ask(&["status"])
            .expect_success("status")
            .out
            .contains(bench.name())
    );
    let pid = bench.pid();
    bench.kill();
    let left = bench.ask(&["status", "--json"]).expect_success("status");
    let left = left.json().as_array().expect("a list").clone();
    assert!(
        left.iter().all(|s| s["pid"] != pid),
        "a job that is gone is listed: {left:#?}"
    );
}

#[test]
fn an_interval_makes_images_by_itself() {
    let mut bench = bench();
    // Far longer than the interval, also on a busy machine.
    bench.lengthen(4);
    bench.options = ["--interval", "1", "--keep", "3"]
        .map(String::from)
        .to_vec();
    bench.arg("unused");
    let expected = bench.native();
    bench.launch();
    assert!(bench.wait_ready());
    let pid = bench.pid();
    let made = wait_until("an image by itself", Some(pid), || {
        let made = !bench.images_of_job().is_empty();
        (made || !bench.runs()).then_some(made)
    });
    assert!(made, "the guest ended without an image");
    bench.kill();
    bench.restart();
    assert_eq!(bench.finish(), expected);
}

/// The process is the application: its id, and what `ps` shows.
#[test]
fn the_process_is_the_application() {
    let mut bench = bench();
    bench.launch();
    assert!(bench.wait_ready() && bench.wait_for_progress(0));
    for what in ["launched", "restarted"] {
        let (pid, program) = (bench.pid(), find("plain_pie").command().remove(0));
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        // A restart registers its job a moment before it is the application again.
        wait_until(
            &format!("the {what} process to be the application"),
            Some(pid),
            || {
                let named = read("cmdline").starts_with(program.to_str().expect("a path"));
                (named && read("comm") == "plain_pie\n").then_some(())
            },
        );
        if what == "launched" {
            assert!(bench.checkpoint_kill());
            bench.restart();
            assert!(bench.wait_ready());
        }
    }
    bench.kill();
}

/// The whole tree under another path works, the old one out of sight.
#[test]
fn a_copied_distribution_works() {
    for guest in ["driver_ptx", "vector"] {
        let mut bench = Bench::new(find(guest));
        let copy = bench.path("elsewhere/tree");
        std::fs::create_dir_all(copy.parent().expect("a parent")).expect("a folder");
        let done = Command::new("cp")
            .arg("-a")
            .arg(&bench.dist)
            .arg(&copy)
            .status()
            .expect("cp");
        assert!(done.success());
        bench.dist = copy;
        let expected = bench.native();
        bench.launch();
        assert!(bench.wait_ready() && bench.wait_for_progress(0));
        assert!(bench.checkpoint_kill());
        bench.restart();
        assert_eq!(bench.finish(), expected, "{guest} by a copied distribution");
    }
}

/// `gpuckpt launch` inside a launched script, as a child and by exec.
#[test]
fn launch_inside_a_launched_script() {
    let guest = Guest {
        name: "nested",
        source: "host/nested.sh",
        build: common::guests::Build::Script,
        ..find("script")
    };
    let inner = find("plain_no_pie").command();
    let run = |bench: &mut Bench| {
        let gpuckpt = bench.dist.join("bin/gpuckpt");
        bench.arg(gpuckpt);
        bench.arg(bench.path("inner images"));
        bench.arg(&inner[0]);
        bench.arg("100");
        bench.launch();
        bench.finish()
    };
    let alone = {
        let mut bench = Bench::with_args(find("plain_no_pie"), &[OsStr::new("100")]);
        bench.native().out
    };
    let finished = run(&mut Bench::with_args(guest, &[]));
    assert_eq!(
        finished.out,
        format!("before\n{alone}after\n{alone}"),
        "{finished:#?}"
    );
    assert_eq!((finished.code, finished.err.as_str()), (0, ""));
}

#[test]
fn the_table_of_guests_is_sound() {
    for (i, guest) in GUESTS.iter().enumerate() {
        assert!(
            GUESTS[..i].iter().all(|g| g.name != guest.name),
            "{} is there twice",
            guest.name
        );
        assert!(
            common::root()
                .join("tests/guests")
                .join(guest.source)
                .exists(),
            "{} has no source",
            guest.name
        );
    }
    assert_eq!(CHECKPOINTED, 85);
}

/// What the descriptors of a thread lead to.
fn descriptors(task: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(task.join("fd")).expect("descriptors");
    let links = listed.flatten().map(|fd| std::fs::read_link(fd.path()));
    links.flatten().collect()
}

fn control_thread(pid: i32) -> Option<PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut tasks = tasks.flatten().map(|task| task.path());
    let name = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).unwrap_or_default();
    tasks.find(|task| name(task).trim_end() == "gpuckpt-control")
}

/// A short read of a program with one thread takes a quarter longer while somebody shares
/// its descriptors; and who has copies of them keeps the reader of a pipe waiting.
#[test]
fn nobody_shares_the_descriptors_of_a_program_without_a_device() {
    let mut bench = long_bench();
    bench.launch();
    for life in 0..3 {
        assert!(bench.wait_ready() && bench.wait_for_progress(0));
        let pid = bench.pid();
        let control = wait_until("a control thread", Some(pid), || control_thread(pid));
        for _ in 0..3 {
            bench.checkpoint(&[]).expect_success("a checkpoint");
            let status = bench.ask(&["status", bench.name()]);
            status.expect_success("status");
            // Its socket, itself, and three in the place of the standard streams; a client
            // may still be there.
            let own = wait_until("the control thread to be alone", Some(pid), || {
                let own = descriptors(&control);
                (own.len() == 5).then_some(own)
            });
            let mut shared = descriptors(format!("/proc/{pid}").as_ref());
            shared.retain(|link| own.contains(link));
            assert!(shared.is_empty(), "life {life}: {shared:?}");
        }
        assert!(bench.checkpoint_kill());
        bench.restart();
    }
    bench.kill();
}

/// A job that cannot answer as usual is told apart: one that is busy with a checkpoint, one
/// that is stopped, one that was killed; and what to do is said with it.
#[test]
fn status_tells_what_a_job_is_doing() {
    let mut bench = Bench::with_args(find("driver_endless"), &[OsStr::new("200")]);
    let held = bench.path("held");
    bench.arg(&held);
    std::fs::write(&held, "").expect("the file that it waits for");
    bench.launch();
    assert!(bench.wait_ready() && bench.wait_for_line("spinning"));
    let name = bench.name();
    // The device does not come to rest: the checkpoint takes until its deadline, or longer
    // than this test where nobody ends it.
    let mut saving = bench.gpuckpt(&["checkpoint", "--wait", "60", name]);
    let errors = std::fs::File::create(bench.path("saving")).expect("a file");
    let saving = Process::spawn(saving.stderr(errors), "a long checkpoint");
    wait_until("status to tell of the checkpoint", None, || {
        let status = bench.ask(&["status", "--json", name]);
        let status = status.expect_success("status beside a checkpoint").json();
        (status["doing"]["what"] == "checkpoint").then_some(())
    });
    let said = bench.ask(&["status", name]).out;
    assert!(said.contains("a checkpoint is being taken"), "{said}");
    let said = bench.ask(&["status"]).out;
    assert!(said.contains("busy: checkpoint"), "{said}");
    drop(saving);

    bench.signal(Signal::SIGSTOP);
    let pid = bench.pid();
    wait_until("the job to stop", Some(pid), || {
        let answer = bench.ask(&["status", name]);
        answer.err.contains("it is stopped").then_some(())
    });
    for command in [&["status", name][..], &["checkpoint", name]] {
        let answer = bench.ask(command);
        assert_eq!(answer.code, FAILURE, "{command:?}: {answer:#?}");
        let advice = format!("`kill -CONT {pid}`");
        assert!(answer.err.contains(&advice), "{command:?}: {answer:#?}");
    }

    bench.kill();
    let answer = bench.ask(&["status", name]);
    assert!(
        answer.err.contains("[no-job]")
            && answer.err.contains(&format!("process {pid}"))
            && answer.err.contains("there is no image of it"),
        "{answer:#?}"
    );
}

/// Of a job that has ended, what to continue it from is said.
#[test]
fn a_job_that_has_ended_can_be_continued() {
    let mut bench = bench();
    let folder = bench.images.display().to_string();
    // Jobs of others are seen by their sockets.
    let alone = |bench: &Bench| {
        let mut status = bench.gpuckpt(&["status"]);
        let answer = bench.answer(status.env("XDG_RUNTIME_DIR", bench.path("run")), "status");
        answer.expect_success("status").out
    };
    assert_eq!(
        alone(&bench),
        format!("no job is running: there is no folder {folder}\n")
    );
    bench.launch();
    assert!(bench.wait_ready());
    assert!(bench.checkpoint_kill(), "the guest ended too soon");
    let (name, image) = (bench.name(), bench.images_of_job().pop().expect("an image"));
    for command in [&["status", name][..], &["checkpoint", name]] {
        let answer = bench.ask(command);
        assert_eq!(answer.code, FAILURE, "{command:?}: {answer:#?}");
        for part in [
            "[no-job]",
            "has ended",
            &format!("`gpuckpt restart {name}` continues it"),
            &image.display().to_string(),
        ] {
            assert!(
                answer.err.contains(part),
                "{part}: {command:?}: {answer:#?}"
            );
        }
    }
    let said = alone(&bench);
    assert!(
        said.contains(&format!("`gpuckpt restart {name}` continues")),
        "{said}"
    );
}

/// A job that is being brought back says so, and a checkpoint that is asked for meanwhile
/// is taken once it runs.
#[test]
fn status_tells_of_a_restart() {
    let mut bench = Bench::new(find("driver_ptx"));
    let expected = bench.native();
    bench.launch();
    assert!(bench.wait_ready() && bench.wait_for_progress(0));
    assert!(bench.checkpoint_kill(), "a job that has just begun");
    // Each copy into device memory takes its time.
    bench
        .env
        .push(("GPUCKPT_MOCK".into(), "slow-copies=400000".into()));
    bench.restart();
    let name = bench.name();
    wait_until("status to tell of the restart", None, || {
        let status = bench.ask(&["status", "--json", name]);
        let doing = (status.code == 0).then(|| status.json()["doing"]["what"].clone());
        (doing? == "restart").then_some(())
    });
    assert!(bench.checkpoint_kill(), "asked for during the restart");
    bench.env.pop();
    bench.restart();
    assert_eq!(bench.finish(), expected, "against native");
}

/// A checkpoint that is asked for beside another one is taken after it.
#[test]
fn checkpoints_wait_for_each_other() {
    let mut bench = Bench::new(find("driver_ptx"));
    // Four of them fit into its run also on a busy machine.
    bench.lengthen(4);
    let expected = bench.native();
    bench.launch();
    assert!(bench.wait_ready() && bench.wait_for_progress(0));
    let name = bench.name();
    let mut saving: Vec<_> = (0..4)
        .map(|number| {
            let errors = bench.path(&format!("saving-{number}"));
            let mut command = bench.gpuckpt(&["checkpoint", name]);
            command.stdout(Stdio::null());
            command.stderr(std::fs::File::create(&errors).expect("a file"));
            (Process::spawn(&mut command, "a checkpoint"), errors)
        })
        .collect();
    for (one, errors) in &mut saving {
        let status = one.wait();
        let said = std::fs::read_to_string(errors).expect("what it said");
        assert!(status.success(), "a checkpoint among others: {said}");
    }
    assert_eq!(bench.images_of_job().len(), 4);
    assert_eq!(bench.finish(), expected, "against native");
}

/// Of restarts of one job that begin together one continues it; the others leave it alone.
#[test]
fn restarts_that_begin_together() {
    const RESTARTS: usize = 6;
    let mut bench = Bench::with_args(find("plain_pie"), &[OsStr::new("100000000")]);
    bench.launch();
    assert!(bench.wait_ready() && bench.wait_for_progress(0));
    assert!(bench.checkpoint_kill(), "a job without end");
    let name = bench.name();
    let said = |number: usize| bench.path(&format!("restart-{number}"));
    let mut restarts: Vec<_> = (0..RESTARTS)
        .map(|number| {
            let mut command = bench.gpuckpt(&["restart", name]);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(std::fs::File::create(said(number)).expect("a file"));
            Process::spawn(&mut command, "a restart")
        })
        .collect();
    let ended = wait_until("all restarts but one to end", None, || {
        let ended = restarts.iter_mut().map(Process::try_wait);
        let ended: Vec<_> = ended.collect();
        (ended.iter().flatten().count() >= RESTARTS - 1).then_some(ended)
    });
    for (number, status) in ended.into_iter().enumerate() {
        let said = std::fs::read_to_string(said(number)).expect("what it said");
        match status {
            Some(status) => {
                assert_eq!(code(status), FAILURE, "{said}");
                assert!(said.contains("runs under this name"), "{said}");
            }
            None => assert_eq!(said, "", "the one that continues the job"),
        }
    }
    let status = bench.ask(&["status", "--json", name]);
    let status = status.expect_success("the job runs").json();
    let alive = restarts
        .iter_mut()
        .filter_map(|one| one.try_wait().is_none().then_some(one.pid()));
    assert_eq!(
        alive.collect::<Vec<_>>(),
        [status["pid"].as_i64().expect("a pid") as i32]
    );
}
