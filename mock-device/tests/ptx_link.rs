//! Several PTX texts made into one module, as separate compilation leaves them.

use std::sync::Arc;

use mock_device::ptx::{Linkage, Module, Placement, PtxError};

const HEAD: &str = ".version 8.0\n.target sm_75\n.address_size 64\n";

fn link(texts: &[&str]) -> Result<Module, PtxError> {
    let texts: Vec<String> = texts.iter().map(|text| format!("{HEAD}{text}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Module::link(&texts)
}

fn names(module: &Module) -> Vec<(&str, Linkage)> {
    let variables = module.variables().iter();
    variables.map(|v| (v.name.as_str(), v.linkage)).collect()
}

const USER: &str = "
    .extern .global .align 4 .u32 shared;
    .extern .func (.param .b32 r) twice (.param .b32 a);
    .global .align 8 .u64 pointers[2] = {twice, helper};
    .func helper () { ret; }
    .visible .entry run () {
        .reg .b32 %r<3>; .reg .b64 %d<2>;
        mov.u64 %d1, shared;
        ld.global.u32 %r1, [%d1];
        { .param .b32 a; .param .b32 r; st.param.b32 [a], %r1; call.uni (r), twice, (a); }
        call.uni helper, ();
        ret;
    }";

const MAKER: &str = "
    .visible .global .align 4 .u32 shared = 7;
    .func helper () { trap; }
    .visible .func (.param .b32 r) twice (.param .b32 a) {
        .reg .b32 %r<3>;
        ld.param.b32 %r1, [a]; add.u32 %r2, %r1, %r1; st.param.b32 [r], %r2;
        call.uni helper, ();
        ret;
    }";

#[test]
fn names_are_found_in_the_other_text() {
    for texts in [[USER, MAKER], [MAKER, USER]] {
        let module = link(&texts).expect("linked");
        let mut found = names(&module);
        found.sort_by_key(|(name, _)| *name);
        let expected = [
            ("pointers", Linkage::Internal),
            ("shared", Linkage::Visible),
        ];
        assert_eq!(found, expected);
        assert_eq!(module.kernels().len(), 1);
        // The pointers are to two different functions, of which each text has its own `helper`.
        let at = module.variables().iter().position(|v| v.name == "pointers");
        let executable = Arc::new(module)
            .instantiate(Placement {
                variables: &[0x1000, 0x2000],
                code: 0x10_0000,
            })
            .expect("placed");
        let bytes = executable.initial_bytes(at.expect("pointers"));
        let (first, second) = bytes.split_at(8);
        assert_ne!(first, second);
    }
}

#[test]
fn what_nobody_defines_is_missed_by_name() {
    let error = link(&[USER, ".visible .global .u32 shared;"]).expect_err("no twice");
    assert!(error.to_string().contains("`twice`"), "{error}");
    let module = link(&[".extern .global .u32 gone;", ".extern .global .u32 gone;"]);
    assert_eq!(names(&module.expect("linked")), [("gone", Linkage::Extern)]);
}

#[test]
fn weak_definitions_are_one_and_strong_ones_may_not_be_two() {
    let weak = ".weak .global .align 4 .u32 v = 1; .weak .func f () { ret; } .weak .entry k () { call.uni f, (); ret; }";
    let strong = ".visible .global .align 4 .u32 v = 2; .visible .func f () { trap; }";
    let module = link(&[weak, weak]).expect("linked");
    assert_eq!((module.variables().len(), module.kernels().len()), (1, 1));
    for texts in [[weak, strong], [strong, weak]] {
        let module = Arc::new(link(&texts).expect("linked"));
        let placement = Placement {
            variables: &[0x1000],
            code: 0x10_0000,
        };
        let executable = module.instantiate(placement).expect("placed");
        assert_eq!(executable.initial_bytes(0)[..], [2, 0, 0, 0]);
    }
    let error = link(&[strong, strong]).expect_err("two");
    assert!(error.to_string().contains("defined twice"), "{error}");
}

/// The driver finds variables by name alone.
#[test]
fn private_variables_of_one_name_are_refused() {
    let text = ".global .align 4 .u32 state;";
    let error = link(&[text, text]).expect_err("two");
    assert!(error.to_string().contains("`state`"), "{error}");
    let literal = ".global .align 1 .b8 $str[3] = {104, 105, 0};";
    assert_eq!(
        link(&[literal, literal]).expect("linked").variables().len(),
        2
    );
}
