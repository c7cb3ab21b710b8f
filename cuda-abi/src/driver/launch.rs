//! Typed access to the union of a launch attribute's value.

use super::{CUaccessPolicyWindow, CUlaunchAttributeValue};

impl CUlaunchAttributeValue {
    /// A value whose bytes are all zero.
    pub const ZERO: Self = Self { pad: [0; 8] };

    /// The 32-bit word at index `i` (0 to 15) of the union, as most attributes need it.
    #[must_use]
    pub fn word(&self, i: usize) -> u32 {
        let pair = self.pad.get(i / 2).copied().unwrap_or(0);
        (pair >> (32 * (i % 2))) as u32
    }

    /// The 64-bit word at index `i` (0 to 7): the event of a programmatic event, for example.
    #[must_use]
    pub fn long(&self, i: usize) -> u64 {
        self.pad.get(i).copied().unwrap_or(0)
    }

    /// Sets the 32-bit word at index `i`; an index out of range changes nothing.
    pub fn set_word(&mut self, i: usize, value: u32) {
        if let Some(pair) = self.pad.get_mut(i / 2) {
            let shift = 32 * (i % 2);
            *pair = (*pair & !(0xffff_ffff << shift)) | (u64::from(value) << shift);
        }
    }

    /// Sets the 64-bit word at index `i`; an index out of range changes nothing.
    pub fn set_long(&mut self, i: usize, value: u64) {
        if let Some(word) = self.pad.get_mut(i) {
            *word = value;
        }
    }

    /// The three sizes of a cluster.
    #[must_use]
    pub fn cluster(&self) -> [u32; 3] {
        [self.word(0), self.word(1), self.word(2)]
    }

    /// The value read as an access policy window.
    #[must_use]
    pub fn access_policy_window(&self) -> CUaccessPolicyWindow {
        CUaccessPolicyWindow {
            base_ptr: core::ptr::without_provenance_mut(self.long(0) as usize),
            num_bytes: self.long(1) as usize,
            hitRatio: f32::from_bits(self.word(4)),
            hitProp: self.word(5),
            missProp: self.word(6),
        }
    }
}
