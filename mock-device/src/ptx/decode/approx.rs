//! Approximate functions: computed in f64 and rounded once, which is better
//! than PTX's stated error and the same on every run.

use super::super::code::Handler;
use super::super::exec::lanes::{op1, op2};
use super::super::exec::softfloat::Round;
use super::super::types::Ty;
use super::float::{Mode, canonical, flush, saturate, single};

#[inline(always)]
fn enter<const FTZ: bool>(x: f32) -> f32 {
    if FTZ { flush(x) } else { x }
}

#[inline(always)]
fn leave<const FTZ: bool, const SAT: bool>(x: f32) -> f32 {
    let x = if FTZ { flush(x) } else { x };
    if SAT { saturate(x) } else { canonical(x) }
}

/// `x.approx.f32` and `x.approx.ftz.f64`.
pub(super) fn unary(head: &str, ty: Ty, ftz: bool) -> Option<Handler> {
    let mode = Mode {
        round: Round::Nearest,
        ftz,
        sat: false,
    };
    Some(match (head, ty) {
        ("rcp", Ty::F32) => single!(mode, |a| (1.0 / f64::from(a)) as f32),
        ("sqrt", Ty::F32) => single!(mode, |a| f64::from(a).sqrt() as f32),
        ("rsqrt", Ty::F32) => single!(mode, |a| (1.0 / f64::from(a).sqrt()) as f32),
        ("sin", Ty::F32) => single!(mode, |a| f64::from(a).sin() as f32),
        ("cos", Ty::F32) => single!(mode, |a| f64::from(a).cos() as f32),
        ("lg2", Ty::F32) => single!(mode, |a| f64::from(a).log2() as f32),
        ("ex2", Ty::F32) => single!(mode, |a| f64::from(a).exp2() as f32),
        ("tanh", Ty::F32) => single!(mode, |a| f64::from(a).tanh() as f32),
        ("rsqrt", Ty::F64) if ftz => op1!(f64 => f64, |a| high_word(1.0 / flush64(a).sqrt())),
        ("rsqrt", Ty::F64) => op1!(f64 => f64, |a| 1.0 / a.sqrt()),
        ("rcp", Ty::F64) if ftz => op1!(f64 => f64, |a| high_word(1.0 / flush64(a))),
        _ => return None,
    })
}

fn flush64(a: f64) -> f64 {
    if a.is_subnormal() {
        0f64.copysign(a)
    } else {
        a
    }
}

/// `rcp.approx.ftz.f64` gives the upper 32 bits; the others are zero.
fn high_word(a: f64) -> f64 {
    if a.is_nan() {
        return f64::from_bits(0x7fff_ffff << 32);
    }
    flush64(f64::from_bits(a.to_bits() & !0 << 32))
}

/// `div.approx.f32`, `div.full.f32`.
pub(super) fn divide(full: bool, ftz: bool) -> Handler {
    let mode = Mode {
        round: Round::Nearest,
        ftz,
        sat: false,
    };
    if full {
        single!(mode, |a, b| a / b)
    } else {
        // PTX: for |b| in (2^126, 2^128] the quotient is 0, and NaN for an
        // infinite a.
        single!(mode, |a, b| {
            if b.abs() > 8.507_059e37 && b.is_finite() {
                if a.is_finite() {
                    0f32.copysign(a) * 1f32.copysign(b)
                } else {
                    f32::NAN
                }
            } else {
                a / b
            }
        })
    }
}
