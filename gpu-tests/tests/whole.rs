//! The whole kit against the mock device, from a carried copy: every step's state.

mod common;

use common::{Run, copy, kit};
use gpu_kit::protocol::State;

/// Steps that have no meaning on the mock device, or that it refuses, and words of
/// the reason. All others are supported.
const OTHERS: [(&str, State, &str); 17] = [
    ("static-vector", State::Refused, "NVIDIA's static runtime"),
    ("static-streams", State::Refused, "NVIDIA's static runtime"),
    ("static-symbols", State::Refused, "NVIDIA's static runtime"),
    ("static-reduce", State::Refused, "NVIDIA's static runtime"),
    ("checkpoint-16gib", State::NotRun, "no meaning"),
    ("checkpoint-64gib", State::NotRun, "no meaning"),
    ("peer-1gib", State::NotRun, "cuCheckpointProcessLock"),
    ("peer-16gib", State::NotRun, "cuCheckpointProcessLock"),
    ("peer-64gib", State::NotRun, "cuCheckpointProcessLock"),
    ("peer-launched", State::NotRun, "cuCheckpointProcessLock"),
    // Not installed; or built of machine code, which the mock device cannot run.
    ("pytorch", State::NotRun, ""),
    ("cublas", State::NotRun, ""),
    ("cufft", State::NotRun, ""),
    ("numba", State::NotRun, ""),
    ("triton", State::NotRun, ""),
    ("cupy", State::NotRun, ""),
    ("jax", State::NotRun, ""),
];

#[test]
fn every_step_has_its_state() {
    // Carried to a place with a blank in its name, and run from elsewhere.
    let folder = tempfile::TempDir::new().unwrap();
    let carried = folder.path().join("carried here");
    copy(&kit(), &carried);
    let done = Run::of(&carried.join("run"), "mock").finish();
    let evidence = done.evidence();
    assert!(
        evidence.complete && evidence.steps.len() > 40,
        "{}",
        done.said()
    );
    for (name, ..) in OTHERS {
        done.step(name);
    }
    for step in &evidence.steps {
        let expected = OTHERS.iter().find(|(name, ..)| *name == step.name);
        let (_, state, words) = expected.unwrap_or(&("", State::Supported, ""));
        done.assert(&step.name, *state, words);
        assert!(step.figures.get("left_behind").is_none(), "{step:#?}");
    }
    assert_eq!(done.code(), 0, "{}", done.said());
    assert!(evidence.kit.commit.len() >= 12, "{:?}", evidence.kit);
    assert_eq!(evidence.machine.gpu, "gpuckpt mock device");
    assert!(
        done.page.contains("this says nothing about a real driver"),
        "{}",
        done.page
    );

    // Once more against the first: a few steps.
    let path = done.path();
    let again = Run::of(&carried.join("run"), "mock")
        .args(&["--only", "q2", "--against", path.to_str().unwrap()])
        .finish();
    assert_eq!(again.code(), 0, "{}", again.said());
    assert!(again.page.contains("No state changed"), "{}", again.page);
}
