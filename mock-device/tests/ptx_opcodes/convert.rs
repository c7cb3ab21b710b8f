//! `cvt` between all numeric types, against 128-bit integers and the host's
//! conversions.

use crate::harness::{B16, B32, B64, Draw, Reg, check, check_body};

type Int = (&'static str, Reg, u32, bool);

const INTS: [Int; 6] = [
    ("u16", B16, 16, false),
    ("s16", B16, 16, true),
    ("u32", B32, 32, false),
    ("s32", B32, 32, true),
    ("u64", B64, 64, false),
    ("s64", B64, 64, true),
];

fn value(bits: u64, width: u32, signed: bool) -> i128 {
    let v = i128::from(bits) & ((1 << width) - 1);
    if signed && v >> (width - 1) == 1 {
        v - (1 << width)
    } else {
        v
    }
}

fn limits(width: u32, signed: bool) -> (i128, i128) {
    if signed {
        (-(1 << (width - 1)), (1 << (width - 1)) - 1)
    } else {
        (0, (1 << width) - 1)
    }
}

#[test]
fn integers_to_integers() {
    for from in INTS {
        for to in INTS {
            let source = [(from.1, Draw::Bits)];
            check(&format!("cvt.{}.{}", to.0, from.0), to.1, &source, |x| {
                Some(value(x[0], from.2, from.3) as u64)
            });
            check(
                &format!("cvt.sat.{}.{}", to.0, from.0),
                to.1,
                &source,
                |x| {
                    let (min, max) = limits(to.2, to.3);
                    Some(value(x[0], from.2, from.3).clamp(min, max) as u64)
                },
            );
        }
        // Bytes live in wider registers.
        let source = [(from.1, Draw::Bits)];
        check(&format!("cvt.u8.{}", from.0), B32, &source, |x| {
            Some(x[0] & 0xff)
        });
        check(&format!("cvt.s8.{}", from.0), B32, &source, |x| {
            Some(value(x[0], 8, true) as u64)
        });
        check(&format!("cvt.sat.s8.{}", from.0), B16, &source, |x| {
            Some(value(x[0], from.2, from.3).clamp(-128, 127) as u64)
        });
    }
    for to in INTS {
        let source = [(B32, Draw::Bits)];
        check(&format!("cvt.{}.u8", to.0), to.1, &source, |x| {
            Some(x[0] & 0xff)
        });
        check(&format!("cvt.{}.s8", to.0), to.1, &source, |x| {
            Some(value(x[0], 8, true) as u64)
        });
    }
}

/// Rounds an exact integer in a direction, given the nearest float.
macro_rules! round_int {
    ($mode:expr, $exact:expr, $float:ty) => {{
        let (exact, n) = ($exact, $exact as $float);
        let (above, below) = (exact > n as i128, exact < n as i128);
        match $mode {
            "rm" if below => n.next_down(),
            "rp" if above => n.next_up(),
            "rz" if exact > 0 && below => n.next_down(),
            "rz" if exact < 0 && above => n.next_up(),
            _ => n,
        }
    }};
}

#[test]
fn integers_to_floats() {
    for from in INTS {
        let source = [(from.1, Draw::Bits)];
        for mode in ["rn", "rz", "rm", "rp"] {
            check(&format!("cvt.{mode}.f32.{}", from.0), B32, &source, |x| {
                let exact = value(x[0], from.2, from.3);
                Some(round_int!(mode, exact, f32).to_bits().into())
            });
            check(&format!("cvt.{mode}.f64.{}", from.0), B64, &source, |x| {
                let exact = value(x[0], from.2, from.3);
                Some(round_int!(mode, exact, f64).to_bits())
            });
        }
    }
}

/// The integral value next to `v` by mode; f64 holds every f32 and every
/// fraction exactly.
fn integral(mode: &str, v: f64) -> f64 {
    match mode {
        "rni" => v.round_ties_even(),
        "rzi" => v.trunc(),
        "rmi" => v.floor(),
        _ => v.ceil(),
    }
}

fn to_int(mode: &str, v: f64, to: Int, double: bool) -> u64 {
    if v.is_nan() {
        return if double || to.2 == 64 {
            1 << (to.2 - 1)
        } else {
            0
        };
    }
    let (min, max) = limits(to.2, to.3);
    // `as` saturates to i128, and the clamp does the rest.
    (integral(mode, v) as i128).clamp(min, max) as u64
}

#[test]
fn floats_to_integers() {
    for to in INTS {
        for mode in ["rni", "rzi", "rmi", "rpi"] {
            check(
                &format!("cvt.{mode}.{}.f32", to.0),
                to.1,
                &[(B32, Draw::Float)],
                |x| Some(to_int(mode, f32::from_bits(x[0] as u32).into(), to, false)),
            );
            check(
                &format!("cvt.{mode}.ftz.{}.f32", to.0),
                to.1,
                &[(B32, Draw::Float)],
                |x| {
                    let v = f32::from_bits(x[0] as u32);
                    let v = if v.is_subnormal() { 0.0 } else { v };
                    Some(to_int(mode, v.into(), to, false))
                },
            );
            check(
                &format!("cvt.{mode}.{}.f64", to.0),
                to.1,
                &[(B64, Draw::Float)],
                |x| Some(to_int(mode, f64::from_bits(x[0]), to, true)),
            );
        }
    }
}

#[test]
fn floats_to_floats() {
    check("cvt.f64.f32", B64, &[(B32, Draw::Float)], |x| {
        let v = f64::from(f32::from_bits(x[0] as u32));
        (!v.is_nan()).then(|| v.to_bits())
    });
    for mode in ["rn", "rz", "rm", "rp"] {
        check(
            &format!("cvt.{mode}.f32.f64"),
            B32,
            &[(B64, Draw::Float)],
            |x| {
                let v = f64::from_bits(x[0]);
                let n = v as f32;
                if v.is_nan() {
                    return Some(0x7fff_ffff);
                }
                let (above, below) = (v > n.into(), v < n.into());
                let r = match mode {
                    "rm" if below => n.next_down(),
                    "rp" if above => n.next_up(),
                    "rz" if v > 0.0 && below => n.next_down(),
                    "rz" if v < 0.0 && above => n.next_up(),
                    _ => n,
                };
                Some(r.to_bits().into())
            },
        );
    }
    for mode in ["rni", "rzi", "rmi", "rpi"] {
        check(
            &format!("cvt.{mode}.f32.f32"),
            B32,
            &[(B32, Draw::Float)],
            |x| {
                let v = f32::from_bits(x[0] as u32);
                (!v.is_nan()).then(|| (integral(mode, v.into()) as f32).to_bits().into())
            },
        );
        check(
            &format!("cvt.{mode}.f64.f64"),
            B64,
            &[(B64, Draw::Float)],
            |x| {
                let v = f64::from_bits(x[0]);
                (!v.is_nan()).then(|| integral(mode, v).to_bits())
            },
        );
    }
    check("cvt.sat.f32.f32", B32, &[(B32, Draw::Float)], |x| {
        let v = f32::from_bits(x[0] as u32);
        Some(
            if v > 1.0 {
                1f32
            } else if v > 0.0 {
                v
            } else {
                0.0
            }
            .to_bits()
            .into(),
        )
    });
    check("cvt.ftz.f32.f32", B32, &[(B32, Draw::Float)], |x| {
        let v = f32::from_bits(x[0] as u32);
        let v = if v.is_subnormal() {
            0f32.copysign(v)
        } else {
            v
        };
        (!v.is_nan()).then(|| v.to_bits().into())
    });
}

/// An IEEE binary16 value from its fields, in f64.
pub(crate) fn half_value(bits: u64, exponent_bits: u32, fraction_bits: u32) -> f64 {
    let sign = if bits >> (exponent_bits + fraction_bits) & 1 == 1 {
        -1.0
    } else {
        1.0
    };
    let biased = bits >> fraction_bits & ((1 << exponent_bits) - 1);
    let fraction = bits & ((1 << fraction_bits) - 1);
    let bias = (1 << (exponent_bits - 1)) - 1;
    let step = 2f64.powi(-(fraction_bits as i32));
    sign * if biased == (1 << exponent_bits) - 1 {
        if fraction == 0 {
            f64::INFINITY
        } else {
            f64::NAN
        }
    } else if biased == 0 {
        fraction as f64 * step * 2f64.powi(1 - bias)
    } else {
        (1.0 + fraction as f64 * step) * 2f64.powi(biased as i32 - bias)
    }
}

/// The nearest 16-bit float by trying: the candidate whose distance is least,
/// the even one of two.
pub(crate) fn nearest_half(v: f64, exponent_bits: u32, fraction_bits: u32) -> u64 {
    if v.is_nan() {
        return 0x7fff;
    }
    let sign = u64::from(v.is_sign_negative()) << 15;
    let infinity = ((1 << exponent_bits) - 1) << fraction_bits;
    // Finite values are ordered as their bits; find the last one not above.
    let (mut low, mut high) = (0u64, infinity);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if half_value(middle, exponent_bits, fraction_bits) <= v.abs() {
            low = middle;
        } else {
            high = middle;
        }
    }
    let below = half_value(low, exponent_bits, fraction_bits);
    // Infinity stands where the next finite value would.
    let above = if high == infinity {
        2.0 * below - half_value(low - 1, exponent_bits, fraction_bits)
    } else {
        half_value(high, exponent_bits, fraction_bits)
    };
    let (to_low, to_high) = (v.abs() - below, above - v.abs());
    let pick = if v.is_infinite() || to_high < to_low || to_high == to_low && low & 1 == 1 {
        high
    } else {
        low
    };
    sign | pick
}

#[test]
fn sixteen_bit_floats() {
    for (ty, e, m) in [("f16", 5, 10), ("bf16", 8, 7)] {
        check(&format!("cvt.f32.{ty}"), B32, &[(B16, Draw::Half)], |x| {
            let v = half_value(x[0], e, m);
            (!v.is_nan()).then(|| (v as f32).to_bits().into())
        });
        check(
            &format!("cvt.rn.{ty}.f32"),
            B16,
            &[(B32, Draw::Float)],
            |x| Some(nearest_half(f32::from_bits(x[0] as u32).into(), e, m)),
        );
        check(
            &format!("cvt.rn.{ty}x2.f32"),
            B32,
            &[(B32, Draw::Float); 2],
            |x| {
                let one = |bits: u64| nearest_half(f32::from_bits(bits as u32).into(), e, m);
                Some(one(x[1]) + (one(x[0]) << 16))
            },
        );
        check(
            &format!("cvt.rzi.s32.{ty}"),
            B32,
            &[(B16, Draw::Half)],
            |x| Some(to_int("rzi", half_value(x[0], e, m), INTS[3], false)),
        );
        check(
            &format!("cvt.rn.{ty}.s32"),
            B16,
            &[(B32, Draw::Bits)],
            |x| Some(nearest_half((x[0] as i32).into(), e, m)),
        );
        check(
            &format!("cvt.rz.{ty}.f32"),
            B16,
            &[(B32, Draw::Tame)],
            |x| {
                let v = f64::from(f32::from_bits(x[0] as u32));
                let n = nearest_half(v, e, m);
                let too_far = half_value(n, e, m).abs() > v.abs();
                Some(if too_far { n - 1 } else { n })
            },
        );
    }
    check_body(
        "cvt.f64.f16",
        "@%on cvt.f64.f16 %z, %a;",
        B64,
        &[(B16, Draw::Half)],
        |x| {
            let v = half_value(x[0], 5, 10);
            (!v.is_nan()).then(|| v.to_bits())
        },
    );
}
