//! What goes wrong in a checkpoint leaves the previous image valid and newest, and
//! the job unharmed where it survives.

mod common;

use common::guests::find;
use common::job::{Bench, FAILURE, Finished};
use lower_half::faults::Phase;
use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KILLED: i32 = 128 + Signal::SIGKILL as i32;

/// Before the commit point: what happens there must not be seen in any image.
const BEFORE_COMMIT: [&str; 7] = [
    "preflight",
    "drain",
    "rendezvous",
    "host",
    "device",
    "manifest",
    "before-rename",
];

/// The phases of the product's table, but the last, are those that the tests go through.
#[test]
fn every_phase_before_the_commit_is_here() {
    let known = Phase::ALL.iter().map(|(name, _)| *name);
    assert_eq!(
        known.collect::<Vec<_>>(),
        [BEFORE_COMMIT.as_slice(), &["after-rename"]].concat()
    );
}

/// A fault with a slip in it must not make a test pass in which nothing fails.
#[test]
fn an_unknown_fault_is_refused() {
    for (fault, named) in [
        ("rendevous:abort", "rendezvous"),
        ("host:abrot", "abort"),
        ("host", "before-rename"),
    ] {
        let mut bench = Bench::new(find("plain_pie"));
        bench.env.push(("GPUCKPT_FAULT".into(), fault.into()));
        bench.launch();
        let finished = bench.finish();
        assert_eq!(finished.code, FAILURE, "{fault}: {finished:#?}");
        assert!(
            finished.err.contains("GPUCKPT_FAULT") && finished.err.contains(named),
            "{fault}: {finished:#?}"
        );
        assert_eq!(finished.out, "", "{fault}: nothing of the program ran");
    }
}

/// A job that was saved once and restarted with `GPUCKPT_FAULT=fault`; and what its
/// undisturbed run gives.
fn saved_once(guest: &str, fault: &str) -> (Bench, Finished, PathBuf) {
    let mut bench = Bench::new(find(guest));
    let expected = bench.native();
    bench.launch();
    assert!(
        bench.wait_ready() && bench.wait_for_progress(0),
        "no progress"
    );
    assert!(bench.checkpoint_kill(), "the guest ended too soon");
    let first = newest(&bench);
    bench.env.push(("GPUCKPT_FAULT".into(), fault.into()));
    bench.restart();
    bench.env.clear();
    assert!(bench.wait_ready(), "the restarted job ended");
    (bench, expected, first)
}

fn newest(bench: &Bench) -> PathBuf {
    bench.images_of_job().pop().expect("an image")
}

fn assert_newest_is_valid(bench: &Bench, image: &PathBuf, when: &str) {
    assert_eq!(&newest(bench), image, "{when}: the newest image");
    bench.ask(&["verify", bench.name()]).expect_success(when);
}

/// `kill -9` in a phase before the commit: the first image is the newest one.
fn killed_in(phase: &str) {
    let (mut bench, expected, first) = saved_once("driver_ptx", &format!("{phase}:abort"));
    let answer = bench.checkpoint(&[]);
    assert_ne!(
        answer.code, 0,
        "{phase}: a checkpoint of a job that was killed: {answer:#?}"
    );
    assert_eq!(bench.finish().code, KILLED, "{phase}");
    assert_newest_is_valid(&bench, &first, phase);
    bench.restart();
    if bench.wait_ready() {
        // The next checkpoint clears up what the killed one left.
        assert!(bench.checkpoint_kill(), "{phase}: the guest ended too soon");
        let names = fs::read_dir(bench.images.join(bench.name())).expect("the images");
        let temporary = names
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with(".tmp"))
            .count();
        assert_eq!(temporary, 0, "{phase}: temporary folders stayed");
        bench.restart();
    }
    assert_eq!(
        bench.finish(),
        expected,
        "{phase}: after a kill, against native"
    );
}

macro_rules! killed {
    ($($test:ident $phase:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                killed_in($phase);
            }
        )*

        #[test]
        fn every_phase_has_a_test() {
            let tested = [$($phase),*];
            assert_eq!(tested, BEFORE_COMMIT);
        }
    };
}

killed!(
    killed_in_preflight "preflight",
    killed_while_draining "drain",
    killed_at_the_rendezvous "rendezvous",
    killed_while_saving_the_host "host",
    killed_while_saving_the_device "device",
    killed_at_the_manifest "manifest",
    killed_before_the_rename "before-rename",
);

/// After the commit point the new image is the newest one, whatever happens.
#[test]
fn killed_after_the_rename() {
    let (mut bench, expected, first) = saved_once("driver_ptx", "after-rename:abort");
    let _ = bench.checkpoint(&[]);
    assert_eq!(bench.finish().code, KILLED);
    let second = newest(&bench);
    assert_ne!(second, first, "the commit point was passed");
    assert_newest_is_valid(&bench, &second, "after the rename");
    bench.restart();
    assert_eq!(bench.finish(), expected, "after a kill, against native");
}

/// A disk that is full in each phase: the checkpoint fails and says so, the job
/// runs on to its right end.
#[test]
fn full_in_each_phase() {
    for phase in BEFORE_COMMIT {
        let (mut bench, expected, first) = saved_once("driver_ptx", &format!("{phase}:enospc"));
        for _ in 0..2 {
            let answer = bench.checkpoint(&[]);
            assert_eq!(answer.code, FAILURE, "{phase}: {answer:#?}");
            let said = answer.err.to_lowercase();
            assert!(
                said.contains("space") || said.contains("full"),
                "{phase}: {answer:#?}"
            );
        }
        assert_newest_is_valid(&bench, &first, phase);
        assert_eq!(
            bench.finish(),
            expected,
            "{phase}: on a full disk, against native"
        );
    }
}

/// The files below `folder` with checksums of their contents.
fn contents(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.push((path, xxhash_rust::xxh3::xxh3_64(&bytes)));
        }
    }
    found.sort();
    found
}

/// A restart that fails, here because a file that the job had open is gone: the job's
/// folder is as it was, nothing says that the job runs, and the image restarts when the
/// cause is mended.
#[test]
fn a_restart_that_fails_leaves_the_jobs_folder_as_it_was() {
    let mut bench = Bench::new(find("files"));
    let expected = bench.native();
    bench.launch();
    assert!(
        bench.wait_ready() && bench.wait_for_progress(0),
        "no progress"
    );
    assert!(bench.checkpoint_kill(), "the guest ended too soon");
    let folder = bench.images.join(bench.name());
    let (work, away, run) = (bench.path("work"), bench.path("away"), bench.path("run"));
    let record = folder.join("job.json");
    fs::create_dir(&run).expect("a folder for the socket");
    for known in [true, false] {
        if !known {
            fs::remove_file(&record).expect("the job's record");
        }
        let before = contents(&folder);
        fs::rename(&work, &away).expect("the files moved away");
        let mut restart = bench.gpuckpt(&["restart", bench.name()]);
        let failed = bench.answer(restart.env("XDG_RUNTIME_DIR", &run), "restart");
        assert_eq!(failed.code, FAILURE, "{failed:#?}");
        assert!(
            failed.err.contains(work.to_str().expect("a path")),
            "the file is not named: {failed:#?}"
        );
        assert_eq!(contents(&folder), before, "the job's folder");
        assert_eq!(contents(&run), [], "a socket of nobody");
        let status = bench.ask(&["status", bench.name()]);
        assert!(status.err.contains("[no-job]"), "{status:#?}");
        fs::rename(&away, &work).expect("the files moved back");
    }
    bench.restart();
    assert_eq!(bench.finish(), expected, "against native");
}

/// Of processes that are not seen: one has ended, one is of another PID namespace.
#[test]
fn only_sockets_on_which_nobody_answers_are_swept_away() {
    use std::os::unix::fs::DirBuilderExt;
    use std::os::unix::net::UnixListener;
    let bench = Bench::new(find("plain_pie"));
    let run = bench.path("run");
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(run.join("gpuckpt")).expect("a folder");
    let place = |pid: i32| run.join(format!("gpuckpt/{pid}.sock"));
    let (ended, elsewhere) = (place(5_000_001), place(5_000_002));
    drop(UnixListener::bind(&ended).expect("a socket"));
    let _listener = UnixListener::bind(&elsewhere).expect("a socket");
    let mut launch = bench.gpuckpt(&["launch", "--device", "none", "--", "true"]);
    bench
        .answer(launch.env("XDG_RUNTIME_DIR", &run), "launch")
        .expect_success("launch");
    assert!(!ended.exists(), "nobody answers on it");
    assert!(elsewhere.exists(), "somebody answers on it");
}

/// Launches a job by a shell script that puts it onto a disk of `$IMAGES` which is too
/// small, or under a limit that is; asks for a checkpoint, twice; and waits for its end.
/// Gives what the commands said, after the assertion that the job was unharmed.
fn too_small(bench: &mut Bench, shell: &[&str], prelude: &str) -> String {
    let expected = bench.native();
    let script = format!(
        r#"
        set -eu
        {prelude}
        "$GPUCKPT" launch --name full --dir "$IMAGES" --compress none --device none -- "$@" > "$OUT" &
        job=$!
        until "$GPUCKPT" status --dir "$IMAGES" full > /dev/null 2>&1; do sleep 0.02; done
        set +e
        for i in 1 2; do
            "$GPUCKPT" checkpoint --dir "$IMAGES" full
            echo "checkpoint $?"
        done
        ls -A "$IMAGES/full"
        wait $job
        echo "job $?"
    "#
    );
    fs::create_dir_all(&bench.images).expect("the folder of images");
    let out = bench.path("full-output");
    let guest = find("threads_malloc");
    let (first, rest) = shell.split_first().expect("a shell");
    let mut command = Command::new(first);
    command
        .args(rest)
        .args(["-c", &script, "full"])
        .args(guest.command())
        .arg(guest.steps.to_string())
        .env("IMAGES", &bench.images)
        .env("GPUCKPT", bench.dist.join("bin/gpuckpt"))
        .env("OUT", &out);
    let answer = bench.answer(&mut command, "a job without room for an image");
    assert_eq!(
        answer.out, "checkpoint 125\ncheckpoint 125\njob.json\njob 0\n",
        "{answer:#?}"
    );
    let said = fs::read_to_string(out).expect("the output");
    assert_eq!(said, expected.out, "against native");
    answer.err.to_lowercase()
}

/// A way to a mount namespace of the test's own: by a user namespace, or as root.
fn namespace(bench: &Bench) -> &'static [&'static str] {
    const BY_USER: &[&str] = &[
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--propagation",
        "private",
    ];
    const AS_ROOT: &[&str] = &["unshare", "--mount", "--propagation", "private"];
    let folder = bench.path("probe");
    fs::create_dir_all(&folder).expect("a folder to mount on");
    let mut said = String::new();
    for way in [BY_USER, AS_ROOT] {
        let mut probe = Command::new(way[0]);
        probe.args(&way[1..]);
        probe.args(["mount", "-t", "tmpfs", "tmpfs"]).arg(&folder);
        let answer = bench.answer(&mut probe, "a mount in a namespace");
        if answer.code == 0 {
            return way;
        }
        said += &answer.err;
    }
    panic!(
        "a full disk cannot be made here: allow user namespaces (kernel.unprivileged_userns_clone, \
         user.max_user_namespaces, the container's seccomp profile), or run as root: {said}"
    );
}

/// A real full disk: a small tmpfs in a mount namespace of the test's own.
#[test]
fn a_disk_that_is_really_full() {
    let mut bench = Bench::new(find("threads_malloc"));
    let shell = [namespace(&bench), &["bash"]].concat();
    let mount = r#"mount -t tmpfs -o size=512k,mode=0700 tmpfs "$IMAGES""#;
    let said = too_small(&mut bench, &shell, mount);
    assert!(said.contains("no space left"), "{said}");
}

/// Files that may not grow: the system's limit, which sends a signal, too.
#[test]
fn a_limit_of_file_sizes() {
    let mut bench = Bench::new(find("threads_malloc"));
    let said = too_small(&mut bench, &["bash"], "ulimit -f 256");
    assert!(said.contains("raise ulimit -f"), "{said}");
}
