//! The way from the command line into `gpuckpt-lower`: the configuration goes into
//! an unnamed file that stays open across the exec, in the same process.

use crate::failure::{Code, Failure, Result};
use lower_half::config::{Config, Device};
use lower_half::{driver_path, handover};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The first descriptor that is not a standard stream.
const FIRST: i32 = 3;

/// The installation: the folder above `bin/` that this program lies in.
pub(crate) fn prefix() -> Result<PathBuf> {
    let incomplete = |why: String| {
        Failure::new(Code::Incomplete, "cannot find gpuckpt's own files", why)
            .advise("keep bin/, libexec/ and lib/ of the installation together")
    };
    let exe = std::env::current_exe().map_err(|error| incomplete(error.to_string()))?;
    match exe.parent().and_then(Path::parent) {
        Some(prefix) => Ok(prefix.to_path_buf()),
        None => Err(incomplete(format!(
            "{} is not in a bin/ folder",
            exe.display()
        ))),
    }
}

/// `gpuckpt-lower` of an installation.
pub(crate) fn program(prefix: &Path) -> PathBuf {
    prefix.join("libexec/gpuckpt/gpuckpt-lower")
}

/// Becomes `gpuckpt-lower`, which becomes the application.
///
/// The environment goes over without `LD_*`: the loader's variables are the
/// application's, which finds them in the configuration. Only a driver that the loader
/// does not find by itself has its folder in `LD_LIBRARY_PATH`.
pub(crate) fn exec(config: &Config) -> Result<Infallible> {
    enough_descriptors(getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft))?;
    let prefix = prefix()?;
    let program = program(&prefix);
    let failed = |why: String| {
        Failure::new(
            Code::StartFailed,
            format!("cannot start {}", program.display()),
            why,
        )
    };
    let file = hand_over(config).map_err(|error| failed(error.to_string()))?;
    let argv = [
        "gpuckpt-lower",
        handover::OPTION,
        &file.as_raw_fd().to_string(),
    ];
    let argv = argv.map(|word| CString::new(word).unwrap_or_default());
    const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";
    let driver = match config.job.device {
        Device::Auto | Device::Cuda => {
            let given = std::env::var_os(LIBRARY_PATH);
            driver_path::for_lower_half(given.as_deref(), &prefix)
        }
        Device::Mock | Device::None => None,
    };
    let env: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| !name.as_bytes().starts_with(b"LD_"))
        .chain(driver.map(|folder| (LIBRARY_PATH.into(), folder)))
        .filter_map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        })
        .collect();
    let path = CString::new(program.clone().into_os_string().into_vec())
        .map_err(|error| failed(error.to_string()))?;
    nix::unistd::execve(&path, &argv, &env).map_err(|error| match error {
        nix::errno::Errno::ENOENT => Failure::new(
            Code::Incomplete,
            format!("cannot start {}", program.display()),
            "it is missing",
        )
        .advise("keep bin/, libexec/ and lib/ of the installation together"),
        _ => failed(error.desc().to_string()),
    })
}

/// Below this limit the lower half's descriptors would lie among the application's, and
/// no checkpoint could be written.
pub(crate) const LEAST_DESCRIPTORS: u64 = 64;

fn enough_descriptors(limit: u64) -> Result<()> {
    if limit >= LEAST_DESCRIPTORS {
        return Ok(());
    }
    let why = format!(
        "the limit of open files (`ulimit -n`) is {limit}, and a job that can be saved needs \
         {LEAST_DESCRIPTORS}: its own and those that an image is written with"
    );
    Err(Failure::new(Code::StartFailed, "cannot start the job", why)
        .advise("raise it first: `ulimit -n 1024` (LimitNOFILE= in a systemd unit)"))
}

/// The configuration in a file that the exec leaves open, above the standard streams:
/// one of those may be closed, and stays so for the application.
fn hand_over(config: &Config) -> std::io::Result<OwnedFd> {
    let file = handover::send(config)?;
    if file.as_raw_fd() >= FIRST {
        return Ok(file);
    }
    let higher = fcntl(&file, FcntlArg::F_DUPFD(FIRST))?;
    // SAFETY: fcntl has just made this descriptor, and nothing else has its number.
    #[allow(unsafe_code, reason = "takes a new descriptor")]
    Ok(unsafe { OwnedFd::from_raw_fd(higher) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lower_half::config::{Action, Bytes, Compress, Files, JobOptions, VERSION};

    #[test]
    fn the_configuration_stays_open_across_exec_and_reads_back() {
        let config = Config {
            version: VERSION,
            descriptors_from: None,
            job: JobOptions {
                name: "a".into(),
                dir: Bytes(b"/d\xff".to_vec()),
                device: Device::Mock,
                interval: None,
                compress: Compress::Zstd(3),
                keep: Some(2),
                files: Files::Rollback,
                strict: true,
            },
            action: Action::Restart {
                image: Bytes(b"/d/a/ckpt-00000001".to_vec()),
            },
        };
        let file = hand_over(&config).unwrap();
        assert!(file.as_raw_fd() >= FIRST);
        assert_eq!(
            fcntl(&file, FcntlArg::F_GETFD),
            Ok(0),
            "exec must not close it"
        );
        assert_eq!(handover::receive(file).unwrap(), config);
    }
}
