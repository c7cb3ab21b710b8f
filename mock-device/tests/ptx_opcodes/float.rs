//! f32 and f64 arithmetic: nearest against the host, other roundings against
//! the sign of the exact residue.

use crate::harness::{B32, B64, Draw, Pred, check, check_body};

fn f(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn d(bits: u64) -> f64 {
    f64::from_bits(bits)
}

/// f32 results: every NaN is the canonical one.
fn single(x: f32) -> Option<u64> {
    Some(if x.is_nan() {
        0x7fff_ffff
    } else {
        x.to_bits().into()
    })
}

/// f64 results; which NaN comes out is unspecified.
fn double(x: f64) -> Option<u64> {
    (!x.is_nan()).then(|| x.to_bits())
}

fn ftz(x: f32) -> f32 {
    if x.is_subnormal() {
        0f32.copysign(x)
    } else {
        x
    }
}

fn sat(x: f32) -> f32 {
    if x.is_nan() {
        0.0
    } else {
        x.clamp(0.0, 1.0) + 0.0
    }
}

const ONE: [(crate::harness::Reg, Draw); 1] = [(B32, Draw::Float)];
const TWO: [(crate::harness::Reg, Draw); 2] = [(B32, Draw::Float); 2];
const THREE: [(crate::harness::Reg, Draw); 3] = [(B32, Draw::Float); 3];
const TWO64: [(crate::harness::Reg, Draw); 2] = [(B64, Draw::Float); 2];

#[test]
fn nearest() {
    type Binary = (&'static str, fn(f32, f32) -> f32, fn(f64, f64) -> f64);
    let table: [Binary; 4] = [
        ("add", |a, b| a + b, |a, b| a + b),
        ("sub", |a, b| a - b, |a, b| a - b),
        ("mul", |a, b| a * b, |a, b| a * b),
        ("div.rn", |a, b| a / b, |a, b| a / b),
    ];
    for (op, f32_op, f64_op) in table {
        check(&format!("{op}.f32"), B32, &TWO, |x| {
            single(f32_op(f(x[0]), f(x[1])))
        });
        check(&format!("{op}.ftz.f32"), B32, &TWO, |x| {
            single(ftz(f32_op(ftz(f(x[0])), ftz(f(x[1])))))
        });
        check(&format!("{op}.f64"), B64, &TWO64, |x| {
            double(f64_op(d(x[0]), d(x[1])))
        });
    }
    for op in ["add", "mul"] {
        let run = |a: f32, b: f32| if op == "add" { a + b } else { a * b };
        check(&format!("{op}.sat.f32"), B32, &TWO, |x| {
            single(sat(run(f(x[0]), f(x[1]))))
        });
        check(&format!("{op}.rn.ftz.sat.f32"), B32, &TWO, |x| {
            single(sat(ftz(run(ftz(f(x[0])), ftz(f(x[1]))))))
        });
    }
    check("fma.rn.f32", B32, &THREE, |x| {
        single(f(x[0]).mul_add(f(x[1]), f(x[2])))
    });
    check("mad.rn.f32", B32, &THREE, |x| {
        single(f(x[0]).mul_add(f(x[1]), f(x[2])))
    });
    check("fma.rn.ftz.sat.f32", B32, &THREE, |x| {
        single(sat(ftz(ftz(f(x[0])).mul_add(ftz(f(x[1])), ftz(f(x[2]))))))
    });
    check("fma.rn.f64", B64, &[(B64, Draw::Float); 3], |x| {
        double(d(x[0]).mul_add(d(x[1]), d(x[2])))
    });
    check("rcp.rn.f32", B32, &ONE, |x| single(1.0 / f(x[0])));
    check("sqrt.rn.f32", B32, &ONE, |x| single(f(x[0]).sqrt()));
    check("rcp.rn.f64", B64, &TWO64[..1], |x| double(1.0 / d(x[0])));
    check("sqrt.rn.f64", B64, &TWO64[..1], |x| double(d(x[0]).sqrt()));
}

/// Moves the nearest result in the direction of a rounding mode, given on
/// which side of it the exact value lies.
macro_rules! redirect {
    ($mode:expr, $nearest:expr, $exact_above:expr, $exact_below:expr) => {{
        let (n, above, below) = ($nearest, $exact_above, $exact_below);
        match $mode {
            "rm" if below => n.next_down(),
            "rp" if above => n.next_up(),
            "rz" if n > 0.0 && below => n.next_down(),
            "rz" if n < 0.0 && above => n.next_up(),
            _ => n,
        }
    }};
}

/// Side of the exact sum `a + b` (in f64, as two parts) from `n`.
fn sides(n: f32, a: f64, b: f64) -> (bool, bool) {
    // Knuth's two-sum: a + b == s + e exactly.
    let s = a + b;
    let t = s - a;
    let e = (a - (s - t)) + (b - t);
    let n = f64::from(n);
    if n == s {
        (e > 0.0, e < 0.0)
    } else {
        (s > n, s < n)
    }
}

#[test]
fn directed_single() {
    let two = [(B32, Draw::Tame); 2];
    let three = [(B32, Draw::Tame); 3];
    for mode in ["rz", "rm", "rp"] {
        let zero = |exact_zero: bool, r: f32, x: &[u64], y: u64| {
            // An exact zero sum of opposite values is -0 only towards -inf.
            if exact_zero && (x[0] ^ y) >> 31 & 1 == 1 && mode == "rm" {
                -0.0
            } else {
                r
            }
        };
        check(&format!("add.{mode}.f32"), B32, &two, |x| {
            let (a, b) = (f(x[0]), f(x[1]));
            let n = a + b;
            let (above, below) = sides(n, a.into(), b.into());
            single(zero(n == 0.0, redirect!(mode, n, above, below), x, x[1]))
        });
        check(&format!("sub.{mode}.f32"), B32, &two, |x| {
            let (a, b) = (f(x[0]), -f(x[1]));
            let n = a + b;
            let (above, below) = sides(n, a.into(), b.into());
            single(zero(
                n == 0.0,
                redirect!(mode, n, above, below),
                x,
                x[1] ^ 1 << 31,
            ))
        });
        check(&format!("mul.{mode}.f32"), B32, &two, |x| {
            let (a, b) = (f(x[0]), f(x[1]));
            let (n, exact) = (a * b, f64::from(a) * f64::from(b));
            single(redirect!(mode, n, exact > n.into(), exact < n.into()))
        });
        check(&format!("fma.{mode}.f32"), B32, &three, |x| {
            let (a, b, c) = (f(x[0]), f(x[1]), f(x[2]));
            let n = a.mul_add(b, c);
            let (above, below) = sides(n, f64::from(a) * f64::from(b), c.into());
            (n != 0.0).then(|| single(redirect!(mode, n, above, below)))?
        });
        check(&format!("div.{mode}.f32"), B32, &two, |x| {
            let (a, b) = (f(x[0]), f(x[1]));
            let n = a / b;
            // a - n * b is exact in f64's fma; its sign over b's tells the side.
            let rest = (-f64::from(n)).mul_add(b.into(), a.into()) * f64::from(b.signum());
            single(redirect!(mode, n, rest > 0.0, rest < 0.0))
        });
        check(&format!("rcp.{mode}.f32"), B32, &two[..1], |x| {
            let b = f(x[0]);
            let n = 1.0 / b;
            let rest = (-f64::from(n)).mul_add(b.into(), 1.0) * f64::from(b.signum());
            single(redirect!(mode, n, rest > 0.0, rest < 0.0))
        });
        check(&format!("sqrt.{mode}.f32"), B32, &two[..1], |x| {
            let a = f(x[0]);
            let n = a.sqrt();
            let rest = (-f64::from(n)).mul_add(n.into(), a.into());
            single(redirect!(mode, n, rest > 0.0, rest < 0.0))
        });
    }
}

#[test]
fn directed_double() {
    let two = [(B64, Draw::Tame); 2];
    for mode in ["rz", "rm", "rp"] {
        check(&format!("add.{mode}.f64"), B64, &two, |x| {
            let (a, b) = (d(x[0]), d(x[1]));
            let n = a + b;
            let t = n - a;
            let e = (a - (n - t)) + (b - t);
            (n != 0.0).then(|| double(redirect!(mode, n, e > 0.0, e < 0.0)))?
        });
        check(&format!("mul.{mode}.f64"), B64, &two, |x| {
            let (a, b) = (d(x[0]), d(x[1]));
            let n = a * b;
            let e = a.mul_add(b, -n);
            double(redirect!(mode, n, e > 0.0, e < 0.0))
        });
        check(&format!("div.{mode}.f64"), B64, &two, |x| {
            let (a, b) = (d(x[0]), d(x[1]));
            let n = a / b;
            let rest = (-n).mul_add(b, a) * b.signum();
            double(redirect!(mode, n, rest > 0.0, rest < 0.0))
        });
        check(&format!("sqrt.{mode}.f64"), B64, &two[..1], |x| {
            let a = d(x[0]);
            let n = a.sqrt();
            let rest = (-n).mul_add(n, a);
            double(redirect!(mode, n, rest > 0.0, rest < 0.0))
        });
        // Small integers, so that a * b + c is exact in 128 bits.
        let body = format!(
            "{{ .reg .f64 a, b, c; shr.s64 %a, %a, 3; shr.s64 %b, %b, 9; shr.s64 %c, %c, 1;
              cvt.rn.f64.s64 a, %a; cvt.rn.f64.s64 b, %b; cvt.rn.f64.s64 c, %c;
              @%on fma.{mode}.f64 %z, a, b, c; }}"
        );
        let three = [(B64, Draw::Bits); 3];
        check_body(&format!("fma.{mode}.f64"), &body, B64, &three, |x| {
            let [a, b, c] =
                [x[0] as i64 >> 3, x[1] as i64 >> 9, x[2] as i64 >> 1].map(|v| v as f64 as i128);
            let exact = a * b + c;
            let n = exact as f64;
            let (above, below) = (exact > n as i128, exact < n as i128);
            (exact != 0).then(|| double(redirect!(mode, n, above, below)))?
        });
    }
}

#[test]
fn rounding_overflows_as_ieee_says() {
    for (mode, up, down) in [
        ("rz", f32::MAX, f32::MIN),
        ("rm", f32::MAX, f32::NEG_INFINITY),
        ("rp", f32::INFINITY, f32::MIN),
    ] {
        let big = [(B32, Draw::Float)];
        let body = format!(
            "{{ .reg .f32 m; and.b32 %a, %a, 0x80000000; or.b32 %a, %a, 0x7f7fffff;
              mov.f32 m, 0f7F7FFFFF; @%on mul.{mode}.f32 %z, %a, m; }}"
        );
        check_body(&format!("mul.{mode} overflow"), &body, B32, &big, |x| {
            single(if x[0] >> 31 == 0 { up } else { down })
        });
    }
    // The smallest results: half of the least subnormal.
    for (mode, bits) in [("rn", 0u64), ("rz", 0), ("rm", 0), ("rp", 1)] {
        let body = format!("mov.b32 %a, 1; @%on mul.{mode}.f32 %z, %a, 0f3F000000;");
        check_body(
            &format!("mul.{mode} underflow"),
            &body,
            B32,
            &[(B32, Draw::Bits)],
            |_| Some(bits),
        );
    }
}

#[test]
fn signs_and_extremes() {
    check("neg.f32", B32, &ONE, |x| Some(x[0] ^ 1 << 31));
    check("abs.f32", B32, &ONE, |x| Some(x[0] & 0x7fff_ffff));
    check("neg.f64", B64, &TWO64[..1], |x| Some(x[0] ^ 1 << 63));
    check("abs.f64", B64, &TWO64[..1], |x| Some(x[0] & !(1 << 63)));
    check("abs.ftz.f32", B32, &ONE, |x| {
        let v = f(x[0]);
        (!v.is_nan()).then(|| ftz(v).abs().to_bits().into())
    });
    check("copysign.f32", B32, &TWO, |x| {
        Some(f(x[1]).copysign(f(x[0])).to_bits().into())
    });
    check("copysign.f64", B64, &TWO64, |x| {
        Some(d(x[1]).copysign(d(x[0])).to_bits())
    });
    // Total order of numbers, so that -0 < +0.
    let lesser = |a: f32, b: f32| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a.total_cmp(&b).is_lt() => a,
        _ => b,
    };
    let greater = |a: f32, b: f32| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a.total_cmp(&b).is_gt() => a,
        _ => b,
    };
    let nan = |a: f32, b: f32, r: f32| {
        if a.is_nan() || b.is_nan() {
            f32::NAN
        } else {
            r
        }
    };
    check("min.f32", B32, &TWO, |x| single(lesser(f(x[0]), f(x[1]))));
    check("max.f32", B32, &TWO, |x| single(greater(f(x[0]), f(x[1]))));
    check("min.NaN.f32", B32, &TWO, |x| {
        single(nan(f(x[0]), f(x[1]), lesser(f(x[0]), f(x[1]))))
    });
    check("max.ftz.NaN.f32", B32, &TWO, |x| {
        let (a, b) = (ftz(f(x[0])), ftz(f(x[1])));
        single(nan(a, b, greater(a, b)))
    });
    check("max.xorsign.abs.f32", B32, &TWO, |x| {
        let (a, b) = (f(x[0]), f(x[1]));
        let r = greater(a.abs(), b.abs());
        let sign = (x[0] ^ x[1]) >> 31 & 1 == 1;
        (!r.is_nan()).then(|| single(if sign { -r } else { r }))?
    });
    check_body(
        "min.f32 3",
        "@%on min.f32 %z, %a, %b, %c;",
        B32,
        &THREE,
        |x| single(lesser(lesser(f(x[0]), f(x[1])), f(x[2]))),
    );
    check("min.f64", B64, &TWO64, |x| {
        let (a, b) = (d(x[0]), d(x[1]));
        double(if a.is_nan() || !b.is_nan() && b.total_cmp(&a).is_lt() {
            b
        } else {
            a
        })
    });
    check("max.f64", B64, &TWO64, |x| {
        let (a, b) = (d(x[0]), d(x[1]));
        double(if a.is_nan() || !b.is_nan() && b.total_cmp(&a).is_gt() {
            b
        } else {
            a
        })
    });
}

#[test]
fn property_tests() {
    use std::num::FpCategory as Is;
    type Test = (&'static str, fn(Is) -> bool);
    let table: [Test; 6] = [
        ("finite", |c| !matches!(c, Is::Nan | Is::Infinite)),
        ("infinite", |c| c == Is::Infinite),
        ("number", |c| c != Is::Nan),
        ("notanumber", |c| c == Is::Nan),
        ("normal", |c| matches!(c, Is::Normal | Is::Zero)),
        ("subnormal", |c| c == Is::Subnormal),
    ];
    for (test, reference) in table {
        check(&format!("testp.{test}.f32"), Pred, &ONE, |x| {
            Some(reference(f(x[0]).classify()).into())
        });
        check(&format!("testp.{test}.f64"), Pred, &TWO64[..1], |x| {
            Some(reference(d(x[0]).classify()).into())
        });
    }
}

/// Checks an approximation by its error instead of its bits.
fn approximate(op: &str, draw: Draw, absolute: f64, relative: f64, exact: impl Fn(f64) -> f64) {
    for (x, got) in crate::harness::results(op, &[(B32, draw)]) {
        let (v, got) = (f64::from(f(x)), f64::from(f(got)));
        let want = exact(v);
        if want.is_nan() {
            assert!(got.is_nan(), "{op} of {v}: {got}");
            continue;
        }
        let want32 = f64::from(want as f32);
        if got == want32 {
            continue;
        }
        let error = (got - want).abs();
        assert!(
            error <= absolute + relative * want.abs(),
            "{op} of {v}: {got}, exact {want}"
        );
    }
}

#[test]
fn approximations_keep_the_stated_error() {
    let two = |n: i32| 2f64.powi(n);
    approximate("rcp.approx.f32", Draw::Float, 0.0, two(-23), |x| 1.0 / x);
    approximate("sqrt.approx.f32", Draw::Float, 0.0, two(-23), f64::sqrt);
    approximate("rsqrt.approx.f32", Draw::Float, 0.0, two(-22), |x| {
        1.0 / x.sqrt()
    });
    approximate("sin.approx.f32", Draw::Tame, two(-20), 0.0, f64::sin);
    approximate("cos.approx.f32", Draw::Tame, two(-20), 0.0, f64::cos);
    approximate("lg2.approx.f32", Draw::Float, two(-22), two(-22), f64::log2);
    approximate("ex2.approx.f32", Draw::Tame, 0.0, two(-22), f64::exp2);
    approximate("tanh.approx.f32", Draw::Tame, 0.0, two(-11), f64::tanh);
    check("div.approx.f32", B32, &[(B32, Draw::Tame); 2], |x| {
        single(f(x[0]) / f(x[1]))
    });
    check("div.full.f32", B32, &[(B32, Draw::Tame); 2], |x| {
        single(f(x[0]) / f(x[1]))
    });
    check("rcp.approx.ftz.f64", B64, &[(B64, Draw::Tame)], |x| {
        Some((1.0 / d(x[0])).to_bits() >> 32 << 32)
    });
}
