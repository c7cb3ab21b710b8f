//! The proof for one guest: natively, launched, under ten checkpoints, and across
//! a chain of ten checkpoint + kill + restart at random moments, always the same
//! status and output.

use super::Random;
use super::guests::{Guest, find};
use super::job::{Bench, Finished, job_gone};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Links of a chain, and checkpoints of a run.
pub(crate) const LINKS: u32 = 10;

/// A run without gpuckpt, and how long it took.
pub(crate) struct Reference {
    /// What every other run must equal.
    pub(crate) finished: Finished,
    /// Its duration.
    pub(crate) took: Duration,
}

/// The guest's run without gpuckpt.
pub(crate) fn reference(bench: &mut Bench) -> Reference {
    let begin = Instant::now();
    let finished = bench.native();
    let took = begin.elapsed();
    assert_eq!(finished.code, 0, "the native run: {finished:#?}");
    assert!(
        finished.out.contains("digest "),
        "the native run: {finished:#?}"
    );
    Reference { finished, took }
}

/// The guest under launch, undisturbed; how long it took.
pub(crate) fn launched(bench: &mut Bench, native: &Finished) -> Duration {
    let begin = Instant::now();
    bench.launch();
    assert_eq!(&bench.finish(), native, "launched, against native");
    begin.elapsed()
}

/// A pause of up to a seventh of the run, a fourteenth on average, so that ten fit into
/// it; half of that for each degree of hurry.
fn gap(took: Duration, hurry: u32, random: &mut Random) -> Duration {
    let most = took.as_micros() as u64 / 7 / (1 << hurry);
    Duration::from_micros(random.below(most.max(1000)))
}

/// One run with up to ten checkpoints, while the guest runs on. How many there were.
fn checkpointed(bench: &mut Bench, native: &Reference, hurry: u32, random: &mut Random) -> u32 {
    bench.launch();
    let mut done = 0;
    while bench.wait_ready() && done < LINKS {
        sleep(gap(native.took, hurry, random));
        if !bench.runs() {
            break;
        }
        let answer = bench.checkpoint(&[]);
        // The only excuse is that the guest was about to end.
        assert!(
            answer.code == 0 || (job_gone(&answer.err) && ends_soon(bench)),
            "checkpoint {done} failed: {answer:#?}"
        );
        done += u32::from(answer.code == 0);
    }
    assert_eq!(
        bench.finish(),
        native.finished,
        "after {done} checkpoints, against native"
    );
    done
}

/// One chain of up to ten times checkpoint, kill, restart. How many there were.
fn chained(bench: &mut Bench, native: &Reference, hurry: u32, random: &mut Random) -> u32 {
    bench.launch();
    let mut links = 0;
    while links < LINKS && bench.wait_ready() {
        sleep(gap(native.took, hurry, random));
        if !bench.runs() || !bench.checkpoint_kill() {
            break;
        }
        links += 1;
        bench.restart();
    }
    assert_eq!(
        bench.finish(),
        native.finished,
        "after {links} restarts, against native"
    );
    links
}

/// Repeats a run until all ten fitted into it: with shorter pauses, and, where the
/// machine is so busy that it is over too soon even so, with more and more steps.
fn until_ten(
    bench: &mut Bench,
    native: &mut Reference,
    random: &mut Random,
    run: fn(&mut Bench, &Reference, u32, &mut Random) -> u32,
) {
    let mut reached = Vec::new();
    for growth in 0..4 {
        if growth > 0 {
            bench.lengthen(4);
            *native = reference(bench);
        }
        for hurry in 0..3 {
            reached.push(run(bench, native, hurry, random));
            if reached.last() >= Some(&LINKS) {
                return;
            }
        }
    }
    panic!(
        "the guest, which takes {:?} natively, ends too soon for {LINKS}: {reached:?}",
        native.took
    );
}

/// True when the guest ends by itself within a moment: a checkpoint that came too
/// late may fail.
fn ends_soon(bench: &mut Bench) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        if !bench.runs() {
            return true;
        }
        sleep(Duration::from_millis(5));
    }
    false
}

/// All of it.
pub(crate) fn prove(name: &str) {
    let (bench, native) = long_enough(find(name));
    prove_run(bench, native, &mut Random::new(name));
}

/// The guest with as many steps as ten random moments need on this machine, and its
/// native run.
fn long_enough(mut guest: Guest) -> (Bench, Reference) {
    const ENOUGH: Duration = Duration::from_millis(2400);
    let most = guest.steps.saturating_mul(100);
    loop {
        let mut bench = Bench::new(guest);
        let native = reference(&mut bench);
        if native.took >= ENOUGH || guest.steps >= most {
            return (bench, native);
        }
        let factor = ENOUGH.as_micros() / native.took.as_micros().max(1) + 1;
        guest.steps = guest.steps.saturating_mul(factor.min(20) as u32).min(most);
        guest.long_steps = guest.long_steps.max(guest.steps);
    }
}

/// The same with this many steps and these switches of the mock device.
pub(crate) fn prove_on_mock(name: &str, steps: u32, switches: &str) {
    prove_in(name, steps, &[("GPUCKPT_MOCK", switches)]);
}

/// The same with this many steps, and every process started with these variables.
pub(crate) fn prove_in(name: &str, steps: u32, variables: &[(&str, &str)]) {
    let mut random = Random::new(name);
    let mut bench = Bench::new(Guest {
        steps,
        ..find(name)
    });
    for &(name, value) in variables {
        bench.env.push((name.into(), value.into()));
    }
    let native = reference(&mut bench);
    prove_run(bench, native, &mut random);
}

fn prove_run(mut bench: Bench, mut native: Reference, random: &mut Random) {
    let took = launched(&mut bench, &native.finished);
    native.took = native.took.max(took);
    until_ten(&mut bench, &mut native, random, checkpointed);
    let rounds = if super::long() { 5 } else { 1 };
    for _ in 0..rounds {
        until_ten(&mut bench, &mut native, random, chained);
    }
}
