//! `mov`, selections, and the conversion of addresses between spaces.

use super::super::PtxError;
use super::super::ast::Operand;
use super::super::code::{CONST, Handler, Inst, NONE, Op, Slot};
use super::super::exec::cx::{Cx, LANES};
use super::super::exec::lanes::{cmp, handler, op1};
use super::super::exec::special;
use super::super::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use super::super::types::{Ty, Width};
use super::arith::simple;
use super::bitops;
use super::compare;
use super::form::Form;
use super::function::{Decoder, Symbol};

type Done = Result<(), PtxError>;

/// Decodes one instruction of this family, or refuses it.
pub(super) fn decode<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    match f.head {
        "mov" => mov(d, f, ops),
        "cvta" => cvta(d, f, ops),
        "isspacep" => isspacep(d, f, ops),
        "activemask" => {
            let handler: Handler = special::active_mask;
            let ty = f.ty()?;
            simple(d, f, ops, (ty == Ty::B32).then_some(handler), Some(ty), &[])
        }
        "selp" => {
            let ty = f.ty()?;
            f.done()?;
            let [target, a, b, p] = d.take(f, ops)?;
            let handler = bitops::select(ty).filter(|_| ty != Ty::Pred && ty.size() > 1);
            let handler = handler.ok_or_else(|| f.unsupported())?;
            let (mut a, mut b) = (d.source(a, ty)?, d.source(b, ty)?);
            let (p, negated) = d.predicate(p)?;
            if negated {
                std::mem::swap(&mut a, &mut b);
            }
            let target = d.target(target, ty.width())?;
            d.lanes(handler, target, &[a, b, p]);
            Ok(())
        }
        "slct" => {
            let ftz = f.eat("ftz");
            let (ty, by) = (f.ty()?, f.ty()?);
            simple(
                d,
                f,
                ops,
                bitops::select_sign(ty, by, ftz),
                Some(ty),
                &[ty, ty, by],
            )
        }
        _ => Err(f.unsupported()),
    }
}

fn mov<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let ty = f.ty()?;
    f.done()?;
    let [target, source] = d.take(f, ops)?;
    match (target, source) {
        (Operand::Vector(parts), _) => return unpack(d, f, ty, parts, source),
        (_, Operand::Vector(parts)) => return pack(d, f, ty, target, parts),
        _ => {}
    }
    if ty == Ty::Pred {
        let (slot, negated) = d.predicate(source)?;
        let target = d.target(target, Width::Pred)?;
        let mut inst = Inst::new(Op::Lanes(compare::copy_predicate), 0);
        (inst.d, inst.s[0], inst.aux) = (target, slot, u32::from(negated));
        d.emit(inst);
        return Ok(());
    }
    let handler = bitops::copy(ty).ok_or_else(|| f.unsupported())?;
    let (slot, width) = d.any_source(source, ty)?;
    let target = d.target(target, ty.width())?;
    match (width, ty.width()) {
        (a, b) if a == b => d.lanes(handler, target, &[slot]),
        // Special registers changed their width over the years.
        (Width::W32, Width::W64) => d.lanes(op1!(u32 => u64, |a| a.into()), target, &[slot]),
        (Width::W64, Width::W32) => d.lanes(op1!(u64 => u32, |a| a as u32), target, &[slot]),
        (Width::W32, Width::W16) => d.lanes(op1!(u32 => u16, |a| a as u16), target, &[slot]),
        _ => return Err(f.syntax("operands of different widths")),
    }
    Ok(())
}

/// The type of one element of a packed move.
fn element(f: &Form<'_>, ty: Ty, count: usize) -> Result<Ty, PtxError> {
    match (ty.size(), count) {
        (2, 2) | (4, 4) => Ok(Ty::B8),
        (4, 2) | (8, 4) => Ok(Ty::B16),
        (8, 2) | (16, 4) => Ok(Ty::B32),
        (16, 2) => Ok(Ty::B64),
        _ => Err(f.unsupported()),
    }
}

fn read_bits(cx: &Cx<'_>, slot: Slot, bytes: u32) -> [u128; LANES] {
    match bytes {
        1 => cx.row::<u16>(slot).map(|v| (v & 0xff).into()),
        2 => cx.row::<u16>(slot).map(u128::from),
        4 => cx.row::<u32>(slot).map(u128::from),
        8 => cx.row::<u64>(slot).map(u128::from),
        _ => *cx.row::<u128>(slot),
    }
}

fn write_bits(cx: &mut Cx<'_>, slot: Slot, bytes: u32, values: &[u128; LANES]) {
    match bytes {
        1 => cx.put(slot, &values.map(|v| v as u16 & 0xff)),
        2 => cx.put(slot, &values.map(|v| v as u16)),
        4 => cx.put(slot, &values.map(|v| v as u32)),
        8 => cx.put(slot, &values.map(|v| v as u64)),
        _ => cx.put(slot, values),
    }
}

/// `d` (of `aux` bytes) from the elements in `list`.
fn pack_lanes(cx: &mut Cx<'_>, i: &Inst) {
    let each = i.aux / i.list.len() as u32;
    let mut out = [0; LANES];
    for (k, slot) in i.list.iter().enumerate() {
        let part = read_bits(cx, *slot, each);
        for lane in 0..LANES {
            out[lane] |= part[lane] << (k as u32 * each * 8);
        }
    }
    write_bits(cx, i.d, i.aux, &out);
}

/// The elements in `list` from `s[0]` (of `aux` bytes).
fn unpack_lanes(cx: &mut Cx<'_>, i: &Inst) {
    let each = i.aux / i.list.len() as u32;
    let whole = read_bits(cx, i.s[0], i.aux);
    for (k, slot) in i.list.iter().enumerate() {
        write_bits(cx, *slot, each, &whole.map(|v| v >> (k as u32 * each * 8)));
    }
}

fn pack<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    ty: Ty,
    target: &Operand<'a>,
    parts: &[Operand<'a>],
) -> Done {
    let each = element(f, ty, parts.len())?;
    let list = parts
        .iter()
        .map(|p| d.source(p, each))
        .collect::<Result<_, _>>()?;
    let target = d.target(target, ty.width())?;
    let handler: Handler = match (ty.size(), parts.len()) {
        (8, 2) => handler!(|cx, i| {
            let (low, high) = (cx.row::<u32>(i.list[0]), cx.row::<u32>(i.list[1]));
            let mut out = [0u64; LANES];
            for l in 0..LANES {
                out[l] = u64::from(low[l]) | u64::from(high[l]) << 32;
            }
            cx.put(i.d, &out);
        }),
        _ => pack_lanes,
    };
    let inst = Inst::new(Op::Lanes(handler), 0);
    d.emit(Inst {
        d: target,
        aux: ty.size(),
        list,
        ..inst
    });
    Ok(())
}

fn unpack<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    ty: Ty,
    parts: &[Operand<'a>],
    source: &Operand<'a>,
) -> Done {
    let each = element(f, ty, parts.len())?;
    let source = d.source(source, ty)?;
    let list = parts
        .iter()
        .map(|p| d.target(p, each.width()))
        .collect::<Result<_, _>>()?;
    let mut inst = Inst::new(Op::Lanes(unpack_lanes), 0);
    inst.s[0] = source;
    d.emit(Inst {
        aux: ty.size(),
        list,
        list_is_def: true,
        ..inst
    });
    Ok(())
}

/// Adds `x` to a 64-bit address.
fn offset_by(cx: &mut Cx<'_>, i: &Inst) {
    let row = cx.row::<u64>(i.s[0]).map(|a| a.wrapping_add(i.x));
    cx.put(i.d, &row);
}

fn window(f: &mut Form<'_>, entry: bool) -> Result<u64, PtxError> {
    let space = f.find(|p| {
        Some(match p {
            "global" | "const" => 0,
            "shared" | "shared::cta" => SHARED_WINDOW,
            "local" => LOCAL_WINDOW,
            // A device function's parameters lie in its frame.
            "param" if !entry => LOCAL_WINDOW,
            "param" | "param::entry" => PARAM_WINDOW,
            "param::func" => LOCAL_WINDOW,
            _ => return None,
        })
    });
    space.ok_or_else(|| f.unsupported())
}

fn cvta<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let to = f.eat("to");
    let window = window(f, d.entry)?;
    let ty = f.ty()?;
    f.done()?;
    if ty != Ty::U64 {
        return Err(f.unsupported());
    }
    let [target, source] = d.take(f, ops)?;
    let source = d.source(source, ty)?;
    let target = d.target(target, Width::W64)?;
    let x = if to { window.wrapping_neg() } else { window };
    if x == 0 {
        d.lanes(op1!(u64 => u64, |a| a), target, &[source]);
    } else {
        d.lanes_x(offset_by, target, &[source], x);
    }
    Ok(())
}

/// `isspacep` for the windows: upper byte of the address.
fn isspacep<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let constant = f.eat("const");
    let window = if constant { 0 } else { window(f, d.entry)? };
    f.done()?;
    let [target, source] = d.take(f, ops)?;
    // Taken by name, a variable's space is known and its address is not generic.
    if let Operand::Name(name, _) = source
        && matches!(
            d.lookup(name),
            Some(Symbol::Frame { .. } | Symbol::KernelParam { .. })
        )
    {
        return Err(f.unsupported());
    }
    let source = d.source(source, Ty::U64)?;
    let target = d.target(target, Width::Pred)?;
    debug_assert!(target & CONST == 0 && target != NONE);
    if constant {
        // Constant variables have ordinary device addresses here.
        return Err(f.unsupported());
    }
    let window = d.source(&Operand::Int((window >> 56).into()), Ty::U64)?;
    d.lanes(cmp!(u64, |a, w| a >> 56 == w), target, &[source, window]);
    Ok(())
}
