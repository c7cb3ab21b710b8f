//! f32 and f64 arithmetic.
//!
//! Rounding to nearest runs on the host's own arithmetic, the other modes on
//! `softfloat`. An f32 NaN result is always 0x7fffffff, as on NVIDIA's GPUs.

use super::super::code::{Handler, Inst};
use super::super::exec::cx::{Cx, LANES};
use super::super::exec::lanes::{cmp, handler, op1, op2, op3};
use super::super::exec::softfloat::{self, Format, Round, pack, unpack};
use super::super::types::Ty;

/// Modifiers of a floating-point operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode {
    pub(super) round: Round,
    pub(super) ftz: bool,
    pub(super) sat: bool,
}

/// Subnormals become zero of the same sign.
#[inline(always)]
pub(in crate::ptx) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE {
        f32::from_bits(x.to_bits() & 1 << 31)
    } else {
        x
    }
}

/// The one NaN that f32 arithmetic gives.
#[inline(always)]
pub(in crate::ptx) fn canonical(x: f32) -> f32 {
    if x.is_nan() {
        f32::from_bits(0x7fff_ffff)
    } else {
        x
    }
}

/// Clamps to [0, 1]; NaN becomes 0.
#[inline(always)]
pub(in crate::ptx) fn saturate(x: f32) -> f32 {
    if x > 0.0 {
        if x > 1.0 { 1.0 } else { x }
    } else {
        0.0
    }
}

#[inline(always)]
fn enter<const FTZ: bool>(x: f32) -> f32 {
    if FTZ { flush(x) } else { x }
}

#[inline(always)]
fn leave<const FTZ: bool, const SAT: bool>(x: f32) -> f32 {
    let x = if FTZ { flush(x) } else { x };
    if SAT { saturate(x) } else { canonical(x) }
}

/// An f32 handler for each combination of `.ftz` and `.sat`; without `.sat`
/// they may be `fast`.
macro_rules! single {
    (fast: $mode:ident, |$($x:ident),+| $body:expr) => {
        match ($mode.ftz, $mode.sat) {
            (false, false) => single!(@ fast; false, false, $($x),+, $body),
            (true, false) => single!(@ fast; true, false, $($x),+, $body),
            (false, true) => single!(@; false, true, $($x),+, $body),
            (true, true) => single!(@; true, true, $($x),+, $body),
        }
    };
    ($mode:ident, |$($x:ident),+| $body:expr) => {
        match ($mode.ftz, $mode.sat) {
            (false, false) => single!(@; false, false, $($x),+, $body),
            (true, false) => single!(@; true, false, $($x),+, $body),
            (false, true) => single!(@; false, true, $($x),+, $body),
            (true, true) => single!(@; true, true, $($x),+, $body),
        }
    };
    (@ $($fast:ident)?; $ftz:expr, $sat:expr, $x:ident, $body:expr) => {
        op1!($($fast)? : f32 => f32, |$x| {
            let $x = enter::<$ftz>($x);
            leave::<$ftz, $sat>($body)
        })
    };
    (@ $($fast:ident)?; $ftz:expr, $sat:expr, $x:ident, $y:ident, $body:expr) => {
        op2!($($fast)? : f32, f32 => f32, |$x, $y| {
            let ($x, $y) = (enter::<$ftz>($x), enter::<$ftz>($y));
            leave::<$ftz, $sat>($body)
        })
    };
    (@ $($fast:ident)?; $ftz:expr, $sat:expr, $x:ident, $y:ident, $z:ident, $body:expr) => {
        op3!($($fast)? : f32, f32, f32 => f32, |$x, $y, $z| {
            let ($x, $y, $z) = (enter::<$ftz>($x), enter::<$ftz>($y), enter::<$ftz>($z));
            leave::<$ftz, $sat>($body)
        })
    };
}
pub(super) use single;

/// `add`, `sub`, `mul`, `div`, `fma`, `rcp`, `sqrt` of f32 and f64.
pub(super) fn arithmetic(head: &str, ty: Ty, mode: Mode) -> Option<Handler> {
    if mode.round != Round::Nearest {
        return directed(head, ty, mode);
    }
    Some(match (head, ty) {
        ("add", Ty::F32) => single!(fast: mode, |a, b| a + b),
        ("sub", Ty::F32) => single!(fast: mode, |a, b| a - b),
        ("mul", Ty::F32) => single!(fast: mode, |a, b| a * b),
        ("div", Ty::F32) => single!(fast: mode, |a, b| a / b),
        ("fma", Ty::F32) => single!(fast: mode, |a, b, c| a.mul_add(b, c)),
        ("rcp", Ty::F32) => single!(mode, |a| 1.0 / a),
        ("sqrt", Ty::F32) => single!(fast: mode, |a| a.sqrt()),
        ("add", Ty::F64) => op2!(fast: f64, f64 => f64, |a, b| a + b),
        ("sub", Ty::F64) => op2!(fast: f64, f64 => f64, |a, b| a - b),
        ("mul", Ty::F64) => op2!(fast: f64, f64 => f64, |a, b| a * b),
        ("div", Ty::F64) => op2!(fast: f64, f64 => f64, |a, b| a / b),
        ("fma", Ty::F64) => op3!(fast: f64, f64, f64 => f64, |a, b, c| a.mul_add(b, c)),
        ("rcp", Ty::F64) => op1!(f64 => f64, |a| 1.0 / a),
        ("sqrt", Ty::F64) => op1!(fast: f64 => f64, |a| a.sqrt()),
        _ => return None,
    })
}

/// The same in the other rounding modes; `x` holds the mode.
fn directed(head: &str, ty: Ty, mode: Mode) -> Option<Handler> {
    macro_rules! soft {
        (|$a:ident, $b:ident, $c:ident, $m:ident| $body:expr) => {
            match ty {
                Ty::F32 => soft!(@ u32, Format::F32, |$a, $b, $c, $m| $body),
                Ty::F64 => soft!(@ u64, Format::F64, |$a, $b, $c, $m| $body),
                _ => return None,
            }
        };
        (@ $t:ty, $format:expr, |$a:ident, $b:ident, $c:ident, $m:ident| $body:expr) => {
            handler!(|cx, i| {
                soft_lanes::<$t>(cx, i, $format, |$a, $b, $c, $m| $body)
            })
        };
    }
    let _ = mode;
    Some(match head {
        "add" => soft!(|a, b, _c, m| softfloat::add(a, b, m)),
        "sub" => soft!(|a, b, _c, m| softfloat::add(a, b.negate(), m)),
        "mul" => soft!(|a, b, _c, _m| softfloat::mul(a, b)),
        "div" => soft!(|a, b, _c, _m| softfloat::div(a, b)),
        "fma" => soft!(|a, b, c, m| softfloat::fma(a, b, c, m)),
        "rcp" => soft!(|a, _b, _c, _m| softfloat::div(softfloat::from_int(1), a)),
        "sqrt" => soft!(|a, _b, _c, _m| softfloat::sqrt(a)),
        _ => return None,
    })
}

/// Modes as they lie in `Inst::x`.
pub(super) fn encode(mode: Mode) -> u64 {
    let round = match mode.round {
        Round::Nearest => 0,
        Round::Zero => 1,
        Round::Down => 2,
        Round::Up => 3,
        Round::NearestAway => 4,
    };
    round | u64::from(mode.ftz) << 8 | u64::from(mode.sat) << 9
}

/// The inverse of [`encode`].
fn decode(x: u64) -> Mode {
    let round = match x & 7 {
        0 => Round::Nearest,
        1 => Round::Zero,
        2 => Round::Down,
        3 => Round::Up,
        _ => Round::NearestAway,
    };
    Mode {
        round,
        ftz: x >> 8 & 1 != 0,
        sat: x >> 9 & 1 != 0,
    }
}

/// A register type that holds a softfloat format's bits.
trait Bits: super::super::exec::cx::Lane {
    fn wide(self) -> u64;
    fn narrow(bits: u64) -> Self;
    fn finish(self, mode: Mode) -> Self;
}

impl Bits for u32 {
    fn wide(self) -> u64 {
        self.into()
    }
    fn narrow(bits: u64) -> u32 {
        bits as u32
    }
    fn finish(self, mode: Mode) -> u32 {
        let x = f32::from_bits(self);
        let x = if mode.ftz { flush(x) } else { x };
        if mode.sat {
            saturate(x).to_bits()
        } else {
            x.to_bits()
        }
    }
}

impl Bits for u64 {
    fn wide(self) -> u64 {
        self
    }
    fn narrow(bits: u64) -> u64 {
        bits
    }
    fn finish(self, _mode: Mode) -> u64 {
        self
    }
}

fn soft_lanes<T: Bits>(
    cx: &mut Cx<'_>,
    i: &Inst,
    format: Format,
    f: impl Fn(softfloat::Num, softfloat::Num, softfloat::Num, Round) -> softfloat::Num,
) {
    let mode = decode(i.x);
    let input = |slot: u32| {
        if slot == super::super::code::NONE {
            return [softfloat::Num::Zero(false); LANES];
        }
        cx.row::<T>(slot).map(|bits| {
            let value = unpack(format, bits.wide());
            let tiny = bits.wide() & format.infinity(false) == 0;
            match value {
                softfloat::Num::Finite { negative, .. } if mode.ftz && tiny => {
                    softfloat::Num::Zero(negative)
                }
                _ => value,
            }
        })
    };
    let (a, b, c) = (input(i.s[0]), input(i.s[1]), input(i.s[2]));
    let out: [T; LANES] = std::array::from_fn(|lane| {
        let value = f(a[lane], b[lane], c[lane], mode.round);
        T::narrow(pack(format, value, mode.round)).finish(mode)
    });
    cx.put(i.d, &out);
}

/// `abs`, `neg`.
pub(super) fn sign(head: &str, ty: Ty, ftz: bool) -> Option<Handler> {
    Some(match (head, ty, ftz) {
        ("abs", Ty::F32, false) => op1!(u32 => u32, |a| a & !(1 << 31)),
        ("neg", Ty::F32, false) => op1!(u32 => u32, |a| a ^ 1 << 31),
        ("abs", Ty::F32, true) => op1!(f32 => f32, |a| flush(a).abs()),
        ("neg", Ty::F32, true) => op1!(f32 => f32, |a| -flush(a)),
        ("abs", Ty::F64, false) => op1!(u64 => u64, |a| a & !(1 << 63)),
        ("neg", Ty::F64, false) => op1!(u64 => u64, |a| a ^ 1 << 63),
        _ => return None,
    })
}

/// The smaller, -0 below +0; a NaN loses unless `nan`.
macro_rules! least {
    ($a:ident, $b:ident, $nan:expr) => {
        if $a.is_nan() || $b.is_nan() {
            if $nan || $a.is_nan() && $b.is_nan() {
                $a + $b
            } else if $a.is_nan() {
                $b
            } else {
                $a
            }
        } else if $a < $b || $a == $b && $a.is_sign_negative() {
            $a
        } else {
            $b
        }
    };
}

macro_rules! greatest {
    ($a:ident, $b:ident, $nan:expr) => {
        if $a.is_nan() || $b.is_nan() {
            if $nan || $a.is_nan() && $b.is_nan() {
                $a + $b
            } else if $a.is_nan() {
                $b
            } else {
                $a
            }
        } else if $a > $b || $a == $b && $b.is_sign_negative() {
            $a
        } else {
            $b
        }
    };
}

/// IEEE minimum with PTX's treatment of zeros and NaN.
#[inline(always)]
pub(in crate::ptx) fn least(a: f32, b: f32, nan: bool) -> f32 {
    least!(a, b, nan)
}

/// IEEE maximum with PTX's treatment of zeros and NaN.
#[inline(always)]
pub(in crate::ptx) fn greatest(a: f32, b: f32, nan: bool) -> f32 {
    greatest!(a, b, nan)
}

/// `x` with the sign of `a * b`.
#[inline(always)]
fn product_sign(x: f32, a: f32, b: f32) -> f32 {
    let sign = (a.to_bits() ^ b.to_bits()) & 1 << 31;
    f32::from_bits(x.to_bits() & !(1 << 31) | sign)
}

/// `min`, `max`.
pub(super) fn extreme(head: &str, ty: Ty, ftz: bool, nan: bool, xorsign: bool) -> Option<Handler> {
    let min = head == "min";
    if ty == Ty::F64 {
        if ftz || nan || xorsign {
            return None;
        }
        return Some(if min {
            op2!(f64, f64 => f64, |a, b| least!(a, b, false))
        } else {
            op2!(f64, f64 => f64, |a, b| greatest!(a, b, false))
        });
    }
    if ty != Ty::F32 {
        return None;
    }
    let mode = Mode {
        round: Round::Nearest,
        ftz,
        sat: false,
    };
    Some(match (min, nan, xorsign) {
        (true, false, false) => single!(mode, |a, b| least(a, b, false)),
        (true, true, false) => single!(mode, |a, b| least(a, b, true)),
        (false, false, false) => single!(mode, |a, b| greatest(a, b, false)),
        (false, true, false) => single!(mode, |a, b| greatest(a, b, true)),
        (true, false, true) => {
            single!(mode, |a, b| product_sign(
                least(a.abs(), b.abs(), false),
                a,
                b
            ))
        }
        (true, true, true) => {
            single!(mode, |a, b| product_sign(
                least(a.abs(), b.abs(), true),
                a,
                b
            ))
        }
        (false, false, true) => {
            single!(mode, |a, b| product_sign(
                greatest(a.abs(), b.abs(), false),
                a,
                b
            ))
        }
        (false, true, true) => {
            single!(mode, |a, b| product_sign(
                greatest(a.abs(), b.abs(), true),
                a,
                b
            ))
        }
    })
}

/// `copysign d, a, b`: the sign of `a` on `b`.
pub(super) fn copysign(ty: Ty) -> Option<Handler> {
    Some(match ty {
        Ty::F32 => op2!(u32, u32 => u32, |a, b| b & !(1 << 31) | a & 1 << 31),
        Ty::F64 => op2!(u64, u64 => u64, |a, b| b & !(1 << 63) | a & 1 << 63),
        _ => return None,
    })
}

/// `testp`: into predicate `d`; `s[0]` and `s[1]` are the same row.
pub(super) fn testp(test: &str, ty: Ty) -> Option<Handler> {
    macro_rules! test {
        ($t:ty) => {
            match test {
                "finite" => cmp!($t, |a, _b| a.is_finite()),
                "infinite" => cmp!($t, |a, _b| a.is_infinite()),
                "number" => cmp!($t, |a, _b| !a.is_nan()),
                "notanumber" => cmp!($t, |a, _b| a.is_nan()),
                // PTX: zero counts as normal.
                "normal" => cmp!($t, |a, _b| a.is_normal() || a == 0.0),
                "subnormal" => cmp!($t, |a, _b| a.is_subnormal()),
                _ => return None,
            }
        };
    }
    Some(match ty {
        Ty::F32 => test!(f32),
        Ty::F64 => test!(f64),
        _ => return None,
    })
}
