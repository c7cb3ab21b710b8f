//! The way from the command line into `gpuckpt-lower`: the configuration goes into
//! an unnamed file that stays open across the exec, in the same process.

use crate::failure::{Code, Failure, Result};
use lower_half::config::Config;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The installation: the folder above `bin/` that this program lies in.
pub(crate) fn prefix() -> Result<PathBuf> {
    let incomplete = |why: String| {
        Failure::new(Code::Incomplete, "cannot find gpuckpt's own files", why)
            .advise("keep bin/, libexec/ and lib/ of the installation together")
    };
    let exe = std::env::current_exe().map_err(|error| incomplete(error.to_string()))?;
    match exe.parent().and_then(Path::parent) {
        Some(prefix) => Ok(prefix.to_path_buf()),
        None => Err(incomplete(format!("{} is not in a bin/ folder", exe.display()))),
    }
}

/// `gpuckpt-lower` of an installation.
pub(crate) fn program(prefix: &Path) -> PathBuf {
    prefix.join("libexec/gpuckpt/gpuckpt-lower")
}

/// Becomes `gpuckpt-lower`, which becomes the application.
///
/// The environment goes over without `LD_*`: the loader's variables are the
/// application's, which finds them in the configuration.
pub(crate) fn exec(config: &Config) -> Result<Infallible> {
    let program = program(&prefix()?);
    let failed = |why: String| {
        Failure::new(Code::StartFailed, format!("cannot start {}", program.display()), why)
    };
    let file = hand_over(config).map_err(|error| failed(error.to_string()))?;
    let argv = [
        c"gpuckpt-lower".to_owned(),
        c"--config-fd".to_owned(),
        CString::new(file.as_raw_fd().to_string()).unwrap_or_default(),
    ];
    let env: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| !name.as_bytes().starts_with(b"LD_"))
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

/// An unnamed file with the configuration, at its beginning, not closed by exec.
fn hand_over(config: &Config) -> std::io::Result<File> {
    let mut file = File::from(memfd_create(c"gpuckpt-config", MFdFlags::empty())?);
    let mut writer = BufWriter::with_capacity(1 << 16, &file);
    serde_json::to_writer(&mut writer, config)?;
    writer.flush()?;
    drop(writer);
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lower_half::config::{Action, Bytes, Compress, Device, Files, JobOptions, VERSION};
    use nix::fcntl::{FcntlArg, fcntl};
    use std::io::Read;

    #[test]
    fn the_configuration_stays_open_across_exec_and_reads_back() {
        let config = Config {
            version: VERSION,
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
            action: Action::Restart { image: Bytes(b"/d/a/ckpt-00000001".to_vec()) },
        };
        let mut file = hand_over(&config).unwrap();
        assert_eq!(fcntl(&file, FcntlArg::F_GETFD), Ok(0));
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }
}
