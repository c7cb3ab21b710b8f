//! Machines whose programs may not change FS and GS by instructions: gpuckpt with those
//! instructions taken out of it runs the same guests with the same output. And programs
//! that go from such machines to others and back.

mod common;

use common::guests::{Guest, find};
use common::job::Bench;
use common::scenario::{Reference, launched, reference};
use common::{Random, dist, target};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

const LINKS: u32 = 3;

/// The distribution, of which no process can execute an FSGSBASE instruction.
fn without_instructions() -> &'static Path {
    static TREE: OnceLock<PathBuf> = OnceLock::new();
    TREE.get_or_init(|| {
        let (whole, tree) = (dist(), target().join("e2e/without-fsgsbase"));
        let libexec = tree.join("libexec/gpuckpt");
        for folder in [&tree.join("bin"), &libexec] {
            fs::create_dir_all(folder).expect("a folder of the distribution");
        }
        for linked in ["lib", "libexec/gpuckpt/mock"] {
            let _ = fs::remove_file(tree.join(linked));
            symlink(whole.join(linked), tree.join(linked)).expect("a link into the distribution");
        }
        replace(
            &tree.join("bin/gpuckpt"),
            &whole.join("bin/gpuckpt"),
            |_| (),
        );
        let lower = Path::new("libexec/gpuckpt/gpuckpt-lower");
        replace(&tree.join(lower), &whole.join(lower), forbid);
        tree
    })
}

/// A changed copy of a program; jobs of an earlier run may still execute the old one.
fn replace(to: &Path, from: &Path, change: fn(&mut [u8])) {
    let new = to.with_extension("new");
    fs::copy(from, &new).expect("a copy");
    let mut bytes = fs::read(&new).expect("a program");
    change(&mut bytes);
    fs::write(&new, bytes).expect("a changed program");
    fs::rename(&new, to).expect("the new program in place");
}

/// Makes every FSGSBASE instruction an undefined one, those of the gate image included,
/// which the lower half holds as data.
fn forbid(program: &mut [u8]) {
    let mut found = [0; 4];
    for i in 0..program.len() - 4 {
        // F3 REX.W 0F AE /0 to /3, with a register: rdfsbase, rdgsbase, wrfsbase, wrgsbase.
        if let [0xf3, 0x48..=0x4f, 0x0f, 0xae, operand @ 0xc0..=0xdf] = program[i..i + 5] {
            found[usize::from(operand >> 3 & 3)] += 1;
            program[i..i + 5].copy_from_slice(&[0x0f, 0x0b, 0x0f, 0x0b, 0x90]);
        }
    }
    let [read_fs, _, write_fs, write_gs] = found;
    assert!(
        read_fs > 1 && write_fs > 2 && write_gs > 0,
        "the lower half and its gate use such instructions: {found:?}"
    );
}

fn set(bench: &mut Bench, allowed: bool) {
    bench.env.clear();
    if !allowed {
        let name = upper_half::FSGSBASE_VARIABLE;
        bench.env.push((name.into(), "off".into()));
    }
}

/// The machine that `set` makes of this one does not mind where the image was made.
fn can_restore(bench: &Bench) {
    let mut command = bench.gpuckpt(&["can-restore", bench.name()]);
    let output = command.envs(bench.env.clone()).output();
    let output = output.expect("gpuckpt runs");
    assert!(output.status.success(), "{output:?}");
}

/// A chain of restarts, each life allowed the instructions or not as `allowed` says.
fn chain(bench: &mut Bench, native: &mut Reference, random: &mut Random, allowed: fn(u32) -> bool) {
    for _ in 0..4 {
        set(bench, allowed(0));
        bench.launch();
        let mut links = 0;
        while links < LINKS && bench.wait_ready() {
            let most = native.took.as_micros() as u64 / u64::from(LINKS);
            sleep(Duration::from_micros(random.below(most)));
            if !bench.runs() || !bench.checkpoint_kill() {
                break;
            }
            links += 1;
            set(bench, allowed(links));
            can_restore(bench);
            bench.restart();
        }
        let finished = bench.finish();
        assert_eq!(finished, native.finished, "after {links} restarts");
        if links == LINKS {
            return;
        }
        bench.lengthen(2);
        *native = reference(bench);
    }
    panic!("the guest ends too soon for {LINKS} restarts");
}

/// Launched, and across a chain of restarts, as natively.
fn prove(name: &str, steps: u32) {
    let mut bench = Bench::new(Guest {
        steps,
        ..find(name)
    });
    let mut native = reference(&mut bench);
    bench.dist = without_instructions().to_owned();
    set(&mut bench, false);
    launched(&mut bench, &native.finished);
    chain(&mut bench, &mut native, &mut Random::new(name), |_| false);
}

macro_rules! proofs {
    ($($name:ident $steps:literal),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                prove(stringify!($name), $steps);
            }
        )*
    };
}

proofs!(
    threads_malloc 800,
    exceptions 6000,
    signals 500,
    altstack 800,
    plain_static 1000,
    vector 250,
    streams 3000,
    threads 1500,
);

#[test]
fn processes() {
    let mut bench = Bench::new(find("processes"));
    let native = reference(&mut bench);
    bench.dist = without_instructions().to_owned();
    set(&mut bench, false);
    launched(&mut bench, &native.finished);
}

/// Each life is on the other kind of machine than the one before.
#[test]
fn programs_move_between_both_kinds_of_machines() {
    for (name, steps) in [("signals", 500), ("threads", 1500)] {
        let mut bench = Bench::new(Guest {
            steps,
            ..find(name)
        });
        let mut native = reference(&mut bench);
        let mut random = Random::new(name);
        chain(&mut bench, &mut native, &mut random, |life| life % 2 == 0);
        chain(&mut bench, &mut native, &mut random, |life| life % 2 == 1);
    }
}

/// What all of this rests on: without the setting nothing runs.
#[test]
fn the_instructions_are_forbidden() {
    let mut bench = Bench::new(find("plain_pie"));
    bench.dist = without_instructions().to_owned();
    bench.launch();
    let finished = bench.finish();
    let killed = 128 + Signal::SIGILL as i32;
    assert_eq!((finished.code, finished.out), (killed, String::new()));
}

#[test]
fn an_unknown_setting_is_refused() {
    let mut bench = Bench::new(find("plain_pie"));
    let name = upper_half::FSGSBASE_VARIABLE;
    bench.env.push((name.into(), "of".into()));
    bench.launch();
    let finished = bench.finish();
    assert_eq!(finished.code, common::job::FAILURE, "{finished:#?}");
    assert!(finished.err.contains(name), "{finished:#?}");
    assert_eq!(finished.out, "", "nothing of the program ran");
}
