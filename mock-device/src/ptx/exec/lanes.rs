//! Makes handlers from functions on one lane.
//!
//! `op1!(A => D, |a| …)`, `op2!(A, B => D, |a, b| …)` and `op3!` give a
//! [`Handler`](crate::ptx::code::Handler) that applies the function to all
//! lanes: sources from `s`, destination `d`. The functions must be total,
//! because inactive lanes run too (their results are dropped). `op1!(fast: …)`
//! also compiles it for AVX2 and FMA; that is for what programs do most.

use super::super::code::Inst;
use super::cx::{Cx, LANES, Lane};

/// Whether the processor runs the AVX2 and FMA variants.
pub(in crate::ptx) fn wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[inline(always)]
pub(in crate::ptx) fn map1<A: Lane, D: Lane>(cx: &mut Cx<'_>, i: &Inst, f: impl Fn(A) -> D) {
    let a = cx.row::<A>(i.s[0]);
    let mut out = [D::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane]);
    }
    cx.put(i.d, &out);
}

#[inline(always)]
pub(in crate::ptx) fn map2<A: Lane, B: Lane, D: Lane>(
    cx: &mut Cx<'_>,
    i: &Inst,
    f: impl Fn(A, B) -> D,
) {
    let (a, b) = (cx.row::<A>(i.s[0]), cx.row::<B>(i.s[1]));
    let mut out = [D::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane]);
    }
    cx.put(i.d, &out);
}

#[inline(always)]
pub(in crate::ptx) fn map3<A: Lane, B: Lane, C: Lane, D: Lane>(
    cx: &mut Cx<'_>,
    i: &Inst,
    f: impl Fn(A, B, C) -> D,
) {
    let (a, b, c) = (
        cx.row::<A>(i.s[0]),
        cx.row::<B>(i.s[1]),
        cx.row::<C>(i.s[2]),
    );
    let mut out = [D::default(); LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane], c[lane]);
    }
    cx.put(i.d, &out);
}

/// A predicate from two sources.
#[inline(always)]
pub(in crate::ptx) fn test2<A: Lane>(cx: &mut Cx<'_>, i: &Inst, f: impl Fn(A, A) -> bool) {
    let (a, b) = (cx.row::<A>(i.s[0]), cx.row::<A>(i.s[1]));
    let mut bits = 0;
    for lane in 0..LANES {
        bits |= u32::from(f(a[lane], b[lane])) << lane;
    }
    cx.put_pred(i.d, bits);
}

/// A handler from a body; `fast` ones are compiled twice, the second time for
/// AVX2 and FMA, and chosen by the processor.
macro_rules! handler {
    (|$cx:ident, $i:ident| $body:expr) => {{
        fn base($cx: &mut $crate::ptx::exec::cx::Cx<'_>, $i: &$crate::ptx::code::Inst) {
            $body
        }
        let handler: $crate::ptx::code::Handler = base;
        handler
    }};
    (fast |$cx:ident, $i:ident| $body:expr) => {{
        fn base($cx: &mut $crate::ptx::exec::cx::Cx<'_>, $i: &$crate::ptx::code::Inst) {
            $body
        }
        #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
        fn wide($cx: &mut $crate::ptx::exec::cx::Cx<'_>, $i: &$crate::ptx::code::Inst) {
            $body
        }
        let handler: $crate::ptx::code::Handler = if $crate::ptx::exec::lanes::wide() {
            wide
        } else {
            base
        };
        handler
    }};
}

macro_rules! op1 {
    ($($fast:ident)? : $a:ty => $d:ty, |$x:ident| $body:expr) => {
        $crate::ptx::exec::lanes::handler!($($fast)? |cx, i| {
            $crate::ptx::exec::lanes::map1(cx, i, |$x: $a| -> $d { $body })
        })
    };
    ($a:ty => $d:ty, |$x:ident| $body:expr) => {
        $crate::ptx::exec::lanes::op1!(: $a => $d, |$x| $body)
    };
}

macro_rules! op2 {
    ($($fast:ident)? : $a:ty, $b:ty => $d:ty, |$x:ident, $y:ident| $body:expr) => {
        $crate::ptx::exec::lanes::handler!($($fast)? |cx, i| {
            $crate::ptx::exec::lanes::map2(cx, i, |$x: $a, $y: $b| -> $d { $body })
        })
    };
    ($a:ty, $b:ty => $d:ty, |$x:ident, $y:ident| $body:expr) => {
        $crate::ptx::exec::lanes::op2!(: $a, $b => $d, |$x, $y| $body)
    };
}

macro_rules! op3 {
    (
        $($fast:ident)? : $a:ty, $b:ty, $c:ty => $d:ty,
        |$x:ident, $y:ident, $z:ident| $body:expr
    ) => {
        $crate::ptx::exec::lanes::handler!($($fast)? |cx, i| {
            $crate::ptx::exec::lanes::map3(cx, i, |$x: $a, $y: $b, $z: $c| -> $d { $body })
        })
    };
    ($a:ty, $b:ty, $c:ty => $d:ty, |$x:ident, $y:ident, $z:ident| $body:expr) => {
        $crate::ptx::exec::lanes::op3!(: $a, $b, $c => $d, |$x, $y, $z| $body)
    };
}

macro_rules! cmp {
    ($($fast:ident)? : $a:ty, |$x:ident, $y:ident| $body:expr) => {
        $crate::ptx::exec::lanes::handler!($($fast)? |cx, i| {
            $crate::ptx::exec::lanes::test2(cx, i, |$x: $a, $y: $a| -> bool { $body })
        })
    };
    ($a:ty, |$x:ident, $y:ident| $body:expr) => {
        $crate::ptx::exec::lanes::cmp!(: $a, |$x, $y| $body)
    };
}

pub(in crate::ptx) use {cmp, handler, op1, op2, op3};
