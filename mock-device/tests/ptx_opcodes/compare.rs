//! `setp` and `set`: all comparisons, both predicates, boolean combination.

use std::cmp::Ordering;

use crate::harness::{B16, B32, B64, Draw, Pred, Reg, check_body};

/// How two values stand; `None` when unordered.
type Order = fn(u64, u64) -> Option<Ordering>;

fn accepts(op: &str, order: Option<Ordering>) -> bool {
    let Some(order) = order else {
        return op == "nan" || op.len() == 3 && op.ends_with('u');
    };
    match op {
        "num" => true,
        "nan" => false,
        _ => match &op[..2] {
            "eq" => order.is_eq(),
            "ne" => order.is_ne(),
            "lt" | "lo" => order.is_lt(),
            "le" | "ls" => order.is_le(),
            "gt" | "hi" => order.is_gt(),
            _ => order.is_ge(),
        },
    }
}

const SIGNED: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];
const UNSIGNED: [&str; 10] = ["eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs"];
const FLOAT: [&str; 14] = [
    "eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan",
];

fn types() -> Vec<(&'static str, Reg, Draw, &'static [&'static str], Order)> {
    vec![
        ("b16", B16, Draw::Bits, &SIGNED[..2], |a, b| Some(a.cmp(&b))),
        ("b32", B32, Draw::Bits, &SIGNED[..2], |a, b| Some(a.cmp(&b))),
        ("b64", B64, Draw::Bits, &SIGNED[..2], |a, b| Some(a.cmp(&b))),
        ("u16", B16, Draw::Bits, &UNSIGNED, |a, b| Some(a.cmp(&b))),
        ("u32", B32, Draw::Bits, &UNSIGNED, |a, b| Some(a.cmp(&b))),
        ("u64", B64, Draw::Bits, &UNSIGNED, |a, b| Some(a.cmp(&b))),
        // Flipping the top bit turns signed order into unsigned order.
        ("s16", B16, Draw::Bits, &SIGNED, |a, b| {
            Some((a ^ 1 << 15).cmp(&(b ^ 1 << 15)))
        }),
        ("s32", B32, Draw::Bits, &SIGNED, |a, b| {
            Some((a ^ 1 << 31).cmp(&(b ^ 1 << 31)))
        }),
        ("s64", B64, Draw::Bits, &SIGNED, |a, b| {
            Some((a ^ 1 << 63).cmp(&(b ^ 1 << 63)))
        }),
        ("f32", B32, Draw::Float, &FLOAT, |a, b| {
            f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32))
        }),
        ("f64", B64, Draw::Float, &FLOAT, |a, b| {
            f64::from_bits(a).partial_cmp(&f64::from_bits(b))
        }),
    ]
}

#[test]
fn every_comparison_of_every_type() {
    for (ty, reg, how, ops, order) in types() {
        for op in ops {
            let two = [(reg, how), (reg, how)];
            let name = format!("setp.{op}.{ty}");
            let body = format!("@%on {name} %z, %a, %b;");
            check_body(&name, &body, Pred, &two, |x| {
                Some(accepts(op, order(x[0], x[1])).into())
            });
        }
    }
}

#[test]
fn flushed_comparison() {
    let two = [(B32, Draw::Float), (B32, Draw::Float)];
    let flush = |bits: u64| {
        let v = f32::from_bits(bits as u32);
        if v.is_subnormal() { 0.0 } else { v }
    };
    for op in FLOAT {
        let body = format!("@%on setp.{op}.ftz.f32 %z, %a, %b;");
        check_body(&body, &body, Pred, &two, |x| {
            Some(accepts(op, flush(x[0]).partial_cmp(&flush(x[1]))).into())
        });
    }
}

#[test]
fn combined_with_a_third_predicate() {
    let three = [(B32, Draw::Bits), (B32, Draw::Bits), (Pred, Draw::Bits)];
    for (logic, f) in [
        ("and", (|a, b| a & b) as fn(u64, u64) -> u64),
        ("or", |a, b| a | b),
        ("xor", |a, b| a ^ b),
    ] {
        for (third, flip) in [("%c", 0), ("!%c", 1)] {
            // Both outputs at once; the guard is one of them, and must count
            // with its old value throughout.
            let body = format!(
                "{{ .reg .pred p, q, keep; mov.pred keep, %on; mov.pred p, %on;
                   @p setp.lt.{logic}.u32 p|q, %a, %b, {third};
                   @keep and.pred %z, p, q; }}"
            );
            check_body(&body, &body, Pred, &three, |x| {
                let c = x[2] ^ flip;
                let lt = u64::from(x[0] < x[1]);
                Some(f(lt, c) & f(1 - lt, c))
            });
            let body = format!("@%on setp.ge.{logic}.u32 %z, %a, %b, {third};");
            check_body(&body, &body, Pred, &three, |x| {
                Some(f(u64::from(x[0] >= x[1]), x[2] ^ flip))
            });
        }
    }
    let body = "{ .reg .pred p; @%on setp.eq.u32 p|%z, %a, %b; }";
    check_body("second predicate", body, Pred, &three[..2], |x| {
        Some((x[0] != x[1]).into())
    });
}

#[test]
fn set_writes_numbers() {
    let two = [(B32, Draw::Float), (B32, Draw::Float)];
    let less = |x: &[u64]| f32::from_bits(x[0] as u32) < f32::from_bits(x[1] as u32);
    check_body(
        "set.lt.u32.f32",
        "@%on set.lt.u32.f32 %z, %a, %b;",
        B32,
        &two,
        |x| Some(if less(x) { !0 } else { 0 }),
    );
    check_body(
        "set.lt.f32.f32",
        "@%on set.lt.f32.f32 %z, %a, %b;",
        B32,
        &two,
        |x| Some(if less(x) { 1f32.to_bits().into() } else { 0 }),
    );
    let three = [two[0], two[1], (Pred, Draw::Bits)];
    let body = "@%on set.lt.or.s32.f32 %z, %a, %b, %c;";
    check_body(body, body, B32, &three, |x| {
        Some(if less(x) || x[2] == 1 { !0 } else { 0 })
    });
}
