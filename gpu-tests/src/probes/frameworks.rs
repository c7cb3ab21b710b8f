//! Questions 9 and 10: one small program for each framework that this machine has,
//! natively, launched and saved while busy, and restarted, with equal output.

use crate::across::{Moment, across};
use crate::installed;
use crate::job::Job;
use crate::probe::{Outcome, Probe, Verdict};
use crate::steps::Step;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A framework of Python, tried by a program of `python/`.
struct Framework {
    name: &'static str,
    question: u8,
    worth: u32,
    program: &'static str,
    /// What the program imports.
    modules: &'static [&'static str],
    takes_s: u64,
    /// With starts that read gigabytes from a cold disk.
    limit_s: u64,
}

const FRAMEWORKS: [Framework; 5] = [
    Framework {
        name: "pytorch",
        question: 9,
        worth: 180,
        program: "torch_train.py",
        modules: &["torch"],
        takes_s: 45,
        limit_s: 240,
    },
    Framework {
        name: "numba",
        question: 10,
        worth: 183,
        program: "numba_kernels.py",
        modules: &["numba", "numpy"],
        takes_s: 20,
        limit_s: 120,
    },
    Framework {
        name: "triton",
        question: 10,
        worth: 184,
        program: "triton_kernels.py",
        modules: &["triton", "torch"],
        takes_s: 40,
        limit_s: 150,
    },
    Framework {
        name: "cupy",
        question: 10,
        worth: 185,
        program: "cupy_arrays.py",
        modules: &["cupy"],
        takes_s: 30,
        limit_s: 120,
    },
    Framework {
        name: "jax",
        question: 10,
        worth: 186,
        program: "jax_steps.py",
        modules: &["jax"],
        takes_s: 45,
        limit_s: 180,
    },
];

/// Name, rank, and the library below; programs of `programs/`.
const LIBRARIES: [(&str, u32, Option<&str>); 2] =
    [("cublas", 181, Some("libcublasLt")), ("cufft", 182, None)];

pub(crate) fn steps() -> Vec<Step> {
    let framework = |f: &Framework| {
        let asks = format!("{}: equal output natively, launched, restarted?", f.name);
        Step::new(f.name, f.question, f.worth, asks, framework)
            .about(f.name)
            .time(f.takes_s, f.limit_s)
    };
    let library = |(name, worth, _): &(&'static str, u32, _)| {
        let asks = format!("{name}: equal output natively, launched, restarted?");
        Step::new(*name, 10, *worth, asks, library)
            .about(*name)
            .time(20, 90)
    };
    let frameworks = FRAMEWORKS.iter().map(framework);
    frameworks.chain(LIBRARIES.iter().map(library)).collect()
}

fn framework(probe: &Probe) -> Outcome {
    let found = FRAMEWORKS.iter().find(|f| f.name == probe.subject);
    let wanted = found.with_context(|| format!("no framework {}", probe.subject))?;
    let pythons = installed::pythons();
    let Some(python) = installed::python_with(&pythons, wanted.modules, probe.deadline) else {
        return Ok(Verdict::NotRun(not_installed(wanted.modules, &pythons)));
    };
    probe.figure("python", python.path.display().to_string());
    probe.figure("python_version", &python.version);
    for (module, version) in &python.modules {
        probe.figure(&format!("{module}_version"), version);
    }
    let program = probe.kit.python(wanted.program);
    let script = program.to_str().context("the kit's path is no UTF-8")?;
    let mut job = Job::new(probe, wanted.name, python.path, &[script]);
    job.foreign = true;
    environment(probe, &mut job)?;
    across(probe, &mut job, Moment::HalfWay)
}

fn not_installed(modules: &[&str], pythons: &[PathBuf]) -> String {
    let looked: Vec<String> = pythons.iter().map(|p| p.display().to_string()).collect();
    match looked.as_slice() {
        [] => format!(
            "{} not installed: there is no python3",
            modules.join(" and ")
        ),
        _ => format!(
            "{} not installed (looked in {}; KIT_PYTHON names another)",
            modules.join(" and "),
            looked.join(", ")
        ),
    }
}

/// What makes runs equal, and keeps caches and memory small.
fn environment(probe: &Probe, job: &mut Job) -> Result<()> {
    let caches = probe.scratch.join("caches");
    fs::create_dir_all(&caches).with_context(|| format!("cannot make {}", caches.display()))?;
    for variable in [
        "TRITON_CACHE_DIR",
        "TORCHINDUCTOR_CACHE_DIR",
        "CUPY_CACHE_DIR",
        "NUMBA_CACHE_DIR",
        "MPLCONFIGDIR",
    ] {
        job.env
            .push((variable.into(), caches.join(variable).into_os_string()));
    }
    for (variable, value) in [
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONHASHSEED", "0"),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        // Otherwise JAX takes three quarters of the device.
        ("XLA_PYTHON_CLIENT_PREALLOCATE", "false"),
        (
            "XLA_FLAGS",
            "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0",
        ),
        // The programs are small: more threads only make them differ.
        ("OMP_NUM_THREADS", "2"),
    ] {
        job.env.push((variable.into(), value.into()));
    }
    Ok(())
}

fn library(probe: &Probe) -> Outcome {
    let found = LIBRARIES.iter().find(|(name, ..)| *name == probe.subject);
    let (name, _, below) = found.with_context(|| format!("no library {}", probe.subject))?;
    let pythons = installed::pythons();
    let Some(file) = installed::library(&format!("lib{name}"), &pythons, probe.deadline) else {
        return Ok(Verdict::NotRun(format!(
            "lib{name} not installed: neither with CUDA nor with Python's packages"
        )));
    };
    probe.figure("library", file.display().to_string());
    let path = file.to_str().context("a path that is no UTF-8")?;
    let mut job = Job::new(probe, name, probe.kit.program(name), &[path]);
    job.foreign = true;
    if let Some(below) = below.and_then(|stem| beside(&file, stem)) {
        job.env.push(("KIT_FIRST".into(), below.into()));
    }
    across(probe, &mut job, Moment::HalfWay)
}

/// The library of this name beside another one, which does not always find it itself.
fn beside(file: &Path, stem: &str) -> Option<PathBuf> {
    let (_, ending) = file.file_name()?.to_str()?.split_once(".so")?;
    let path = file.with_file_name(format!("{stem}.so{ending}"));
    path.exists().then_some(path)
}
