//! `gpuckpt restart`: finds the image and becomes the application, as launch does.

use crate::failure::Result;
use crate::options::{self, JobArgs};
use crate::{images, jobs, lower};
use clap::Parser;
use lower_half::config::{Action, Bytes, Compress, Config, Device, Files, JobOptions, VERSION};
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    let summary = images::summary(&found.image)?;
    let name = args.job.name.clone().unwrap_or_else(|| images::job_name(&found.image, &summary));
    options::check_name(&name)?;
    let dir = args.job.dir.create()?;
    jobs::refuse_running(&dir, &name)?;
    let config = Config {
        version: VERSION,
        job: merge(args.job, name, Bytes::from(dir.as_path()), &summary["options"]),
        action: Action::Restart { image: Bytes::from(found.image.folder()) },
    };
    drop(found);
    match lower::exec(&config)? {}
}

/// Options that are not given are those that the job had when it was saved.
fn merge(args: JobArgs, name: String, dir: Bytes, saved: &Value) -> JobOptions {
    JobOptions {
        name,
        dir,
        device: args.device.map(Device::from).or_else(|| field(saved, "device")).unwrap_or(Device::Auto),
        interval: args.interval.or_else(|| field(saved, "interval")),
        compress: args.compress.or_else(|| field(saved, "compress")).unwrap_or(Compress::Auto),
        keep: args.keep.or_else(|| field(saved, "keep")),
        files: args.files.map(Files::from).or_else(|| field(saved, "files")).unwrap_or(Files::Rollback),
        strict: args.strict || field(saved, "strict").unwrap_or(false),
    }
}

fn field<T: DeserializeOwned>(saved: &Value, key: &str) -> Option<T> {
    serde_json::from_value(saved.get(key)?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn merged(words: &[&str], saved: &Value) -> JobOptions {
        let args = Args::parse_from([&["restart"], words].concat());
        merge(args.job, "n".into(), Bytes(b"/d".to_vec()), saved)
    }

    #[test]
    fn the_saved_options_hold_until_others_are_given() {
        let had = JobOptions {
            name: "old".into(),
            dir: Bytes(b"/old".to_vec()),
            device: Device::Mock,
            interval: Some(Duration::from_secs(5)),
            compress: Compress::Zstd(3),
            keep: Some(2),
            files: Files::Keep,
            strict: true,
        };
        let saved = serde_json::to_value(&had).unwrap();
        let same = JobOptions { name: "n".into(), dir: Bytes(b"/d".to_vec()), ..had.clone() };
        assert_eq!(merged(&[], &saved), same);
        let other = merged(&["--device", "none", "--keep", "9", "--compress", "none"], &saved);
        assert_eq!((other.device, other.keep, other.compress), (Device::None, Some(9), Compress::None));
        assert_eq!(other.interval, had.interval);
    }

    #[test]
    fn an_image_that_says_nothing_leaves_the_defaults() {
        for saved in [Value::Null, serde_json::json!({"device": "abacus", "keep": -1})] {
            let options = merged(&[], &saved);
            assert_eq!((options.device, options.keep), (Device::Auto, None));
            assert_eq!((options.files, options.strict), (Files::Rollback, false));
        }
    }
}
