//! The probes, one file a subject; each file gives its steps.

use crate::probe::Probe;
use crate::steps::Step;
use anyhow::{Result, bail};

mod machine;

/// The steps of every file.
pub(crate) fn steps() -> Vec<Step> {
    [machine::steps()].into_iter().flatten().collect()
}

/// A part of a probe in a process of its own ([`Probe::again`]).
pub(crate) fn part(probe: &Probe, part: &str) -> Result<()> {
    bail!("the step {} has no part {part}", probe.name)
}
