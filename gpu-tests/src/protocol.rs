//! What a step says about itself: lines of JSON on its standard output.
//!
//! ```text
//! {"figures": {"first_ms": 3.2}}                      any number of times; merged
//! {"state": "supported", "reason": "", "figures": {}} last
//! ```
//!
//! Figures that were said before a crash are kept. Everything else on standard
//! output is the step's own and passed over.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// Named results of a step; a unit is part of the name (`first_ms`).
pub type Figures = Map<String, Value>;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It works, and every result was right.
    Supported,
    /// gpuckpt or the driver said no, by name.
    Refused,
    /// A result differs from the right one.
    Wrong,
    /// A crash, a hang, or an error that names nothing that is known not to work.
    Failed,
    /// It was not tried, or it has no meaning here.
    NotRun,
}

impl State {
    /// The name in `evidence.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Supported => "supported",
            State::Refused => "refused",
            State::Wrong => "wrong",
            State::Failed => "failed",
            State::NotRun => "not_run",
        }
    }

    /// True when somebody has to look.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, State::Wrong | State::Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Present in the last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Why; empty when supported.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Results so far.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub figures: Figures,
}

/// What a step said, all lines together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// All figures; a later one replaces an earlier one of its name.
    pub figures: Figures,
    /// State and reason of the last line that had a state.
    pub verdict: Option<(State, String)>,
}

/// Reads a step's standard output.
#[must_use]
pub fn hear(output: &str) -> Heard {
    let mut heard = Heard::default();
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let Ok(line) = serde_json::from_str::<Line>(line) else {
            continue;
        };
        heard.figures.extend(line.figures);
        if let Some(state) = line.state {
            heard.verdict = Some((state, line.reason));
        }
    }
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_merged_and_the_last_state_counts() {
        let heard = hear(
            "{\"figures\":{\"a\":1,\"b\":2}}\nnoise\n{\"figures\":{\"b\":3}}\n{ broken\n\
             {\"state\":\"refused\",\"reason\":\"no\",\"figures\":{\"c\":4}}\n",
        );
        assert_eq!(
            Value::from(heard.figures).to_string(),
            r#"{"a":1,"b":3,"c":4}"#
        );
        assert_eq!(heard.verdict, Some((State::Refused, "no".into())));
    }

    #[test]
    fn without_a_last_line_there_is_no_verdict() {
        assert_eq!(hear("{\"figures\":{\"a\":1}}\n").verdict, None);
        assert_eq!(hear("{\"state\":\"great\"}\n").verdict, None);
    }
}
