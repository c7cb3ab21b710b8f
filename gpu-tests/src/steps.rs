//! The table of steps: what is asked, in which order, and how long it may take.

use crate::probe::{Outcome, Probe};
use crate::probes;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::PathBuf;

/// How a step is answered.
#[derive(Clone, Debug)]
pub enum Work {
    /// By a function of this program, in a process of its own.
    Probe(fn(&Probe) -> Outcome),
    /// By another program that speaks the protocol of [`crate::protocol`].
    Command(Vec<String>),
}

/// One question, or a part of one, that is answered in isolation.
#[derive(Clone, Debug)]
pub struct Step {
    /// Unique; also the name of its folder.
    pub name: String,
    /// Number of the question that it belongs to, 1 to 10.
    pub question: u8,
    /// What it asks, in a line.
    pub asks: String,
    /// Rank: lower ones run first. 0 to 19 what all else stands on, 20 to 39 the first
    /// guests, 40 to 199 costs, bandwidths, sizes and frameworks, from 200 on the rest.
    pub worth: u32,
    /// Its time limit in seconds.
    pub limit_s: u64,
    /// What it takes as a rule; with less than that left it is not begun.
    pub takes_s: u64,
    /// Why it has no meaning on the mock device, when that is so.
    pub only_real: Option<&'static str>,
    /// What the probe is to look at: a guest's name, a size.
    pub subject: String,
    /// How.
    pub work: Work,
}

impl Step {
    /// A step with a limit of a minute that takes five seconds.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        question: u8,
        worth: u32,
        asks: impl Into<String>,
        probe: fn(&Probe) -> Outcome,
    ) -> Self {
        Self {
            name: name.into(),
            question,
            asks: asks.into(),
            worth,
            limit_s: 60,
            takes_s: 5,
            only_real: None,
            subject: String::new(),
            work: Work::Probe(probe),
        }
    }

    /// With this limit, and what it takes as a rule, in seconds.
    #[must_use]
    pub fn time(mut self, takes_s: u64, limit_s: u64) -> Self {
        self.takes_s = takes_s;
        self.limit_s = limit_s;
        self
    }

    /// About this subject.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// With meaning on a real device only.
    #[must_use]
    pub fn only_real(mut self, why: &'static str) -> Self {
        self.only_real = Some(why);
        self
    }
}

/// Name of the step that has to succeed before any other is tried.
pub const DRIVER: &str = "driver";

/// A file with more steps, for tests of the kit itself.
const EXTRA: &str = "KIT_EXTRA_STEPS";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    name: String,
    #[serde(default)]
    worth: u32,
    #[serde(default = "one")]
    limit_s: u64,
    #[serde(default)]
    takes_s: u64,
    command: Vec<String>,
}

fn one() -> u64 {
    1
}

/// All steps, in the order in which they run.
///
/// # Errors
/// The file that `KIT_EXTRA_STEPS` names cannot be read.
pub fn all() -> Result<Vec<Step>> {
    let mut steps = probes::steps();
    if let Some(path) = std::env::var_os(EXTRA).filter(|path| !path.is_empty()) {
        steps.extend(extra(&PathBuf::from(path))?);
    }
    steps.sort_by_key(|step| step.worth);
    Ok(steps)
}

fn extra(path: &std::path::Path) -> Result<Vec<Step>> {
    let text =
        std::fs::read(path).with_context(|| format!("cannot read {} ({EXTRA})", path.display()))?;
    let extra: Vec<Extra> = serde_json::from_slice(&text)
        .with_context(|| format!("{} holds no steps ({EXTRA})", path.display()))?;
    let step = |extra: Extra| Step {
        name: extra.name,
        question: 0,
        asks: "a test of the kit itself".into(),
        worth: extra.worth,
        limit_s: extra.limit_s,
        takes_s: extra.takes_s,
        only_real: None,
        subject: String::new(),
        work: Work::Command(extra.command),
    };
    Ok(extra.into_iter().map(step).collect())
}

/// True when `list` (of `--only`) names the step: its name, the beginning of its
/// name and `*`, or `qN` for a question.
#[must_use]
pub fn wanted(step: &Step, list: &[String]) -> bool {
    list.is_empty() || list.iter().any(|word| matches(step, word))
}

fn matches(step: &Step, word: &str) -> bool {
    if let Some(beginning) = word.strip_suffix('*') {
        return step.name.starts_with(beginning);
    }
    let question = word.strip_prefix('q').and_then(|n| n.parse::<u8>().ok());
    step.name == word || question == Some(step.question)
}

/// Words of `--only` that name no step.
#[must_use]
pub fn unknown<'a>(steps: &[Step], list: &'a [String]) -> Vec<&'a str> {
    let names_none = |word: &&String| !steps.iter().any(|step| matches(step, word));
    list.iter().filter(names_none).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_can_be_folders() {
        let steps = all().unwrap();
        let mut seen = BTreeSet::new();
        for step in &steps {
            assert!(
                seen.insert(step.name.clone()),
                "{} is there twice",
                step.name
            );
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            assert!(step.name.chars().all(plain), "{}", step.name);
            assert!((1..=10).contains(&step.question), "{}", step.name);
            assert!(step.takes_s <= step.limit_s, "{}", step.name);
            assert!(
                !step.asks.is_empty() && !step.asks.contains('\n'),
                "{}",
                step.name
            );
        }
    }

    #[test]
    fn the_driver_is_asked_first() {
        assert_eq!(all().unwrap()[0].name, DRIVER);
    }

    #[test]
    fn a_list_names_steps_beginnings_and_questions() {
        let steps = all().unwrap();
        let driver = &steps[0];
        for word in ["driver", "dri*", "q1"] {
            assert!(wanted(driver, &[word.to_owned()]), "{word}");
        }
        assert!(!wanted(driver, &["drive".to_owned()]));
        assert!(wanted(driver, &[]));
        let list = ["driver".to_owned(), "nothing".to_owned()];
        assert_eq!(unknown(&steps, &list), ["nothing"]);
    }
}
