//! What an image says of the job and of the machine it was made on: the `job`
//! section, read before anything is restored.

use crate::config::{Bytes, Device, JobOptions};
use serde::{Deserialize, Serialize};

/// Name of the section that holds [`JobFacts`].
pub const JOB: &str = "job";
/// Version of [`JobFacts`].
pub const JOB_VERSION: u32 = 1;
/// Name of the section with the JSON object that `inspect` shows.
pub const SUMMARY: &str = "summary";
/// Kind number of the summary section.
pub const SUMMARY_KIND: u32 = 10;

/// The job and its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFacts {
    /// Options of the job when it was saved.
    pub options: JobOptions,
    /// The device that was in use: never `Auto`.
    pub device: Device,
    /// The program's file.
    pub program: Bytes,
    /// Its arguments at its start.
    pub argv: Vec<Bytes>,
    /// Where it was saved.
    pub machine: Machine,
}

/// A machine as far as a restart depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Instruction set extensions as `/proc/cpuinfo` names them, sorted: a program
    /// may have chosen code by any of them.
    pub cpu_features: Vec<String>,
    /// The kernel's boot id: monotonic clocks go on only within one boot.
    pub boot_id: String,
}

/// Prefixes and names of `/proc/cpuinfo` flags that are instructions a program
/// selects code by; the others concern the kernel.
/// (`fsgsbase` is not among them: no program under gpuckpt is told of it.)
const INSTRUCTION_SETS: [&str; 43] = [
    "sse",
    "ssse3",
    "avx",
    "amx",
    "aes",
    "vaes",
    "pclmulqdq",
    "vpclmulqdq",
    "bmi1",
    "bmi2",
    "abm",
    "lzcnt",
    "popcnt",
    "movbe",
    "fma",
    "f16c",
    "sha_ni",
    "sha512",
    "gfni",
    "adx",
    "rdrand",
    "rdseed",
    "cx16",
    "cx8",
    "cmov",
    "xsave",
    "erms",
    "fsrm",
    "clflushopt",
    "clwb",
    "movdiri",
    "movdir64b",
    "rdpid",
    "rdtscp",
    "lahf_lm",
    "waitpkg",
    "serialize",
    "prefetchwt1",
    "3dnowprefetch",
    "rtm",
    "hle",
    "clzero",
    "cldemote",
];

impl Machine {
    /// The machine this runs on.
    pub fn here() -> Self {
        let name = nix::sys::utsname::uname().ok();
        let text = |value: Option<&std::ffi::OsStr>| {
            value
                .map(|v| v.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        Self {
            host: text(name.as_ref().map(|n| n.nodename())),
            kernel: text(name.as_ref().map(|n| n.release())),
            cpu_features: cpu_features(),
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .to_owned(),
        }
    }

    /// Features that this machine, where an image was made, has and `here` lacks.
    pub fn lacking(&self, here: &Self) -> Vec<String> {
        self.cpu_features
            .iter()
            .filter(|name| here.cpu_features.binary_search(name).is_err())
            .cloned()
            .collect()
    }
}

fn cpu_features() -> Vec<String> {
    use std::io::{BufRead, BufReader};
    let Ok(file) = std::fs::File::open("/proc/cpuinfo") else {
        return Vec::new();
    };
    let line = BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("flags"));
    let mut found: Vec<String> = line
        .iter()
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, flags)| flags.split_whitespace())
        .filter(|flag| INSTRUCTION_SETS.iter().any(|set| flag.starts_with(set)))
        .map(str::to_owned)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no program is told of, no program misses.
    #[test]
    fn a_program_may_go_on_where_fs_cannot_be_set_by_instructions() {
        let features = Machine::here().cpu_features;
        assert!(!features.is_empty() && !features.iter().any(|name| name == "fsgsbase"));
    }

    #[test]
    fn a_machine_lacks_what_the_other_has() {
        let mut there = Machine::here();
        let here = there.clone();
        assert!(there.lacking(&here).is_empty());
        there.cpu_features.push("zzz_new".into());
        assert_eq!(there.lacking(&here), ["zzz_new"]);
    }
}
