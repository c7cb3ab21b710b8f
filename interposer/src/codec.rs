//! The one place that knows how records and tables become bytes: bincode with its
//! standard configuration, and a limit on what a decoder may claim.
//!
//! Bytes of an image are not trusted: decoding never panics, and never claims more memory
//! than [`most`] of their number, whatever lengths stand in them.

use serde::{Serialize, de::DeserializeOwned};

/// Appends a value.
pub(crate) fn encode<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
    bincode::serde::encode_into_std_write(value, bytes, bincode::config::standard())
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Appends an unsigned number as bincode writes it: in one byte below 251, else in the fewest of
/// 2, 4 or 8 bytes, after a byte that says how many.
#[inline(always)]
pub(crate) fn number(value: u64, bytes: &mut Vec<u8>) {
    if value < 251 {
        bytes.push(value as u8);
    } else {
        large(value, bytes);
    }
}

#[inline]
fn large(value: u64, bytes: &mut Vec<u8>) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    match value {
        0x1_0000_0000.. => bytes.extend_from_slice(&[253, a, b, c, d, e, f, g, h]),
        0x1_0000.. => bytes.extend_from_slice(&[252, a, b, c, d]),
        _ => bytes.extend_from_slice(&[251, a, b]),
    }
}

/// A value that fills all of `bytes`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // The limit is part of the configuration's type: the ladder of `most`, step by step.
    match most(bytes.len()) {
        0x1_0000 => within::<T, 0x1_0000>(bytes),
        0x10_0000 => within::<T, 0x10_0000>(bytes),
        0x100_0000 => within::<T, 0x100_0000>(bytes),
        0x1000_0000 => within::<T, 0x1000_0000>(bytes),
        0x1_0000_0000 => within::<T, 0x1_0000_0000>(bytes),
        _ => within::<T, 0x10_0000_0000>(bytes),
    }
}

/// The claim that bytes of this number are allowed. A value claims at most sixteen times
/// its bytes (a number of sixteen that is written as one); steps of sixteen follow.
fn most(len: usize) -> usize {
    const STEPS: [usize; 5] = [0x1_0000, 0x10_0000, 0x100_0000, 0x1000_0000, 0x1_0000_0000];
    let step = STEPS.into_iter().find(|step| len <= step / 16);
    step.unwrap_or(0x10_0000_0000)
}

fn within<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, String> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (value, read) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|error| error.to_string())?;
    match bytes.len() - read {
        0 => Ok(value),
        left => Err(format!("{left} bytes too many")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn whatever_was_written_is_read() {
        for len in [0, 1, 4095, 4096, 4097, 70_000, (1 << 20) + 1] {
            let value = (vec![1_u8; len], "x".repeat(len), vec![0_u64; len / 8]);
            assert_eq!(decode(&bytes(&value)), Ok(value), "{len}");
        }
        assert_eq!(decode(&bytes(&vec![0_u128; 1000])), Ok(vec![0_u128; 1000]));
    }

    #[test]
    fn a_length_that_the_bytes_cannot_have_is_refused_before_memory_is_claimed() {
        for len in [1_u64 << 17, 1 << 40, 1 << 62, u64::MAX] {
            let mut hostile = bytes(&len);
            hostile.push(b'x');
            assert!(decode::<String>(&hostile).is_err(), "{len}");
            assert!(decode::<Vec<u8>>(&hostile).is_err(), "{len}");
            assert!(decode::<Vec<String>>(&hostile).is_err(), "{len}");
        }
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        let long = [bytes(&7_u32), vec![0]].concat();
        assert_eq!(decode::<u32>(&long), Err("1 bytes too many".into()));
    }
}
