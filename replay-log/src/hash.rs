//! A cheap hash for keys that the library or its user numbers itself.
//!
//! Not for keys that an adversary chooses: ids and sequence numbers come from our own process.

use std::hash::{BuildHasherDefault, Hasher};

/// A map keyed by small integers.
pub(crate) type IdMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Multiplies and folds each word.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let product = u128::from(self.0 ^ word).wrapping_mul(ODD);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

/// Gives memory back when a map has become much smaller than it was, at amortised constant cost.
pub(crate) fn shrink<K: Eq + std::hash::Hash, V>(map: &mut IdMap<K, V>) {
    const SMALL: usize = 1024;
    if map.capacity() > SMALL && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}
