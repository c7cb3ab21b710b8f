//! Extended-precision arithmetic: `add.cc`, `addc`, `sub.cc`, `subc`,
//! `mad.cc`, `madc`. The carry flag is a predicate row of the function.
//!
//! A subtraction is the addition of the complement, as on the hardware: it leaves
//! the flag set when there was *no* borrow. Chains of one kind cannot tell, but
//! compilers mix them: nvcc's 128-bit division ends a `subc.cc` chain with `addc`.

use super::super::code::{Handler, Inst, NONE};
use super::super::types::Ty;
use super::cx::{Cx, LANES, Lane};
use super::lanes::handler;

/// Handler: sources `s[0..3]`, carry in `s[3]`, carry out `e`. Without a
/// carry in the chain starts as if the flag were `START`.
pub(in crate::ptx) fn handler(head: &str, ty: Ty, part: Option<&str>) -> Option<Handler> {
    macro_rules! chain {
        ($t:ty, $wide:ty, $signed:ty, $wider:ty) => {
            match (head, part) {
                ("add", None) => handler!(|cx, i| chain::<$t, 0>(cx, i, |a, b, _c, carry| {
                    let (sum, one) = a.overflowing_add(b);
                    let (sum, two) = sum.overflowing_add(<$t>::from(carry));
                    (sum, one | two)
                })),
                ("sub", None) => handler!(|cx, i| chain::<$t, { !0 }>(cx, i, |a, b, _c, carry| {
                    let (rest, one) = a.overflowing_sub(b);
                    let (rest, two) = rest.overflowing_sub(<$t>::from(!carry));
                    (rest, !(one | two))
                })),
                ("mad", Some("lo")) => handler!(|cx, i| chain::<$t, 0>(cx, i, |a, b, c, carry| {
                    let (sum, one) = a.wrapping_mul(b).overflowing_add(c);
                    let (sum, two) = sum.overflowing_add(<$t>::from(carry));
                    (sum, one | two)
                })),
                ("mad", Some("hi")) if ty.is_signed() => {
                    handler!(|cx, i| chain::<$t, 0>(cx, i, |a, b, c, carry| {
                        let product = <$wider>::from(a as $signed) * <$wider>::from(b as $signed);
                        let (sum, one) = ((product >> <$t>::BITS) as $t).overflowing_add(c);
                        let (sum, two) = sum.overflowing_add(<$t>::from(carry));
                        (sum, one | two)
                    }))
                }
                ("mad", Some("hi")) => handler!(|cx, i| chain::<$t, 0>(cx, i, |a, b, c, carry| {
                    let product = <$wide>::from(a) * <$wide>::from(b);
                    let (sum, one) = ((product >> <$t>::BITS) as $t).overflowing_add(c);
                    let (sum, two) = sum.overflowing_add(<$t>::from(carry));
                    (sum, one | two)
                })),
                _ => return None,
            }
        };
    }
    Some(match ty {
        Ty::U32 | Ty::S32 => chain!(u32, u64, i32, i64),
        Ty::U64 | Ty::S64 => chain!(u64, u128, i64, i128),
        _ => return None,
    })
}

#[inline(always)]
fn chain<T: Lane, const START: u32>(
    cx: &mut Cx<'_>,
    i: &Inst,
    f: impl Fn(T, T, T, bool) -> (T, bool),
) {
    let (a, b) = (cx.row::<T>(i.s[0]), cx.row::<T>(i.s[1]));
    let c = if i.s[2] == NONE {
        [T::default(); LANES]
    } else {
        *cx.row::<T>(i.s[2])
    };
    let carry_in = if i.s[3] == NONE {
        START
    } else {
        cx.pred(i.s[3])
    };
    let mut out = [T::default(); LANES];
    let mut carry_out = 0;
    for lane in 0..LANES {
        let (value, carry) = f(a[lane], b[lane], c[lane], carry_in >> lane & 1 != 0);
        out[lane] = value;
        carry_out |= u32::from(carry) << lane;
    }
    cx.put(i.d, &out);
    if i.e != NONE {
        cx.put_pred(i.e, carry_out);
    }
}
