//! Where device addresses come from.

#![allow(unsafe_code, reason = "mincore tells whether host memory exists")]

use std::collections::BTreeMap;

use crate::config::Config;
use crate::random::Random;

/// Physical memory comes in multiples of this.
pub(crate) const GRANULARITY: u64 = 2 << 20;

/// Alignment of `cuMemAlloc`; what lies between two blocks is mapped nowhere.
pub(super) const BLOCK: u64 = 512;

/// A range from which addresses are taken upwards. It is far larger than any
/// program's use. An address of a block is not given out again: use after free
/// is then a fault, not luck. Those of modules are, lowest first, so that what
/// programs load and unload over and over stays where it was.
#[derive(Debug)]
pub(crate) struct Addresses {
    next: u64,
    end: u64,
    /// Given back, by start, with their sizes; no two touch.
    free: BTreeMap<u64, u64>,
}

impl Addresses {
    /// For allocations that ask for no address. Below everything that the
    /// kernel maps by itself, above what a small executable occupies.
    pub(crate) fn for_blocks(random: &Random) -> Addresses {
        Addresses {
            next: 0x0200_0000_0000 + random.below(0x60_0000) * GRANULARITY,
            end: 0x0ff0_0000_0000,
            free: BTreeMap::new(),
        }
    }

    /// For module variables: the same for the same order of loading.
    pub(crate) fn for_variables(config: &Config, random: &Random) -> Addresses {
        Addresses {
            next: 0x0100_0000_0000 + moved(config, random),
            end: 0x01ff_0000_0000,
            free: BTreeMap::new(),
        }
    }

    /// For code: the same for the same order of loading.
    pub(crate) fn for_code(config: &Config, random: &Random) -> Addresses {
        Addresses {
            next: 0x00f0_0000_0000 + moved(config, random),
            end: 0x00ff_0000_0000,
            free: BTreeMap::new(),
        }
    }

    /// A range of `size` bytes at a multiple of `align`, with a gap behind it.
    pub(crate) fn take(&mut self, size: u64, align: u64) -> Option<u64> {
        let align = align.max(BLOCK);
        let size = with_gap(size)?;
        let fits = |(&at, &len): (&u64, &u64)| {
            let start = at.next_multiple_of(align);
            (start + size <= at + len).then_some((at, len, start))
        };
        if let Some((at, len, start)) = self.free.iter().find_map(fits) {
            self.free.remove(&at);
            let (before, behind) = (start - at, at + len - (start + size));
            if before > 0 {
                self.free.insert(at, before);
            }
            if behind > 0 {
                self.free.insert(start + size, behind);
            }
            return Some(start);
        }
        let start = self.next.checked_next_multiple_of(align)?;
        let end = start.checked_add(size)?;
        if end > self.end {
            return None;
        }
        self.next = end;
        Some(start)
    }

    /// A range that [`Addresses::take`] gave for that size may be given out again.
    pub(crate) fn give(&mut self, start: u64, size: u64) {
        if let Some(size) = with_gap(size) {
            self.put(start, size);
        }
    }

    fn put(&mut self, mut start: u64, mut size: u64) {
        if let Some((&before, &len)) = self.free.range(..start).next_back()
            && before + len == start
        {
            self.free.remove(&before);
            (start, size) = (before, len + size);
        }
        if let Some(len) = self.free.remove(&(start + size)) {
            size += len;
        }
        if start + size == self.next {
            self.next = start;
        } else {
            self.free.insert(start, size);
        }
    }

    /// Skips up to seven blocks, so that distances say nothing either.
    pub(crate) fn skip(&mut self, random: &Random) {
        self.next += random.below(8) * BLOCK;
    }
}

/// What a range takes: whole blocks, and a gap behind them.
fn with_gap(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(BLOCK)?.checked_add(BLOCK)
}

fn moved(config: &Config, random: &Random) -> u64 {
    if config.move_globals {
        (1 + random.below(1 << 16)) << 16
    } else {
        0
    }
}

/// Whether the whole range of host memory is mapped.
pub(crate) fn host_is_mapped(start: u64, size: u64) -> bool {
    const PAGE: u64 = 4096;
    const CHUNK: u64 = 1 << 16;
    let Some(end) = start.checked_add(size).filter(|&end| end < 1 << 47) else {
        return false;
    };
    let mut present = vec![0u8; CHUNK as usize];
    let mut page = start & !(PAGE - 1);
    while page < end {
        let pages = (end - page).div_ceil(PAGE).min(CHUNK);
        // SAFETY: mincore reads page tables only and writes one byte a page
        // into our buffer, which has room for CHUNK of them.
        let answer = unsafe {
            libc::mincore(
                std::ptr::without_provenance_mut(page as usize),
                (pages * PAGE) as usize,
                present.as_mut_ptr(),
            )
        };
        if answer != 0 {
            return false;
        }
        page += pages * PAGE;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{Addresses, BLOCK};
    use std::collections::BTreeMap;

    #[test]
    fn what_was_given_back_is_given_out_again() {
        let mut addresses = Addresses {
            next: 1 << 20,
            end: 1 << 30,
            free: BTreeMap::new(),
        };
        let take = |addresses: &mut Addresses, size| addresses.take(size, 4096).expect("room");
        let [first, second, third] = [100, 5000, 100].map(|size| take(&mut addresses, size));
        assert!(first < second && second + 5000 + BLOCK <= third);
        // Over and over: the same place.
        for _ in 0..1000 {
            addresses.give(second, 5000);
            assert_eq!(take(&mut addresses, 5000), second);
        }
        addresses.give(second, 5000);
        assert_eq!(take(&mut addresses, 4096), second);
        let more = take(&mut addresses, 5000);
        assert!(more > third);
        // The order in which ranges come back says nothing about the next ones.
        for order in [[first, second, third], [third, first, second]] {
            let mut again = Addresses {
                free: addresses.free.clone(),
                ..addresses
            };
            let size = |at| if at == second { 4096 } else { 100 };
            order.iter().for_each(|&at| again.give(at, size(at)));
            assert_eq!(take(&mut again, 100), first);
        }
    }
}
