//! `gpuckpt restart`: finds the image and becomes the application, as launch does.

use crate::failure::Result;
use crate::options::{self, JobArgs};
use crate::{images, jobs, lower};
use clap::Parser;
use lower_half::config::{Action, Bytes, Config, Device, Files, JobOptions, VERSION};

/// Arguments of `restart`.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Name of a job, of which the newest valid image is taken, or path of an image's folder
    /// [default: the only job in DIR]
    #[arg(value_name = "NAME|IMAGE")]
    image: Option<String>,
    #[command(flatten)]
    job: JobArgs,
}

pub(crate) fn run(args: Args) -> Result<i32> {
    let dir = args.job.dir.path()?;
    let found = images::find(args.image.as_deref(), &dir)?;
    for error in &found.passed_over {
        eprintln!("gpuckpt: a newer image is passed over: {error}");
    }
    let facts = images::facts(&found.image)?;
    // The device that was in use, also where the user had left the choice to gpuckpt.
    let saved = JobOptions {
        device: facts.device,
        ..facts.options
    };
    let name = args.job.name.clone().unwrap_or_else(|| saved.name.clone());
    options::check_name(&name)?;
    let dir = args.job.dir.create()?;
    jobs::refuse_running(&dir, &name)?;
    let config = Config {
        version: VERSION,
        descriptors_from: images::above_descriptors(&found.image)?,
        job: merge(args.job, name, Bytes::from(dir.as_path()), saved),
        action: Action::Restart {
            image: Bytes::from(found.image.folder()),
        },
    };
    drop(found);
    match lower::exec(&config)? {}
}

/// Options that are not given are those that the job had when it was saved.
fn merge(args: JobArgs, name: String, dir: Bytes, saved: JobOptions) -> JobOptions {
    JobOptions {
        name,
        dir,
        device: args.device.map_or(saved.device, Device::from),
        interval: args.interval.or(saved.interval),
        compress: args.compress.unwrap_or(saved.compress),
        keep: args.keep.or(saved.keep),
        files: args.files.map_or(saved.files, Files::from),
        strict: args.strict || saved.strict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lower_half::config::Compress;
    use std::time::Duration;

    fn merged(words: &[&str], saved: &JobOptions) -> JobOptions {
        let args = Args::parse_from([&["restart"], words].concat());
        merge(args.job, "n".into(), Bytes(b"/d".to_vec()), saved.clone())
    }

    #[test]
    fn the_saved_options_hold_until_others_are_given() {
        let saved = JobOptions {
            name: "old".into(),
            dir: Bytes(b"/old".to_vec()),
            device: Device::Mock,
            interval: Some(Duration::from_secs(5)),
            compress: Compress::Zstd(3),
            keep: Some(2),
            files: Files::Keep,
            strict: true,
        };
        let same = JobOptions {
            name: "n".into(),
            dir: Bytes(b"/d".to_vec()),
            ..saved.clone()
        };
        assert_eq!(merged(&[], &saved), same);
        let words = ["--device", "none", "--keep", "9", "--compress", "none"];
        let expected = JobOptions {
            device: Device::None,
            keep: Some(9),
            compress: Compress::None,
            ..same
        };
        assert_eq!(merged(&words, &saved), expected);
    }
}
