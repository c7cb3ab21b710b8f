//! Integer arithmetic in 128 bits.

use crate::harness::{B16, B32, B64, Draw, Pred, Reg, check, check_body};

/// An integer type: name, register, bits, signedness.
type Int = (&'static str, Reg, u32, bool);

const INTS: [Int; 6] = [
    ("u16", B16, 16, false),
    ("s16", B16, 16, true),
    ("u32", B32, 32, false),
    ("s32", B32, 32, true),
    ("u64", B64, 64, false),
    ("s64", B64, 64, true),
];

/// The mathematical value of register bits.
fn value(bits: u64, (_, _, width, signed): Int) -> i128 {
    let modulus = 1i128 << width;
    let v = i128::from(bits) % modulus;
    if signed && v >= modulus / 2 {
        v - modulus
    } else {
        v
    }
}

fn two(op: &str, int: Int, f: impl Fn(i128, i128) -> Option<i128>) {
    let source = (int.1, Draw::Bits);
    check(&format!("{op}.{}", int.0), int.1, &[source, source], |x| {
        f(value(x[0], int), value(x[1], int)).map(|v| v as u64)
    });
}

#[test]
fn sums_products_quotients() {
    for int in INTS {
        two("add", int, |a, b| Some(a + b));
        two("sub", int, |a, b| Some(a - b));
        two("mul.lo", int, |a, b| Some(a.wrapping_mul(b)));
        two("mul.hi", int, |a, b| {
            // Products of two u64 do not fit i128's positive half.
            let high = if int.3 || int.2 < 64 {
                (a * b) >> int.2
            } else {
                ((a as u128 * b as u128) >> 64) as i128
            };
            Some(high)
        });
        two("div", int, |a, b| a.checked_div(b));
        two("rem", int, |a, b| a.checked_rem(b));
        two("min", int, |a, b| Some(a.min(b)));
        two("max", int, |a, b| Some(a.max(b)));
    }
}

#[test]
fn saturation_and_relu() {
    let s32 = INTS[3];
    let clamp = |v: i128| Some(v.clamp(i32::MIN.into(), i32::MAX.into()));
    two("add.sat", s32, |a, b| clamp(a + b));
    two("sub.sat", s32, |a, b| clamp(a - b));
    two("min.relu", s32, |a, b| Some(a.min(b).max(0)));
    two("max.relu", s32, |a, b| Some(a.max(b).max(0)));
}

#[test]
fn wide_products_and_sums_of_products() {
    for (int, wide) in [
        (INTS[0], INTS[2]),
        (INTS[1], INTS[3]),
        (INTS[2], INTS[4]),
        (INTS[3], INTS[5]),
    ] {
        let source = (int.1, Draw::Bits);
        let product = |x: &[u64]| value(x[0], int) * value(x[1], int);
        check(
            &format!("mul.wide.{}", int.0),
            wide.1,
            &[source, source],
            |x| Some(product(x) as u64),
        );
        let third = (wide.1, Draw::Bits);
        check(
            &format!("mad.wide.{}", int.0),
            wide.1,
            &[source, source, third],
            |x| Some((product(x) + value(x[2], wide)) as u64),
        );
    }
    for int in INTS {
        let source = (int.1, Draw::Bits);
        check(&format!("mad.lo.{}", int.0), int.1, &[source; 3], |x| {
            Some(x[0].wrapping_mul(x[1]).wrapping_add(x[2]))
        });
        check(&format!("mad.hi.{}", int.0), int.1, &[source; 3], |x| {
            let (a, b) = (value(x[0], int), value(x[1], int));
            let high = if int.3 || int.2 < 64 {
                (a * b) >> int.2
            } else {
                ((a as u128 * b as u128) >> 64) as i128
            };
            Some((high + value(x[2], int)) as u64)
        });
    }
    let s32 = INTS[3];
    check("mad.hi.sat.s32", B32, &[(B32, Draw::Bits); 3], |x| {
        let high = (value(x[0], s32) * value(x[1], s32)) >> 32;
        Some((high + value(x[2], s32)).clamp(i32::MIN.into(), i32::MAX.into()) as u64)
    });
}

#[test]
fn twenty_four_bits() {
    for (int, signed) in [(INTS[2], false), (INTS[3], true)] {
        let low = |bits: u64| {
            let v = i128::from(bits & 0xff_ffff);
            if signed && v >= 1 << 23 {
                v - (1 << 24)
            } else {
                v
            }
        };
        let name = int.0;
        let two = [(B32, Draw::Bits); 2];
        let three = [(B32, Draw::Bits); 3];
        check(&format!("mul24.lo.{name}"), B32, &two, |x| {
            Some((low(x[0]) * low(x[1])) as u64)
        });
        check(&format!("mul24.hi.{name}"), B32, &two, |x| {
            Some(((low(x[0]) * low(x[1])) >> 16) as u64)
        });
        check(&format!("mad24.lo.{name}"), B32, &three, |x| {
            Some((low(x[0]) * low(x[1]) + i128::from(x[2])) as u64)
        });
        check(&format!("mad24.hi.{name}"), B32, &three, |x| {
            Some((((low(x[0]) * low(x[1])) >> 16) + i128::from(x[2])) as u64)
        });
    }
}

#[test]
fn signs_and_differences() {
    for int in INTS.into_iter().filter(|i| i.3) {
        let source = [(int.1, Draw::Bits)];
        check(&format!("neg.{}", int.0), int.1, &source, |x| {
            Some(x[0].wrapping_neg())
        });
        check(&format!("abs.{}", int.0), int.1, &source, |x| {
            Some(value(x[0], int).unsigned_abs() as u64)
        });
    }
    for int in INTS {
        check(
            &format!("sad.{}", int.0),
            int.1,
            &[(int.1, Draw::Bits); 3],
            |x| {
                let difference = (value(x[0], int) - value(x[1], int)).abs();
                Some((difference + i128::from(x[2])) as u64)
            },
        );
    }
}

#[test]
fn packed_halves() {
    let pairs = [(B32, Draw::Bits), (B32, Draw::Bits)];
    let each = |x: &[u64], f: &dyn Fn(u16, u16) -> u16| {
        let low = f(x[0] as u16, x[1] as u16);
        let high = f((x[0] >> 16) as u16, (x[1] >> 16) as u16);
        Some(u64::from(low) + (u64::from(high) << 16))
    };
    let signed = |f: fn(i16, i16) -> i16| move |a: u16, b: u16| f(a as i16, b as i16) as u16;
    check("add.u16x2", B32, &pairs, |x| {
        each(x, &|a, b| a.wrapping_add(b))
    });
    check("add.s16x2", B32, &pairs, |x| {
        each(x, &|a, b| a.wrapping_add(b))
    });
    check("min.u16x2", B32, &pairs, |x| {
        each(x, &|a, b| if a < b { a } else { b })
    });
    check("max.u16x2", B32, &pairs, |x| {
        each(x, &|a, b| if a > b { a } else { b })
    });
    check("min.s16x2", B32, &pairs, |x| {
        each(x, &signed(|a, b| if a < b { a } else { b }))
    });
    check("max.s16x2", B32, &pairs, |x| {
        each(x, &signed(|a, b| if a > b { a } else { b }))
    });
    check("max.relu.s16x2", B32, &pairs, |x| {
        each(x, &signed(|a, b| if a > b { a } else { b }.max(0)))
    });
}

#[test]
fn carry_chains() {
    let wide = [(B64, Draw::Bits), (B64, Draw::Bits)];
    let halves = "{ .reg .b32 al, ah, bl, bh, zl, zh;
        mov.b64 {al, ah}, %a; mov.b64 {bl, bh}, %b;";
    let finish = "@%on mov.b64 %z, {zl, zh}; }";
    let sum = format!("{halves} add.cc.u32 zl, al, bl; addc.u32 zh, ah, bh; {finish}");
    check_body("add.cc", &sum, B64, &wide, |x| {
        Some(x[0].wrapping_add(x[1]))
    });
    let difference = format!("{halves} sub.cc.s32 zl, al, bl; subc.s32 zh, ah, bh; {finish}");
    check_body("sub.cc", &difference, B64, &wide, |x| {
        Some(x[0].wrapping_sub(x[1]))
    });
    let product = "{ .reg .b32 al, ah, bl, bh, cl, ch, zl, zh;
        mov.b64 {al, ah}, %a; mov.b64 {bl, bh}, %b; mov.b64 {cl, ch}, %c;
        mad.lo.cc.u32 zl, al, bl, cl; madc.hi.u32 zh, al, bl, ch;
        @%on mov.b64 %z, {zl, zh}; }";
    check_body("mad.cc.u32", product, B64, &[(B64, Draw::Bits); 3], |x| {
        let product = (x[0] & 0xffff_ffff) * (x[1] & 0xffff_ffff);
        Some(product.wrapping_add(x[2]))
    });
    // The carry that leaves a 64-bit sum and a 64-bit multiply-add.
    let out = "{ .reg .b64 t; add.cc.u64 t, %a, %b; @%on addc.u64 %z, 0, 0; }";
    check_body("add.cc.u64", out, B64, &wide, |x| {
        Some(((u128::from(x[0]) + u128::from(x[1])) >> 64) as u64)
    });
    let borrow = "{ .reg .b64 t; sub.cc.u64 t, %a, %b; @%on subc.u64 %z, 0, 0; }";
    check_body("sub.cc.u64", borrow, B64, &wide, |x| {
        Some(if x[0] < x[1] { !0 } else { 0 })
    });
    let high = "{ .reg .b64 t; mad.lo.cc.u64 t, %a, %b, %c; @%on madc.hi.u64 %z, %a, %b, 0; }";
    check_body("madc.hi.u64", high, B64, &[(B64, Draw::Bits); 3], |x| {
        let product = u128::from(x[0]) * u128::from(x[1]) + u128::from(x[2]);
        Some((product >> 64) as u64)
    });
    let chain =
        "{ .reg .b32 t; sub.cc.u32 t, %a, %b; subc.cc.u32 t, %c, %b; @%on addc.cc.u32 %z, 7, 0; }";
    check_body("subc.cc", chain, B32, &[(B32, Draw::Bits); 3], |x| {
        let first = i128::from(x[0] < x[1]);
        let second = i128::from(x[2]) - i128::from(x[1]) - first;
        // Set when nothing was borrowed.
        Some(7 + u64::from(second >= 0))
    });
}

#[test]
fn video_differences() {
    let three = [(B32, Draw::Bits); 3];
    let part = |v: u64, bits: u32, k: u32| v >> (bits * k) & ((1 << bits) - 1);
    for (head, bits) in [("vabsdiff2", 16), ("vabsdiff4", 8)] {
        let difference = |x: &[u64], k| part(x[0], bits, k).abs_diff(part(x[1], bits, k));
        check(&format!("{head}.u32.u32.u32"), B32, &three, |x| {
            Some((0..32 / bits).fold(0, |all, k| all | difference(x, k) << (bits * k)))
        });
        check(&format!("{head}.u32.u32.u32.add"), B32, &three, |x| {
            Some((0..32 / bits).map(|k| difference(x, k)).sum::<u64>() + x[2])
        });
        let signed = |v: u64, k| (part(v, bits, k) as i64) << (64 - bits) >> (64 - bits);
        check(&format!("{head}.s32.s32.s32.add"), B32, &three, |x| {
            let each = |k| signed(x[0], k).abs_diff(signed(x[1], k));
            Some((0..32 / bits).map(each).sum::<u64>() + x[2])
        });
    }
}

#[test]
fn dot_products() {
    let three = [(B32, Draw::Bits); 3];
    let byte = |v: u64, k: usize, signed: bool| {
        let b = (v >> (8 * k) & 0xff) as i64;
        if signed && b > 127 { b - 256 } else { b }
    };
    let half = |v: u64, k: usize, signed: bool| {
        let h = (v >> (16 * k) & 0xffff) as i64;
        if signed && h > 32767 { h - 65536 } else { h }
    };
    for (a, sa) in [("u32", false), ("s32", true)] {
        for (b, sb) in [("u32", false), ("s32", true)] {
            check(&format!("dp4a.{a}.{b}"), B32, &three, |x| {
                let sum: i64 = (0..4).map(|k| byte(x[0], k, sa) * byte(x[1], k, sb)).sum();
                Some((sum + x[2] as i64) as u64)
            });
            for (part, first) in [("lo", 0), ("hi", 2)] {
                check(&format!("dp2a.{part}.{a}.{b}"), B32, &three, |x| {
                    let sum: i64 = (0..2)
                        .map(|k| half(x[0], k, sa) * byte(x[1], first + k, sb))
                        .sum();
                    Some((sum + x[2] as i64) as u64)
                });
            }
        }
    }
}

#[test]
fn predicates_as_operands() {
    let two = [(Pred, Draw::Bits), (Pred, Draw::Bits)];
    check("and.pred", Pred, &two, |x| Some(x[0] & x[1]));
    check("or.pred", Pred, &two, |x| Some(x[0] | x[1]));
    check("xor.pred", Pred, &two, |x| Some(x[0] ^ x[1]));
    check("not.pred", Pred, &two[..1], |x| Some(!x[0]));
    check("mov.pred", Pred, &two[..1], |x| Some(x[0]));
    check_body(
        "and.pred !b",
        "@%on and.pred %z, %a, !%b;",
        Pred,
        &two,
        |x| Some(x[0] & !x[1]),
    );
}
