//! `gpuckpt`: the command line, one file a subcommand.
//!
//! `launch` and `restart` end in an `exec` of `gpuckpt-lower`, whose job it is to
//! become the application; the others talk to a running job over its control
//! socket or read images. Nothing here knows how a process is saved.
//!
//! What the process was given (descriptors, the action of SIGPIPE, the signal
//! mask) is the application's inheritance. Rust's start-up code would change it
//! (it ignores SIGPIPE and opens descriptors 0 to 2), so C's `main` is defined here.
#![cfg_attr(not(test), no_main)]

mod can_restore;
mod checkpoint;
mod client;
mod doctor;
mod failure;
mod images;
mod inspect;
mod jobs;
mod launch;
mod lower;
mod options;
mod pidfd;
mod probe;
mod progress;
mod restart;
mod search;
mod status;
mod text;
mod time;
mod verify;

use clap::{Parser, Subcommand};
use failure::{Code, Failure, Result};

const AFTER_HELP: &str = "\
Exit status: the application's for launch and restart (128+n for a signal, 85 when
`checkpoint --kill` ended it); 125 when gpuckpt itself failed, 126 when the command
cannot be executed, 127 when it was not found; 1 when verify, can-restore or doctor
say no. Errors carry a [code] that docs/errors.md explains. GPUCKPT_LOG=debug makes
gpuckpt talk.";

/// Checkpoint and restart GPU programs as they are: no recompiling, no root, no kernel module.
#[derive(Parser)]
#[command(name = "gpuckpt", version, max_term_width = 100)]
#[command(after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program so that it can be checkpointed
    Launch(launch::Args),
    /// Save a running job, and let it go on (or --kill)
    Checkpoint(checkpoint::Args),
    /// Continue a job from an image, here or on another machine
    Restart(restart::Args),
    /// Show running jobs
    Status(status::Args),
    /// Show what is in an image
    Inspect(inspect::Args),
    /// Read a whole image back and check every byte
    Verify(verify::Args),
    /// Say whether this machine can restart an image, and every reason why not
    CanRestore(can_restore::Args),
    /// Say whether this machine can checkpoint and restart programs, and what is missing
    Doctor(doctor::Args),
}

/// What C's start-up code calls; returns the exit status.
// SAFETY: the name and the type are those of C's entry point, which this program has just once.
#[allow(unsafe_code, reason = "defines C's main")]
#[cfg_attr(not(test), unsafe(export_name = "main"))]
#[cfg_attr(
    test,
    allow(dead_code, reason = "the test harness has a main of its own")
)]
extern "C" fn entry(_argc: libc::c_int, _argv: *const *const libc::c_char) -> libc::c_int {
    let status = match Cli::try_parse() {
        Ok(cli) => run(cli.command),
        Err(message) => Ok(usage(&message)),
    };
    status.unwrap_or_else(|failure| {
        failure.report();
        failure.status()
    })
}

fn run(command: Command) -> Result<i32> {
    match command {
        Command::Launch(args) => launch::run(args),
        Command::Checkpoint(args) => checkpoint::run(&args),
        Command::Restart(args) => restart::run(args),
        Command::Status(args) => status::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::CanRestore(args) => can_restore::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    }
}

/// `--help` and `--version`, which succeed, or a mistake in the arguments.
fn usage(message: &clap::Error) -> i32 {
    if message.print().is_err() {
        return Failure::STATUS;
    }
    if message.use_stderr() {
        Code::Usage.status()
    } else {
        0
    }
}
