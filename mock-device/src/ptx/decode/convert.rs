//! `cvt`: which conversion, and the direct handlers for frequent ones.

use super::super::PtxError;
use super::super::ast::Operand;
use super::super::code::{Handler, Inst, Op};
use super::super::exec::convert::{Conversion, convert, convert_packed, convert_pair, format};
use super::super::exec::lanes::op1;
use super::super::exec::softfloat::Round;
use super::super::types::{Ty, Width};
use super::float::canonical;
use super::form::Form;
use super::function::Decoder;

/// Decodes a `cvt`, or refuses it.
pub(super) fn decode<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &mut Form<'_>,
    ops: &[Operand<'a>],
) -> Result<(), PtxError> {
    let to_int = f.integer_rounding();
    let round = f.rounding();
    let ftz = f.eat("ftz");
    let sat = f.eat("sat");
    let satfinite = f.eat("satfinite");
    let relu = f.eat("relu");
    let (to, from) = (f.ty()?, f.ty()?);
    f.done()?;
    let mut conversion = Conversion {
        to,
        from,
        to_width: to.width(),
        from_width: from.width(),
        round: round.or(to_int),
        integral: to_int.is_some(),
        ftz,
        sat,
        satfinite,
        relu,
    };
    if !allowed(&conversion) {
        return Err(f.unsupported());
    }
    let packed = |ty| matches!(ty, Ty::F16x2 | Ty::BF16x2 | Ty::E4M3x2 | Ty::E5M2x2);
    let mut inst = Inst::new(Op::Lanes(convert), 0);
    match ops {
        [target, high, low] if packed(to) && from == Ty::F32 => {
            inst.s[0] = d.source(high, from)?;
            inst.s[1] = d.source(low, from)?;
            inst.d = d.target(target, to.width())?;
            inst.op = Op::Lanes(convert_pair);
        }
        [target, source] if packed(to) && packed(from) => {
            inst.s[0] = d.source(source, from)?;
            inst.d = d.target(target, to.width())?;
            inst.op = Op::Lanes(convert_packed);
        }
        [target, source] if !packed(to) && !packed(from) => {
            (inst.s[0], conversion.from_width) = d.any_source(source, from)?;
            (inst.d, conversion.to_width) = d.any_target(target, to.width())?;
            let wrong = conversion.from_width < from.width()
                || conversion.to_width < to.width()
                || conversion.from_width == Width::W128
                || conversion.to_width == Width::W128
                || from.is_float() && conversion.from_width != from.width()
                || to.is_float() && conversion.to_width != to.width();
            if wrong {
                return Err(f.syntax("a register has the wrong width"));
            }
            if let Some(handler) = direct(&conversion) {
                inst.op = Op::Lanes(handler);
            }
        }
        _ => return Err(f.unsupported()),
    }
    inst.x = conversion.encode();
    d.emit(inst);
    Ok(())
}

fn allowed(c: &Conversion) -> bool {
    use Ty::*;
    let bits = |ty| {
        matches!(
            ty,
            Pred | B8 | B16 | B32 | B64 | B128 | U16x2 | S16x2 | F32x2
        )
    };
    if bits(c.to) || bits(c.from) || c.from == TF32 {
        return false;
    }
    match (format(c.from), format(c.to)) {
        (None, None) => c.round.is_none() && !c.ftz && !c.satfinite && !c.relu,
        (None, Some(_)) => !c.integral && !c.relu,
        (Some(_), None) => (c.round.is_none() || c.integral) && !c.relu,
        (Some(_), Some(_)) => true,
    }
}

/// Handlers for conversions that compilers emit all the time.
fn direct(c: &Conversion) -> Option<Handler> {
    use Ty::*;
    use Width::{W32, W64};
    let widths = (c.from_width, c.to_width);
    let nearest = c.round == Some(Round::Nearest) && !c.integral;
    if c.sat || c.satfinite || c.relu {
        return None;
    }
    Some(match (c.from, c.to, widths) {
        (U32, U64 | S64, (W32, W64)) => op1!(fast: u32 => u64, |a| a.into()),
        (S32, U64 | S64, (W32, W64)) => op1!(fast: i32 => i64, |a| a.into()),
        (U64 | S64, U32 | S32, (W64, W32)) => op1!(fast: u64 => u32, |a| a as u32),
        (U16, U32 | S32, (Width::W16, W32)) => op1!(fast: u16 => u32, |a| a.into()),
        (S16, U32 | S32, (Width::W16, W32)) => op1!(fast: i16 => i32, |a| a.into()),
        (U32 | S32, U16 | S16, (W32, Width::W16)) => op1!(fast: u32 => u16, |a| a as u16),
        (S32, F32, _) if nearest => op1!(fast: i32 => f32, |a| a as f32),
        (U32, F32, _) if nearest => op1!(fast: u32 => f32, |a| a as f32),
        (S32, F64, (W32, _)) => op1!(fast: i32 => f64, |a| a.into()),
        (U32, F64, (W32, _)) => op1!(fast: u32 => f64, |a| a.into()),
        (S64, F64, _) if nearest => op1!(fast: i64 => f64, |a| a as f64),
        (U64, F64, _) if nearest => op1!(fast: u64 => f64, |a| a as f64),
        (F32, F64, _) if !c.ftz && !c.integral => op1!(fast: f32 => f64, |a| a.into()),
        (F64, F32, _) if !c.ftz && nearest => op1!(fast: f64 => f32, |a| canonical(a as f32)),
        // Rust's `as` truncates and saturates, and gives 0 for NaN, as PTX
        // wants it for f32 to 32 bits.
        (F32, S32, (_, W32)) if !c.ftz && c.round == Some(Round::Zero) => {
            op1!(fast: f32 => i32, |a| a as i32)
        }
        (F32, U32, (_, W32)) if !c.ftz && c.round == Some(Round::Zero) => {
            op1!(fast: f32 => u32, |a| a as u32)
        }
        _ => return None,
    })
}
