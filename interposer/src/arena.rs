//! Bookkeeping of device memory: which addresses of the arena are mapped, which are in use.
//!
//! Kernels see device addresses, so a restart must give every block its address again. Blocks are
//! therefore cut from *regions*: ranges of the arena that [`crate::memory`] reserves and maps at an
//! address of our choosing. A large block has a region of its own, small ones share *slabs*.
//! This module is pure: it decides addresses and never calls the driver.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::fast::Map;
use crate::handles::Virtual;

/// Where device memory lives: never host memory, and the same in every life of a job.
pub(crate) const ARENA: std::ops::Range<u64> = 0x1000_0000_0000..0x1400_0000_0000;

/// Blocks start at multiples of this, as the driver's do.
pub(crate) const ALIGNMENT: u64 = 512;

/// Blocks up to this size share slabs.
const SMALL: u64 = 1 << 20;

/// Smallest slab.
const SLAB: u64 = 2 << 20;

/// A mapped range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Region {
    /// First address.
    pub(crate) base: u64,
    /// Bytes, a multiple of the device's granularity.
    pub(crate) len: u64,
    /// Context it belongs to.
    pub(crate) context: Virtual,
    /// Its device.
    pub(crate) device: i32,
    /// Shared by small blocks.
    pub(crate) slab: bool,
}

/// An allocation of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// Bytes that the application asked for.
    pub(crate) size: u64,
    /// Base of its region.
    pub(crate) region: u64,
    /// Numbers blocks through all lives (`CU_POINTER_ATTRIBUTE_BUFFER_ID`).
    pub(crate) id: u64,
}

/// Free ranges with best fit and merging of neighbours.
#[derive(Debug, Default, Clone)]
struct Ranges {
    by_start: BTreeMap<u64, u64>,
    by_len: BTreeSet<(u64, u64)>,
}

impl Ranges {
    fn put(&mut self, start: u64, len: u64) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn cut(&mut self, start: u64) -> Option<u64> {
        let len = self.by_start.remove(&start)?;
        self.by_len.remove(&(len, start));
        Some(len)
    }

    /// Takes `len` bytes from the smallest range that has them.
    fn take(&mut self, len: u64) -> Option<u64> {
        let &(have, start) = self.by_len.range((len, 0)..).next()?;
        self.cut(start);
        if have > len {
            self.put(start + len, have - len);
        }
        Some(start)
    }

    /// Takes exactly this range, if all of it is free.
    fn take_at(&mut self, start: u64, len: u64) -> bool {
        let Some((&first, &have)) = self.by_start.range(..=start).next_back() else {
            return false;
        };
        if first + have < start + len {
            return false;
        }
        self.cut(first);
        if start > first {
            self.put(first, start - first);
        }
        if first + have > start + len {
            self.put(start + len, first + have - start - len);
        }
        true
    }

    /// Gives a range back, merged with its neighbours inside `bounds`; the merged range.
    fn give(&mut self, mut start: u64, mut len: u64, bounds: std::ops::Range<u64>) -> (u64, u64) {
        if let Some((&before, &size)) = self.by_start.range(..start).next_back()
            && before + size == start
            && before >= bounds.start
        {
            self.cut(before);
            start = before;
            len += size;
        }
        if start + len < bounds.end
            && let Some(size) = self.cut(start + len)
        {
            len += size;
        }
        self.put(start, len);
        (start, len)
    }
}

/// All device memory of the session.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Address space that is neither mapped nor known to be refused.
    space: Ranges,
    regions: BTreeMap<u64, Region>,
    blocks: BTreeMap<u64, Block>,
    /// Free parts of slabs, by context.
    pools: Map<Virtual, Ranges>,
    /// Slabs without a block, kept for the next one: at most one a context.
    spare: Map<Virtual, u64>,
    /// Allocation granularity by device.
    granularity: HashMap<i32, u64>,
    /// Contexts that a kernel has broken, with the driver's error.
    broken: Map<Virtual, u32>,
    next_id: u64,
    /// Allocations and frees so far, in all lives.
    pub(crate) events: u64,
}

impl Default for Arena {
    fn default() -> Self {
        let mut space = Ranges::default();
        space.put(ARENA.start, ARENA.end - ARENA.start);
        Self {
            space,
            regions: BTreeMap::new(),
            blocks: BTreeMap::new(),
            pools: Map::default(),
            spare: Map::default(),
            granularity: HashMap::new(),
            broken: Map::default(),
            next_id: 1,
            events: 0,
        }
    }
}

/// The arena as it goes into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// Regions in use.
    pub(crate) regions: Vec<Region>,
    /// Blocks by address.
    pub(crate) blocks: Vec<(u64, Block)>,
    /// Next block number.
    pub(crate) next_id: u64,
    /// Allocations and frees so far.
    pub(crate) events: u64,
}

impl Saved {
    /// Makes sure that the books can be true: everything that computes with their addresses
    /// relies on it.
    ///
    /// # Errors
    /// What is impossible.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let mut free = ARENA.start;
        let mut regions = BTreeMap::new();
        for region in &self.regions {
            let end = region.base.checked_add(region.len);
            let end = end.filter(|&end| end <= ARENA.end && end > region.base);
            free = end
                .filter(|_| region.base >= free)
                .ok_or("a region of device memory is impossible")?;
            regions.insert(region.base, free);
        }
        let mut free = ARENA.start;
        for (start, block) in &self.blocks {
            let Some(&end_of_region) = regions.get(&block.region) else {
                continue;
            };
            let end = start.checked_add(block.size);
            let end = end.filter(|&end| end <= end_of_region && *start >= block.region);
            free = end
                .filter(|_| *start >= free)
                .ok_or("a block of device memory is impossible")?;
        }
        Ok(())
    }
}

fn round_up(value: u64, to: u64) -> Option<u64> {
    value.checked_add(to - 1).map(|v| v / to * to)
}

impl Arena {
    /// A call has told the context's error, which every later call repeats.
    pub(crate) fn note_broken(&mut self, context: Virtual, status: u32) {
        self.broken.insert(context, status);
    }

    /// The error of a context that a kernel has broken.
    pub(crate) fn broken(&self, context: Virtual) -> Option<u32> {
        self.broken.get(&context).copied()
    }

    /// The device's granularity, once it was asked for.
    pub(crate) fn granularity(&self, device: i32) -> Option<u64> {
        self.granularity.get(&device).copied()
    }

    /// Keeps a device's granularity.
    pub(crate) fn set_granularity(&mut self, device: i32, bytes: u64) {
        self.granularity.insert(device, bytes);
    }

    /// Cuts a small block from the context's slabs; `None`: a region is needed first.
    pub(crate) fn cut_small(&mut self, context: Virtual, size: u64) -> Option<u64> {
        if size > SMALL {
            return None;
        }
        let taken = self
            .pools
            .get_mut(&context)?
            .take(round_up(size, ALIGNMENT)?)?;
        let (&region, _) = self.regions.range(..=taken).next_back()?;
        if self.spare.get(&context) == Some(&region) {
            self.spare.remove(&context);
        }
        self.note_block(taken, size, region);
        Some(taken)
    }

    fn note_block(&mut self, address: u64, size: u64, region: u64) {
        let id = self.next_id;
        self.next_id += 1;
        self.events += 1;
        self.blocks.insert(address, Block { size, region, id });
    }

    /// Size of the region that a block of `size` needs, and whether it is a slab.
    pub(crate) fn region_for(&self, size: u64, device: i32) -> Option<(u64, bool)> {
        let granularity = self.granularity(device)?;
        let slab = size <= SMALL;
        round_up(if slab { size.max(SLAB) } else { size }, granularity).map(|len| (len, slab))
    }

    /// Takes address space for a region; what the driver refuses is never tried again.
    pub(crate) fn take_space(&mut self, len: u64) -> Option<u64> {
        self.space.take(len)
    }

    /// Takes exactly this address space.
    pub(crate) fn take_space_at(&mut self, base: u64, len: u64) -> bool {
        self.space.take_at(base, len)
    }

    /// Address space that is free again.
    pub(crate) fn give_space(&mut self, base: u64, len: u64) {
        if ARENA.contains(&base) {
            self.space.give(base, len, ARENA);
        }
    }

    /// A region has been mapped; a slab's space becomes available.
    pub(crate) fn add_region(&mut self, region: Region) {
        if region.slab {
            // Neighbouring slabs must not merge: they end one by one.
            self.pools
                .entry(region.context)
                .or_default()
                .put(region.base, region.len);
        }
        self.regions.insert(region.base, region);
    }

    /// The whole region becomes one block.
    pub(crate) fn note_large(&mut self, base: u64, size: u64) {
        self.note_block(base, size, base);
    }

    /// The block that starts here leaves the books (its memory is not free yet).
    pub(crate) fn remove_block(&mut self, address: u64) -> Option<(Block, Region)> {
        let block = *self.blocks.get(&address)?;
        let region = self.regions.get(&block.region)?.clone();
        self.blocks.remove(&address);
        self.events += 1;
        Some((block, region))
    }

    /// The memory of a removed block is free; a region to unmap, if one has become empty.
    pub(crate) fn release(&mut self, address: u64, block: Block) -> Option<Region> {
        let region = self.regions.get(&block.region)?.clone();
        if !region.slab {
            return self.regions.remove(&region.base);
        }
        let pool = self.pools.get_mut(&region.context)?;
        let len = round_up(block.size, ALIGNMENT)?;
        let merged = pool.give(address, len, region.base..region.base + region.len);
        if merged != (region.base, region.len) {
            return None;
        }
        if let Entry::Vacant(spare) = self.spare.entry(region.context) {
            spare.insert(region.base);
            return None;
        }
        pool.cut(region.base);
        self.regions.remove(&region.base)
    }

    /// A context has ended: its regions, to unmap.
    pub(crate) fn end_context(&mut self, context: Virtual) -> Vec<Region> {
        self.pools.remove(&context);
        self.spare.remove(&context);
        self.broken.remove(&context);
        let gone: Vec<Region> = self
            .regions
            .values()
            .filter(|region| region.context == context)
            .cloned()
            .collect();
        for region in &gone {
            self.regions.remove(&region.base);
            let inside: Vec<u64> = self
                .blocks
                .range(region.base..region.base + region.len)
                .map(|(&a, _)| a)
                .collect();
            for address in inside {
                self.blocks.remove(&address);
            }
        }
        gone
    }

    /// The block that an address lies in, with its start and region.
    pub(crate) fn find(&self, address: u64) -> Option<(u64, Block, &Region)> {
        let (&start, &block) = self.blocks.range(..=address).next_back()?;
        let inside = address - start < block.size.max(1);
        inside.then(|| {
            self.regions
                .get(&block.region)
                .map(|region| (start, block, region))
        })?
    }

    /// True when all these bytes are one block's, whose last unit of [`ALIGNMENT`] is its own.
    pub(crate) fn holds(&self, address: u64, len: u64) -> bool {
        let Some((&start, block)) = self.blocks.range(..=address).next_back() else {
            return false;
        };
        let size = round_up(block.size, ALIGNMENT).unwrap_or(block.size);
        let skipped = address - start;
        skipped < size && len <= size - skipped
    }

    /// Number and total size of the application's blocks.
    pub(crate) fn totals(&self) -> (usize, u64) {
        (
            self.blocks.len(),
            self.blocks.values().map(|block| block.size).sum(),
        )
    }

    /// Ranges in use, with their context; neighbours within a slab that lie closer than `gap` are one.
    pub(crate) fn used(&self, gap: u64) -> Vec<(u64, u64, Virtual)> {
        let mut used: Vec<(u64, u64, Virtual, u64)> = Vec::new();
        for (&start, block) in &self.blocks {
            let Some(region) = self.regions.get(&block.region) else {
                continue;
            };
            match used.last_mut() {
                Some((first, len, _, base))
                    if *base == region.base && start - (*first + *len) < gap =>
                {
                    *len = start + block.size - *first;
                }
                _ => used.push((start, block.size, region.context, region.base)),
            }
        }
        used.into_iter()
            .map(|(start, len, context, _)| (start, len, context))
            .collect()
    }

    /// What an image keeps.
    pub(crate) fn save(&self) -> Saved {
        Saved {
            regions: self.regions.values().cloned().collect(),
            blocks: self
                .blocks
                .iter()
                .map(|(&address, &block)| (address, block))
                .collect(),
            next_id: self.next_id,
            events: self.events,
        }
    }

    /// Takes over a saved arena whose regions have been mapped at their addresses.
    pub(crate) fn restore(&mut self, saved: Saved) {
        for region in saved.regions {
            self.add_region(region);
        }
        for (address, block) in saved.blocks {
            if let Some(region) = self.regions.get(&block.region).filter(|region| region.slab)
                && let Some(pool) = self.pools.get_mut(&region.context)
                && let Some(len) = round_up(block.size, ALIGNMENT)
            {
                pool.take_at(address, len);
            }
            self.blocks.insert(address, block);
        }
        let spare: Vec<&Region> = self.regions.values().filter(|region| region.slab).collect();
        for region in spare {
            let free = self
                .pools
                .get(&region.context)
                .and_then(|pool| pool.by_start.get(&region.base));
            if free == Some(&region.len) {
                self.spare.insert(region.context, region.base);
            }
        }
        self.next_id = saved.next_id;
        self.events = saved.events;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handles::{Handles, Kind, Numbers, Real};
    use proptest::prelude::*;

    const GRANULARITY: u64 = 2 << 20;

    fn contexts(n: u64) -> Vec<Virtual> {
        let (handles, mut numbers) = (Handles::default(), Numbers::default());
        let mut insert = |i| handles.insert(&mut numbers, Kind::Context, Real::from_driver(i));
        (1..=n).map(|i| insert(i).unwrap()).collect()
    }

    /// Allocates as `memory.rs` does, with a driver that agrees to everything.
    fn allocate(arena: &mut Arena, context: Virtual, size: u64) -> u64 {
        if let Some(address) = arena.cut_small(context, size) {
            return address;
        }
        let (len, slab) = arena.region_for(size, 0).unwrap();
        let base = arena.take_space(len).unwrap();
        arena.add_region(Region {
            base,
            len,
            context,
            device: 0,
            slab,
        });
        if slab {
            return arena.cut_small(context, size).unwrap();
        }
        arena.note_large(base, size);
        base
    }

    fn free(arena: &mut Arena, address: u64) {
        let (block, _) = arena.remove_block(address).unwrap();
        if let Some(region) = arena.release(address, block) {
            arena.give_space(region.base, region.len);
        }
    }

    fn check(arena: &Arena, live: &BTreeMap<u64, (u64, Virtual)>) {
        let mut end = ARENA.start;
        for (&address, &(size, context)) in live {
            assert!(address >= end, "blocks overlap at {address:x}");
            assert_eq!(address % ALIGNMENT, 0);
            end = address + size;
            assert!(end <= ARENA.end);
            let (start, block, region) = arena.find(address + size - 1).unwrap();
            assert_eq!(
                (start, block.size, region.context),
                (address, size, context)
            );
            assert!(region.base <= address && end <= region.base + region.len);
        }
        assert_eq!(
            arena.totals(),
            (live.len(), live.values().map(|(size, _)| size).sum())
        );
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_survive_a_restart(
            steps in proptest::collection::vec((0u8..10, 0u64..4, 0usize..64), 1..300)
        ) {
            let contexts = contexts(3);
            let mut arena = Arena::default();
            arena.set_granularity(0, GRANULARITY);
            let mut live: BTreeMap<u64, (u64, Virtual)> = BTreeMap::new();
            for (what, which, detail) in steps {
                let context = contexts[which as usize % 3];
                match what {
                    0..5 => {
                        let size = [1, 700, 40_000, 1 << 20, 3 << 20][detail % 5] + detail as u64;
                        live.insert(allocate(&mut arena, context, size), (size, context));
                    }
                    5..8 => {
                        if let Some(&address) = live.keys().nth(detail % live.len().max(1)) {
                            free(&mut arena, address);
                            live.remove(&address);
                        }
                    }
                    8 => {
                        let saved = arena.save();
                        let mut restored = Arena::default();
                        restored.set_granularity(0, GRANULARITY);
                        for region in &saved.regions {
                            prop_assert!(restored.take_space_at(region.base, region.len));
                        }
                        restored.restore(saved.clone());
                        prop_assert_eq!(restored.save(), saved);
                        arena = restored;
                    }
                    _ => {
                        for region in arena.end_context(context) {
                            arena.give_space(region.base, region.len);
                        }
                        live.retain(|_, (_, owner)| *owner != context);
                    }
                }
                check(&arena, &live);
            }
            for address in live.keys().copied().collect::<Vec<_>>() {
                free(&mut arena, address);
            }
            // One spare slab a context is kept at most.
            prop_assert!(arena.save().regions.len() <= 3);
        }
    }

    #[test]
    fn used_ranges_cover_every_block_once() {
        let context = contexts(1)[0];
        let mut arena = Arena::default();
        arena.set_granularity(0, GRANULARITY);
        let blocks: Vec<u64> = (0..5000)
            .map(|_| allocate(&mut arena, context, 600))
            .collect();
        for block in blocks.iter().step_by(50) {
            free(&mut arena, *block);
        }
        let used = arena.used(4096);
        assert!(used.len() <= 4, "short gaps are bridged: {}", used.len());
        for (i, block) in blocks.iter().enumerate().filter(|(i, _)| i % 50 != 0) {
            let covering = used
                .iter()
                .filter(|(start, len, _)| (*start..start + len).contains(&(block + 599)));
            assert_eq!(covering.count(), 1, "block {i}");
        }
    }
}
