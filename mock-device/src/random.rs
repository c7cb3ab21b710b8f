//! The generator behind everything that moves from start to start.

use std::sync::Mutex;

/// SplitMix64 (Steele, Lea, Flood 2014), shared by all threads.
#[derive(Debug)]
pub(crate) struct Random(Mutex<u64>);

impl Random {
    /// A sequence that `seed` fixes.
    pub(crate) fn new(seed: u64) -> Random {
        Random(Mutex::new(seed))
    }

    /// The next 64 bits.
    pub(crate) fn next(&self) -> u64 {
        let mut state = crate::sync::lock(&self.0);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }
}
