//! f16 and bf16 arithmetic: exact in f64, then the nearest by trying.

use crate::convert::{half_value, nearest_half};
use crate::harness::{B16, B32, Draw, Pred, check, check_body};

const TYPES: [(&str, u32, u32); 2] = [("f16", 5, 10), ("bf16", 8, 7)];

#[test]
fn arithmetic() {
    for (ty, e, m) in TYPES {
        let v = |bits: u64| half_value(bits & 0xffff, e, m);
        let r = |x: f64| nearest_half(x, e, m);
        type Binary = (&'static str, fn(f64, f64) -> f64);
        let ops: [Binary; 3] = [
            ("add", |a, b| a + b),
            ("sub", |a, b| a - b),
            ("mul", |a, b| a * b),
        ];
        for (op, f) in ops {
            check(&format!("{op}.{ty}"), B16, &[(B16, Draw::Half); 2], |x| {
                Some(r(f(v(x[0]), v(x[1]))))
            });
            check(&format!("{op}.{ty}x2"), B32, &[(B32, Draw::Half); 2], |x| {
                let (a, b) = (x[0] >> 16, x[1] >> 16);
                Some(r(f(v(x[0]), v(x[1]))) + (r(f(v(a), v(b))) << 16))
            });
        }
        // a * b is exact in f64; the sum is when its parts are not far apart.
        let fma = |a: u64, b: u64, c: u64| {
            let (p, c) = (v(a) * v(b), v(c));
            let close = p == 0.0 || c == 0.0 || !p.is_finite() || !c.is_finite() || {
                let ratio = (p / c).abs();
                ratio > 2f64.powi(-30) && ratio < 2f64.powi(30)
            };
            close.then_some(p + c)
        };
        check(&format!("fma.rn.{ty}"), B16, &[(B16, Draw::Half); 3], |x| {
            fma(x[0], x[1], x[2]).map(r)
        });
        check(
            &format!("fma.rn.relu.{ty}"),
            B16,
            &[(B16, Draw::Half); 3],
            |x| {
                fma(x[0], x[1], x[2]).map(|y| {
                    if y.is_nan() {
                        0x7fff
                    } else {
                        r(y.max(0.0) + 0.0)
                    }
                })
            },
        );
        check(&format!("neg.{ty}"), B16, &[(B16, Draw::Half)], |x| {
            Some(x[0] ^ 0x8000)
        });
        check(&format!("abs.{ty}"), B16, &[(B16, Draw::Half)], |x| {
            Some(x[0] & 0x7fff)
        });
        check(&format!("min.{ty}"), B16, &[(B16, Draw::Half); 2], |x| {
            let (a, b) = (v(x[0]), v(x[1]));
            Some(r(match (a.is_nan(), b.is_nan()) {
                (true, _) => b,
                (_, true) => a,
                _ if a.total_cmp(&b).is_lt() => a,
                _ => b,
            }))
        });
        check(
            &format!("max.NaN.{ty}x2"),
            B32,
            &[(B32, Draw::Half); 2],
            |x| {
                let one = |x: u64, y: u64| {
                    let (a, b) = (v(x), v(y));
                    if a.is_nan() || b.is_nan() {
                        return 0x7fff;
                    }
                    r(if a.total_cmp(&b).is_gt() { a } else { b })
                };
                Some(one(x[0], x[1]) + (one(x[0] >> 16, x[1] >> 16) << 16))
            },
        );
    }
    check("add.sat.f16", B16, &[(B16, Draw::Half); 2], |x| {
        let sum = half_value(x[0], 5, 10) + half_value(x[1], 5, 10);
        Some(nearest_half(
            if sum > 0.0 { sum.min(1.0) } else { 0.0 },
            5,
            10,
        ))
    });
}

#[test]
fn comparisons() {
    for (ty, e, m) in TYPES {
        let v = |bits: u64| half_value(bits & 0xffff, e, m);
        check(
            &format!("setp.lt.{ty}"),
            Pred,
            &[(B16, Draw::Half); 2],
            |x| Some((v(x[0]) < v(x[1])).into()),
        );
        check(
            &format!("setp.neu.{ty}"),
            Pred,
            &[(B16, Draw::Half); 2],
            |x| Some((v(x[0]) != v(x[1])).into()),
        );
        let body = format!(
            "{{ .reg .pred l, h; @%on setp.ge.{ty}x2 l|h, %a, %b; @%on xor.pred %z, l, h; }}"
        );
        check_body(&body, &body, Pred, &[(B32, Draw::Half); 2], |x| {
            let low = v(x[0]) >= v(x[1]);
            let high = v(x[0] >> 16) >= v(x[1] >> 16);
            Some((low != high).into())
        });
    }
}

#[test]
fn set_writes_numbers() {
    type Holds = fn(f64, f64) -> bool;
    let ops: [(&str, Holds); 4] = [
        ("gt", |a, b| a > b),
        ("equ", |a, b| a == b || a.is_nan() || b.is_nan()),
        ("neu", |a, b| a != b),
        ("leu", |a, b| a <= b || a.is_nan() || b.is_nan()),
    ];
    for (ty, e, m) in TYPES {
        let v = |bits: u64| half_value(bits & 0xffff, e, m);
        let one = if ty == "f16" { 0x3c00 } else { 0x3f80 };
        for (op, holds) in ops {
            for (to, yes) in [("u16", 0xffff), ("s16", 0xffff), (ty, one)] {
                let name = format!("set.{op}.{to}.{ty}");
                check(&name, B16, &[(B16, Draw::Half); 2], |x| {
                    Some(if holds(v(x[0]), v(x[1])) { yes } else { 0 })
                });
            }
            check(
                &format!("set.{op}.u32.{ty}"),
                B32,
                &[(B16, Draw::Half); 2],
                |x| {
                    Some(if holds(v(x[0]), v(x[1])) {
                        0xffff_ffff
                    } else {
                        0
                    })
                },
            );
            let pair = format!("{ty}x2");
            for (to, yes) in [("u32", 0xffff), ("s32", 0xffff), (pair.as_str(), one)] {
                let one = move |a: u64, b: u64, third: bool| {
                    let holds = holds(v(a), v(b)) && third;
                    if holds { yes } else { 0 }
                };
                let both = move |x: &[u64], third: bool| {
                    one(x[0], x[1], third) | one(x[0] >> 16, x[1] >> 16, third) << 16
                };
                let two = [(B32, Draw::Half), (B32, Draw::Half)];
                let name = format!("set.{op}.{to}.{pair}");
                check(&name, B32, &two, |x| Some(both(x, true)));
                let three = [two[0], two[1], (Pred, Draw::Bits)];
                let body = format!("@%on set.{op}.and.{to}.{pair} %z, %a, %b, !%c;");
                check_body(&body, &body, B32, &three, |x| Some(both(x, x[2] == 0)));
            }
        }
    }
}
