//! What cannot be saved is refused by name before anything is stopped, and what
//! cannot be brought to rest fails at its deadline: the job is unharmed both times,
//! can be saved later, and ends as if nothing had been asked.

mod common;

use common::guests::find;
use common::job::{Bench, FAILURE};
use common::scenario::LINKS;
use std::ffi::OsStr;
use std::fs;
use std::time::Duration;

/// A program that holds `object`: refused while it does, saved and restarted
/// afterwards. The answer must contain one of `names`.
fn refused(object: &str, names: &[&str]) {
    let mut bench = Bench::with_args(find("refused"), &[OsStr::new("300"), OsStr::new(object)]);
    let held = bench.path("held");
    bench.arg(&held);
    let expected = bench.native();
    assert_eq!(expected.code, 0, "{expected:#?}");

    fs::write(&held, "").expect("the file that it waits for");
    bench.launch();
    assert!(
        bench.wait_ready() && bench.wait_for_line("holding"),
        "the guest never held its {object}"
    );
    for kill in [&[][..], &["--kill"]] {
        let answer = bench.checkpoint(kill);
        assert_eq!(
            answer.code, FAILURE,
            "a checkpoint with a {object}: {answer:#?}"
        );
        let said = answer.err.to_lowercase();
        assert!(
            names.iter().any(|name| said.contains(name)),
            "{object} is not named: {answer:#?}"
        );
        assert!(
            said.contains("[refused]"),
            "refused, not failed: {answer:#?}"
        );
        assert!(bench.runs(), "the job ended");
    }
    let status = bench
        .ask(&["status", "--json", bench.name()])
        .expect_success("status")
        .json();
    let obstacles = status["obstacles"].as_array().expect("a list").len();
    assert!(
        obstacles > 0,
        "status says nothing of the {object}: {status:#}"
    );
    assert!(
        bench.images_of_job().is_empty(),
        "a refused checkpoint left an image"
    );

    fs::remove_file(&held).expect("the file that it waits for");
    assert!(bench.wait_for_line("let go"), "the guest did not go on");
    assert!(
        bench.checkpoint_kill(),
        "without the {object} it can be saved"
    );
    bench.restart();
    assert_eq!(
        bench.finish(),
        expected,
        "with the {object}, against native"
    );
}

#[test]
fn socket() {
    refused("socket", &["socket"]);
}

#[test]
fn socket_with_a_name() {
    refused("listener", &["sockets with a name"]);
}

#[test]
fn posix_timer() {
    refused("timer", &["timer"]);
}

#[test]
fn inotify() {
    refused("inotify", &["inotify"]);
}

#[test]
fn memfd() {
    refused("memfd", &["memfd"]);
}

#[test]
fn deleted_file() {
    refused("deleted", &["deleted", "unlinked", "removed"]);
}

#[test]
fn file_lock() {
    refused("flock", &["lock"]);
}

#[test]
fn child_process() {
    refused("child", &["process", "child"]);
}

/// A program that leaves itself no descriptors leaves none for an image either.
#[test]
fn too_few_open_files() {
    refused("limit", &["raise `ulimit -n`"]);
}

/// A kernel that does not end: the device cannot be drained.
#[test]
fn a_device_that_does_not_come_to_rest() {
    let mut bench = Bench::with_args(find("driver_endless"), &[OsStr::new("200")]);
    let held = bench.path("held");
    bench.arg(&held);
    fs::write(&held, "").expect("the file that it waits for");
    bench.start_native();
    assert!(bench.wait_for_line("spinning"));
    fs::remove_file(&held).expect("the file that it waits for");
    let expected = bench.finish();
    assert_eq!(expected.code, 0, "{expected:#?}");

    fs::write(&held, "").expect("the file that it waits for");
    bench.launch();
    assert!(bench.wait_ready() && bench.wait_for_line("spinning"));
    for kill in [&["--wait", "2"][..], &["--wait", "2", "--kill"]] {
        let answer = bench.checkpoint(kill);
        assert_eq!(
            answer.code, FAILURE,
            "a checkpoint beside an endless kernel: {answer:#?}"
        );
        assert!(answer.err.contains("[checkpoint-failed]"), "{answer:#?}");
        assert!(bench.runs(), "the job ended");
    }
    assert!(
        bench.images_of_job().is_empty(),
        "a failed checkpoint left an image"
    );
    fs::remove_file(&held).expect("the file that it waits for");
    assert!(bench.wait_for_line("released"), "the guest did not go on");
    assert!(
        bench.checkpoint_kill(),
        "when the kernel has ended it can be saved"
    );
    bench.restart();
    assert_eq!(
        bench.finish(),
        expected,
        "with an endless kernel, against native"
    );
}

/// Without any time the threads cannot be brought to a standstill, or just can:
/// the job goes on either way.
#[test]
fn a_deadline_that_is_over_at_once() {
    let mut bench = Bench::new(find("threads_malloc"));
    let expected = bench.native();
    bench.launch();
    assert!(bench.wait_ready());
    for _ in 0..LINKS {
        let answer = bench.checkpoint(&["--wait", "0"]);
        let kind = if answer.code == 0 {
            "["
        } else {
            "[checkpoint-failed]"
        };
        assert!(
            answer.code == 0 || answer.err.contains(kind) || !bench.runs(),
            "{answer:#?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(
        bench.finish(),
        expected,
        "with hurried checkpoints, against native"
    );
}
