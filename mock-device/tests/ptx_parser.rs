//! The parser and the decoder on text that is wrong, strange or damaged.

#[path = "ptx_support/mod.rs"]
mod ptx_support;

use mock_device::ptx::{Linkage, Module, PtxError, Space};
use proptest::prelude::*;

const GUESTS: &str = include_str!("ptx_kernels/guests.ptx");
const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

fn error(text: &str) -> String {
    Module::parse(&format!("{HEAD}{text}"))
        .unwrap_err()
        .to_string()
}

fn body(text: &str) -> String {
    error(&format!(
        ".visible .entry k() {{\n.reg .b32 %r<4>; .reg .b64 %d<4>; .reg .f32 %f<8>; .reg .pred %p;\n{text}\nret; }}"
    ))
}

#[test]
fn unsupported_opcodes_are_named_with_their_line() {
    assert_eq!(
        body("tex.2d.v4.f32.f32 {%f0, %f1, %f2, %f3}, [%d0, {%f4, %f5}];"),
        "line 6: opcode `tex.2d.v4.f32.f32` with this kind of address is not supported by the mock device"
    );
    assert_eq!(
        body("wmma.load.a.sync.row.m16n16k16.f16 {%r0}, [%d0];"),
        "line 6: opcode `wmma.load.a.sync.row.m16n16k16.f16` is not supported by the mock device"
    );
    for opcode in [
        "add.f32.s32 %f0, %f1, %f2;",
        "add.weird.s32 %r0, %r1, %r2;",
        "mul.s32 %r0, %r1, %r2;",
        "setp.lt.b32 %p, %r0, %r1;",
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r0], [%d0], %r1, [%r2];",
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f0}, {%r0}, {%r1}, {%f0};",
        "shfl.sync.up.b64 %d0, %d1, 1, 0, -1;",
        "atom.global.add.b32 %r0, [%d0], 1;",
        "cvt.rzi.f32.s32 %f0, %r0;",
        "min.relu.u32 %r0, %r1, %r2;",
        "ld.global.v3.f32 {%f0, %f1, %f2}, [%d0];",
        "sin.f32 %f0;",
        "frobnicate;",
    ] {
        let message = body(opcode);
        let name = opcode.split([' ', ';']).next().unwrap();
        assert!(
            message.starts_with("line 6: ") && message.contains(name),
            "{opcode}: {message}"
        );
    }
}

#[test]
fn functions_without_a_body_are_named() {
    let text =
        ".extern .func cudaLaunchDevice();\n.visible .entry k() { call cudaLaunchDevice; ret; }";
    assert!(
        error(text).contains("calling `cudaLaunchDevice` from a kernel is not supported"),
        "{}",
        error(text)
    );
    let text = ".extern .func elsewhere();\n.visible .entry k() { call elsewhere; ret; }";
    assert!(error(text).contains("`elsewhere`"), "{}", error(text));
    // One that nobody calls does no harm, nor a heap that nobody uses.
    assert!(Module::parse(&format!("{HEAD}.extern .func elsewhere();")).is_ok());
}

#[test]
fn mistakes_are_syntax_errors_with_their_line() {
    for (text, part) in [
        ("add.u32 %r0, %r1;", "takes 3 operands"),
        ("add.u32 %r9, %r1, %r2;", "%r9"),
        ("add.u32 %d0, %r1, %r2;", "wrong width"),
        ("mov.u32 %r0, nothing;", "`nothing` is not defined"),
        ("bra nowhere;", "`nowhere` is not defined"),
        ("mov.u32 %r0, %tid.q;", "%tid.q"),
        ("ld.global.u32 %r0, %d0;", "address"),
        ("x: add.u32 %r0, %r0, 1; x: ret;", "stands twice"),
        ("add.u32 %r0, %r1, 5", "expected"),
        ("@%r0 ret;", "no predicate"),
    ] {
        let message = body(text);
        assert!(
            message.starts_with("line 6: ") || message.starts_with("line 7: "),
            "{text}: {message}"
        );
        assert!(message.contains(part), "{text}: {message}");
    }
    assert!(matches!(
        Module::parse(""),
        Err(PtxError::Syntax { line: 1, .. })
    ));
    assert!(error(".address_size 32").contains(".address_size"));
    assert!(error(".global .texref t;").contains(".texref"));
    assert!(error(".entry k() { ret; } .entry k() { ret; }").contains("defined twice"));
    let deep = format!(".entry k() {}", "{".repeat(5000));
    assert!(error(&deep).contains("nested too deeply"));
    let deep = format!(".global .u32 x = {}1;", "(".repeat(5000));
    assert!(error(&deep).contains("nested too deeply"));
}

#[test]
fn declarations_are_described() {
    let text = ".visible .global .align 16 .b8 table[3][5];
        .extern .global .u32 outside;
        .weak .const .f64 c[2] = {1.0, 2.0};
        .global .attribute(.managed) .align 4 .u32 m;
        .extern .shared .align 16 .b8 dynamic[];
        .shared .align 4 .b8 fixed[100];
        .visible .entry k(.param .u8 a, .param .align 8 .b8 s[12], .param .u64 .ptr .global .align 4 p)
        .maxntid 64, 2, 1 .minnctapersm 3 .pragma \"nounroll\";
        { .reg .b32 %r; .shared .align 8 .b8 own[24]; .loc 1 2 3
          mov.u32 %r, dynamic; mov.u32 %r, fixed; mov.u32 %r, own; ret; }
        .visible .entry small() { .shared .b32 x; .reg .b32 %r; mov.u32 %r, x; ret; }
        .file 1 \"a b.cu\"
        .section .debug_info { .b8 1, 2, { 3 } .b64 x }";
    let module = Module::parse(&format!("{HEAD}{text}")).unwrap();
    let v = module.variables();
    assert_eq!(
        (v[0].size, v[0].align, v[0].linkage),
        (15, 16, Linkage::Visible)
    );
    // What is defined elsewhere comes last.
    assert_eq!(
        (v[3].linkage, v[1].space, v[1].size),
        (Linkage::Extern, Space::Const, 16)
    );
    assert!(v[2].managed && !v[0].managed);
    let k = &module.kernels()[0];
    let places: Vec<_> = k.params.iter().map(|p| (p.offset, p.size)).collect();
    assert_eq!(places, [(0, 1), (8, 12), (24, 8)]);
    assert_eq!(
        (k.params_size, k.max_threads, k.min_blocks),
        (32, 128, Some(3))
    );
    // 100 bytes, then 24 at a multiple of 8; the other kernel shares none of it.
    assert_eq!(k.shared_size, 128);
    assert_eq!(module.kernels()[1].shared_size, 4);
}

#[test]
fn scopes_hide_registers_and_labels() {
    let text =
        ".visible .entry k(.param .u64 o) { .reg .b64 %o; .reg .b32 %r<2>; ld.param.u64 %o, [o];
        mov.u32 %r0, 1;
        { .reg .b32 %r<2>; mov.u32 %r0, 2; bra x; mov.u32 %r0, 3; x: st.global.u32 [%o], %r0; }
        { .reg .b32 t; mov.u32 t, 4; bra x; mov.u32 t, 5; x: st.global.u32 [%o+4], t; }
        st.global.u32 [%o+8], %r0; ret; }";
    let mut device = ptx_support::Device::new();
    let exe = device.load(&format!("{HEAD}{text}")).unwrap();
    let o = device.alloc(&[0u32; 3]);
    let params = ptx_support::Params::new().with(o);
    device
        .run(&exe.kernel("k").unwrap(), [1, 1, 1], [1, 1, 1], &params)
        .unwrap();
    assert_eq!(device.read::<u32>(o), [2, 4, 1]);
}

/// Pieces that bring the damage near to what the parser looks for.
const PIECES: [&str; 24] = [
    "",
    ";",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    "@%p1",
    ".reg .b32 %r<4294967295>;",
    "%r1",
    "0x",
    "99999999999999999999",
    "0f3F8",
    "-",
    "!",
    "|",
    ".shared .b8 x[9999999999];",
    "ret;",
    "\u{e9}",
    ".v4",
    "call",
    "\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_modules_never_panic(
        from in 0usize..60_000,
        length in 200usize..4000,
        edits in proptest::collection::vec((0usize..4000, 0usize..30, 0usize..24), 1..6),
    ) {
        // A stretch of real text behind a real head, with pieces replaced.
        let from = from.min(GUESTS.len());
        let mut text: String = GUESTS[from..].chars().take(length).collect();
        for (at, drop, piece) in edits {
            let at = at.min(text.len());
            let end = (at + drop).min(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, PIECES[piece]);
            }
        }
        let _ = Module::parse(&format!("{HEAD}{text}"));
        let _ = Module::parse(&format!("{HEAD}.entry k() {{ {text}"));
    }

    #[test]
    fn damaged_whole_modules_never_panic(at in 0usize..150_000, drop in 0usize..40, piece in 0usize..24) {
        let mut text = GUESTS.to_string();
        let at = at % text.len();
        let end = (at + drop).min(text.len());
        text.replace_range(at..end, PIECES[piece]);
        let _ = Module::parse(&text);
    }

    #[test]
    fn any_text_never_panics(text in "\\PC{0,200}") {
        let _ = Module::parse(&text);
        let _ = Module::parse(&format!("{HEAD}.entry k() {{ {text} ; }}"));
    }
}
