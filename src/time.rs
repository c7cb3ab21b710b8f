//! TIME on the command line: a number with a unit, `500ms`, `1.5s`, `10m`, `2h`, `1d`, or
//! bare seconds, whole or with a fraction; inside a Slurm job the six forms of Slurm's
//! `--time`, so that its variables can be passed on: minutes, minutes:seconds,
//! hours:minutes:seconds, days-hours, days-hours:minutes and days-hours:minutes:seconds.

use std::time::Duration;

/// The longest time that is taken: no clock that is compared with it overflows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * DAY);
const DAY: u64 = 24 * 60 * 60;

const NANOS: u128 = 1_000_000_000;

/// Units and their lengths in nanoseconds. `ms` stands before `s`, with which it ends.
const UNITS: [(&str, u128); 5] = [
    ("ms", NANOS / 1000),
    ("s", NANOS),
    ("m", 60 * NANOS),
    ("h", 60 * 60 * NANOS),
    ("d", DAY as u128 * NANOS),
];

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
    match parsed {
        Some(time) if time <= LONGEST => Ok(time),
        Some(_) => Err("a time is at most 100 years (36500d)".to_string()),
        None => Err(forms(slurm).to_string()),
    }
}

fn forms(slurm: bool) -> &'static str {
    if slurm {
        "a time is a number with a unit (500ms, 1.5s, 10m, 2h, 1d), or one of Slurm's forms: minutes, \
         minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, \
         days-hours:minutes:seconds"
    } else {
        "a time is a number with a unit, 500ms, 1.5s, 10m, 2h or 1d; without a unit it is seconds"
    }
}

fn plain(text: &str) -> Option<Duration> {
    suffixed(text).or_else(|| decimal(text, NANOS))
}

fn suffixed(text: &str) -> Option<Duration> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    decimal(number, unit)
}

/// A number with at most nine decimals, times a unit of so many nanoseconds; what is
/// less than a nanosecond is dropped. Longer than 2^64 seconds is as long as can be.
fn decimal(text: &str, unit: u128) -> Option<Duration> {
    const DECIMALS: usize = 9;
    let (whole, decimals) = match text.split_once('.') {
        None => (text, "0"),
        Some((whole, decimals)) => (whole, decimals),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > DECIMALS {
        return None;
    }
    // Only a number that is too large for its type is left to fail.
    let whole: u128 = whole.parse().unwrap_or(u128::MAX);
    let decimals: u128 = format!("{decimals:0<DECIMALS$}").parse().ok()?;
    let nanos = whole
        .saturating_mul(unit)
        .saturating_add(decimals * unit / NANOS);
    let seconds = u64::try_from(nanos / NANOS).unwrap_or(u64::MAX);
    Some(Duration::new(seconds, (nanos % NANOS) as u32))
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

    fn millis(parsed: Option<Duration>) -> Option<u128> {
        parsed.map(|time| time.as_millis())
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
            "ms",
            "-1",
            "+1",
            "1e3",
            ".5",
            "5.",
            ".",
            "1.2.3",
            "1.5.s",
            "0.0000000001",
            "10 m",
            "1h30m",
            "1:30",
            "m10",
            "inf",
            "NaN",
        ] {
            assert_eq!(plain(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fractions_and_milliseconds() {
        for (text, expected) in [
            ("0.5", 500),
            ("500ms", 500),
            ("0.5ms", 0),
            ("1.5s", 1500),
            ("1.5h", 5_400_000),
            ("0.25d", 21_600_000),
            ("2m", 120_000),
            ("0.001", 1),
            ("00.010s", 10),
        ] {
            assert_eq!(millis(plain(text)), Some(expected), "{text}");
        }
        assert_eq!(plain("0.5ms"), Some(Duration::from_micros(500)));
        assert_eq!(plain("0.000000001"), Some(Duration::from_nanos(1)));
        assert_eq!(millis(suffixed("1.5m")), Some(90_000), "inside Slurm too");
        assert_eq!(by_slurm("1.5"), None, "Slurm has no fractions of a minute");
    }

    /// A deadline is this much after now: the sum must not overflow.
    #[test]
    fn no_time_is_longer_than_clocks_go() {
        for text in [
            "99999999999999999999",
            "18446744073709551615h",
            "36501d",
            "9999999999999999999999999999999999999999999999d",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("100 years"), "{text}: {error}");
        }
        let longest = parse("36500d").unwrap();
        assert!(std::time::Instant::now().checked_add(longest).is_some());
    }

    #[test]
    fn an_error_names_the_forms() {
        let error = parse("soon").unwrap_err();
        assert!(
            error.contains("500ms") && error.contains("seconds"),
            "{error}"
        );
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
        fn no_text_makes_it_panic(text in "[0-9.smhd:-]{0,48}") {
            let _ = (plain(&text), by_slurm(&text));
        }

        #[test]
        fn milliseconds_in_each_spelling_are_the_same(total in 0_u64..10_000_000_000) {
            let expected = Some(Duration::from_millis(total));
            let seconds = format!("{}.{:03}", total / 1000, total % 1000);
            prop_assert_eq!(plain(&format!("{total}ms")), expected);
            prop_assert_eq!(plain(&format!("{seconds}s")), expected);
            prop_assert_eq!(plain(&seconds), expected);
        }
    }
}
