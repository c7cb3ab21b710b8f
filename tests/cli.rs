//! The command line as scripts see it: exit statuses, what goes to which stream, what
//! an exec hands on. `gpuckpt-lower` is a shell script here, a job is a thread of the
//! test.

use lower_half::config::{Action, Bytes, Compress, Config, Device, Files, JobOptions, VERSION};
use lower_half::facts::{JOB, JOB_VERSION, JobFacts, Machine};
use lower_half::protocol::{CheckpointReport, JobRecord, Reply};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};
use tempfile::TempDir;
use transparent_core::fds;
use transparent_core::image::{Compression, SectionKind, Store};

/// An installation whose `gpuckpt-lower` is the script `lower`.
struct Installation(TempDir);

impl Installation {
    fn with_lower(lower: &str) -> Self {
        let it = Self(TempDir::new().unwrap());
        for folder in ["bin", "libexec/gpuckpt", "run"] {
            fs::create_dir_all(it.path(folder)).unwrap();
        }
        fs::write(it.path("lower.sh"), format!("#!/bin/sh\n{lower}\n")).unwrap();
        let bin = PathBuf::from(env!("CARGO_BIN_EXE_gpuckpt"));
        install(&bin, &it.path("bin/gpuckpt"));
        install(
            &it.path("lower.sh"),
            &it.path("libexec/gpuckpt/gpuckpt-lower"),
        );
        it
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn images(&self) -> PathBuf {
        self.path("images")
    }

    /// A command that sees nothing of this user's jobs.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.0.path())
            .env("GPUCKPT_DIR", self.images())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env_remove("SLURM_JOB_ID");
        command
    }

    fn gpuckpt(&self, args: &[&str]) -> Output {
        self.command(self.path("bin/gpuckpt"))
            .args(args)
            .output()
            .unwrap()
    }

    /// The same, started by a shell that does `before` first.
    fn shell(&self, before: &str, args: &str) -> Output {
        let script = format!("{before}\nexec bin/gpuckpt {args}");
        self.command("/bin/sh")
            .args(["-c", &script])
            .output()
            .unwrap()
    }
}

/// Copies a program, in a process of its own: a file that this process writes could be
/// open in a child of another test just when it is to be executed ("text file busy").
fn install(from: &Path, to: &Path) {
    let status = Command::new("install")
        .args(["-m", "755"])
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn words(list: &[Bytes]) -> Vec<String> {
    list.iter()
        .map(|word| String::from_utf8_lossy(&word.0).into_owned())
        .collect()
}

#[test]
fn launch_hands_on_the_command_and_its_environment() {
    let it = Installation::with_lower("[ \"$1\" = --config-fd ] && cat /dev/fd/$2; exit 7");
    let output = it
        .command(it.path("bin/gpuckpt"))
        .args([
            "launch", "--device", "mock", "--keep", "2", "sh", "--name", "x", "-c",
        ])
        .env("LD_BIND_NOW", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert_eq!(
        stderr(&output),
        "",
        "gpuckpt speaks only when it has something to say"
    );
    let config: Config = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(config.version, VERSION);
    assert_eq!(
        (config.job.name.as_str(), config.job.device),
        ("sh", Device::Mock)
    );
    assert_eq!(
        (config.job.keep, config.job.dir.to_path()),
        (Some(2), it.images())
    );
    let Action::Launch {
        program,
        argv,
        env,
        inherited,
    } = config.action
    else {
        panic!("not a launch");
    };
    assert!(program.to_path().is_absolute());
    assert_eq!(words(&argv), ["sh", "--name", "x", "-c"]);
    assert!(words(&env).contains(&"LD_BIND_NOW=1".to_string()));
    assert!(inherited.is_none());
    let mode = fs::metadata(it.images()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "images are their user's alone");
}

#[test]
fn the_lower_half_gets_no_variables_of_the_loader() {
    let it = Installation::with_lower("env");
    let output = it.shell(
        "export LD_BIND_NOW=1 LD_LIBRARY_PATH=/x KEPT=1",
        "launch true",
    );
    let text = stdout(&output);
    assert!(text.contains("KEPT=1"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("LD_")), "{text}");
}

#[test]
fn the_application_inherits_signals_and_descriptors_as_they_were() {
    let it = Installation::with_lower(
        "grep -E '^Sig(Blk|Ign)' /proc/self/status; [ -e /proc/$$/fd/0 ] || echo no stdin",
    );
    let native = |before: &str| {
        let script = format!("{before}\nexec libexec/gpuckpt/gpuckpt-lower");
        stdout(
            &it.command("/bin/sh")
                .args(["-c", &script])
                .output()
                .unwrap(),
        )
    };
    for before in ["", "trap '' PIPE", "trap '' INT USR1", "exec <&-"] {
        let ours = stdout(&it.shell(before, "launch true"));
        assert_eq!(ours, native(before), "after `{before}`");
    }
}

#[test]
fn exit_statuses_of_what_cannot_be_started() {
    let it = Installation::with_lower("exit 0");
    let status = |args: &[&str]| it.gpuckpt(args).status.code();
    fs::write(it.path("plain"), "echo").unwrap();
    assert_eq!(status(&["launch", "no-such-command"]), Some(127));
    assert_eq!(status(&["launch", "./plain"]), Some(126));
    assert_eq!(status(&["launch", "/"]), Some(126));
    assert_eq!(status(&["launch"]), Some(125));
    assert_eq!(status(&["launch", "--no-such-option", "true"]), Some(125));
    assert_eq!(status(&["launch", "--name", "a/b", "true"]), Some(125));
    assert_eq!(status(&["no-such-command"]), Some(125));
    assert_eq!(status(&["--help"]), Some(0));
    assert_eq!(status(&["launch", "true"]), Some(0));
    fs::remove_file(it.path("libexec/gpuckpt/gpuckpt-lower")).unwrap();
    let output = it.gpuckpt(&["launch", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("[incomplete-installation]"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_limit_of_open_files_that_is_too_low_is_told_with_what_to_do() {
    let it = Installation::with_lower("exit 0");
    for limit in [8, 16, 63] {
        let output = it.shell(&format!("ulimit -n {limit}"), "launch true");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(125), "{limit}: {said}");
        for part in [
            "[start-failed]",
            &format!("is {limit},"),
            "`ulimit -n 1024`",
        ] {
            assert!(said.contains(part), "{limit}: {said}");
        }
    }
    let output = it.shell("ulimit -n 64", "launch true");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// A job of this test's process, which answers each of `exchanges` in turn.
fn job(it: &Installation, name: &str, exchanges: Vec<Vec<Reply>>) -> JoinHandle<Vec<String>> {
    let socket = it.path("run").join(format!("{name}.sock"));
    let listener = UnixListener::bind(&socket).unwrap();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let record = JobRecord {
        version: 1,
        host: fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap()
            .trim()
            .into(),
        pid: std::process::id().cast_signed(),
        start_time: fields.split_whitespace().nth(19).unwrap().parse().unwrap(),
        socket: Bytes::from(socket.as_path()),
    };
    let folder = it.images().join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join("job.json"),
        serde_json::to_vec(&record).unwrap(),
    )
    .unwrap();
    thread::spawn(move || {
        let serve = |replies: Vec<Reply>| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            for reply in replies {
                let line = serde_json::to_string(&reply).unwrap();
                writeln!(stream, "{line}").unwrap();
            }
            request
        };
        exchanges.into_iter().map(serve).collect()
    })
}

fn report() -> CheckpointReport {
    CheckpointReport {
        image: "/images/a/ckpt-00000001".into(),
        stall_ms: 1.5,
        write_ms: 20.0,
        bytes_host: 4096,
        bytes_device: 0,
        bytes_written: 2048,
        threads: 1,
    }
}

#[test]
fn checkpoint_asks_the_job_and_prints_one_object() {
    let it = Installation::with_lower("exit 0");
    let progress = Reply::Progress {
        phase: "host".into(),
        done: 1,
        total: 2,
    };
    let server = job(&it, "a", vec![vec![progress, Reply::Done(report())]]);
    let output = it.gpuckpt(&["checkpoint", "--json", "--wait", "5", "a"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "no bar without a terminal");
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["image"], "/images/a/ckpt-00000001");
    assert_eq!(object["bytes_written"], 2048);
    let request = server.join().unwrap().remove(0);
    let expected = "{\"request\":\"checkpoint\",\"kill\":false,\"deadline_ms\":5000}\n";
    assert_eq!(request, expected);
}

#[test]
fn a_refused_checkpoint_gives_every_reason() {
    let it = Installation::with_lower("exit 0");
    let reasons = vec![
        "descriptor 5: one".to_string(),
        "descriptor 6: two".to_string(),
    ];
    let server = job(
        &it,
        "a",
        vec![vec![Reply::Failed {
            reasons,
            refused: true,
        }]],
    );
    let output = it.gpuckpt(&["checkpoint"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(stdout(&output), "");
    let text = stderr(&output);
    assert!(text.contains("[refused]") && text.contains("5: one") && text.contains("6: two"));
    server.join().unwrap();
}

#[test]
fn a_job_that_dies_amid_a_checkpoint_is_an_error() {
    let it = Installation::with_lower("exit 0");
    let progress = Reply::Progress {
        phase: "quiesce".into(),
        done: 0,
        total: 0,
    };
    let server = job(&it, "a", vec![vec![progress]]);
    let output = it.gpuckpt(&["checkpoint", "a"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("[job-gone]"),
        "{}",
        stderr(&output)
    );
    server.join().unwrap();
}

#[test]
fn a_running_name_cannot_be_taken_twice() {
    let it = Installation::with_lower("exit 0");
    let server = job(&it, "true", vec![]);
    let output = it.gpuckpt(&["launch", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("[job-running]"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        it.gpuckpt(&["launch", "--name", "other", "true"])
            .status
            .code(),
        Some(0)
    );
    server.join().unwrap();
}

#[test]
fn status_without_jobs_is_no_error() {
    let it = Installation::with_lower("exit 0");
    let output = it.gpuckpt(&["status", "--json"]);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(0), "[]\n")
    );
    assert_eq!(it.gpuckpt(&["status", "nobody"]).status.code(), Some(125));
    assert_eq!(it.gpuckpt(&["checkpoint"]).status.code(), Some(125));
}

/// An image of a job `name` that this machine could have made.
fn image(it: &Installation, name: &str) -> PathBuf {
    let options = JobOptions {
        name: name.into(),
        dir: Bytes::from(it.images().as_path()),
        device: Device::Auto,
        interval: None,
        compress: Compress::None,
        keep: None,
        files: Files::Keep,
        strict: false,
    };
    let machine = Machine::here();
    let program = Bytes(b"/bin/true".to_vec());
    let facts = JobFacts {
        options,
        device: Device::Mock,
        program,
        argv: vec![],
        machine,
    };
    let store = Store::open(&it.images(), name).unwrap();
    let writer = store.create(Compression::None).unwrap();
    writer
        .put_bincode(JOB, SectionKind::JOB, JOB_VERSION, &facts)
        .unwrap();
    let descriptors = fds::FdTable::default();
    writer
        .put_bincode(fds::SECTION, SectionKind::FDS, fds::VERSION, &descriptors)
        .unwrap();
    writer
        .put_bytes("payload", SectionKind::UPPER, 1, &[3; 5000])
        .unwrap();
    writer.commit().unwrap()
}

#[test]
fn restart_takes_the_newest_image_and_its_options() {
    let it = Installation::with_lower("cat /dev/fd/$2; exit 9");
    assert_eq!(it.gpuckpt(&["restart"]).status.code(), Some(125));
    let first = image(&it, "a");
    let second = image(&it, "a");
    let restart = |args: &[&str]| {
        let output = it.gpuckpt(args);
        assert_eq!(output.status.code(), Some(9), "{}", stderr(&output));
        serde_json::from_slice::<Config>(&output.stdout).unwrap()
    };
    let config = restart(&["restart"]);
    assert_eq!(
        config.action,
        Action::Restart {
            image: Bytes::from(second.as_path())
        }
    );
    assert_eq!(
        (config.job.device, config.job.files),
        (Device::Mock, Files::Keep)
    );
    let path = first.to_str().unwrap();
    let config = restart(&["restart", path, "--name", "b", "--device", "none"]);
    assert_eq!(
        config.action,
        Action::Restart {
            image: Bytes::from(first.as_path())
        }
    );
    assert_eq!(
        (config.job.name.as_str(), config.job.device),
        ("b", Device::None)
    );
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn verify_names_what_is_damaged() {
    let it = Installation::with_lower("exit 0");
    let folder = image(&it, "a");
    let path = folder.to_str().unwrap();
    let output = it.gpuckpt(&["verify", "a"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    flip(&folder.join("payload.section"), 1000);
    let output = it.gpuckpt(&["verify", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("payload"), "{}", stderr(&output));
    let output = it.gpuckpt(&["verify", "--json", path]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["valid"], false);
    flip(&folder.join("manifest"), 30);
    let output = it.gpuckpt(&["verify", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("manifest"), "{}", stderr(&output));
    let output = it.gpuckpt(&["restart", path]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("[image-damaged]"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn inspect_shows_images_that_have_no_summary() {
    let it = Installation::with_lower("exit 0");
    image(&it, "a");
    let output = it.gpuckpt(&["inspect", "--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        object["sections"].as_array().map(Vec::len),
        Some(3),
        "{object}"
    );
    assert!(stdout(&it.gpuckpt(&["inspect", "a"])).contains("payload"));
}

#[test]
fn output_into_a_closed_pipe_ends_quietly() {
    let it = Installation::with_lower("exit 0");
    let output = it
        .command("/bin/sh")
        .args(["-c", "bin/gpuckpt doctor | true"])
        .output()
        .unwrap();
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}

/// A machine without FSGSBASE lacks nothing: a driver call costs more, and how much is said.
#[test]
fn doctor_says_what_works_less_well() {
    let it = Installation::with_lower("exit 0");
    let mut doctor = it.command(it.path("bin/gpuckpt"));
    doctor.args(["doctor", "--json"]);
    doctor.env(upper_half::FSGSBASE_VARIABLE, "off");
    let output = doctor.output().unwrap();
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = object["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "fsgsbase");
    let check = check.expect("it looks at this");
    assert_eq!(check["state"], "warning", "{object}");
    let words = check["found"].as_str().unwrap().split(' ');
    let numbers: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
    assert!(matches!(numbers[..], [price] if price > 0.0), "{check}");
}

#[test]
fn doctor_says_what_is_missing() {
    let it = Installation::with_lower("exit 0");
    let output = it.gpuckpt(&["doctor", "--json"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "this installation has no libraries"
    );
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = object["checks"].as_array().unwrap();
    let missing: Vec<&Value> = checks
        .iter()
        .filter(|check| check["state"] == "missing")
        .collect();
    assert_eq!(missing.len(), 1, "{object}");
    assert_eq!(missing[0]["name"], "installation");
    assert_ne!(missing[0]["advice"], "");
}
