//! Device and host memory: copies and fills against a model, and the codes
//! for everything that is wrong.

mod common;
use common::*;
use proptest::prelude::*;
use std::ffi::c_void;

/// The context that all tests of this file share.
fn enter() {
    use std::sync::OnceLock;
    static CONTEXT: OnceLock<Handle> = OnceLock::new();
    let context = CONTEXT.get_or_init(|| {
        ok!(cuInit(0));
        out(|c| cuDevicePrimaryCtxRetain(c, 0))
    });
    ok!(cuCtxSetCurrent(*context));
}

#[test]
fn sizes_and_addresses_are_checked() {
    enter();
    fails!(cuMemAlloc_v2(&mut 0, 0), CUDA_ERROR_INVALID_VALUE);
    fails!(
        cuMemAlloc_v2(std::ptr::null_mut(), 4),
        CUDA_ERROR_INVALID_VALUE
    );
    fails!(cuMemAlloc_v2(&mut 0, 1 << 60), CUDA_ERROR_OUT_OF_MEMORY);
    fails!(cuMemAlloc_v2(&mut 0, usize::MAX), CUDA_ERROR_OUT_OF_MEMORY);
    let p = alloc(1000);
    assert_eq!(p % 256, 0);
    let mut byte = [0u8; 1001];
    let to = byte.as_mut_ptr().cast::<c_void>();
    fails!(cuMemcpyDtoH_v2(to, p, 1001), CUDA_ERROR_INVALID_VALUE);
    fails!(cuMemcpyDtoH_v2(to, p + 1000, 1), CUDA_ERROR_INVALID_VALUE);
    fails!(cuMemcpyDtoH_v2(to, 0, 1), CUDA_ERROR_INVALID_VALUE);
    fails!(
        cuMemcpyDtoH_v2(std::ptr::null_mut(), p, 1),
        CUDA_ERROR_INVALID_VALUE
    );
    fails!(
        cuMemcpyHtoD_v2(p, std::ptr::null(), 1),
        CUDA_ERROR_INVALID_VALUE
    );
    fails!(cuMemcpyDtoD_v2(p, 0xdead_0000, 1), CUDA_ERROR_INVALID_VALUE);
    ok!(cuMemcpyDtoH_v2(std::ptr::null_mut(), p, 0));
    fails!(cuMemsetD16_v2(p + 1, 0, 1), CUDA_ERROR_INVALID_VALUE);
    fails!(cuMemsetD32_v2(p, 0, 251), CUDA_ERROR_INVALID_VALUE);
    fails!(cuMemFree_v2(p + 8), CUDA_ERROR_INVALID_VALUE);
    fails!(cuMemFree_v2(0x1234), CUDA_ERROR_INVALID_VALUE);
    ok!(cuMemFree_v2(p));
    fails!(cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
    fails!(cuMemcpyDtoH_v2(to, p, 1), CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn device_memory_is_not_host_memory() {
    enter();
    let p = alloc(4096);
    // What is mapped at that address in this process? Nothing.
    let mut present = 0u8;
    #[allow(unsafe_code, reason = "asks the kernel about a page")]
    // SAFETY: mincore only writes one byte here.
    let mapped = unsafe { libc::mincore((p & !4095) as *mut c_void, 4096, &raw mut present) };
    assert_eq!(mapped, -1);
    // Nor does a copy take it for a host address.
    fails!(
        cuMemcpyHtoD_v2(p, p as *const c_void, 8),
        CUDA_ERROR_INVALID_VALUE
    );
    ok!(cuMemFree_v2(p));
}

#[test]
fn queries_know_allocations() {
    enter();
    let p = alloc(5000);
    let (mut base, mut size) = (0, 0);
    ok!(cuMemGetAddressRange_v2(
        &raw mut base,
        &raw mut size,
        p + 4999
    ));
    assert_eq!((base, size), (p, 5000));
    fails!(
        cuMemGetAddressRange_v2(&raw mut base, &raw mut size, p + 5000),
        CUDA_ERROR_NOT_FOUND
    );
    let mut kind = 0u32;
    ok!(cuPointerGetAttribute(
        (&raw mut kind).cast(),
        CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
        p + 1
    ));
    assert_eq!(kind, CU_MEMORYTYPE_DEVICE);
    let at = &raw const kind as u64;
    let mut other = 0u32;
    fails!(
        cuPointerGetAttribute(
            (&raw mut other).cast(),
            CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
            at
        ),
        CUDA_ERROR_INVALID_VALUE
    );
    ok!(cuMemFree_v2(p));

    let (mut pitch, mut q) = (0, 0);
    ok!(cuMemAllocPitch_v2(&raw mut q, &raw mut pitch, 1000, 7, 4));
    assert!(pitch >= 1000 && pitch % 512 == 0);
    ok!(cuMemsetD2D8_v2(q, pitch, 5, 1000, 7));
    fails!(
        cuMemAllocPitch_v2(&mut 0, &raw mut pitch, 10, 1, 3),
        CUDA_ERROR_INVALID_VALUE
    );
    ok!(cuMemFree_v2(q));
}

#[test]
fn free_memory_is_counted() {
    alone("free_memory_is_counted", "memory=64M", || {
        enter();
        let free = || {
            let (mut free, mut total) = (0, 0);
            ok!(cuMemGetInfo_v2(&raw mut free, &raw mut total));
            assert_eq!(total, 64 << 20);
            free
        };
        let before = free();
        let p = alloc(40 << 20);
        assert_eq!(free(), before - (40 << 20));
        fails!(cuMemAlloc_v2(&mut 0, 40 << 20), CUDA_ERROR_OUT_OF_MEMORY);
        ok!(cuMemFree_v2(p));
        assert_eq!(free(), before);
        let p = alloc(40 << 20);
        ok!(cuMemFree_v2(p));
    });
}

#[test]
fn host_memory_is_pinned_once() {
    enter();
    let mut memory = vec![0u8; 3 * 4096];
    let at = memory.as_mut_ptr() as u64;
    ok!(cuMemHostRegister_v2(at, 8192, 0));
    fails!(
        cuMemHostRegister_v2(at, 8192, 0),
        CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
    );
    fails!(
        cuMemHostRegister_v2(at + 4096, 8192, 0),
        CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
    );
    assert_eq!(out(|p| cuMemHostGetDevicePointer_v2(p, at + 5, 0)), at + 5);
    let mut kind = 0u32;
    ok!(cuPointerGetAttribute(
        (&raw mut kind).cast(),
        CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
        at + 1
    ));
    assert_eq!(kind, CU_MEMORYTYPE_HOST);
    // A pinned address is a device address, too.
    ok!(cuMemsetD8_v2(at, 9, 100));
    assert_eq!(memory[..101], [&[9; 100][..], &[0]].concat());
    fails!(
        cuMemHostUnregister(at + 1),
        CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED
    );
    ok!(cuMemHostUnregister(at));
    fails!(
        cuMemHostUnregister(at),
        CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED
    );
    fails!(cuMemsetD8_v2(at, 1, 100), CUDA_ERROR_INVALID_VALUE);
    fails!(
        cuMemHostRegister_v2(0x7000_0000_0000, 4096, 0),
        CUDA_ERROR_INVALID_VALUE
    );
    fails!(cuMemHostRegister_v2(at, 0, 0), CUDA_ERROR_INVALID_VALUE);

    let host = out(|p| cuMemHostAlloc(p, 1000, CU_MEMHOSTALLOC_WRITECOMBINED as u32));
    assert_eq!(out(|f| cuMemHostGetFlags(f, host)) & 4, 4);
    fails!(cuMemFree_v2(host), CUDA_ERROR_INVALID_VALUE);
    fails!(
        cuMemHostUnregister(host),
        CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED
    );
    ok!(cuMemFreeHost(host));
    fails!(cuMemFreeHost(host), CUDA_ERROR_INVALID_VALUE);
    fails!(
        cuMemHostGetDevicePointer_v2(&mut 0, host, 0),
        CUDA_ERROR_INVALID_VALUE
    );
}

#[test]
fn asynchronous_copies_from_pageable_memory_are_staged() {
    enter();
    let (p, stream) = (alloc(64), new_stream(CU_STREAM_NON_BLOCKING));
    let gate = gate_on(stream);
    let mut bytes = [1u8; 64];
    ok!(cuMemcpyHtoDAsync_v2(p, bytes.as_ptr().cast(), 64, stream));
    // The call has returned, so the bytes were read; the copy has not run.
    bytes.fill(2);
    fails!(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    gate.open();
    ok!(cuStreamSynchronize(stream));
    assert_eq!(download(p, 64), [1; 64]);

    // Pinned memory is read when the copy runs.
    let host = out(|p| cuMemHostAlloc(p, 64, 0));
    let gate = gate_on(stream);
    ok!(cuMemsetD8_v2(host, 3, 64));
    ok!(cuMemcpyHtoDAsync_v2(p, host as *const c_void, 64, stream));
    ok!(cuMemsetD8_v2(host, 4, 64));
    gate.open();
    ok!(cuStreamSynchronize(stream));
    assert_eq!(download(p, 64), [4; 64]);
    ok!(cuMemFreeHost(host));
    ok!(cuMemFree_v2(p));
    ok!(cuStreamDestroy_v2(stream));
}

/// One random copy or fill on two device buffers and a host buffer.
#[derive(Debug, Clone)]
enum Op {
    Line {
        from: usize,
        to: usize,
        at: (usize, usize),
        size: usize,
        stream: bool,
    },
    Plane {
        from: usize,
        to: usize,
        at: (usize, usize),
        x: (usize, usize),
        size: (usize, usize),
        pitch: (usize, usize),
        stream: bool,
    },
    Fill {
        on: usize,
        at: usize,
        value: u32,
        width: u32,
        count: usize,
    },
    Fill2 {
        on: usize,
        at: usize,
        value: u8,
        width: usize,
        height: usize,
        pitch: usize,
    },
}

const SIZE: usize = 4096;

fn op() -> impl Strategy<Value = Op> {
    let place = 0..3usize;
    let at = (0..SIZE / 2, 0..SIZE / 2);
    prop_oneof![
        (
            place.clone(),
            place.clone(),
            at.clone(),
            0..SIZE / 2,
            any::<bool>()
        )
            .prop_map(|(from, to, at, size, stream)| Op::Line {
                from,
                to,
                at,
                size,
                stream
            }),
        (
            place,
            0..3usize,
            (0..512usize, 0..512usize),
            (0..16usize, 0..16usize),
            (1..40usize, 1..20usize),
            (56..120usize, 56..120usize),
            any::<bool>()
        )
            .prop_map(|(from, to, at, x, size, pitch, stream)| Op::Plane {
                from,
                to,
                at,
                x,
                size,
                pitch,
                stream
            }),
        (0..2usize, 0..SIZE / 2, any::<u32>(), 0..3u32, 0..SIZE / 8).prop_map(
            |(on, at, value, width, count)| Op::Fill {
                on,
                at,
                value,
                width,
                count
            }
        ),
        (
            0..2usize,
            0..SIZE / 2,
            any::<u8>(),
            1..60usize,
            1..20usize,
            60..90usize
        )
            .prop_map(|(on, at, value, width, height, pitch)| Op::Fill2 {
                on,
                at,
                value,
                width,
                height,
                pitch
            }),
    ]
}

/// The two device buffers (0 and 1) and the host buffer (2).
struct World {
    device: [u64; 2],
    host: Vec<u8>,
    model: [Vec<u8>; 3],
    stream: Handle,
}

impl World {
    fn address(&mut self, place: usize) -> u64 {
        match self.device.get(place) {
            Some(at) => *at,
            None => self.host.as_mut_ptr() as u64,
        }
    }

    fn copy_model(
        &mut self,
        (from, source): (usize, usize),
        (to, target): (usize, usize),
        size: usize,
    ) {
        let bytes = self.model[from][source..source + size].to_vec();
        self.model[to][target..target + size].copy_from_slice(&bytes);
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Line {
                from,
                to,
                at,
                size,
                stream,
            } => {
                if from == to && at.0.abs_diff(at.1) < size {
                    return; // overlapping: undefined
                }
                self.copy_model((from, at.0), (to, at.1), size);
                let (source, target) = (
                    self.address(from) + at.0 as u64,
                    self.address(to) + at.1 as u64,
                );
                let (hs, ht) = (source as *const c_void, target as *mut c_void);
                let s = self.stream;
                match (from == 2, to == 2, stream) {
                    (true, false, false) => ok!(cuMemcpyHtoD_v2(target, hs, size)),
                    (true, false, true) => ok!(cuMemcpyHtoDAsync_v2(target, hs, size, s)),
                    (false, true, false) => ok!(cuMemcpyDtoH_v2(ht, source, size)),
                    (false, true, true) => ok!(cuMemcpyDtoHAsync_v2(ht, source, size, s)),
                    (false, false, true) => ok!(cuMemcpyDtoDAsync_v2(target, source, size, s)),
                    (false, false, false) => ok!(cuMemcpyDtoD_v2(target, source, size)),
                    (true, true, _) => ok!(cuMemcpy(target, source, size)),
                }
            }
            Op::Plane {
                from,
                to,
                at,
                x,
                size,
                pitch,
                stream,
            } => {
                if from == to {
                    return;
                }
                for row in 0..size.1 {
                    let source = at.0 + x.0 + row * pitch.0;
                    let target = at.1 + x.1 + row * pitch.1;
                    self.copy_model((from, source), (to, target), size.0);
                }
                let kind = |place| {
                    if place == 2 {
                        CU_MEMORYTYPE_HOST
                    } else {
                        CU_MEMORYTYPE_DEVICE
                    }
                };
                let (source, target) = (
                    self.address(from) + at.0 as u64,
                    self.address(to) + at.1 as u64,
                );
                let description = CUDA_MEMCPY2D {
                    srcXInBytes: x.0,
                    srcY: 0,
                    srcMemoryType: kind(from),
                    srcHost: source as *const c_void,
                    srcDevice: source,
                    srcArray: std::ptr::null_mut(),
                    srcPitch: pitch.0,
                    dstXInBytes: x.1,
                    dstY: 0,
                    dstMemoryType: kind(to),
                    dstHost: target as *mut c_void,
                    dstDevice: target,
                    dstArray: std::ptr::null_mut(),
                    dstPitch: pitch.1,
                    WidthInBytes: size.0,
                    Height: size.1,
                };
                if stream {
                    ok!(cuMemcpy2DAsync_v2(&raw const description, self.stream));
                } else {
                    ok!(cuMemcpy2D_v2(&raw const description));
                }
            }
            Op::Fill {
                on,
                at,
                value,
                width,
                count,
            } => {
                let unit = 1usize << width;
                let at = at / unit * unit;
                let to = self.device[on] + at as u64;
                for i in 0..count {
                    let place = at + i * unit;
                    self.model[on][place..place + unit]
                        .copy_from_slice(&value.to_ne_bytes()[..unit]);
                }
                match width {
                    0 => ok!(cuMemsetD8_v2(to, value as u8, count)),
                    1 => ok!(cuMemsetD16_v2(to, value as u16, count)),
                    _ => ok!(cuMemsetD32Async(to, value, count, self.stream)),
                }
            }
            Op::Fill2 {
                on,
                at,
                value,
                width,
                height,
                pitch,
            } => {
                for row in 0..height {
                    let place = at + row * pitch;
                    self.model[on][place..place + width].fill(value);
                }
                let to = self.device[on] + at as u64;
                ok!(cuMemsetD2D8_v2(to, pitch, value, width, height));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn copies_and_fills_do_what_the_model_does(
        ops in prop::collection::vec(op(), 1..60),
        seed in any::<[u8; 32]>(),
    ) {
        enter();
        let start: Vec<u8> = (0..SIZE).map(|i| seed[i % 32].wrapping_add((i / 7) as u8)).collect();
        let device = [alloc(SIZE), alloc(SIZE)];
        device.iter().for_each(|at| upload(*at, &start));
        let mut world = World {
            device,
            host: start.clone(),
            model: [start.clone(), start.clone(), start],
            // A blocking stream: the synchronous calls order themselves with it.
            stream: new_stream(0),
        };
        for op in &ops {
            world.run(op);
        }
        ok!(cuCtxSynchronize());
        for place in 0..2 {
            prop_assert!(download(world.device[place], SIZE) == world.model[place], "device {place}");
            ok!(cuMemFree_v2(world.device[place]));
        }
        prop_assert!(world.host == world.model[2], "host");
        ok!(cuStreamDestroy_v2(world.stream));
    }
}
