//! Whole kernels, compiled by nvcc from `guests.cu`, against the CPU.

#[path = "../ptx_support/mod.rs"]
mod ptx_support;

use mock_device::ptx::{Executable, FaultKind, SHARED_WINDOW};
use ptx_support::{Device, Params, Random};

/// The same kernels by other compilers and options.
const BUILDS: [(&str, &str); 4] = [
    ("nvcc", include_str!("guests.ptx")),
    ("nvcc -use_fast_math", include_str!("guests_fast.ptx")),
    ("nvcc -G", include_str!("guests_debug.ptx")),
    ("clang", include_str!("guests_clang.ptx")),
];

/// Runs `test` on a fresh device with each build of the kernels, except those
/// named.
fn each(except: &[&str], test: impl Fn(Device, Executable)) {
    for (name, text) in BUILDS.iter().filter(|(name, _)| !except.contains(name)) {
        eprintln!("build: {name}");
        let mut device = Device::new();
        let exe = device.load(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        test(device, exe);
    }
}

const ONE: [u32; 3] = [1, 1, 1];

fn close(a: f64, b: f64, relative: f64) -> bool {
    a == b || (a - b).abs() <= relative * a.abs().max(b.abs()) || a.is_nan() && b.is_nan()
}

#[test]
fn vector_sum() {
    each(&[], |mut device, exe| {
        let mut random = Random(1);
        let a: Vec<f32> = (0..1000).map(|_| random.unit()).collect();
        let b: Vec<f32> = (0..1000).map(|_| random.unit()).collect();
        let (da, db) = (device.alloc(&a), device.alloc(&b));
        let dc = device.alloc(&[0f32; 1000]);
        let params = Params::new().with(da).with(db).with(dc).with(1000i32);
        let kernel = exe.kernel("vec_add").unwrap();
        assert_eq!(kernel.info().params.len(), 4);
        assert_eq!(kernel.info().params_size, 28);
        let stats = device
            .run(&kernel, [8, 1, 1], [128, 1, 1], &params)
            .unwrap();
        assert!(stats.instructions > 8000);
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert_eq!(device.read::<f32>(dc), expected);
    });
}

#[test]
fn tiled_matrix_product() {
    each(&[], |mut device, exe| {
        let n = 64;
        let mut random = Random(2);
        let a: Vec<f32> = (0..n * n).map(|_| random.unit()).collect();
        let b: Vec<f32> = (0..n * n).map(|_| random.unit()).collect();
        let (da, db) = (device.alloc(&a), device.alloc(&b));
        let dc = device.alloc(&vec![0f32; n * n]);
        let params = Params::new().with(da).with(db).with(dc).with(n as i32);
        let kernel = exe.kernel("matmul").unwrap();
        assert_eq!(kernel.info().shared_size, 2048);
        device
            .run(&kernel, [4, 4, 1], [16, 16, 1], &params)
            .unwrap();
        let c = device.read::<f32>(dc);
        for row in 0..n {
            for col in 0..n {
                // Contracted to fma or not, as the compiler was told.
                let product = |k: usize| (a[row * n + k], b[k * n + col]);
                let fused = (0..n).fold(0f32, |s, k| product(k).0.mul_add(product(k).1, s));
                let plain = (0..n).fold(0f32, |s, k| s + product(k).0 * product(k).1);
                let got = c[row * n + col];
                assert!(got == fused || got == plain, "{row},{col}: {got}");
            }
        }
    });
}

#[test]
fn reduction() {
    each(&[], |mut device, exe| {
        let values: Vec<i32> = (0..5000).map(|i| i * 7 % 113 - 50).collect();
        let (input, out) = (device.alloc(&values), device.alloc(&[0i32]));
        let params = Params::new().with(input).with(out).with(5000i32);
        device
            .run(
                &exe.kernel("reduce").unwrap(),
                [20, 1, 1],
                [256, 1, 1],
                &params,
            )
            .unwrap();
        assert_eq!(device.read::<i32>(out), [values.iter().sum::<i32>()]);
    });
}

#[test]
fn device_and_constant_variables() {
    each(&[], |mut device, exe| {
        let out = device.alloc(&[0f32; 64]);
        let params = Params::new().with(out);
        device
            .run(&exe.kernel("globals").unwrap(), ONE, [64, 1, 1], &params)
            .unwrap();
        let got = device.read::<f32>(out);
        for (i, got) in got.iter().enumerate() {
            let table = [1.5f32, 2.5, 3.5, 4.5][i & 3] * (i as f32 % 8.0 + 1.0) * 3.0;
            let expected = f64::from(table) + 0.25 + (i % 3 + 1) as f64;
            assert_eq!(*got, expected as f32, "{i}");
        }
        assert_eq!(device.variable::<i32>(&exe, "counter"), [7 + 5 + 64]);
    });
}

#[test]
fn linked_list() {
    each(&[], |mut device, exe| {
        let nodes = device.alloc(&[0u64; 2000]);
        let out = device.alloc(&[0i64]);
        let params = Params::new().with(nodes).with(1000i32);
        device
            .run(
                &exe.kernel("list_build").unwrap(),
                [4, 1, 1],
                [256, 1, 1],
                &params,
            )
            .unwrap();
        let params = Params::new().with(nodes).with(out);
        device
            .run(&exe.kernel("list_sum").unwrap(), ONE, ONE, &params)
            .unwrap();
        assert_eq!(device.read::<i64>(out), [999 * 1000 / 2 * 3]);
    });
}

#[test]
fn stencil() {
    each(&[], |mut device, exe| {
        let (w, h) = (50, 37);
        let mut random = Random(3);
        let grid: Vec<f64> = (0..w * h).map(|_| random.unit().into()).collect();
        let input = device.alloc(&grid);
        let out = device.alloc(&vec![0f64; w * h]);
        let params = Params::new()
            .with(input)
            .with(out)
            .with(w as i32)
            .with(h as i32);
        device
            .run(
                &exe.kernel("stencil").unwrap(),
                [4, 5, 1],
                [16, 8, 1],
                &params,
            )
            .unwrap();
        let got = device.read::<f64>(out);
        for y in 0..h {
            for x in 0..w {
                let at = y * w + x;
                let edge = x == 0 || y == 0 || x == w - 1 || y == h - 1;
                let sum = |at: usize| {
                    grid[at] + grid[at - 1] + grid[at + 1] + grid[at - w] + grid[at + w]
                };
                let expected = if edge { grid[at] } else { 0.2 * sum(at) };
                assert_eq!(got[at].to_bits(), expected.to_bits(), "{x},{y}");
            }
        }
    });
}

#[test]
fn single_precision_functions() {
    each(&["clang", "nvcc -use_fast_math"], |mut device, exe| {
        let mut random = Random(4);
        let x: Vec<f32> = (0..500).map(|_| random.unit() * 8.0).collect();
        let (input, out) = (device.alloc(&x), device.alloc(&[0f32; 4000]));
        let params = Params::new().with(input).with(out).with(500i32);
        device
            .run(
                &exe.kernel("math32").unwrap(),
                [4, 1, 1],
                [128, 1, 1],
                &params,
            )
            .unwrap();
        let got = device.read::<f32>(out);
        for (i, &v) in x.iter().enumerate() {
            let w = f64::from(v);
            let expected = [
                w.abs().sqrt(),
                w.exp(),
                f64::from(v.abs() + 1e-3).ln(),
                f64::from(v * 100.0).sin(),
                f64::from(v * 1_000_000.0).cos(),
                1.0 / w,
                1.0 / f64::from(v.abs() + 0.5).sqrt(),
                w.abs().powf(f64::from(1.7f32)),
            ];
            for (k, expected) in expected.iter().enumerate() {
                let got = f64::from(got[i * 8 + k]);
                let error = (got - expected).abs();
                assert!(
                    error < 1e-6 * expected.abs() + 3e-7,
                    "{k} of {v}: {got} {expected}"
                );
            }
        }
    });
}

#[test]
fn double_precision_functions() {
    each(&["clang"], |mut device, exe| {
        let mut random = Random(5);
        let x: Vec<f64> = (0..500).map(|_| f64::from(random.unit()) * 8.0).collect();
        let (input, out) = (device.alloc(&x), device.alloc(&[0f64; 4000]));
        let params = Params::new().with(input).with(out).with(500i32);
        device
            .run(
                &exe.kernel("math64").unwrap(),
                [4, 1, 1],
                [128, 1, 1],
                &params,
            )
            .unwrap();
        let got = device.read::<f64>(out);
        for (i, &v) in x.iter().enumerate() {
            let expected = [
                v.abs().sqrt(),
                v.exp(),
                (v.abs() + 1e-3).ln(),
                (v * 100.0).sin(),
                (v * 1e7).cos(),
                1.0 / v,
                1.0 / (v.abs() + 0.5).sqrt(),
                v.abs().powf(1.7),
            ];
            for (k, expected) in expected.iter().enumerate() {
                let got = got[i * 8 + k];
                assert!(close(got, *expected, 4e-15), "{k} of {v}: {got} {expected}");
            }
        }
    });
}

#[test]
fn recursion_and_function_pointers() {
    each(&[], |mut device, exe| {
        let out = device.alloc(&[0i32; 64]);
        let params = Params::new().with(out);
        device
            .run(&exe.kernel("recursion").unwrap(), ONE, [64, 1, 1], &params)
            .unwrap();
        let fib = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89];
        let expected: Vec<i32> = (0..64).map(|i| fib[i % 12]).collect();
        assert_eq!(device.read::<i32>(out), expected);
        device
            .run(&exe.kernel("indirect").unwrap(), ONE, [64, 1, 1], &params)
            .unwrap();
        let expected: Vec<i32> = (0..64)
            .map(|i| {
                if (i / 3) & 1 == 0 {
                    i + i + 1
                } else {
                    i * (i + 1)
                }
            })
            .collect();
        assert_eq!(device.read::<i32>(out), expected);
    });
}

#[test]
fn histogram_in_dynamic_shared_memory() {
    each(&[], |mut device, exe| {
        let mut random = Random(6);
        let values: Vec<u8> = (0..20_000).map(|_| random.next() as u8).collect();
        let (input, out) = (device.alloc(&values), device.alloc(&[0u32; 256]));
        let params = Params::new().with(input).with(out).with(20_000i32);
        let kernel = exe.kernel("histogram").unwrap();
        device
            .run_with(&kernel, [5, 1, 1], [192, 1, 1], &params, |l| {
                l.dynamic_shared = 1024
            })
            .unwrap();
        let mut expected = vec![0u32; 256];
        values.iter().for_each(|&v| expected[v as usize] += 1);
        assert_eq!(device.read::<u32>(out), expected);
        // One word less, and the last bin is out of bounds.
        let fault = device
            .run_with(&kernel, [5, 1, 1], [192, 1, 1], &params, |l| {
                l.dynamic_shared = 1020
            })
            .unwrap_err();
        assert_eq!(
            fault.kind,
            FaultKind::IllegalAddress {
                address: SHARED_WINDOW + 1020
            }
        );
    });
}

#[test]
fn spin_lock_within_a_warp_makes_progress() {
    each(&[], |device, exe| {
        let kernel = exe.kernel("spin_lock").unwrap();
        // Several lanes of a warp, several warps, and another block want it.
        device
            .run(&kernel, [2, 1, 1], [40, 1, 1], &Params::new())
            .unwrap();
        let total: i64 = device.variable(&exe, "guarded")[0];
        assert_eq!(total, 2 * 39 * 40 / 2);
    });
}

#[test]
fn divergent_switch_and_local_arrays() {
    each(&[], |mut device, exe| {
        let mut random = Random(7);
        let values: Vec<i32> = (0..256).map(|_| random.below(10) as i32).collect();
        let (input, out) = (device.alloc(&values), device.alloc(&[0i32; 256]));
        let params = Params::new().with(input).with(out);
        device
            .run(&exe.kernel("switcher").unwrap(), ONE, [256, 1, 1], &params)
            .unwrap();
        for (i, (&v, got)) in values.iter().zip(device.read::<i32>(out)).enumerate() {
            let i = i as i32;
            let expected = match v {
                0 => i * 3,
                1 => i / 3,
                2 => i ^ 0x55,
                3 => -i,
                4 => i.count_ones() as i32,
                5 => i.leading_zeros() as i32,
                6 => i.reverse_bits(),
                7 => i << 5,
                _ => 1000 + v,
            };
            assert_eq!(got, expected, "{i}");
        }
        let out = device.alloc(&[0i32; 1024]);
        let params = Params::new().with(input).with(out).with(256i32);
        device
            .run(
                &exe.kernel("local_array").unwrap(),
                ONE,
                [64, 1, 1],
                &params,
            )
            .unwrap();
        let got = device.read::<i32>(out);
        for thread in 0..64 {
            let mut sorted: Vec<i32> = (0..16).map(|k| values[(thread * 16 + k) % 256]).collect();
            sorted.sort_unstable();
            for k in 0..16 {
                let expected = sorted[(k * 7 + values[0] as usize) & 15];
                assert_eq!(got[thread * 16 + k], expected, "{thread} {k}");
            }
        }
    });
}

#[test]
fn struct_by_value() {
    each(&[], |mut device, exe| {
        let out = device.alloc(&[0f32; 24]);
        let mut params = Params::new();
        for k in 0..12 {
            params = params.with(k as f32 + 0.5);
        }
        let params = params.with(1i32).with(out);
        device
            .run(&exe.kernel("by_value").unwrap(), ONE, [24, 1, 1], &params)
            .unwrap();
        let expected: Vec<f32> = (0..24).map(|i| ((i % 12) as f32 + 0.5) * 2.0).collect();
        assert_eq!(device.read::<f32>(out), expected);
    });
}

#[test]
fn votes_and_matches() {
    each(&[], |mut device, exe| {
        let mut random = Random(8);
        let values: Vec<i32> = (0..96).map(|_| random.below(12) as i32).collect();
        let (input, out) = (device.alloc(&values), device.alloc(&[0u32; 96]));
        let params = Params::new().with(input).with(out);
        device
            .run(&exe.kernel("votes").unwrap(), ONE, [96, 1, 1], &params)
            .unwrap();
        let got = device.read::<u32>(out);
        let count = values.iter().filter(|&&v| v & 4 != 0).count() as u32;
        let any3 = if values.contains(&3) { 1000 } else { 0 };
        for (warp, lanes) in values.chunks(32).enumerate() {
            let ballot = lanes
                .iter()
                .rev()
                .fold(0u32, |m, v| m << 1 | (v & 1) as u32);
            let any = u32::from(lanes.contains(&9)) * 7;
            for (lane, &v) in lanes.iter().enumerate() {
                let matches = lanes.iter().filter(|&&w| w & 2 != 0 && w == v).count() as u32;
                let mut expected = ballot.wrapping_add(if v & 2 != 0 { matches } else { 0 });
                expected ^= any + 11;
                expected = expected.wrapping_add(count + any3);
                assert_eq!(got[warp * 32 + lane], expected, "{warp} {lane}");
            }
        }
    });
}

#[test]
fn atomics_of_all_types() {
    each(&[], |mut device, exe| {
        let f = device.alloc(&[0u32, 0, 1000, 0, 0]);
        let d = device.alloc(&[0f64]);
        let u = device.alloc(&[0u64]);
        let params = Params::new().with(f).with(d).with(u);
        device
            .run(
                &exe.kernel("float_atomics").unwrap(),
                ONE,
                [100, 1, 1],
                &params,
            )
            .unwrap();
        let words = device.read::<u32>(f);
        assert_eq!(words[0], 50f32.to_bits());
        assert_eq!(words[1], 96);
        assert_eq!(words[2], 5);
        assert_eq!(words[3], 100 % 7);
        // Lanes 0 to 3 toggled four times, the others three times.
        assert_eq!(words[4], !0 << 4);
        assert_eq!(device.read::<f64>(d), [25.0]);
        assert_eq!(device.read::<u64>(u), [100 << 33]);
    });
}

#[test]
fn sixty_four_bit_arithmetic() {
    each(&[], |mut device, exe| {
        let mut random = Random(9);
        let a: Vec<i64> = (0..64).map(|i| random.next() as i64 >> (i % 40)).collect();
        let b: Vec<i64> = (0..64)
            .map(|i| random.next() as i64 >> (i % 60) | 1)
            .collect();
        let (da, db, out) = (
            device.alloc(&a),
            device.alloc(&b),
            device.alloc(&[0i64; 384]),
        );
        let params = Params::new().with(da).with(db).with(out);
        device
            .run(&exe.kernel("long_math").unwrap(), ONE, [64, 1, 1], &params)
            .unwrap();
        let got = device.read::<i64>(out);
        for i in 0..64 {
            let (a, b) = (a[i], b[i]);
            let expected = [
                a / b,
                a % b,
                a.wrapping_mul(b),
                ((i128::from(a) * i128::from(b)) >> 64) as i64,
                (a as u64 / b as u64) as i64,
                a >> (b & 63),
            ];
            assert_eq!(got[i * 6..][..6], expected, "{a} {b}");
        }
    });
}

#[test]
fn faults_are_those_of_a_gpu() {
    each(&[], |mut device, exe| {
        let p = device.alloc(&[0i32, 5, 0, 0]);
        let kernel = exe.kernel("out_of_bounds").unwrap();
        let run = |address: u64, index: i32| {
            let params = Params::new().with(address).with(index);
            device.run(&kernel, ONE, ONE, &params).map_err(|f| f.kind)
        };
        assert!(run(p, 3).is_ok());
        assert_eq!(
            run(p, 4),
            Err(FaultKind::IllegalAddress { address: p + 16 })
        );
        assert_eq!(
            run(p, -1),
            Err(FaultKind::IllegalAddress { address: p - 4 })
        );
        assert_eq!(
            run(p + 2, 0),
            Err(FaultKind::MisalignedAddress { address: p + 2 })
        );
        assert_eq!(run(0, 0), Err(FaultKind::IllegalAddress { address: 0 }));
        let params = Params::new().with(p);
        let fault = device
            .run(&exe.kernel("trapper").unwrap(), ONE, [2, 1, 1], &params)
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Trap);
        assert_eq!(fault.kernel, "trapper");
        assert_eq!(fault.thread, [1, 0, 0]);
        assert!(fault.line > 0);
    });
}
