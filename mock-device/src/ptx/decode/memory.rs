//! Loads, stores, atomics, fences and prefetches.

use super::super::PtxError;
use super::super::ast::Operand;
use super::super::code::{Access, Handler, Inst, NONE, Op};
use super::super::exec::atomic::{self, rmw, rmw_vector};
use super::super::exec::cx::Cx;
use super::super::exec::lanes::wide;
use super::super::exec::memory::{load, load_wide, load128, store, store_wide, store128};
use super::super::exec::softfloat::{self, Format, Round, pack, unpack};
use super::super::types::{Ty, Width};
use super::form::Form;
use super::function::Decoder;
use super::operand::Address;

type Done = Result<(), PtxError>;

/// Decodes one instruction of this family, or refuses it.
pub(super) fn decode<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    match f.head {
        "ld" | "ldu" => ld(d, f, ops),
        "st" => st(d, f, ops),
        "atom" | "red" => atom(d, f, ops),
        "membar" | "fence" => fence(d, f, ops),
        "prefetch" | "prefetchu" | "discard" | "applypriority" => hint(d, f, ops),
        _ => Err(f.unsupported()),
    }
}

fn space(f: &mut Form<'_>) -> Option<&'static str> {
    const SPACES: [&str; 10] = [
        "global",
        "shared",
        "shared::cta",
        "local",
        "const",
        "param",
        "param::entry",
        "param::func",
        "shared::cluster",
        "generic",
    ];
    f.find(|p| SPACES.into_iter().find(|s| *s == p))
}

/// Takes qualifiers that change nothing here: caches, orders, scopes. True
/// when the access is ordered and needs a fence.
fn qualifiers(f: &mut Form<'_>) -> Result<bool, PtxError> {
    let mut ordered = false;
    let known = |p: &str| {
        let plain = matches!(
            p,
            "ca" | "cg"
                | "cs"
                | "lu"
                | "cv"
                | "wb"
                | "wt"
                | "nc"
                | "volatile"
                | "weak"
                | "relaxed"
                | "cta"
                | "gpu"
                | "sys"
                | "cluster"
                | "noftz"
                | "unified"
        );
        let hint = p.starts_with("L1::") || p.starts_with("L2::");
        let order = matches!(p, "acquire" | "release" | "acq_rel" | "sc" | "mmio");
        if p == "L2::cache_hint" {
            None
        } else {
            (plain || hint || order).then_some(order)
        }
    };
    while let Some(order) = f.find(known) {
        ordered |= order;
    }
    Ok(ordered)
}

/// The space in which an access happens: named, or decided by the symbol.
fn access(
    d: &Decoder<'_, '_>,
    f: &Form<'_>,
    named: Option<&str>,
    address: &Address,
) -> Result<Access, PtxError> {
    Ok(match (named, address.space) {
        (Some("param" | "param::entry" | "param::func") | None, Some(space)) => space,
        (Some("param" | "param::entry"), None) if d.entry => Access::Param,
        (Some("param" | "param::func"), None) => Access::Local,
        (Some("shared" | "shared::cta" | "shared::cluster"), _) => Access::Shared,
        (Some("global" | "const"), _) => Access::Global,
        (Some("local"), Some(Access::Frame)) => Access::Frame,
        (Some("local"), _) => Access::Local,
        (Some("generic") | None, None) => Access::Generic,
        _ => return Err(f.unsupported()),
    })
}

fn vector(f: &mut Form<'_>) -> usize {
    f.find(|p| match p {
        "v2" => Some(2),
        "v4" => Some(4),
        "v8" => Some(8),
        _ => None,
    })
    .unwrap_or(1)
}

fn fill(d: &mut Decoder<'_, '_>, inst: &mut Inst, address: &Address, space: Access) {
    let _ = d;
    inst.s[0] = address.base;
    inst.narrow = address.narrow;
    inst.x = address.offset;
    inst.space = space;
}

fn barrier(_: &mut Cx<'_>, _: &Inst) {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

fn emit_fence(d: &mut Decoder<'_, '_>) {
    d.emit(Inst::new(Op::Lanes(barrier), 0));
}

/// The handler for this processor.
macro_rules! either {
    ($f:ident, $wide:ident, $m:ty, $r:ty) => {
        Some(if wide() {
            $wide::<$m, $r> as Handler
        } else {
            $f::<$m, $r> as Handler
        })
    };
}

/// Handlers for a memory type and the width of the register.
macro_rules! by_cell {
    ($f:ident, $wide:ident, $ty:expr, $width:expr) => {
        match ($ty, $width) {
            (Ty::U8 | Ty::B8, Width::W16) => either!($f, $wide, u8, u16),
            (Ty::U8 | Ty::B8, Width::W32) => either!($f, $wide, u8, u32),
            (Ty::U8 | Ty::B8, Width::W64) => either!($f, $wide, u8, u64),
            (Ty::S8, Width::W16) => either!($f, $wide, i8, u16),
            (Ty::S8, Width::W32) => either!($f, $wide, i8, u32),
            (Ty::S8, Width::W64) => either!($f, $wide, i8, u64),
            (Ty::U16 | Ty::B16 | Ty::F16 | Ty::BF16, Width::W16) => either!($f, $wide, u16, u16),
            (Ty::U16 | Ty::B16, Width::W32) => either!($f, $wide, u16, u32),
            (Ty::U16 | Ty::B16, Width::W64) => either!($f, $wide, u16, u64),
            (Ty::S16, Width::W16) => either!($f, $wide, i16, u16),
            (Ty::S16, Width::W32) => either!($f, $wide, i16, u32),
            (Ty::S16, Width::W64) => either!($f, $wide, i16, u64),
            (Ty::U32 | Ty::B32 | Ty::S32 | Ty::F32 | Ty::F16x2 | Ty::BF16x2, Width::W32) => {
                either!($f, $wide, u32, u32)
            }
            (Ty::U32 | Ty::B32, Width::W64) => either!($f, $wide, u32, u64),
            (Ty::S32, Width::W64) => either!($f, $wide, i32, u64),
            (Ty::U64 | Ty::B64 | Ty::S64 | Ty::F64, Width::W64) => either!($f, $wide, u64, u64),
            _ => None,
        }
    };
}

fn ld<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let named = space(f);
    let ordered = qualifiers(f)?;
    let count = vector(f);
    let ty = f.ty()?;
    f.done()?;
    let [target, address] = d.take(f, ops)?;
    let address = d.address(address)?;
    let space = access(d, f, named, &address)?;
    let mut inst = Inst::new(Op::Trap, 0);
    fill(d, &mut inst, &address, space);
    if count == 1 {
        let (slot, width) = d.any_target(target, ty.width())?;
        inst.d = slot;
        let handler = match (ty, width) {
            (Ty::B128, Width::W128) => Some(load128 as Handler),
            _ => by_cell!(load, load_wide, ty, width),
        };
        inst.op = Op::Access(handler.ok_or_else(|| f.unsupported())?);
    } else {
        let (list, width) = vector_rows(d, f, target, count, ty, true)?;
        inst.list = list.into();
        inst.list_is_def = true;
        let handler =
            by_cell!(load, load_wide, ty, width).filter(|_| count as u32 * ty.size() <= 32);
        inst.op = Op::Access(handler.ok_or_else(|| f.unsupported())?);
    }
    d.emit(inst);
    if ordered {
        emit_fence(d);
    }
    Ok(())
}

/// Rows of a vector operand, which must all have one width.
fn vector_rows<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    operand: &Operand<'a>,
    count: usize,
    ty: Ty,
    target: bool,
) -> Result<(Vec<u32>, Width), PtxError> {
    let rows = d.vector_register(operand);
    if let Some((rows, width)) = rows.filter(|(rows, _)| rows.len() == count) {
        return Ok((rows, width));
    }
    let Operand::Vector(items) = operand else {
        return Err(f.syntax("a vector in braces is wanted"));
    };
    if items.len() != count {
        return Err(f.syntax("the vector has the wrong length"));
    }
    // Sinks and immediates take the width of the registers beside them.
    let mut common = None;
    for item in items {
        if let Operand::Name(..) = item {
            let (_, width) = if target {
                d.any_target(item, ty.width())?
            } else {
                d.any_source(item, ty)?
            };
            if common.replace(width).is_some_and(|other| other != width) {
                return Err(f.syntax("registers of different widths"));
            }
        }
    }
    let width = common.unwrap_or(ty.width());
    let filler = match width {
        Width::W16 => Ty::B16,
        Width::W32 => Ty::B32,
        _ => Ty::B64,
    };
    let ty = if width == ty.width() { ty } else { filler };
    let rows = items
        .iter()
        .map(|item| {
            if target {
                d.target(item, width)
            } else {
                d.source(item, ty)
            }
        })
        .collect::<Result<_, _>>()?;
    Ok((rows, width))
}

fn st<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let named = space(f);
    let ordered = qualifiers(f)?;
    let count = vector(f);
    let ty = f.ty()?;
    f.done()?;
    let [address, source] = d.take(f, ops)?;
    let address = d.address(address)?;
    let space = access(d, f, named, &address)?;
    let mut inst = Inst::new(Op::Trap, 0);
    fill(d, &mut inst, &address, space);
    if count == 1 {
        let (slot, width) = d.any_source(source, ty)?;
        inst.s[1] = slot;
        let handler = match (ty, width) {
            (Ty::B128, Width::W128) => Some(store128 as Handler),
            _ => by_cell!(store, store_wide, ty, width),
        };
        inst.op = Op::Access(handler.ok_or_else(|| f.unsupported())?);
    } else {
        let (list, width) = vector_rows(d, f, source, count, ty, false)?;
        inst.list = list.into();
        let handler =
            by_cell!(store, store_wide, ty, width).filter(|_| count as u32 * ty.size() <= 32);
        inst.op = Op::Access(handler.ok_or_else(|| f.unsupported())?);
    }
    if ordered {
        emit_fence(d);
    }
    d.emit(inst);
    Ok(())
}

/// Adds floating-point values that lie in a bit type.
fn float_sum<const FORMAT: u8>(a: u64, b: u64) -> u64 {
    let format = match FORMAT {
        0 => Format::F16,
        _ => Format::BF16,
    };
    let sum = softfloat::add(unpack(format, a), unpack(format, b), Round::Nearest);
    pack(format, sum, Round::Nearest)
}

fn pair_sum<const FORMAT: u8>(a: u32, b: u32) -> u32 {
    let low = float_sum::<FORMAT>((a & 0xffff).into(), (b & 0xffff).into()) as u32;
    let high = float_sum::<FORMAT>((a >> 16).into(), (b >> 16).into()) as u32;
    low | high << 16
}

/// The function that an atomic operation applies, over `rmw` or `rmw_vector`.
macro_rules! operation {
    ($apply:ident, $op:expr, $ty:expr) => {{
        macro_rules! make {
            ($t:ty, $f:expr) => {{
                fn run(cx: &mut Cx<'_>, i: &Inst) {
                    $apply::<$t>(cx, i, $f);
                }
                Some(run as Handler)
            }};
        }
        match ($op, $ty) {
            ("exch", Ty::B32 | Ty::U32 | Ty::S32 | Ty::F32) => make!(u32, |_, b| b),
            ("exch", Ty::B64 | Ty::U64 | Ty::S64 | Ty::F64) => make!(u64, |_, b| b),
            ("add", Ty::U32 | Ty::S32) => make!(u32, |a, b| a.wrapping_add(b)),
            ("add", Ty::U64 | Ty::S64) => make!(u64, |a, b| a.wrapping_add(b)),
            ("add", Ty::F32) => make!(u32, |a, b| {
                let sum = f32::from_bits(a) + f32::from_bits(b);
                super::float::canonical(sum).to_bits()
            }),
            ("add", Ty::F64) => {
                make!(u64, |a, b| (f64::from_bits(a) + f64::from_bits(b))
                    .to_bits())
            }
            ("add", Ty::F16) => make!(u16, |a, b| float_sum::<0>(a.into(), b.into()) as u16),
            ("add", Ty::BF16) => make!(u16, |a, b| float_sum::<1>(a.into(), b.into()) as u16),
            ("add", Ty::F16x2) => make!(u32, pair_sum::<0>),
            ("add", Ty::BF16x2) => make!(u32, pair_sum::<1>),
            ("inc", Ty::U32) => make!(u32, |a, b| if a >= b { 0 } else { a + 1 }),
            ("dec", Ty::U32) => make!(u32, |a, b| if a == 0 || a > b { b } else { a - 1 }),
            ("min", Ty::U32) => make!(u32, |a, b| a.min(b)),
            ("max", Ty::U32) => make!(u32, |a, b| a.max(b)),
            ("min", Ty::S32) => make!(u32, |a, b| (a as i32).min(b as i32) as u32),
            ("max", Ty::S32) => make!(u32, |a, b| (a as i32).max(b as i32) as u32),
            ("min", Ty::U64) => make!(u64, |a, b| a.min(b)),
            ("max", Ty::U64) => make!(u64, |a, b| a.max(b)),
            ("min", Ty::S64) => make!(u64, |a, b| (a as i64).min(b as i64) as u64),
            ("max", Ty::S64) => make!(u64, |a, b| (a as i64).max(b as i64) as u64),
            ("and", Ty::B32) => make!(u32, |a, b| a & b),
            ("or", Ty::B32) => make!(u32, |a, b| a | b),
            ("xor", Ty::B32) => make!(u32, |a, b| a ^ b),
            ("and", Ty::B64) => make!(u64, |a, b| a & b),
            ("or", Ty::B64) => make!(u64, |a, b| a | b),
            ("xor", Ty::B64) => make!(u64, |a, b| a ^ b),
            _ => None,
        }
    }};
}

fn atom<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    const OPS: [&str; 11] = [
        "exch", "add", "inc", "dec", "min", "max", "and", "or", "xor", "cas", "async",
    ];
    let named = space(f);
    qualifiers(f)?;
    let count = vector(f);
    let op = f
        .find(|p| OPS.into_iter().find(|o| *o == p))
        .ok_or_else(|| f.unsupported())?;
    let ty = f.ty()?;
    f.done()?;
    let returns = f.head == "atom";
    let (target, rest) = match (returns, ops) {
        (true, [target, rest @ ..]) => (Some(target), rest),
        (false, rest) => (None, rest),
        _ => return Err(f.syntax("operands are missing")),
    };
    let expected = if op == "cas" { 3 } else { 2 };
    if rest.len() != expected || op == "cas" && !returns {
        return Err(f.unsupported());
    }
    let address = d.address(&rest[0])?;
    let space = access(d, f, named, &address)?;
    if matches!(space, Access::Frame | Access::Local | Access::Param) {
        return Err(f.unsupported());
    }
    let mut inst = Inst::new(Op::Trap, 0);
    fill(d, &mut inst, &address, space);
    let handler = if count > 1 {
        let (mut list, _) = vector_rows(d, f, &rest[1], count, ty, false)?;
        inst.aux = count as u32;
        if let Some(target) = target {
            list.extend(vector_rows(d, f, target, count, ty, true)?.0);
        }
        inst.list = list.into();
        inst.list_is_def = true;
        operation!(rmw_vector, op, ty)
    } else {
        for (slot, operand) in inst.s[1..].iter_mut().zip(&rest[1..]) {
            *slot = d.source(operand, ty)?;
        }
        match target {
            Some(Operand::Sink) | None => inst.d = NONE,
            Some(target) => inst.d = d.target(target, ty.width())?,
        }
        match (op, ty.size()) {
            ("cas", 2) => Some(atomic::cas::<u16> as Handler),
            ("cas", 4) => Some(atomic::cas::<u32> as Handler),
            ("cas", 8) => Some(atomic::cas::<u64> as Handler),
            _ => operation!(rmw, op, ty),
        }
    };
    inst.op = Op::Access(handler.ok_or_else(|| f.unsupported())?);
    d.emit(inst);
    Ok(())
}

fn fence<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    let known = [
        "cta", "gl", "sys", "gpu", "cluster", "sc", "acq_rel", "acquire", "release",
    ];
    while f.find(|p| known.contains(&p).then_some(())).is_some() {}
    f.done()?;
    let [] = d.take(f, ops)?;
    emit_fence(d);
    Ok(())
}

/// Prefetches and their like: the address is evaluated, nothing happens.
fn hint<'a>(d: &mut Decoder<'_, 'a>, f: &mut Form<'_>, ops: &[Operand<'a>]) -> Done {
    fn nothing(_: &mut Cx<'_>, _: &Inst) {}
    let _ = space(f);
    while f
        .find(|p| (p.starts_with('L') || p == "tensormap").then_some(()))
        .is_some()
    {}
    f.done()?;
    let first = ops
        .first()
        .ok_or_else(|| f.syntax("an address is wanted"))?;
    d.address(first)?;
    d.emit(Inst::new(Op::Lanes(nothing), 0));
    Ok(())
}
