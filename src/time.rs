//! TIME on the command line: `90s`, `10m`, `2h`, `1d`, bare seconds; inside a Slurm job
//! the six forms of Slurm's `--time`, so that its variables can be passed on:
//! minutes, minutes:seconds, hours:minutes:seconds, days-hours,
//! days-hours:minutes and days-hours:minutes:seconds.

use std::time::Duration;

/// Parser for clap; takes Slurm's forms when `SLURM_JOB_ID` is set.
///
/// A bare number is seconds outside Slurm's jobs and minutes inside them, as it is
/// for Slurm.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let slurm = std::env::var_os("SLURM_JOB_ID").is_some_and(|id| !id.is_empty());
    let parsed = if slurm {
        suffixed(text).or_else(|| by_slurm(text))
    } else {
        plain(text)
    };
    parsed.ok_or_else(|| {
        let forms = if slurm {
            "90s, 10m, 2h, or Slurm's minutes, minutes:seconds, hours:minutes:seconds, \
             days-hours, days-hours:minutes, days-hours:minutes:seconds"
        } else {
            "90s, 10m, 2h, 1d or a number of seconds"
        };
        format!("a time is one of {forms}")
    })
}

fn plain(text: &str) -> Option<Duration> {
    suffixed(text).or_else(|| number(text).map(Duration::from_secs))
}

fn suffixed(text: &str) -> Option<Duration> {
    let (digits, factor) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 60 * 60),
        b'd' => (&text[..text.len() - 1], 24 * 60 * 60),
        _ => return None,
    };
    number(digits)?.checked_mul(factor).map(Duration::from_secs)
}

/// sbatch(1), `--time`.
fn by_slurm(text: &str) -> Option<Duration> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(number(days)?), rest),
        None => (None, text),
    };
    let fields: Vec<u64> = rest.split(':').map(number).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match (days, fields.as_slice()) {
        (None, &[minutes]) => (0, minutes, 0),
        (None, &[minutes, seconds]) => (0, minutes, seconds),
        (_, &[hours, minutes, seconds]) => (hours, minutes, seconds),
        (Some(_), &[hours]) => (hours, 0, 0),
        (Some(_), &[hours, minutes]) => (hours, minutes, 0),
        _ => return None,
    };
    let hours = days.unwrap_or(0).checked_mul(24)?.checked_add(hours)?;
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    let seconds = minutes.checked_mul(60)?.checked_add(seconds)?;
    Some(Duration::from_secs(seconds))
}

/// Decimal digits and nothing else (`parse` alone would take a sign).
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(parsed: Option<Duration>) -> Option<u64> {
        parsed.map(|time| time.as_secs())
    }

    #[test]
    fn plain_forms() {
        for (text, expected) in [
            ("90s", 90),
            ("10m", 600),
            ("2h", 7200),
            ("1d", 86400),
            ("45", 45),
            ("0", 0),
        ] {
            assert_eq!(seconds(plain(text)), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "s",
            "-1",
            "+1",
            "1.5h",
            "10 m",
            "1h30m",
            "1:30",
            "m10",
            "99999999999999999999",
            "18446744073709551615h",
        ] {
            assert_eq!(plain(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn slurms_six_forms() {
        for (text, expected) in [
            ("30", 30 * 60),
            ("30:15", 30 * 60 + 15),
            ("2:30:15", 2 * 3600 + 30 * 60 + 15),
            ("1-2", 86400 + 2 * 3600),
            ("1-2:30", 86400 + 2 * 3600 + 30 * 60),
            ("1-2:30:15", 86400 + 2 * 3600 + 30 * 60 + 15),
        ] {
            assert_eq!(seconds(by_slurm(text)), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "-",
            "1-",
            "-1",
            "1:2:3:4",
            "1-2-3",
            "1::2",
            "a",
            "1-2:3:4:5",
            ":",
        ] {
            assert_eq!(by_slurm(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn slurms_own_spelling_of_a_time_comes_back(total in 0_u64..100_000_000) {
            let (days, hours) = (total / 86400, total / 3600 % 24);
            let (minutes, seconds_) = (total / 60 % 60, total % 60);
            let text = format!("{days}-{hours:02}:{minutes:02}:{seconds_:02}");
            prop_assert_eq!(seconds(by_slurm(&text)), Some(total));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9smhd:-]{0,24}") {
            let _ = (plain(&text), by_slurm(&text));
        }
    }
}
