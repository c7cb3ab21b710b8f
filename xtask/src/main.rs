//! `cargo xtask …`: builds the distribution tree, shows the main job, runs the
//! tests. Everything that a fresh machine lacks is fetched by the task that needs
//! it; nothing here is part of the product.

mod demo;
mod descriptors;
mod dist;
mod gpu_kit;
mod nightly;
mod prove;
mod setup;
mod sh;
mod sysroot;
mod test;

use anyhow::{Context, Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK [OPTIONS]

  dist [--profile PROFILE]    build the relocatable tree target/dist (default profile: release);
       [--partial]            with --partial without what cannot be built just now
  dist --portable             build target/portable/dist, the same for machines with an older C
                              library, from 2.30 on (fetches 20 MB from Debian)
  demo                        dist, then launch, checkpoint, kill and restart a CUDA program
                              on the mock device, and compare it with a native run
  test [-- ARGS]              fetch what the tests need, dist, then cargo test --workspace ARGS
  gpu-kit                     build target/gpu-kit, the folder to carry to a machine with a GPU,
       [--prove [RELEASE…]]   linked with an older C library (fetches 20 MB from Debian); with
                              --prove, run it on the mock device in bare roots of Debian
                              releases (needs root or users' namespaces)
  gpu-kit --here              build target/gpu-kit-here, the same for the tests of this machine
  setup                       only fetch what the tests need
  nightly [--minutes N]       the tests again and again with other seeds (default: 60)
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Vec<String>) -> Result<()> {
    descriptors::keep_to_ourselves().context("cannot mark inherited descriptors")?;
    let mut args = args.into_iter();
    let task = args.next();
    let rest: Vec<String> = args.collect();
    match task.as_deref() {
        Some("dist") => dist::run(&rest),
        Some("demo") => demo::run(&rest),
        Some("test") => test::run(&rest),
        Some("gpu-kit") => gpu_kit::run(&rest),
        Some("setup") => setup::run(&rest).map(drop),
        Some("nightly") => nightly::run(&rest),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        Some(other) => bail!("there is no task `{other}`\n\n{USAGE}"),
        None => bail!("which task?\n\n{USAGE}"),
    }
}
