//! Question 1: is there a driver, and does the machine let gpuckpt work?

use crate::driver::DriverError;
use crate::probe::{Outcome, Probe, Verdict};
use crate::steps::{self, Step};
use anyhow::Context;
use cuda_abi::driver::{
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
    CUDA_ERROR_NO_DEVICE,
};
use serde_json::Value;

pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new(
            steps::DRIVER,
            1,
            0,
            "is there a driver with a device, and which?",
            driver,
        )
        .time(0, 120),
        Step::new(
            "machine",
            1,
            1,
            "does gpuckpt doctor find all that it needs?",
            doctor,
        )
        .time(1, 60),
    ]
}

fn driver(probe: &Probe) -> Outcome {
    let driver = match probe.driver() {
        Ok(driver) => driver,
        Err(error) => return Ok(Verdict::NotRun(format!("no driver: {error:#}"))),
    };
    let count = match driver.init() {
        Ok(0) => {
            return Ok(Verdict::NotRun(
                "no GPU: the driver knows no device".to_owned(),
            ));
        }
        Err(error) if absent(&error) => return Ok(Verdict::NotRun(format!("no GPU: {error}"))),
        other => other?,
    };
    let version = driver.version()?;
    probe.figure(
        "cuda",
        format!("{}.{}", version / 1000, version % 1000 / 10),
    );
    probe.figure("gpus", count);
    probe.figure("gpu", driver.device_name(0)?);
    probe.figure("gpu_memory_bytes", driver.total_memory(0)?);
    let major = driver.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0)?;
    let minor = driver.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0)?;
    probe.figure("compute_capability", format!("{major}.{minor}"));
    Ok(Verdict::Supported)
}

/// True for the answers of a driver's library on a machine without its device.
fn absent(error: &DriverError) -> bool {
    error.result() == Some(CUDA_ERROR_NO_DEVICE)
}

fn doctor(probe: &Probe) -> Outcome {
    let output = probe
        .kit
        .gpuckpt(&probe.images())
        .args(["doctor", "--json"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Value = serde_json::from_str(&text).with_context(|| {
        format!(
            "doctor said no JSON: {text} {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let mut bad = Vec::new();
    for check in found["checks"].as_array().context("doctor has no checks")? {
        let [name, state, found, advice] =
            ["name", "state", "found", "advice"].map(|key| check[key].as_str().unwrap_or_default());
        probe.figure(name, found);
        if state != "ok" {
            bad.push(format!("{name}: {state}: {found} ({advice})"));
        }
    }
    Ok(match (found["able"].as_bool(), bad.is_empty()) {
        (Some(true), true) => Verdict::Supported,
        (Some(true), false) => {
            probe.figure("warnings", bad.join("; "));
            Verdict::Supported
        }
        _ => Verdict::Refused(bad.join("; ")),
    })
}
