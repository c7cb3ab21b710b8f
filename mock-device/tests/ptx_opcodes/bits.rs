//! Bit manipulation, bit by bit.

use crate::harness::{B16, B32, B64, Draw, Pred, check, check_body};

const WIDTHS: [(crate::harness::Reg, u32); 3] = [(B16, 16), (B32, 32), (B64, 64)];

fn bit(v: u64, at: u32) -> u64 {
    if at < 64 { v >> at & 1 } else { 0 }
}

/// A word from its bits.
fn word(width: u32, f: impl Fn(u32) -> u64) -> Option<u64> {
    Some((0..width).fold(0, |w, at| w + (f(at) << at)))
}

#[test]
fn logic() {
    for (reg, width) in WIDTHS {
        let two = [(reg, Draw::Bits), (reg, Draw::Bits)];
        check(&format!("and.b{width}"), reg, &two, |x| {
            word(width, |k| bit(x[0], k) * bit(x[1], k))
        });
        check(&format!("or.b{width}"), reg, &two, |x| {
            word(width, |k| bit(x[0], k).max(bit(x[1], k)))
        });
        check(&format!("xor.b{width}"), reg, &two, |x| {
            word(width, |k| (bit(x[0], k) + bit(x[1], k)) % 2)
        });
        check(&format!("not.b{width}"), reg, &two[..1], |x| {
            word(width, |k| 1 - bit(x[0], k))
        });
        check(&format!("cnot.b{width}"), reg, &two[..1], |x| {
            Some(u64::from(x[0] == 0))
        });
        check(&format!("mov.b{width}"), reg, &two[..1], |x| Some(x[0]));
        check(
            &format!("selp.b{width}"),
            reg,
            &[two[0], two[1], (Pred, Draw::Bits)],
            |x| Some(if x[2] == 1 { x[0] } else { x[1] }),
        );
        check(
            &format!("slct.b{width}.s32"),
            reg,
            &[two[0], two[1], (B32, Draw::Bits)],
            |x| Some(if x[2] < 1 << 31 { x[0] } else { x[1] }),
        );
        check(
            &format!("slct.b{width}.f32"),
            reg,
            &[two[0], two[1], (B32, Draw::Float)],
            |x| {
                Some(if f32::from_bits(x[2] as u32) >= 0.0 {
                    x[0]
                } else {
                    x[1]
                })
            },
        );
    }
    for table in [0x00, 0x80, 0xfe, 0x96, 0xe8, 0x1b, 0xca, 0xff] {
        let body = format!("@%on lop3.b32 %z, %a, %b, %c, {table:#x};");
        let three = [(B32, Draw::Bits); 3];
        check_body(&format!("lop3 {table:#x}"), &body, B32, &three, |x| {
            word(32, |k| {
                bit(
                    table,
                    (bit(x[0], k) * 4 + bit(x[1], k) * 2 + bit(x[2], k)) as u32,
                )
            })
        });
        let body =
            format!("{{ .reg .b32 v; @%on lop3.or.b32 v|%z, %a, %b, %c, {table:#x}, !%d; }}");
        let four = [three[0], three[1], three[2], (Pred, Draw::Bits)];
        check_body(&format!("lop3.or {table:#x}"), &body, Pred, &four, |x| {
            let any = (0..32).any(|k| {
                bit(
                    table,
                    (bit(x[0], k) * 4 + bit(x[1], k) * 2 + bit(x[2], k)) as u32,
                ) == 1
            });
            Some(u64::from(any || x[3] == 0))
        });
    }
}

#[test]
fn shifts() {
    for (reg, width) in WIDTHS {
        let two = [(reg, Draw::Bits), (B32, Draw::Small)];
        check(&format!("shl.b{width}"), reg, &two, |x| {
            word(width, |k| {
                if u64::from(k) >= x[1] {
                    bit(x[0], k - x[1] as u32)
                } else {
                    0
                }
            })
        });
        for ty in ["b", "u"] {
            check(&format!("shr.{ty}{width}"), reg, &two, |x| {
                word(width, |k| match u64::from(k) + x[1] {
                    from if from < u64::from(width) => bit(x[0], from as u32),
                    _ => 0,
                })
            });
        }
        check(&format!("shr.s{width}"), reg, &two, |x| {
            word(width, |k| {
                bit(x[0], (u64::from(k) + x[1]).min(u64::from(width) - 1) as u32)
            })
        });
    }
    let three = [(B32, Draw::Bits), (B32, Draw::Bits), (B32, Draw::Small)];
    let both = |x: &[u64]| x[0] + (x[1] << 32);
    for (mode, amount) in [
        ("wrap", (|n| n & 31) as fn(u64) -> u64),
        ("clamp", |n| n.min(32)),
    ] {
        check(&format!("shf.l.{mode}.b32"), B32, &three, |x| {
            Some(((u128::from(both(x)) << amount(x[2])) >> 32) as u64)
        });
        check(&format!("shf.r.{mode}.b32"), B32, &three, |x| {
            Some((u128::from(both(x)) >> amount(x[2])) as u64)
        });
    }
}

#[test]
fn counting_and_finding() {
    for (reg, width) in [(B32, 32), (B64, 64)] {
        let one = [(reg, Draw::Bits)];
        let top = |v: u64| (0..width).rev().find(|&k| bit(v, k) == 1);
        check(&format!("popc.b{width}"), B32, &one, |x| {
            Some((0..width).map(|k| bit(x[0], k)).sum())
        });
        check(&format!("clz.b{width}"), B32, &one, |x| {
            Some(top(x[0]).map_or(width, |k| width - 1 - k).into())
        });
        check(&format!("brev.b{width}"), reg, &one, |x| {
            word(width, |k| bit(x[0], width - 1 - k))
        });
        for signed in [false, true] {
            let s = if signed { 's' } else { 'u' };
            // Leading sign bits do not count.
            let find = |v: u64| {
                let negative = signed && bit(v, width - 1) == 1;
                (0..width).rev().find(|&k| (bit(v, k) == 1) != negative)
            };
            check(&format!("bfind.{s}{width}"), B32, &one, |x| {
                Some(find(x[0]).map_or(!0, u64::from))
            });
            check(&format!("bfind.shiftamt.{s}{width}"), B32, &one, |x| {
                Some(find(x[0]).map_or(!0, |k| (width - 1 - k).into()))
            });
        }
    }
    let three = [(B32, Draw::Bits), (B32, Draw::Small), (B32, Draw::Small)];
    let body = "{ .reg .b32 base, n; and.b32 base, %b, 31; sub.s32 n, %c, 20; @%on fns.b32 %z, %a, base, n; }";
    check_body("fns", body, B32, &three, |x| {
        let (mask, base) = (x[0], (x[1] & 31) as i64);
        let n = i64::from(x[2] as i32) - 20;
        let n = if n < i64::from(i32::MIN) {
            return None;
        } else {
            n
        };
        let mut set: Vec<i64> = (0..32).filter(|&k| bit(mask, k as u32) == 1).collect();
        let found = if n == 0 {
            set.contains(&base).then_some(base)
        } else if n > 0 {
            set.retain(|&k| k >= base);
            set.get(n as usize - 1).copied()
        } else {
            set.retain(|&k| k <= base);
            set.reverse();
            set.get(-n as usize - 1).copied()
        };
        Some(found.map_or(0xffff_ffff, |k| k as u64))
    });
}

#[test]
fn fields() {
    for (reg, width) in [(B32, 32u32), (B64, 64)] {
        let three = [(reg, Draw::Bits), (B32, Draw::Small), (B32, Draw::Small)];
        for signed in [false, true] {
            let s = if signed { 's' } else { 'u' };
            check(&format!("bfe.{s}{width}"), reg, &three, |x| {
                let (pos, len) = ((x[1] & 255) as u32, (x[2] & 255) as u32);
                // The ISA's pseudocode: bits beyond the top repeat the sign.
                let sign_at = (pos + len).saturating_sub(1).min(width - 1);
                let sign = if signed && len > 0 {
                    bit(x[0], sign_at)
                } else {
                    0
                };
                word(width, |k| {
                    if k < len && pos + k < width {
                        bit(x[0], pos + k)
                    } else {
                        sign
                    }
                })
            });
        }
        let four = [
            (reg, Draw::Bits),
            (reg, Draw::Bits),
            (B32, Draw::Small),
            (B32, Draw::Small),
        ];
        check(&format!("bfi.b{width}"), reg, &four, |x| {
            let (pos, len) = ((x[2] & 255) as u32, (x[3] & 255) as u32);
            word(width, |k| {
                if k >= pos && k - pos < len {
                    bit(x[0], k - pos)
                } else {
                    bit(x[1], k)
                }
            })
        });
    }
    let two = [(B32, Draw::Small), (B32, Draw::Small)];
    check("bmsk.clamp.b32", B32, &two, |x| {
        word(32, |k| {
            u64::from(u64::from(k) >= x[0] && u64::from(k) - x[0] < x[1])
        })
    });
    check("bmsk.wrap.b32", B32, &two, |x| {
        let (at, len) = (x[0] & 31, x[1] & 31);
        word(32, |k| {
            u64::from(u64::from(k) >= at && u64::from(k) - at < len)
        })
    });
    let two = [(B32, Draw::Bits), (B32, Draw::Small)];
    for (mode, wrap) in [("wrap", true), ("clamp", false)] {
        for signed in [false, true] {
            let s = if signed { 's' } else { 'u' };
            check(&format!("szext.{mode}.{s}32"), B32, &two, |x| {
                let n = if wrap { x[1] & 31 } else { x[1].min(32) } as u32;
                let sign = if signed && n > 0 { bit(x[0], n - 1) } else { 0 };
                word(32, |k| if k < n { bit(x[0], k) } else { sign })
            });
        }
    }
}

#[test]
fn permutations() {
    let three = [(B32, Draw::Bits); 3];
    let byte = |x: &[u64], n: u64| {
        let both = x[0] + (x[1] << 32);
        both >> (8 * (n & 7)) & 0xff
    };
    let build = |bytes: [u64; 4]| Some(bytes.iter().rev().fold(0, |w, b| w * 256 + b));
    check("prmt.b32", B32, &three, |x| {
        build(std::array::from_fn(|k| {
            let selector = x[2] >> (4 * k) & 15;
            let b = byte(x, selector);
            match selector {
                0..8 => b,
                _ if b > 127 => 255,
                _ => 0,
            }
        }))
    });
    // Tables of the ISA, byte 3 first.
    let tables: [(&str, [[u64; 4]; 4]); 6] = [
        (
            "f4e",
            [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]],
        ),
        (
            "b4e",
            [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]],
        ),
        (
            "rc8",
            [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]],
        ),
        (
            "ecl",
            [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]],
        ),
        (
            "ecr",
            [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]],
        ),
        (
            "rc16",
            [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]],
        ),
    ];
    for (mode, table) in tables {
        check(&format!("prmt.b32.{mode}"), B32, &three, |x| {
            let row = table[(x[2] & 3) as usize];
            build(std::array::from_fn(|k| byte(x, row[3 - k])))
        });
    }
}

#[test]
fn packing_moves() {
    let body =
        "{ .reg .b16 h<4>; mov.b64 {h0, h1, h2, h3}, %a; @%on mov.b64 %z, {h3, h0, h2, h1}; }";
    check_body("mov.b64 4", body, B64, &[(B64, Draw::Bits)], |x| {
        let h = |k: u64| x[0] >> (16 * k) & 0xffff;
        Some(h(3) + (h(0) << 16) + (h(2) << 32) + (h(1) << 48))
    });
    let body = "{ .reg .b32 h; mov.b64 {_, h}, %a; @%on mov.b64 %z, {h, 7}; }";
    check_body("mov.b64 sink", body, B64, &[(B64, Draw::Bits)], |x| {
        Some((x[0] >> 32) + (7 << 32))
    });
    let body = "{ .reg .b16 l, h; mov.b32 {l, h}, %a; @%on mov.b32 %z, {h, l}; }";
    check_body("mov.b32 2", body, B32, &[(B32, Draw::Bits)], |x| {
        Some(x[0] >> 16 | x[0] << 16)
    });
    let body = "{ .reg .b128 w; .reg .b64 l, h; mov.b128 w, {%a, %b}; mov.b128 {l, h}, w;
        @%on xor.b64 %z, l, h; }";
    check_body("mov.b128", body, B64, &[(B64, Draw::Bits); 2], |x| {
        Some(x[0] ^ x[1])
    });
}
