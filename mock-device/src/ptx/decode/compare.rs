//! Comparisons and the logic of predicates.

#![allow(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "unordered comparisons are the negations of ordered ones"
)]

use super::super::code::{Handler, Inst};
use super::super::exec::cx::Cx;
use super::super::exec::lanes::{cmp, handler};
use super::super::exec::softfloat::{bf16_to_f32, f16_to_f32};
use super::super::types::Ty;
use super::float::flush;

/// `setp`: predicate `d` from `s[0]` and `s[1]`.
pub(super) fn compare(op: &str, ty: Ty, ftz: bool) -> Option<Handler> {
    macro_rules! integer {
        ($t:ty) => {
            match op {
                "eq" => cmp!(fast: $t, |a, b| a == b),
                "ne" => cmp!(fast: $t, |a, b| a != b),
                "lt" => cmp!(fast: $t, |a, b| a < b),
                "le" => cmp!(fast: $t, |a, b| a <= b),
                "gt" => cmp!(fast: $t, |a, b| a > b),
                "ge" => cmp!(fast: $t, |a, b| a >= b),
                _ => return None,
            }
        };
    }
    macro_rules! unsigned {
        ($t:ty) => {
            match op {
                "lo" => cmp!($t, |a, b| a < b),
                "ls" => cmp!($t, |a, b| a <= b),
                "hi" => cmp!($t, |a, b| a > b),
                "hs" => cmp!($t, |a, b| a >= b),
                _ => integer!($t),
            }
        };
    }
    macro_rules! bits {
        ($t:ty) => {
            match op {
                "eq" => cmp!($t, |a, b| a == b),
                "ne" => cmp!($t, |a, b| a != b),
                _ => return None,
            }
        };
    }
    macro_rules! float {
        ($t:ty, $value:expr) => {
            match op {
                "eq" => cmp!($t, |a, b| $value(a) == $value(b)),
                "ne" => cmp!($t, |a, b| $value(a) < $value(b) || $value(a) > $value(b)),
                "lt" => cmp!($t, |a, b| $value(a) < $value(b)),
                "le" => cmp!($t, |a, b| $value(a) <= $value(b)),
                "gt" => cmp!($t, |a, b| $value(a) > $value(b)),
                "ge" => cmp!($t, |a, b| $value(a) >= $value(b)),
                "equ" => cmp!($t, |a, b| !($value(a) < $value(b) || $value(a) > $value(b))),
                "neu" => cmp!($t, |a, b| $value(a) != $value(b)),
                "ltu" => cmp!($t, |a, b| !($value(a) >= $value(b))),
                "leu" => cmp!($t, |a, b| !($value(a) > $value(b))),
                "gtu" => cmp!($t, |a, b| !($value(a) <= $value(b))),
                "geu" => cmp!($t, |a, b| !($value(a) < $value(b))),
                "num" => cmp!($t, |a, b| !$value(a).is_nan() && !$value(b).is_nan()),
                "nan" => cmp!($t, |a, b| $value(a).is_nan() || $value(b).is_nan()),
                _ => return None,
            }
        };
    }
    fn same<T>(x: T) -> T {
        x
    }
    if ftz && !matches!(ty, Ty::F32 | Ty::F16 | Ty::F16x2) {
        return None;
    }
    Some(match ty {
        Ty::B16 => bits!(u16),
        Ty::B32 => bits!(u32),
        Ty::B64 => bits!(u64),
        Ty::U16 => unsigned!(u16),
        Ty::U32 => unsigned!(u32),
        Ty::U64 => unsigned!(u64),
        Ty::S16 => integer!(i16),
        Ty::S32 => integer!(i32),
        Ty::S64 => integer!(i64),
        Ty::F32 if ftz => float!(f32, flush),
        Ty::F32 => float!(f32, same),
        Ty::F64 => float!(f64, same),
        Ty::F16 if ftz => float!(u16, flush_half),
        Ty::F16 => float!(u16, f16_to_f32),
        Ty::BF16 => float!(u16, bf16_to_f32),
        _ => return None,
    })
}

fn flush_half(bits: u16) -> f32 {
    if bits & 0x7c00 == 0 {
        0.0
    } else {
        f16_to_f32(bits)
    }
}

/// Copies half number `HIGH` of each 32-bit lane of `s[0]` into 16-bit `d`.
pub(super) fn half<const HIGH: bool>(cx: &mut Cx<'_>, i: &Inst) {
    let row = cx
        .row::<u32>(i.s[0])
        .map(|x| if HIGH { (x >> 16) as u16 } else { x as u16 });
    cx.put(i.d, &row);
}

/// Predicates combined with a third one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logic {
    And,
    Or,
    Xor,
}

impl Logic {
    pub(super) fn parse(name: &str) -> Option<Logic> {
        Some(match name {
            "and" => Logic::And,
            "or" => Logic::Or,
            "xor" => Logic::Xor,
            _ => return None,
        })
    }

    /// Handler for `d = s0 op s1` on predicates; `aux` bit 0 negates `s1`.
    pub(super) fn handler(self) -> Handler {
        match self {
            Logic::And => handler!(|cx, i| logic(cx, i, |a, b| a & b)),
            Logic::Or => handler!(|cx, i| logic(cx, i, |a, b| a | b)),
            Logic::Xor => handler!(|cx, i| logic(cx, i, |a, b| a ^ b)),
        }
    }
}

/// `d` = `s0 op s1`; where there is an `e`, it gets `!s0 op s1`.
fn logic(cx: &mut Cx<'_>, i: &Inst, f: impl Fn(u32, u32) -> u32) {
    let a = cx.pred(i.s[0]);
    let b = cx.pred(i.s[1]) ^ if i.aux & 1 != 0 { !0 } else { 0 };
    cx.put_pred(i.d, f(a, b));
    if i.e != super::super::code::NONE {
        cx.put_pred(i.e, f(!a, b));
    }
}

/// `d = s0`, `e = !s0` on predicates; `aux` bit 0 negates `s0`.
pub(super) fn copy_predicate(cx: &mut Cx<'_>, i: &Inst) {
    let a = cx.pred(i.s[0]) ^ if i.aux & 1 != 0 { !0 } else { 0 };
    if i.d != super::super::code::NONE {
        cx.put_pred(i.d, a);
    }
    if i.e != super::super::code::NONE {
        cx.put_pred(i.e, !a);
    }
}
