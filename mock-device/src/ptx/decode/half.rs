//! f16, bf16 and their packed pairs.
//!
//! Sums and products go through f32, which is wide enough that rounding twice
//! is rounding once; `fma` goes through exact arithmetic.

use super::super::PtxError;
use super::super::ast::Operand;
use super::super::code::{Handler, Inst, NONE, Op, Slot};
use super::super::exec::convert::format;
use super::super::exec::cx::{Cx, LANES};
use super::super::exec::softfloat::{self, Format, Round, pack, unpack};
use super::super::types::{Ty, Width};
use super::compare::{self, Logic};
use super::float::{Mode, greatest, least};
use super::form::Form;
use super::function::Decoder;

/// What is done to one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Add,
    Sub,
    Mul,
    Fma,
    Neg,
    Abs,
    Min,
    Max,
    Tanh,
    Ex2,
}

const ALL: [Half; 10] = [
    Half::Add,
    Half::Sub,
    Half::Mul,
    Half::Fma,
    Half::Neg,
    Half::Abs,
    Half::Min,
    Half::Max,
    Half::Tanh,
    Half::Ex2,
];

/// Operation and modifiers as they lie in `Inst::x`.
#[derive(Debug, Clone, Copy)]
struct Plan {
    half: Half,
    bf16: bool,
    ftz: bool,
    sat: bool,
    relu: bool,
    nan: bool,
    xorsign: bool,
}

impl Plan {
    fn encode(self) -> u64 {
        let flags = [
            self.bf16,
            self.ftz,
            self.sat,
            self.relu,
            self.nan,
            self.xorsign,
        ];
        let half = ALL.iter().position(|h| *h == self.half).unwrap_or(0) as u64;
        flags
            .iter()
            .rev()
            .fold(0, |x, flag| x << 1 | u64::from(*flag))
            << 8
            | half
    }

    fn decode(x: u64) -> Plan {
        let flag = |n: u32| x >> (8 + n) & 1 != 0;
        Plan {
            half: ALL[(x & 0xff) as usize % ALL.len()],
            bf16: flag(0),
            ftz: flag(1),
            sat: flag(2),
            relu: flag(3),
            nan: flag(4),
            xorsign: flag(5),
        }
    }

    fn format(self) -> Format {
        if self.bf16 { Format::BF16 } else { Format::F16 }
    }

    fn flush(self, bits: u16) -> u16 {
        if self.ftz && u64::from(bits) & self.format().infinity(false) == 0 {
            bits & 0x8000
        } else {
            bits
        }
    }

    fn value(self, bits: u16) -> f32 {
        if self.bf16 {
            softfloat::bf16_to_f32(bits)
        } else {
            softfloat::f16_to_f32(bits)
        }
    }

    fn round(self, value: f32) -> u16 {
        if self.bf16 {
            softfloat::f32_to_bf16(value, Round::Nearest)
        } else {
            softfloat::f32_to_f16(value, Round::Nearest)
        }
    }

    fn one(self, a: u16, b: u16, c: u16) -> u16 {
        let (a, b, c) = (self.flush(a), self.flush(b), self.flush(c));
        let (x, y) = (self.value(a), self.value(b));
        let result = match self.half {
            Half::Add => self.round(x + y),
            Half::Sub => self.round(x - y),
            Half::Mul => self.round(x * y),
            Half::Fma => {
                let f = self.format();
                let [a, b, c] = [a, b, c].map(|v| unpack(f, v.into()));
                pack(f, softfloat::fma(a, b, c, Round::Nearest), Round::Nearest) as u16
            }
            Half::Neg => return a ^ 0x8000,
            Half::Abs => return a & 0x7fff,
            Half::Min | Half::Max => {
                let (x, y) = if self.xorsign {
                    (x.abs(), y.abs())
                } else {
                    (x, y)
                };
                let best = if self.half == Half::Min {
                    least(x, y, self.nan)
                } else {
                    greatest(x, y, self.nan)
                };
                let best = self.round(best);
                if self.xorsign {
                    best & 0x7fff | (a ^ b) & 0x8000
                } else {
                    best
                }
            }
            Half::Tanh => self.round(f64::from(x).tanh() as f32),
            Half::Ex2 => self.round(f64::from(x).exp2() as f32),
        };
        let mut result = self.flush(result);
        let value = self.value(result);
        if self.sat {
            result = self.round(super::float::saturate(value));
        }
        // relu turns NaN into the one NaN and negatives into +0.
        if self.relu && (value <= 0.0) {
            result = 0;
        }
        result
    }
}

fn scalar(cx: &mut Cx<'_>, i: &Inst) {
    let plan = Plan::decode(i.x);
    let row = |slot| {
        if slot == NONE {
            [0; LANES]
        } else {
            *cx.row::<u16>(slot)
        }
    };
    let (a, b, c) = (row(i.s[0]), row(i.s[1]), row(i.s[2]));
    let out: [u16; LANES] = std::array::from_fn(|l| plan.one(a[l], b[l], c[l]));
    cx.put(i.d, &out);
}

fn pair(cx: &mut Cx<'_>, i: &Inst) {
    let plan = Plan::decode(i.x);
    let row = |slot| {
        if slot == NONE {
            [0; LANES]
        } else {
            *cx.row::<u32>(slot)
        }
    };
    let (a, b, c) = (row(i.s[0]), row(i.s[1]), row(i.s[2]));
    let out: [u32; LANES] = std::array::from_fn(|l| {
        let low = plan.one(a[l] as u16, b[l] as u16, c[l] as u16);
        let high = plan.one(
            (a[l] >> 16) as u16,
            (b[l] >> 16) as u16,
            (c[l] >> 16) as u16,
        );
        u32::from(low) | u32::from(high) << 16
    });
    cx.put(i.d, &out);
}

/// Decodes arithmetic on these types; modifiers already taken come as
/// arguments.
pub(super) fn decode<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &mut Form<'_>,
    ops: &[Operand<'a>],
    ty: Ty,
    mode: Mode,
    nan: bool,
    xorsign: bool,
) -> Result<(), PtxError> {
    let relu = f.eat("relu");
    f.done()?;
    let (half, sources) = match f.head {
        "add" => (Half::Add, 2),
        "sub" => (Half::Sub, 2),
        "mul" => (Half::Mul, 2),
        "fma" => (Half::Fma, 3),
        "neg" => (Half::Neg, 1),
        "abs" => (Half::Abs, 1),
        "min" => (Half::Min, 2),
        "max" => (Half::Max, 2),
        "tanh" => (Half::Tanh, 1),
        "ex2" => (Half::Ex2, 1),
        _ => return Err(f.unsupported()),
    };
    let extreme = matches!(half, Half::Min | Half::Max);
    let wrong = mode.round != Round::Nearest
        || relu && half != Half::Fma
        || (nan || xorsign) && !extreme
        || format(ty).is_none();
    if wrong {
        return Err(f.unsupported());
    }
    let plan = Plan {
        half,
        bf16: matches!(ty, Ty::BF16 | Ty::BF16x2),
        ftz: mode.ftz,
        sat: mode.sat,
        relu,
        nan,
        xorsign,
    };
    let handler: Handler = if ty.width() == Width::W32 {
        pair
    } else {
        scalar
    };
    if ops.len() != sources + 1 {
        return Err(f.syntax(&format!("takes {} operands", sources + 1)));
    }
    let mut inst = Inst::new(Op::Lanes(handler), 0);
    inst.x = plan.encode();
    for (slot, operand) in inst.s.iter_mut().zip(&ops[1..]) {
        *slot = d.source(operand, ty)?;
    }
    inst.d = d.target(&ops[0], ty.width())?;
    d.emit(inst);
    Ok(())
}

/// A comparison of packed pairs: a predicate for the low and one for the high half.
fn compare_pair<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    operands: &[Operand<'a>],
    ty: Ty,
    op: &str,
    ftz: bool,
) -> Result<[Slot; 2], PtxError> {
    let single = if ty == Ty::F16x2 { Ty::F16 } else { Ty::BF16 };
    let handler = compare::compare(op, single, ftz).ok_or_else(|| f.unsupported())?;
    let [left, right] = operands else {
        return Err(f.syntax("compares two operands"));
    };
    let sources = [d.source(left, ty)?, d.source(right, ty)?];
    let results = [d.register(Width::Pred), d.register(Width::Pred)];
    for (half, result) in results.into_iter().enumerate() {
        let take: Handler = if half == 0 {
            compare::half::<false>
        } else {
            compare::half::<true>
        };
        let (a, b) = (d.register(Width::W16), d.register(Width::W16));
        d.lanes(take, a, &sources[..1]);
        d.lanes(take, b, &sources[1..]);
        d.lanes(handler, result, &[a, b]);
    }
    Ok(results)
}

/// `d` = `result` combined with a third predicate, where there is one.
fn combined(
    d: &mut Decoder<'_, '_>,
    target: Slot,
    result: Slot,
    combine: Option<(Logic, (Slot, bool))>,
) {
    let mut inst = Inst::new(Op::Lanes(compare::copy_predicate), 0);
    if let Some((logic, (third, negated))) = combine {
        inst.op = Op::Lanes(logic.handler());
        inst.s[1] = third;
        inst.aux = u32::from(negated);
    }
    (inst.s[0], inst.d) = (result, target);
    d.emit(inst);
}

/// `setp` on packed pairs: one predicate for each half.
pub(super) fn setp_pair<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    ops: &[Operand<'a>],
    ty: Ty,
    op: &str,
    ftz: bool,
    logic: Option<Logic>,
) -> Result<(), PtxError> {
    let Operand::Pair(low, high) = &ops[0] else {
        return Err(f.syntax("takes two predicates"));
    };
    let targets = [d.target(low, Width::Pred)?, d.target(high, Width::Pred)?];
    let combine = match (logic, ops.get(3)) {
        (Some(logic), Some(third)) => Some((logic, d.predicate(third)?)),
        (None, None) => None,
        _ => return Err(f.syntax("wrong number of operands")),
    };
    let results = compare_pair(d, f, &ops[1..3], ty, op, ftz)?;
    for (result, target) in results.into_iter().zip(targets) {
        combined(d, target, result, combine);
    }
    Ok(())
}

/// `set` on packed pairs: in each half 1.0, or all bits for an integer, where it holds.
pub(super) fn set_pair<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &Form<'_>,
    ops: &[Operand<'a>],
    (to, ty): (Ty, Ty),
    op: &str,
    ftz: bool,
    logic: Option<Logic>,
) -> Result<(), PtxError> {
    let yes = match to {
        Ty::U32 | Ty::S32 => 0xffff_ffff,
        _ if to != ty => return Err(f.unsupported()),
        Ty::F16x2 => 0x3c00_3c00,
        _ => 0x3f80_3f80,
    };
    let combine = match (logic, ops.get(3)) {
        (Some(logic), Some(third)) => Some((logic, d.predicate(third)?)),
        (None, None) => None,
        _ => return Err(f.syntax("wrong number of operands")),
    };
    let results = compare_pair(d, f, &ops[1..3], ty, op, ftz)?;
    let halves = [d.register(Width::Pred), d.register(Width::Pred)];
    for (result, half) in results.into_iter().zip(halves) {
        combined(d, half, result, combine);
    }
    let mut inst = Inst::new(Op::Lanes(choose_halves), 0);
    inst.x = yes;
    (inst.s[0], inst.s[1]) = (halves[0], halves[1]);
    inst.d = d.target(&ops[0], Width::W32)?;
    d.emit(inst);
    Ok(())
}

/// The low half of `x` where `s[0]` holds, its high half where `s[1]` does.
fn choose_halves(cx: &mut Cx<'_>, i: &Inst) {
    let (low, high) = (cx.pred(i.s[0]), cx.pred(i.s[1]));
    let out: [u32; LANES] = std::array::from_fn(|lane| {
        let mask = if low >> lane & 1 == 1 { 0xffff } else { 0 }
            | if high >> lane & 1 == 1 {
                0xffff_0000
            } else {
                0
            };
        i.x as u32 & mask
    });
    cx.put(i.d, &out);
}
