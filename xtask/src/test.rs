//! `test`: everything that the tests need, then all of them.

use crate::{dist, setup, sh};
use anyhow::Result;

/// The task `test`; arguments go to `cargo test`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let tools = setup::run(&[])?;
    let tree = dist::build("release")?;
    let args = match args {
        [first, rest @ ..] if first == "--" => rest,
        all => all,
    };
    sh::run(
        sh::cargo()
            .args(["test", "--workspace", "--no-fail-fast"])
            .args(args)
            .envs(setup::environment(&tools, &tree)),
    )
}
