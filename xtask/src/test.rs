//! `test`: everything that the tests need, then all of them.

use crate::{dist, gpu_kit, setup, sh};
use anyhow::Result;

/// The task `test`; arguments go to `cargo test`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let tools = setup::run(&[])?;
    let tree = dist::build("release")?;
    let kit = gpu_kit::build_here(&tools.nvcc, &tree)?;
    let args = match args {
        [first, rest @ ..] if first == "--" => rest,
        all => all,
    };
    sh::run(
        sh::cargo()
            .args(["test", "--workspace", "--no-fail-fast"])
            .args(args)
            .envs(setup::environment(&tools, &tree, &kit)),
    )
}
