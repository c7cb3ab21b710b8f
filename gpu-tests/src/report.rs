//! `evidence.md`: the same as `evidence.json`, for people.

use crate::evidence::{Answer, Evidence};
use crate::protocol::State;
use serde_json::Value;
use std::fmt::Write;

/// The whole page; `compared` is what changed against an earlier run.
#[must_use]
pub fn text(evidence: &Evidence, compared: Option<&str>) -> String {
    let mut page = String::new();
    head(&mut page, evidence);
    if let Some(compared) = compared {
        let _ = writeln!(page, "\n## Against an earlier run\n\n{compared}");
    }
    table(&mut page, &evidence.steps);
    for step in &evidence.steps {
        details(&mut page, step);
    }
    page
}

fn head(page: &mut String, evidence: &Evidence) {
    let machine = &evidence.machine;
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let or = |text: &str, other: &str| {
        if text.is_empty() {
            other.to_owned()
        } else {
            text.to_owned()
        }
    };
    let _ = writeln!(
        page,
        "# Evidence: {}, {}\n",
        or(&machine.gpu, "no GPU"),
        machine.date
    );
    if evidence.device == "mock" {
        let _ = writeln!(
            page,
            "On the **mock device**: this says nothing about a real driver.\n"
        );
    }
    let rows = [
        (
            "GPU",
            format!(
                "{} × {}, {}, compute capability {}",
                machine.gpus,
                or(&machine.gpu, "?"),
                gib(machine.gpu_memory_bytes),
                or(&machine.compute_capability, "?")
            ),
        ),
        (
            "driver",
            format!(
                "{}, CUDA {}",
                or(&machine.driver, "no kernel module"),
                or(&machine.cuda, "?")
            ),
        ),
        ("kernel", machine.kernel.clone()),
        (
            "system",
            format!("{}, glibc {}", machine.distribution, machine.glibc),
        ),
        (
            "machine",
            format!(
                "{} × {}, {}",
                machine.cpus,
                machine.cpu,
                gib(machine.memory_bytes)
            ),
        ),
        (
            "kit",
            format!("{} {}", evidence.kit.version, evidence.kit.commit),
        ),
        (
            "run",
            format!(
                "{:.0} s, device {}{}",
                evidence.seconds,
                evidence.device,
                minutes(evidence)
            ),
        ),
    ];
    let _ = writeln!(page, "| | |\n|---|---|");
    for (name, value) in rows {
        let _ = writeln!(page, "| {name} | {} |", cell(&value));
    }
    let all = [
        State::Supported,
        State::Refused,
        State::Wrong,
        State::Failed,
        State::NotRun,
    ];
    let counts: Vec<String> = all
        .iter()
        .map(|s| format!("{} {s}", evidence.count(*s)))
        .collect();
    let _ = writeln!(page, "\n**{}**", counts.join(", "));
    if !evidence.complete {
        let _ = writeln!(
            page,
            "\nThe run is not complete: it goes on, or it ended early."
        );
    }
}

fn minutes(evidence: &Evidence) -> String {
    evidence
        .minutes
        .map_or(String::new(), |minutes| format!(", {minutes} minutes"))
}

fn table(page: &mut String, steps: &[Answer]) {
    let _ = writeln!(
        page,
        "\n| step | question | state | seconds | what it asks; why |\n|---|---|---|---|---|"
    );
    for step in steps {
        let why = match step.reason.lines().next() {
            None | Some("") => String::new(),
            Some(line) => format!("<br>**{line}**"),
        };
        let row = [
            cell(&step.name),
            step.question.to_string(),
            step.state.to_string(),
            format!("{:.1}", step.seconds),
            cell(&format!("{}{why}", step.asks)),
        ];
        let _ = writeln!(page, "| {} |", row.join(" | "));
    }
}

/// Figures, and what differed or broke.
fn details(page: &mut String, step: &Answer) {
    if step.figures.is_empty() && !step.state.is_bad() {
        return;
    }
    let _ = writeln!(page, "\n### {}: {}", step.name, step.state);
    if !step.reason.is_empty() {
        let _ = writeln!(page, "\n{}", step.reason);
    }
    if !step.figures.is_empty() {
        let _ = writeln!(page, "\n| figure | value |\n|---|---|");
        for (name, value) in &step.figures {
            let _ = writeln!(page, "| {} | {} |", cell(name), cell(&shown(value)));
        }
    }
    if !step.stderr.is_empty() {
        let _ = writeln!(page, "\nThe end of its standard error:\n");
        for line in step.stderr.lines() {
            let _ = writeln!(page, "    {line}");
        }
    }
}

/// A figure as people read it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => grouped(whole),
            (None, Some(float)) if float.abs() >= 1000.0 => format!("{float:.0}"),
            (None, Some(float)) => format!("{float:.3}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// 1234567 as 1 234 567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Text that does not end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(shown(&Value::from(1_234_567)), "1 234 567");
        assert_eq!(shown(&Value::from(4096)), "4096");
        assert_eq!(shown(&Value::from(0.123_456)), "0.123");
        assert_eq!(shown(&Value::from(98_765.4)), "98765");
        assert_eq!(cell("a|b\nc"), "a\\|b c");
    }
}
