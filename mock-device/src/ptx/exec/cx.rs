//! What an instruction's handler can reach: the current frame's register
//! rows, the constant rows, the lanes that execute, and memory.

#![allow(
    unsafe_code,
    reason = "register rows are untyped bytes, typed by the decoder"
)]

use super::super::code::{CONST, Place as Where, Slot};
use super::super::error::FaultKind;
use super::super::types::Width;
use super::memory::Views;

/// Distance of function addresses.
pub(in crate::ptx) const CODE_STEP: u64 = 16;

/// Lanes of a warp.
pub(in crate::ptx) const LANES: usize = 32;

/// A value that a register lane can hold: any bit pattern is valid.
///
/// # Safety
/// The type must be plain data without padding for which every bit pattern
/// is a value.
pub(in crate::ptx) unsafe trait Lane: Copy + Default + 'static {}

macro_rules! lane {
    ($($t:ty),*) => {$(
        // SAFETY: a primitive number: plain data, every pattern valid.
        unsafe impl Lane for $t {}
    )*};
}
lane!(u16, i16, u32, i32, u64, i64, u128, f32, f64);

/// 64-byte unit of register storage, so that rows are aligned for SIMD.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::ptx) struct Line(pub(in crate::ptx) [u8; 64]);

/// Register rows of a frame, or constant rows.
#[derive(Default, Clone)]
pub(in crate::ptx) struct Rows {
    lines: Vec<Line>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({} bytes)", self.lines.len() * 64)
    }
}

impl Rows {
    /// Zeroed rows of at least `bytes`.
    pub(in crate::ptx) fn new(bytes: u32) -> Rows {
        Rows {
            lines: vec![Line([0; 64]); (bytes as usize).div_ceil(64)],
        }
    }

    /// The bytes, for filling constants in.
    pub(in crate::ptx) fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.lines.len() * 64;
        // SAFETY: `lines` is contiguous plain bytes, borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }
}

/// Places of the current warp's threads, for special registers.
#[derive(Debug, Clone, Default)]
pub(in crate::ptx) struct Place {
    pub(in crate::ptx) tid: [[u32; LANES]; 3],
    pub(in crate::ptx) ntid: [u32; 3],
    pub(in crate::ptx) ctaid: [u32; 3],
    pub(in crate::ptx) nctaid: [u32; 3],
    pub(in crate::ptx) warp: u32,
    pub(in crate::ptx) warps: u32,
    pub(in crate::ptx) grid_id: u64,
    pub(in crate::ptx) workspace: u64,
    pub(in crate::ptx) dynamic_shared: u32,
    pub(in crate::ptx) total_shared: u32,
    pub(in crate::ptx) worker: u32,
}

/// Execution context of one warp on one worker thread.
pub(in crate::ptx) struct Cx<'a> {
    regs: *mut u8,
    consts: *const u8,
    /// Lanes that execute the current instruction.
    pub(in crate::ptx) mask: u32,
    /// Lanes of the running group, guard or not.
    pub(in crate::ptx) active: u32,
    /// What went wrong, and in which lane.
    pub(in crate::ptx) fault: Option<(FaultKind, u32)>,
    pub(in crate::ptx) views: Views<'a>,
    pub(in crate::ptx) place: Place,
    /// Where function addresses start.
    code: u64,
}

impl<'a> Cx<'a> {
    /// A context over constant rows that outlive it.
    pub(in crate::ptx) fn new(consts: &'a Rows, views: Views<'a>, code: u64) -> Cx<'a> {
        Cx {
            regs: std::ptr::null_mut(),
            consts: consts.lines.as_ptr().cast(),
            mask: 0,
            active: 0,
            fault: None,
            views,
            place: Place::default(),
            code,
        }
    }

    /// Makes `rows` the current frame.
    ///
    /// # Safety
    /// `rows` must stay alive and unmoved until the next call or until no
    /// handler runs any more, and be as large as the code that will run needs.
    pub(in crate::ptx) unsafe fn set_frame(&mut self, rows: &mut Rows) {
        self.regs = rows.lines.as_mut_ptr().cast();
    }

    #[inline(always)]
    fn at(&self, slot: Slot) -> *const u8 {
        let (base, offset) = if slot & CONST != 0 {
            (self.consts, slot & !CONST)
        } else {
            (self.regs.cast_const(), slot)
        };
        // SAFETY: the decoder made the slot for exactly this frame (or for the
        // constant rows), whose size it also computed.
        unsafe { base.add(offset as usize) }
    }

    /// All lanes of a register.
    #[inline(always)]
    pub(in crate::ptx) fn row<T: Lane>(&self, slot: Slot) -> &[T; LANES] {
        // SAFETY: the slot's row has 32 lanes of T's width (the decoder checks
        // widths), aligned to 64; every bit pattern is a T; only `put` writes,
        // and it takes `&mut self`.
        unsafe { &*self.at(slot).cast() }
    }

    /// A destination's lanes; only those in `mask` may be written.
    #[inline(always)]
    pub(in crate::ptx) fn row_mut<T: Lane>(&mut self, slot: Slot) -> &mut [T; LANES] {
        // SAFETY: as in `row`; a destination is never a constant row.
        unsafe { &mut *self.regs.add(slot as usize).cast() }
    }

    /// Stores the executing lanes.
    #[inline(always)]
    pub(in crate::ptx) fn put<T: Lane>(&mut self, slot: Slot, values: &[T; LANES]) {
        let mask = self.mask;
        let row = self.row_mut::<T>(slot);
        if mask == !0 {
            *row = *values;
        } else {
            for lane in 0..LANES {
                row[lane] = if mask >> lane & 1 != 0 {
                    values[lane]
                } else {
                    row[lane]
                };
            }
        }
    }

    /// A predicate's lanes as bits.
    #[inline(always)]
    pub(in crate::ptx) fn pred(&self, slot: Slot) -> u32 {
        // SAFETY: a predicate row is 4 aligned bytes.
        unsafe { *self.at(slot).cast() }
    }

    /// Stores a predicate for the executing lanes.
    #[inline(always)]
    pub(in crate::ptx) fn put_pred(&mut self, slot: Slot, bits: u32) {
        // SAFETY: as in `pred`; a destination is never a constant row.
        let row: &mut u32 = unsafe { &mut *self.regs.add(slot as usize).cast() };
        *row = *row & !self.mask | bits & self.mask;
    }

    /// Number of the function at an address, if it can be one.
    pub(in crate::ptx) fn function_at(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.code)?;
        if offset % CODE_STEP != 0 {
            None
        } else {
            u32::try_from(offset / CODE_STEP).ok()
        }
    }

    /// The bytes of an argument or result of one lane.
    pub(in crate::ptx) fn get_place(&self, place: Where, lane: usize, size: usize) -> Vec<u8> {
        match place {
            Where::Register { slot, width } => {
                let bytes = match width {
                    Width::Pred => u128::from(self.pred(slot) >> lane & 1),
                    Width::W16 => self.row::<u16>(slot)[lane].into(),
                    Width::W32 => self.row::<u32>(slot)[lane].into(),
                    Width::W64 => self.row::<u64>(slot)[lane].into(),
                    Width::W128 => self.row::<u128>(slot)[lane],
                };
                bytes.to_le_bytes()[..size].to_vec()
            }
            Where::Memory { offset, .. } => self.views.frame_bytes(lane, offset, size),
        }
    }

    /// Stores the bytes of an argument or result of one lane.
    pub(in crate::ptx) fn set_place(&mut self, place: Where, lane: usize, bytes: &[u8]) {
        match place {
            Where::Register { slot, width } => {
                let mut wide = [0; 16];
                wide[..bytes.len()].copy_from_slice(bytes);
                let value = u128::from_le_bytes(wide);
                let all = std::mem::replace(&mut self.mask, 1 << lane);
                match width {
                    Width::Pred => self.put_pred(slot, if value & 1 != 0 { !0 } else { 0 }),
                    Width::W16 => self.put(slot, &[value as u16; LANES]),
                    Width::W32 => self.put(slot, &[value as u32; LANES]),
                    Width::W64 => self.put(slot, &[value as u64; LANES]),
                    Width::W128 => self.put(slot, &[value; LANES]),
                }
                self.mask = all;
            }
            Where::Memory { offset, .. } => self.views.set_frame_bytes(lane, offset, bytes),
        }
    }

    /// Notes the first fault of an instruction.
    #[cold]
    pub(in crate::ptx) fn fail(&mut self, kind: FaultKind, lane: u32) {
        self.fault.get_or_insert((kind, lane));
    }
}

/// The lanes of a mask, lowest first.
#[inline(always)]
pub(in crate::ptx) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            lane
        })
    })
}
