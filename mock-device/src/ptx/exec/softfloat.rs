//! Exact floating-point arithmetic in any binary format and rounding mode.
//!
//! The host rounds to nearest only, and has no half or bfloat16 arithmetic;
//! whatever it cannot do bit for bit goes through here. Values are unpacked
//! into a 128-bit significand, the operation keeps a sticky bit, and one
//! function rounds. IEEE 754-2008 semantics; NaN payloads are not kept.

use std::cmp::Ordering;

/// Rounding mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ptx) enum Round {
    /// To nearest, ties to even.
    Nearest,
    /// To nearest, ties away from zero.
    NearestAway,
    Zero,
    Down,
    Up,
}

/// A binary interchange format (or one like it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ptx) struct Format {
    pub(in crate::ptx) exponent_bits: u32,
    pub(in crate::ptx) fraction_bits: u32,
    /// All ones in the exponent mean infinity and NaN; without that (e4m3)
    /// only all ones everywhere is NaN.
    pub(in crate::ptx) ieee: bool,
}

impl Format {
    const fn ieee(exponent_bits: u32, fraction_bits: u32) -> Format {
        Format {
            exponent_bits,
            fraction_bits,
            ieee: true,
        }
    }
    pub(in crate::ptx) const F16: Format = Format::ieee(5, 10);
    pub(in crate::ptx) const BF16: Format = Format::ieee(8, 7);
    pub(in crate::ptx) const TF32: Format = Format::ieee(8, 10);
    pub(in crate::ptx) const F32: Format = Format::ieee(8, 23);
    pub(in crate::ptx) const F64: Format = Format::ieee(11, 52);
    pub(in crate::ptx) const E5M2: Format = Format::ieee(5, 2);
    pub(in crate::ptx) const E4M3: Format = Format {
        exponent_bits: 4,
        fraction_bits: 3,
        ieee: false,
    };

    fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    fn sign_shift(self) -> u32 {
        self.exponent_bits + self.fraction_bits
    }

    /// NaN as NVIDIA's arithmetic makes it: all ones below the sign, except
    /// for f64.
    pub(in crate::ptx) fn nan(self) -> u64 {
        if self == Format::F64 {
            0xfff8_0000_0000_0000
        } else {
            (1 << self.sign_shift()) - 1
        }
    }

    pub(in crate::ptx) fn infinity(self, negative: bool) -> u64 {
        let magnitude = ((1 << self.exponent_bits) - 1) << self.fraction_bits;
        magnitude | u64::from(negative) << self.sign_shift()
    }

    /// The largest finite value.
    pub(in crate::ptx) fn largest(self, negative: bool) -> u64 {
        let magnitude = if self.ieee {
            self.infinity(false) - 1
        } else {
            (1 << self.sign_shift()) - 2
        };
        magnitude | u64::from(negative) << self.sign_shift()
    }

    fn zero(self, negative: bool) -> u64 {
        u64::from(negative) << self.sign_shift()
    }
}

/// An unpacked value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ptx) enum Num {
    Nan,
    Infinity(bool),
    Zero(bool),
    /// `significand * 2^exponent`, significand not 0; bit 0 may be sticky.
    Finite {
        negative: bool,
        exponent: i32,
        significand: u128,
    },
}

/// Unpacks `bits` of that format.
pub(in crate::ptx) fn unpack(format: Format, bits: u64) -> Num {
    let negative = bits >> format.sign_shift() & 1 != 0;
    let all_ones = (1u64 << format.exponent_bits) - 1;
    let biased = bits >> format.fraction_bits & all_ones;
    let fraction = bits & ((1 << format.fraction_bits) - 1);
    if format.ieee && biased == all_ones {
        return if fraction == 0 {
            Num::Infinity(negative)
        } else {
            Num::Nan
        };
    }
    if !format.ieee && bits & format.nan() == format.nan() {
        return Num::Nan;
    }
    if biased == 0 && fraction == 0 {
        return Num::Zero(negative);
    }
    let (significand, biased) = if biased == 0 {
        (fraction, 1)
    } else {
        (fraction | 1 << format.fraction_bits, biased)
    };
    let exponent = biased as i32 - format.bias() - format.fraction_bits as i32;
    Num::Finite {
        negative,
        exponent,
        significand: u128::from(significand),
    }
}

/// Shifts right and keeps what falls out as a sticky bit.
fn jam(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..=127 => value >> by | u128::from(value << (128 - by) != 0),
        _ => u128::from(value != 0),
    }
}

/// Rounds to the format.
pub(in crate::ptx) fn pack(format: Format, value: Num, mode: Round) -> u64 {
    let (negative, exponent, significand) = match value {
        Num::Nan => return format.nan(),
        Num::Infinity(negative) if format.ieee => return format.infinity(negative),
        Num::Infinity(_) => return format.nan(),
        Num::Zero(negative) => return format.zero(negative),
        Num::Finite {
            negative,
            exponent,
            significand,
        } => (negative, exponent, significand),
    };
    let top = 127 - significand.leading_zeros() as i32;
    let smallest = 1 - format.bias() - format.fraction_bits as i32;
    // Exponent of the last place that is kept.
    let last = (exponent + top - format.fraction_bits as i32).max(smallest);
    let shift = last - exponent;
    let (kept, half_cmp, inexact) = if shift <= 0 {
        (significand << (-shift).min(127), Ordering::Less, false)
    } else if shift > 127 {
        (0, Ordering::Less, true)
    } else {
        let rest = significand & ((1 << shift) - 1);
        (
            significand >> shift,
            rest.cmp(&(1 << (shift - 1))),
            rest != 0,
        )
    };
    let up = match mode {
        Round::Nearest => {
            half_cmp == Ordering::Greater || half_cmp == Ordering::Equal && kept & 1 != 0
        }
        Round::NearestAway => half_cmp != Ordering::Less,
        Round::Zero => false,
        Round::Down => negative && inexact,
        Round::Up => !negative && inexact,
    };
    let kept = kept as u64 + u64::from(up);
    // Subnormals have the biased exponent 0 and no hidden bit; adding the
    // kept bits to the shifted exponent carries into it when it must.
    let biased = (last - smallest) as u64;
    let magnitude = (biased << format.fraction_bits) + kept;
    if magnitude > format.largest(false) {
        let to_largest = match mode {
            Round::Nearest | Round::NearestAway => false,
            Round::Zero => true,
            Round::Down => !negative,
            Round::Up => negative,
        };
        return if to_largest {
            format.largest(negative)
        } else {
            pack(format, Num::Infinity(negative), mode)
        };
    }
    magnitude | format.zero(negative)
}

impl Num {
    pub(in crate::ptx) fn negate(self) -> Num {
        match self {
            Num::Nan => Num::Nan,
            Num::Infinity(n) => Num::Infinity(!n),
            Num::Zero(n) => Num::Zero(!n),
            Num::Finite {
                negative,
                exponent,
                significand,
            } => Num::Finite {
                negative: !negative,
                exponent,
                significand,
            },
        }
    }

    /// The significand's top bit at bit 125.
    fn normalised(exponent: i32, significand: u128) -> (i32, u128) {
        let up = significand.leading_zeros() as i32 - 2;
        if up >= 0 {
            (exponent - up, significand << up)
        } else {
            (exponent - up, jam(significand, (-up) as u32))
        }
    }
}

/// `a + b`; `mode` decides the sign of an exact zero.
pub(in crate::ptx) fn add(a: Num, b: Num, mode: Round) -> Num {
    let (na, ea, sa, nb, eb, sb) = match (a, b) {
        (Num::Nan, _) | (_, Num::Nan) => return Num::Nan,
        (Num::Infinity(x), Num::Infinity(y)) => {
            return if x == y { a } else { Num::Nan };
        }
        (Num::Infinity(_), _) => return a,
        (_, Num::Infinity(_)) => return b,
        (Num::Zero(x), Num::Zero(y)) => {
            return Num::Zero(if x == y { x } else { mode == Round::Down });
        }
        (Num::Zero(_), _) => return b,
        (_, Num::Zero(_)) => return a,
        (
            Num::Finite {
                negative: na,
                exponent: ea,
                significand: sa,
            },
            Num::Finite {
                negative: nb,
                exponent: eb,
                significand: sb,
            },
        ) => (na, ea, sa, nb, eb, sb),
    };
    let (ea, sa) = Num::normalised(ea, sa);
    let (eb, sb) = Num::normalised(eb, sb);
    let exponent = ea.max(eb);
    let sa = jam(sa, (exponent - ea) as u32);
    let sb = jam(sb, (exponent - eb) as u32);
    let (negative, significand) = if na == nb {
        (na, sa + sb)
    } else if sa >= sb {
        (na, sa - sb)
    } else {
        (nb, sb - sa)
    };
    if significand == 0 {
        return Num::Zero(mode == Round::Down);
    }
    Num::Finite {
        negative,
        exponent,
        significand,
    }
}

/// `a * b`, exact for formats up to f64.
pub(in crate::ptx) fn mul(a: Num, b: Num) -> Num {
    let sign = |n: Num| match n {
        Num::Nan => false,
        Num::Infinity(n) | Num::Zero(n) | Num::Finite { negative: n, .. } => n,
    };
    let negative = sign(a) != sign(b);
    match (a, b) {
        (Num::Nan, _) | (_, Num::Nan) => Num::Nan,
        (Num::Infinity(_), Num::Zero(_)) | (Num::Zero(_), Num::Infinity(_)) => Num::Nan,
        (Num::Infinity(_), _) | (_, Num::Infinity(_)) => Num::Infinity(negative),
        (Num::Zero(_), _) | (_, Num::Zero(_)) => Num::Zero(negative),
        (
            Num::Finite {
                exponent: ea,
                significand: sa,
                ..
            },
            Num::Finite {
                exponent: eb,
                significand: sb,
                ..
            },
        ) => Num::Finite {
            negative,
            exponent: ea + eb,
            significand: sa * sb,
        },
    }
}

/// `a / b` with a sticky bit.
pub(in crate::ptx) fn div(a: Num, b: Num) -> Num {
    let sign = |n: Num| match n {
        Num::Nan => false,
        Num::Infinity(n) | Num::Zero(n) | Num::Finite { negative: n, .. } => n,
    };
    let negative = sign(a) != sign(b);
    match (a, b) {
        (Num::Nan, _) | (_, Num::Nan) => Num::Nan,
        (Num::Infinity(_), Num::Infinity(_)) | (Num::Zero(_), Num::Zero(_)) => Num::Nan,
        (Num::Infinity(_), _) | (_, Num::Zero(_)) => Num::Infinity(negative),
        (_, Num::Infinity(_)) | (Num::Zero(_), _) => Num::Zero(negative),
        (
            Num::Finite {
                exponent: ea,
                significand: sa,
                ..
            },
            Num::Finite {
                exponent: eb,
                significand: sb,
                ..
            },
        ) => {
            let (ea, sa) = Num::normalised(ea, sa);
            // The divisor small, so that the quotient has many bits.
            let down = sb.trailing_zeros();
            let (eb, sb) = (eb + down as i32, sb >> down);
            let significand = ((sa / sb) << 1) | u128::from(sa % sb != 0);
            Num::Finite {
                negative,
                exponent: ea - eb - 1,
                significand,
            }
        }
    }
}

/// Square root with a sticky bit.
pub(in crate::ptx) fn sqrt(a: Num) -> Num {
    match a {
        Num::Nan | Num::Infinity(true) => Num::Nan,
        Num::Infinity(false) | Num::Zero(_) => a,
        Num::Finite { negative: true, .. } => Num::Nan,
        Num::Finite {
            exponent,
            significand,
            ..
        } => {
            let (mut exponent, mut significand) = Num::normalised(exponent, significand);
            if exponent % 2 != 0 {
                exponent -= 1;
                significand <<= 1;
            }
            let root = significand.isqrt();
            let significand = root << 1 | u128::from(root * root != significand);
            Num::Finite {
                negative: false,
                exponent: exponent / 2 - 1,
                significand,
            }
        }
    }
}

/// `a * b + c`, rounded once by `pack`.
pub(in crate::ptx) fn fma(a: Num, b: Num, c: Num, mode: Round) -> Num {
    add(mul(a, b), c, mode)
}

/// An integer as a value.
pub(in crate::ptx) fn from_int(value: i128) -> Num {
    if value == 0 {
        return Num::Zero(false);
    }
    Num::Finite {
        negative: value < 0,
        exponent: 0,
        significand: value.unsigned_abs(),
    }
}

/// The integer that a finite value rounds to, saturated to 127 bits.
pub(in crate::ptx) fn to_int(value: Num, mode: Round) -> i128 {
    let Num::Finite {
        negative,
        exponent,
        significand,
    } = value
    else {
        return match value {
            Num::Infinity(negative) => {
                if negative {
                    i128::MIN + 1
                } else {
                    i128::MAX
                }
            }
            _ => 0,
        };
    };
    let magnitude = if exponent >= 0 {
        if exponent as u32 >= significand.leading_zeros() {
            u128::MAX >> 1
        } else {
            (significand << exponent).min(u128::MAX >> 1)
        }
    } else {
        let shift = exponent.unsigned_abs();
        let (kept, rest, half) = if shift > 127 {
            (0, significand, u128::MAX)
        } else {
            (
                significand >> shift,
                significand & ((1 << shift) - 1),
                1 << (shift - 1),
            )
        };
        let up = match mode {
            Round::Nearest => rest > half || rest == half && kept & 1 != 0,
            Round::NearestAway => rest >= half,
            Round::Zero => false,
            Round::Down => negative && rest != 0,
            Round::Up => !negative && rest != 0,
        };
        kept + u128::from(up)
    };
    let magnitude = magnitude as i128;
    if negative { -magnitude } else { magnitude }
}

/// Half precision to f32, exact.
pub(in crate::ptx) fn f16_to_f32(bits: u16) -> f32 {
    f32::from_bits(pack(
        Format::F32,
        unpack(Format::F16, bits.into()),
        Round::Nearest,
    ) as u32)
}

/// bfloat16 to f32, exact.
pub(in crate::ptx) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// f32 to half precision.
pub(in crate::ptx) fn f32_to_f16(value: f32, mode: Round) -> u16 {
    pack(
        Format::F16,
        unpack(Format::F32, value.to_bits().into()),
        mode,
    ) as u16
}

/// f32 to bfloat16.
pub(in crate::ptx) fn f32_to_bf16(value: f32, mode: Round) -> u16 {
    pack(
        Format::BF16,
        unpack(Format::F32, value.to_bits().into()),
        mode,
    ) as u16
}
