//! The table of guests, and how each is built into `target/guests`. A guest is
//! built once for all test binaries, under a lock, and again when a source of the
//! guests is newer.

use super::{dist, root, target};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// How a guest becomes a program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Build {
    /// `cc` with these flags.
    C(&'static [&'static str]),
    /// `cc` with these flags, linked with the distribution's driver stub.
    LinkedDriver(&'static [&'static str]),
    /// `c++`.
    Cxx,
    /// `rustc`.
    Rust,
    /// NVIDIA's compiler with `-cudart shared`.
    Cuda,
    /// The same with these other sources, each compiled apart.
    CudaApart(&'static [&'static str]),
    /// Python with numpy runs the source.
    Python,
    /// The source is executable.
    Script,
}

/// What `--device` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// The mock device; `GPUCKPT_TEST_DEVICE=cuda` makes it a real one.
    Gpu,
    /// The mock device, also where the others have a real one.
    Mock,
    /// None.
    None,
}

/// One program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest {
    /// Unique; also the file name of what is built.
    pub(crate) name: &'static str,
    /// Below `tests/guests`.
    pub(crate) source: &'static str,
    /// How it is built.
    pub(crate) build: Build,
    /// What it needs.
    pub(crate) device: Device,
    /// Steps of a run of one to three seconds.
    pub(crate) steps: u32,
    /// Steps of a run of a minute, for nights.
    pub(crate) long_steps: u32,
    /// True when its second argument is a folder to work in.
    pub(crate) wants_folder: bool,
}

const fn host(name: &'static str, source: &'static str, build: Build, steps: u32) -> Guest {
    Guest {
        name,
        source,
        build,
        device: Device::None,
        steps,
        long_steps: steps * 15,
        wants_folder: false,
    }
}

const fn in_folder(guest: Guest) -> Guest {
    Guest {
        wants_folder: true,
        ..guest
    }
}

const fn gpu(name: &'static str, source: &'static str, build: Build, steps: u32) -> Guest {
    Guest {
        device: Device::Gpu,
        ..host(name, source, build, steps)
    }
}

const C: Build = Build::C(&[
    "-std=gnu11",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pthread",
]);

/// All guests that can be checkpointed, launched ones only, and refused ones.
pub(crate) const GUESTS: &[Guest] = &[
    gpu("vector", "cuda/vector.cu", Build::Cuda, 800),
    gpu("matmul", "cuda/matmul.cu", Build::Cuda, 800),
    gpu("reduce", "cuda/reduce.cu", Build::Cuda, 800),
    gpu("streams", "cuda/streams.cu", Build::Cuda, 10000),
    gpu("pinned", "cuda/pinned.cu", Build::Cuda, 8000),
    gpu("symbols", "cuda/symbols.cu", Build::Cuda, 50000),
    gpu("list", "cuda/list.cu", Build::Cuda, 12000),
    gpu("threads", "cuda/threads.cu", Build::Cuda, 5000),
    gpu("stencil", "cuda/stencil.cu", Build::Cuda, 3000),
    gpu("algorithms", "cuda/algorithms.cu", Build::Cuda, 20),
    gpu("simulations", "cuda/simulations.cu", Build::Cuda, 25),
    gpu("classes", "cuda/classes.cu", Build::Cuda, 40),
    gpu("cooperative", "cuda/cooperative.cu", Build::Cuda, 800),
    gpu("integers", "cuda/integers.cu", Build::Cuda, 30),
    gpu("printing", "cuda/printing.cu", Build::Cuda, 30000),
    Guest {
        device: Device::Mock,
        ..gpu("managed", "mock/managed.cu", Build::Cuda, 8000)
    },
    Guest {
        device: Device::Mock,
        ..gpu("ordered", "mock/ordered.cu", Build::Cuda, 8000)
    },
    gpu(
        "separate",
        "apart/separate.cu",
        Build::CudaApart(&["apart/separate_device.cu"]),
        3000,
    ),
    gpu("driver_ptx", "driver_ptx.c", C, 20000),
    gpu(
        "driver_linked",
        "driver_ptx.c",
        Build::LinkedDriver(&["-O2", "-g", "-DLINKED"]),
        20000,
    ),
    gpu("visible", "visible.c", C, 20000),
    gpu("forks", "forks.c", C, 20),
    gpu("driver_endless", "driver_endless.c", C, 200),
    host("threads_malloc", "host/threads_malloc.c", C, 2500),
    in_folder(host("descriptors", "host/descriptors.c", C, 400)),
    host("numbers", "host/numbers.c", C, 600),
    in_folder(host("table", "host/table.c", C, 400)),
    host("exceptions", "host/exceptions.cpp", Build::Cxx, 18000),
    host("rust_threads", "host/rust_threads.rs", Build::Rust, 400),
    host("numpy_threads", "host/numpy_threads.py", Build::Python, 600),
    host("plain_pie", "host/plain.c", C, 3000),
    host(
        "plain_no_pie",
        "host/plain.c",
        Build::C(&["-O2", "-pthread", "-no-pie"]),
        3000,
    ),
    host(
        "plain_static",
        "host/plain.c",
        Build::C(&["-O2", "-pthread", "-static", "-no-pie"]),
        3000,
    ),
    host(
        "plain_static_pie",
        "host/plain.c",
        Build::C(&["-O2", "-pthread", "-static-pie"]),
        3000,
    ),
    host("blocking", "host/blocking.c", C, 20),
    host("signals", "host/signals.c", C, 1500),
    host("altstack", "host/altstack.c", C, 2500),
    host("itimers", "host/itimers.c", C, 150),
    host("pipes", "host/pipes.c", C, 4000),
    host("channels", "host/channels.c", C, 500),
    in_folder(host("files", "host/files.c", C, 800)),
    in_folder(host("mmaps", "host/mmaps.c", C, 350)),
    in_folder(host("attributes", "host/attributes.c", C, 400)),
    host("scheduling", "host/scheduling.c", C, 400),
    host("identity", "host/identity.c", C, 350),
    host("refused", "host/refused.c", C, 300),
    host("processes", "host/processes.c", C, 20),
    host("script", "host/script.sh", Build::Script, 8),
    host("subprocesses", "host/subprocesses.py", Build::Python, 3),
];

/// The guest called `name`.
pub(crate) fn find(name: &str) -> Guest {
    *GUESTS
        .iter()
        .find(|guest| guest.name == name)
        .unwrap_or_else(|| panic!("there is no guest `{name}`"))
}

impl Guest {
    /// Builds it if need be; gives the program and the arguments before its own.
    pub(crate) fn command(&self) -> Vec<PathBuf> {
        let source = root().join("tests/guests").join(self.source);
        match self.build {
            Build::Script => vec![source],
            Build::Python => vec![python(), source],
            _ => vec![self.built(&source)],
        }
    }

    fn built(&self, source: &Path) -> PathBuf {
        let folder = target().join("guests");
        fs::create_dir_all(&folder).expect("a folder for the guests");
        let program = folder.join(self.name);
        let lock = File::create(folder.join(format!(".{}.lock", self.name))).expect("a lock");
        lock.lock().expect("the lock");
        if !fresh(&program) {
            let partial = folder.join(format!(".{}.new", self.name));
            let mut command = self.compiler(source);
            command.arg("-o").arg(&partial);
            if let Build::LinkedDriver(_) = self.build {
                command.arg(dist().join("lib/gpuckpt/driver/libcuda.so.1"));
            }
            let output = command
                .output()
                .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
            assert!(
                output.status.success(),
                "{command:?}: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
            fs::rename(&partial, &program).expect("the new guest in place");
        }
        program
    }

    fn compiler(&self, source: &Path) -> Command {
        let mut command;
        match self.build {
            Build::C(flags) | Build::LinkedDriver(flags) => {
                command = Command::new("cc");
                command.args(flags);
            }
            Build::Cxx => {
                command = Command::new("c++");
                command.args([
                    "-std=c++17",
                    "-O2",
                    "-g",
                    "-Wall",
                    "-Wextra",
                    "-Werror",
                    "-pthread",
                ]);
            }
            Build::Rust => {
                command = Command::new("rustc");
                command.args(["--edition", "2024", "-O", "-g"]);
            }
            Build::Cuda | Build::CudaApart(_) => {
                let nvcc = nvcc();
                command = Command::new(&nvcc);
                command.args(["-std=c++17", "-cudart", "shared"]);
                command.arg("-L").arg(runtime_to_link(&nvcc));
                if let Build::CudaApart(others) = self.build {
                    let folder = root().join("tests/guests");
                    command.arg("-rdc=true");
                    command.args(others.iter().map(|other| folder.join(other)));
                }
            }
            Build::Python | Build::Script => unreachable!("nothing to build"),
        }
        command.arg(source);
        command
    }
}

/// True when `program` is newer than every source of the guests.
fn fresh(program: &Path) -> bool {
    let built = program.metadata().and_then(|m| m.modified());
    let Ok(built) = built else { return false };
    let sources = root().join("tests/guests");
    ["", "apart", "cuda", "host", "mock"].iter().all(|folder| {
        let entries = fs::read_dir(sources.join(folder)).expect("the guests' sources");
        entries.flatten().all(|e| {
            e.metadata()
                .and_then(|m| m.modified())
                .unwrap_or(SystemTime::now())
                < built
        })
    })
}

/// A tool by its variable, else in the environment that `cargo xtask setup` makes.
fn tool(variable: &str, in_venv: &str) -> PathBuf {
    let tool = std::env::var_os(variable)
        .map_or_else(|| target().join("venv").join(in_venv), PathBuf::from);
    assert!(
        tool.exists(),
        "{} is missing: run `cargo xtask setup`, or set {variable}",
        tool.display()
    );
    tool
}

fn python() -> PathBuf {
    tool("GPUCKPT_PYTHON", "bin/python")
}

fn nvcc() -> PathBuf {
    tool("GPUCKPT_NVCC", "bin/nvcc")
}

/// A folder with `libcudart.so`, which `-lcudart` looks for: the compiler's own
/// runtime, of which the wheels have the versioned name only.
fn runtime_to_link(nvcc: &Path) -> PathBuf {
    let nvcc = nvcc.canonicalize().expect("the compiler's path");
    let lib = nvcc
        .ancestors()
        .nth(2)
        .expect("nvcc is in a bin folder")
        .join("lib");
    let folder = target().join("guests/link");
    fs::create_dir_all(&folder).expect("a folder for the link");
    let entries = fs::read_dir(&lib).unwrap_or_else(|e| panic!("{}: {e}", lib.display()));
    let runtime = entries.flatten().map(|e| e.path()).find(|p| {
        p.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("libcudart.so."))
    });
    let runtime = runtime.unwrap_or_else(|| panic!("no libcudart.so.N in {}", lib.display()));
    // Several tests may do this at once; any of them may win.
    let _ = symlink(runtime, folder.join("libcudart.so"));
    folder
}
