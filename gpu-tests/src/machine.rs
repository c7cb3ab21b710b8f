//! What the machine is, as far as files tell. The device itself is asked by the
//! step `driver`, in a process of its own.
#![allow(unsafe_code, reason = "gnu_get_libc_version(3)")]

use crate::evidence::Machine;
use crate::protocol::Figures;
use std::ffi::CStr;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything but the device.
#[must_use]
pub fn describe() -> Machine {
    Machine {
        driver: driver_version(),
        gpu: first_gpu(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        glibc: glibc(),
        distribution: distribution(&read("/etc/os-release")),
        cpu: field(&read("/proc/cpuinfo"), "model name"),
        cpus: std::thread::available_parallelism().map_or(0, |n| n.get() as u64),
        memory_bytes: memory(&read("/proc/meminfo")),
        date: utc(SystemTime::now()),
        ..Machine::default()
    }
}

/// Adds what the step `driver` found.
pub fn add_device(machine: &mut Machine, figures: &Figures) {
    let text = |name: &str| {
        figures
            .get(name)
            .and_then(|v| v.as_str())
            .map(str::to_owned)
    };
    let number = |name: &str| figures.get(name).and_then(serde_json::Value::as_u64);
    let set = |to: &mut String, found: Option<String>| {
        if let Some(found) = found {
            *to = found;
        }
    };
    set(&mut machine.gpu, text("gpu"));
    set(&mut machine.cuda, text("cuda"));
    set(&mut machine.compute_capability, text("compute_capability"));
    machine.gpus = number("gpus").unwrap_or(machine.gpus);
    machine.gpu_memory_bytes = number("gpu_memory_bytes").unwrap_or(machine.gpu_memory_bytes);
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of `name : value`.
fn field(text: &str, name: &str) -> String {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value).unwrap_or_default()
}

fn memory(meminfo: &str) -> u64 {
    let total = field(meminfo, "MemTotal");
    let kib: u64 = total
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    kib * 1024
}

fn distribution(os_release: &str) -> String {
    let name = |line: &str| {
        Some(
            line.strip_prefix("PRETTY_NAME=")?
                .trim_matches('"')
                .to_owned(),
        )
    };
    os_release.lines().find_map(name).unwrap_or_default()
}

fn glibc() -> String {
    // SAFETY: it gives a constant text.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

/// The first word of numbers and dots in the module's banner.
fn driver_version() -> String {
    let text = read("/proc/driver/nvidia/version");
    let line = text.lines().next().unwrap_or_default();
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    line.split_whitespace()
        .find(is_version)
        .unwrap_or_default()
        .to_owned()
}

fn first_gpu() -> String {
    let Ok(entries) = fs::read_dir("/proc/driver/nvidia/gpus") else {
        return String::new();
    };
    let mut names: Vec<_> = entries
        .flatten()
        .map(|e| e.path().join("information"))
        .collect();
    names.sort();
    let text = names.first().and_then(|path| fs::read_to_string(path).ok());
    field(&text.unwrap_or_default(), "Model")
}

/// A time as `2026-01-31T12:00:00Z`.
#[must_use]
pub fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (mut days, second) = (seconds / 86400, seconds % 86400);
    let mut year = 1970;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        days + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn days_become_dates() {
        let at = |s: u64| utc(UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(at(1_772_323_200), "2026-03-01T00:00:00Z");
    }

    #[test]
    fn files_of_the_machine_are_read() {
        assert_eq!(memory("MemTotal:       1024 kB\nMemFree: 1 kB\n"), 1 << 20);
        assert_eq!(distribution("ID=x\nPRETTY_NAME=\"X 1\"\n"), "X 1");
        assert_eq!(field("Model: \t NVIDIA H100\n", "Model"), "NVIDIA H100");
        let machine = describe();
        assert!(!machine.kernel.is_empty() && machine.cpus > 0 && machine.memory_bytes > 0);
        assert!(machine.glibc.starts_with("2."));
    }
}
