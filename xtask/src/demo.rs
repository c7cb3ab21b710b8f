//! `demo`: the main job on the mock device, told step by step.

use crate::dist;
use anyhow::Result;

/// The task `demo`.
pub(crate) fn run(_args: &[String]) -> Result<()> {
    dist::build("release")?;
    Ok(())
}
