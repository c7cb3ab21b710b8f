//! `gpuckpt launch`: the way to a running application must be short. Nothing is
//! read or made here that the new process does not need.

use crate::failure::Result;
use crate::options::{self, JobArgs};
use crate::search::{self, Executable};
use crate::{jobs, lower};
use clap::Parser;
use lower_half::config::{Action, Bytes, Compress, Config, Device, Files, JobOptions, VERSION};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Arguments of `launch`.
#[derive(Parser, Debug)]
#[command(after_help = "Everything after the command's name belongs to the command.")]
pub(crate) struct Args {
    #[command(flatten)]
    job: JobArgs,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<i32> {
    let (program, argv) = command(args.command)?;
    let name = match args.job.name {
        Some(name) => name,
        None => options::default_name(argv.name.as_ref()),
    };
    options::check_name(&name)?;
    let dir = args.job.dir.create()?;
    jobs::refuse_running(&dir, &name)?;
    let config = Config {
        version: VERSION,
        descriptors_from: None,
        job: JobOptions {
            name,
            dir: Bytes::from(dir.as_path()),
            device: args.job.device.map_or(Device::Auto, Device::from),
            interval: args.job.interval,
            compress: args.job.compress.unwrap_or(Compress::Auto),
            keep: args.job.keep,
            files: args.job.files.map_or(Files::Rollback, Files::from),
            strict: args.job.strict,
        },
        action: Action::Launch {
            program,
            argv: argv.words,
            env: environment(),
            inherited: None,
        },
    };
    match lower::exec(&config)? {}
}

/// The words of the command that is to run, and what the user called it.
struct Argv {
    name: OsString,
    words: Vec<Bytes>,
}

/// The file to execute and its arguments.
fn command(words: Vec<OsString>) -> Result<(Bytes, Argv)> {
    let name = words.first().cloned().unwrap_or_default();
    let found = search::find(&name, std::env::var_os("PATH"))?;
    let words = words.into_iter().map(Bytes::from);
    Ok(match found {
        Executable::Direct(file) => (
            Bytes::from(file.as_path()),
            Argv {
                name,
                words: words.collect(),
            },
        ),
        Executable::ForShell(file) => {
            // execvp(3): the shell gets the file as its first argument.
            let shell = Path::new("/bin/sh");
            let first = [Bytes::from(shell), Bytes::from(file.as_path())];
            let words = first.into_iter().chain(words.skip(1)).collect();
            (Bytes::from(shell), Argv { name, words })
        }
    })
}

fn environment() -> Vec<Bytes> {
    std::env::vars_os()
        .map(|(name, value)| Bytes([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["launch"], words].concat())
    }

    #[test]
    fn what_follows_the_command_is_the_commands() {
        let args = parse(&[
            "--name", "n", "./app", "--name", "x", "-v", "--", "--dir", "y",
        ])
        .unwrap();
        assert_eq!(args.job.name.as_deref(), Some("n"));
        assert_eq!(
            args.command,
            ["./app", "--name", "x", "-v", "--", "--dir", "y"]
        );
        assert_eq!(args.job.dir.dir, None);
    }

    #[test]
    fn two_dashes_may_stand_before_the_command() {
        let args = parse(&["--device", "mock", "--", "-odd-name", "-v"]).unwrap();
        assert_eq!(args.command, ["-odd-name", "-v"]);
    }

    #[test]
    fn a_wrong_option_is_not_taken_for_a_command() {
        assert!(parse(&["--nmae", "n", "./app"]).is_err());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--device", "tpu", "./app"]).is_err());
        assert!(parse(&["--keep", "0", "./app"]).is_err());
        assert!(parse(&["--interval", "0", "./app"]).is_err());
    }

    #[test]
    fn a_text_file_runs_in_the_shell_under_its_own_name() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("tool");
        std::fs::write(&file, "echo\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (program, argv) = command(vec![file.clone().into(), "x".into()]).unwrap();
        assert_eq!(program, Bytes(b"/bin/sh".to_vec()));
        let expected = ["/bin/sh".into(), file.clone().into_os_string(), "x".into()];
        assert_eq!(argv.words, expected.map(Bytes::from));
        assert_eq!(argv.name, file.as_os_str());
    }
}
