//! `gpuckpt inspect`: what is in an image, for people and for programs. It reads the
//! manifest and the summary that the image's writer left, and nothing else; a key
//! that is missing there is left out here.

use crate::failure::Result;
use crate::images;
use crate::options::DirArg;
use crate::text::{bytes, count, table};
use clap::Parser;
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;
use transparent_core::image::ImageReader;

/// Arguments of `inspect`.
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
    let found = images::find(args.image.as_deref(), &args.dir.path()?)?;
    let object = object(&found.image)?;
    if args.json {
        println!("{object}");
    } else {
        print!("{}", people(&object));
    }
    Ok(0)
}

/// The summary, with what the manifest knows.
fn object(image: &ImageReader) -> Result<Value> {
    let mut object = match images::summary(image)? {
        Value::Object(fields) => Value::Object(fields),
        _ => json!({}),
    };
    let sections = image.sections().iter().map(|section| {
        json!({
            "name": section.name,
            "version": section.version,
            "bytes": section.raw_len,
            "bytes_stored": section.file_len,
        })
    });
    object["sections"] = sections.collect();
    object["image"] = json!(image.folder().display().to_string());
    object["bytes_written"] = json!(image.file_bytes());
    object["writer"] = json!(image.writer());
    let age = image
        .created()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    object["created_unix"] = json!(age.as_secs());
    Ok(object)
}

fn people(object: &Value) -> String {
    let mut text = head(object);
    text += &part("Threads", &object["threads"], &["vtid", "name", "state"]);
    text += &part(
        &mappings(&object["mappings"]),
        &object["mappings"],
        &[
            "start",
            "end",
            "bytes",
            "bytes_saved",
            "prot",
            "kind",
            "path",
        ],
    );
    text += &part(
        "Descriptors",
        &object["descriptors"],
        &["fd", "kind", "what"],
    );
    text += &device(&object["device"]);
    text += &part(
        "Sections",
        &object["sections"],
        &["name", "bytes", "bytes_stored"],
    );
    text
}

/// The title of the mappings, with their sums where the image's writer gave them.
fn mappings(list: &Value) -> String {
    let sum = |key: &str| -> Option<u64> {
        let sizes = list.as_array()?.iter().map(|item| item[key].as_u64());
        sizes.sum()
    };
    match (sum("bytes"), sum("bytes_saved")) {
        (Some(size), Some(saved)) => {
            format!("Mappings, {}, {} saved", bytes(size), bytes(saved))
        }
        _ => "Mappings".to_string(),
    }
}

fn head(object: &Value) -> String {
    let mut rows = Vec::new();
    for (key, label) in [
        ("program", "program"),
        ("argv", "arguments"),
        ("pid", "process id"),
        ("created", "created"),
        ("gpuckpt_version", "gpuckpt"),
        ("kernel", "kernel"),
    ] {
        if !object[key].is_null() {
            rows.push(vec![format!("  {label}"), cell("", &object[key])]);
        }
    }
    let size = object["bytes_written"].as_u64().unwrap_or(0);
    rows.push(vec!["  size".into(), bytes(size)]);
    if let Some(sizes) = object["sizes"].as_object() {
        for (key, size) in sizes {
            rows.push(vec![
                format!("  {} memory", key.replace('_', " ")),
                cell("bytes", size),
            ]);
        }
    }
    format!("{}\n{}", cell("", &object["image"]), table(&rows))
}

fn device(device: &Value) -> String {
    if device.is_null() {
        return String::new();
    }
    let mut text = format!("\nDevice: {}\n", cell("", &device["device"]));
    let mut rows = Vec::new();
    for key in ["contexts", "modules", "streams", "events"] {
        let number = match &device[key] {
            Value::Array(items) => items.len().to_string(),
            Value::Null => continue,
            other => cell("", other),
        };
        rows.push(vec![format!("  {key}"), number]);
    }
    if !device["pinned_bytes"].is_null() {
        rows.push(vec![
            "  pinned memory".into(),
            cell("bytes", &device["pinned_bytes"]),
        ]);
    }
    if let (Some(total), Some(live)) = (device["log_total"].as_u64(), device["log_live"].as_u64()) {
        let log = format!("{} made, {live} left after pruning", count(total, "record"));
        rows.push(vec!["  log".into(), log]);
    }
    text += &table(&rows);
    if let Some(allocations) = device["allocations"].as_array() {
        let total: u64 = allocations
            .iter()
            .filter_map(|one| one["len"].as_u64())
            .sum();
        let title = format!("Device allocations, {}", bytes(total));
        text += &part(
            &title,
            &device["allocations"],
            &["address", "len", "label", "kind"],
        );
    }
    text
}

/// A list of objects as a table with these columns, of which those that no object
/// has are left out.
fn part(title: &str, list: &Value, columns: &[&str]) -> String {
    let Some(items) = list.as_array() else {
        return String::new();
    };
    let present = |column: &&&str| items.iter().any(|item| !item[**column].is_null());
    let columns: Vec<&str> = columns.iter().filter(present).copied().collect();
    let mut rows = Vec::with_capacity(items.len() + 1);
    let head = columns.iter().map(|column| column.replace('_', " "));
    rows.push(indent(head.collect()));
    for item in items {
        rows.push(indent(
            columns
                .iter()
                .map(|column| cell(column, &item[*column]))
                .collect(),
        ));
    }
    let body = if items.is_empty() {
        String::new()
    } else {
        table(&rows)
    };
    format!("\n{title} ({})\n{body}", items.len())
}

fn indent(mut row: Vec<String>) -> Vec<String> {
    if let Some(first) = row.first_mut() {
        first.insert_str(0, "  ");
    }
    row
}

/// A value as people read it, by what its column holds.
fn cell(column: &str, value: &Value) -> String {
    match (column, value) {
        (_, Value::Null) => String::new(),
        ("start" | "end" | "address", Value::Number(number)) => match number.as_u64() {
            Some(address) => format!("{address:#x}"),
            None => number.to_string(),
        },
        ("len" | "bytes" | "bytes_saved" | "bytes_stored", Value::Number(number)) => {
            number.as_u64().map_or_else(|| number.to_string(), bytes)
        }
        (_, Value::String(text)) => visible(text),
        (_, Value::Array(items)) => {
            let words: Vec<String> = items.iter().map(|item| cell("", item)).collect();
            words.join(" ")
        }
        (_, other) => other.to_string(),
    }
}

/// Text from an image may hold anything, a terminal must not obey it.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_for_people() {
        let object = json!({
            "image": "/d/a/ckpt-00000001",
            "program": "/usr/bin/app",
            "argv": ["app", "-v"],
            "pid": 7,
            "bytes_written": 2048,
            "sizes": {"host": 4096},
            "threads": [{"vtid": 7, "name": "app"}, {"vtid": 8, "name": "worker"}],
            "mappings": [
                {"start": 4096, "end": 20480, "prot": "rw-", "kind": "anonymous", "bytes": 16384, "bytes_saved": 4096},
                {"start": 20480, "end": 24576, "prot": "r--", "kind": "file", "bytes": 4096, "bytes_saved": 0, "path": "/a"},
            ],
            "descriptors": [],
            "device": {
                "device": "mock", "contexts": 1, "streams": [1, 2], "log_total": 9, "log_live": 4,
                "allocations": [{"address": 17592186044416_u64, "len": 1048576}],
            },
            "sections": [{"name": "memory", "bytes": 4096, "bytes_stored": 1024}],
        });
        assert_eq!(
            people(&object),
            "\
/d/a/ckpt-00000001
  program      /usr/bin/app
  arguments    app -v
  process id   7
  size         2.0 KiB
  host memory  4.0 KiB

Threads (2)
  vtid  name
  7     app
  8     worker

Mappings, 20.0 KiB, 4.0 KiB saved (2)
  start   end     bytes     bytes saved  prot  kind       path
  0x1000  0x5000  16.0 KiB  4.0 KiB      rw-   anonymous
  0x5000  0x6000  4.0 KiB   0 B          r--   file       /a

Descriptors (0)

Device: mock
  contexts  1
  streams   2
  log       9 records made, 4 left after pruning

Device allocations, 1.0 MiB (1)
  address         len
  0x100000000000  1.0 MiB

Sections (1)
  name    bytes    bytes stored
  memory  4.0 KiB  1.0 KiB
"
        );
    }

    #[test]
    fn missing_keys_are_left_out() {
        let text = people(&json!({"image": "/d", "device": {}, "threads": 3}));
        assert_eq!(text, "/d\n  size  0 B\n\nDevice: \n");
    }

    #[test]
    fn what_an_image_says_cannot_drive_the_terminal() {
        assert!(!cell("path", &json!("a\u{1b}[2Jb")).contains('\u{1b}'));
    }
}
