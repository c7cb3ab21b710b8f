//! Operations between lanes and threads, and control flow, under divergence.

use std::sync::atomic::{AtomicBool, Ordering};

use mock_device::ptx::{FaultKind, Launch};

use crate::ptx_support::{Device, Params, Random};

const HEAD: &str = ".version 9.0\n.target sm_90\n.address_size 64\n";

/// A kernel whose body has `%i` (thread), `%l` (lane), `%x` (its input word)
/// and writes `%z`.
fn kernel(declarations: &str, body: &str) -> String {
    format!(
        "{HEAD}{declarations}
        .visible .entry k(.param .u64 a, .param .u64 b) {{
        .reg .b64 %in, %out, %d<6>; .reg .b32 %i, %l, %x, %z, %r<10>; .reg .pred %p<6>;
        ld.param.u64 %in, [a]; ld.param.u64 %out, [b]; mov.u32 %z, 0;
        mov.u32 %i, %tid.x; mov.u32 %l, %laneid;
        mad.wide.u32 %in, %i, 4, %in; mad.wide.u32 %out, %i, 4, %out;
        ld.global.u32 %x, [%in];
        {body}
        done: st.global.u32 [%out], %z; ret; }}"
    )
}

fn run_on(text: &str, input: &[u32]) -> Result<Vec<u32>, FaultKind> {
    let mut device = Device::new();
    let exe = device.load(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let (i, o) = (device.alloc(input), device.alloc(&vec![0u32; input.len()]));
    let params = Params::new().with(i).with(o);
    device
        .run(
            &exe.kernel("k").unwrap(),
            [1, 1, 1],
            [input.len() as u32, 1, 1],
            &params,
        )
        .map_err(|f| f.kind)?;
    Ok(device.read(o))
}

fn run(declarations: &str, body: &str, input: &[u32]) -> Vec<u32> {
    run_on(&kernel(declarations, body), input).unwrap_or_else(|e| panic!("{e:?}\n{body}"))
}

fn inputs(count: usize) -> Vec<u32> {
    let mut random = Random(41);
    (0..count).map(|_| random.next() as u32).collect()
}

/// The ISA's pseudocode for `shfl`, on one warp.
fn shuffle(mode: &str, x: &[u32], lane: usize, b: u32, c: u32) -> (u32, bool) {
    let (lane, b, clamp, seg) = (
        lane as i64,
        i64::from(b & 31),
        i64::from(c & 31),
        i64::from(c >> 8 & 31),
    );
    let max_lane = (lane & seg) | (clamp & !seg);
    let min_lane = lane & seg;
    let (j, p) = match mode {
        "up" => (lane - b, lane - b >= max_lane),
        "down" => (lane + b, lane + b <= max_lane),
        "bfly" => (lane ^ b, (lane ^ b) <= max_lane),
        _ => (min_lane | (b & !seg), (min_lane | (b & !seg)) <= max_lane),
    };
    if p {
        (x[j as usize], true)
    } else {
        (x[lane as usize], false)
    }
}

#[test]
fn shuffles_of_all_modes_and_segments() {
    let x = inputs(64);
    for mode in ["up", "down", "bfly", "idx"] {
        for (b, c) in [
            (1, 0x1f),
            (16, 0x1f),
            (0, 0),
            (3, 0x181f),
            (5, 0x1c1f),
            (2, 0x1800),
            (31, 0x1f),
            (4, 7),
        ] {
            let body = format!(
                "shfl.sync.{mode}.b32 %r0|%p0, %x, {b}, {c}, -1; selp.b32 %r1, 1, 0, %p0;
                 mad.lo.u32 %z, %r0, 2, %r1;"
            );
            for (i, got) in run("", &body, &x).into_iter().enumerate() {
                let warp = &x[i / 32 * 32..][..32];
                let (value, valid) = shuffle(mode, warp, i % 32, b, c);
                assert_eq!(
                    got,
                    value.wrapping_mul(2) + u32::from(valid),
                    "{mode} {b} {c:#x} {i}"
                );
            }
        }
    }
    // Operands that differ by lane.
    let body = "xor.b32 %r0, %l, 5; shfl.sync.idx.b32 %z, %x, %r0, 31, 0xffffffff;";
    for (i, got) in run("", body, &x).into_iter().enumerate() {
        assert_eq!(got, x[i ^ 5]);
    }
}

#[test]
fn warp_operations_wait_for_lanes_on_other_paths() {
    let x = inputs(32);
    // Even and odd lanes meet at two different shuffles, with one mask.
    let body = "and.b32 %r0, %l, 1; setp.eq.u32 %p0, %r0, 0; @%p0 bra even;
        add.u32 %r1, %x, 1; shfl.sync.bfly.b32 %z, %r1, 1, 31, -1; bra done;
        even: shfl.sync.bfly.b32 %z, %x, 1, 31, -1;";
    for (i, got) in run("", body, &x).into_iter().enumerate() {
        let from = i ^ 1;
        assert_eq!(got, x[from].wrapping_add((from % 2) as u32), "{i}");
    }
    // Each half has its own mask at the same instruction, in one group.
    let body = "setp.lt.u32 %p0, %l, 16; selp.b32 %r0, 0xffff, 0xffff0000, %p0;
        setp.gt.u32 %p1, %x, 0x7fffffff; vote.sync.ballot.b32 %z, %p1, %r0;";
    for (i, got) in run("", body, &x).into_iter().enumerate() {
        let half = i / 16 * 16;
        let expected = (half..half + 16).fold(0, |m, l| m | (x[l] >> 31) << l);
        assert_eq!(got, expected, "{i}");
    }
    // A loop of different length for each lane, with a shuffle behind it.
    let body = "and.b32 %r0, %x, 15; mov.u32 %r1, 0;
        again: setp.ge.u32 %p0, %r1, %r0; @%p0 bra out; add.u32 %r1, %r1, 1; bra again;
        out: shfl.sync.idx.b32 %r2, %r1, 3, 31, -1; mad.lo.u32 %z, %r2, 100, %r1;";
    for (i, got) in run("", body, &x).into_iter().enumerate() {
        assert_eq!(got, (x[3] & 15) * 100 + (x[i] & 15));
    }
}

#[test]
fn lanes_that_have_exited_are_not_waited_for() {
    let x = inputs(32);
    let body = "setp.ge.u32 %p0, %l, 20; @%p0 exit;
        setp.ne.u32 %p1, %x, 0; vote.sync.ballot.b32 %z, %p1, -1; bar.sync 0;";
    for (i, got) in run("", body, &x).into_iter().enumerate() {
        assert_eq!(got, if i < 20 { 0xf_ffff } else { 0 });
    }
    // They leave while the others already wait.
    let body = "setp.lt.u32 %p0, %l, 20; @%p0 bra wait; mov.u32 %r0, 0;
        spin: add.u32 %r0, %r0, 1; setp.lt.u32 %p1, %r0, 50; @%p1 bra spin; ret;
        wait: activemask.b32 %r2; bar.warp.sync -1; mov.u32 %z, 1;";
    let got = run("", body, &x);
    assert_eq!(got.iter().sum::<u32>(), 20);
}

#[test]
fn votes() {
    for pattern in [0u32, !0, 1, 0x8000_0001, 0x0f0f_0f0f] {
        let x: Vec<u32> = (0..32).map(|l| pattern >> l & 1).collect();
        let body = "setp.ne.u32 %p0, %x, 0;
            vote.sync.all.pred %p1, %p0, -1; vote.sync.any.pred %p2, %p0, -1;
            vote.sync.uni.pred %p3, %p0, -1; vote.sync.any.pred %p4, !%p0, -1;
            selp.b32 %r1, 1, 0, %p1; selp.b32 %r2, 2, 0, %p2; selp.b32 %r3, 4, 0, %p3;
            selp.b32 %r4, 8, 0, %p4; add.u32 %z, %r1, %r2; add.u32 %z, %z, %r3; add.u32 %z, %z, %r4;";
        let expected = u32::from(pattern == !0)
            + 2 * u32::from(pattern != 0)
            + 4 * u32::from(pattern == 0 || pattern == !0)
            + 8 * u32::from(pattern != !0);
        assert_eq!(run("", body, &x), vec![expected; 32], "{pattern:#x}");
    }
}

#[test]
fn matches_and_elections() {
    let x: Vec<u32> = inputs(32).iter().map(|v| v % 5).collect();
    let body = "match.any.sync.b32 %z, %x, -1;";
    for (i, got) in run("", body, &x).into_iter().enumerate() {
        let expected = (0..32)
            .filter(|&o| x[o] == x[i])
            .fold(0u32, |m, o| m | 1 << o);
        assert_eq!(got, expected);
    }
    let body = "cvt.u64.u32 %d0, %x; shl.b64 %d0, %d0, 40; match.any.sync.b64 %z, %d0, -1;";
    assert_eq!(
        run("", body, &x),
        run("", "match.any.sync.b32 %z, %x, -1;", &x)
    );
    let body = "match.all.sync.b32 %r0|%p0, %x, -1; selp.b32 %z, %r0, 7, %p0;";
    assert_eq!(run("", body, &x), vec![7; 32]);
    assert_eq!(run("", body, &[3; 32]), vec![!0; 32]);
    let body = "setp.lt.u32 %p1, %l, 9; @%p1 bra done; elect.sync %r0|%p0, 0xfffffe00;
        selp.b32 %r1, 100, 0, %p0; add.u32 %z, %r0, %r1;";
    let got = run("", body, &x);
    assert_eq!((got[8], got[9], got[10], got[31]), (0, 109, 9, 9));
}

#[test]
fn reductions_over_members() {
    let x = inputs(32);
    let members = 0x00ff_ff0fu32;
    let of = |f: &dyn Fn(u32, u32) -> u32| {
        (0..32)
            .filter(|l| members >> l & 1 == 1)
            .map(|l| x[l])
            .reduce(f)
            .unwrap()
    };
    let signed = |less: bool| {
        move |a: u32, b: u32| {
            if ((a as i32) < b as i32) == less {
                a
            } else {
                b
            }
        }
    };
    let cases: [(&str, u32); 8] = [
        ("add.s32", of(&|a, b| a.wrapping_add(b))),
        ("min.u32", of(&|a, b| a.min(b))),
        ("max.u32", of(&|a, b| a.max(b))),
        ("min.s32", of(&signed(true))),
        ("max.s32", of(&signed(false))),
        ("and.b32", of(&|a, b| a & b)),
        ("or.b32", of(&|a, b| a | b)),
        ("xor.b32", of(&|a, b| a ^ b)),
    ];
    for (op, expected) in cases {
        let body = format!(
            "mov.u32 %r0, {members:#x}; shr.u32 %r1, %r0, %l; and.b32 %r1, %r1, 1;
             setp.ne.u32 %p0, %r1, 0; @%p0 redux.sync.{op} %z, %x, %r0;"
        );
        for (l, got) in run("", &body, &x).into_iter().enumerate() {
            assert_eq!(
                got,
                if members >> l & 1 == 1 { expected } else { 0 },
                "{op} {l}"
            );
        }
    }
}

#[test]
fn barriers_order_shared_memory() {
    let x = inputs(200);
    // Each thread reads what the next one wrote, 20 rounds.
    let body = "mov.u32 %r0, buf; mad.lo.u32 %r1, %i, 4, %r0; mov.u32 %r2, %ntid.x;
        add.u32 %r3, %i, 1; rem.u32 %r3, %r3, %r2; mad.lo.u32 %r3, %r3, 4, %r0;
        mov.u32 %z, %x; mov.u32 %r4, 0;
        again: st.shared.u32 [%r1], %z; bar.sync 0; ld.shared.u32 %z, [%r3]; barrier.cta.sync 1;
        add.u32 %r4, %r4, 1; setp.lt.u32 %p0, %r4, 20; @%p0 bra again;";
    let got = run(".shared .align 4 .b8 buf[800];", body, &x);
    for i in 0..200 {
        assert_eq!(got[i], x[(i + 20) % 200], "{i}");
    }
}

#[test]
fn barriers_with_counts_and_arrivals() {
    // Warps 0 and 1 produce, warps 2 and 3 consume, through barriers 1 and 2.
    let body = "mov.u32 %r0, buf; and.b32 %r1, %i, 63; mad.lo.u32 %r0, %r1, 4, %r0;
        setp.ge.u32 %p0, %i, 64; @%p0 bra consumer;
        mov.u32 %r2, 0;
        more: add.u32 %r3, %x, %r2; st.shared.u32 [%r0], %r3; bar.arrive 1, 128; bar.sync 2, 128;
        add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, 10; @%p1 bra more; bra done;
        consumer: mov.u32 %r2, 0;
        next: barrier.sync 1, 128; ld.shared.u32 %r3, [%r0]; add.u32 %z, %z, %r3; bar.sync 2, 128;
        add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, 10; @%p1 bra next;";
    let x = inputs(128);
    let got = run(".shared .align 4 .b8 buf[256];", body, &x);
    for i in 64..128 {
        assert_eq!(got[i], x[i - 64].wrapping_mul(10).wrapping_add(45));
    }
}

#[test]
fn reductions_across_barriers() {
    let x: Vec<u32> = inputs(100).iter().map(|v| v % 3).collect();
    let body = "setp.eq.u32 %p0, %x, 1; bar.red.popc.u32 %r0, 0, %p0;
        bar.red.and.pred %p1, 0, %p0; barrier.red.or.pred %p2, 3, !%p0;
        selp.b32 %r1, 1000, 0, %p1; selp.b32 %r2, 2000, 0, %p2;
        add.u32 %z, %r0, %r1; add.u32 %z, %z, %r2;";
    let ones = x.iter().filter(|v| **v == 1).count() as u32;
    assert_eq!(run("", body, &x), vec![ones + 2000; 100]);
    assert_eq!(run("", body, &[1; 100]), vec![1100; 100]);
}

#[test]
fn barriers_in_divergent_code_and_after_exits() {
    // Both sides of a branch have a barrier of their own text.
    let body = "and.b32 %r0, %i, 1; setp.eq.u32 %p0, %r0, 0; @%p0 bra even;
        bar.sync 0; mov.u32 %z, 1; bra done; even: bar.sync 0; mov.u32 %z, 2;";
    let got = run("", body, &[0; 64]);
    assert!(
        got.iter()
            .enumerate()
            .all(|(i, z)| *z == 2 - (i as u32 & 1))
    );
    // Whole warps leave before the barrier.
    let body = "setp.gt.u32 %p0, %i, 40; @%p0 ret; bar.sync 0; mov.u32 %z, 1;";
    assert_eq!(run("", body, &[0; 96]).iter().sum::<u32>(), 41);
    // A barrier that nobody else will reach.
    let body = "setp.lt.u32 %p0, %i, 32; @%p0 bar.sync 1, 128; bar.sync 0;";
    assert_eq!(
        run_on(&kernel("", body), &[0; 128]),
        Err(FaultKind::Deadlock)
    );
    let body = "mov.u32 %r0, 16; bar.sync %r0;";
    assert_eq!(
        run_on(&kernel("", body), &[0; 32]),
        Err(FaultKind::IllegalInstruction)
    );
}

#[test]
fn special_registers() {
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 b) {{ .reg .b64 %o, %g, %c; .reg .b32 %r<20>, %n;
        ld.param.u64 %o, [b];
        mov.u32 %r0, %tid.x; mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ntid.x;
        mov.u32 %r4, %ntid.y; mov.u32 %r5, %ntid.z; mov.u32 %r6, %ctaid.x; mov.u32 %r7, %ctaid.y;
        mov.u32 %r8, %ctaid.z; mov.u32 %r9, %nctaid.x; mov.u32 %r10, %nctaid.y; mov.u32 %r11, %nctaid.z;
        mov.u32 %r12, %laneid; mov.u32 %r13, %warpid; mov.u32 %r14, %lanemask_lt; mov.u32 %r15, %lanemask_ge;
        mov.u64 %g, %gridid; mov.u32 %r16, WARP_SZ; mov.u32 %r17, %dynamic_smem_size;
        mad.lo.u32 %n, %r2, %r4, %r1; mad.lo.u32 %n, %n, %r3, %r0;
        mad.lo.u32 %r18, %r8, %r10, %r7; mad.lo.u32 %r18, %r18, %r9, %r6;
        mul.lo.u32 %r19, %r3, %r4; mul.lo.u32 %r19, %r19, %r5; mad.lo.u32 %n, %r18, %r19, %n;
        mad.wide.u32 %o, %n, 80, %o;
        st.global.v4.u32 [%o], {{%r0, %r1, %r2, %r3}}; st.global.v4.u32 [%o+16], {{%r6, %r7, %r8, %r11}};
        st.global.v4.u32 [%o+32], {{%r12, %r13, %r14, %r15}}; st.global.u64 [%o+48], %g;
        st.global.v2.u32 [%o+56], {{%r16, %r17}};
        mov.u64 %c, %clock64; mov.u64 %g, %globaltimer; setp_loop: st.global.u64 [%o+64], %c; ret; }}"
    );
    let mut device = Device::new();
    let exe = device.load(&text).unwrap();
    let (grid, block) = ([3u32, 2, 2], [5u32, 4, 3]);
    let total = (grid.iter().product::<u32>() * block.iter().product::<u32>()) as usize;
    let o = device.alloc(&vec![0u32; total * 20]);
    let params = Params::new().with(o);
    device
        .run_with(&exe.kernel("k").unwrap(), grid, block, &params, |l| {
            l.grid_id = 77;
            l.dynamic_shared = 48;
        })
        .unwrap();
    let got = device.read::<u32>(o);
    let mut n = 0;
    for c in 0..12u32 {
        for t in 0..60u32 {
            let lane = t % 32;
            let expected = [
                t % 5,
                t / 5 % 4,
                t / 20,
                5,
                c % 3,
                c / 3 % 2,
                c / 6,
                2,
                lane,
                t / 32,
                (1u64 << lane) as u32 - 1,
                !((1u64 << lane) as u32 - 1),
                77,
                0,
                32,
                48,
            ];
            assert_eq!(got[n * 20..][..16], expected, "block {c} thread {t}");
            n += 1;
        }
    }
}

#[test]
fn branch_tables_and_calls() {
    let functions = ".func (.param .b32 r) twice(.param .b32 a) {
            .reg .b32 %v; ld.param.b32 %v, [a]; add.u32 %v, %v, %v; st.param.b32 [r], %v; ret; }
        .func (.reg .b32 r) next(.reg .b32 a) { add.u32 r, a, 1; ret; }
        .func (.param .align 8 .b8 r[16]) swap(.param .align 8 .b8 a[16]) {
            .reg .b64 %x, %y; .reg .b64 %p; mov.b64 %p, a; ld.param.u64 %x, [a]; ld.param.u64 %y, [%p+8];
            st.param.v2.u64 [r], {%y, %x}; ret; }
        .func (.param .b32 r) depth(.param .b32 n) {
            .reg .b32 %n, %m; .reg .pred %p; ld.param.b32 %n, [n]; setp.eq.u32 %p, %n, 0;
            @%p bra zero; sub.u32 %m, %n, 1;
            { .param .b32 q; .param .b32 s; st.param.b32 [q], %m; call.uni (s), depth, (q);
              ld.param.b32 %m, [s]; }
            add.u32 %n, %n, %m; zero: st.param.b32 [r], %n; ret; }";
    let body = "rem.u32 %r0, %x, 5; t: .branchtargets b0, b1, b2, b3, b4; brx.idx %r0, t;
        b0: { .param .b32 p; .param .b32 q; st.param.b32 [p], %x; call.uni (q), twice, (p);
              ld.param.b32 %z, [q]; } bra done;
        b1: call (%z), next, (%x); bra done;
        b2: { .param .align 8 .b8 p[16]; .param .align 8 .b8 q[16]; cvt.u64.u32 %d0, %x;
              st.param.b64 [p], %d0; st.param.b64 [p+8], 3; call.uni (q), swap, (p);
              ld.param.v2.b64 {%d1, %d2}, [q]; sub.u64 %d1, %d1, %d2; cvt.u32.u64 %z, %d1; } bra done;
        b3: { .param .b32 p; .param .b32 q; rem.u32 %r1, %x, 20; st.param.b32 [p], %r1;
              call.uni (q), depth, (p); ld.param.b32 %z, [q]; } bra done;
        b4: mov.u64 %d0, twice; { .param .b32 p; .param .b32 q; st.param.b32 [p], 21;
              proto: .callprototype (.param .b32 _) _ (.param .b32 _);
              call (q), %d0, (p), proto; ld.param.b32 %z, [q]; }";
    let x = inputs(96);
    for (x, got) in x.iter().zip(run(functions, body, &x)) {
        let expected = match x % 5 {
            0 => x.wrapping_mul(2),
            1 => x.wrapping_add(1),
            2 => 3u32.wrapping_sub(*x),
            3 => (0..=x % 20).sum(),
            _ => 42,
        };
        assert_eq!(got, expected, "{x}");
    }
    let wild = "mov.u64 %d0, 12345; { .param .b32 q; p: .callprototype (.param .b32 _) _ ();
        call (q), %d0, (), p; }";
    assert_eq!(
        run_on(&kernel("", wild), &[0; 32]),
        Err(FaultKind::InvalidPc { address: 12345 })
    );
    let endless = ".func f() { .local .align 4 .b8 l[64]; call f; ret; }";
    assert_eq!(
        run_on(&kernel(endless, "call f;"), &[0; 32]),
        Err(FaultKind::StackOverflow)
    );
}

#[test]
fn a_kernel_that_never_ends_can_be_stopped() {
    let mut device = Device::new();
    let text = format!("{HEAD}.visible .entry k() {{ again: bra again; }}");
    let exe = device.load(&text).unwrap();
    let kernel = exe.kernel("k").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let launch = Launch::new([100, 1, 1], [64, 1, 1], &[], &device, &stop);
        let running = scope.spawn(move || kernel.launch(&launch));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(
            running.join().unwrap().unwrap_err().kind,
            FaultKind::Stopped
        );
    });
}

#[test]
fn blocks_of_a_cooperative_grid_wait_for_each_other() {
    // A barrier over all blocks, made of an atomic counter and a spin.
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 a) {{ .reg .b64 %a; .reg .b32 %n, %v; .reg .pred %p;
        ld.param.u64 %a, [a]; mov.u32 %n, %nctaid.x; atom.global.add.u32 %v, [%a], 1;
        wait: ld.acquire.gpu.global.u32 %v, [%a]; setp.lt.u32 %p, %v, %n; @%p bra wait;
        red.global.add.u32 [%a+4], %v; ret; }}"
    );
    let mut device = Device::new();
    let exe = device.load(&text).unwrap();
    for cooperative in [true, false] {
        let a = device.alloc(&[0u32; 2]);
        let params = Params::new().with(a);
        let kernel = exe.kernel("k").unwrap();
        device
            .run_with(&kernel, [12, 1, 1], [1, 1, 1], &params, |l| {
                l.cooperative = cooperative;
                l.workers = 2;
            })
            .unwrap();
        assert_eq!(device.read::<u32>(a), [12, 144]);
    }
}

#[test]
fn unusable_launches_are_refused() {
    let mut device = Device::new();
    let text = format!("{HEAD}.visible .entry k(.param .u64 a) .reqntid 32, 1, 1 {{ ret; }}");
    let exe = device.load(&text).unwrap();
    let kernel = exe.kernel("k").unwrap();
    let run = |grid, block, bytes: usize| {
        let params = Params(vec![0; bytes]);
        device
            .run(&kernel, grid, block, &params)
            .map(|_| ())
            .map_err(|f| f.kind)
    };
    let bad = Err(FaultKind::BadLaunch);
    assert_eq!(run([1, 1, 1], [32, 1, 1], 8), Ok(()));
    assert_eq!(run([1, 1, 1], [33, 1, 1], 8), bad);
    assert_eq!(run([0, 1, 1], [32, 1, 1], 8), bad);
    assert_eq!(run([1, 1, 1], [32, 1, 1], 7), bad);
}
