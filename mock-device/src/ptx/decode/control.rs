//! Branches, calls, barriers and operations between lanes.

use super::super::PtxError;
use super::super::ast::Operand;
use super::super::code::{BarOp, CallSite, Inst, Op, Place, ReduxOp, ShflMode, WarpOp};
use super::super::exec::cx::Cx;
use super::super::types::{Ty, Width};
use super::form::Form;
use super::function::{Decoder, Symbol};
use super::unit::Global;

type Done = Result<(), PtxError>;

/// Decodes one instruction of this family, or refuses it.
pub(super) fn decode<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    match f.head {
        "bra" => bra(d, f, ops),
        "brx" => brx(d, f, ops),
        "call" => call(d, f, ops),
        "ret" => {
            let _ = f.eat("uni");
            plain(d, f, ops, Op::Ret)
        }
        "exit" => plain(d, f, ops, Op::Exit),
        "trap" | "brkpt" => plain(d, f, ops, Op::Trap),
        "bar" | "barrier" => bar(d, f, ops),
        "vote" => vote(d, f, ops),
        "shfl" => shfl(d, f, ops),
        "match" => matching(d, f, ops),
        "redux" => redux(d, f, ops),
        "elect" => elect(d, f, ops),
        "nanosleep" => {
            let ty = f.ty()?;
            f.done()?;
            let [time] = d.take(f, ops)?;
            d.source(time, ty)?;
            d.emit(Inst::new(Op::Pause, 0));
            Ok(())
        }
        "pmevent" => {
            fn nothing(_: &mut Cx<'_>, _: &Inst) {}
            let _ = f.eat("mask");
            f.done()?;
            d.emit(Inst::new(Op::Lanes(nothing), 0));
            Ok(())
        }
        _ => Err(f.unsupported()),
    }
}

fn plain<'a>(d: &mut Decoder<'_, 'a>, f: &Form<'_>, ops: &[Operand<'a>], op: Op) -> Done {
    f.done()?;
    let [] = d.take(f, ops)?;
    d.emit(Inst::new(op, 0));
    Ok(())
}

fn bra<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let _ = f.eat("uni");
    f.done()?;
    let [Operand::Name(label, 0)] = ops else {
        return Err(f.syntax("takes a label"));
    };
    let x = d.label(label)?.into();
    d.emit(Inst {
        x,
        ..Inst::new(Op::Branch, 0)
    });
    Ok(())
}

fn brx<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    if !f.eat("idx") {
        return Err(f.unsupported());
    }
    let _ = f.eat("uni");
    f.done()?;
    let [index, Operand::Name(table, 0)] = d.take(f, ops)? else {
        return Err(f.syntax("takes an index and a list of targets"));
    };
    let Some(Symbol::Targets(targets)) = d.lookup(table) else {
        return Err(d.undefined(table));
    };
    let list = targets
        .iter()
        .map(|t| d.label(t))
        .collect::<Result<_, _>>()?;
    let mut inst = Inst::new(Op::BranchTable, 0);
    inst.s[0] = d.source(index, Ty::U32)?;
    d.emit(Inst { list, ..inst });
    Ok(())
}

fn call<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let _ = f.eat("uni");
    f.done()?;
    let (results, rest) = match ops {
        [Operand::List(results), rest @ ..] => (&results[..], rest),
        _ => (&[][..], ops),
    };
    let (callee, rest) = rest
        .split_first()
        .ok_or_else(|| f.syntax("calls nothing"))?;
    let (args, prototype) = match rest {
        [] => (&[][..], None),
        [Operand::List(args)] => (&args[..], None),
        [Operand::List(args), Operand::Name(prototype, 0)] => (&args[..], Some(*prototype)),
        [Operand::Name(prototype, 0)] => (&[][..], Some(*prototype)),
        _ => return Err(f.syntax("unreadable operands")),
    };
    let Operand::Name(name, 0) = callee else {
        return Err(f.syntax("calls no function"));
    };
    let mut site = CallSite::default();
    for argument in args {
        site.args.push(place(d, f, argument)?);
    }
    for result in results {
        let result = place(d, f, result)?;
        if let Place::Register { slot, .. } = result
            && slot & super::super::code::CONST != 0
        {
            return Err(f.syntax("a result must be a register or a parameter"));
        }
        site.results.push(result);
    }
    let number = d.sites.len() as u32;
    let caller = d.number;
    match d.lookup(name) {
        Some(Symbol::Global(Global::Function(callee))) => {
            let line = d.at_line();
            let function = &d.unit.declared[callee as usize];
            if function.entry {
                return Err(f.syntax("calls a kernel"));
            }
            if refused(name) {
                let what = format!("calling `{name}` from a kernel");
                return Err(PtxError::Unsupported { line, what });
            }
            let sizes = |decls: &[super::super::ast::Decl<'_>]| -> Vec<u32> {
                decls.iter().map(|d| d.size().max(1) as u32).collect()
            };
            if *name == "__assertfail" {
                // Never returns; says by `x` why it traps.
                d.emit(Inst {
                    x: 1,
                    ..Inst::new(Op::Trap, 0)
                });
                return Ok(());
            }
            if matches!(*name, "malloc" | "free") {
                // A class with a virtual destructor refers to `free` even if
                // nobody deletes: only a call is an error.
                d.emit(Inst {
                    x: 2,
                    ..Inst::new(Op::Trap, 0)
                });
                return Ok(());
            }
            check_sizes(f, &site.args, &sizes(&function.params))?;
            check_sizes(f, &site.results, &sizes(&function.returns))?;
            if *name == "vprintf" {
                let [format, arguments] = site.args[..] else {
                    return Err(f.syntax("`vprintf` has two parameters"));
                };
                if format.size() != 8 || arguments.size() != 8 {
                    return Err(f.syntax("`vprintf` takes addresses of 64 bits"));
                }
                d.sites.push(site);
                d.emit(Inst {
                    aux: number,
                    ..Inst::new(Op::Print, 0)
                });
                return Ok(());
            }
            d.unit.calls.push((caller, callee));
            d.sites.push(site);
            d.emit(Inst {
                x: callee.into(),
                aux: number,
                ..Inst::new(Op::Call, 0)
            });
        }
        Some(Symbol::Register(slot, Width::W64)) => {
            if let Some(name) = prototype {
                match d.lookup(name) {
                    Some(Symbol::Prototype { returns, params }) => {
                        check_sizes(f, &site.args, &params)?;
                        check_sizes(f, &site.results, &returns)?;
                    }
                    Some(Symbol::Targets(_)) => {}
                    _ => return Err(d.undefined(name)),
                }
            }
            d.unit.indirect.push(caller);
            d.sites.push(site);
            let mut inst = Inst::new(Op::CallIndirect, 0);
            (inst.s[0], inst.aux) = (slot, number);
            d.emit(inst);
        }
        Some(_) => return Err(f.syntax(&format!("`{name}` is no function"))),
        None => return Err(d.undefined(name)),
    }
    Ok(())
}

/// Functions of the device runtime that have no PTX body.
fn refused(name: &str) -> bool {
    matches!(name, "cudaLaunchDevice" | "cudaLaunchDeviceV2")
}

fn check_sizes(f: &Form<'_>, places: &[Place], sizes: &[u32]) -> Done {
    let fits = places.len() == sizes.len()
        && places
            .iter()
            .zip(sizes)
            .all(|(place, size)| place.size() == *size);
    if fits {
        Ok(())
    } else {
        Err(f.syntax("arguments do not fit the function's parameters"))
    }
}

fn place<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    operand: &Operand<'a>,
) -> Result<Place, PtxError> {
    match operand {
        Operand::Name(name, 0) => match d.lookup(name) {
            Some(Symbol::Frame { offset, size }) => Ok(Place::Memory { offset, size }),
            Some(Symbol::Register(slot, width)) => Ok(Place::Register { slot, width }),
            Some(_) => Err(f.syntax("unreadable argument")),
            None => Err(d.undefined(name)),
        },
        Operand::Int(_) | Operand::F32(_) => {
            let slot = d.source(operand, Ty::B32)?;
            Ok(Place::Register {
                slot,
                width: Width::W32,
            })
        }
        Operand::F64(_) => {
            let slot = d.source(operand, Ty::B64)?;
            Ok(Place::Register {
                slot,
                width: Width::W64,
            })
        }
        Operand::Sink => {
            let slot = d.register(Width::W32);
            Ok(Place::Register {
                slot,
                width: Width::W32,
            })
        }
        _ => Err(f.syntax("unreadable argument")),
    }
}

fn bar<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let _ = f.eat("cta");
    let _ = f.eat("aligned");
    if f.eat("warp") {
        if !f.eat("sync") {
            return Err(f.unsupported());
        }
        f.done()?;
        let [mask] = d.take(f, ops)?;
        let mut inst = Inst::new(Op::Warp(WarpOp::Barrier), 0);
        inst.s[3] = d.source(mask, Ty::U32)?;
        d.emit(inst);
        return Ok(());
    }
    if f.eat("red") {
        return bar_red(d, f, ops);
    }
    let op = match (f.eat("sync"), f.eat("arrive")) {
        (true, false) => BarOp::Sync,
        (false, true) => BarOp::Arrive,
        _ => return Err(f.unsupported()),
    };
    f.done()?;
    let mut inst = Inst::new(Op::Bar(op), 0);
    match ops {
        [id] if op == BarOp::Sync => inst.s[0] = d.source(id, Ty::U32)?,
        [id, count] => {
            inst.s[0] = d.source(id, Ty::U32)?;
            inst.s[1] = d.source(count, Ty::U32)?;
        }
        _ => return Err(f.syntax("wrong number of operands")),
    }
    d.emit(inst);
    Ok(())
}

fn bar_red<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let op = f.find(|p| match p {
        "popc" => Some(BarOp::RedPopc),
        "and" => Some(BarOp::RedAnd),
        "or" => Some(BarOp::RedOr),
        _ => None,
    });
    let op = op.ok_or_else(|| f.unsupported())?;
    let ty = f.ty()?;
    f.done()?;
    let (target, id, count, vote) = match ops {
        [target, id, vote] => (target, id, None, vote),
        [target, id, count, vote] => (target, id, Some(count), vote),
        _ => return Err(f.syntax("wrong number of operands")),
    };
    let width = if op == BarOp::RedPopc {
        Width::W32
    } else {
        Width::Pred
    };
    if (ty == Ty::Pred) != (width == Width::Pred) {
        return Err(f.unsupported());
    }
    let mut inst = Inst::new(Op::Bar(op), 0);
    inst.s[0] = d.source(id, Ty::U32)?;
    if let Some(count) = count {
        inst.s[1] = d.source(count, Ty::U32)?;
    }
    inst.s[2] = plain_predicate(d, vote)?;
    inst.d = d.target(target, width)?;
    d.emit(inst);
    Ok(())
}

/// A predicate row that is not negated.
fn plain_predicate<'a>(d: &mut Decoder<'_, 'a>, operand: &Operand<'a>) -> Result<u32, PtxError> {
    let (slot, negated) = d.predicate(operand)?;
    if !negated {
        return Ok(slot);
    }
    let turned = d.register(Width::Pred);
    let mut inst = Inst::new(Op::Lanes(super::compare::copy_predicate), 0);
    (inst.d, inst.s[0], inst.aux) = (turned, slot, 1);
    d.unguarded(|d| d.emit(inst));
    Ok(turned)
}

fn vote<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let sync = f.eat("sync");
    let op = f.find(|p| match p {
        "all" => Some(WarpOp::VoteAll),
        "any" => Some(WarpOp::VoteAny),
        "uni" => Some(WarpOp::VoteUni),
        "ballot" => Some(WarpOp::VoteBallot),
        _ => None,
    });
    let op = op.ok_or_else(|| f.unsupported())?;
    let ty = f.ty()?;
    f.done()?;
    let ballot = op == WarpOp::VoteBallot;
    if ty != if ballot { Ty::B32 } else { Ty::Pred } {
        return Err(f.unsupported());
    }
    let (target, vote, mask) = match (sync, ops) {
        (true, [target, vote, mask]) => (target, vote, Some(mask)),
        (false, [target, vote]) => (target, vote, None),
        _ => return Err(f.syntax("wrong number of operands")),
    };
    let mut inst = Inst::new(Op::Warp(op), 0);
    inst.s[0] = plain_predicate(d, vote)?;
    if let Some(mask) = mask {
        inst.s[3] = d.source(mask, Ty::U32)?;
    }
    if ballot {
        inst.d = d.target(target, Width::W32)?;
    } else {
        inst.e = d.target(target, Width::Pred)?;
    }
    d.emit(inst);
    Ok(())
}

fn value_and_predicate<'a>(d: &mut Decoder<'_, 'a>, target: &Operand<'a>, inst: &mut Inst) -> Done {
    match target {
        Operand::Pair(value, predicate) => {
            inst.d = d.target(value, Width::W32)?;
            inst.e = d.target(predicate, Width::Pred)?;
        }
        value => inst.d = d.target(value, Width::W32)?,
    }
    Ok(())
}

fn shfl<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let sync = f.eat("sync");
    let mode = f.find(|p| match p {
        "up" => Some(ShflMode::Up),
        "down" => Some(ShflMode::Down),
        "bfly" => Some(ShflMode::Bfly),
        "idx" => Some(ShflMode::Idx),
        _ => None,
    });
    let mode = mode.ok_or_else(|| f.unsupported())?;
    let ty = f.ty()?;
    f.done()?;
    if ty != Ty::B32 {
        return Err(f.unsupported());
    }
    let (target, a, b, c, mask) = match (sync, ops) {
        (true, [target, a, b, c, mask]) => (target, a, b, c, Some(mask)),
        (false, [target, a, b, c]) => (target, a, b, c, None),
        _ => return Err(f.syntax("wrong number of operands")),
    };
    let mut inst = Inst::new(Op::Warp(WarpOp::Shfl(mode)), 0);
    inst.s[0] = d.source(a, ty)?;
    inst.s[1] = d.source(b, ty)?;
    inst.s[2] = d.source(c, ty)?;
    if let Some(mask) = mask {
        inst.s[3] = d.source(mask, Ty::U32)?;
    }
    value_and_predicate(d, target, &mut inst)?;
    d.emit(inst);
    Ok(())
}

fn matching<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let op = match (f.eat("any"), f.eat("all")) {
        (true, false) => WarpOp::MatchAny,
        (false, true) => WarpOp::MatchAll,
        _ => return Err(f.unsupported()),
    };
    let sync = f.eat("sync");
    let ty = f.ty()?;
    f.done()?;
    if !sync || !matches!(ty, Ty::B32 | Ty::B64) {
        return Err(f.unsupported());
    }
    let [target, a, mask] = d.take(f, ops)?;
    let mut inst = Inst::new(Op::Warp(op), 0);
    inst.aux = ty.size() * 8;
    inst.s[0] = d.source(a, ty)?;
    inst.s[3] = d.source(mask, Ty::U32)?;
    value_and_predicate(d, target, &mut inst)?;
    d.emit(inst);
    Ok(())
}

fn redux<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let sync = f.eat("sync");
    const OPS: [&str; 6] = ["add", "min", "max", "and", "or", "xor"];
    let op = f
        .find(|p| OPS.into_iter().find(|o| *o == p))
        .ok_or_else(|| f.unsupported())?;
    let abs = f.eat("abs");
    let nan = f.eat("NaN");
    let ty = f.ty()?;
    f.done()?;
    let op = match (op, ty) {
        ("add", Ty::U32 | Ty::S32) => ReduxOp::Add,
        ("min", Ty::U32) => ReduxOp::MinU,
        ("max", Ty::U32) => ReduxOp::MaxU,
        ("min", Ty::S32) => ReduxOp::MinS,
        ("max", Ty::S32) => ReduxOp::MaxS,
        ("and", Ty::B32) => ReduxOp::And,
        ("or", Ty::B32) => ReduxOp::Or,
        ("xor", Ty::B32) => ReduxOp::Xor,
        ("min", Ty::F32) => ReduxOp::MinF { abs, nan },
        ("max", Ty::F32) => ReduxOp::MaxF { abs, nan },
        _ => return Err(f.unsupported()),
    };
    if !sync || (abs || nan) && ty != Ty::F32 {
        return Err(f.unsupported());
    }
    let [target, a, mask] = d.take(f, ops)?;
    let mut inst = Inst::new(Op::Warp(WarpOp::Redux(op)), 0);
    inst.s[0] = d.source(a, ty)?;
    inst.s[3] = d.source(mask, Ty::U32)?;
    inst.d = d.target(target, Width::W32)?;
    d.emit(inst);
    Ok(())
}

fn elect<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    if !f.eat("sync") {
        return Err(f.unsupported());
    }
    f.done()?;
    let [target, mask] = d.take(f, ops)?;
    let mut inst = Inst::new(Op::Warp(WarpOp::Elect), 0);
    inst.s[3] = d.source(mask, Ty::U32)?;
    value_and_predicate(d, target, &mut inst)?;
    d.emit(inst);
    Ok(())
}
