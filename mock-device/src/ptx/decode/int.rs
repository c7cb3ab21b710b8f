//! Integer arithmetic: the function on one lane for each opcode and type.

use super::super::code::Handler;
use super::super::exec::lanes::{op1, op2, op3};
use super::super::types::Ty;

/// One handler for each integer type.
macro_rules! ints {
    ($ty:expr, $t:ident, $handler:expr) => {
        match $ty {
            Ty::U16 | Ty::B16 => {
                type $t = u16;
                Some($handler)
            }
            Ty::S16 => {
                type $t = i16;
                Some($handler)
            }
            Ty::U32 | Ty::B32 => {
                type $t = u32;
                Some($handler)
            }
            Ty::S32 => {
                type $t = i32;
                Some($handler)
            }
            Ty::U64 | Ty::B64 => {
                type $t = u64;
                Some($handler)
            }
            Ty::S64 => {
                type $t = i64;
                Some($handler)
            }
            _ => None,
        }
    };
}

/// One handler for each width, for what does not depend on the sign.
macro_rules! bits {
    ($ty:expr, $t:ident, $handler:expr) => {
        match $ty {
            Ty::U16 | Ty::S16 | Ty::B16 => {
                type $t = u16;
                Some($handler)
            }
            Ty::U32 | Ty::S32 | Ty::B32 => {
                type $t = u32;
                Some($handler)
            }
            Ty::U64 | Ty::S64 | Ty::B64 => {
                type $t = u64;
                Some($handler)
            }
            _ => None,
        }
    };
}
pub(super) use bits;

/// Applies a function to both 16-bit halves.
macro_rules! halves {
    (|$a:ident: $t:ty, $b:ident| $body:expr) => {
        op2!(u32, u32 => u32, |x, y| {
            let f = |$a: $t, $b: $t| -> $t { $body };
            let low = f(x as u16 as $t, y as u16 as $t) as u16;
            let high = f((x >> 16) as u16 as $t, (y >> 16) as u16 as $t) as u16;
            u32::from(low) | u32::from(high) << 16
        })
    };
}

/// `d = a op b` with all three of one type.
pub(super) fn binary(head: &str, ty: Ty, sat: bool, relu: bool) -> Option<Handler> {
    if sat {
        return match (head, ty) {
            ("add", Ty::S32) => Some(op2!(i32, i32 => i32, |a, b| a.saturating_add(b))),
            ("sub", Ty::S32) => Some(op2!(i32, i32 => i32, |a, b| a.saturating_sub(b))),
            _ => None,
        };
    }
    if relu {
        return match (head, ty) {
            ("min", Ty::S32) => Some(op2!(i32, i32 => i32, |a, b| a.min(b).max(0))),
            ("max", Ty::S32) => Some(op2!(i32, i32 => i32, |a, b| a.max(b).max(0))),
            ("min", Ty::S16x2) => Some(halves!(|a: i16, b| a.min(b).max(0))),
            ("max", Ty::S16x2) => Some(halves!(|a: i16, b| a.max(b).max(0))),
            _ => None,
        };
    }
    match (head, ty) {
        ("add", Ty::U16x2 | Ty::S16x2) => return Some(halves!(|a: u16, b| a.wrapping_add(b))),
        ("min", Ty::U16x2) => return Some(halves!(|a: u16, b| a.min(b))),
        ("max", Ty::U16x2) => return Some(halves!(|a: u16, b| a.max(b))),
        ("min", Ty::S16x2) => return Some(halves!(|a: i16, b| a.min(b))),
        ("max", Ty::S16x2) => return Some(halves!(|a: i16, b| a.max(b))),
        _ => {}
    }
    match head {
        "add" => bits!(ty, T, op2!(fast: T, T => T, |a, b| a.wrapping_add(b))),
        "sub" => bits!(ty, T, op2!(fast: T, T => T, |a, b| a.wrapping_sub(b))),
        "mul" => bits!(ty, T, op2!(fast: T, T => T, |a, b| a.wrapping_mul(b))),
        // The quotient by zero is unspecified; hardware gives all ones.
        "div" => ints!(
            ty,
            T,
            op2!(T, T => T, |a, b| if b == 0 { !0 } else { a.wrapping_div(b) })
        ),
        "rem" => ints!(
            ty,
            T,
            op2!(T, T => T, |a, b| if b == 0 { !0 } else { a.wrapping_rem(b) })
        ),
        "min" => ints!(ty, T, op2!(fast: T, T => T, |a, b| a.min(b))),
        "max" => ints!(ty, T, op2!(fast: T, T => T, |a, b| a.max(b))),
        "and" => bits!(ty, T, op2!(fast: T, T => T, |a, b| a & b)),
        "or" => bits!(ty, T, op2!(fast: T, T => T, |a, b| a | b)),
        "xor" => bits!(ty, T, op2!(fast: T, T => T, |a, b| a ^ b)),
        _ => None,
    }
}

/// `d = op a`.
pub(super) fn unary(head: &str, ty: Ty) -> Option<Handler> {
    match head {
        "abs" => match ty {
            Ty::S16 => Some(op1!(i16 => i16, |a| a.wrapping_abs())),
            Ty::S32 => Some(op1!(i32 => i32, |a| a.wrapping_abs())),
            Ty::S64 => Some(op1!(i64 => i64, |a| a.wrapping_abs())),
            _ => None,
        },
        "neg" => match ty {
            Ty::S16 => Some(op1!(i16 => i16, |a| a.wrapping_neg())),
            Ty::S32 => Some(op1!(i32 => i32, |a| a.wrapping_neg())),
            Ty::S64 => Some(op1!(i64 => i64, |a| a.wrapping_neg())),
            _ => None,
        },
        "not" => bits!(ty, T, op1!(T => T, |a| !a)),
        "cnot" => bits!(ty, T, op1!(T => T, |a| T::from(a == 0))),
        "brev" => bits!(ty, T, op1!(T => T, |a| a.reverse_bits())),
        "popc" => bits!(ty, T, op1!(T => u32, |a| a.count_ones())),
        "clz" => bits!(ty, T, op1!(T => u32, |a| a.leading_zeros())),
        _ => None,
    }
}

/// `bfind`: the most significant bit that is not a sign bit.
pub(super) fn bfind(ty: Ty, shift: bool) -> Option<Handler> {
    Some(match (ty, shift) {
        (Ty::U32, false) => op1!(u32 => u32, |a| 31u32.wrapping_sub(a.leading_zeros())),
        (Ty::U64, false) => op1!(u64 => u32, |a| 63u32.wrapping_sub(a.leading_zeros())),
        (Ty::S32, false) => op1!(i32 => u32, |a| {
            31u32.wrapping_sub((a ^ a >> 31).leading_zeros())
        }),
        (Ty::S64, false) => op1!(i64 => u32, |a| {
            63u32.wrapping_sub((a ^ a >> 63).leading_zeros())
        }),
        (Ty::U32, true) => op1!(u32 => u32, |a| if a == 0 { !0 } else { a.leading_zeros() }),
        (Ty::U64, true) => op1!(u64 => u32, |a| if a == 0 { !0 } else { a.leading_zeros() }),
        (Ty::S32, true) => op1!(i32 => u32, |a| {
            let a = a ^ a >> 31;
            if a == 0 { !0 } else { a.leading_zeros() }
        }),
        (Ty::S64, true) => op1!(i64 => u32, |a| {
            let a = a ^ a >> 63;
            if a == 0 { !0 } else { a.leading_zeros() }
        }),
        _ => return None,
    })
}

/// `mul.hi`, `mul.wide`, `mul24`.
pub(super) fn multiply(part: &str, ty: Ty) -> Option<Handler> {
    Some(match (part, ty) {
        ("hi", Ty::U16) => {
            op2!(u16, u16 => u16, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16)
        }
        ("hi", Ty::S16) => {
            op2!(i16, i16 => i16, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16)
        }
        ("hi", Ty::U32) => {
            op2!(u32, u32 => u32, |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32)
        }
        ("hi", Ty::S32) => {
            op2!(i32, i32 => i32, |a, b| ((i64::from(a) * i64::from(b)) >> 32) as i32)
        }
        ("hi", Ty::U64) => {
            op2!(u64, u64 => u64, |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64)
        }
        ("hi", Ty::S64) => {
            op2!(i64, i64 => i64, |a, b| ((i128::from(a) * i128::from(b)) >> 64) as i64)
        }
        ("wide", Ty::U16) => op2!(u16, u16 => u32, |a, b| u32::from(a) * u32::from(b)),
        ("wide", Ty::S16) => op2!(i16, i16 => i32, |a, b| i32::from(a) * i32::from(b)),
        ("wide", Ty::U32) => op2!(fast: u32, u32 => u64, |a, b| u64::from(a) * u64::from(b)),
        ("wide", Ty::S32) => op2!(fast: i32, i32 => i64, |a, b| i64::from(a) * i64::from(b)),
        ("24lo", Ty::U32) => op2!(u32, u32 => u32, |a, b| {
            (u64::from(a << 8 >> 8) * u64::from(b << 8 >> 8)) as u32
        }),
        ("24lo", Ty::S32) => op2!(i32, i32 => i32, |a, b| {
            (i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)) as i32
        }),
        ("24hi", Ty::U32) => op2!(u32, u32 => u32, |a, b| {
            ((u64::from(a << 8 >> 8) * u64::from(b << 8 >> 8)) >> 16) as u32
        }),
        ("24hi", Ty::S32) => op2!(i32, i32 => i32, |a, b| {
            ((i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)) >> 16) as i32
        }),
        _ => return None,
    })
}

/// `mad.lo`, `mad.hi`, `mad.wide`, `mad24`.
pub(super) fn multiply_add(part: &str, ty: Ty, sat: bool) -> Option<Handler> {
    if sat {
        return match (part, ty) {
            ("hi", Ty::S32) => Some(op3!(i32, i32, i32 => i32, |a, b, c| {
                (((i64::from(a) * i64::from(b)) >> 32) as i32).saturating_add(c)
            })),
            ("24hi", Ty::S32) => Some(op3!(i32, i32, i32 => i32, |a, b, c| {
                (((i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)) >> 16) as i32).saturating_add(c)
            })),
            _ => None,
        };
    }
    if part == "lo" {
        let low = bits!(
            ty,
            T,
            op3!(fast: T, T, T => T, |a, b, c| a.wrapping_mul(b).wrapping_add(c))
        );
        return low;
    }
    Some(match (part, ty) {
        ("hi", Ty::U16) => op3!(u16, u16, u16 => u16, |a, b, c| {
            (((u32::from(a) * u32::from(b)) >> 16) as u16).wrapping_add(c)
        }),
        ("hi", Ty::S16) => op3!(i16, i16, i16 => i16, |a, b, c| {
            (((i32::from(a) * i32::from(b)) >> 16) as i16).wrapping_add(c)
        }),
        ("hi", Ty::U32) => op3!(u32, u32, u32 => u32, |a, b, c| {
            (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)
        }),
        ("hi", Ty::S32) => op3!(i32, i32, i32 => i32, |a, b, c| {
            (((i64::from(a) * i64::from(b)) >> 32) as i32).wrapping_add(c)
        }),
        ("hi", Ty::U64) => op3!(u64, u64, u64 => u64, |a, b, c| {
            (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c)
        }),
        ("hi", Ty::S64) => op3!(i64, i64, i64 => i64, |a, b, c| {
            (((i128::from(a) * i128::from(b)) >> 64) as i64).wrapping_add(c)
        }),
        ("wide", Ty::U16) => op3!(u16, u16, u32 => u32, |a, b, c| {
            (u32::from(a) * u32::from(b)).wrapping_add(c)
        }),
        ("wide", Ty::S16) => op3!(i16, i16, i32 => i32, |a, b, c| {
            (i32::from(a) * i32::from(b)).wrapping_add(c)
        }),
        ("wide", Ty::U32) => op3!(u32, u32, u64 => u64, |a, b, c| {
            (u64::from(a) * u64::from(b)).wrapping_add(c)
        }),
        ("wide", Ty::S32) => op3!(i32, i32, i64 => i64, |a, b, c| {
            (i64::from(a) * i64::from(b)).wrapping_add(c)
        }),
        ("24lo", Ty::U32) => op3!(u32, u32, u32 => u32, |a, b, c| {
            (a << 8 >> 8).wrapping_mul(b << 8 >> 8).wrapping_add(c)
        }),
        ("24lo", Ty::S32) => op3!(i32, i32, i32 => i32, |a, b, c| {
            (a << 8 >> 8).wrapping_mul(b << 8 >> 8).wrapping_add(c)
        }),
        ("24hi", Ty::U32) => op3!(u32, u32, u32 => u32, |a, b, c| {
            (((u64::from(a << 8 >> 8) * u64::from(b << 8 >> 8)) >> 16) as u32).wrapping_add(c)
        }),
        ("24hi", Ty::S32) => op3!(i32, i32, i32 => i32, |a, b, c| {
            (((i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)) >> 16) as i32).wrapping_add(c)
        }),
        _ => return None,
    })
}

/// `vabsdiff2` and `vabsdiff4`: absolute differences of halves or bytes, side by
/// side or, with `add`, their sum.
pub(super) fn video_absdiff(head: &str, types: &str) -> Option<Handler> {
    macro_rules! parts {
        ($t:ty, $bits:expr, $add:expr) => {
            op3!(u32, u32, u32 => u32, |a, b, c| {
                let mut out = if $add { c } else { 0 };
                for shift in (0..32).step_by($bits) {
                    let x = (a >> shift) as $t;
                    let difference = u32::from(x.abs_diff((b >> shift) as $t));
                    out = out.wrapping_add(difference << if $add { 0 } else { shift });
                }
                out
            })
        };
    }
    Some(match (head, types) {
        ("vabsdiff2", "u32.u32.u32") => parts!(u16, 16, false),
        ("vabsdiff2", "u32.u32.u32.add") => parts!(u16, 16, true),
        ("vabsdiff2", "s32.s32.s32.add" | "u32.s32.s32.add") => parts!(i16, 16, true),
        ("vabsdiff4", "u32.u32.u32") => parts!(u8, 8, false),
        ("vabsdiff4", "u32.u32.u32.add") => parts!(u8, 8, true),
        ("vabsdiff4", "s32.s32.s32.add" | "u32.s32.s32.add") => parts!(i8, 8, true),
        _ => return None,
    })
}

/// `sad`: `c + |a - b|`.
pub(super) fn sad(ty: Ty) -> Option<Handler> {
    Some(match ty {
        Ty::U16 => op3!(u16, u16, u16 => u16, |a, b, c| c.wrapping_add(a.abs_diff(b))),
        Ty::S16 => op3!(i16, i16, u16 => u16, |a, b, c| c.wrapping_add(a.abs_diff(b))),
        Ty::U32 => op3!(u32, u32, u32 => u32, |a, b, c| c.wrapping_add(a.abs_diff(b))),
        Ty::S32 => op3!(i32, i32, u32 => u32, |a, b, c| c.wrapping_add(a.abs_diff(b))),
        Ty::U64 => op3!(u64, u64, u64 => u64, |a, b, c| c.wrapping_add(a.abs_diff(b))),
        Ty::S64 => op3!(i64, i64, u64 => u64, |a, b, c| c.wrapping_add(a.abs_diff(b))),
        _ => return None,
    })
}
