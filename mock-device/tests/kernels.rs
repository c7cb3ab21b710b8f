//! Modules, libraries, launches, faults.

mod common;
use common::*;
use std::ffi::c_void;

/// Runs `body` in a fresh context with the shared kernels loaded.
fn with_kernels(body: impl FnOnce(Handle)) {
    let context = new_context();
    body(load(KERNELS));
    // It may have been poisoned on purpose.
    ok!(cuCtxDestroy_v2(context));
}

fn upload_words(to: u64, words: &[u32]) {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    upload(to, &bytes);
}

#[test]
fn a_kernel_computes() {
    with_kernels(|module| {
        let scale = function(module, "scale");
        assert_eq!(function(module, "scale"), scale);
        let input: Vec<u32> = (0..1000).collect();
        let p = alloc(4000);
        upload_words(p, &input);
        ok!(launch(scale, 8, 128, 0, &[p, 3, 5, 1000]));
        let expected: Vec<u32> = input.iter().map(|i| i * 3 + 5).collect();
        assert_eq!(words(p, 1000), expected);

        // The same by one packed buffer.
        let mut packed = p.to_ne_bytes().to_vec();
        for value in [2u32, 1, 1000] {
            packed.extend(value.to_ne_bytes());
        }
        let size = packed.len();
        let extra: [*const c_void; 5] = [
            CU_LAUNCH_PARAM_BUFFER_POINTER as *const c_void,
            packed.as_ptr().cast(),
            CU_LAUNCH_PARAM_BUFFER_SIZE as *const c_void,
            (&raw const size).cast(),
            CU_LAUNCH_PARAM_END as *const c_void,
        ];
        let none = std::ptr::null();
        ok!(cuLaunchKernel(
            scale,
            8,
            1,
            1,
            128,
            1,
            1,
            0,
            0,
            none,
            extra.as_ptr()
        ));
        let expected: Vec<u32> = expected.iter().map(|i| i * 2 + 1).collect();
        assert_eq!(words(p, 1000), expected);
    });
}

#[test]
fn launches_are_checked() {
    with_kernels(|module| {
        let scale = function(module, "scale");
        let p = alloc(16);
        let parameters = [p, 1, 1, 4];
        let shaped = |grid: [u32; 3], block: [u32; 3], shared| {
            let pointers: Vec<*const c_void> =
                parameters.iter().map(|v| (&raw const *v).cast()).collect();
            let ([gx, gy, gz], [bx, by, bz]) = (grid, block);
            cuLaunchKernel(
                scale,
                gx,
                gy,
                gz,
                bx,
                by,
                bz,
                shared,
                0,
                pointers.as_ptr(),
                std::ptr::null(),
            )
        };
        fails!(shaped([0, 1, 1], [1, 1, 1], 0), CUDA_ERROR_INVALID_VALUE);
        fails!(shaped([1, 1, 1], [1, 0, 1], 0), CUDA_ERROR_INVALID_VALUE);
        fails!(shaped([1, 1, 1], [1025, 1, 1], 0), CUDA_ERROR_INVALID_VALUE);
        fails!(shaped([1, 1, 1], [1, 1, 65], 0), CUDA_ERROR_INVALID_VALUE);
        fails!(
            shaped([1, 70_000, 1], [1, 1, 1], 0),
            CUDA_ERROR_INVALID_VALUE
        );
        fails!(
            shaped([1, 1, 1], [1, 1, 1], 49 << 10),
            CUDA_ERROR_INVALID_VALUE
        );
        ok!(cuFuncSetAttribute(
            scale,
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            64 << 10
        ));
        ok!(shaped([1, 1, 1], [1, 1, 1], 49 << 10));
        let none = std::ptr::null();
        fails!(
            cuLaunchKernel(scale, 1, 1, 1, 1, 1, 1, 0, 0, none, none.cast()),
            CUDA_ERROR_INVALID_VALUE
        );
        fails!(
            launch(0x77, 1, 1, 0, &parameters),
            CUDA_ERROR_INVALID_HANDLE
        );
        fails!(
            launch(scale, 1, 1, 0x77, &parameters),
            CUDA_ERROR_INVALID_HANDLE
        );
        ok!(cuCtxSynchronize());
        // Of another context.
        let other = new_context();
        fails!(
            launch(scale, 1, 1, 0, &parameters),
            CUDA_ERROR_INVALID_HANDLE
        );
        ok!(cuCtxDestroy_v2(other));
        ok!(cuModuleUnload(module));
        fails!(
            launch(scale, 1, 1, 0, &parameters),
            CUDA_ERROR_INVALID_HANDLE
        );
        fails!(cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE);
    });
}

#[test]
fn launch_attributes_are_taken_or_refused() {
    with_kernels(|module| {
        let (count, which) = (function(module, "count"), 1u32);
        let pointers: [*const c_void; 1] = [(&raw const which).cast()];
        let run = |id, value| {
            let mut attribute = CUlaunchAttribute {
                id,
                pad: [0; 4],
                value: CUlaunchAttributeValue::ZERO,
            };
            (0..3).for_each(|i| attribute.value.set_word(i, value));
            let config = CUlaunchConfig {
                gridDimX: 1,
                gridDimY: 1,
                gridDimZ: 1,
                blockDimX: 1,
                blockDimY: 1,
                blockDimZ: 1,
                sharedMemBytes: 0,
                hStream: std::ptr::null_mut(),
                attrs: &raw mut attribute,
                numAttrs: 1,
            };
            cuLaunchKernelEx(
                &raw const config,
                count,
                pointers.as_ptr(),
                std::ptr::null(),
            )
        };
        ok!(run(8, 0)); // priority
        ok!(run(2, 1)); // cooperative
        ok!(run(4, 1)); // cluster of one
        fails!(run(4, 2), CUDA_ERROR_NOT_SUPPORTED);
        fails!(run(7, 0), CUDA_ERROR_NOT_SUPPORTED);
        assert_eq!(words(global(module, "counter").0, 1), [7 + 3 * 2]);
    });
}

#[test]
fn variables_have_addresses_and_initial_values() {
    with_kernels(|module| {
        let (counter, size) = global(module, "counter");
        assert_eq!(size, 4);
        assert_eq!(words(counter, 1), [7]);
        let (factors, size) = global(module, "factors");
        assert_eq!((size, words(factors, 4)), (16, vec![1, 2, 3, 4]));
        let count = function(module, "count");
        ok!(launch(count, 1, 1, 0, &[2]));
        // The host may write constants.
        upload_words(factors + 8, &[100]);
        ok!(launch(count, 1, 1, 0, &[2]));
        assert_eq!(words(counter, 1), [7 + 3 + 100]);
        // A second module has its own.
        let other = load(KERNELS);
        assert_ne!(global(other, "counter").0, counter);
        assert_eq!(words(global(other, "counter").0, 1), [7]);
        let name = c("nobody");
        let (mut p, mut n) = (0, 0);
        fails!(
            cuModuleGetGlobal_v2(&raw mut p, &raw mut n, module, name.as_ptr()),
            CUDA_ERROR_NOT_FOUND
        );
        fails!(
            cuModuleGetFunction(&raw mut p, module, name.as_ptr()),
            CUDA_ERROR_NOT_FOUND
        );
        // Variables go with their module.
        ok!(cuModuleUnload(other));
        ok!(cuMemFree_v2(alloc(4)));
        fails!(cuMemFree_v2(counter), CUDA_ERROR_INVALID_VALUE);
    });
}

#[test]
fn functions_describe_themselves() {
    with_kernels(|module| {
        let scale = function(module, "scale");
        let get = |attribute| out(|v| cuFuncGetAttribute(v, attribute, scale));
        assert_eq!(get(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK), 1024);
        assert_eq!(get(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES), 0);
        assert_eq!(get(CU_FUNC_ATTRIBUTE_PTX_VERSION), 75);
        assert_eq!(get(CU_FUNC_ATTRIBUTE_BINARY_VERSION), 90);
        let (mut offset, mut size) = (0, 0);
        ok!(cuFuncGetParamInfo(scale, 2, &raw mut offset, &raw mut size));
        assert_eq!((offset, size), (12, 4));
        fails!(
            cuFuncGetParamInfo(scale, 4, &raw mut offset, &raw mut size),
            CUDA_ERROR_INVALID_VALUE
        );
        let blocks = out(|n| cuOccupancyMaxActiveBlocksPerMultiprocessor(n, scale, 1024, 0));
        assert!((1..=2).contains(&blocks));
        let (mut grid, mut block) = (0, 0);
        ok!(cuOccupancyMaxPotentialBlockSize(
            &raw mut grid,
            &raw mut block,
            scale,
            None,
            0,
            0
        ));
        assert!(grid > 0 && block > 0 && block % 32 == 0);
    });
}

#[test]
fn libraries_are_placed_where_they_are_used() {
    let context = new_context();
    let text = c(KERNELS);
    let (no, nov) = (std::ptr::null(), std::ptr::null_mut());
    let library = out(|l| cuLibraryLoadData(l, text.as_ptr().cast(), no, nov, 0, no, no.cast(), 0));
    assert_eq!(out(|n| cuLibraryGetKernelCount(n, library)), 4);
    let name = c("count");
    let kernel = out(|k| cuLibraryGetKernel(k, library, name.as_ptr()));
    let mut all = [0; 4];
    ok!(cuLibraryEnumerateKernels(all.as_mut_ptr(), 4, library));
    assert_eq!(all[1], kernel);
    let counter = c("counter");
    let at = |library| {
        let mut size = 0;
        out(|p| cuLibraryGetGlobal(p, &raw mut size, library, counter.as_ptr()))
    };
    let first = at(library);
    // A kernel is launched as a function.
    ok!(launch(kernel, 1, 1, 0, &[1]));
    assert_eq!(words(first, 1), [9]);
    let module = out(|m| cuLibraryGetModule(m, library));
    let inside = out(|f| cuKernelGetFunction(f, kernel));
    assert_eq!(function(module, "count"), inside);
    ok!(launch(inside, 1, 1, 0, &[0]));
    assert_eq!(words(first, 1), [10]);
    fails!(cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE);
    // In another context it starts anew.
    let other = new_context();
    ok!(launch(kernel, 1, 1, 0, &[3]));
    assert_ne!(at(library), first);
    assert_eq!(words(at(library), 1), [11]);
    ok!(cuCtxDestroy_v2(other));
    assert_eq!(words(first, 1), [10]);
    ok!(cuLibraryUnload(library));
    fails!(launch(kernel, 1, 1, 0, &[1]), CUDA_ERROR_INVALID_HANDLE);
    fails!(cuLibraryUnload(library), CUDA_ERROR_INVALID_HANDLE);
    ok!(cuCtxDestroy_v2(context));
}

#[test]
fn images_are_checked() {
    let context = new_context();
    let try_load = |bytes: &[u8]| {
        let mut module = 0;
        cuModuleLoadData(&raw mut module, bytes.as_ptr().cast())
    };
    fails!(try_load(b"\0"), CUDA_ERROR_INVALID_PTX);
    fails!(try_load(b"what is this\0"), CUDA_ERROR_INVALID_PTX);
    fails!(
        try_load(b".version 7.8\n.target sm_121\n\0"),
        CUDA_ERROR_INVALID_PTX
    );
    fails!(
        cuModuleLoadData(&mut 0, std::ptr::null()),
        CUDA_ERROR_INVALID_VALUE
    );
    let mut elf = [0u8; 64];
    elf[..4].copy_from_slice(b"\x7fELF");
    fails!(try_load(&elf), CUDA_ERROR_NO_BINARY_FOR_GPU);

    // The log says where and what.
    let mut log = [0x55u8; 256];
    let options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr() as u64, 256];
    let text = c(
        ".version 7.8\n.target sm_75\n.address_size 64\n.visible .entry k()\n{\n  frobnicate.u32 %r1;\n ret;\n}\n",
    );
    let mut module = 0;
    let code = cuModuleLoadDataEx(
        &raw mut module,
        text.as_ptr().cast(),
        2,
        options.as_ptr(),
        values.as_mut_ptr(),
    );
    assert!(
        code == CUDA_ERROR_INVALID_PTX || code == CUDA_ERROR_NOT_SUPPORTED,
        "{code}"
    );
    let said = std::ffi::CStr::from_bytes_until_nul(&log)
        .unwrap()
        .to_str()
        .unwrap();
    assert!(
        said.contains("frobnicate") && said.contains("line 6"),
        "{said}"
    );
    assert_eq!(values[1] as usize, said.len());
    ok!(cuCtxDestroy_v2(context));
}

#[test]
fn a_link_of_one_input_is_loaded() {
    let context = new_context();
    let link = out(|l| cuLinkCreate_v2(0, std::ptr::null(), std::ptr::null_mut(), l));
    let (text, no) = (c(KERNELS), std::ptr::null());
    let bytes = text.as_bytes();
    ok!(cuLinkAddData_v2(
        link,
        CU_JIT_INPUT_PTX,
        bytes.as_ptr().cast(),
        bytes.len(),
        no,
        0,
        no.cast(),
        no.cast()
    ));
    let mut size = 0;
    let mut image = std::ptr::null();
    ok!(cuLinkComplete(link, &raw mut image, &raw mut size));
    assert_eq!(size, bytes.len() + 1);
    let module = out(|m| cuModuleLoadData(m, image));
    ok!(cuLinkDestroy(link));
    fails!(cuLinkDestroy(link), CUDA_ERROR_INVALID_HANDLE);
    function(module, "spin");
    ok!(cuCtxDestroy_v2(context));
}

/// A word of pinned memory.
fn host_word(at: u64) -> u32 {
    let word: *const u32 = std::ptr::with_exposed_provenance(at as usize);
    #[allow(unsafe_code, reason = "reads the driver's host memory")]
    // SAFETY: allocated by the driver and not freed yet.
    unsafe {
        word.read_volatile()
    }
}

#[test]
fn a_fault_poisons_the_context_and_no_other() {
    let healthy = new_context();
    let p = alloc(16);
    with_kernels(|module| {
        let (poke, stream) = (function(module, "poke"), new_stream(0));
        let before = alloc(4);
        let pinned = out(|p| cuMemHostAlloc(p, 4, 0));
        ok!(cuMemsetD32_v2(pinned, 0, 1));
        let gate = gate_on(stream);
        ok!(launch(poke, 1, 1, stream, &[before]));
        ok!(launch(poke, 1, 1, stream, &[0xdead_0000]));
        ok!(launch(poke, 1, 1, stream, &[pinned]));
        gate.open();
        fails!(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
        // What came behind the fault did not run.
        assert_eq!(host_word(pinned), 0);
        // From now on, everything.
        fails!(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
        fails!(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
        fails!(cuMemAlloc_v2(&mut 0, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
        fails!(cuMemFree_v2(before), CUDA_ERROR_ILLEGAL_ADDRESS);
        fails!(
            launch(poke, 1, 1, stream, &[before]),
            CUDA_ERROR_ILLEGAL_ADDRESS
        );
        fails!(cuStreamQuery(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
        fails!(cuMemsetD8_v2(before, 0, 1), CUDA_ERROR_ILLEGAL_ADDRESS);
    });
    assert_eq!(out(cuCtxGetCurrent), healthy);
    upload(p, &[3; 16]);
    assert_eq!(download(p, 16), [3; 16]);
    ok!(cuCtxDestroy_v2(healthy));
}

#[test]
fn faults_are_told_apart() {
    let fault = |text: &str, name: &str, parameter: u64| {
        let context = new_context();
        let f = function(load(text), name);
        let p = alloc(64);
        ok!(launch(f, 1, 1, 0, &[p + parameter]));
        let answer = cuCtxSynchronize();
        ok!(cuCtxDestroy_v2(context));
        answer
    };
    assert_eq!(fault(KERNELS, "poke", 2), CUDA_ERROR_MISALIGNED_ADDRESS);
    // Behind the allocation as the device rounds it up.
    assert_eq!(fault(KERNELS, "poke", 512), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_eq!(fault(KERNELS, "poke", 60), CUDA_SUCCESS);
    let trap = ".version 7.8\n.target sm_75\n.address_size 64\n\
                .visible .entry t(.param .u64 p) { trap; ret; }\n";
    assert_eq!(fault(trap, "t", 0), CUDA_ERROR_LAUNCH_FAILED);
}

#[test]
fn kernels_of_two_streams_run_at_once() {
    with_kernels(|module| {
        let (spin, poke) = (function(module, "spin"), function(module, "poke"));
        let (first, second) = (new_stream(1), new_stream(1));
        let p = alloc(4);
        ok!(cuMemsetD32_v2(p, 0, 1));
        ok!(launch(spin, 1, 1, first, &[p]));
        fails!(cuStreamQuery(first), CUDA_ERROR_NOT_READY);
        // Only the second kernel can end the first one.
        ok!(launch(poke, 1, 1, second, &[p]));
        ok!(cuStreamSynchronize(first));
    });
}

#[test]
fn kernels_reach_pinned_memory_at_its_own_address() {
    with_kernels(|module| {
        let spin = function(module, "spin");
        let flag = Box::new(std::sync::atomic::AtomicU32::new(0));
        let at = flag.as_ptr() as u64;
        let stream = new_stream(1);
        ok!(cuMemHostRegister_v2(at, 4, 0));
        ok!(launch(spin, 1, 1, stream, &[at]));
        fails!(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
        flag.store(1, std::sync::atomic::Ordering::Release);
        ok!(cuStreamSynchronize(stream));
        ok!(cuMemHostUnregister(at));
        // Pageable memory is out of reach.
        ok!(launch(spin, 1, 1, stream, &[at]));
        fails!(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    });
}

#[test]
fn the_process_ends_while_a_kernel_runs() {
    let name = "the_process_ends_while_a_kernel_runs";
    if is_child(name) {
        new_context();
        let spin = function(load(KERNELS), "spin");
        let p = alloc(4);
        ok!(cuMemsetD32_v2(p, 0, 1));
        ok!(launch(spin, 1, 1, 0, &[p]));
        std::process::exit(42);
    }
    assert_eq!(child(name, "").status.code(), Some(42));
}
