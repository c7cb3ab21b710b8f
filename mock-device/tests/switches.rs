//! The adversarial switches, each in a process of its own.

mod common;
use common::*;

/// What moves from start to start: a handle, an address that nobody asked
/// for, and the address of a variable.
fn places(switches: &str) -> [u64; 3] {
    let output = child("print_places", switches);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|l| l.split_once("places:"));
    let numbers = line
        .unwrap()
        .1
        .split_whitespace()
        .map(|n| n.parse().unwrap());
    numbers.collect::<Vec<u64>>().try_into().unwrap()
}

#[test]
fn print_places() {
    if is_child("print_places") {
        let context = new_context();
        let module = load(KERNELS);
        println!(
            "places: {context} {} {}",
            alloc(100),
            global(module, "counter").0
        );
    }
}

#[test]
fn every_start_differs_without_a_seed() {
    let (first, second) = (places(""), places(""));
    assert_ne!(first[0], second[0]);
    assert_ne!(first[1], second[1]);
    // Variables lie at the same place for the same order of loading...
    assert_eq!(first[2], second[2]);
    // ...unless told otherwise.
    assert_ne!(places("move-globals")[2], first[2]);
    assert_eq!(places("seed=5,move-globals"), places("seed=5,move-globals"));
    assert_ne!(places("seed=5"), places("seed=6"));
}

#[test]
fn an_unknown_switch_fails_init() {
    alone("an_unknown_switch_fails_init", "sead=4", || {
        fails!(cuInit(0), CUDA_ERROR_INVALID_VALUE);
        fails!(cuDeviceGetCount(&mut 0), CUDA_ERROR_NOT_INITIALIZED);
    });
}

#[test]
fn two_devices_are_peers() {
    alone("two_devices_are_peers", "devices=2,sm=80", || {
        ok!(cuInit(0));
        assert_eq!(out(cuDeviceGetCount), 2);
        assert_eq!(out(|c| cuDeviceCanAccessPeer(c, 0, 1)), 1);
        assert_eq!(out(|c| cuDeviceCanAccessPeer(c, 0, 0)), 0);
        let major = CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
        assert_eq!(out(|v| cuDeviceGetAttribute(v, major, 1)), 8);
        let ids: [[u8; 16]; 2] = [0, 1].map(|d| out(|u| cuDeviceGetUuid_v2(u, d)));
        assert_ne!(ids[0], ids[1]);

        let far = out(|c| cuCtxCreate_v2(c, 0, 1));
        let there = alloc(16);
        let near = out(|c| cuCtxCreate_v2(c, 0, 0));
        let here = alloc(16);
        upload(here, &[7; 16]);
        // Copies go through in any case, kernels when access is on.
        ok!(cuMemcpyPeer(there, far, here, near, 16));
        assert_eq!(download(there, 16), [7; 16]);
        ok!(cuCtxEnablePeerAccess(far, 0));
        fails!(
            cuCtxEnablePeerAccess(far, 0),
            CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED
        );
        fails!(cuCtxEnablePeerAccess(near, 0), CUDA_ERROR_INVALID_CONTEXT);
        let poke = function(load(KERNELS), "poke");
        ok!(launch(poke, 1, 1, 0, &[there]));
        ok!(cuCtxSynchronize());
        assert_eq!(words(there, 1), [1]);
        ok!(cuCtxDisablePeerAccess(far));
        fails!(
            cuCtxDisablePeerAccess(far),
            CUDA_ERROR_PEER_ACCESS_NOT_ENABLED
        );
        ok!(launch(poke, 1, 1, 0, &[there]));
        fails!(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    });
}

#[test]
fn memory_runs_out_on_request() {
    alone("memory_runs_out_on_request", "oom-after=3", || {
        new_context();
        let blocks = [alloc(16), alloc(16), alloc(16)];
        fails!(cuMemAlloc_v2(&mut 0, 16), CUDA_ERROR_OUT_OF_MEMORY);
        ok!(cuMemFree_v2(blocks[0]));
        fails!(cuMemAlloc_v2(&mut 0, 16), CUDA_ERROR_OUT_OF_MEMORY);
        // It is no fault: everything else goes on.
        upload(blocks[1], &[1; 16]);
        assert_eq!(download(blocks[1], 16), [1; 16]);
    });
}

#[test]
fn addresses_are_refused_on_request() {
    alone("addresses_are_refused_on_request", "refuse-address", || {
        ok!(cuInit(0));
        let wish = 0x1000_0000_0000;
        let got = out(|p| cuMemAddressReserve(p, 2 << 20, 0, wish, 0));
        assert_ne!(got, wish);
        ok!(cuMemAddressFree(got, 2 << 20));
    });
}

#[test]
fn a_launch_fails_on_request() {
    alone("a_launch_fails_on_request", "fail-launch=2", || {
        new_context();
        let poke = function(load(KERNELS), "poke");
        let p = alloc(4);
        ok!(launch(poke, 1, 1, 0, &[p]));
        ok!(cuCtxSynchronize());
        ok!(launch(poke, 1, 1, 0, &[p]));
        fails!(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
        fails!(cuMemAlloc_v2(&mut 0, 4), CUDA_ERROR_LAUNCH_FAILED);
    });
}

#[test]
fn kernels_are_slow_on_request() {
    alone("kernels_are_slow_on_request", "slow-kernels=30000", || {
        new_context();
        let poke = function(load(KERNELS), "poke");
        let p = alloc(4);
        let start = std::time::Instant::now();
        ok!(launch(poke, 1, 1, 0, &[p]));
        fails!(cuStreamQuery(0), CUDA_ERROR_NOT_READY);
        ok!(cuCtxSynchronize());
        assert!(start.elapsed().as_millis() >= 30);
    });
}

#[test]
fn copies_are_slow_on_request() {
    alone("copies_are_slow_on_request", "slow-copies=30000", || {
        new_context();
        let p = alloc(4);
        let number = 7u32;
        let start = std::time::Instant::now();
        ok!(cuMemcpyHtoDAsync_v2(p, (&raw const number).cast(), 4, 0));
        fails!(cuStreamQuery(0), CUDA_ERROR_NOT_READY);
        let mut back = 0u32;
        ok!(cuMemcpyDtoH_v2((&raw mut back).cast(), p, 4));
        assert!(start.elapsed().as_millis() >= 60);
        assert_eq!(back, 7);
    });
}

/// A container with one uncompressed PTX entry.
fn fatbin(text: &str, arch: u32) -> Vec<u8> {
    let mut payload = text.as_bytes().to_vec();
    payload.resize((payload.len() + 8) / 8 * 8, 0);
    let mut entry = Vec::new();
    entry.extend(1u16.to_le_bytes()); // PTX
    entry.extend(0x101u16.to_le_bytes());
    entry.extend(64u32.to_le_bytes());
    entry.extend((payload.len() as u64).to_le_bytes());
    entry.extend([0; 8]);
    entry.extend(8u16.to_le_bytes());
    entry.extend(7u16.to_le_bytes());
    entry.extend(arch.to_le_bytes());
    entry.resize(64, 0);
    entry.extend(payload);
    let mut container = Vec::new();
    container.extend(0xba55_ed50u32.to_le_bytes());
    container.extend(1u16.to_le_bytes());
    container.extend(16u16.to_le_bytes());
    container.extend((entry.len() as u64).to_le_bytes());
    container.extend(entry);
    container
}

#[test]
fn fat_binaries_are_unpacked() {
    alone("fat_binaries_are_unpacked", "", || {
        new_context();
        let container = fatbin(KERNELS, 75);
        let module = out(|m| cuModuleLoadData(m, container.as_ptr().cast()));
        function(module, "poke");
        let wrapper = [0x1_4662_43b1, container.as_ptr() as u64, 0];
        let module = out(|m| cuModuleLoadData(m, wrapper.as_ptr().cast()));
        function(module, "poke");
        let newer = fatbin(KERNELS, 100);
        fails!(
            cuModuleLoadData(&mut 0, newer.as_ptr().cast()),
            CUDA_ERROR_NO_BINARY_FOR_GPU
        );
    });
}

#[test]
fn fat_binaries_are_refused_on_request() {
    alone("fat_binaries_are_refused_on_request", "no-fatbin", || {
        new_context();
        let container = fatbin(KERNELS, 75);
        fails!(
            cuModuleLoadData(&mut 0, container.as_ptr().cast()),
            CUDA_ERROR_NO_BINARY_FOR_GPU
        );
        load(KERNELS);
    });
}
