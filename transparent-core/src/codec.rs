//! The one place that knows how structures become bytes: bincode with its standard
//! configuration (little endian, variable-length integers) and a limit on what a
//! decoder may claim.
//!
//! Decoding never panics and never takes more memory than a multiple of the input's
//! length, at most [`LIMIT`], whatever lengths stand in it; bytes left over are an error.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// The most memory that decoding one value may claim.
pub const LIMIT: usize = 1 << 30;

/// Why a value could not be encoded or decoded.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The value cannot be represented.
    #[error("cannot encode: {0}")]
    Encode(String),
    /// The bytes are not such a value.
    #[error("cannot decode: {0}")]
    Decode(String),
    /// The bytes hold a value and something more.
    #[error("cannot decode: {0} bytes are left over")]
    LeftOver(usize),
}

/// Encodes a value.
///
/// # Errors
/// When serde's data model cannot carry it (a map of unknown length, for instance).
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|e| CodecError::Encode(e.to_string()))
}

/// Decodes a value that fills all of `bytes`.
///
/// # Errors
/// Malformed, oversized or left-over input.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    // The limit is part of the configuration's type: the ladder of `most`, step by step.
    match most(bytes.len()) {
        0x1_0000 => within::<T, 0x1_0000>(bytes),
        0x10_0000 => within::<T, 0x10_0000>(bytes),
        0x100_0000 => within::<T, 0x100_0000>(bytes),
        0x1000_0000 => within::<T, 0x1000_0000>(bytes),
        _ => within::<T, LIMIT>(bytes),
    }
}

/// The claim that bytes of this number are allowed. A value claims at most sixteen times
/// its bytes (a number of sixteen that is written as one); steps of sixteen follow.
fn most(len: usize) -> usize {
    const STEPS: [usize; 4] = [0x1_0000, 0x10_0000, 0x100_0000, 0x1000_0000];
    let step = STEPS.into_iter().find(|step| len <= step / 16);
    step.unwrap_or(LIMIT)
}

fn within<T: DeserializeOwned, const MOST: usize>(bytes: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<MOST>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, config)
        .map_err(|e| CodecError::Decode(e.to_string()))?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(CodecError::LeftOver(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_over_bytes_are_an_error() {
        let mut bytes = encode(&(1_u32, "a".to_owned())).unwrap();
        assert_eq!(decode::<(u32, String)>(&bytes).unwrap(), (1, "a".into()));
        bytes.push(0);
        assert!(matches!(
            decode::<(u32, String)>(&bytes),
            Err(CodecError::LeftOver(1))
        ));
    }

    #[test]
    fn whatever_was_written_is_read() {
        for len in [0, 1, 4095, 4096, 4097, 70_000, (1 << 20) + 1] {
            let value = (vec![1_u8; len], "x".repeat(len), vec![0_u64; len / 8]);
            let again: (Vec<u8>, String, Vec<u64>) = decode(&encode(&value).unwrap()).unwrap();
            assert!(again == value, "{len}");
        }
        let wide = vec![0_u128; 1000];
        assert_eq!(decode::<Vec<u128>>(&encode(&wide).unwrap()).unwrap(), wide);
    }

    #[test]
    fn a_length_that_the_input_cannot_have_is_refused() {
        let huge = encode(&u64::MAX).unwrap();
        assert!(decode::<Vec<u8>>(&huge).is_err());
        assert!(decode::<String>(&huge).is_err());
    }
}
