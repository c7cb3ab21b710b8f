//! Loads and stores: from a lane's address to a host pointer, per space.
//!
//! Bounds and alignment are checked for every lane. Host memory is touched
//! with relaxed atomic operations of the access size only, because other
//! worker threads and the host may use the same bytes at the same time, as on
//! a GPU.

#![allow(
    unsafe_code,
    reason = "device memory is host memory behind raw pointers"
)]

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::super::code::{Access, Inst, NONE};
use super::super::error::FaultKind;
use super::super::memory::{LOCAL_WINDOW, Memory, PARAM_WINDOW, Region, SHARED_WINDOW};
use super::cx::{Cx, LANES, Lane, lanes};

/// Entries of the region cache; instructions share them by address.
const CACHE: usize = 32;

/// The memories that a warp sees.
pub(in crate::ptx) struct Views<'a> {
    pub(in crate::ptx) memory: &'a dyn Memory,
    cache: [Region; CACHE],
    /// Shared memory of the block.
    pub(in crate::ptx) shared: *mut u8,
    pub(in crate::ptx) shared_len: u32,
    /// Local memory of the warp: `local_len` bytes a lane, lane after lane.
    pub(in crate::ptx) local: *mut u8,
    pub(in crate::ptx) local_len: u32,
    /// Start of the current frame in each lane's local memory.
    pub(in crate::ptx) frame: u32,
    pub(in crate::ptx) params: &'a [u8],
}

impl<'a> Views<'a> {
    pub(in crate::ptx) fn new(memory: &'a dyn Memory, params: &'a [u8]) -> Views<'a> {
        let empty = Region {
            start: 0,
            end: 0,
            host: std::ptr::null_mut(),
            writable: false,
        };
        Views {
            memory,
            cache: [empty; CACHE],
            shared: std::ptr::null_mut(),
            shared_len: 0,
            local: std::ptr::null_mut(),
            local_len: 0,
            frame: 0,
            params,
        }
    }

    /// Host pointer for `len` bytes at a lane's address.
    #[inline(always)]
    pub(in crate::ptx) fn resolve(
        &mut self,
        i: &Inst,
        lane: usize,
        address: u64,
        len: u64,
        write: bool,
    ) -> Result<*mut u8, FaultKind> {
        if address & (len - 1) != 0 {
            return Err(FaultKind::MisalignedAddress {
                address: generic(i.space, address),
            });
        }
        match i.space {
            Access::Global => self.global(i, address, len, write),
            Access::Shared => self.shared_at(address, len),
            Access::Local => self.local_at(lane, address, len),
            Access::Frame => self.local_at(lane, address.wrapping_add(self.frame.into()), len),
            Access::Param => self.param_at(address, len, write),
            Access::Generic => match address >> 56 {
                0 => self.global(i, address, len, write),
                1 => self.shared_at(address - SHARED_WINDOW, len),
                2 => self.local_at(lane, address - LOCAL_WINDOW, len),
                3 => self.param_at(address - PARAM_WINDOW, len, write),
                _ => Err(FaultKind::IllegalAddress { address }),
            },
        }
    }

    #[inline(always)]
    fn global(
        &mut self,
        i: &Inst,
        address: u64,
        len: u64,
        write: bool,
    ) -> Result<*mut u8, FaultKind> {
        let entry = entry(i);
        let region = &self.cache[entry];
        let offset = address.wrapping_sub(region.start);
        let size = region.end - region.start;
        if offset < size && size - offset >= len && (!write || region.writable) {
            // SAFETY: within the region, which its maker keeps mapped.
            return Ok(unsafe { region.host.add(offset as usize) });
        }
        self.global_slow(entry, address, len, write)
    }

    #[cold]
    fn global_slow(
        &mut self,
        entry: usize,
        address: u64,
        len: u64,
        write: bool,
    ) -> Result<*mut u8, FaultKind> {
        let illegal = FaultKind::IllegalAddress { address };
        let region = self.memory.region(address).ok_or(illegal)?;
        let end = address.checked_add(len).ok_or(illegal)?;
        if address < region.start || end > region.end || write && !region.writable {
            return Err(illegal);
        }
        self.cache[entry] = region;
        // SAFETY: within the region, which its maker keeps mapped.
        Ok(unsafe { region.host.add((address - region.start) as usize) })
    }

    /// Where an access of `len` bytes lies, if all lanes of `mask` are aligned
    /// and in bounds of one piece of memory that is already known: the address
    /// of its first byte and the host pointer to it. `None` says nothing:
    /// `resolve` then finds out lane by lane.
    #[inline(always)]
    fn together(
        &self,
        i: &Inst,
        at: &[u64; LANES],
        mask: u32,
        len: u64,
        write: bool,
    ) -> Option<(u64, *mut u8)> {
        let (start, size, host) = match i.space {
            Access::Shared => (0, self.shared_len.into(), self.shared),
            Access::Global => {
                let region = &self.cache[entry(i)];
                if write && !region.writable {
                    return None;
                }
                (region.start, region.end - region.start, region.host)
            }
            _ => return None,
        };
        let last = size.checked_sub(len)?;
        let mut good = 0;
        for (lane, address) in at.iter().enumerate() {
            let fits = address.wrapping_sub(start) <= last && address & (len - 1) == 0;
            good |= u32::from(fits) << lane;
        }
        (mask & !good == 0).then_some((start, host))
    }

    #[inline(always)]
    fn shared_at(&self, address: u64, len: u64) -> Result<*mut u8, FaultKind> {
        if address.saturating_add(len) > u64::from(self.shared_len) {
            let address = address.wrapping_add(SHARED_WINDOW);
            return Err(FaultKind::IllegalAddress { address });
        }
        // SAFETY: within the block's shared memory.
        Ok(unsafe { self.shared.add(address as usize) })
    }

    fn local_at(&self, lane: usize, address: u64, len: u64) -> Result<*mut u8, FaultKind> {
        if address.saturating_add(len) > u64::from(self.local_len) {
            let address = address.wrapping_add(LOCAL_WINDOW);
            return Err(FaultKind::IllegalAddress { address });
        }
        // SAFETY: within this lane's part of the warp's local memory.
        Ok(unsafe {
            self.local
                .add(lane * self.local_len as usize + address as usize)
        })
    }

    fn frame_at(&self, lane: usize, offset: u32, size: usize) -> Option<*mut u8> {
        self.local_at(lane, u64::from(self.frame) + u64::from(offset), size as u64)
            .ok()
    }

    /// Bytes of one lane's frame; zeros outside (the decoder never asks).
    pub(in crate::ptx) fn frame_bytes(&self, lane: usize, offset: u32, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        if let Some(from) = self.frame_at(lane, offset, size) {
            // SAFETY: `frame_at` checked the bounds; only this warp uses its
            // local memory.
            unsafe { from.copy_to_nonoverlapping(bytes.as_mut_ptr(), size) };
        }
        bytes
    }

    /// Stores bytes into one lane's frame.
    pub(in crate::ptx) fn set_frame_bytes(&mut self, lane: usize, offset: u32, bytes: &[u8]) {
        if let Some(to) = self.frame_at(lane, offset, bytes.len()) {
            // SAFETY: as in `frame_bytes`.
            unsafe { bytes.as_ptr().copy_to_nonoverlapping(to, bytes.len()) };
        }
    }

    fn param_at(&self, address: u64, len: u64, write: bool) -> Result<*mut u8, FaultKind> {
        if write || address.saturating_add(len) > self.params.len() as u64 {
            let address = address.wrapping_add(PARAM_WINDOW);
            return Err(FaultKind::IllegalAddress { address });
        }
        // SAFETY: within the slice; it is only read from, as `write` is false.
        Ok(unsafe { self.params.as_ptr().add(address as usize).cast_mut() })
    }
}

/// The cache entry that an instruction uses.
#[inline(always)]
fn entry(i: &Inst) -> usize {
    (std::ptr::from_ref(i) as usize / size_of::<Inst>()) % CACHE
}

/// The address as a debugger would show it.
fn generic(space: Access, address: u64) -> u64 {
    match space {
        Access::Generic | Access::Global => address,
        Access::Shared => address.wrapping_add(SHARED_WINDOW),
        Access::Local | Access::Frame => address.wrapping_add(LOCAL_WINDOW),
        Access::Param => address.wrapping_add(PARAM_WINDOW),
    }
}

/// Addresses of all lanes: base register (`s[0]`, of 32 bits when `narrow`, or
/// none) plus `x`.
#[inline(always)]
pub(in crate::ptx) fn addresses(cx: &Cx<'_>, i: &Inst) -> [u64; LANES] {
    let mut out = [i.x; LANES];
    if i.s[0] == NONE {
        return out;
    }
    if i.narrow {
        let base = cx.row::<u32>(i.s[0]);
        for lane in 0..LANES {
            out[lane] = u64::from(base[lane].wrapping_add(i.x as u32));
        }
    } else {
        let base = cx.row::<u64>(i.s[0]);
        for lane in 0..LANES {
            out[lane] = base[lane].wrapping_add(i.x);
        }
    }
    out
}

/// A type as it lies in memory.
///
/// # Safety
/// `load` and `store` must touch `size_of::<Self>()` bytes at most.
pub(in crate::ptx) unsafe trait Cell: Copy {
    /// Loads, extended to 64 bits by the type's signedness.
    ///
    /// # Safety
    /// `from` must be mapped and aligned for the type.
    unsafe fn load(from: *mut u8) -> u64;
    /// Stores the low bits.
    ///
    /// # Safety
    /// `to` must be mapped, writable and aligned for the type.
    unsafe fn store(to: *mut u8, value: u64);
}

macro_rules! cell {
    ($($t:ty, $unsigned:ty, $atomic:ty);*) => {$(
        // SAFETY: the atomic has the type's size.
        unsafe impl Cell for $t {
            #[inline(always)]
            unsafe fn load(from: *mut u8) -> u64 {
                // SAFETY: as the trait demands.
                let cell = unsafe { <$atomic>::from_ptr(from.cast()) };
                cell.load(Ordering::Relaxed) as $t as u64
            }
            #[inline(always)]
            unsafe fn store(to: *mut u8, value: u64) {
                // SAFETY: as the trait demands.
                let cell = unsafe { <$atomic>::from_ptr(to.cast()) };
                cell.store(value as $unsigned, Ordering::Relaxed);
            }
        }
    )*};
}
cell!(u8, u8, AtomicU8; i8, u8, AtomicU8; u16, u16, AtomicU16; i16, u16, AtomicU16;
    u32, u32, AtomicU32; i32, u32, AtomicU32; u64, u64, AtomicU64);

/// A register type that 64 bits can be cut down to.
pub(in crate::ptx) trait Cut: Lane {
    fn cut(bits: u64) -> Self;
    fn whole(self) -> u64;
}
macro_rules! cut {
    ($($t:ty),*) => {$(
        impl Cut for $t {
            #[inline(always)]
            fn cut(bits: u64) -> $t {
                bits as $t
            }
            #[inline(always)]
            fn whole(self) -> u64 {
                u64::from(self)
            }
        }
    )*};
}
cut!(u16, u32, u64);

/// `ld`: into `d`, or into the rows of `list`.
#[inline(always)]
pub(in crate::ptx) fn load<M: Cell, R: Cut>(cx: &mut Cx<'_>, i: &Inst) {
    let at = addresses(cx, i);
    let size = size_of::<M>();
    if i.list.is_empty() {
        if let Some((start, host)) = cx.views.together(i, &at, cx.mask, size as u64, false) {
            let one = |lane: usize| {
                // SAFETY: `together` checked bounds and alignment of the lanes
                // that execute, and only they are asked for.
                let from = unsafe { host.add(at[lane].wrapping_sub(start) as usize) };
                // SAFETY: as above.
                R::cut(unsafe { M::load(from) })
            };
            // Straight into the row: a vector copy of lanes just stored one by
            // one would stall the processor.
            let mask = cx.mask;
            let row = cx.row_mut::<R>(i.d);
            if mask == !0 {
                (0..LANES).for_each(|lane| row[lane] = one(lane));
            } else {
                lanes(mask).for_each(|lane| row[lane] = one(lane));
            }
            return;
        }
        let mut out = [R::default(); LANES];
        for lane in lanes(cx.mask) {
            match cx.views.resolve(i, lane, at[lane], size as u64, false) {
                // SAFETY: `resolve` checked bounds and alignment.
                Ok(from) => out[lane] = R::cut(unsafe { M::load(from) }),
                Err(kind) => return cx.fail(kind, lane as u32),
            }
        }
        cx.put(i.d, &out);
        return;
    }
    let count = i.list.len();
    let mut out = [[R::default(); LANES]; 8];
    for lane in lanes(cx.mask) {
        match cx
            .views
            .resolve(i, lane, at[lane], (count * size) as u64, false)
        {
            Ok(from) => {
                for (k, row) in out[..count].iter_mut().enumerate() {
                    // SAFETY: `resolve` checked the whole vector.
                    row[lane] = R::cut(unsafe { M::load(from.add(k * size)) });
                }
            }
            Err(kind) => return cx.fail(kind, lane as u32),
        }
    }
    for (slot, row) in i.list.iter().zip(&out) {
        cx.put(*slot, row);
    }
}

/// `st`: from `s[1]`, or from the rows of `list`.
#[inline(always)]
pub(in crate::ptx) fn store<M: Cell, R: Cut>(cx: &mut Cx<'_>, i: &Inst) {
    let at = addresses(cx, i);
    let size = size_of::<M>();
    if i.list.is_empty() {
        let values = *cx.row::<R>(i.s[1]);
        if let Some((start, host)) = cx.views.together(i, &at, cx.mask, size as u64, true) {
            let one = |lane: usize| {
                // SAFETY: `together` checked bounds, alignment and the right to
                // write for the lanes that execute, and only they are asked for.
                let to = unsafe { host.add(at[lane].wrapping_sub(start) as usize) };
                // SAFETY: as above.
                unsafe { M::store(to, values[lane].whole()) };
            };
            if cx.mask == !0 {
                (0..LANES).for_each(one);
            } else {
                lanes(cx.mask).for_each(one);
            }
            return;
        }
        for lane in lanes(cx.mask) {
            match cx.views.resolve(i, lane, at[lane], size as u64, true) {
                // SAFETY: `resolve` checked bounds, alignment and the right to write.
                Ok(to) => unsafe { M::store(to, values[lane].whole()) },
                Err(kind) => return cx.fail(kind, lane as u32),
            }
        }
        return;
    }
    let count = i.list.len();
    for lane in lanes(cx.mask) {
        match cx
            .views
            .resolve(i, lane, at[lane], (count * size) as u64, true)
        {
            Ok(to) => {
                for (k, slot) in i.list.iter().enumerate() {
                    let value = cx.row::<R>(*slot)[lane].whole();
                    // SAFETY: `resolve` checked the whole vector.
                    unsafe { M::store(to.add(k * size), value) };
                }
            }
            Err(kind) => return cx.fail(kind, lane as u32),
        }
    }
}

/// [`load`] for processors with AVX2.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(in crate::ptx) fn load_wide<M: Cell, R: Cut>(cx: &mut Cx<'_>, i: &Inst) {
    load::<M, R>(cx, i);
}

/// [`store`] for processors with AVX2.
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
pub(in crate::ptx) fn store_wide<M: Cell, R: Cut>(cx: &mut Cx<'_>, i: &Inst) {
    store::<M, R>(cx, i);
}

/// `ld.b128` into `d`.
pub(in crate::ptx) fn load128(cx: &mut Cx<'_>, i: &Inst) {
    let at = addresses(cx, i);
    let mut out = [0u128; LANES];
    for lane in lanes(cx.mask) {
        match cx.views.resolve(i, lane, at[lane], 16, false) {
            Ok(from) => {
                // SAFETY: `resolve` checked bounds and alignment of all 16 bytes.
                let (low, high) = unsafe { (u64::load(from), u64::load(from.add(8))) };
                out[lane] = u128::from(low) | u128::from(high) << 64;
            }
            Err(kind) => return cx.fail(kind, lane as u32),
        }
    }
    cx.put(i.d, &out);
}

/// `st.b128` from `s[1]`.
pub(in crate::ptx) fn store128(cx: &mut Cx<'_>, i: &Inst) {
    let at = addresses(cx, i);
    let values = *cx.row::<u128>(i.s[1]);
    for lane in lanes(cx.mask) {
        match cx.views.resolve(i, lane, at[lane], 16, true) {
            Ok(to) => {
                // SAFETY: `resolve` checked bounds and alignment of all 16 bytes.
                unsafe { u64::store(to, values[lane] as u64) };
                // SAFETY: as above.
                unsafe { u64::store(to.add(8), (values[lane] >> 64) as u64) };
            }
            Err(kind) => return cx.fail(kind, lane as u32),
        }
    }
}

/// `cp.async`: `aux` bytes from the global address in `s[1]` to shared memory;
/// only the first `s[2]` are read when that is there, the others are zero.
pub(in crate::ptx) fn copy_to_shared(cx: &mut Cx<'_>, i: &Inst) {
    let to = addresses(cx, i);
    let from = *cx.row::<u64>(i.s[1]);
    let size = u64::from(i.aux);
    let filled = if i.s[2] == NONE {
        [i.aux; LANES]
    } else {
        *cx.row::<u32>(i.s[2])
    };
    let source = Inst {
        space: Access::Global,
        ..Inst::new(i.op, i.line)
    };
    for lane in lanes(cx.mask) {
        let count = u64::from(filled[lane]).min(size);
        let mut bytes = [0u8; 16];
        if !from[lane].is_multiple_of(size) {
            let address = from[lane];
            return cx.fail(FaultKind::MisalignedAddress { address }, lane as u32);
        }
        for (at, byte) in bytes.iter_mut().enumerate().take(count as usize) {
            match cx
                .views
                .resolve(&source, lane, from[lane] + at as u64, 1, false)
            {
                // SAFETY: `resolve` checked the bounds.
                Ok(from) => *byte = unsafe { u8::load(from) } as u8,
                Err(kind) => return cx.fail(kind, lane as u32),
            }
        }
        match cx.views.resolve(i, lane, to[lane], size, true) {
            Ok(to) => {
                for (at, byte) in bytes[..size as usize].iter().enumerate() {
                    // SAFETY: `resolve` checked all `size` bytes.
                    unsafe { u8::store(to.add(at), (*byte).into()) };
                }
            }
            Err(kind) => return cx.fail(kind, lane as u32),
        }
    }
}
