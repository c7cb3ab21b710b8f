//! The probes on a mock device that misbehaves: what is not as gpuckpt needs it is
//! seen and named.

mod common;

use common::{Run, kit};
use gpu_kit::protocol::State;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn addresses_that_move_are_seen() {
    let done = Run::new()
        .env("GPUCKPT_MOCK", "move-globals")
        .args(&["--only", "addresses"])
        .finish();
    assert_eq!(done.code(), 1, "{}", done.said());
    done.assert(
        "addresses",
        State::Wrong,
        "against the first: line 1: expected `first counter",
    );
}

#[test]
fn addresses_that_are_not_honoured_are_seen() {
    let done = Run::new()
        .env("GPUCKPT_MOCK", "refuse-address")
        .args(&["--only", "reserv*"])
        .finish();
    assert_eq!(done.code(), 1, "{}", done.said());
    for step in ["reservations", "reservations-fresh"] {
        done.assert(step, State::Wrong, "asked for 0x100000000000, given 0x");
        assert_eq!(done.step(step).figures["honoured"], 0);
    }
}

#[test]
fn a_guest_that_fails_natively_is_no_fault_of_gpuckpt() {
    let done = Run::new()
        .env("GPUCKPT_MOCK", "fail-launch=5")
        .args(&["--only", "guest-vector"])
        .finish();
    assert_eq!(done.code(), 1, "{}", done.said());
    let step = done.assert("guest-vector", State::Failed, "natively: status 1");
    assert!(!step.figures.contains_key("launched_s"), "{step:#?}");
}

#[test]
fn an_output_that_differs_is_wrong() {
    // A kit whose guest prints something else at each run.
    let folder = tempfile::TempDir::new().unwrap();
    let real = kit();
    symlink(real.join("dist"), folder.path().join("dist")).unwrap();
    fs::create_dir(folder.path().join("guests")).unwrap();
    let guest = folder.path().join("guests/vector");
    fs::write(
        &guest,
        "#!/bin/sh\necho step 1\necho digest $(cat /proc/sys/kernel/random/uuid)\n",
    )
    .unwrap();
    fs::set_permissions(&guest, fs::Permissions::from_mode(0o755)).unwrap();
    let done = Run::new()
        .env("KIT", folder.path())
        .args(&["--only", "guest-vector"])
        .finish();
    assert_eq!(done.code(), 1, "{}", done.said());
    done.assert(
        "guest-vector",
        State::Wrong,
        "launched, against native: line 2: expected `digest ",
    );
    assert!(
        done.page.contains("line 2: expected `digest "),
        "{}",
        done.page
    );
}
