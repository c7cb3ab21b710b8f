//! The JSON object that `gpuckpt inspect` shows: written at the checkpoint by those
//! who know, so that reading it needs no knowledge of their types.

use crate::job::Job;
use lower_half::facts::JobFacts;
use serde_json::{Value, json};
use transparent_core::Range;
use transparent_core::fds::FdTable;
use transparent_core::maps::{self, Mapping};
use transparent_core::memory::{MappingBytes, Stats};
use upper_half::UpperState;

/// Describes an image that is being written; the threads are parked.
pub(crate) fn build(
    job: &Job,
    state: &UpperState,
    upper: &[Range],
    table: &FdTable,
    facts: &JobFacts,
    (stats, saved): (&Stats, &[MappingBytes]),
    bytes_device: u64,
) -> Value {
    let mappings = maps::read().unwrap_or_default();
    json!({
        "name": job.options.name,
        "program": lossy(&facts.program.0),
        "argv": facts.argv.iter().map(|argument| lossy(&argument.0)).collect::<Vec<_>>(),
        "pid": state.vpid(),
        "threads": state.threads.iter().map(|thread| json!({"vtid": thread.vtid, "name": lossy(&thread.name)})).collect::<Vec<_>>(),
        "mappings": mappings.iter().filter(|m| upper.iter().any(|r| r.intersection(&m.range).is_some())).map(|m| mapping(m, saved)).collect::<Vec<_>>(),
        "descriptors": descriptors(table),
        "device": device(job),
        "sizes": {"host": stats.saved, "host_mapped": stats.mapped, "device": bytes_device},
        "host": facts.machine.host,
        "kernel": facts.machine.kernel,
        "cpu_features": facts.machine.cpu_features,
        "gpuckpt_version": env!("CARGO_PKG_VERSION"),
    })
}

fn mapping(mapping: &Mapping, saved: &[MappingBytes]) -> Value {
    let text = mapping.to_string();
    let mut words = text.split_whitespace();
    let protection = words.nth(1).unwrap_or_default().to_owned();
    let path = words
        .nth(3)
        .map(|first| words.fold(first.to_owned(), |path, word| path + " " + word));
    let kind = match &path {
        Some(path) if path.starts_with('/') => "file",
        _ => "anonymous",
    };
    json!({
        "start": mapping.range.start,
        "end": mapping.range.end,
        "prot": protection,
        "kind": kind,
        "path": path,
        "bytes": mapping.range.len(),
        "bytes_saved": saved_in(&mapping.range, saved),
    })
}

/// Bytes in the image of what lies in `range`; `saved` is ascending.
fn saved_in(range: &Range, saved: &[MappingBytes]) -> u64 {
    let first = saved.partition_point(|one| one.range.end <= range.start);
    let inside = saved[first..]
        .iter()
        .take_while(|one| one.range.start < range.end);
    inside.map(|one| one.saved).sum()
}

fn descriptors(table: &FdTable) -> Vec<Value> {
    table
        .descriptors
        .iter()
        .filter_map(|descriptor| {
            let file = table.files.get(descriptor.file as usize)?;
            Some(json!({"fd": descriptor.number, "kind": file.kind.name(), "what": file.label}))
        })
        .collect()
}

fn device(job: &Job) -> Value {
    if !job.has_device() {
        return json!({"device": job.device_name()});
    }
    let summary = interposer::summary();
    let regions = interposer::device_regions();
    json!({
        "device": job.device_name(),
        "contexts": summary.contexts.len(),
        "modules": summary.modules + summary.libraries,
        "streams": summary.streams,
        "events": summary.events,
        "pinned_bytes": summary.pinned_bytes,
        "restarts": summary.restarts,
        "log_total": summary.records_total,
        "log_live": summary.records_live,
        "allocations": regions.iter().map(|r| json!({"address": r.address, "len": r.len, "label": r.label})).collect::<Vec<_>>(),
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
