//! Probes whose programs, libraries and drivers are made to differ, die, refuse:
//! each answer has the right state and says what happened.

mod common;

use common::{Run, copy, kit};
use gpu_kit::protocol::State;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A kit that can be changed: links to the real one's parts.
struct Changed {
    folder: TempDir,
}

impl Changed {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let real = kit();
        for part in ["dist", "guests", "static", "python"] {
            symlink(real.join(part), folder.path().join(part)).unwrap();
        }
        fs::create_dir(folder.path().join("programs")).unwrap();
        for program in fs::read_dir(real.join("programs")).unwrap().flatten() {
            let to = folder.path().join("programs").join(program.file_name());
            symlink(program.path(), to).unwrap();
        }
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Builds a program of the kit with `what` in its source replaced by `by`.
    fn program(&self, name: &str, what: &str, by: &str) {
        let source = sources().join(format!("{name}.c"));
        let text = fs::read_to_string(&source).unwrap();
        assert!(text.contains(what), "{} has no `{what}`", source.display());
        let changed = self.path().join(format!("{name}.c"));
        fs::write(&changed, text.replace(what, by)).unwrap();
        let program = self.path().join("programs").join(name);
        fs::remove_file(&program).unwrap();
        cc(&[
            "-pthread".as_ref(),
            "-I".as_ref(),
            sources().as_os_str(),
            "-o".as_ref(),
            program.as_os_str(),
            changed.as_os_str(),
        ]);
    }

    fn run(&self) -> Run {
        Run::new().env("KIT", self.path())
    }

    /// A driver that has `cuCheckpointProcess…`, before the mock device, which has not.
    fn with_checkpointing_driver(self) -> Self {
        let real = kit().join("dist");
        let dist = self.path().join("dist");
        fs::remove_file(&dist).unwrap();
        copy(&real, &dist);
        let folder = dist.join("libexec/gpuckpt/mock");
        let mock = fs::read(folder.join("libcuda.so.1")).unwrap();
        fs::write(folder.join("libmock.so.1"), renamed(&mock)).unwrap();
        let source = self.path().join("driver.c");
        fs::write(&source, DRIVER).unwrap();
        cc(&[
            "-shared".as_ref(),
            "-fPIC".as_ref(),
            "-o".as_ref(),
            folder.join("libcuda.so.1").as_os_str(),
            source.as_os_str(),
            "-Wl,-soname,libcuda.so.1,--no-as-needed,-rpath,$ORIGIN".as_ref(),
            folder.join("libmock.so.1").as_os_str(),
        ]);
        self
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

fn cc(args: &[&std::ffi::OsStr]) {
    let done = Command::new("cc").args(["-O1", "-w"]).args(args).output();
    let done = done.expect("a C compiler");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "cc {args:?}: {said}");
}

/// The mock device under another soname.
fn renamed(library: &[u8]) -> Vec<u8> {
    let (old, new) = (b"\0libcuda.so.1\0", b"\0libmock.so.1\0");
    let mut library = library.to_vec();
    let at = library.windows(old.len()).position(|w| w == old);
    let at = at.expect("the mock device has a soname");
    library[at..at + old.len()].copy_from_slice(new);
    library
}

/// Stops the process while it is locked; `DRIVER_DOES` says what goes wrong.
const DRIVER: &str = r#"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
static int state;
static int does(const char *what) { const char *d = getenv("DRIVER_DOES"); return d && !strcmp(d, what); }
int cuCheckpointProcessLock(int pid, unsigned *args) {
    if (args[0] == 0 || args[1] != 0) return 1;
    if (does("not-lock")) return 600;
    kill(pid, SIGSTOP); state = 1; return 0;
}
int cuCheckpointProcessCheckpoint(int pid, void *args) {
    if (does("not-support")) return 801;
    if (does("crash")) abort();
    if (does("kill")) kill(pid, SIGKILL);
    state = 2; return 0;
}
int cuCheckpointProcessRestore(int pid, void *args) {
    if (does("lose")) return 304;
    state = 1; return 0;
}
int cuCheckpointProcessUnlock(int pid, void *args) { kill(pid, SIGCONT); state = 0; return 0; }
int cuCheckpointProcessGetState(int pid, int *out) { *out = state; return 0; }
int cuCheckpointProcessGetRestoreThreadId(int pid, int *out) { *out = pid; return 0; }
"#;

/// A cuBLAS of one function, on the host; under gpuckpt it may be WRONG.
const CUBLAS: &str = r#"
#include <dlfcn.h>
#include <stdlib.h>
typedef int (*out_t)(void *, unsigned long long, unsigned long);
typedef int (*in_t)(unsigned long long, const void *, unsigned long);
typedef int (*wait_t)(void);
static out_t out; static in_t in; static wait_t wait_all;
int cublasCreate_v2(void **h) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    out = (out_t)dlsym(driver, "cuMemcpyDtoH_v2");
    in = (in_t)dlsym(driver, "cuMemcpyHtoD_v2");
    wait_all = (wait_t)dlsym(driver, "cuCtxSynchronize");
    *h = h; return 0;
}
int cublasDestroy_v2(void *h) { return 0; }
int cublasSetStream_v2(void *h, void *s) { return 0; }
int cublasSgemm_v2(void *h, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int lda,
                   const float *b, int ldb, const float *beta, float *c, int ldc) {
    static float x[96 * 96], y[96 * 96], z[96 * 96];
    wait_all();
    if (out(x, (unsigned long long)a, sizeof x) || out(y, (unsigned long long)b, sizeof y)) return 13;
    for (int col = 0; col < 96; col++)
        for (int row = 0; row < 96; row++) {
            float sum = 0;
            for (int i = 0; i < 96; i++) sum += x[i * 96 + row] * y[col * 96 + i];
            z[col * 96 + row] = sum;
        }
    if (WRONG && getenv("KIT_HOLD")) z[5] += 1;
    return in((unsigned long long)c, z, sizeof z) ? 13 : 0;
}
"#;

/// A folder with such a library.
fn cublas(wrong: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let source = folder.path().join("cublas.c");
    fs::write(&source, CUBLAS).unwrap();
    cc(&[
        "-shared".as_ref(),
        "-fPIC".as_ref(),
        format!("-DWRONG={wrong}").as_ref(),
        "-o".as_ref(),
        folder.path().join("libcublas.so.12").as_os_str(),
        source.as_os_str(),
    ]);
    folder
}

/// A Python that has every module; what it runs is this script of the shell.
fn python(script: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("python3");
    let text = format!("#!/bin/sh\nif [ \"$1\" = -c ]; then echo 3.99; exit; fi\n{script}\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn memory_that_comes_back_different_is_wrong() {
    let changed = Changed::new();
    let spoil = "{ uint64_t w = 1; if (argc == 5) CU(cuMemcpyHtoD_v2(blocks[0] + 4096, &w, 8)); }";
    let end = "    return verify_all(out);";
    changed.program("resident", end, &format!("{spoil}\n{end}"));
    let done = changed.run().args(&["--only", "checkpoint-1gib"]).finish();
    assert_eq!(done.code(), 1, "{}", done.said());
    let reason = "expected `words that differ 0`, found `words that differ 1`";
    let step = done.assert("checkpoint-1gib", State::Wrong, reason);
    assert!(step.figures.contains_key("restart_to_first_use_s"));
}

#[test]
fn a_process_that_dies_under_gpuckpt_is_a_failure_with_its_status() {
    let changed = Changed::new();
    let wait = "pause_us(1000);";
    changed.program(
        "resident",
        wait,
        &format!("{wait} if (ticks == 3) abort();"),
    );
    let done = changed.run().args(&["--only", "checkpoint-1gib"]).finish();
    done.assert("checkpoint-1gib", State::Failed, "status 134");
}

#[test]
fn threads_that_find_a_wrong_word_say_so() {
    let changed = Changed::new();
    let right = "data[i] * 2862933555777941757ull + push";
    changed.program(
        "endure",
        right,
        "data[i] * 2862933555777941757ull + push + (me->turns > 5)",
    );
    let done = changed.run().args(&["--only", "endurance"]).finish();
    done.assert("endurance", State::Wrong, ", expected ");
}

#[test]
fn the_drivers_own_checkpoint_is_timed() {
    let changed = Changed::new().with_checkpointing_driver();
    let done = changed
        .run()
        .args(&["--only", "peer-1gib,peer-launched"])
        .finish();
    for name in ["peer-1gib", "peer-launched"] {
        let step = done.assert(name, State::Supported, "");
        assert_eq!(step.figures["state_saved"], "checkpointed");
        assert_eq!(step.figures["state_after"], "running");
        for figure in [
            "lock_s",
            "checkpoint_s",
            "restore_s",
            "unlock_s",
            "restore_to_first_use_s",
        ] {
            assert!(step.figures[figure].is_number(), "{figure} of {step:#?}");
        }
    }
}

#[test]
fn what_the_driver_refuses_is_told_by_name() {
    let changed = Changed::new().with_checkpointing_driver();
    for (does, state, words) in [
        (
            "not-lock",
            State::Refused,
            "cuCheckpointProcessLock: CUDA_ERROR_NOT_READY (600)",
        ),
        (
            "not-support",
            State::Refused,
            "cuCheckpointProcessCheckpoint: CUDA_ERROR_NOT_SUPPORTED (801)",
        ),
        (
            "lose",
            State::Failed,
            "the process is lost: cuCheckpointProcessRestore: CUDA_ERROR_OPERATING_SYSTEM",
        ),
        ("kill", State::Failed, "status 137"),
        ("crash", State::Failed, "ended by SIGABRT"),
    ] {
        let run = changed.run().env("DRIVER_DOES", does);
        let done = run.args(&["--only", "peer-1gib"]).finish();
        let step = done.assert("peer-1gib", state, words);
        assert!(step.figures.contains_key("state_before"), "{step:#?}");
    }
}

#[test]
fn a_library_is_tried_and_its_products_compared() {
    let right = cublas("0");
    let done = Run::new()
        .env("LD_LIBRARY_PATH", right.path())
        .args(&["--only", "cublas"])
        .finish();
    let step = done.assert("cublas", State::Supported, "");
    assert_eq!(step.figures["restarted_output"], "equal", "{step:#?}");
    let wrong = cublas("1");
    let done = Run::new()
        .env("LD_LIBRARY_PATH", wrong.path())
        .args(&["--only", "cublas"])
        .finish();
    done.assert("cublas", State::Wrong, "element 5 is ");
}

#[test]
fn a_framework_whose_runs_differ_says_nothing_about_gpuckpt() {
    let script = "read id < /proc/sys/kernel/random/uuid; echo $id; echo half way; while [ -e \"$KIT_HOLD\" ]; do :; done; echo end";
    let python = python(script);
    let done = Run::new()
        .env("KIT_PYTHON", python.path().join("python3"))
        .args(&["--only", "pytorch"])
        .finish();
    done.assert(
        "pytorch",
        State::Failed,
        "nothing can be compared: two native runs differ (line 1",
    );
}

#[test]
fn a_framework_that_breaks_under_gpuckpt_is_told_from_one_that_is_not_here() {
    for (script, state, words) in [
        (
            "echo half way; [ -z \"$KIT_HOLD\" ] || exit 4",
            State::Failed,
            "launched: status 4 instead of 0",
        ),
        (
            "echo half way; [ -z \"$KIT_HOLD\" ] || { echo word 3 is 4, expected 5 >&2; exit 1; }",
            State::Wrong,
            "launched: word 3 is 4, expected 5",
        ),
        (
            "echo the framework has no CUDA >&2; exit 77",
            State::NotRun,
            "the framework has no CUDA",
        ),
        (
            "echo no luck >&2; exit 2",
            State::NotRun,
            "it does not run natively: status 2: no luck",
        ),
    ] {
        let python = python(script);
        let done = Run::new()
            .env("KIT_PYTHON", python.path().join("python3"))
            .args(&["--only", "pytorch"])
            .finish();
        done.assert("pytorch", state, words);
    }
}

#[test]
fn a_driver_that_only_the_library_path_names_is_found_at_a_restart_too() {
    // The mock device in the place of NVIDIA's driver: the way through `--device cuda`.
    let folder = TempDir::new().unwrap();
    let mock = kit().join("dist/libexec/gpuckpt/mock/libcuda.so.1");
    fs::copy(mock, folder.path().join("libcuda.so.1")).unwrap();
    let done = Run::of(Path::new(env!("CARGO_BIN_EXE_run")), "cuda")
        .env("KIT", kit())
        .env("LD_LIBRARY_PATH", folder.path())
        .args(&["--only", "chain-vector,static-vector"])
        .finish();
    assert_eq!(done.code(), 0, "{}", done.said());
    let step = done.assert("chain-vector", State::Supported, "");
    assert!(step.figures["links"].as_u64() > Some(0), "{step:#?}");
    done.assert("static-vector", State::NotRun, "does not run natively");
}
