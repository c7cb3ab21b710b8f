//! Runs one instruction on many inputs and compares it with a reference.
//!
//! Each thread takes one set of inputs; a third of the threads has its guard
//! predicate off and must keep the old destination.

#![allow(unreachable_pub, reason = "a module of a test binary")]

use crate::ptx_support::{Device, Params, Random};

/// Register class of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reg {
    B16,
    B32,
    B64,
    /// Loaded and stored as 0 or 1.
    Pred,
}
pub use Reg::{B16, B32, B64, Pred};

impl Reg {
    fn ty(self) -> &'static str {
        match self {
            B16 => "b16",
            B32 => "b32",
            B64 => "b64",
            Pred => "pred",
        }
    }

    fn mask(self) -> u64 {
        match self {
            B16 => 0xffff,
            B32 => 0xffff_ffff,
            B64 => !0,
            Pred => 1,
        }
    }
}

/// How inputs are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// Any bits, edge values often.
    Bits,
    /// f32 or f64 of all kinds, by the register's width.
    Float,
    /// Floats of moderate size, never NaN or subnormal.
    Tame,
    /// Shift amounts and bit positions: mostly small.
    Small,
    /// f16 bits in either half.
    Half,
}

pub const OLD: u64 = 0x5a5a_a5a5_1234_fedc;

fn draw(random: &mut Random, reg: Reg, how: Draw) -> u64 {
    let raw = random.next();
    match (how, reg) {
        (Draw::Small, _) => match raw % 8 {
            0 => raw >> 8,
            1 => [0, 1, 16, 31, 32, 33, 63, 64, 65, 255][(raw >> 8) as usize % 10],
            _ => (raw >> 8) % 66,
        },
        (Draw::Float, B64) => float64(random, raw),
        (Draw::Float, _) => u64::from(float32(random, raw)),
        (Draw::Tame, B64) => {
            let exponent = 1023 - 40 + (raw >> 8) % 80;
            raw & 1 << 63 | exponent << 52 | random.next() >> 12
        }
        (Draw::Tame, _) => {
            let exponent = 127 - 20 + (raw >> 8) % 40;
            raw & 1 << 31 | exponent << 23 | random.next() >> 41
        }
        (Draw::Half, _) => {
            const EDGES: [u64; 12] = [
                0, 0x8000, 0x3c00, 0xbc00, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x0001, 0x0400, 0x7e00,
                0x3555,
            ];
            let mut one = |raw: u64| match raw % 3 {
                0 => EDGES[(raw >> 8) as usize % EDGES.len()],
                _ => random.next() & 0xffff,
            };
            one(raw) | one(raw >> 20) << 16
        }
        (Draw::Bits, reg) => {
            let bits = 64 - reg.mask().leading_zeros() as u64;
            match raw % 5 {
                0 => {
                    let top = 1u64 << (bits - 1);
                    [
                        0,
                        1,
                        2,
                        !0,
                        top,
                        top - 1,
                        top + 1,
                        !1,
                        0xff,
                        0x80,
                        0x7f,
                        0xffff,
                    ][(raw >> 8) as usize % 12]
                }
                1 => random.next() >> ((raw >> 8) % 64),
                2 => !(random.next() >> ((raw >> 8) % 64)),
                _ => random.next(),
            }
        }
    }
}

fn float32(random: &mut Random, raw: u64) -> u32 {
    const EDGES: [u32; 20] = [
        0,
        1 << 31,
        0x3f80_0000,
        0xbf80_0000,
        0x7f7f_ffff,
        0xff7f_ffff,
        0x7f80_0000,
        0xff80_0000,
        0x7fc0_0000,
        0xffc1_2345,
        1,
        0x8000_0001,
        0x0080_0000,
        0x007f_ffff,
        0x3f00_0000,
        0x4b00_0001,
        0x3fc0_0000,
        0x4f00_0000,
        0x5f00_0000,
        0x7f00_0001,
    ];
    match raw % 4 {
        0 => EDGES[(raw >> 8) as usize % EDGES.len()],
        1 => random.unit().to_bits(),
        2 => (random.unit() * 4e9).to_bits(),
        _ => random.next() as u32,
    }
}

fn float64(random: &mut Random, raw: u64) -> u64 {
    const EDGES: [u64; 14] = [
        0,
        1 << 63,
        0x3ff0_0000_0000_0000,
        0xbff0_0000_0000_0000,
        0x7fef_ffff_ffff_ffff,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        0x7ff8_0000_0000_0000,
        1,
        0x000f_ffff_ffff_ffff,
        0x0010_0000_0000_0000,
        0x41e0_0000_0000_0000,
        0x43e0_0000_0000_0000,
        0x3fe0_0000_0000_0000,
    ];
    match raw % 4 {
        0 => EDGES[(raw >> 8) as usize % EDGES.len()],
        1 => f64::from(random.unit()).to_bits(),
        2 => (f64::from(random.unit()) * 1e19).to_bits(),
        _ => random.next(),
    }
}

const THREADS: usize = 256;
const BLOCKS: usize = 6;

fn load(text: &mut String, reg: Reg, name: &str, base: usize) {
    if reg == Pred {
        *text += &format!("ld.global.u32 %t, [%p{base}];\nsetp.ne.u32 {name}, %t, 0;\n");
    } else {
        *text += &format!("ld.global.{} {name}, [%p{base}];\n", reg.ty());
    }
}

/// A kernel around `body`, which works on `%a`, `%b`, … and writes `%z`.
pub fn kernel(body: &str, result: Reg, sources: &[Reg]) -> String {
    let mut text = String::from(
        ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 base, .param .u64 out)\n{\n\
         .reg .b64 %p<8>;\n.reg .b64 %o;\n.reg .b32 %t;\n.reg .b32 %i;\n.reg .pred %on;\n",
    );
    for (n, reg) in sources.iter().enumerate() {
        let name = (b'a' + n as u8) as char;
        text += &format!(".reg .{} %{name};\n", reg.ty());
    }
    text += &format!(".reg .{} %z;\n", result.ty());
    text += "ld.param.u64 %p0, [base];\nld.param.u64 %o, [out];\n\
             mov.u32 %i, %tid.x;\nmov.u32 %t, %ctaid.x;\nmad.lo.u32 %i, %t, 256, %i;\n\
             mad.wide.u32 %p0, %i, 64, %p0;\nmad.wide.u32 %o, %i, 8, %o;\n";
    for n in 0..=sources.len() {
        text += &format!("add.u64 %p{}, %p0, {};\n", n + 1, (n + 1) * 8);
    }
    load(&mut text, Pred, "%on", 1);
    for (n, reg) in sources.iter().enumerate() {
        let name = format!("%{}", (b'a' + n as u8) as char);
        load(&mut text, *reg, &name, n + 2);
    }
    match result {
        Pred => text += "setp.eq.u32 %z, 0, 0;\n",
        B16 => text += "mov.b16 %z, 0xfedc;\n",
        B32 => text += "mov.b32 %z, 0x1234fedc;\n",
        B64 => text += "mov.b64 %z, 0x5a5aa5a51234fedc;\n",
    }
    text += body;
    text += "\n";
    match result {
        Pred => text += "selp.b32 %t, 1, 0, %z;\nst.global.u32 [%o], %t;\n",
        _ => text += &format!("st.global.{} [%o], %z;\n", result.ty()),
    }
    text + "ret;\n}\n"
}

/// Checks `@%on op %z, %a, …;` against `reference`, which gives the bits that
/// are expected, or `None` for inputs whose result is unspecified.
pub fn check(
    op: &str,
    result: Reg,
    sources: &[(Reg, Draw)],
    reference: impl Fn(&[u64]) -> Option<u64>,
) {
    let names: Vec<String> = (0..sources.len())
        .map(|n| format!("%{}", (b'a' + n as u8) as char))
        .collect();
    let body = format!("@%on {op} %z, {};", names.join(", "));
    check_body(op, &body, result, sources, reference);
}

/// The same for a body of its own.
pub fn check_body(
    what: &str,
    body: &str,
    result: Reg,
    sources: &[(Reg, Draw)],
    reference: impl Fn(&[u64]) -> Option<u64>,
) {
    let regs: Vec<Reg> = sources.iter().map(|(reg, _)| *reg).collect();
    let text = kernel(body, result, &regs);
    let mut device = Device::new();
    let exe = device
        .load(&text)
        .unwrap_or_else(|e| panic!("{what}: {e}\n{text}"));
    let seed = what
        .bytes()
        .fold(7, |h: u64, b| h.wrapping_mul(31).wrapping_add(b.into()));
    let mut random = Random(seed);
    let count = THREADS * BLOCKS;
    let mut words = vec![0u64; count * 8];
    for set in words.chunks_mut(8) {
        set[1] = u64::from(random.below(3) != 0);
        for (slot, (reg, how)) in set[2..].iter_mut().zip(sources) {
            *slot = draw(&mut random, *reg, *how) & reg.mask();
        }
        // Equal operands, which chance would never bring.
        if sources.len() > 1 && sources[0] == sources[1] && random.below(6) == 0 {
            set[3] = set[2];
        }
    }
    let input = device.alloc(&words);
    let out = device.alloc(&vec![0u64; count]);
    let params = Params::new().with(input).with(out);
    device
        .run(
            &exe.kernel("k").unwrap(),
            [BLOCKS as u32, 1, 1],
            [THREADS as u32, 1, 1],
            &params,
        )
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let got = device.read::<u64>(out);
    let mut compared = 0;
    for (set, got) in words.chunks(8).zip(got) {
        let inputs = &set[2..2 + sources.len()];
        let expected = if set[1] == 0 {
            Some(if result == Pred {
                1
            } else {
                OLD & result.mask()
            })
        } else {
            reference(inputs).map(|e| e & result.mask())
        };
        if let Some(expected) = expected {
            assert_eq!(
                got, expected,
                "{what} of {inputs:x?}: got {got:#x}, expected {expected:#x} (guard {})",
                set[1]
            );
            compared += usize::from(set[1] != 0);
        }
    }
    assert!(
        compared > count / 8,
        "{what}: the reference was silent on nearly all inputs"
    );
}

/// Inputs and results of a one-operand f32 instruction, unguarded threads
/// only.
pub fn results(op: &str, sources: &[(Reg, Draw)]) -> Vec<(u64, u64)> {
    let text = kernel(&format!("{op} %z, %a;"), B32, &[sources[0].0]);
    let mut device = Device::new();
    let exe = device.load(&text).unwrap_or_else(|e| panic!("{op}: {e}"));
    let mut random = Random(11);
    let mut words = vec![0u64; THREADS * 8];
    words
        .chunks_mut(8)
        .for_each(|set| set[2] = draw(&mut random, B32, sources[0].1) & B32.mask());
    let (input, out) = (device.alloc(&words), device.alloc(&[0u64; THREADS]));
    let params = Params::new().with(input).with(out);
    device
        .run(
            &exe.kernel("k").unwrap(),
            [1, 1, 1],
            [THREADS as u32, 1, 1],
            &params,
        )
        .unwrap();
    words
        .chunks(8)
        .zip(device.read::<u64>(out))
        .map(|(set, got)| (set[2], got))
        .collect()
}
