//! Shifts, bit fields, permutations, dot products, selections.

use super::super::code::Handler;
use super::super::exec::lanes::{handler, map3, op1, op2, op3};
use super::super::types::Ty;
use super::int::bits;

/// `shl`, `shr`: amounts above the width shift everything out.
pub(super) fn shift(head: &str, ty: Ty) -> Option<Handler> {
    Some(match (head, ty) {
        ("shl", Ty::B16) => op2!(fast: u16, u32 => u16, |a, b| if b > 15 { 0 } else { a << b }),
        ("shl", Ty::B32) => op2!(fast: u32, u32 => u32, |a, b| if b > 31 { 0 } else { a << b }),
        ("shl", Ty::B64) => op2!(fast: u64, u32 => u64, |a, b| if b > 63 { 0 } else { a << b }),
        ("shr", Ty::B16 | Ty::U16) => {
            op2!(fast: u16, u32 => u16, |a, b| if b > 15 { 0 } else { a >> b })
        }
        ("shr", Ty::B32 | Ty::U32) => {
            op2!(fast: u32, u32 => u32, |a, b| if b > 31 { 0 } else { a >> b })
        }
        ("shr", Ty::B64 | Ty::U64) => {
            op2!(fast: u64, u32 => u64, |a, b| if b > 63 { 0 } else { a >> b })
        }
        ("shr", Ty::S16) => op2!(fast: i16, u32 => i16, |a, b| a >> b.min(15)),
        ("shr", Ty::S32) => op2!(fast: i32, u32 => i32, |a, b| a >> b.min(31)),
        ("shr", Ty::S64) => op2!(fast: i64, u32 => i64, |a, b| a >> b.min(63)),
        _ => return None,
    })
}

/// `shf`: a 64-bit value from two registers, shifted.
pub(super) fn funnel(left: bool, wrap: bool) -> Handler {
    match (left, wrap) {
        (true, true) => op3!(u32, u32, u32 => u32, |a, b, c| {
            ((u64::from(b) << 32 | u64::from(a)) << (c & 31) >> 32) as u32
        }),
        (true, false) => op3!(u32, u32, u32 => u32, |a, b, c| {
            ((u64::from(b) << 32 | u64::from(a)) << c.min(32) >> 32) as u32
        }),
        (false, true) => op3!(u32, u32, u32 => u32, |a, b, c| {
            ((u64::from(b) << 32 | u64::from(a)) >> (c & 31)) as u32
        }),
        (false, false) => op3!(u32, u32, u32 => u32, |a, b, c| {
            ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32
        }),
    }
}

/// `bfe`: field of `c` bits from bit `b` on.
pub(super) fn extract(ty: Ty) -> Option<Handler> {
    fn field(a: i128, width: u32, position: u32, length: u32, signed: bool) -> i128 {
        let (position, length) = (position & 255, length & 255);
        if length == 0 {
            return 0;
        }
        let last = (position + length - 1).min(width - 1);
        let sign = if signed { a >> last & 1 } else { 0 };
        let available = length.min(width.saturating_sub(position));
        let low = if available == 0 {
            0
        } else {
            a >> position & ((1 << available) - 1)
        };
        low | if sign != 0 { -1 << available } else { 0 }
    }
    Some(match ty {
        Ty::U32 => op3!(u32, u32, u32 => u32, |a, b, c| field(a.into(), 32, b, c, false) as u32),
        Ty::S32 => op3!(u32, u32, u32 => u32, |a, b, c| field(a.into(), 32, b, c, true) as u32),
        Ty::U64 => op3!(u64, u32, u32 => u64, |a, b, c| field(a.into(), 64, b, c, false) as u64),
        Ty::S64 => op3!(u64, u32, u32 => u64, |a, b, c| field(a.into(), 64, b, c, true) as u64),
        _ => return None,
    })
}

/// `bfi`: the low `d` bits of `a` into `b` at bit `c`.
pub(super) fn insert(ty: Ty) -> Option<Handler> {
    fn field(a: u64, b: u64, position: u32, length: u32, width: u32) -> u64 {
        let (position, length) = (position & 255, length & 255);
        let length = length.min(width.saturating_sub(position));
        if length == 0 {
            return b;
        }
        let mask = u64::MAX >> (64 - length) << position;
        b & !mask | a << position & mask
    }
    macro_rules! insert {
        ($t:ty, $width:expr) => {
            handler!(|cx, i| {
                let (a, b) = (cx.row::<$t>(i.s[0]), cx.row::<$t>(i.s[1]));
                let (at, length) = (cx.row::<u32>(i.s[2]), cx.row::<u32>(i.s[3]));
                let mut out = *b;
                for l in 0..32 {
                    out[l] = field(a[l].into(), b[l].into(), at[l], length[l], $width) as $t;
                }
                cx.put(i.d, &out);
            })
        };
    }
    Some(match ty {
        Ty::B32 => insert!(u32, 32),
        Ty::B64 => insert!(u64, 64),
        _ => return None,
    })
}

/// `fns`: the position of the `offset`-th set bit from `base`.
pub(super) fn find_nth() -> Handler {
    op3!(u32, u32, i32 => u32, |mask, base, offset| {
        let base = base & 31;
        if offset == 0 {
            if mask >> base & 1 != 0 { base } else { !0 }
        } else {
            let step = if offset > 0 { 1 } else { -1 };
            let mut left = offset.unsigned_abs();
            let mut at = base as i32;
            let mut found = !0;
            while (0..32).contains(&at) {
                if mask >> at & 1 != 0 {
                    left -= 1;
                    if left == 0 {
                        found = at as u32;
                        break;
                    }
                }
                at += step;
            }
            found
        }
    })
}

/// `bmsk`: `b` ones from bit `a` on.
pub(super) fn bit_mask(wrap: bool) -> Handler {
    if wrap {
        op2!(u32, u32 => u32, |a, b| (((1u64 << (b & 31)) - 1) as u32) << (a & 31))
    } else {
        op2!(u32, u32 => u32, |a, b| {
            if a > 31 || b == 0 { 0 } else { (((1u64 << b.min(32)) - 1) as u32) << a }
        })
    }
}

/// `szext`: sign- or zero-extends from bit `b`.
pub(super) fn extend(wrap: bool, ty: Ty) -> Option<Handler> {
    Some(match (wrap, ty) {
        (true, Ty::U32) => op2!(u32, u32 => u32, |a, b| a & (((1u64 << (b & 31)) - 1) as u32)),
        (false, Ty::U32) => {
            op2!(u32, u32 => u32, |a, b| a & (((1u64 << b.min(32)) - 1) as u32))
        }
        (true, Ty::S32) => op2!(u32, u32 => u32, |a, b| {
            let n = b & 31;
            if n == 0 { 0 } else { ((a << (32 - n)) as i32 >> (32 - n)) as u32 }
        }),
        (false, Ty::S32) => op2!(u32, u32 => u32, |a, b| {
            let n = b.min(32);
            if n == 0 { 0 } else { ((a << (32 - n)) as i32 >> (32 - n)) as u32 }
        }),
        _ => return None,
    })
}

/// `prmt`, by mode.
pub(super) fn permute(mode: Option<&str>) -> Option<Handler> {
    fn pick(a: u32, b: u32, selectors: [u32; 4]) -> u32 {
        let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
        u32::from_le_bytes(selectors.map(|s| {
            let byte = bytes[(s & 7) as usize];
            if s & 8 == 0 {
                byte
            } else {
                ((byte as i8) >> 7) as u8
            }
        }))
    }
    Some(match mode {
        None => op3!(u32, u32, u32 => u32, |a, b, c| {
            pick(a, b, [c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15])
        }),
        Some("f4e") => op3!(u32, u32, u32 => u32, |a, b, c| {
            let s = c & 3;
            pick(a, b, [s, s + 1, s + 2, s + 3])
        }),
        Some("b4e") => op3!(u32, u32, u32 => u32, |a, b, c| {
            let s = c & 3;
            pick(a, b, [s, (s + 7) & 7, (s + 6) & 7, (s + 5) & 7])
        }),
        Some("rc8") => op3!(u32, u32, u32 => u32, |a, b, c| pick(a, b, [c & 3; 4])),
        Some("ecl") => op3!(u32, u32, u32 => u32, |a, b, c| {
            let s = c & 3;
            pick(a, b, [s, s.max(1), s.max(2), 3])
        }),
        Some("ecr") => op3!(u32, u32, u32 => u32, |a, b, c| {
            let s = c & 3;
            pick(a, b, [0, s.min(1), s.min(2), s])
        }),
        Some("rc16") => op3!(u32, u32, u32 => u32, |a, b, c| {
            let s = (c & 1) * 2;
            pick(a, b, [s, s + 1, s, s + 1])
        }),
        Some(_) => return None,
    })
}

/// `dp4a`: four products of bytes added up.
pub(super) fn dot4(a: Ty, b: Ty) -> Option<Handler> {
    macro_rules! dot {
        ($a:ty, $b:ty) => {
            op3!(u32, u32, u32 => u32, |a, b, c| {
                let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
                let mut sum = c;
                for k in 0..4 {
                    let product = i32::from(a[k] as $a) * i32::from(b[k] as $b);
                    sum = sum.wrapping_add(product as u32);
                }
                sum
            })
        };
    }
    Some(match (a, b) {
        (Ty::U32, Ty::U32) => dot!(u8, u8),
        (Ty::U32, Ty::S32) => dot!(u8, i8),
        (Ty::S32, Ty::U32) => dot!(i8, u8),
        (Ty::S32, Ty::S32) => dot!(i8, i8),
        _ => return None,
    })
}

/// `dp2a`: two products of a 16-bit half and a byte; `high` takes the upper
/// bytes of `b`.
pub(super) fn dot2(a: Ty, b: Ty, high: bool) -> Option<Handler> {
    macro_rules! dot {
        ($a:ty, $b:ty, $shift:expr) => {
            op3!(u32, u32, u32 => u32, |a, b, c| {
                let bytes = (b >> $shift).to_le_bytes();
                let low = i32::from(a as u16 as $a) * i32::from(bytes[0] as $b);
                let up = i32::from((a >> 16) as u16 as $a) * i32::from(bytes[1] as $b);
                c.wrapping_add(low as u32).wrapping_add(up as u32)
            })
        };
    }
    Some(match (a, b, high) {
        (Ty::U32, Ty::U32, false) => dot!(u16, u8, 0),
        (Ty::U32, Ty::S32, false) => dot!(u16, i8, 0),
        (Ty::S32, Ty::U32, false) => dot!(i16, u8, 0),
        (Ty::S32, Ty::S32, false) => dot!(i16, i8, 0),
        (Ty::U32, Ty::U32, true) => dot!(u16, u8, 16),
        (Ty::U32, Ty::S32, true) => dot!(u16, i8, 16),
        (Ty::S32, Ty::U32, true) => dot!(i16, u8, 16),
        (Ty::S32, Ty::S32, true) => dot!(i16, i8, 16),
        _ => return None,
    })
}

/// `lop3`: the truth table is in `x`.
pub(super) fn logic3() -> Handler {
    handler!(|cx, i| {
        let table = i.x;
        let on = |bit: u32| if table >> bit & 1 != 0 { !0u32 } else { 0 };
        let t: [u32; 8] = std::array::from_fn(|bit| on(bit as u32));
        map3(cx, i, |a: u32, b: u32, c: u32| {
            let when_a = (b & (c & t[7] | !c & t[6])) | (!b & (c & t[5] | !c & t[4]));
            let not_a = (b & (c & t[3] | !c & t[2])) | (!b & (c & t[1] | !c & t[0]));
            a & when_a | !a & not_a
        });
    })
}

/// `mov` between registers of one width.
pub(super) fn copy(ty: Ty) -> Option<Handler> {
    Some(match ty.size() {
        2 => op1!(fast: u16 => u16, |a| a),
        4 => op1!(fast: u32 => u32, |a| a),
        8 => op1!(fast: u64 => u64, |a| a),
        16 => op1!(fast: u128 => u128, |a| a),
        _ => return None,
    })
}

/// `selp`: `a` where the predicate `s[2]` holds, else `b`.
pub(super) fn select(ty: Ty) -> Option<Handler> {
    macro_rules! select {
        ($t:ty) => {
            handler!(
                fast | cx,
                i | {
                    let pred = cx.pred(i.s[2]);
                    let (a, b) = (cx.row::<$t>(i.s[0]), cx.row::<$t>(i.s[1]));
                    let mut out = *b;
                    for lane in 0..32 {
                        out[lane] = if pred >> lane & 1 != 0 {
                            a[lane]
                        } else {
                            b[lane]
                        };
                    }
                    cx.put(i.d, &out);
                }
            )
        };
    }
    Some(match ty.size() {
        2 => select!(u16),
        4 => select!(u32),
        8 => select!(u64),
        _ => return None,
    })
}

/// `slct`: `a` where `c >= 0`, else `b`.
pub(super) fn select_sign(ty: Ty, by: Ty, ftz: bool) -> Option<Handler> {
    match (by, ftz) {
        (Ty::S32, false) => {
            bits!(
                wide_bits(ty),
                T,
                op3!(T, T, i32 => T, |a, b, c| if c >= 0 { a } else { b })
            )
        }
        (Ty::F32, true) => bits!(
            wide_bits(ty),
            T,
            op3!(T, T, f32 => T, |a, b, c| {
                if c >= 0.0 || c.is_subnormal() { a } else { b }
            })
        ),
        (Ty::F32, false) => {
            bits!(
                wide_bits(ty),
                T,
                op3!(T, T, f32 => T, |a, b, c| if c >= 0.0 { a } else { b })
            )
        }
        _ => None,
    }
}

/// The bit type of the same size.
fn wide_bits(ty: Ty) -> Ty {
    match ty.size() {
        2 => Ty::B16,
        4 => Ty::B32,
        8 => Ty::B64,
        _ => ty,
    }
}
