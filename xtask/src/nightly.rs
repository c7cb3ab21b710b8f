//! `nightly`: the tests again and again, each time with another seed, for as long
//! as it is told.

use crate::{dist, gpu_kit, setup, sh};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// The task `nightly`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let minutes: u64 = match args {
        [] => 60,
        [flag, number] if flag == "--minutes" => number
            .parse()
            .with_context(|| format!("`{number}` is not a number of minutes"))?,
        _ => bail!("nightly takes nothing but `--minutes N`"),
    };
    let tools = setup::run(&[])?;
    let tree = dist::build("release")?;
    let kit = gpu_kit::build_here(&tools.nvcc, &tree)?;
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let mut seed = 0_u64;
    while Instant::now() < until {
        seed += 1;
        eprintln!("xtask: round {seed}; repeat it with GPUCKPT_TEST_SEED={seed}");
        sh::run(
            sh::cargo()
                .args(["test", "--workspace"])
                .envs(setup::environment(&tools, &tree, &kit))
                .env("GPUCKPT_TEST_SEED", seed.to_string())
                .env("GPUCKPT_TEST_LONG", "1")
                .env("PROPTEST_CASES", "20000"),
        )?;
    }
    eprintln!("xtask: {seed} rounds passed");
    Ok(())
}
