//! Virtual handles: what the application holds in the place of the driver's handles.
//!
//! A virtual handle never changes; behind it, each life of the job has another real handle. The two
//! are different types without a conversion between them: only [`Handles::real`] leads from one to
//! the other. Reading takes no lock, since every driver call does it.
//!
//! ```text
//!   63      56 55    52 51          32 31              0
//!   |  0x67   |  kind  |  generation  |     index      |
//! ```
//! Which of them are free, [`Numbers`] knows; whoever has that may make and end handles.
//!
//! The top byte makes a handle an address that no x86-64 process can have: a program that follows
//! one faults at once. A slot's generation grows when its object dies, so stale handles are known.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Kinds of driver objects with handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Kind {
    /// `CUcontext`
    Context = 1,
    /// `CUmodule`
    Module = 2,
    /// `CUlibrary`
    Library = 3,
    /// `CUfunction`
    Function = 4,
    /// `CUkernel`
    Kernel = 5,
    /// `CUstream`
    Stream = 6,
    /// `CUevent`
    Event = 7,
}

/// All kinds, in the order of their numbers.
pub const KINDS: [Kind; 7] = [
    Kind::Context,
    Kind::Module,
    Kind::Library,
    Kind::Function,
    Kind::Kernel,
    Kind::Stream,
    Kind::Event,
];

const TAG: u64 = 0x67;
const GENERATION_MASK: u64 = 0xf_ffff;
const FIRST_SEGMENT: u32 = 1 << 10;
/// Some 16 million slots of a kind, so that an image whose handles are damaged claims no more.
const SEGMENTS: usize = 14;

/// A handle that the application holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Virtual(u64);

/// A handle of the driver, of this life of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Real(u64);

impl Real {
    /// A handle as the driver wrote it.
    pub fn from_driver(bits: u64) -> Self {
        Self(bits)
    }

    /// For the driver alone.
    pub fn bits(self) -> u64 {
        self.0
    }
}

impl Virtual {
    fn new(kind: Kind, generation: u32, index: u32) -> Self {
        Self(
            TAG << 56
                | (kind as u64) << 52
                | (u64::from(generation) & GENERATION_MASK) << 32
                | u64::from(index),
        )
    }

    /// What the application passed, if it has the form of one of our handles.
    pub fn from_application(bits: u64) -> Option<Self> {
        let handle = Self(bits);
        (bits >> 56 == TAG && handle.kind().is_some()).then_some(handle)
    }

    /// Generation and index alone, in 52 bits.
    pub(crate) fn short(self) -> u64 {
        self.0 & ((1 << 52) - 1)
    }

    /// The handle of a kind with this [`Virtual::short`] form.
    pub(crate) fn from_short(kind: Kind, short: u64) -> Self {
        Self(TAG << 56 | (kind as u64) << 52 | short)
    }

    /// For the application.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The kind that the handle claims.
    pub fn kind(self) -> Option<Kind> {
        let number = (self.0 >> 52 & 0xf) as usize;
        number.checked_sub(1).and_then(|i| KINDS.get(i)).copied()
    }

    fn generation(self) -> u32 {
        (self.0 >> 32 & GENERATION_MASK) as u32
    }

    fn index(self) -> u32 {
        self.0 as u32
    }
}

#[derive(Default)]
struct Slot {
    /// Driver's handle; 0: no object.
    real: AtomicU64,
    generation: AtomicU32,
    /// For the owner of the kind (see [`Handles::note`]).
    note: AtomicU64,
}

#[derive(Default)]
struct Free {
    /// Oldest first, so that a slot rests as long as possible before it is used again.
    slots: VecDeque<u32>,
    next: u32,
    live: usize,
    /// Generation of slots that have not been used yet: above all generations of earlier lives.
    floor: u32,
}

/// The free handles of every kind.
#[derive(Default)]
pub struct Numbers {
    kinds: [Free; KINDS.len()],
}

impl Numbers {
    fn kind(&mut self, kind: Kind) -> &mut Free {
        &mut self.kinds[kind as usize - 1]
    }

    /// How many handles of a kind are alive.
    pub fn count(&self, kind: Kind) -> usize {
        self.kinds[kind as usize - 1].live
    }

    /// Takes over the floors of an earlier life; only before any handle exists.
    pub fn set_floors(&mut self, floors: &[u32]) {
        for (free, &floor) in self.kinds.iter_mut().zip(floors) {
            free.floor = floor & GENERATION_MASK as u32;
        }
    }
}

/// The slots of one kind.
struct Table {
    segments: [OnceLock<Box<[Slot]>>; SEGMENTS],
    /// All slots that were ever used are below this one.
    end: AtomicU32,
}

/// Segment and offset of an index: segment n holds `FIRST_SEGMENT << n` slots.
fn place(index: u32) -> (usize, usize) {
    let shifted = u64::from(index) + u64::from(FIRST_SEGMENT);
    let segment = 63 - shifted.leading_zeros() - FIRST_SEGMENT.trailing_zeros();
    (
        segment as usize,
        (shifted - (u64::from(FIRST_SEGMENT) << segment)) as usize,
    )
}

impl Table {
    fn new() -> Self {
        Self {
            segments: [const { OnceLock::new() }; SEGMENTS],
            end: AtomicU32::new(0),
        }
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        let (segment, offset) = place(index);
        self.segments.get(segment)?.get()?.get(offset)
    }

    fn slot_or_new(&self, index: u32, floor: u32) -> Option<&Slot> {
        let (segment, offset) = place(index);
        let fresh = || {
            (0..FIRST_SEGMENT << segment)
                .map(|_| Slot {
                    generation: floor.into(),
                    ..Slot::default()
                })
                .collect()
        };
        self.segments.get(segment)?.get_or_init(fresh).get(offset)
    }
}

/// Every handle of the session.
pub struct Handles {
    tables: [Table; KINDS.len()],
}

impl Default for Handles {
    fn default() -> Self {
        Self {
            tables: std::array::from_fn(|_| Table::new()),
        }
    }
}

impl Handles {
    fn table(&self, kind: Kind) -> &Table {
        &self.tables[kind as usize - 1]
    }

    /// The slot of a live handle, and what lies behind it. Read once: another thread may end it.
    fn live(&self, handle: Virtual) -> Option<(&Slot, Real)> {
        let slot = self.table(handle.kind()?).slot(handle.index())?;
        let real = slot.real.load(Ordering::Acquire);
        (real != 0 && slot.generation.load(Ordering::Acquire) == handle.generation())
            .then_some((slot, Real(real)))
    }

    /// The driver's handle behind a live virtual handle.
    pub fn real(&self, handle: Virtual) -> Option<Real> {
        self.live(handle).map(|(_, real)| real)
    }

    /// A word that the owner of the kind keeps with the handle; 0 at first.
    pub fn note(&self, handle: Virtual) -> Option<&AtomicU64> {
        self.live(handle).map(|(slot, _)| &slot.note)
    }

    /// Gives a new object a handle; `None` when there is none left.
    pub fn insert(&self, numbers: &mut Numbers, kind: Kind, real: Real) -> Option<Virtual> {
        let (table, free) = (self.table(kind), numbers.kind(kind));
        let index = free.slots.pop_front().unwrap_or(free.next);
        let slot = table.slot_or_new(index, free.floor)?;
        if index == free.next {
            free.next += 1;
            table.end.store(free.next, Ordering::Release);
        }
        free.live += 1;
        slot.note.store(0, Ordering::Relaxed);
        slot.real.store(real.0, Ordering::Release);
        Some(Virtual::new(
            kind,
            slot.generation.load(Ordering::Relaxed),
            index,
        ))
    }

    /// Puts a driver's handle behind a virtual one of an earlier life; ended by
    /// [`Handles::finish_restore`].
    pub fn restore(&self, numbers: &mut Numbers, handle: Virtual, real: Real) -> bool {
        let Some(kind) = handle.kind() else {
            return false;
        };
        let (table, free) = (self.table(kind), numbers.kind(kind));
        let Some(slot) = table.slot_or_new(handle.index(), free.floor) else {
            return false;
        };
        slot.generation
            .store(handle.generation(), Ordering::Release);
        slot.note.store(0, Ordering::Relaxed);
        slot.real.store(real.0, Ordering::Release);
        free.next = free.next.max(handle.index() + 1);
        table.end.store(free.next, Ordering::Release);
        true
    }

    /// Ends a series of [`Handles::restore`]: what was not restored is free.
    pub fn finish_restore(&self, numbers: &mut Numbers) {
        for (table, free) in self.tables.iter().zip(&mut numbers.kinds) {
            let (next, floor) = (free.next, free.floor);
            let is_free = |index: &u32| {
                table
                    .slot_or_new(*index, floor)
                    .is_some_and(|slot| slot.real.load(Ordering::Relaxed) == 0)
            };
            free.slots = (0..next).filter(is_free).collect();
            free.live = next as usize - free.slots.len();
        }
    }

    /// Forgets a handle; it is stale from now on.
    pub fn remove(&self, numbers: &mut Numbers, handle: Virtual) {
        let (Some((slot, _)), Some(kind)) = (self.live(handle), handle.kind()) else {
            return;
        };
        slot.real.store(0, Ordering::Release);
        let next = (u64::from(handle.generation()) + 1) & GENERATION_MASK;
        slot.generation.store(next as u32, Ordering::Release);
        let free = numbers.kind(kind);
        free.live -= 1;
        free.slots.push_back(handle.index());
    }

    /// All live handles of a kind.
    pub fn all(&self, kind: Kind) -> Vec<(Virtual, Real)> {
        let table = self.table(kind);
        let live = |index| {
            let slot = table.slot(index)?;
            let real = slot.real.load(Ordering::Acquire);
            (real != 0).then(|| {
                (
                    Virtual::new(kind, slot.generation.load(Ordering::Acquire), index),
                    Real(real),
                )
            })
        };
        let end = table.end.load(Ordering::Acquire);
        (0..end).filter_map(live).collect()
    }

    /// For each kind, a generation that no handle given out so far has (until it wraps).
    pub fn floors(&self, numbers: &Numbers) -> Vec<u32> {
        let floor = |(table, free): (&Table, &Free)| {
            let newest = (0..free.next)
                .filter_map(|i| table.slot(i))
                .map(|s| s.generation.load(Ordering::Relaxed) + 1)
                .max();
            newest.unwrap_or(0).max(free.floor) & GENERATION_MASK as u32
        };
        self.tables.iter().zip(&numbers.kinds).map(floor).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_handle_is_known() {
        let (handles, mut numbers) = (Handles::default(), Numbers::default());
        let first = handles
            .insert(&mut numbers, Kind::Stream, Real(77))
            .unwrap();
        assert_eq!(handles.real(first), Some(Real(77)));
        handles.remove(&mut numbers, first);
        assert_eq!(handles.real(first), None);
        let second = handles
            .insert(&mut numbers, Kind::Stream, Real(78))
            .unwrap();
        assert_ne!(first, second);
        assert_eq!(handles.real(first), None);
        assert_eq!(handles.real(second), Some(Real(78)));
    }

    #[test]
    fn kinds_do_not_mix_and_numbers_are_no_handles() {
        let (handles, mut numbers) = (Handles::default(), Numbers::default());
        let event = handles.insert(&mut numbers, Kind::Event, Real(5)).unwrap();
        assert_eq!(event.kind(), Some(Kind::Event));
        for bits in [
            0,
            1,
            2,
            0x7fff_1234_5678,
            u64::MAX,
            TAG << 56,
            TAG << 56 | 8 << 52,
        ] {
            assert_eq!(Virtual::from_application(bits), None, "{bits:x}");
        }
    }

    #[test]
    fn a_restored_table_gives_the_same_handles_and_no_old_ones() {
        let (handles, mut numbers) = (Handles::default(), Numbers::default());
        let all: Vec<_> = (0..5000)
            .map(|i| {
                handles
                    .insert(&mut numbers, Kind::Function, Real(i + 1))
                    .unwrap()
            })
            .collect();
        for handle in all.iter().step_by(2) {
            handles.remove(&mut numbers, *handle);
        }
        let floors = handles.floors(&numbers);
        let (second, mut others) = (Handles::default(), Numbers::default());
        others.set_floors(&floors);
        for (handle, real) in handles.all(Kind::Function) {
            assert!(second.restore(&mut others, handle, Real(real.0 + 100_000)));
        }
        second.finish_restore(&mut others);
        for (i, handle) in all.iter().enumerate() {
            let expected = (i % 2 == 1).then_some(Real(i as u64 + 100_001));
            assert_eq!(second.real(*handle), expected);
        }
        for i in 0..5000 {
            let new = second
                .insert(&mut others, Kind::Function, Real(i + 1))
                .unwrap();
            assert!(!all.contains(&new));
        }
        assert_eq!(others.count(Kind::Function), 2500 + 5000);
    }

    #[test]
    fn an_index_of_a_damaged_image_claims_no_memory() {
        let (handles, mut numbers) = (Handles::default(), Numbers::default());
        for index in [1 << 24, 200_000_000, u32::MAX] {
            let far = Virtual::new(Kind::Event, 0, index);
            let (restored, most) =
                crate::heap::most(|| handles.restore(&mut numbers, far, Real(1)));
            assert!(!restored && most == 0, "{index}: {most} bytes");
        }
        assert!(handles.all(Kind::Event).is_empty());
    }

    #[test]
    fn segments_cover_every_index_once() {
        assert_eq!(place(0), (0, 0));
        assert_eq!(place(FIRST_SEGMENT - 1), (0, FIRST_SEGMENT as usize - 1));
        assert_eq!(place(FIRST_SEGMENT), (1, 0));
        assert_eq!(place(3 * FIRST_SEGMENT), (2, 0));
    }
}
