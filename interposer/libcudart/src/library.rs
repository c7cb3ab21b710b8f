//! Libraries and kernels that the application handles itself.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_char, c_int, c_uint, c_void};

use cuda_abi::driver::*;

use crate::context::bind;
use crate::driver::driver;
use crate::export::Out;
use crate::register::give;

export! {
    fn cudaLibraryLoadData(
        library: Out<CUlibrary>,
        code: *const c_void,
        jit_options: *mut CUjit_option,
        jit_values: *mut *mut c_void,
        n_jit: c_uint,
        options: *mut CUlibraryOption,
        values: *mut *mut c_void,
        n: c_uint,
    ) {
        library.check()?;
        driver()?.library_load_data(
            library.pointer(), code, jit_options, jit_values, n_jit, options, values, n,
        )
    }

    fn cudaLibraryLoadFromFile(
        library: Out<CUlibrary>,
        file: *const c_char,
        jit_options: *mut CUjit_option,
        jit_values: *mut *mut c_void,
        n_jit: c_uint,
        options: *mut CUlibraryOption,
        values: *mut *mut c_void,
        n: c_uint,
    ) {
        library.check()?;
        driver()?.library_load_from_file(
            library.pointer(), file, jit_options, jit_values, n_jit, options, values, n,
        )
    }

    fn cudaLibraryUnload(library: CUlibrary) {
        driver()?.library_unload(library)
    }

    fn cudaLibraryGetKernel(kernel: Out<CUkernel>, library: CUlibrary, name: *const c_char) {
        kernel.check()?;
        let mut found = core::ptr::null_mut();
        driver()?.library_get_kernel(&mut found, library, name)?;
        give(found);
        kernel.set(found)
    }

    fn cudaLibraryGetGlobal(
        address: Out<CUdeviceptr>,
        bytes: *mut usize,
        library: CUlibrary,
        name: *const c_char,
    ) {
        bind()?.library_get_global(address.pointer(), bytes, library, name)
    }

    fn cudaLibraryGetManaged(
        address: Out<CUdeviceptr>,
        bytes: *mut usize,
        library: CUlibrary,
        name: *const c_char,
    ) {
        bind()?.library_get_managed(address.pointer(), bytes, library, name)
    }

    fn cudaLibraryGetUnifiedFunction(
        function: Out<*mut c_void>,
        library: CUlibrary,
        symbol: *const c_char,
    ) {
        function.check()?;
        bind()?.library_get_unified_function(function.pointer(), library, symbol)
    }

    fn cudaLibraryGetKernelCount(count: Out<c_uint>, library: CUlibrary) {
        count.check()?;
        driver()?.library_get_kernel_count(count.pointer(), library)
    }

    fn cudaLibraryEnumerateKernels(kernels: *mut CUkernel, n: c_uint, library: CUlibrary) {
        driver()?.library_enumerate_kernels(kernels, n, library)?;
        for i in 0..n as usize {
            // SAFETY: the driver has written as many kernels as it was asked for, and refuses
            // to be asked for more than there are.
            give(unsafe { kernels.add(i).read() });
        }
        Ok(())
    }

    fn cudaKernelSetAttributeForDevice(
        kernel: CUkernel,
        attribute: CUfunction_attribute,
        value: c_int,
        device: c_int,
    ) {
        driver()?.kernel_set_attribute(attribute, value, kernel, device)
    }
}
