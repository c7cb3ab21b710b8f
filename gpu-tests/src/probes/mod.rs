//! The probes, one file a subject; each file gives its steps.

use crate::job::{Finished, difference};
use crate::probe::{Probe, Verdict};
use crate::steps::Step;
use anyhow::{Result, bail};

mod addresses;
mod bandwidth;
mod costs;
mod frameworks;
mod guests;
mod machine;
mod maps;
mod peer;
mod reservations;
mod resident;
mod sizes;
mod static_runtime;

/// The steps of every file.
pub(crate) fn steps() -> Vec<Step> {
    [
        machine::steps(),
        maps::steps(),
        reservations::steps(),
        addresses::steps(),
        guests::steps(),
        costs::steps(),
        bandwidth::steps(),
        sizes::steps(),
        peer::steps(),
        static_runtime::steps(),
        frameworks::steps(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a program that ended with an error says of what was done to it: the programs
/// name a result that differs from the one that they `expected` themselves.
fn broken(ended: &Finished, when: &str) -> Verdict {
    let words = ended.last_words();
    if words.starts_with("guest:") && words.contains("expected") {
        return Verdict::Wrong(words.to_owned());
    }
    let right = Finished {
        code: 0,
        ..ended.clone()
    };
    let failed = || Verdict::Failed(words.to_owned());
    difference(&right, ended, when).unwrap_or_else(failed)
}

/// A part of a probe in a process of its own ([`Probe::again`]).
pub(crate) fn part(probe: &Probe, part: &str) -> Result<()> {
    match (probe.name.as_str(), part) {
        ("reservations-fresh", "reserve") => reservations::part(probe),
        ("addresses", "load") => addresses::part(probe),
        (name, part) => bail!("the step {name} has no part {part}"),
    }
}

/// The next of a row of numbers without a pattern (splitmix64).
#[must_use]
pub fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
