//! Forms that compilers seldom make: eight-bit and tensor floats, atomics on
//! halves, the operations between lanes from before Volta, hints.

use crate::convert::{half_value, nearest_half};
use crate::harness::{B16, B32, B64, Draw, Pred, check, check_body};

/// The code among 128 magnitudes that lies nearest; saturates, ties to even.
fn nearest_byte(v: f64, exponent_bits: u32, fraction_bits: u32, largest: u64) -> u64 {
    if v.is_nan() {
        return 0x7f;
    }
    let value = |code: u64| {
        let (e, m) = (code >> fraction_bits, code & ((1 << fraction_bits) - 1));
        let bias = (1 << (exponent_bits - 1)) - 1;
        let unit = 2f64.powi(-(fraction_bits as i32));
        if e == 0 {
            m as f64 * unit * 2f64.powi(1 - bias)
        } else {
            (1.0 + m as f64 * unit) * 2f64.powi(e as i32 - bias)
        }
    };
    let best = (0..=largest).min_by(|&a, &b| {
        let distance = |c| (value(c) - v.abs()).abs();
        distance(a)
            .total_cmp(&distance(b))
            .then((a & 1).cmp(&(b & 1)))
    });
    best.unwrap() | u64::from(v.is_sign_negative()) << 7
}

#[test]
fn eight_bit_floats() {
    for (ty, e, m, largest) in [("e4m3", 4, 3, 0x7e), ("e5m2", 5, 2, 0x7b)] {
        let name = format!("cvt.rn.satfinite.{ty}x2.f32");
        check(&name, B16, &[(B32, Draw::Tame); 2], |x| {
            let one = |bits: u64| nearest_byte(f32::from_bits(bits as u32).into(), e, m, largest);
            Some(one(x[1]) | one(x[0]) << 8)
        });
        let body = format!(
            "{{ .reg .b16 h; cvt.rn.satfinite.{ty}x2.f32 h, %a, %b; @%on cvt.rn.f16x2.{ty}x2 %z, h; }}"
        );
        check_body(&body, &body, B32, &[(B32, Draw::Tame); 2], |x| {
            // Every value of these formats is one of f16's.
            let one = |bits: u64| {
                let code = nearest_byte(f32::from_bits(bits as u32).into(), e, m, largest);
                let (exp, frac) = (code >> m & ((1 << e) - 1), code & ((1 << m) - 1));
                let bias = (1 << (e - 1)) - 1;
                let unit = 2f64.powi(-(m as i32));
                let v = if exp == 0 {
                    frac as f64 * unit * 2f64.powi(1 - bias)
                } else {
                    (1.0 + frac as f64 * unit) * 2f64.powi(exp as i32 - bias)
                };
                nearest_half(v, 5, 10) | (code >> 7) << 15
            };
            Some(one(x[1]) | one(x[0]) << 16)
        });
    }
}

#[test]
fn conversions_with_relu_and_saturation() {
    let v = |bits: u64| f64::from(f32::from_bits(bits as u32));
    check("cvt.rn.relu.f16.f32", B16, &[(B32, Draw::Float)], |x| {
        let v = v(x[0]);
        Some(if v.is_nan() {
            0x7fff
        } else {
            nearest_half(v.max(0.0) + 0.0, 5, 10)
        })
    });
    check(
        "cvt.rn.relu.bf16x2.f32",
        B32,
        &[(B32, Draw::Float); 2],
        |x| {
            let one = |bits| {
                let v = v(bits);
                if v.is_nan() {
                    0x7fff
                } else {
                    nearest_half(v.max(0.0) + 0.0, 8, 7)
                }
            };
            Some(one(x[1]) | one(x[0]) << 16)
        },
    );
    check(
        "cvt.rn.satfinite.f16.f32",
        B16,
        &[(B32, Draw::Float)],
        |x| {
            let v = v(x[0]);
            Some(if v.is_nan() {
                0x7fff
            } else {
                nearest_half(v.clamp(-65504.0, 65504.0), 5, 10)
            })
        },
    );
    // tf32 keeps 10 bits of the fraction, ties away from zero.
    check("cvt.rna.tf32.f32", B32, &[(B32, Draw::Tame)], |x| {
        Some((x[0] + 0x1000) & !0x1fff)
    });
    check("mad24.hi.sat.s32", B32, &[(B32, Draw::Bits); 3], |x| {
        let low = |b: u64| i64::from((b as i32) << 8 >> 8);
        let sum = ((low(x[0]) * low(x[1])) >> 16) + i64::from(x[2] as i32);
        Some(sum.clamp(i32::MIN.into(), i32::MAX.into()) as u64)
    });
}

#[test]
fn halves_packed_and_approximate() {
    let v = |bits: u64| half_value(bits & 0xffff, 5, 10);
    check("fma.rn.f16x2", B32, &[(B32, Draw::Half); 3], |x| {
        let one = |a: u64, b: u64, c: u64| {
            let (p, c) = (v(a) * v(b), v(c));
            let ratio = (p / c).abs();
            let exact = p == 0.0 || c == 0.0 || !p.is_finite() || !c.is_finite();
            (exact || ratio > 1e-9 && ratio < 1e9).then(|| nearest_half(p + c, 5, 10))
        };
        let high = one(x[0] >> 16, x[1] >> 16, x[2] >> 16)?;
        Some(one(x[0], x[1], x[2])? | high << 16)
    });
    check("tanh.approx.f16", B16, &[(B16, Draw::Half)], |x| {
        let v = v(x[0]);
        (!v.is_nan()).then(|| nearest_half(f64::from(v.tanh() as f32), 5, 10))
    });
    check("ex2.approx.f16x2", B32, &[(B32, Draw::Half)], |x| {
        let one = |bits: u64| nearest_half(f64::from(v(bits).exp2() as f32), 5, 10);
        Some(one(x[0]) | one(x[0] >> 16) << 16)
    });
    check(
        "min.ftz.xorsign.abs.f16",
        B16,
        &[(B16, Draw::Half); 2],
        |x| {
            let flush = |b: u64| if b & 0x7c00 == 0 { b & 0x8000 } else { b };
            let (a, b) = (flush(x[0]), flush(x[1]));
            let least = (a & 0x7fff).min(b & 0x7fff);
            let nan = v(a).is_nan() || v(b).is_nan();
            (!nan).then_some(least | (a ^ b) & 0x8000)
        },
    );
}

#[test]
fn selections_by_flushed_sign() {
    let three = [(B32, Draw::Bits), (B32, Draw::Bits), (B32, Draw::Float)];
    check("slct.ftz.s32.f32", B32, &three, |x| {
        let v = f32::from_bits(x[2] as u32);
        Some(if v >= 0.0 || v.is_subnormal() {
            x[0]
        } else {
            x[1]
        })
    });
    let body = "@%on selp.b32 %z, %a, %b, !%c;";
    check_body(
        body,
        body,
        B32,
        &[three[0], three[1], (Pred, Draw::Bits)],
        |x| Some(if x[2] == 1 { x[1] } else { x[0] }),
    );
}

#[test]
fn atomics_on_halves() {
    for (ty, e, m) in [("f16", 5, 10), ("bf16", 8, 7)] {
        let body = format!(
            "{{ .shared .align 8 .b8 cells[2048]; .reg .b32 at, t; .reg .b16 old;
              mov.u32 at, cells; mov.u32 t, %tid.x; mad.lo.u32 at, t, 8, at;
              st.shared.b16 [at], %a; @%on atom.shared.add.noftz.{ty} old, [at], %b;
              @%on ld.shared.b16 %z, [at]; }}"
        );
        check_body(&body, &body, B16, &[(B16, Draw::Half); 2], |x| {
            let sum = half_value(x[0], e, m) + half_value(x[1], e, m);
            Some(nearest_half(sum, e, m))
        });
    }
}

#[test]
fn lanes_before_volta() {
    // Without `.sync` the running lanes take part: here all of the warp.
    let body = "{ .reg .b32 r; .reg .pred p, q; setp.lt.u32 p, %a, 0x80000000;
        vote.ballot.b32 r, p; vote.all.pred q, p; popc.b32 r, r; setp.eq.or.u32 p, r, 32, !q;
        shfl.bfly.b32 r, %a, 1, 31; shfl.bfly.b32 r, r, 1, 31; @%on and.b32 %z, r, %a;
        @!p trap; }";
    check_body("vote, shfl", body, B32, &[(B32, Draw::Bits)], |x| {
        Some(x[0])
    });
}

#[test]
fn reductions_of_floats() {
    for op in ["min", "max.abs", "max.NaN"] {
        // The warp reduces one value that all lanes share.
        let body = format!(
            "{{ .reg .b32 r; shfl.sync.idx.b32 r, %a, 0, 31, -1; redux.sync.{op}.f32 r, r, -1;
              .reg .b32 f; shfl.sync.idx.b32 f, %a, 0, 31, -1; abs.f32 f, f;
              {} .reg .pred p, q; testp.notanumber.f32 q, f; setp.eq.or.b32 p, r, f, q;
              @%on selp.b32 %z, %a, 0, p; }}",
            if op == "max.abs" { "" } else { "abs.f32 r, r;" }
        );
        check_body(op, &body, B32, &[(B32, Draw::Float)], |x| Some(x[0]));
    }
}

#[test]
fn hints_and_fences_do_nothing() {
    let body = "prefetch.global.L2 [%p0]; prefetchu.L1 [%p0]; prefetch.global.L2::evict_last [%p0];
        membar.gl; membar.cta; membar.sys; fence.sc.gpu; fence.acq_rel.cta;
        discard.global.L2 [%p0], 128; nanosleep.u32 5; pmevent 3;
        bar.warp.sync 0xffffffff; @%on mov.b64 %z, %a;";
    check_body("hints", body, B64, &[(B64, Draw::Bits)], |x| Some(x[0]));
}
