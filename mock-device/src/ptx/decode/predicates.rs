//! Comparisons, selections by them, and three-way logic: whatever makes
//! predicates or combines them.

use super::super::PtxError;
use super::super::ast::Operand;
use super::super::code::{Handler, Inst, NONE, Op, Slot};
use super::super::types::{Ty, Width};
use super::arith::simple;
use super::compare::{self, Logic};
use super::form::Form;
use super::function::Decoder;
use super::{bitops, half, int};

type Done = Result<(), PtxError>;

pub(super) fn logic<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let ty = f.ty()?;
    f.done()?;
    if ty != Ty::Pred {
        let unary = f.head == "not";
        let handler = if unary {
            int::unary(f.head, ty)
        } else {
            int::binary(f.head, ty, false, false)
        };
        let sources = [ty, ty];
        return simple(
            d,
            f,
            ops,
            handler,
            Some(ty),
            if unary { &sources[..1] } else { &sources },
        );
    }
    if f.head == "not" {
        let [target, source] = d.take(f, ops)?;
        let (source, negated) = d.predicate(source)?;
        let target = d.target(target, Width::Pred)?;
        let mut inst = Inst::new(Op::Lanes(compare::copy_predicate), 0);
        (inst.d, inst.s[0], inst.aux) = (target, source, u32::from(!negated));
        d.emit(inst);
        return Ok(());
    }
    let [target, a, b] = d.take(f, ops)?;
    let (a, flip_a) = d.predicate(a)?;
    let (b, flip_b) = d.predicate(b)?;
    let target = d.target(target, Width::Pred)?;
    let logic = Logic::parse(f.head).ok_or_else(|| f.unsupported())?;
    let mut inst = Inst::new(Op::Lanes(logic.handler()), 0);
    (inst.d, inst.s[0], inst.s[1]) = (target, a, b);
    inst.aux = u32::from(flip_b);
    if flip_a {
        return Err(f.syntax("a negated first operand"));
    }
    d.emit(inst);
    Ok(())
}

/// The comparison's own part of `setp` and `set`: operator, boolean, flags.
struct Comparison {
    op: &'static str,
    logic: Option<Logic>,
    ftz: bool,
}

fn comparison(f: &mut Form<'_>) -> Result<Comparison, PtxError> {
    const OPS: [&str; 18] = [
        "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu",
        "gtu", "geu", "num", "nan",
    ];
    let op = f
        .find(|p| OPS.into_iter().find(|o| *o == p))
        .ok_or_else(|| f.unsupported())?;
    let logic = f.find(Logic::parse);
    let ftz = f.eat("ftz");
    Ok(Comparison { op, logic, ftz })
}

/// Emits the comparison into a predicate row; combined with `third` into
/// (true side, false side).
fn emit_comparison<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    c: &Comparison,
    handler: Handler,
    sources: &[Slot],
    third: Option<&Operand<'a>>,
    targets: (Slot, Slot),
) -> Done {
    let plain = c.logic.is_none() && targets.1 == NONE;
    let result = if plain {
        targets.0
    } else {
        d.register(Width::Pred)
    };
    let combine = match (c.logic, third) {
        (Some(logic), Some(third)) => Some((logic, d.predicate(third)?)),
        (None, None) => None,
        _ => return Err(f.syntax("wrong number of operands")),
    };
    d.lanes(handler, result, sources);
    if plain {
        return Ok(());
    }
    let mut inst = match combine {
        Some((logic, (third, negated))) => {
            let mut inst = Inst::new(Op::Lanes(logic.handler()), 0);
            inst.s[1] = third;
            inst.aux = u32::from(negated);
            inst
        }
        None => Inst::new(Op::Lanes(compare::copy_predicate), 0),
    };
    inst.s[0] = result;
    (inst.d, inst.e) = targets;
    d.emit(inst);
    Ok(())
}

pub(super) fn setp<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let c = comparison(f)?;
    let ty = f.ty()?;
    f.done()?;
    if ops.len() < 3 {
        return Err(f.syntax("takes at least 3 operands"));
    }
    if matches!(ty, Ty::F16x2 | Ty::BF16x2) {
        return half::setp_pair(d, f, ops, ty, c.op, c.ftz, c.logic);
    }
    let handler = compare::compare(c.op, ty, c.ftz).ok_or_else(|| f.unsupported())?;
    let sources = [d.source(&ops[1], ty)?, d.source(&ops[2], ty)?];
    let targets = match &ops[0] {
        Operand::Pair(p, q) => (d.target(p, Width::Pred)?, d.target(q, Width::Pred)?),
        p => (d.target(p, Width::Pred)?, NONE),
    };
    if ops.len() > 4 {
        return Err(f.syntax("takes at most 4 operands"));
    }
    emit_comparison(d, f, &c, handler, &sources, ops.get(3), targets)
}

pub(super) fn set<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let c = comparison(f)?;
    let to = f.ty()?;
    let ty = f.ty()?;
    f.done()?;
    if ops.len() < 3 || ops.len() > 4 {
        return Err(f.syntax("takes 3 or 4 operands"));
    }
    if matches!(ty, Ty::F16x2 | Ty::BF16x2) {
        return half::set_pair(d, f, ops, (to, ty), c.op, c.ftz, c.logic);
    }
    let handler = compare::compare(c.op, ty, c.ftz).ok_or_else(|| f.unsupported())?;
    let sources = [d.source(&ops[1], ty)?, d.source(&ops[2], ty)?];
    let result = d.register(Width::Pred);
    emit_comparison(d, f, &c, handler, &sources, ops.get(3), (result, NONE))?;
    let (yes, no) = match to {
        Ty::U32 | Ty::S32 | Ty::U16 | Ty::S16 => (Operand::Int(-1), Operand::Int(0)),
        Ty::F32 => (Operand::F32(1f32.to_bits()), Operand::F32(0)),
        Ty::F16 => (Operand::Int(0x3c00), Operand::Int(0)),
        Ty::BF16 => (Operand::Int(0x3f80), Operand::Int(0)),
        _ => return Err(f.unsupported()),
    };
    let (yes, no) = (d.source(&yes, to)?, d.source(&no, to)?);
    let target = d.target(&ops[0], to.width())?;
    let select = bitops::select(to).ok_or_else(|| f.unsupported())?;
    d.lanes(select, target, &[yes, no, result]);
    Ok(())
}

pub(super) fn lop3<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let logic = f.find(|p| {
        if p == "or" || p == "and" {
            Logic::parse(p)
        } else {
            None
        }
    });
    let ty = f.ty()?;
    f.done()?;
    let (ops, third) = match (logic, ops.len()) {
        (None, 5) => (ops, None),
        (Some(_), 6) => (&ops[..5], Some(&ops[5])),
        _ => return Err(f.syntax("wrong number of operands")),
    };
    let [target, a, b, c, table] = d.take(f, ops)?;
    let Operand::Int(table) = table else {
        return Err(f.syntax("the table must be an immediate"));
    };
    if ty != Ty::B32 {
        return Err(f.unsupported());
    }
    let sources = [d.source(a, ty)?, d.source(b, ty)?, d.source(c, ty)?];
    let table = *table as u64 & 0xff;
    let (Some(logic), Some(third)) = (logic, third) else {
        let target = d.target(target, Width::W32)?;
        d.lanes_x(bitops::logic3(), target, &sources, table);
        return Ok(());
    };
    // `.BoolOp`: a predicate, and the result itself only if it is wanted.
    let (value, predicate) = match target {
        Operand::Pair(value, predicate) => (d.target(value, Width::W32)?, &**predicate),
        other => (d.register(Width::W32), other),
    };
    let predicate = d.target(predicate, Width::Pred)?;
    let test = d.register(Width::Pred);
    let (third, negated) = d.predicate(third)?;
    let zero = d.source(&Operand::Int(0), Ty::B32)?;
    d.lanes_x(bitops::logic3(), value, &sources, table);
    let differs = compare::compare("ne", Ty::B32, false).ok_or_else(|| f.unsupported())?;
    d.lanes(differs, test, &[value, zero]);
    let mut inst = Inst::new(Op::Lanes(logic.handler()), 0);
    (inst.d, inst.s[0], inst.s[1]) = (predicate, test, third);
    inst.aux = u32::from(negated);
    d.emit(inst);
    Ok(())
}
