//! `atom` and `red`: read-modify-write on memory, lane after lane in order.

#![allow(
    unsafe_code,
    reason = "device memory is host memory behind raw pointers"
)]

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::super::code::{Inst, NONE};
use super::cx::{Cx, LANES, Lane, lanes};
use super::memory::addresses;

/// A width that the processor updates atomically.
///
/// # Safety
/// `update` must touch `size_of::<Self>()` bytes at most.
pub(in crate::ptx) unsafe trait Atomic: Lane {
    /// Replaces the value by `f` of it and returns the old one.
    ///
    /// # Safety
    /// `at` must be mapped, writable and aligned for the type.
    unsafe fn update(at: *mut u8, f: impl Fn(Self) -> Self) -> Self;
}

macro_rules! atomic {
    ($($t:ty, $atomic:ty);*) => {$(
        // SAFETY: the atomic has the type's size.
        unsafe impl Atomic for $t {
            #[inline(always)]
            unsafe fn update(at: *mut u8, f: impl Fn($t) -> $t) -> $t {
                // SAFETY: as the trait demands.
                let cell = unsafe { <$atomic>::from_ptr(at.cast()) };
                let mut old = cell.load(Ordering::Relaxed);
                loop {
                    match cell.compare_exchange_weak(
                        old, f(old), Ordering::SeqCst, Ordering::Relaxed,
                    ) {
                        Ok(old) => return old,
                        Err(now) => old = now,
                    }
                }
            }
        }
    )*};
}
atomic!(u16, AtomicU16; u32, AtomicU32; u64, AtomicU64);

/// `atom.op d, [a], b` and `red.op [a], b` (then `d` is none): new value from
/// the old one and `s[1]`.
#[inline(always)]
pub(in crate::ptx) fn rmw<T: Atomic>(cx: &mut Cx<'_>, i: &Inst, f: impl Fn(T, T) -> T) {
    let operand = *cx.row::<T>(i.s[1]);
    each::<T>(cx, i, |lane, old| f(old, operand[lane]));
}

/// `atom.cas d, [a], b, c`: stores `c` where memory equals `b`.
pub(in crate::ptx) fn cas<T: Atomic + PartialEq>(cx: &mut Cx<'_>, i: &Inst) {
    let (expected, new) = (*cx.row::<T>(i.s[1]), *cx.row::<T>(i.s[2]));
    each::<T>(cx, i, |lane, old| {
        if old == expected[lane] {
            new[lane]
        } else {
            old
        }
    });
}

#[inline(always)]
fn each<T: Atomic>(cx: &mut Cx<'_>, i: &Inst, f: impl Fn(usize, T) -> T) {
    let at = addresses(cx, i);
    let mut out = [T::default(); LANES];
    for lane in lanes(cx.mask) {
        match cx
            .views
            .resolve(i, lane, at[lane], size_of::<T>() as u64, true)
        {
            // SAFETY: `resolve` checked bounds, alignment and the right to write.
            Ok(to) => out[lane] = unsafe { T::update(to, |old| f(lane, old)) },
            Err(kind) => return cx.fail(kind, lane as u32),
        }
    }
    if i.d != NONE {
        cx.put(i.d, &out);
    }
}

/// `red.v2/v4` and `atom.v2/v4`: element by element, each atomic. The first `aux`
/// rows of `list` are operands, the others (for `atom`) take the old values.
#[inline(always)]
pub(in crate::ptx) fn rmw_vector<T: Atomic>(cx: &mut Cx<'_>, i: &Inst, f: impl Fn(T, T) -> T) {
    let at = addresses(cx, i);
    let (operands, results) = i.list.split_at(i.aux as usize);
    let count = operands.len();
    let mut out = [[T::default(); LANES]; 8];
    for lane in lanes(cx.mask) {
        let len = (count * size_of::<T>()) as u64;
        match cx.views.resolve(i, lane, at[lane], len, true) {
            Ok(to) => {
                for (k, slot) in operands.iter().enumerate() {
                    let operand = cx.row::<T>(*slot)[lane];
                    // SAFETY: `resolve` checked the whole vector.
                    let at = unsafe { to.add(k * size_of::<T>()) };
                    // SAFETY: as above.
                    out[k][lane] = unsafe { T::update(at, |old| f(old, operand)) };
                }
            }
            Err(kind) => return cx.fail(kind, lane as u32),
        }
    }
    for (slot, row) in results.iter().zip(&out) {
        cx.put(*slot, row);
    }
}
