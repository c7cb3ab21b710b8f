//! The options that launch and restart share, and their parsers.

use crate::failure::{Code, Failure, Result};
use crate::time;
use clap::{Args, ValueEnum};
use lower_half::config::{Compress, Device, Files};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of a job.
#[derive(Args, Debug, Default)]
pub(crate) struct JobArgs {
    /// Name of the job [default: the command's file name; for restart the image's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) dir: DirArg,
    /// Device to offer: auto takes NVIDIA's driver where there is one [default: auto; for
    /// restart the image's]
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<DeviceArg>,
    /// Save a checkpoint this often (90s, 10m, 1.5h)
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub(crate) interval: Option<Duration>,
    /// Compression of images: auto, none, zstd or zstd:LEVEL [default: auto]
    #[arg(long, value_name = "HOW", value_parser = compress)]
    pub(crate) compress: Option<Compress>,
    /// Keep only the N newest images of this job
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep: Option<u32>,
    /// At a restart, what to do with files that were open for writing: truncate them to their
    /// size at the checkpoint, keep them, or refuse when they changed [default: rollback]
    #[arg(long, value_name = "RULE")]
    pub(crate) files: Option<FilesArg>,
    /// Fail calls that cannot be checkpointed instead of steering programs around them
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Where images are.
#[derive(Args, Debug, Default)]
pub(crate) struct DirArg {
    /// Where images and the registry of jobs are [default: $GPUCKPT_DIR, else ./.gpuckpt]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `--device`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DeviceArg {
    Auto,
    Cuda,
    Mock,
    None,
}

impl From<DeviceArg> for Device {
    fn from(arg: DeviceArg) -> Self {
        match arg {
            DeviceArg::Auto => Device::Auto,
            DeviceArg::Cuda => Device::Cuda,
            DeviceArg::Mock => Device::Mock,
            DeviceArg::None => Device::None,
        }
    }
}

/// `--files`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FilesArg {
    Rollback,
    Keep,
    Refuse,
}

impl From<FilesArg> for Files {
    fn from(arg: FilesArg) -> Self {
        match arg {
            FilesArg::Rollback => Files::Rollback,
            FilesArg::Keep => Files::Keep,
            FilesArg::Refuse => Files::Refuse,
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match time::parse(text)? {
        Duration::ZERO => Err("an interval must be longer than nothing".to_string()),
        time => Ok(time),
    }
}

fn compress(text: &str) -> Result<Compress, String> {
    const DEFAULT_LEVEL: i32 = 1;
    const LEVELS: std::ops::RangeInclusive<i32> = 1..=19;
    let level = match text {
        "auto" => return Ok(Compress::Auto),
        "none" => return Ok(Compress::None),
        "zstd" => Some(DEFAULT_LEVEL),
        _ => text
            .strip_prefix("zstd:")
            .and_then(|level| level.parse().ok()),
    };
    match level {
        Some(level) if LEVELS.contains(&level) => Ok(Compress::Zstd(level)),
        _ => Err("compression is auto, none, zstd, or zstd:LEVEL with a level of 1 to 19".into()),
    }
}

impl DirArg {
    /// The folder as an absolute path.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let from_environment = || {
            let dir = std::env::var_os("GPUCKPT_DIR").filter(|dir| !dir.is_empty());
            dir.map(PathBuf::from)
        };
        let dir = self.dir.clone().or_else(from_environment);
        let dir = dir.unwrap_or_else(|| PathBuf::from(".gpuckpt"));
        std::path::absolute(&dir).map_err(|error| {
            Failure::new(
                Code::DirUnusable,
                format!("cannot use {}", dir.display()),
                error,
            )
        })
    }

    /// The same, created for its user alone if it was missing.
    pub(crate) fn create(&self) -> Result<PathBuf> {
        let dir = self.path()?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|error| {
            Failure::new(
                Code::DirUnusable,
                format!("cannot make {}", dir.display()),
                error,
            )
            .advise("images need a folder that you can write to: give one with --dir DIR")
        })?;
        Ok(dir)
    }
}

/// As long as a store takes names.
const LONGEST_NAME: usize = 128;

/// Checks a job's name: it becomes the name of a folder.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let why = match name {
        "" => "it is empty",
        _ if name.starts_with('.') => "it begins with a dot",
        _ if name.contains('/') => "it has a slash",
        _ if name.contains(char::is_control) => "it has a control character",
        _ if name.len() > LONGEST_NAME => "it is longer than 128 bytes",
        _ => return Ok(()),
    };
    Err(Failure::new(
        Code::BadName,
        format!("`{name}` cannot be a job's name"),
        why,
    )
    .advise("give another one with --name NAME"))
}

/// The default name of a job: its command's file name, with what a name cannot have
/// replaced.
pub(crate) fn default_name(command: &Path) -> String {
    let name = command
        .file_name()
        .unwrap_or(command.as_os_str())
        .to_string_lossy();
    let clean = |c: char| if c.is_control() || c == '/' { '_' } else { c };
    let mut name: String = name.trim_start_matches('.').chars().map(clean).collect();
    let end = (0..=LONGEST_NAME.min(name.len())).rfind(|&end| name.is_char_boundary(end));
    name.truncate(end.unwrap_or(0));
    if name.is_empty() {
        "job".to_string()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "train.py", "my job", "é", "-x", "g++"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/",
            "a\nb",
            &"x".repeat(129),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn default_names_are_always_valid() {
        for command in [
            "./app",
            "/usr/bin/python3",
            "..",
            ".hidden",
            "a\tb",
            "g++",
            &"é".repeat(400),
        ] {
            let name = default_name(Path::new(command));
            assert!(check_name(&name).is_ok(), "{command} gave {name}");
        }
        assert_eq!(default_name(Path::new("./build/app")), "app");
    }

    #[test]
    fn compression() {
        assert_eq!(compress("auto"), Ok(Compress::Auto));
        assert_eq!(compress("none"), Ok(Compress::None));
        assert_eq!(compress("zstd"), Ok(Compress::Zstd(1)));
        assert_eq!(compress("zstd:19"), Ok(Compress::Zstd(19)));
        for wrong in ["", "gzip", "zstd:", "zstd:0", "zstd:20", "zstd:x"] {
            assert!(compress(wrong).is_err(), "{wrong}");
        }
    }
}
