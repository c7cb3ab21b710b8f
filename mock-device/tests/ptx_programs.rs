//! Random programs with branches and loops that differ by lane, against a
//! thread-by-thread evaluation of the same program: divergence, reconvergence
//! and the sharing of registers must not show.

#[path = "ptx_support/mod.rs"]
mod ptx_support;

use proptest::prelude::*;
use ptx_support::{Device, Params, Random};

const VARIABLES: usize = 6;
const THREADS: usize = 96;

#[derive(Debug, Clone)]
enum Statement {
    /// `v[d] = v[a] op v[b]`
    Assign(usize, u8, usize, usize),
    If(usize, usize, Vec<Statement>, Vec<Statement>),
    /// Runs `v[n] & 7` times; may leave early when `v[a] < v[b]`.
    Loop(usize, usize, usize, Vec<Statement>),
    /// All threads of the warp that are here exchange nothing, but vote.
    Vote(usize, usize),
    /// The thread ends here when `v[a] < v[b]`.
    Leave(usize, usize),
    /// `v[d] = f(v[a])` by a call.
    Call(usize, usize),
}

fn statements(depth: u32) -> BoxedStrategy<Vec<Statement>> {
    let v = 0..VARIABLES;
    let leaf = prop_oneof![
        8 => (v.clone(), 0u8..6, v.clone(), v.clone())
            .prop_map(|(d, op, a, b)| Statement::Assign(d, op, a, b)),
        1 => (v.clone(), v.clone()).prop_map(|(d, a)| Statement::Vote(d, a)),
        1 => (v.clone(), v.clone()).prop_map(|(d, a)| Statement::Call(d, a)),
    ];
    if depth == 0 {
        return prop::collection::vec(leaf, 1..4).boxed();
    }
    let inner = statements(depth - 1);
    let nested = prop_oneof![
        3 => leaf,
        2 => (v.clone(), v.clone(), inner.clone(), inner.clone())
            .prop_map(|(a, b, yes, no)| Statement::If(a, b, yes, no)),
        2 => (v.clone(), v.clone(), v.clone(), inner)
            .prop_map(|(n, a, b, body)| Statement::Loop(n, a, b, body)),
        1 => (v.clone(), v).prop_map(|(a, b)| Statement::Leave(a, b)),
    ];
    prop::collection::vec(nested, 1..5).boxed()
}

const OPS: [&str; 6] = [
    "add.u32",
    "sub.u32",
    "mul.lo.u32",
    "xor.b32",
    "min.u32",
    "max.s32",
];

fn apply(op: u8, a: u32, b: u32) -> u32 {
    match op {
        0 => a.wrapping_add(b),
        1 => a.wrapping_sub(b),
        2 => a.wrapping_mul(b),
        3 => a ^ b,
        4 => a.min(b),
        _ => (a as i32).max(b as i32) as u32,
    }
}

/// What the device function in the text computes.
fn function(x: u32) -> u32 {
    if x.is_multiple_of(3) {
        x / 3
    } else {
        x.wrapping_mul(5).wrapping_add(1)
    }
}

const FUNCTION: &str = ".func (.param .b32 r) f(.param .b32 x) {
    .reg .b32 %r<5>; .reg .pred %p; ld.param.b32 %r0, [x]; rem.u32 %r1, %r0, 3;
    setp.ne.u32 %p, %r1, 0; @%p bra no; div.u32 %r2, %r0, 3; bra out;
    no: mad.lo.u32 %r2, %r0, 5, 1; out: st.param.b32 [r], %r2; ret; }\n";

struct Writer {
    text: String,
    names: usize,
}

impl Writer {
    fn name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    fn write(&mut self, statements: &[Statement]) {
        for statement in statements {
            let n = self.name();
            match statement {
                // A register of its own for each result, as compilers do.
                Statement::Assign(d, op, a, b) => {
                    let op = OPS[*op as usize];
                    self.text += &format!("{op} %t{n}, %v{a}, %v{b};\nmov.u32 %v{d}, %t{n};\n");
                }
                Statement::If(a, b, yes, no) => {
                    self.text += &format!("setp.lt.u32 %p{n}, %v{a}, %v{b};\n@%p{n} bra Y{n};\n");
                    self.write(no);
                    self.text += &format!("bra E{n};\nY{n}:\n");
                    self.write(yes);
                    self.text += &format!("E{n}:\n");
                }
                Statement::Loop(count, a, b, body) => {
                    self.text += &format!(
                        "and.b32 %t{n}, %v{count}, 7;\nmov.u32 %c{n}, 0;\nL{n}: setp.ge.u32 %p{n}, %c{n}, %t{n};\n\
                         @%p{n} bra X{n};\nadd.u32 %c{n}, %c{n}, 1;\n"
                    );
                    self.write(body);
                    self.text +=
                        &format!("setp.lt.u32 %q{n}, %v{a}, %v{b};\n@!%q{n} bra L{n};\nX{n}:\n");
                }
                Statement::Vote(d, a) => {
                    // Own lane only: whatever the group, the answer is known.
                    self.text += &format!(
                        "mov.u32 %t{n}, %lanemask_eq;\nsetp.gt.u32 %p{n}, %v{a}, 1000;\n\
                         vote.sync.any.pred %p{n}, %p{n}, %t{n};\n@%p{n} add.u32 %v{d}, %v{d}, 1;\n"
                    );
                }
                Statement::Leave(a, b) => {
                    self.text += &format!("setp.lt.u32 %p{n}, %v{a}, %v{b};\n@%p{n} bra finish;\n");
                }
                Statement::Call(d, a) => {
                    self.text += &format!(
                        "{{ .param .b32 x; .param .b32 y; st.param.b32 [x], %v{a};\n\
                         call.uni (y), f, (x);\nld.param.b32 %v{d}, [y]; }}\n"
                    );
                }
            }
        }
    }
}

/// False when the thread left.
fn evaluate(statements: &[Statement], v: &mut [u32; VARIABLES]) -> bool {
    for statement in statements {
        match statement {
            Statement::Assign(d, op, a, b) => v[*d] = apply(*op, v[*a], v[*b]),
            Statement::If(a, b, yes, no) => {
                if !evaluate(if v[*a] < v[*b] { yes } else { no }, v) {
                    return false;
                }
            }
            Statement::Loop(n, a, b, body) => {
                for _ in 0..v[*n] & 7 {
                    if !evaluate(body, v) {
                        return false;
                    }
                    if v[*a] < v[*b] {
                        break;
                    }
                }
            }
            Statement::Vote(d, a) => v[*d] = v[*d].wrapping_add(u32::from(v[*a] > 1000)),
            Statement::Leave(a, b) if v[*a] < v[*b] => return false,
            Statement::Leave(..) => {}
            Statement::Call(d, a) => v[*d] = function(v[*a]),
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_thread_computes_its_own_result(program in statements(3), seed in any::<u64>()) {
        let mut writer = Writer { text: String::new(), names: 0 };
        writer.write(&program);
        let names = writer.names + 1;
        let mut text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n{FUNCTION}
             .visible .entry k(.param .u64 a) {{ .reg .b64 %a; .reg .b32 %i, %v<{VARIABLES}>;
             .reg .b32 %t<{names}>, %c<{names}>; .reg .pred %p<{names}>, %q<{names}>;
             ld.param.u64 %a, [a]; mov.u32 %i, %tid.x; mad.wide.u32 %a, %i, {}, %a;\n",
            VARIABLES * 4
        );
        for v in 0..VARIABLES {
            text += &format!("ld.global.u32 %v{v}, [%a+{}];\n", v * 4);
        }
        text += &writer.text;
        text += "finish:\n";
        for v in 0..VARIABLES {
            text += &format!("st.global.u32 [%a+{}], %v{v};\n", v * 4);
        }
        text += "ret; }";
        let mut random = Random(seed);
        let input: Vec<u32> =
            (0..THREADS * VARIABLES).map(|_| random.next() as u32 >> random.below(30)).collect();
        let mut device = Device::new();
        let exe = device.load(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let a = device.alloc(&input);
        let params = Params::new().with(a);
        device.run(&exe.kernel("k").unwrap(), [1, 1, 1], [THREADS as u32, 1, 1], &params).unwrap();
        let got = device.read::<u32>(a);
        for (thread, (input, got)) in
            input.chunks(VARIABLES).zip(got.chunks(VARIABLES)).enumerate()
        {
            let mut v: [u32; VARIABLES] = input.try_into().unwrap();
            evaluate(&program, &mut v);
            prop_assert_eq!(got, &v[..], "thread {}\n{}", thread, text);
        }
    }
}
