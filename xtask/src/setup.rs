//! What the tests need and a fresh machine lacks: a C and C++ compiler and Python
//! from the system's packages, and, in a virtual environment under the target
//! folder, numpy and NVIDIA's compiler from PyPI. Each step is skipped when its
//! result is there.

use crate::sh;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// Where the fetched tools are.
pub(crate) struct Tools {
    /// NVIDIA's compiler.
    pub(crate) nvcc: PathBuf,
    /// A Python that has numpy.
    pub(crate) python: PathBuf,
}

/// Programs that the tests call, and the Debian package that has each.
const PROGRAMS: [(&str, &str); 4] = [
    ("cc", "gcc"),
    ("c++", "g++"),
    ("python3", "python3"),
    ("setarch", "util-linux"),
];

/// Python packages, without versions of ours: nvcc's parts must only fit together,
/// which pip sees to.
const WHEELS: [&str; 6] = [
    "nvidia-cuda-nvcc>=13,<14",
    "nvidia-cuda-runtime>=13,<14",
    "nvidia-cuda-crt>=13,<14",
    "nvidia-nvvm>=13,<14",
    "nvidia-cuda-cccl>=13,<14",
    "numpy",
];

const ATTEMPTS: u32 = 4;

/// The task `setup`.
pub(crate) fn run(args: &[String]) -> Result<Tools> {
    if !args.is_empty() {
        bail!("setup takes no options");
    }
    programs()?;
    let python = virtual_environment()?;
    let nvcc = compiler(&python)?;
    Ok(Tools { nvcc, python })
}

fn programs() -> Result<()> {
    let mut missing: Vec<&str> = Vec::new();
    for (program, package) in PROGRAMS {
        if !sh::have(program) {
            missing.push(package);
        }
    }
    // Debian splits venv off; asking Python itself is the only sure test.
    if !quiet(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !sh::have("apt-get") {
        bail!(
            "missing here: {}; install them and try again",
            missing.join(", ")
        );
    }
    eprintln!("xtask: installing {}", missing.join(", "));
    let needs_sudo = sh::output(Command::new("id").arg("-u"))?.trim() != "0";
    let apt = |args: &[&str]| {
        let mut command = if needs_sudo {
            let mut command = Command::new("sudo");
            command.arg("apt-get");
            command
        } else {
            Command::new("apt-get")
        };
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    retry("apt-get update", || sh::run(&mut apt(&["update", "-qq"])))?;
    let mut install = vec!["install", "-qq", "-y", "--no-install-recommends"];
    install.extend(&missing);
    retry("apt-get install", || sh::run(&mut apt(&install)))
        .with_context(|| format!("install {} by hand and try again", missing.join(", ")))
}

/// A virtual environment with [`WHEELS`]; gives its Python.
fn virtual_environment() -> Result<PathBuf> {
    let folder = sh::target_dir().join("venv");
    let python = folder.join("bin/python");
    let mark = folder.join("wheels.txt");
    let wanted = WHEELS.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|have| have == wanted)
        && quiet(Command::new(&python).args(["-c", "import numpy"]))
    {
        return Ok(python);
    }
    eprintln!("xtask: fetching NVIDIA's compiler and numpy from PyPI (about 400 MB, once)");
    if !quiet(Command::new(&python).args(["-m", "pip", "--version"])) {
        sh::run(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&folder),
        )?;
    }
    retry("pip install", || {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--no-input"]).args(WHEELS);
        sh::run(&mut pip)
    })
    .context("numpy and NVIDIA's compiler are fetched with pip; its settings (index, proxy) come from the environment")?;
    fs::write(&mark, wanted).with_context(|| format!("cannot write {}", mark.display()))?;
    Ok(python)
}

/// NVIDIA's compiler in the environment, made complete; gives its path.
fn compiler(python: &Path) -> Result<PathBuf> {
    let site = sh::output(Command::new(python).args([
        "-c",
        "import sysconfig; print(sysconfig.get_path('purelib'))",
    ]))?;
    let kit = Path::new(site.trim()).join("nvidia/cu13");
    let nvcc = kit.join("bin/nvcc");
    if !nvcc.exists() {
        bail!("the Python packages brought no {}", nvcc.display());
    }
    // `-cudart shared` links by the name without a version, which the wheels lack.
    let lib = kit.join("lib");
    let link = lib.join("libcudart.so");
    if !link.exists() {
        symlink("libcudart.so.13", &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    // nvcc looks for its libraries in lib64.
    let lib64 = kit.join("lib64");
    if !lib64.exists() {
        symlink("lib", &lib64).with_context(|| format!("cannot make {}", lib64.display()))?;
    }
    let version = sh::output(Command::new(&nvcc).arg("--version"))?;
    if !version.contains("release 13.") {
        bail!(
            "{} is not the compiler that was asked for: {version}",
            nvcc.display()
        );
    }
    Ok(nvcc)
}

/// Variables that tell the tests where things are.
pub(crate) fn environment(tools: &Tools, dist: &Path, kit: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("GPUCKPT_DIST", dist.into()),
        ("GPUCKPT_KIT", kit.into()),
        ("GPUCKPT_NVCC", tools.nvcc.clone().into()),
        ("GPUCKPT_PYTHON", tools.python.clone().into()),
    ]
}

fn retry(what: &str, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    for number in 1.. {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if number == ATTEMPTS => {
                return Err(error.context(format!("{what} failed {ATTEMPTS} times")));
            }
            Err(error) => {
                eprintln!("xtask: {error:#}; trying again");
                sleep(Duration::from_secs(5 << number));
            }
        }
    }
    unreachable!("the loop ends by return")
}

/// True when the command runs and succeeds; shows nothing.
fn quiet(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
