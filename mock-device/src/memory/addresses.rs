//! Where device addresses come from.

#![allow(unsafe_code, reason = "mincore tells whether host memory exists")]

use crate::config::Config;
use crate::random::Random;

/// Physical memory comes in multiples of this.
pub(crate) const GRANULARITY: u64 = 2 << 20;

/// Alignment of `cuMemAlloc`; what lies between two blocks is mapped nowhere.
pub(super) const BLOCK: u64 = 512;

/// A range from which addresses are taken upwards. It is far larger than any
/// program's use, and an address that was given back is not given out again:
/// use after free is then a fault, not luck.
#[derive(Debug)]
pub(crate) struct Addresses {
    next: u64,
    end: u64,
}

impl Addresses {
    /// For allocations that ask for no address. Below everything that the
    /// kernel maps by itself, above what a small executable occupies.
    pub(crate) fn for_blocks(random: &Random) -> Addresses {
        Addresses {
            next: 0x0200_0000_0000 + random.below(0x60_0000) * GRANULARITY,
            end: 0x0ff0_0000_0000,
        }
    }

    /// For module variables: the same for the same order of loading.
    pub(crate) fn for_variables(config: &Config, random: &Random) -> Addresses {
        Addresses {
            next: 0x0100_0000_0000 + moved(config, random),
            end: 0x01ff_0000_0000,
        }
    }

    /// For code: the same for the same order of loading.
    pub(crate) fn for_code(config: &Config, random: &Random) -> Addresses {
        Addresses {
            next: 0x00f0_0000_0000 + moved(config, random),
            end: 0x00ff_0000_0000,
        }
    }

    /// A range of `size` bytes at a multiple of `align`, with a gap behind it.
    pub(crate) fn take(&mut self, size: u64, align: u64) -> Option<u64> {
        let align = align.max(BLOCK);
        let start = self.next.checked_next_multiple_of(align)?;
        let end = start
            .checked_add(size.checked_next_multiple_of(BLOCK)?)?
            .checked_add(BLOCK)?;
        if end > self.end {
            return None;
        }
        self.next = end;
        Some(start)
    }

    /// Skips up to seven blocks, so that distances say nothing either.
    pub(crate) fn skip(&mut self, random: &Random) {
        self.next += random.below(8) * BLOCK;
    }
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
