//! Libraries and their kernels.

use std::ffi::c_char;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{get_all, name, put, put_if, wanted};
use crate::call::{Answer, exports};
use crate::code::{Jit, Kernel, Library, read_image};
use crate::driver::alive;
use crate::handles::Handle;
use crate::sync::lock;
use crate::thread;

fn load(out: *mut Handle, image: &[u8], jit: &Jit, options: (*const u32, u32)) -> Answer {
    wanted(out)?;
    let driver = alive()?;
    for option in get_all(options.0, options.1 as usize)? {
        match option {
            CU_LIBRARY_BINARY_IS_PRESERVED => (),
            CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE => {
                return Err(CUDA_ERROR_NOT_SUPPORTED);
            }
            _ => return Err(CUDA_ERROR_INVALID_VALUE),
        }
    }
    let library = Library::load(driver, jit.parse(driver, image)?)?;
    put(out, library.handle)
}

fn kernel_attribute(kernel: Handle, attribute: u32, device: i32) -> Answer<i32> {
    let driver = alive()?;
    let device = driver.device(device)?;
    let kernel = driver.handles.get::<Kernel>(kernel)?;
    let program = kernel.library()?.program.clone();
    let attributes = *lock(&*kernel.attributes(device.ordinal)?);
    let versions = (program.version, program.target, device.sm);
    kernel.with_info(|info| attributes.get(info, versions, attribute))
}

exports! {
    12000 "cuLibraryLoadData"
    fn cuLibraryLoadData(
        out: *mut Handle, image: u64,
        jit_options: *const u32, jit_values: *mut u64, jit_count: u32,
        options: *const u32, _values: *const u64, count: u32,
    ) {
        let jit = Jit::read(jit_count, jit_options, jit_values)?;
        load(out, &read_image(image)?, &jit, (options, count))
    }
    12000 "cuLibraryLoadFromFile"
    fn cuLibraryLoadFromFile(
        out: *mut Handle, path: *const c_char,
        jit_options: *const u32, jit_values: *mut u64, jit_count: u32,
        options: *const u32, _values: *const u64, count: u32,
    ) {
        let jit = Jit::read(jit_count, jit_options, jit_values)?;
        let image = std::fs::read(name(path)?).map_err(|_| CUDA_ERROR_FILE_NOT_FOUND)?;
        load(out, &image, &jit, (options, count))
    }
    12000 "cuLibraryUnload" fn cuLibraryUnload(handle: Handle) {
        let driver = alive()?;
        driver.handles.get::<Library>(handle)?.unload(driver);
        Ok(())
    }
    12000 "cuLibraryGetKernel"
    fn cuLibraryGetKernel(out: *mut Handle, library: Handle, text: *const c_char) {
        let name = name(text)?;
        let library = alive()?.handles.get::<Library>(library)?;
        put(out, library.kernel(&name)?.handle)
    }
    12040 "cuLibraryGetKernelCount" fn cuLibraryGetKernelCount(out: *mut u32, library: Handle) {
        put(out, alive()?.handles.get::<Library>(library)?.kernels().len() as u32)
    }
    12040 "cuLibraryEnumerateKernels"
    fn cuLibraryEnumerateKernels(out: *mut Handle, count: u32, library: Handle) {
        let library = alive()?.handles.get::<Library>(library)?;
        for (i, kernel) in library.kernels().iter().take(count as usize).enumerate() {
            wanted(out)?;
            put(out.wrapping_add(i), kernel.handle)?;
        }
        Ok(())
    }
    12000 "cuLibraryGetModule" fn cuLibraryGetModule(out: *mut Handle, library: Handle) {
        let driver = alive()?;
        let context = thread::current()?;
        let library = driver.handles.get::<Library>(library)?;
        put(out, library.module(driver, &context)?.handle)
    }
    12000 "cuLibraryGetGlobal"
    fn cuLibraryGetGlobal(out: *mut u64, size: *mut usize, library: Handle, text: *const c_char) {
        let driver = alive()?;
        let context = thread::current()?;
        let name = name(text)?;
        let library = driver.handles.get::<Library>(library)?;
        let (address, bytes) = library.module(driver, &context)?.variable(&name)?;
        put_if(out, address);
        put_if(size, bytes as usize);
        Ok(())
    }
    12000 "cuLibraryGetManaged"
    fn cuLibraryGetManaged(_out: *mut u64, _size: *mut usize, library: Handle, text: *const c_char) {
        name(text)?;
        alive()?.handles.get::<Library>(library)?;
        Err(CUDA_ERROR_NOT_FOUND)
    }
    12000 "cuLibraryGetUnifiedFunction"
    fn cuLibraryGetUnifiedFunction(_out: *mut u64, library: Handle, text: *const c_char) {
        name(text)?;
        alive()?.handles.get::<Library>(library)?;
        Err(CUDA_ERROR_NOT_FOUND)
    }
    12000 "cuKernelGetFunction" fn cuKernelGetFunction(out: *mut Handle, kernel: Handle) {
        let driver = alive()?;
        let context = thread::current()?;
        let kernel = driver.handles.get::<Kernel>(kernel)?;
        put(out, kernel.function(driver, &context)?.handle)
    }
    12050 "cuKernelGetLibrary" fn cuKernelGetLibrary(out: *mut Handle, kernel: Handle) {
        put(out, alive()?.handles.get::<Kernel>(kernel)?.library()?.handle)
    }
    12030 "cuKernelGetName" fn cuKernelGetName(out: *mut *const c_char, kernel: Handle) {
        // Lives as long as the library, as documented.
        put(out, alive()?.handles.get::<Kernel>(kernel)?.name.as_ptr())
    }
    12040 "cuKernelGetParamInfo"
    fn cuKernelGetParamInfo(kernel: Handle, index: usize, offset: *mut usize, size: *mut usize) {
        let kernel = alive()?.handles.get::<Kernel>(kernel)?;
        kernel.with_info(|info| {
            let parameter = info.params.get(index).ok_or(CUDA_ERROR_INVALID_VALUE)?;
            put(offset, parameter.offset as usize)?;
            put_if(size, parameter.size as usize);
            Ok(())
        })
    }
    13020 "cuKernelGetParamCount" fn cuKernelGetParamCount(kernel: Handle, out: *mut usize) {
        let kernel = alive()?.handles.get::<Kernel>(kernel)?;
        kernel.with_info(|info| put(out, info.params.len()))
    }
    12000 "cuKernelGetAttribute"
    fn cuKernelGetAttribute(out: *mut i32, attribute: u32, kernel: Handle, device: i32) {
        put(out, kernel_attribute(kernel, attribute, device)?)
    }
    12000 "cuKernelSetAttribute"
    fn cuKernelSetAttribute(attribute: u32, value: i32, kernel: Handle, device: i32) {
        let driver = alive()?;
        let device = driver.device(device)?.ordinal;
        let kernel = driver.handles.get::<Kernel>(kernel)?;
        let attributes = kernel.attributes(device)?;
        kernel.with_info(|info| lock(&*attributes).set(info, attribute, value))
    }
    12000 "cuKernelSetCacheConfig"
    fn cuKernelSetCacheConfig(kernel: Handle, config: u32, device: i32) {
        let driver = alive()?;
        driver.device(device)?;
        driver.handles.get::<Kernel>(kernel)?;
        if config > CU_FUNC_CACHE_PREFER_EQUAL {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        Ok(())
    }
}
