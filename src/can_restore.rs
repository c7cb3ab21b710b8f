//! `gpuckpt can-restore`: would a restart of this image work here? All reasons why
//! not, not just the first; nothing is started. Exit status 1 when there are any.

use crate::failure::{Code, Failure, Result};
use crate::options::DirArg;
use crate::text::bytes;
use crate::{doctor, images};
use clap::Parser;
use lower_half::config::{Device, Files};
use lower_half::facts::{JobFacts, Machine};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use transparent_core::fds::{self, FdTable, FilesRule};
use transparent_core::image::{ImageReader, SectionKind};
use transparent_core::{Refusal, memory};

const UNABLE: i32 = 1;

/// Arguments of `can-restore`.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Path of an image's folder, or name of a job, of which the newest valid image is taken
    #[arg(value_name = "IMAGE|NAME")]
    image: Option<String>,
    #[command(flatten)]
    dir: DirArg,
    /// Write one JSON object to standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<i32> {
    let found = images::find(args.image.as_deref(), &args.dir.path()?);
    let looked = found.and_then(|found| {
        let reasons = reasons(&found.image)?;
        Ok((found.image.folder().display().to_string(), reasons))
    });
    let (image, reasons) = match looked {
        Ok(answer) => answer,
        // A damaged image is a reason like others.
        Err(failure) if failure.code == Code::ImageDamaged => {
            let why = failure.why.join("; ");
            let reason = Refusal::new(failure.what, why, "use an older image or a copy");
            (args.image.clone().unwrap_or_default(), vec![reason])
        }
        Err(failure) => return Err(failure),
    };
    if args.json {
        println!("{}", json(&image, &reasons));
    } else {
        print!("{}", people(&image, &reasons));
    }
    Ok(if reasons.is_empty() { 0 } else { UNABLE })
}

fn json(image: &str, reasons: &[Refusal]) -> Value {
    let list = reasons.iter();
    let list = list.map(|one| json!({"object": one.object, "why": one.why, "advice": one.advice}));
    json!({"able": reasons.is_empty(), "image": image, "reasons": list.collect::<Value>()})
}

fn people(image: &str, reasons: &[Refusal]) -> String {
    if reasons.is_empty() {
        return format!("{image} can be restarted here\n");
    }
    let lines: Vec<String> = reasons
        .iter()
        .map(|reason| format!("  - {reason}\n"))
        .collect();
    format!("{image} cannot be restarted here:\n{}", lines.concat())
}

fn reasons(image: &ImageReader) -> Result<Vec<Refusal>> {
    let facts = images::facts(image)?;
    let mut reasons = doctor::obstacles();
    reasons.extend(processor(&facts, &Machine::here()));
    reasons.extend(device(&facts));
    reasons.extend(room(image, available()));
    let unreadable = |error: String| {
        let what = format!("cannot read {}", image.folder().display());
        Failure::new(Code::ImageDamaged, what, error)
    };
    reasons.extend(memory::check(image).map_err(|error| unreadable(error.to_string()))?);
    let table: FdTable = image
        .get_bincode_of(fds::SECTION, SectionKind::FDS, fds::VERSION)
        .map_err(|error| unreadable(error.to_string()))?;
    reasons.extend(fds::check_restore(&table, rule(facts.options.files)));
    Ok(reasons)
}

fn rule(files: Files) -> FilesRule {
    match files {
        Files::Rollback => FilesRule::Rollback,
        Files::Keep => FilesRule::Keep,
        Files::Refuse => FilesRule::Refuse,
    }
}

/// The program may have chosen its code by any instruction set that it found.
fn processor(facts: &JobFacts, here: &Machine) -> Option<Refusal> {
    let lacking = facts.machine.lacking(here);
    if lacking.is_empty() {
        return None;
    }
    Some(Refusal::new(
        format!("processor of {}", here.host),
        format!(
            "it lacks {}, which {} had",
            lacking.join(", "),
            facts.machine.host
        ),
        "restart on a machine with these instructions",
    ))
}

fn device(facts: &JobFacts) -> Option<Refusal> {
    if facts.device != Device::Cuda || doctor::has_cuda() {
        return None;
    }
    Some(Refusal::new(
        "device",
        "the job used NVIDIA's driver, and there is none here",
        "restart on a machine with an NVIDIA GPU and driver",
    ))
}

/// Is there memory for what the image holds?
fn room(image: &ImageReader, available: Option<u64>) -> Option<Refusal> {
    let needed = image
        .sections()
        .iter()
        .filter(|section| section.name == memory::DATA_SECTION);
    let needed: u64 = needed.map(|section| section.raw_len).sum();
    let available = available?;
    if needed <= available {
        return None;
    }
    Some(Refusal::new(
        "memory",
        format!(
            "{} are needed, {} are available",
            bytes(needed),
            bytes(available)
        ),
        "end other programs, or restart on a machine with more memory",
    ))
}

/// Bytes that a new program can have, swap included; nothing when that is not known.
fn available() -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc/meminfo")).ok()?;
    Some(meminfo(&text, "MemAvailable:")? + meminfo(&text, "SwapFree:").unwrap_or(0))
}

fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lower_half::config::{Bytes, Compress, JobOptions};
    use tempfile::TempDir;
    use transparent_core::image::{Compression, Store};

    fn facts() -> JobFacts {
        let options = JobOptions {
            name: "a".into(),
            dir: Bytes(b"/d".to_vec()),
            device: Device::Auto,
            interval: None,
            compress: Compress::None,
            keep: None,
            files: Files::Rollback,
            strict: false,
        };
        let machine = Machine::here();
        JobFacts {
            options,
            device: Device::None,
            program: Bytes(vec![]),
            argv: vec![],
            machine,
        }
    }

    #[test]
    fn a_missing_instruction_set_is_named() {
        let mut facts = facts();
        assert!(processor(&facts, &Machine::here()).is_none());
        facts.machine.cpu_features.push("avx1024".into());
        let reason = processor(&facts, &Machine::here()).unwrap();
        assert!(reason.why.contains("avx1024"), "{reason}");
    }

    #[test]
    fn too_little_memory_is_a_reason() {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path(), "a").unwrap();
        let writer = store.create(Compression::None).unwrap();
        let name = memory::DATA_SECTION;
        writer
            .put_bytes(name, SectionKind::MEMORY_DATA, 1, &[7; 4096])
            .unwrap();
        writer.commit().unwrap();
        let image = store.newest_valid().unwrap().0.unwrap();
        assert!(room(&image, Some(4096)).is_none());
        assert!(room(&image, None).is_none());
        assert!(room(&image, Some(4095)).is_some());
    }

    #[test]
    fn meminfo_lines() {
        let text = "MemTotal:       8 kB\nMemAvailable:   24 kB\nSwapFree: x kB\n";
        assert_eq!(meminfo(text, "MemAvailable:"), Some(24 * 1024));
        assert_eq!(meminfo(text, "SwapFree:"), None);
        assert!(available().is_some());
    }

    #[test]
    fn all_reasons_are_told() {
        let reasons = [Refusal::new("a", "b", "c"), Refusal::new("d", "e", "f")];
        let text = people("/i", &reasons);
        assert_eq!(
            text,
            "/i cannot be restarted here:\n  - a: b; c\n  - d: e; f\n"
        );
        assert_eq!(json("/i", &reasons)["reasons"][1]["object"], "d");
        assert_eq!(people("/i", &[]), "/i can be restarted here\n");
    }
}
