//! Who may depend on whom in this workspace. The rule keeps the log and the host
//! side usable, and testable, without a device, and the device side without a host.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Each package with the packages of ours that it may use.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("cuda-abi", &[]),
    ("replay-log", &[]),
    ("transparent-core", &[]),
    ("upper-half", &[]),
    ("interposer", &["cuda-abi", "replay-log"]),
    ("libcuda-upper", &["cuda-abi"]),
    ("libcudart-upper", &["cuda-abi"]),
    ("mock-device", &["cuda-abi"]),
    (
        "lower-half",
        &[
            "cuda-abi",
            "interposer",
            "replay-log",
            "transparent-core",
            "upper-half",
        ],
    ),
    ("gpuckpt", &["lower-half", "transparent-core", "upper-half"]),
    ("gpu-kit", &["cuda-abi"]),
    ("xtask", &[]),
];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Dependencies of each package of ours among our own, without those of its tests.
fn edges(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |package: &Value| package["name"].as_str().expect("a name").to_string();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let uses = |package: &Value| {
        let all = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter();
        let shipped = all.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        shipped
            .map(name)
            .filter(|dependency| ours.contains(dependency))
            .collect()
    };
    packages
        .iter()
        .map(|package| (name(package), uses(package)))
        .collect()
}

#[test]
fn every_package_uses_only_what_it_may() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into();
    for (package, uses) in edges(&metadata()) {
        let Some(may) = allowed.get(package.as_str()) else {
            panic!("{package} is new: say here what it may depend on");
        };
        for used in &uses {
            assert!(
                may.contains(&used.as_str()),
                "{package} must not depend on {used}"
            );
        }
    }
}

#[test]
fn unsafe_code_is_denied_in_every_package() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        let path = package["manifest_path"].as_str().expect("a path");
        let manifest = std::fs::read_to_string(path).expect("a manifest");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{path} has lints of its own"
        );
    }
}
