//! Loads, stores and atomics in every space, width and vector length.

use mock_device::ptx::{FaultKind, LOCAL_WINDOW, SHARED_WINDOW};

use crate::ptx_support::{Device, Params, Random};

const HEAD: &str = ".version 9.0\n.target sm_90\n.address_size 64\n";

/// Runs kernel `k` with an input and an output buffer.
fn run(text: &str, threads: u32, input: &[u64], outputs: usize) -> Vec<u64> {
    let mut device = Device::new();
    let exe = device
        .load(&format!("{HEAD}{text}"))
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    let (i, o) = (device.alloc(input), device.alloc(&vec![0u64; outputs]));
    let params = Params::new().with(i).with(o);
    device
        .run(
            &exe.kernel("k").unwrap(),
            [1, 1, 1],
            [threads, 1, 1],
            &params,
        )
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    device.read(o)
}

/// A kernel whose body finds its thread number in `%i` and the addresses of
/// its own input and output word in `%in` and `%out`.
fn kernel(declarations: &str, body: &str) -> String {
    format!(
        "{declarations}
        .visible .entry k(.param .u64 a, .param .u64 b) {{
        .reg .b64 %in, %out, %d<10>; .reg .b32 %i, %r<10>; .reg .b16 %h<10>; .reg .f32 %f<10>;
        .reg .pred %p<4>;
        ld.param.u64 %in, [a]; ld.param.u64 %out, [b];
        mov.u32 %i, %tid.x; mad.wide.u32 %in, %i, 8, %in; mad.wide.u32 %out, %i, 8, %out;
        {body}
        ret; }}"
    )
}

fn words(count: usize) -> Vec<u64> {
    let mut random = Random(21);
    (0..count).map(|_| random.next()).collect()
}

#[test]
fn loads_extend_into_wider_registers() {
    let input = words(64);
    // Type, its bits, signedness; register letter and bits.
    for (ty, bits, signed) in [
        ("u8", 8, false),
        ("b8", 8, false),
        ("s8", 8, true),
        ("u16", 16, false),
        ("s16", 16, true),
        ("u32", 32, false),
        ("s32", 32, true),
        ("b64", 64, false),
    ] {
        for (letter, width) in [('h', 16), ('r', 32), ('d', 64)] {
            if width < bits {
                continue;
            }
            let body =
                format!("ld.global.{ty} %{letter}0, [%in]; st.global.b{width} [%out], %{letter}0;");
            let got = run(&kernel("", &body), 64, &input, 64);
            for (x, got) in input.iter().zip(got) {
                let low = x << (64 - bits) >> (64 - bits);
                let negative = signed && low >> (bits - 1) == 1;
                let value = if negative && bits < 64 {
                    low | !0 << bits
                } else {
                    low
                };
                let expected = if width < 64 {
                    value & ((1 << width) - 1)
                } else {
                    value
                };
                assert_eq!(got, expected, "ld.{ty} of {x:#x} into {width} bits");
            }
        }
    }
}

#[test]
fn stores_touch_their_own_bytes_only() {
    let input = words(32);
    for (ty, bits, letter) in [
        ("u8", 8, 'h'),
        ("s8", 8, 'r'),
        ("b16", 16, 'h'),
        ("u16", 16, 'r'),
        ("u32", 32, 'r'),
        ("u32", 32, 'd'),
    ] {
        let load = match letter {
            'h' => "ld.global.u16 %h0, [%in];",
            'r' => "ld.global.u32 %r0, [%in];",
            _ => "ld.global.u64 %d0, [%in];",
        };
        let at = bits / 8;
        let body = format!("{load} st.global.{ty} [%out+{at}], %{letter}0;");
        let got = run(&kernel("", &body), 32, &input, 32);
        for (x, got) in input.iter().zip(got) {
            let low = x << (64 - bits) >> (64 - bits);
            assert_eq!(got, low << (8 * at), "st.{ty} of {x:#x}");
        }
    }
}

#[test]
fn vectors_in_global_and_shared_memory() {
    let input = words(256);
    for (ty, letter, count) in [
        ("u8", 'r', 4),
        ("u16", 'h', 2),
        ("b16", 'h', 4),
        ("f32", 'f', 2),
        ("b32", 'r', 4),
        ("f32", 'f', 8),
        ("u64", 'd', 2),
        ("b64", 'd', 4),
    ] {
        let bytes = count * ty[1..].parse::<usize>().unwrap() / 8;
        let names: Vec<String> = (0..count).map(|n| format!("%{letter}{n}")).collect();
        let mut turned = names.clone();
        turned.reverse();
        // Through shared memory, in reverse order of elements.
        let body = format!(
            "mov.u64 %in, 0; ld.param.u64 %in, [a]; mad.wide.u32 %in, %i, {bytes}, %in;
             ld.param.u64 %out, [b]; mad.wide.u32 %out, %i, {bytes}, %out;
             mul.lo.u32 %r9, %i, {bytes}; mov.u32 %r8, tile; add.u32 %r9, %r9, %r8;
             ld.global.nc.v{count}.{ty} {{{}}}, [%in];
             st.shared.v{count}.{ty} [%r9], {{{}}};
             ld.volatile.shared.v{count}.{ty} {{{}}}, [%r9];
             st.global.cg.v{count}.{ty} [%out], {{{}}};",
            names.join(","),
            turned.join(","),
            names.join(","),
            names.join(",")
        );
        let text = kernel(".shared .align 32 .b8 tile[2048];", &body);
        let got = run(&text, 32, &input, 256);
        let flat = |w: &[u64]| w.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let (input, got) = (flat(&input), flat(&got));
        let element = bytes / count;
        for thread in 0..32 {
            for k in 0..count {
                let from = thread * bytes + (count - 1 - k) * element;
                let to = thread * bytes + k * element;
                assert_eq!(
                    got[to..to + element],
                    input[from..from + element],
                    "v{count}.{ty}"
                );
            }
        }
    }
}

#[test]
fn wide_cells_and_sinks() {
    let body = "ld.param.u64 %in, [a]; mad.wide.u32 %in, %i, 16, %in;
        .reg .b128 %q; ld.global.b128 %q, [%in]; mov.b128 {%d0, %d1}, %q;
        ld.global.v2.u64 {_, %d2}, [%in]; sub.u64 %d1, %d1, %d2; add.u64 %d0, %d0, %d1;
        st.global.u64 [%out], %d0;";
    let input = words(64);
    let got = run(&kernel("", body), 32, &input, 32);
    let expected: Vec<u64> = input.chunks(2).map(|c| c[0]).collect();
    assert_eq!(got, expected);
}

#[test]
fn generic_addresses_reach_every_space() {
    let declarations = ".global .align 8 .u64 g = 5; .const .align 8 .u64 c = 11;
        .shared .align 8 .b8 s[256];";
    let body = "{ .local .align 8 .b8 l[16];
        mov.u64 %d0, l; cvta.local.u64 %d0, %d0; mov.u64 %d1, s; cvta.shared.u64 %d1, %d1;
        mad.wide.u32 %d1, %i, 8, %d1;
        mov.u64 %d2, g; mov.u64 %d3, c; cvta.const.u64 %d3, %d3;
        mov.u64 %d4, a; cvta.param.u64 %d4, %d4;
        ld.global.u64 %d5, [%in]; st.u64 [%d0+8], %d5; st.u64 [%d1], %d5;
        ld.u64 %d5, [%d0+8]; ld.u64 %d6, [%d1]; add.u64 %d5, %d5, %d6;
        ld.u64 %d6, [%d2]; add.u64 %d5, %d5, %d6; ld.u64 %d6, [%d3]; add.u64 %d5, %d5, %d6;
        ld.u64 %d6, [%d4]; ld.param.u64 %d7, [a]; sub.u64 %d6, %d6, %d7; add.u64 %d5, %d5, %d6;
        cvta.to.shared.u64 %d8, %d1; cvt.u32.u64 %r0, %d8; ld.shared.u32 %r1, [%r0];
        cvt.u32.u64 %r2, %d5; mov.u32 %r4, 0;
        isspacep.local %p0, %d0; @%p0 add.u32 %r4, %r4, 1;
        isspacep.shared %p0, %d1; @%p0 add.u32 %r4, %r4, 2;
        isspacep.global %p0, %d2; @%p0 add.u32 %r4, %r4, 4;
        isspacep.global %p0, %d0; @%p0 add.u32 %r4, %r4, 8;
        isspacep.shared::cta %p0, %d2; @%p0 add.u32 %r4, %r4, 16;
        xor.b32 %r2, %r2, %r1; mov.b64 %d9, {%r2, %r4}; st.global.u64 [%out], %d9; }";
    let input = words(32);
    for (x, got) in input
        .iter()
        .zip(run(&kernel(declarations, body), 32, &input, 32))
    {
        let sum = (x.wrapping_mul(2).wrapping_add(16)) as u32 ^ *x as u32;
        assert_eq!(got, u64::from(sum) | 7 << 32);
    }
}

#[test]
fn every_atomic_operation() {
    type Case = (&'static str, u32, fn(u64, u64) -> u64);
    fn s(x: u64) -> i32 {
        x as i32
    }
    let cases: [Case; 27] = [
        ("add.u32", 32, |a, b| a + b),
        ("add.s32", 32, |a, b| a + b),
        ("add.u64", 64, u64::wrapping_add),
        ("add.f32", 32, |a, b| {
            (f32::from_bits(a as u32) + f32::from_bits(b as u32))
                .to_bits()
                .into()
        }),
        ("add.f64", 64, |a, b| {
            (f64::from_bits(a) + f64::from_bits(b)).to_bits()
        }),
        ("min.u32", 32, |a, b| if a < b { a } else { b }),
        ("max.u32", 32, |a, b| if a > b { a } else { b }),
        ("min.s32", 32, |a, b| if s(a) < s(b) { a } else { b }),
        ("max.s32", 32, |a, b| if s(a) > s(b) { a } else { b }),
        ("min.u64", 64, |a, b| if a < b { a } else { b }),
        ("max.u64", 64, |a, b| if a > b { a } else { b }),
        (
            "min.s64",
            64,
            |a, b| if (a as i64) < b as i64 { a } else { b },
        ),
        (
            "max.s64",
            64,
            |a, b| if a as i64 > b as i64 { a } else { b },
        ),
        ("and.b32", 32, |a, b| a & b),
        ("or.b32", 32, |a, b| a | b),
        ("xor.b32", 32, |a, b| a ^ b),
        ("and.b64", 64, |a, b| a & b),
        ("or.b64", 64, |a, b| a | b),
        ("xor.b64", 64, |a, b| a ^ b),
        ("inc.u32", 32, |a, b| if a >= b { 0 } else { a + 1 }),
        (
            "dec.u32",
            32,
            |a, b| if a == 0 || a > b { b } else { a - 1 },
        ),
        ("exch.b32", 32, |_, b| b),
        ("exch.b64", 64, |_, b| b),
        ("relaxed.gpu.add.u32", 32, |a, b| a + b),
        ("acq_rel.sys.exch.b32", 32, |_, b| b),
        ("acquire.cta.or.b32", 32, |a, b| a | b),
        (
            "release.cluster.min.u32",
            32,
            |a, b| if a < b { a } else { b },
        ),
    ];
    let mut random = Random(31);
    let tame = |op: &str, bits: u64| match op {
        "add.f32" => 0x3f80_0000 | bits & 0x807f_ffff,
        "add.f64" => 0x3ff0 << 48 | bits & 0x800f_ffff_ffff_ffff,
        _ => bits,
    };
    for (op, width, f) in cases {
        // Each thread has its own cell, so that old values are known; lane 0
        // to 3 share one, where only the order-free result counts.
        let mask = if width == 32 { 0xffff_ffff } else { !0 };
        let input: Vec<u64> = (0..32).map(|_| tame(op, random.next()) & mask).collect();
        let d = if width == 32 { 'r' } else { 'd' };
        for space in ["global", "shared", "generic"] {
            let (address, dot) = match space {
                "global" => ("%out", ".global"),
                "shared" => ("%d8", ".shared"),
                _ => ("%d7", ""),
            };
            let (order, rest) = match op.split('.').next().unwrap() {
                "relaxed" | "acq_rel" | "acquire" | "release" => {
                    let at = op.match_indices('.').nth(1).unwrap().0;
                    (format!(".{}", &op[..at]), &op[at..])
                }
                _ => (String::new(), &op[0..]),
            };
            let rest = rest.trim_start_matches('.');
            let body = format!(
                "mov.u64 %d8, cells; mad.wide.u32 %d8, %i, 8, %d8; cvta.shared.u64 %d7, %d8;
                 mov.u64 %d6, 0x123456789abcdef0; st.shared.u64 [%d8], %d6; st.global.u64 [%out], %d6;
                 ld.global.b{width} %{d}0, [%in];
                 atom{order}{dot}.{rest} %{d}1, [{address}], %{d}0;
                 red{order}{dot}.{add} [{address}], %{d}0;
                 ld{dot}.u64 %d9, [{address}]; st.global.u64 [%out+256], %d9;
                 st.global.b{width} [%out], %{d}1;",
                add = if rest.starts_with("exch") { "xor.b32" } else { rest },
            );
            let text = kernel(".shared .align 8 .b8 cells[256];", &body);
            if rest == "exch.b64" {
                continue;
            }
            let got = run(&text, 32, &input, 64);
            for (lane, b) in input.iter().enumerate() {
                let start = 0x1234_5678_9abc_def0u64;
                let old = start & mask;
                let once = f(old, *b) & mask;
                let twice = if rest.starts_with("exch") {
                    once ^ b
                } else {
                    f(once, *b)
                } & mask;
                let cell = start & !mask | twice;
                let returned = got[lane] & mask;
                assert_eq!(returned, old, "atom {op} {space}: old value");
                assert_eq!(got[32 + lane], cell, "atom {op} {space} with {b:#x}");
            }
        }
    }
}

#[test]
fn exchange_of_64_bits() {
    let body = "ld.global.u64 %d0, [%in]; st.global.u64 [%out], 77;
        atom.global.exch.b64 %d1, [%out], %d0; st.global.u64 [%out+256], %d1;";
    let input = words(32);
    let got = run(&kernel("", body), 32, &input, 64);
    assert_eq!(got[..32], input[..]);
    assert!(got[32..].iter().all(|&v| v == 77));
}

#[test]
fn compare_and_swap() {
    for (width, d) in [(16, 'h'), (32, 'r'), (64, 'd')] {
        let body = format!(
            "ld.global.b{width} %{d}0, [%in]; mov.b{width} %{d}1, 5; mov.b{width} %{d}3, 9;
             and.b32 %r9, %i, 1; setp.eq.u32 %p0, %r9, 0; selp.b{width} %{d}2, %{d}0, %{d}1, %p0;
             atom.global.cas.b{width} %{d}4, [%in], %{d}2, %{d}3;
             xor.b{width} %{d}4, %{d}4, %{d}0; ld.global.b{width} %{d}5, [%in];
             or.b{width} %{d}5, %{d}5, %{d}4; st.global.b{width} [%out], %{d}5;"
        );
        let input = words(32);
        let got = run(&kernel("", &body), 32, &input, 32);
        for (lane, (x, got)) in input.iter().zip(got).enumerate() {
            let mask = if width == 64 { !0 } else { (1 << width) - 1 };
            assert_eq!(
                got,
                if lane % 2 == 0 { 9 } else { x & mask },
                "cas.b{width}"
            );
        }
    }
}

#[test]
fn contended_atomics_lose_nothing() {
    let text = ".visible .entry k(.param .u64 a, .param .u64 b) {
        .reg .b64 %o; .reg .b32 %r<4>; .reg .f32 %f; .reg .b32 %h;
        ld.param.u64 %o, [b];
        red.global.add.u32 [%o], 1; atom.global.inc.u32 %r0, [%o+4], 99;
        mov.f32 %f, 0f3F000000; red.global.add.f32 [%o+8], %f;
        mov.b32 %h, 0x3c003c00; red.global.add.noftz.f16x2 [%o+12], %h;
        red.global.v2.f32.add [%o+16], {%f, %f};
        ret; }";
    let mut device = Device::new();
    let exe = device.load(&format!("{HEAD}{text}")).unwrap();
    let o = device.alloc(&[0u32; 8]);
    let params = Params::new().with(o).with(o);
    device
        .run(&exe.kernel("k").unwrap(), [64, 1, 1], [128, 1, 1], &params)
        .unwrap();
    let got = device.read::<u32>(o);
    assert_eq!(got[0], 64 * 128);
    assert_eq!(got[1], 64 * 128 % 100);
    assert_eq!(f32::from_bits(got[2]), 4096.0);
    // Half precision stops at 2048, where adding 1 changes nothing.
    assert_eq!(got[3], 0x6800_6800);
    assert_eq!(
        (f32::from_bits(got[4]), f32::from_bits(got[5])),
        (4096.0, 4096.0)
    );
}

fn fault(declarations: &str, body: &str) -> FaultKind {
    let mut device = Device::new();
    let exe = device
        .load(&format!("{HEAD}{}", kernel(declarations, body)))
        .unwrap();
    let o = device.alloc(&[0u64; 64]);
    let params = Params::new().with(o).with(o);
    let fault = device
        .run(&exe.kernel("k").unwrap(), [1, 1, 1], [32, 1, 1], &params)
        .unwrap_err();
    assert!(fault.line > 0, "{fault}");
    fault.kind
}

#[test]
fn faults_in_every_space() {
    let o = crate::ptx_support::BASE;
    use FaultKind::{IllegalAddress, MisalignedAddress};
    let at = |address| IllegalAddress { address };
    assert_eq!(fault("", "ld.global.u32 %r0, [%out+512];"), at(o + 512));
    assert_eq!(
        fault("", "ld.global.v2.u64 {%d0, %d1}, [%out+8];"),
        MisalignedAddress { address: o + 8 }
    );
    assert_eq!(fault("", "mov.u64 %d0, 0; st.u8 [%d0], 0;"), at(0));
    assert_eq!(fault("", "mov.u64 %d0, -1; ld.u8 %r0, [%d0];"), at(!0));
    let shared = ".shared .align 4 .b8 s[64];";
    assert_eq!(
        fault(shared, "ld.shared.u32 %r0, [s+64];"),
        at(SHARED_WINDOW + 64)
    );
    assert_eq!(
        fault(
            shared,
            "mov.u64 %d0, s; cvta.shared.u64 %d0, %d0; st.u32 [%d0+2], 1;"
        ),
        MisalignedAddress {
            address: SHARED_WINDOW + 2
        }
    );
    let far = "{ .local .align 8 .b8 l[8]; mov.u64 %d0, l; ld.local.u32 %r0, [%d0+1000000]; }";
    assert!(matches!(fault("", far), IllegalAddress { address } if address > LOCAL_WINDOW));
    // Constant variables cannot be written.
    let constant = ".const .align 4 .u32 c = 1;";
    assert!(matches!(
        fault(constant, "mov.u64 %d0, c; st.u32 [%d0], 1;"),
        IllegalAddress { .. }
    ));
    assert_eq!(
        fault("", "atom.global.add.u32 %r0, [%out+513], 1;"),
        MisalignedAddress { address: o + 513 }
    );
}

#[test]
fn initialisers_of_module_variables() {
    let text = ".global .align 8 .u64 target = 0x1122334455667788;
        .global .align 8 .u64 pointer = generic(target)+8;
        .global .align 8 .u64 table[3] = {target, 7, pointer+4};
        .global .align 1 .b8 bytes[16] = {1, 2, 0xff(target), 0xff00(target), 0xff0000(target)};
        .global .align 4 .f32 floats[4] = {0f3F800000, 2.5, -1, 1e3};
        .global .align 8 .f64 doubles[2] = {0d3FF8000000000000, -0.5};
        .const .align 2 .s16 shorts[2][2] = {{-1, 2}, {3}};
        .global .b32 open[] = {4, 5, 6};
        .global .align 8 .b64 code[2] = {f, 0};
        .func f() { ret; }";
    let mut device = Device::new();
    let exe = device.load(&format!("{HEAD}{text}")).unwrap();
    let target = device.variable::<u64>(&exe, "pointer")[0] - 8;
    assert_eq!(device.read::<u64>(target), [0x1122_3344_5566_7788]);
    let table = device.variable::<u64>(&exe, "table");
    assert_eq!((table[0], table[1]), (target, 7));
    // The device puts the next variable on the next page but one.
    assert_eq!(table[2] - 4, target + 0x2000);
    let bytes = device.variable::<u8>(&exe, "bytes");
    assert_eq!(bytes[..2], [1, 2]);
    assert_eq!(bytes[2..5], target.to_le_bytes()[..3]);
    assert_eq!(
        device.variable::<f32>(&exe, "floats"),
        [1.0, 2.5, -1.0, 1e3]
    );
    assert_eq!(device.variable::<f64>(&exe, "doubles"), [1.5, -0.5]);
    assert_eq!(device.variable::<i16>(&exe, "shorts"), [-1, 2, 3, 0]);
    assert_eq!(device.variable::<u32>(&exe, "open"), [4, 5, 6]);
    assert_ne!(device.variable::<u64>(&exe, "code")[0], 0);
}

#[test]
fn asynchronous_copies() {
    let body = "mov.u32 %r0, tile; mad.lo.u32 %r0, %i, 16, %r0; and.b32 %r1, %i, 15;
        ld.param.u64 %in, [a]; mad.wide.u32 %in, %i, 16, %in;
        cp.async.cg.shared.global [%r0], [%in], 16, %r1; cp.async.commit_group;
        cp.async.ca.shared.global.L2::128B [%r0+512], [%in+8], 8;
        cp.async.wait_group 0; cp.async.wait_all;
        ld.shared.v2.u64 {%d0, %d1}, [%r0]; ld.shared.u64 %d2, [%r0+512];
        xor.b64 %d2, %d2, %d1; st.global.u64 [%out], %d0; st.global.u64 [%out+256], %d2;";
    let input = words(64);
    let got = run(
        &kernel(".shared .align 16 .b8 tile[1024];", body),
        32,
        &input,
        64,
    );
    for lane in 0..32 {
        let kept = lane % 16;
        let pair = u128::from(input[lane * 2]) | u128::from(input[lane * 2 + 1]) << 64;
        let pair = if kept == 0 {
            0
        } else {
            pair & !0 >> (128 - 8 * kept)
        };
        assert_eq!(got[lane], pair as u64);
        assert_eq!(got[32 + lane], input[lane * 2 + 1] ^ (pair >> 64) as u64);
    }
}
