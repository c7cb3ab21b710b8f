//! `gpuckpt doctor`: can this machine checkpoint and restart programs? Each check
//! says what it found and what to do. Exit status 1 when something is missing.
//!
//! What changes the process for good (the seccomp filter) is tried in a child.

use crate::failure::Result;
use crate::options::DirArg;
use crate::text::table;
use crate::{lower, probe};
use clap::Parser;
use lower_half::protocol::socket_dir;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use transparent_core::Refusal;

const UNABLE: i32 = 1;

/// Arguments of `doctor`.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    dir: DirArg,
    /// Write one JSON object to standard output
    #[arg(long)]
    json: bool,
    /// Try what cannot be undone, in a child of the real doctor
    #[arg(long, hide = true)]
    probe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    /// Works, but less well or not proven.
    Warning,
    /// Does not work.
    Missing,
}

/// One answer.
#[derive(Clone, Debug)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    advice: &'static str,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            advice: "",
        }
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self {
            name,
            state: State::Warning,
            found: found.into(),
            advice,
        }
    }

    fn missing(name: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self {
            name,
            state: State::Missing,
            found: found.into(),
            advice,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<i32> {
    if args.probe {
        return Ok(probe::filter_traps());
    }
    let mut checks = machine();
    checks.push(images(&args.dir.path()?));
    checks.push(driver());
    let able = checks.iter().all(|check| check.state != State::Missing);
    if args.json {
        let list: Value = checks.iter().map(json).collect();
        println!("{}", json!({"able": able, "checks": list}));
    } else {
        print!("{}", people(&checks, able));
    }
    Ok(if able { 0 } else { UNABLE })
}

/// What a restart needs and this machine lacks.
pub(crate) fn obstacles() -> Vec<Refusal> {
    let missing = machine()
        .into_iter()
        .filter(|check| check.state == State::Missing);
    missing
        .map(|check| Refusal::new(check.name, check.found, check.advice))
        .collect()
}

/// True when programs can use an NVIDIA device here.
pub(crate) fn has_cuda() -> bool {
    Path::new("/dev/nvidiactl").exists() && library().is_some()
}

/// What every job needs.
fn machine() -> Vec<Check> {
    vec![
        processor(),
        kernel(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()),
        fsgsbase(),
        filter(),
        addresses(),
        tracer(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
        system_calls_visible(),
        pages_visible(),
        sockets(&socket_dir()),
        open_files(),
        installation(),
    ]
}

fn json(check: &Check) -> Value {
    let state = match check.state {
        State::Ok => "ok",
        State::Warning => "warning",
        State::Missing => "missing",
    };
    json!({"name": check.name, "state": state, "found": check.found, "advice": check.advice})
}

fn people(checks: &[Check], able: bool) -> String {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let mark = match check.state {
                State::Ok => "ok",
                State::Warning => "warn",
                State::Missing => "NO",
            };
            vec![
                mark.to_string(),
                check.name.to_string(),
                check.found.clone(),
            ]
        })
        .collect();
    let mut text = table(&rows);
    for check in checks.iter().filter(|check| !check.advice.is_empty()) {
        text += &format!("\n{}: {}\n", check.name, check.advice);
    }
    let verdict = if able { "can" } else { "cannot" };
    text + &format!("\nThis machine {verdict} checkpoint and restart programs.\n")
}

fn processor() -> Check {
    const NAME: &str = "processor";
    match std::env::consts::ARCH {
        "x86_64" => Check::ok(NAME, "x86-64"),
        other => Check::missing(NAME, other, "only x86-64 is supported"),
    }
}

fn kernel(release: &str) -> Check {
    const NAME: &str = "kernel";
    /// close_range(2) is the newest call that nothing replaces.
    const OLDEST: (u32, u32) = (5, 9);
    /// The oldest kernel that is tested.
    const PROVEN: (u32, u32) = (5, 14);
    let release = release.trim();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
        return Check::warning(
            NAME,
            release,
            "its version cannot be read; 5.14 or newer is proven",
        );
    };
    match (major, minor) {
        version if version < OLDEST => Check::missing(
            NAME,
            release,
            "Linux 5.9 or newer is needed (close_range), 5.14 proven",
        ),
        version if version < PROVEN => Check::warning(
            NAME,
            release,
            "should work; Linux 5.14 and newer are proven",
        ),
        _ => Check::ok(NAME, release),
    }
}

fn fsgsbase() -> Check {
    const NAME: &str = "fsgsbase";
    match upper_half::fsgsbase() {
        Ok(true) => Check::ok(NAME, "programs may set FS and GS"),
        Ok(false) => Check::warning(
            NAME,
            format!(
                "off: works; system calls add {:.2} µs to each driver call",
                upper_half::price_of_calls().as_secs_f64() * 1e6
            ),
            "system calls take the place of the instructions; for faster driver calls use Linux 5.9 or newer \
             without `nofsgsbase`, on a processor since 2012 (Intel) or 2017 (AMD); some virtual machines must \
             be told to offer it",
        ),
        Err(error) => Check::missing(NAME, error.to_string(), "unset it"),
    }
}

/// The filter that keeps the application in its window, tried in a child.
fn filter() -> Check {
    const NAME: &str = "seccomp trap";
    const ADVICE: &str = "a filter of the user's own must be allowed: in a container, use a seccomp profile that \
        permits seccomp(2) and prctl(2) (docker's and podman's defaults do); inside a job of gpuckpt, run doctor \
        outside of it";
    let run = || {
        let exe = std::env::current_exe()?;
        Command::new(exe)
            .args(["doctor", "--probe"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
    };
    match run() {
        Ok(output) if output.status.success() => {
            Check::ok(NAME, "a filter without privileges works")
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            let said = if said.is_empty() {
                output.status.to_string()
            } else {
                said
            };
            Check::missing(NAME, said, ADVICE)
        }
        Err(error) => Check::missing(NAME, format!("cannot run the probe: {error}"), ADVICE),
    }
}

fn addresses() -> Check {
    const NAME: &str = "address window";
    match probe::addresses_free() {
        Ok(()) => Check::ok(NAME, "window and device arena are free"),
        Err(why) => Check::missing(
            NAME,
            why,
            "the ranges 0x160000000000-0x2a0000000000 and 0x100000000000-0x140000000000 must be free: lift \
             `ulimit -v`; sanitizers and emulators (qemu-user, rosetta) take them",
        ),
    }
}

fn tracer(status: &str) -> Check {
    const NAME: &str = "tracer";
    let field = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::trim)
    };
    match field("TracerPid:") {
        Some("0") => Check::ok(NAME, "none"),
        Some(pid) => Check::missing(
            NAME,
            format!("process {pid} traces this one"),
            "a debugger or strace around gpuckpt takes its signals: attach it to the job's process instead, \
             between checkpoints",
        ),
        None => Check::warning(
            NAME,
            "unknown",
            "/proc/self/status cannot be read: mount /proc",
        ),
    }
}

fn system_calls_visible() -> Check {
    const NAME: &str = "/proc/self/task";
    let path = format!("/proc/self/task/{}/syscall", nix::unistd::gettid());
    match fs::read_to_string(path) {
        Ok(_) => Check::ok(NAME, "system calls of threads can be seen"),
        Err(error) => Check::missing(
            NAME,
            format!("syscall: {error}"),
            "blocking calls cannot be resumed unseen without it: mount /proc, and let processes look at \
             themselves (kernel option CONFIG_HAVE_ARCH_TRACEHOOK)",
        ),
    }
}

fn pages_visible() -> Check {
    const NAME: &str = "/proc/self/pagemap";
    let read = || fs::File::open("/proc/self/pagemap")?.read_exact_at(&mut [0; 8], 0);
    match read() {
        Ok(()) => Check::ok(NAME, "changed pages can be seen"),
        Err(error) => Check::missing(
            NAME,
            error.to_string(),
            "untouched pages could not be left out of images: mount /proc; the kernel needs CONFIG_PROC_PAGE_MONITOR",
        ),
    }
}

fn sockets(folder: &Path) -> Check {
    const NAME: &str = "socket folder";
    /// `sun_path` has 108 bytes; `/PID.sock` and the final zero take 17 of them.
    const LONGEST: usize = 91;
    const ADVICE: &str =
        "control sockets need a short, private folder: set XDG_RUNTIME_DIR to one of yours";
    let shown = folder.display().to_string();
    if shown.len() > LONGEST {
        return Check::missing(NAME, format!("{shown} is too long for a socket"), ADVICE);
    }
    let own = nix::unistd::geteuid().as_raw();
    match fs::symlink_metadata(folder) {
        Ok(meta) if !meta.is_dir() || meta.uid() != own || meta.mode() & 0o077 != 0 => {
            Check::missing(
                NAME,
                format!("{shown} is not yours alone (mode 0700)"),
                ADVICE,
            )
        }
        _ => writable(NAME, folder, ADVICE),
    }
}

fn open_files() -> Check {
    const NAME: &str = "open files";
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    if limit < lower::LEAST_DESCRIPTORS {
        let found = format!(
            "at most {limit}, and a job needs {}",
            lower::LEAST_DESCRIPTORS
        );
        return Check::missing(NAME, found, "raise the limit: `ulimit -n 1024`");
    }
    Check::ok(NAME, format!("at most {limit}"))
}

fn images(folder: &Path) -> Check {
    writable(
        "image folder",
        folder,
        "give a folder that you can write to with --dir or GPUCKPT_DIR",
    )
}

/// Can files be made in `folder`, or it itself where it does not exist yet?
fn writable(name: &'static str, folder: &Path, advice: &'static str) -> Check {
    let existing = folder
        .ancestors()
        .find(|part| part.exists())
        .unwrap_or(Path::new("/"));
    let shown = folder.display();
    if !existing.is_dir() {
        return Check::missing(
            name,
            format!("{} is not a folder", existing.display()),
            advice,
        );
    }
    match access(existing, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) if existing == folder => Check::ok(name, shown.to_string()),
        Ok(()) => Check::ok(name, format!("{shown} (will be made)")),
        Err(error) => Check::missing(name, format!("{shown}: {}", error.desc()), advice),
    }
}

/// Files of an installation besides this program.
const FILES: [&str; 4] = [
    "lib/gpuckpt/driver/libcuda.so.1",
    "lib/gpuckpt/cudart/libcudart.so.12",
    "lib/gpuckpt/cudart/libcudart.so.13",
    "libexec/gpuckpt/mock/libcuda.so.1",
];

fn installation() -> Check {
    const NAME: &str = "installation";
    const ADVICE: &str =
        "copy the whole tree (bin, lib, libexec) together, or build it: cargo xtask dist";
    let prefix = match lower::prefix() {
        Ok(prefix) => prefix,
        Err(failure) => return Check::missing(NAME, failure.why.join("; "), ADVICE),
    };
    let lower = lower::program(&prefix);
    if let Err(error) = access(&lower, AccessFlags::X_OK) {
        return Check::missing(
            NAME,
            format!("{}: {}", lower.display(), error.desc()),
            ADVICE,
        );
    }
    match FILES
        .iter()
        .map(|file| prefix.join(file))
        .find(|path| !path.is_file())
    {
        Some(path) => Check::missing(NAME, format!("{} is missing", path.display()), ADVICE),
        None => Check::ok(NAME, prefix.display().to_string()),
    }
}

/// NVIDIA's driver. Its absence is no fault: the mock device and programs without
/// a GPU need none.
fn driver() -> Check {
    const NAME: &str = "NVIDIA driver";
    let version = fs::read_to_string("/proc/driver/nvidia/version");
    let module = version.ok().and_then(|text| module_version(&text));
    let library = library();
    match (module, library) {
        (Some(version), Some(path)) => Check::ok(NAME, format!("{version}, {}", path.display())),
        (None, None) => Check::ok(NAME, "none; --device mock and --device none work"),
        (Some(version), None) => Check::warning(
            NAME,
            format!("kernel module {version}, but no libcuda.so.1"),
            "install the driver's user libraries; in a container, start it with GPUs (--gpus all)",
        ),
        (None, Some(path)) => Check::warning(
            NAME,
            format!("{}, but no kernel module", path.display()),
            "the library without a device does nothing: load the driver's module, or use --device mock",
        ),
    }
}

/// The version in `/proc/driver/nvidia/version`: the first word that is numbers and dots.
fn module_version(text: &str) -> Option<String> {
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.lines()
        .next()?
        .split_whitespace()
        .find(is_version)
        .map(str::to_string)
}

fn library() -> Option<PathBuf> {
    const FOLDERS: [&str; 6] = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/nvidia/lib64",
        "/usr/lib/wsl/lib",
        "/run/opengl-driver/lib",
    ];
    let own = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let own: Vec<PathBuf> = std::env::split_paths(&own).collect();
    let folders = own.into_iter().chain(FOLDERS.map(PathBuf::from));
    let path = folders
        .map(|folder| folder.join("libcuda.so.1"))
        .find(|path| path.exists())?;
    // The file behind the link has the version in its name.
    Some(fs::canonicalize(&path).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        for (release, state) in [
            ("6.1.0-13-amd64\n", State::Ok),
            ("5.14.0-503.el9.x86_64", State::Ok),
            ("5.10.0", State::Warning),
            ("5.9.1", State::Warning),
            ("5.4.0-150-generic", State::Missing),
            ("4.18.0-553.el8", State::Missing),
            ("unknown", State::Warning),
            ("", State::Warning),
        ] {
            assert_eq!(kernel(release).state, state, "{release}");
        }
    }

    #[test]
    fn tracers() {
        assert_eq!(tracer("Name:\tx\nTracerPid:\t0\n").state, State::Ok);
        let check = tracer("TracerPid:\t77\n");
        assert_eq!(check.state, State::Missing);
        assert!(check.found.contains("77"));
        assert_eq!(tracer("").state, State::Warning);
    }

    #[test]
    fn the_drivers_version() {
        let text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC";
        assert_eq!(module_version(text).as_deref(), Some("550.54.15"));
        assert_eq!(module_version(""), None);
    }

    #[test]
    fn folders() {
        let dir = tempfile::TempDir::new().unwrap();
        assert_eq!(images(&dir.path().join("a/b")).state, State::Ok);
        assert_eq!(
            images(Path::new("/etc/passwd/images")).state,
            State::Missing
        );
        assert_eq!(
            sockets(&Path::new("/").join("x".repeat(100))).state,
            State::Missing
        );
        // A folder that others can look into, or a file, is no place for sockets.
        assert_eq!(sockets(Path::new("/usr")).state, State::Missing);
        assert_eq!(sockets(Path::new("/etc/passwd")).state, State::Missing);
    }

    #[test]
    fn people_read_advice_below_the_table() {
        let checks = [
            Check::ok("a", "fine"),
            Check::missing("b", "gone", "get it"),
        ];
        assert_eq!(
            people(&checks, false),
            "ok  a  fine\nNO  b  gone\n\nb: get it\n\nThis machine cannot checkpoint and restart programs.\n"
        );
    }
}
