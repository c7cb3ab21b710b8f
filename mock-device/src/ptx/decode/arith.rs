//! Arithmetic and bit manipulation instructions.

use super::super::PtxError;
use super::super::ast::Operand;
use super::super::code::{Handler, Inst, NONE, Op};
use super::super::exec::softfloat::Round;
use super::super::types::{Ty, Width};
use super::float::{self, Mode};
use super::form::Form;
use super::function::Decoder;
use super::{approx, bitops, half, int, predicates};

type Done = Result<(), PtxError>;

/// Decodes one instruction of this family, or refuses it.
pub(super) fn decode<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    match f.head {
        "add" | "sub" | "mul" | "div" | "rem" | "min" | "max" | "abs" | "neg" | "fma" | "mad"
        | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => number(d, f, ops),
        "addc" | "subc" | "madc" => carry(d, f, ops),
        "and" | "or" | "xor" | "not" => predicates::logic(d, f, ops),
        "setp" => predicates::setp(d, f, ops),
        "set" => predicates::set(d, f, ops),
        _ => special(d, f, ops),
    }
}

fn number<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let cc = f.eat("cc");
    let part = f.find(|p| ["lo", "hi", "wide"].into_iter().find(|n| *n == p));
    let round = f.rounding();
    let ftz = f.eat("ftz");
    let sat = f.eat("sat");
    let ty = f.ty()?;
    if cc {
        f.done()?;
        return carried(d, f, ops, ty, part);
    }
    if ty.is_float() {
        return floating(
            d,
            f,
            ops,
            ty,
            Mode {
                round: round.unwrap_or(Round::Nearest),
                ftz,
                sat,
            },
        );
    }
    if round.is_some() || ftz {
        return Err(f.unsupported());
    }
    let relu = f.eat("relu");
    f.done()?;
    match (f.head, part) {
        ("mul", Some(part @ ("hi" | "wide"))) => {
            let handler = int::multiply(part, ty);
            let result = if part == "wide" {
                widened(ty)
            } else {
                Some(ty)
            };
            simple(d, f, ops, handler, result, &[ty, ty])
        }
        ("mad", Some(part)) => {
            let handler = int::multiply_add(part, ty, sat);
            let result = if part == "wide" {
                widened(ty)
            } else {
                Some(ty)
            };
            simple(d, f, ops, handler, result, &[ty, ty, result.unwrap_or(ty)])
        }
        ("mul", Some(_)) | ("add" | "sub" | "div" | "rem" | "min" | "max", None) => simple(
            d,
            f,
            ops,
            int::binary(f.head, ty, sat, relu),
            Some(ty),
            &[ty, ty],
        ),
        ("abs" | "neg", None) if !sat && !relu => {
            simple(d, f, ops, int::unary(f.head, ty), Some(ty), &[ty])
        }
        _ => Err(f.unsupported()),
    }
}

fn widened(ty: Ty) -> Option<Ty> {
    Some(match ty {
        Ty::U16 => Ty::U32,
        Ty::S16 => Ty::S32,
        Ty::U32 => Ty::U64,
        Ty::S32 => Ty::S64,
        _ => return None,
    })
}

/// `d = handler(sources)` with the types given; no handler, no support.
pub(super) fn simple<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    ops: &[Operand<'a>],
    handler: Option<Handler>,
    result: Option<Ty>,
    sources: &[Ty],
) -> Done {
    simple_x(d, f, ops, handler, result, sources, 0)
}

fn simple_x<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    ops: &[Operand<'a>],
    handler: Option<Handler>,
    result: Option<Ty>,
    sources: &[Ty],
    x: u64,
) -> Done {
    let (Some(handler), Some(result)) = (handler, result) else {
        return Err(f.unsupported());
    };
    f.done()?;
    if ops.len() != sources.len() + 1 {
        return Err(f.syntax(&format!("takes {} operands", sources.len() + 1)));
    }
    let mut slots = [NONE; 4];
    for (slot, (operand, ty)) in slots.iter_mut().zip(ops[1..].iter().zip(sources)) {
        *slot = d.source(operand, *ty)?;
    }
    let target = d.target(&ops[0], result.width())?;
    d.lanes_x(handler, target, &slots, x);
    Ok(())
}

fn floating<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &mut Form<'_>,
    ops: &[Operand<'a>],
    ty: Ty,
    mode: Mode,
) -> Done {
    let approximate = f.eat("approx");
    let full = f.eat("full");
    let nan = f.eat("NaN");
    let xorsign = f.eat("xorsign") && f.eat("abs");
    if matches!(ty, Ty::F16 | Ty::F16x2 | Ty::BF16 | Ty::BF16x2) {
        return half::decode(d, f, ops, ty, mode, nan, xorsign);
    }
    let x = float::encode(mode);
    let head = if f.head == "mad" { "fma" } else { f.head };
    let unary = [ty];
    let binary = [ty, ty];
    let ternary = [ty, ty, ty];
    let (handler, sources): (_, &[Ty]) = match head {
        "div" if approximate || full => {
            if ty != Ty::F32 || mode.sat {
                return Err(f.unsupported());
            }
            (Some(approx::divide(full, mode.ftz)), &binary)
        }
        "sin" | "cos" | "lg2" | "ex2" | "tanh" | "rsqrt" => {
            (approx::unary(head, ty, mode.ftz), &unary)
        }
        "rcp" | "sqrt" if approximate => (approx::unary(head, ty, mode.ftz), &unary),
        "abs" | "neg" => (float::sign(head, ty, mode.ftz), &unary),
        "min" | "max" if ops.len() == 4 => {
            // Three-input form: two steps.
            return three_way(d, f, ops, ty, mode, nan, xorsign);
        }
        "min" | "max" => (float::extreme(head, ty, mode.ftz, nan, xorsign), &binary),
        "rcp" | "sqrt" => (float::arithmetic(head, ty, mode), &unary),
        "fma" => (float::arithmetic(head, ty, mode), &ternary),
        "add" | "sub" | "mul" | "div" => (float::arithmetic(head, ty, mode), &binary),
        _ => (None, &unary),
    };
    if ty == Ty::F64 && (mode.sat || mode.ftz && !approximate) {
        return Err(f.unsupported());
    }
    simple_x(d, f, ops, handler, Some(ty), sources, x)
}

fn three_way<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    ops: &[Operand<'a>],
    ty: Ty,
    mode: Mode,
    nan: bool,
    xorsign: bool,
) -> Done {
    f.done()?;
    if ty != Ty::F32 || xorsign {
        return Err(f.unsupported());
    }
    let handler =
        float::extreme(f.head, ty, mode.ftz, nan, false).ok_or_else(|| f.unsupported())?;
    let sources = [
        d.source(&ops[1], ty)?,
        d.source(&ops[2], ty)?,
        d.source(&ops[3], ty)?,
    ];
    let middle = d.register(Width::W32);
    let target = d.target(&ops[0], Width::W32)?;
    d.lanes(handler, middle, &sources[..2]);
    d.lanes(handler, target, &[middle, sources[2]]);
    Ok(())
}

/// `addc`, `subc`, `madc` and their `.cc` forms.
fn carry<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let part = f.find(|p| ["lo", "hi"].into_iter().find(|n| *n == p));
    let out = f.eat("cc");
    let ty = f.ty()?;
    f.done()?;
    let plain = &f.head[..3];
    carry_chain(d, f, ops, plain, ty, part, true, out)
}

fn carried<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    ops: &[Operand<'a>],
    ty: Ty,
    part: Option<&str>,
) -> Done {
    carry_chain(d, f, ops, f.head, ty, part, false, true)
}

#[allow(
    clippy::too_many_arguments,
    reason = "one call from each of two places"
)]
fn carry_chain<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    ops: &[Operand<'a>],
    head: &str,
    ty: Ty,
    part: Option<&str>,
    carry_in: bool,
    carry_out: bool,
) -> Done {
    let multiplies = head == "mad";
    let handler = super::super::exec::carry::handler(head, ty, part)
        .filter(|_| multiplies == part.is_some() && matches!(head, "add" | "sub" | "mad"));
    let handler = handler.ok_or_else(|| f.unsupported())?;
    let count = if multiplies { 3 } else { 2 };
    if ops.len() != count + 1 {
        return Err(f.syntax(&format!("takes {} operands", count + 1)));
    }
    let mut inst = Inst::new(Op::Lanes(handler), 0);
    for (slot, operand) in inst.s.iter_mut().zip(&ops[1..]) {
        *slot = d.source(operand, ty)?;
    }
    let flag = d.carry();
    if carry_in {
        inst.s[3] = flag;
    }
    if carry_out {
        inst.e = flag;
    }
    inst.d = d.target(&ops[0], ty.width())?;
    d.emit(inst);
    Ok(())
}

/// Everything with an opcode of its own.
fn special<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let b32 = Ty::B32;
    match f.head {
        "mul24" | "mad24" => {
            let part = if f.eat("hi") { "24hi" } else { "24lo" };
            let _ = f.eat("lo");
            let sat = f.eat("sat");
            let ty = f.ty()?;
            if f.head == "mul24" {
                let handler = int::multiply(part, ty).filter(|_| !sat);
                return simple(d, f, ops, handler, Some(ty), &[ty, ty]);
            }
            simple(
                d,
                f,
                ops,
                int::multiply_add(part, ty, sat),
                Some(ty),
                &[ty; 3],
            )
        }
        "sad" => {
            let ty = f.ty()?;
            simple(d, f, ops, int::sad(ty), Some(ty), &[ty; 3])
        }
        "vabsdiff2" | "vabsdiff4" => {
            let kind = f.rest();
            simple(
                d,
                f,
                ops,
                int::video_absdiff(f.head, &kind),
                Some(b32),
                &[b32; 3],
            )
        }
        "cnot" | "brev" => {
            let ty = f.ty()?;
            simple(d, f, ops, int::unary(f.head, ty), Some(ty), &[ty])
        }
        "popc" | "clz" => {
            let ty = f.ty()?;
            let handler = int::unary(f.head, ty).filter(|_| matches!(ty, Ty::B32 | Ty::B64));
            simple(d, f, ops, handler, Some(b32), &[ty])
        }
        "bfind" => {
            let shift = f.eat("shiftamt");
            let ty = f.ty()?;
            simple(d, f, ops, int::bfind(ty, shift), Some(b32), &[ty])
        }
        "fns" => {
            let ty = f.ty()?;
            let handler = (ty == b32).then(bitops::find_nth);
            simple(d, f, ops, handler, Some(b32), &[b32; 3])
        }
        "bfe" => {
            let ty = f.ty()?;
            simple(d, f, ops, bitops::extract(ty), Some(ty), &[ty, b32, b32])
        }
        "bfi" => {
            let ty = f.ty()?;
            simple(d, f, ops, bitops::insert(ty), Some(ty), &[ty, ty, b32, b32])
        }
        "bmsk" => {
            let wrap = wraps(f)?;
            let ty = f.ty()?;
            let handler = (ty == b32).then(|| bitops::bit_mask(wrap));
            simple(d, f, ops, handler, Some(b32), &[b32; 2])
        }
        "szext" => {
            let wrap = wraps(f)?;
            let ty = f.ty()?;
            simple(d, f, ops, bitops::extend(wrap, ty), Some(b32), &[b32; 2])
        }
        "shl" | "shr" => {
            let ty = f.ty()?;
            simple(d, f, ops, bitops::shift(f.head, ty), Some(ty), &[ty, b32])
        }
        "shf" => {
            let left = f.eat("l");
            if !left && !f.eat("r") {
                return Err(f.unsupported());
            }
            let wrap = wraps(f)?;
            let ty = f.ty()?;
            let handler = (ty == b32).then(|| bitops::funnel(left, wrap));
            simple(d, f, ops, handler, Some(b32), &[b32; 3])
        }
        "prmt" => {
            let ty = f.ty()?;
            const MODES: [&str; 6] = ["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"];
            let mode = f.find(|p| MODES.into_iter().find(|m| *m == p));
            let handler = bitops::permute(mode).filter(|_| ty == b32);
            simple(d, f, ops, handler, Some(b32), &[b32; 3])
        }
        "dp4a" | "dp2a" => {
            let high = f.eat("hi");
            let low = f.eat("lo");
            let (a, b) = (f.ty()?, f.ty()?);
            let handler = match (f.head, high, low) {
                ("dp4a", false, false) => bitops::dot4(a, b),
                ("dp2a", true, false) => bitops::dot2(a, b, true),
                ("dp2a", false, true) => bitops::dot2(a, b, false),
                _ => None,
            };
            simple(d, f, ops, handler, Some(b32), &[b32; 3])
        }
        "lop3" => predicates::lop3(d, f, ops),
        "copysign" => {
            let ty = f.ty()?;
            simple(d, f, ops, float::copysign(ty), Some(ty), &[ty, ty])
        }
        "testp" => {
            const TESTS: [&str; 6] = [
                "finite",
                "infinite",
                "number",
                "notanumber",
                "normal",
                "subnormal",
            ];
            let test = f.find(|p| TESTS.into_iter().find(|t| *t == p));
            let ty = f.ty()?;
            let handler = float::testp(test.unwrap_or(""), ty).ok_or_else(|| f.unsupported())?;
            f.done()?;
            let [target, source] = d.take(f, ops)?;
            let source = d.source(source, ty)?;
            let target = d.target(target, Width::Pred)?;
            d.lanes(handler, target, &[source, source]);
            Ok(())
        }
        _ => Err(f.unsupported()),
    }
}

/// `.wrap` or `.clamp`, one of which must stand.
fn wraps(f: &mut Form<'_>) -> Result<bool, PtxError> {
    match (f.eat("wrap"), f.eat("clamp")) {
        (true, false) => Ok(true),
        (false, true) => Ok(false),
        _ => Err(f.unsupported()),
    }
}
