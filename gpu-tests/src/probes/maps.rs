//! Question 2: where does the driver map memory, before and after it is used?
//! Anything in the application's window or in the device arena would collide with
//! what gpuckpt puts there.

use crate::driver::Session;
use crate::probe::{Outcome, Probe, Verdict};
use crate::steps::Step;
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;

/// First and last addresses of the application's window and of the device arena, as
/// in gpuckpt's ABI (`upper-half/src/abi.rs`; a test compares).
pub(crate) const WINDOW: (u64, u64) = (0x1600_0000_0000, 0x2a00_0000_0000);
/// See [`WINDOW`].
pub(crate) const ARENA: (u64, u64) = (0x1000_0000_0000, 0x1400_0000_0000);
const LOW: (u64, u64) = (0x1_0000, 0x1_0000_0000);

pub(crate) fn steps() -> Vec<Step> {
    let asks = "does the driver map anything into the application's window or the device arena?";
    vec![Step::new("maps", 2, 10, asks, maps).time(5, 90)]
}

/// A line of `/proc/self/maps`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mapping {
    start: u64,
    end: u64,
    what: String,
}

fn parse(text: &str) -> BTreeSet<Mapping> {
    let mapping = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        Some(Mapping {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            what: format!(
                "{} {}",
                words.first()?,
                words.get(4..).unwrap_or_default().join(" ")
            ),
        })
    };
    text.lines().filter_map(mapping).collect()
}

fn read() -> Result<BTreeSet<Mapping>> {
    let text = std::fs::read_to_string("/proc/self/maps").context("/proc/self/maps")?;
    Ok(parse(&text))
}

fn overlaps(mapping: &Mapping, (low, high): (u64, u64)) -> bool {
    mapping.start < high && mapping.end > low
}

/// How many mappings of this process lie in a range.
///
/// # Errors
/// `/proc` cannot be read.
pub(crate) fn count(range: (u64, u64)) -> Result<usize> {
    Ok(read()?.iter().filter(|m| overlaps(m, range)).count())
}

/// The mappings at one moment against those before the driver was loaded.
struct Stages<'a> {
    probe: &'a Probe,
    before: BTreeSet<Mapping>,
    bad: String,
}

impl Stages<'_> {
    fn look(&mut self, stage: &str) -> Result<()> {
        let now = read()?;
        let new: Vec<&Mapping> = now.difference(&self.before).collect();
        let bytes: u64 = new.iter().map(|m| m.end - m.start).sum();
        let count = |range| new.iter().filter(|m| overlaps(m, range)).count();
        let lowest = new.iter().map(|m| m.start).min().unwrap_or(0);
        let figures = [
            ("new_mappings", json!(new.len())),
            ("new_bytes", json!(bytes)),
            ("lowest", json!(format!("{lowest:#x}"))),
            ("in_window", json!(count(WINDOW))),
            ("in_arena", json!(count(ARENA))),
            ("below_4gib", json!(count(LOW))),
        ];
        let named = figures.map(|(name, value)| (format!("{stage}_{name}"), value));
        self.probe.figures(named.into_iter().collect());
        for mapping in new
            .iter()
            .filter(|m| overlaps(m, WINDOW) || overlaps(m, ARENA))
        {
            let place = if overlaps(mapping, WINDOW) {
                "window"
            } else {
                "arena"
            };
            let _ = write!(
                self.bad,
                "{}after {stage} {:#x}-{:#x} {} lies in the {place}",
                if self.bad.is_empty() { "" } else { "; " },
                mapping.start,
                mapping.end,
                mapping.what.trim()
            );
        }
        let text: String = new
            .iter()
            .map(|m| format!("{:#x}-{:#x} {}\n", m.start, m.end, m.what))
            .collect();
        let path = self.probe.out.join(format!("maps-{stage}.txt"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn maps(probe: &Probe) -> Outcome {
    let mut stages = Stages {
        probe,
        before: read()?,
        bad: String::new(),
    };
    let driver = probe.driver()?;
    stages.look("load")?;
    driver.init()?;
    stages.look("init")?;
    let session = Session::open(driver)?;
    stages.look("context")?;
    let bytes = if probe.is_mock() { 64 << 20 } else { 1 << 30 };
    let block = session.alloc(bytes)?;
    probe.figure("allocation", format!("{block:#x}"));
    stages.look("allocation")?;
    let mut pinned = std::ptr::null_mut();
    session.alloc_pinned(&mut pinned, 64 << 20)?;
    probe.figure("pinned", format!("{pinned:p}"));
    stages.look("pinned")?;
    session.write(block, &vec![7_u64; 1 << 17])?;
    session.synchronize()?;
    stages.look("copy")?;
    Ok(match stages.bad.is_empty() {
        true => Verdict::Supported,
        false => Verdict::Wrong(stages.bad),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_abi() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../upper-half/src/abi.rs");
        let abi = std::fs::read_to_string(path).unwrap();
        let constant = |name: &str| {
            let begin = format!("pub const {name}: u64 = 0x");
            let line = abi
                .lines()
                .find_map(|line| line.strip_prefix(&begin))
                .unwrap();
            u64::from_str_radix(&line.trim_end_matches(';').replace('_', ""), 16).unwrap()
        };
        assert_eq!((constant("W_LO"), constant("W_HI")), WINDOW);
        assert_eq!((constant("ARENA_LO"), constant("ARENA_HI")), ARENA);
        assert_eq!((constant("LOW_LO"), constant("LOW_HI")), LOW);
    }

    #[test]
    fn lines_of_maps_are_read() {
        let maps = parse("160000000000-160000001000 rw-s 00000000 00:05 12 /dev/nvidia-uvm\nx\n");
        let mapping = maps.first().unwrap();
        assert_eq!(mapping.what, "rw-s /dev/nvidia-uvm");
        assert!(overlaps(mapping, WINDOW) && !overlaps(mapping, ARENA));
        assert!(!overlaps(mapping, (0, WINDOW.0)));
    }
}
