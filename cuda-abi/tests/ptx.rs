//! The PTX scanner on text as compilers write it, and on damaged text.
#![allow(missing_docs, reason = "a test")]

use cuda_abi::fatbin::Fatbin;
use cuda_abi::ptx::{Linkage, Outline, Param, Space, Variable};
use proptest::prelude::*;

const TEXT: &str = r#"
// a comment { with a brace
.version 8.4
.target sm_90a, texmode_independent
.address_size 64
.file 1 "/somewhere/a;b{.cu"
.extern .func (.param .b32 func_retval0) vprintf (.param .b64 p0, .param .b64 p1);
.visible .global .align 4 .u32 counter;
.global .align 1 .b8 text[7] = {104, 101, 108, 108, 111, 10, 0};
.global .align 8 .u64 open[] = {generic(text), generic(text)+4, 0x10};
.weak .const .align 16 .b8 table[2][24];
.extern .shared .align 16 .b8 dynamic[];
.visible .global .attribute(.managed) .align 8 .f64 both;
.global .texref image;
.global .f32 a, b = 0f3F800000, c[3];
.global .v4 .f32 vector;
.common .global .s16 halves[0x10];
.func (.reg .b32 r) helper(.reg .b32 x) { { mov.b32 r, x; } ret; }
.visible .entry first(
    .param .u32 first_param_0,
    .param .u64 .ptr .global .align 4 first_param_1,
    .param .align 16 .b8 first_param_2[40],
    .param .u8 first_param_3
)
.maxntid 256, 1, 1
.minnctapersm 2
{
    .reg .pred %p<2>;
    .shared .align 4 .b8 tile[1024];
    .pragma "nounroll}";
    /* } */
    @%p0 bra $L;
$L: ret;
}
.weak .entry second() { ret; }
.entry third { ret; }
.section .debug_str { .b8 1, 2 }
"#;

fn variable(name: &'static str, space: Space, size: Option<u64>, align: u64) -> Variable<'static> {
    let (initialised, managed, reference) = (false, false, false);
    Variable {
        name,
        space,
        size,
        align,
        initialised,
        linkage: Linkage::Internal,
        managed,
        reference,
    }
}

#[test]
fn the_outline_is_complete() {
    let outline = Outline::scan(TEXT.as_bytes()).expect("valid");
    assert_eq!((outline.version, outline.address_size), ((8, 4), 64));
    assert_eq!(outline.targets, ["sm_90a", "texmode_independent"]);
    assert_eq!(outline.arch(), Some(90));
    use Linkage::{Common, Extern, Visible, Weak};
    use Space::{Const, Global, Shared};
    let expected = [
        Variable {
            linkage: Visible,
            ..variable("counter", Global, Some(4), 4)
        },
        Variable {
            initialised: true,
            ..variable("text", Global, Some(7), 1)
        },
        Variable {
            initialised: true,
            ..variable("open", Global, Some(24), 8)
        },
        Variable {
            linkage: Weak,
            ..variable("table", Const, Some(48), 16)
        },
        Variable {
            linkage: Extern,
            ..variable("dynamic", Shared, None, 16)
        },
        Variable {
            linkage: Visible,
            managed: true,
            ..variable("both", Global, Some(8), 8)
        },
        Variable {
            reference: true,
            ..variable("image", Global, Some(8), 8)
        },
        variable("a", Global, Some(4), 4),
        Variable {
            initialised: true,
            ..variable("b", Global, Some(4), 4)
        },
        variable("c", Global, Some(12), 4),
        variable("vector", Global, Some(16), 16),
        Variable {
            linkage: Common,
            ..variable("halves", Global, Some(32), 2)
        },
    ];
    assert_eq!(outline.variables, expected);
    let names: Vec<_> = outline
        .entries
        .iter()
        .map(|e| (e.name, e.linkage))
        .collect();
    assert_eq!(
        names,
        [
            ("first", Visible),
            ("second", Weak),
            ("third", Linkage::Internal)
        ]
    );
    let param = |name, offset, size, align| Param {
        name,
        offset,
        size,
        align,
    };
    assert_eq!(
        outline.entries[0].params,
        [
            param("first_param_0", 0, 4, 4),
            param("first_param_1", 8, 8, 8),
            param("first_param_2", 16, 40, 16),
            param("first_param_3", 56, 1, 1),
        ]
    );
    assert_eq!(outline.entries[0].param_bytes(), 57);
    assert_eq!(outline.entries[1].param_bytes(), 0);
}

#[test]
fn what_nvcc_writes_is_understood() {
    let fatbin = Fatbin::parse(include_bytes!("data/ptx-plain.fatbin")).expect("nvcc's own");
    let text = fatbin.entries[0].payload().expect("nvcc's own");
    let outline = Outline::scan(&text).expect("nvcc's own");
    let sizes: Vec<_> = outline
        .entries
        .iter()
        .map(|e| (e.name, e.param_bytes()))
        .collect();
    // A structure of char, double and int[3] is 32 bytes; then a pointer.
    assert_eq!(sizes, [("_Z3addPKfS0_Pfi", 28), ("_Z2st1PPf", 40)]);
    let coefficients = outline
        .variables
        .iter()
        .find(|v| v.name == "coef")
        .expect("it is there");
    assert_eq!(
        (
            coefficients.space,
            coefficients.size,
            coefficients.initialised
        ),
        (Space::Const, Some(16), true)
    );
}

#[test]
fn errors_name_their_line() {
    let error =
        Outline::scan(b".version 8.0\n.target sm_75\n.global .u32 x[;").expect_err("invalid");
    assert_eq!(error.to_string(), "PTX line 3: a name is missing");
    let error = Outline::scan(b".version 8.0\n.entry f() {\n{ ret;\n}").expect_err("invalid");
    assert_eq!(error.to_string(), "PTX line 4: a body does not end");
    assert!(Outline::scan(b"").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn mutations_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b".,;{}()[]=\"/*0x9 a\n\0\xff".to_vec())), 1..8),
                             cut in prop::option::of(any::<prop::sample::Index>())) {
        let mut text = TEXT.as_bytes().to_vec();
        for (at, value) in changes {
            let at = at.index(text.len());
            text[at] = value;
        }
        if let Some(cut) = cut {
            text.truncate(cut.index(text.len()));
        }
        if let Ok(outline) = Outline::scan(&text) {
            for entry in &outline.entries {
                prop_assert!(entry.params.iter().all(|p| p.offset + p.size <= entry.param_bytes()));
            }
        }
    }

    #[test]
    fn noise_never_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Outline::scan(&[b".version 8.0\n", &text[..]].concat());
    }
}
