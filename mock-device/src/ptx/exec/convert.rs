//! `cvt`: the general conversion, through an exact intermediate value.
//!
//! The decoder has direct handlers for the conversions that matter to speed;
//! all others come here with their types and modifiers in `Inst::x`.

use super::super::code::Inst;
use super::super::types::{Ty, Width};
use super::cx::{Cx, LANES};
use super::softfloat::{Format, Num, Round, from_int, pack, to_int, unpack};

/// A conversion, as the decoder read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ptx) struct Conversion {
    pub(in crate::ptx) to: Ty,
    pub(in crate::ptx) from: Ty,
    pub(in crate::ptx) to_width: Width,
    pub(in crate::ptx) from_width: Width,
    pub(in crate::ptx) round: Option<Round>,
    /// Round to an integral value in floating point.
    pub(in crate::ptx) integral: bool,
    pub(in crate::ptx) ftz: bool,
    pub(in crate::ptx) sat: bool,
    pub(in crate::ptx) satfinite: bool,
    pub(in crate::ptx) relu: bool,
}

/// The format of a floating-point type.
pub(in crate::ptx) fn format(ty: Ty) -> Option<Format> {
    Some(match ty {
        Ty::F16 | Ty::F16x2 => Format::F16,
        Ty::BF16 | Ty::BF16x2 => Format::BF16,
        Ty::TF32 => Format::TF32,
        Ty::F32 => Format::F32,
        Ty::F64 => Format::F64,
        Ty::E4M3x2 => Format::E4M3,
        Ty::E5M2x2 => Format::E5M2,
        _ => return None,
    })
}

/// Value range of an integer type.
fn range(ty: Ty) -> (i128, i128) {
    let bits = ty.size() * 8;
    if ty.is_signed() {
        (-1 << (bits - 1), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

/// An integer of that type from register bits.
fn integer(ty: Ty, bits: u64) -> i128 {
    let shift = 64 - ty.size() * 8;
    if ty.is_signed() {
        ((bits << shift) as i64 >> shift).into()
    } else {
        (bits << shift >> shift).into()
    }
}

impl Conversion {
    /// Converts one value.
    pub(in crate::ptx) fn one(&self, bits: u64) -> u64 {
        match (format(self.from), format(self.to)) {
            (None, None) => self.int_to_int(bits),
            (None, Some(to)) => self.int_to_float(bits, to),
            (Some(from), None) => self.float_to_int(bits, from),
            (Some(from), Some(to)) => self.float_to_float(bits, from, to),
        }
    }

    fn int_to_int(&self, bits: u64) -> u64 {
        let value = integer(self.from, bits);
        let value = if self.sat {
            let (min, max) = range(self.to);
            value.clamp(min, max)
        } else {
            value
        };
        // A register wider than the type is filled by the type's sign.
        integer(self.to, value as u64) as u64
    }

    fn int_to_float(&self, bits: u64, to: Format) -> u64 {
        let mode = self.round.unwrap_or(Round::Nearest);
        let result = pack(to, from_int(integer(self.from, bits)), mode);
        self.finish(result, to)
    }

    fn float_to_int(&self, bits: u64, from: Format) -> u64 {
        let (min, max) = range(self.to);
        let value = self.flushed(bits, from);
        if value == Num::Nan {
            // PTX ISA: zero, but the top bit for f64 sources and 64-bit results.
            let top = 1 << (self.to.size() * 8 - 1);
            return if self.from == Ty::F64 || self.to.size() == 8 {
                top
            } else {
                0
            };
        }
        let value = to_int(value, self.round.unwrap_or(Round::Zero));
        integer(self.to, value.clamp(min, max) as u64) as u64
    }

    fn flushed(&self, bits: u64, from: Format) -> Num {
        let value = unpack(from, bits);
        match value {
            Num::Finite { negative, .. }
                if self.ftz && from == Format::F32 && bits & from.infinity(false) == 0 =>
            {
                Num::Zero(negative)
            }
            _ => value,
        }
    }

    fn float_to_float(&self, bits: u64, from: Format, to: Format) -> u64 {
        let mut value = self.flushed(bits, from);
        let mode = self.round.unwrap_or(Round::Nearest);
        if let Num::Finite {
            negative, exponent, ..
        } = value
            && self.integral
            && exponent < 0
        {
            value = match from_int(to_int(value, mode)) {
                Num::Zero(_) => Num::Zero(negative),
                other => other,
            };
        }
        let result = if from == to && value == Num::Nan && to == Format::F64 {
            bits
        } else {
            pack(to, value, mode)
        };
        let result = match (value, unpack(to, result)) {
            (
                Num::Infinity(negative) | Num::Finite { negative, .. },
                Num::Nan | Num::Infinity(_),
            ) if self.satfinite => to.largest(negative),
            _ => result,
        };
        let result = self.finish(result, to);
        if to == Format::TF32 {
            result << 13
        } else {
            result
        }
    }

    fn finish(&self, bits: u64, to: Format) -> u64 {
        let mut value = unpack(to, bits);
        let mut bits = bits;
        if self.ftz && to == Format::F32 && bits & to.infinity(false) == 0 {
            bits &= 1 << 31;
            value = unpack(to, bits);
        }
        if self.sat {
            bits = match value {
                Num::Nan | Num::Zero(_) => 0,
                Num::Infinity(negative) | Num::Finite { negative, .. } if negative => 0,
                _ if bits > pack(to, from_int(1), Round::Nearest) => {
                    pack(to, from_int(1), Round::Nearest)
                }
                _ => bits,
            };
        }
        if self.relu {
            bits = match value {
                Num::Infinity(true) | Num::Finite { negative: true, .. } | Num::Zero(_) => 0,
                _ => bits,
            };
        }
        bits
    }
}

fn read(cx: &Cx<'_>, slot: u32, width: Width) -> [u64; LANES] {
    match width {
        Width::W16 => cx.row::<u16>(slot).map(u64::from),
        Width::W32 => cx.row::<u32>(slot).map(u64::from),
        _ => *cx.row::<u64>(slot),
    }
}

fn write(cx: &mut Cx<'_>, slot: u32, width: Width, values: &[u64; LANES]) {
    match width {
        Width::W16 => cx.put(slot, &values.map(|v| v as u16)),
        Width::W32 => cx.put(slot, &values.map(|v| v as u32)),
        _ => cx.put(slot, values),
    }
}

/// The conversion that `Inst::x` encodes, lane by lane.
pub(in crate::ptx) fn convert(cx: &mut Cx<'_>, i: &Inst) {
    let conversion = Conversion::decode(i.x);
    let input = read(cx, i.s[0], conversion.from_width);
    let out = input.map(|bits| conversion.one(bits));
    write(cx, i.d, conversion.to_width, &out);
}

/// Two values into one packed register: `s[0]` goes to the upper half.
pub(in crate::ptx) fn convert_pair(cx: &mut Cx<'_>, i: &Inst) {
    let conversion = Conversion::decode(i.x);
    let high = read(cx, i.s[0], conversion.from_width);
    let low = read(cx, i.s[1], conversion.from_width);
    let bits = if matches!(conversion.to, Ty::E4M3x2 | Ty::E5M2x2) {
        8
    } else {
        16
    };
    let out =
        std::array::from_fn(|lane| conversion.one(high[lane]) << bits | conversion.one(low[lane]));
    write(cx, i.d, conversion.to_width, &out);
}

/// A packed register into a packed register, element by element.
pub(in crate::ptx) fn convert_packed(cx: &mut Cx<'_>, i: &Inst) {
    let conversion = Conversion::decode(i.x);
    let bits = |ty| {
        if matches!(ty, Ty::E4M3x2 | Ty::E5M2x2) {
            8
        } else {
            16
        }
    };
    let (from, to) = (bits(conversion.from), bits(conversion.to));
    let input = read(cx, i.s[0], conversion.from_width);
    let out = input.map(|value| {
        let low = conversion.one(value & ((1 << from) - 1));
        let high = conversion.one(value >> from & ((1 << from) - 1));
        high << to | low
    });
    write(cx, i.d, conversion.to_width, &out);
}

const TYPES: [Ty; 22] = [
    Ty::U8,
    Ty::U16,
    Ty::U32,
    Ty::U64,
    Ty::S8,
    Ty::S16,
    Ty::S32,
    Ty::S64,
    Ty::F16,
    Ty::F16x2,
    Ty::BF16,
    Ty::BF16x2,
    Ty::TF32,
    Ty::E4M3x2,
    Ty::E5M2x2,
    Ty::F32,
    Ty::F64,
    Ty::B8,
    Ty::B16,
    Ty::B32,
    Ty::B64,
    Ty::Pred,
];
const WIDTHS: [Width; 3] = [Width::W16, Width::W32, Width::W64];
const ROUNDS: [Option<Round>; 6] = [
    None,
    Some(Round::Nearest),
    Some(Round::NearestAway),
    Some(Round::Zero),
    Some(Round::Down),
    Some(Round::Up),
];

fn position<T: PartialEq>(all: &[T], one: T) -> u64 {
    all.iter().position(|x| *x == one).unwrap_or(0) as u64
}

impl Conversion {
    /// All of it in 64 bits, for `Inst::x`.
    pub(in crate::ptx) fn encode(&self) -> u64 {
        position(&TYPES, self.to)
            | position(&TYPES, self.from) << 8
            | position(&WIDTHS, self.to_width) << 16
            | position(&WIDTHS, self.from_width) << 20
            | position(&ROUNDS, self.round) << 24
            | u64::from(self.integral) << 32
            | u64::from(self.ftz) << 33
            | u64::from(self.sat) << 34
            | u64::from(self.satfinite) << 35
            | u64::from(self.relu) << 36
    }

    fn decode(x: u64) -> Conversion {
        let flag = |bit: u32| x >> bit & 1 != 0;
        Conversion {
            to: TYPES[(x & 0xff) as usize % TYPES.len()],
            from: TYPES[(x >> 8 & 0xff) as usize % TYPES.len()],
            to_width: WIDTHS[(x >> 16 & 15) as usize % WIDTHS.len()],
            from_width: WIDTHS[(x >> 20 & 15) as usize % WIDTHS.len()],
            round: ROUNDS[(x >> 24 & 15) as usize % ROUNDS.len()],
            integral: flag(32),
            ftz: flag(33),
            sat: flag(34),
            satfinite: flag(35),
            relu: flag(36),
        }
    }
}
