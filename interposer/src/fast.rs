//! Maps keyed by handles: a cheap hash, since no adversary chooses them.

use std::hash::{BuildHasherDefault, Hasher};

/// A map keyed by handles.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Fold>>;

/// A set of handles.
pub(crate) type Set<K> = std::collections::HashSet<K, BuildHasherDefault<Fold>>;

/// Multiplies each word and folds the product.
#[derive(Default)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        let product =
            u128::from(self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}
