//! Real programs in the upper half, hosted by `examples/host`: natively, under
//! launch, while they are parked again and again, and across restarts.

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Compiled guests and images.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| TempDir::new().expect("a temporary folder"))
        .path()
}

/// The miniature lower half, which cargo builds with the tests.
fn host() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/TEST");
    profile.join("examples/host")
}

fn compile(source: &str, flags: &[&str]) -> PathBuf {
    let output = folder().join(format!("{source}{}", flags.concat()));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    let compiler = if source.ends_with(".cc") { "c++" } else { "cc" };
    let status = Command::new(compiler)
        .args(["-O2", "-pthread"])
        .args(flags)
        .arg(folder.join(source))
        .arg("-o")
        .arg(&output)
        .status()
        .expect("the compiler runs");
    assert!(status.success(), "{source} does not compile");
    output
}

thread_local! {
    /// What this test's programs are told about FSGSBASE.
    static FSGSBASE: Cell<&'static str> = const { Cell::new("") };
}

fn run(command: &mut Command) -> Output {
    command
        .env("GUEST", "yes")
        .env(upper_half::FSGSBASE_VARIABLE, FSGSBASE.get())
        .output()
        .expect("the command runs")
}

fn launch(options: &[&str], program: &[&str]) -> Output {
    run(Command::new(host()).args(options).arg("--").args(program))
}

fn text(output: &Output) -> String {
    let status = output.status;
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}{status}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// Natively and under launch, with the same result; then parked often.
fn same_as_native(program: &[&str], park: Option<&str>) {
    let native = run(Command::new(program[0]).args(&program[1..]));
    assert_eq!(text(&native), text(&launch(&[], program)), "{program:?}");
    if let Some(every) = park {
        assert_eq!(
            text(&native),
            text(&launch(&["--park", every], program)),
            "{program:?} parked"
        );
    }
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

const KINDS: [&[&str]; 4] = [&[], &["-static"], &["-static-pie"], &["-no-pie"]];

#[test]
fn every_kind_of_program_is_what_it_is_natively() {
    for flags in KINDS {
        let guest = compile("hello.c", flags);
        same_as_native(&[name(&guest), "7"], Some("500"));
    }
}

#[test]
fn threads_end_as_natively() {
    for flags in [&[][..], &["-static"]] {
        same_as_native(&[name(&compile("threads.c", flags))], Some("2000"));
    }
    same_as_native(&[name(&compile("exceptions.cc", &[]))], Some("2000"));
}

#[test]
fn no_call_ends_early_or_late_because_of_a_park() {
    let guest = compile("blocking.c", &[]);
    same_as_native(&[name(&guest), "2"], Some("8000"));
}

#[test]
fn signals_are_as_natively() {
    same_as_native(&[name(&compile("signals.c", &[]))], Some("3000"));
}

#[test]
fn handlers_that_are_to_run_once_do_so() {
    same_as_native(&[name(&compile("once.c", &[]))], Some("3000"));
}

#[test]
fn children_are_as_natively() {
    same_as_native(&[name(&compile("children.c", &[]))], Some("3000"));
}

#[test]
fn scripts_and_shells_run() {
    use std::os::unix::fs::PermissionsExt;
    let script = |file: &str, text: &str| {
        let path = folder().join(file);
        std::fs::write(&path, text).expect("a script");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("permissions");
        path
    };
    let inner = script("inner.sh", "#!/bin/sh\necho inner \"$@\"; exit 9\n");
    let outer = script("outer.sh", &format!("#!{} one  two\n", name(&inner)));
    same_as_native(&[name(&outer), "three"], Some("1000"));
    let pipes = "for i in 1 2 3 4 5 6; do echo $i | cat | sort | wc -l; done; exec sh -c 'exit 6'";
    same_as_native(&["/bin/sh", "-c", pipes], Some("1000"));
    same_as_native(&["/bin/sh", "-c", "kill -TERM $$"], None);
}

#[test]
fn what_cannot_be_executed_has_the_shells_status() {
    assert_eq!(
        launch(&[], &["/nonexistent/program"]).status.code(),
        Some(127)
    );
    assert_eq!(launch(&[], &["/etc/passwd"]).status.code(), Some(126));
}

#[test]
fn the_gate_is_called_from_threads_and_handlers() {
    // Not natively: there is no gate.
    let guest = compile("gate.c", &[]);
    for options in [&[][..], &["--park", "2000"]] {
        let output = launch(options, &[name(&guest)]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// Saves the program when a handler has interrupted it before this instruction of the
/// gate, and restores it on a machine as `then` says: false when the gate has no such
/// instruction.
fn restarted_at(step: usize, guest: &Path, state: &[&str], then: &'static str) -> bool {
    let (image, go) = (folder().join("gates.image"), folder().join("go"));
    let (image, go) = (name(&image), name(&go));
    let _ = std::fs::remove_file(go);
    let save = ["--save", image, "--after", "40"];
    let number = step.to_string();
    let program = [&[name(guest), &number, go], state].concat();
    let mut output = launch(&save, &program);
    while output.status.code() == Some(85) && output.stdout.is_empty() {
        output = run(Command::new(host()).args(save).args(["--restore", image]));
    }
    if output.status.signal() == Some(libc::SIGTRAP) {
        return false;
    }
    assert_eq!(output.status.code(), Some(85), "{step}: {}", text(&output));
    std::fs::write(go, "").expect("the file that it waits for");
    if then == "off" {
        forbid(image);
    }
    let before = FSGSBASE.replace(then);
    let output = run(Command::new(host()).args(["--restore", image]));
    assert_eq!(
        text(&output),
        "failures: 0\nexit status: 0",
        "instruction {step}"
    );
    FSGSBASE.set(before);
    true
}

/// Makes the gate's FSGSBASE instructions in an image undefined ones.
fn forbid(image: &str) {
    let mut bytes = std::fs::read(image).expect("the image");
    for i in 0..bytes.len() - 4 {
        if let [0xf3, 0x48, 0x0f, 0xae, 0xc0..=0xdf] = bytes[i..i + 5] {
            bytes[i..i + 5].copy_from_slice(&[0x0f, 0x0b, 0x0f, 0x0b, 0x90]);
        }
    }
    std::fs::write(image, bytes).expect("a changed image");
}

#[test]
fn a_thread_may_be_anywhere_in_the_gate_when_it_is_saved() {
    let guest = compile("gates.c", &[]);
    for (fsgsbase, then) in [("", "off"), ("", ""), ("off", "")] {
        FSGSBASE.set(fsgsbase);
        for state in [&[][..], &["closed"]] {
            let restarted = |step: &usize| restarted_at(*step, &guest, state, then);
            let steps = (0..).take_while(restarted).count();
            assert!(steps > 5, "{steps} instructions of the gate");
        }
    }
}

#[test]
fn system_calls_take_the_place_of_instructions() {
    FSGSBASE.set("off");
    for flags in [&[][..], &["-static"]] {
        same_as_native(&[name(&compile("hello.c", flags)), "7"], Some("500"));
    }
    same_as_native(&[name(&compile("once.c", &[]))], Some("3000"));
    same_as_native(&[name(&compile("children.c", &[]))], Some("3000"));
    let output = launch(&["--park", "2000"], &[name(&compile("gate.c", &[]))]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn nobody_is_told_of_the_instructions() {
    let show = ["/bin/sh", "-c", "LD_SHOW_AUXV=1 exec /bin/true"];
    let text = text(&launch(&[], &show));
    let line = text.lines().rfind(|l| l.starts_with("AT_HWCAP2"));
    let value = line.and_then(|l| l.split_ascii_whitespace().last());
    let digits = value.unwrap_or_else(|| panic!("{text}"));
    let digits = digits.trim_start_matches("0x");
    assert_eq!(
        u64::from_str_radix(digits, 16).map(|v| v & 2),
        Ok(0),
        "{text}"
    );
}

/// Natively, then saved and restored again and again, with the same result.
fn chain(source: &str, flags: &[&str]) {
    let guest = compile(source, flags);
    let native = text(&run(&mut Command::new(&guest)));
    let image = folder().join(format!("{source}{}.image", flags.concat()));
    let image = name(&image);
    let mut output = launch(&["--save", image, "--after", "100"], &[name(&guest)]);
    let mut restarts = 0;
    while output.status.code() == Some(85) && restarts < 200 {
        restarts += 1;
        let after = (40 + restarts * 37 % 110).to_string();
        let options = ["--save", image, "--after", &after, "--restore", image];
        output = run(Command::new(host()).args(options));
    }
    assert!(
        restarts > 2,
        "{source} ended after {restarts} restarts: {}",
        text(&output)
    );
    assert_eq!(
        native,
        text(&output),
        "{source} {flags:?} after {restarts} restarts"
    );
}

#[test]
fn a_chain_of_restarts_continues_the_program() {
    for flags in KINDS {
        chain("continued.c", flags);
    }
}

#[test]
fn locks_that_know_their_owner_work_across_restarts() {
    let guest = compile("mutexes.c", &[]);
    same_as_native(&[name(&guest)], Some("2000"));
    chain("mutexes.c", &[]);
    chain("mutexes.c", &["-static"]);
}

#[test]
fn a_child_shares_locks_that_know_their_owner_after_a_restart() {
    let guest = compile("shared_lock.c", &[]);
    same_as_native(&[name(&guest)], None);
    let image = folder().join("shared_lock.image");
    let image = name(&image);
    let saved = launch(&["--save", image, "--after", "100"], &[name(&guest)]);
    assert_eq!(saved.status.code(), Some(85), "{}", text(&saved));
    let restarted = run(Command::new(host()).args(["--restore", image]));
    assert!(restarted.status.success(), "{}", text(&restarted));
}

#[test]
fn senders_are_told_in_ids_that_the_program_knows() {
    let guest = compile("senders.c", &[]);
    same_as_native(&[name(&guest)], Some("2000"));
    chain("senders.c", &[]);
}

/// Makes the image's program know itself by `id`, and its threads by some that follow.
fn rename_program(image: &str, id: u64) {
    let bytes = std::fs::read(image).expect("the image");
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("its length")) as usize;
    let (index, data) = bytes[8..].split_at(length);
    let mut index: serde_json::Value = serde_json::from_slice(index).expect("the index");
    index["state"]["ids"]["pid"]["virt"] = id.into();
    let threads = index["state"]["threads"].as_array_mut();
    for (i, thread) in threads.expect("its threads").iter_mut().enumerate() {
        thread["vtid"] = (id + 3 * i as u64).into();
    }
    let index = serde_json::to_vec(&index).expect("an index");
    let length = (index.len() as u64).to_le_bytes();
    std::fs::write(image, [&length[..], &index, data].concat()).expect("the image");
}

/// The id that the kernel gives next, or nearly.
fn next_id() -> u64 {
    let mut child = Command::new("true").spawn().expect("a process");
    child.wait().expect("its end");
    u64::from(child.id()) + 1
}

#[test]
fn a_child_may_get_the_id_by_which_the_program_knows_itself() {
    let guest = compile("collision.c", &[]);
    let image = folder().join("collision.image");
    let image = name(&image);
    let unshare = [
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
    ];
    let alone = Command::new("unshare").args(unshare).arg("true").output();
    let alone = alone.is_ok_and(|o| o.status.success());
    let mut found = [false; 2];
    for forks_only in [true, false].repeat(30) {
        let arguments = [name(&guest), "forks"];
        let arguments = &arguments[..1 + usize::from(forks_only)];
        let saved = launch(&["--save", image, "--after", "100"], arguments);
        assert_eq!(saved.status.code(), Some(85), "{}", text(&saved));
        // Alone in a namespace the ids begin at 1; else others take many of them.
        let id = if alone { 80 } else { next_id() + 2500 };
        rename_program(image, id);
        let mut command = Command::new(host());
        if alone {
            command = Command::new("unshare");
            command.args(unshare).arg(host());
        }
        let output = run(command.args(["--restore", image]));
        assert!(output.status.success(), "{}", text(&output));
        found[usize::from(forks_only)] |= text(&output).contains("collided");
        if found == [true; 2] {
            return;
        }
    }
    panic!("no child got an id of the program: {found:?}");
}

#[test]
fn bad_addresses_are_errors_as_natively() {
    same_as_native(&[name(&compile("faults.c", &[]))], None);
}

#[test]
fn a_wait_that_is_interrupted_does_not_begin_anew() {
    same_as_native(&[name(&compile("timeouts.c", &[]))], Some("1000000"));
}

#[test]
fn calls_that_move_much_move_all_of_it() {
    same_as_native(&[name(&compile("bulk.c", &[]))], Some("5000"));
}

#[test]
fn calls_without_the_c_library_are_taken_for_what_they_are() {
    same_as_native(&[name(&compile("raw.c", &[]))], Some("2000"));
}
