//! Prints the interpreter's speed on a tiled matrix product, one core and all.
//!
//! `cargo run --release -p mock-device --example ptx_speed`

use std::time::Instant;

#[path = "../tests/ptx_support/mod.rs"]
mod ptx_support;

use ptx_support::{Device, Params, Random};

fn main() {
    let mut device = Device::new();
    let source = include_str!("../tests/ptx_kernels/guests.ptx");
    let start = Instant::now();
    let exe = device.load(source).expect("the test module parses");
    println!(
        "parse and decode: {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    let n = 512;
    let mut random = Random(1);
    let values: Vec<f32> = (0..n * n).map(|_| random.unit()).collect();
    let (a, b) = (device.alloc(&values), device.alloc(&values));
    let c = device.alloc(&vec![0f32; n * n]);
    let params = Params::new().with(a).with(b).with(c).with(n as i32);
    let kernel = exe.kernel("matmul").expect("the kernel exists");
    let blocks = n as u32 / 16;
    for workers in [1, 0] {
        let mut best = f64::MAX;
        let mut count = 0;
        for _ in 0..3 {
            let start = Instant::now();
            let stats = device
                .run_with(&kernel, [blocks, blocks, 1], [16, 16, 1], &params, |l| {
                    l.workers = workers;
                })
                .expect("the kernel runs");
            best = best.min(start.elapsed().as_secs_f64());
            count = stats.instructions;
        }
        let who = if workers == 1 {
            "one core"
        } else {
            "all cores"
        };
        println!(
            "matmul {n}x{n}, {who}: {:.1} ms, {:.0} M PTX instructions/s",
            best * 1e3,
            count as f64 / best / 1e6
        );
    }
    // Launch overhead: one block of one warp.
    let vec_add = exe.kernel("vec_add").expect("the kernel exists");
    let params = Params::new().with(a).with(b).with(c).with(32i32);
    let start = Instant::now();
    for _ in 0..10_000 {
        device
            .run(&vec_add, [1, 1, 1], [32, 1, 1], &params)
            .expect("the kernel runs");
    }
    println!(
        "launch of one warp: {:.2} us",
        start.elapsed().as_secs_f64() / 1e-2
    );
}
