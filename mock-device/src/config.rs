//! The adversarial switches: `GPUCKPT_MOCK` and what it turns on.
//!
//! Read once, by `cuInit`. An unknown switch is an error there: a test that
//! asks for trouble must not pass because of a misspelling. The switches are
//! described in `docs/mock-device.md`.

use crate::device::uuid_of;

/// Name of the environment variable.
pub(crate) const VARIABLE: &str = "GPUCKPT_MOCK";

/// Most devices the mock can have.
pub(crate) const MAX_DEVICES: usize = 8;

/// How this run of the mock behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where everything that moves is put; `None`: elsewhere every time.
    pub(crate) seed: Option<u64>,
    /// Number of devices.
    pub(crate) devices: usize,
    /// Bytes of memory of each device.
    pub(crate) memory: u64,
    /// Device allocations that succeed before all others fail.
    pub(crate) oom_after: Option<u64>,
    /// `cuMemAddressReserve` gives other addresses than it is asked for.
    pub(crate) refuse_address: bool,
    /// The launch (from 1) that fails.
    pub(crate) fail_launch: Option<u64>,
    /// Module variables and code move as well.
    pub(crate) move_globals: bool,
    /// Microseconds that every kernel takes longer.
    pub(crate) slow_kernels: u64,
    /// Microseconds that every copy takes longer.
    pub(crate) slow_copies: u64,
    /// Compute capability, 90 for 9.0.
    pub(crate) sm: u32,
    /// Fat binaries hold nothing that this device can run.
    pub(crate) no_fatbin: bool,
    /// A handle of an object that is gone ends the process.
    pub(crate) stale_crash: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            seed: None,
            devices: 1,
            memory: 8 << 30,
            oom_after: None,
            refuse_address: false,
            fail_launch: None,
            move_globals: false,
            slow_kernels: 0,
            slow_copies: 0,
            sm: 90,
            no_fatbin: false,
            stale_crash: false,
        }
    }
}

impl Config {
    /// Reads the switches from a comma-separated list.
    ///
    /// # Errors
    /// A sentence that names the switch.
    pub(crate) fn parse(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        for item in text.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            let (key, value) = match item.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (item, None),
            };
            let number = || -> Result<u64, String> {
                let value = value.ok_or_else(|| format!("switch `{key}` needs a number"))?;
                parse_number(value)
                    .ok_or_else(|| format!("`{value}` of switch `{key}` is no number"))
            };
            let flag = || match value {
                None => Ok(true),
                Some(value) => Err(format!("switch `{key}` takes no value, got `{value}`")),
            };
            match key {
                "seed" => config.seed = Some(number()?),
                "devices" => {
                    config.devices = usize::try_from(number()?).unwrap_or(usize::MAX);
                    if config.devices > MAX_DEVICES {
                        return Err(format!("at most {MAX_DEVICES} devices"));
                    }
                }
                "memory" => config.memory = number()?,
                "oom-after" => config.oom_after = Some(number()?),
                "refuse-address" => config.refuse_address = flag()?,
                "fail-launch" => config.fail_launch = Some(number()?),
                "move-globals" => config.move_globals = flag()?,
                "slow-kernels" => config.slow_kernels = number()?,
                "slow-copies" => config.slow_copies = number()?,
                "sm" => {
                    config.sm = u32::try_from(number()?).unwrap_or(0);
                    if !(50..=130).contains(&config.sm) {
                        return Err(format!("sm={} is no compute capability", config.sm));
                    }
                }
                "no-fatbin" => config.no_fatbin = flag()?,
                "stale-crash" => config.stale_crash = flag()?,
                _ => return Err(format!("unknown switch `{key}`")),
            }
        }
        Ok(config)
    }
}

/// Name of the variable that says which devices a program sees, in which order.
pub(crate) const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// The devices of `count` that such a list names: by number, or by the beginning of
/// `GPU-` and their UUID. As with NVIDIA's driver, what comes after an entry that names
/// none is not seen.
pub(crate) fn visible(list: &str, count: usize) -> Vec<usize> {
    let mut seen = Vec::new();
    for entry in list.split(',').map(str::trim) {
        let found = match entry.strip_prefix("GPU-") {
            Some(start) => (0..count).find(|&place| uuid_text(place).starts_with(start)),
            None => entry.parse().ok().filter(|&place: &usize| place < count),
        };
        match found {
            Some(place) if !seen.contains(&place) => seen.push(place),
            _ => break,
        }
    }
    seen
}

/// A UUID as people write it.
fn uuid_text(place: usize) -> String {
    let mut text = String::new();
    for (index, byte) in uuid_of(place).into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

/// A decimal or hexadecimal number, with K, M, G or T for powers of 1024.
fn parse_number(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 1 << 10),
        b'M' | b'm' => (&text[..text.len() - 1], 1 << 20),
        b'G' | b'g' => (&text[..text.len() - 1], 1 << 30),
        b'T' | b't' => (&text[..text.len() - 1], 1u64 << 40),
        _ => (text, 1),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    value.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_switch() {
        let config = Config::parse(
            "seed=7,devices=2,memory=64M,oom-after=3,refuse-address,fail-launch=2,\
             move-globals,slow-kernels=500,slow-copies=90,sm=80,no-fatbin,stale-crash",
        )
        .unwrap();
        let expected = Config {
            seed: Some(7),
            devices: 2,
            memory: 64 << 20,
            oom_after: Some(3),
            refuse_address: true,
            fail_launch: Some(2),
            move_globals: true,
            slow_kernels: 500,
            slow_copies: 90,
            sm: 80,
            no_fatbin: true,
            stale_crash: true,
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn devices_are_seen_by_number_and_identity() {
        for (list, expected) in [
            ("0", &[0][..]),
            ("1", &[1]),
            ("2,0", &[2, 0]),
            (" 1 , 2 ", &[1, 2]),
            ("", &[]),
            ("-1", &[]),
            ("0,-1,1", &[0]),
            ("0,7,1", &[0]),
            ("1,1", &[1]),
            ("none", &[]),
            ("GPU-", &[0]),
        ] {
            assert_eq!(visible(list, 3), expected, "`{list}`");
        }
        let second = format!("GPU-{}", uuid_text(1));
        assert_eq!(second.len(), "GPU-".len() + 36);
        assert_eq!(visible(&second, 3), [1]);
        assert_eq!(visible(&second, 1), []);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in [
            "sed=1",
            "seed",
            "seed=x",
            "devices=9",
            "sm=7",
            "refuse-address=1",
        ] {
            assert!(Config::parse(text).is_err(), "{text} was accepted");
        }
        assert_eq!(Config::parse(" ,").unwrap(), Config::default());
    }
}
