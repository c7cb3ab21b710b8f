//! `gpuckpt verify`: reads every byte of an image back. Exit status 1 when the image
//! is damaged.

use crate::failure::{Code, Failure, Result};
use crate::images;
use crate::options::DirArg;
use crate::text::{bytes, count};
use clap::Parser;
use serde_json::json;
use transparent_core::image::{ImageError, ImageReader};

const DAMAGED: i32 = 1;

/// Arguments of `verify`.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Path of an image's folder, or name of a job, of which the newest image is taken
    #[arg(value_name = "IMAGE|NAME")]
    image: Option<String>,
    #[command(flatten)]
    dir: DirArg,
    /// Write one JSON object to standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<i32> {
    let found = match images::find(args.image.as_deref(), &args.dir.path()?) {
        Ok(found) => found,
        // An image whose manifest is damaged is a damaged image.
        Err(failure) if failure.code == Code::ImageDamaged => return Ok(no(args, &failure)),
        Err(failure) => return Err(failure),
    };
    if !found.passed_over.is_empty() {
        // The newest image is asked for; that an older one is whole is no answer.
        return Ok(no(args, &damaged(&found.passed_over)));
    }
    let errors = found.image.verify_each();
    if !errors.is_empty() {
        return Ok(no(args, &damaged(&errors)));
    }
    yes(args, &found.image);
    Ok(0)
}

fn damaged(errors: &[ImageError]) -> Failure {
    Failure {
        code: Code::ImageDamaged,
        what: "the image is damaged".to_string(),
        why: errors.iter().map(ToString::to_string).collect(),
        advice: String::new(),
    }
}

fn no(args: &Args, failure: &Failure) -> i32 {
    if args.json {
        println!("{}", json!({"valid": false, "errors": failure.why}));
    } else {
        failure.report();
    }
    DAMAGED
}

fn yes(args: &Args, image: &ImageReader) {
    let (sections, size) = (image.sections().len() as u64, image.file_bytes());
    let folder = image.folder().display();
    if args.json {
        let folder = folder.to_string();
        println!(
            "{}",
            json!({"valid": true, "image": folder, "sections": sections, "bytes": size})
        );
    } else {
        println!(
            "{folder} is whole: {}, {}",
            count(sections, "section"),
            bytes(size)
        );
    }
}
