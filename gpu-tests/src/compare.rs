//! Two runs side by side: which states changed, and by which ratio figures did.

use crate::evidence::{Answer, Evidence};
use crate::protocol::State;
use serde_json::Value;
use std::fmt::Write;

/// A ratio further from 1 than this is shown.
const NOTABLE: f64 = 0.05;

/// What changed from `before` to `now`, as text of a page.
#[must_use]
pub fn text(before: &Evidence, now: &Evidence) -> String {
    let mut page = String::new();
    let _ = writeln!(page, "Then: {}; now: {}.", named(before), named(now));
    states(&mut page, before, now);
    figures(&mut page, before, now);
    page
}

fn named(evidence: &Evidence) -> String {
    let machine = &evidence.machine;
    format!(
        "{}, driver {}, {}, gpuckpt {} {}",
        if machine.gpu.is_empty() {
            "no GPU"
        } else {
            &machine.gpu
        },
        if machine.driver.is_empty() {
            "?"
        } else {
            &machine.driver
        },
        machine.date,
        evidence.kit.version,
        evidence.kit.commit
    )
}

/// A step that both runs really tried.
fn tried(step: &&Answer) -> bool {
    step.state != State::NotRun
}

fn states(page: &mut String, before: &Evidence, now: &Evidence) {
    let mut rows = Vec::new();
    for step in &now.steps {
        let old = before.step(&step.name);
        let then = old.map_or("not known", |old| old.state.name());
        if then != step.state.name() {
            let why = step.reason.lines().next().unwrap_or_default();
            rows.push(format!(
                "| {} | {then} | {} | {} |",
                step.name,
                step.state,
                why.replace('|', "\\|")
            ));
        }
    }
    if rows.is_empty() {
        let _ = writeln!(page, "\nNo state changed.");
    } else {
        let _ = writeln!(
            page,
            "\n| step | then | now | why |\n|---|---|---|---|\n{}",
            rows.join("\n")
        );
    }
    let gone: Vec<&str> = before
        .steps
        .iter()
        .map(|step| step.name.as_str())
        .filter(|name| now.step(name).is_none())
        .collect();
    if !gone.is_empty() {
        let _ = writeln!(page, "\nNot asked this time: {}.", gone.join(", "));
    }
}

fn figures(page: &mut String, before: &Evidence, now: &Evidence) {
    let mut rows = Vec::new();
    for step in now.steps.iter().filter(tried) {
        let Some(old) = before.step(&step.name).filter(tried) else {
            continue;
        };
        for (name, value) in &step.figures {
            let Some(then) = old.figures.get(name).filter(|then| *then != value) else {
                continue;
            };
            match ratio(then, value) {
                Some(ratio) if (ratio - 1.0).abs() < NOTABLE => {}
                Some(ratio) => rows.push(format!(
                    "| {} | {name} | {then} | {value} | {ratio:.2} |",
                    step.name
                )),
                None => rows.push(format!("| {} | {name} | {then} | {value} | |", step.name)),
            }
        }
    }
    if rows.is_empty() {
        let _ = writeln!(
            page,
            "\nNo figure changed by more than {:.0} %.",
            NOTABLE * 100.0
        );
    } else {
        let _ = writeln!(
            page,
            "\n| step | figure | then | now | ratio |\n|---|---|---|---|---|\n{}",
            rows.join("\n")
        );
    }
}

fn ratio(then: &Value, now: &Value) -> Option<f64> {
    let (then, now) = (then.as_f64()?, now.as_f64()?);
    (then != 0.0).then(|| now / then)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Machine, Origin};
    use serde_json::json;

    fn evidence(steps: &[(&str, State, Value)]) -> Evidence {
        let answer = |(name, state, figures): &(&str, State, Value)| Answer {
            name: (*name).to_owned(),
            question: 1,
            asks: "x".to_owned(),
            state: *state,
            reason: "because | of".to_owned(),
            figures: figures.as_object().cloned().unwrap_or_default(),
            seconds: 1.0,
            stderr: String::new(),
        };
        Evidence {
            version: 1,
            kit: Origin::default(),
            machine: Machine::default(),
            device: "mock".to_owned(),
            minutes: None,
            seconds: 1.0,
            complete: true,
            steps: steps.iter().map(answer).collect(),
        }
    }

    #[test]
    fn changed_states_and_notable_ratios_are_shown() {
        let before = evidence(&[
            (
                "a",
                State::Supported,
                json!({"ns": 100, "gbps": 10.0, "name": "x"}),
            ),
            ("b", State::Supported, json!({"ns": 1})),
            ("gone", State::Supported, json!({})),
        ]);
        let now = evidence(&[
            (
                "a",
                State::Supported,
                json!({"ns": 150, "gbps": 10.1, "name": "y"}),
            ),
            ("b", State::Failed, json!({})),
            ("new", State::Refused, json!({})),
        ]);
        let page = text(&before, &now);
        for row in [
            "| a | ns | 100 | 150 | 1.50 |",
            "| a | name | \"x\" | \"y\" | |",
            "| b | supported | failed | because \\| of |",
            "| new | not known | refused |",
            "Not asked this time: gone.",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
        assert!(!page.contains("gbps"), "{page}");
    }

    #[test]
    fn equal_runs_say_so() {
        let one = evidence(&[("a", State::Supported, json!({"ns": 100}))]);
        let page = text(&one, &one);
        assert!(
            page.contains("No state changed") && page.contains("No figure changed"),
            "{page}"
        );
    }
}
