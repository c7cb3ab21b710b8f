//! The probes, one file a subject; each file gives its steps.

use crate::job::{Finished, difference};
use crate::probe::{Probe, Verdict};
use crate::steps::Step;
use anyhow::{Result, bail};

mod bandwidth;
mod costs;
mod machine;

/// The steps of every file.
pub(crate) fn steps() -> Vec<Step> {
    let all = [machine::steps(), costs::steps(), bandwidth::steps()];
    all.into_iter().flatten().collect()
}

/// What a launched program that ended with an error says of gpuckpt: the programs
/// name a result that differs from the one that they `expected` themselves.
fn broken(ended: &Finished) -> Verdict {
    let words = ended.last_words();
    if words.starts_with("guest:") && words.contains("expected") {
        return Verdict::Wrong(words.to_owned());
    }
    let right = Finished {
        code: 0,
        ..ended.clone()
    };
    let failed = || Verdict::Failed(words.to_owned());
    difference(&right, ended, "launched").unwrap_or_else(failed)
}

/// A part of a probe in a process of its own ([`Probe::again`]).
pub(crate) fn part(probe: &Probe, part: &str) -> Result<()> {
    bail!("the step {} has no part {part}", probe.name)
}
