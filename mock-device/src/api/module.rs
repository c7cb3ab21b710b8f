//! Modules: loading, and what is in them.

use std::ffi::c_char;
use std::sync::Arc;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{name, put, put_if, wanted};
use crate::call::{Answer, exports};
use crate::code::{Jit, Module, read_image};
use crate::driver::alive;
use crate::handles::Handle;
use crate::thread;

fn load(out: *mut Handle, image: &[u8], jit: &Jit) -> Answer {
    wanted(out)?;
    let driver = alive()?;
    let context = thread::current()?;
    let program = jit.parse(driver, image)?;
    let module = Module::load(driver, &context, &Arc::new(program), false)?;
    context.own_module(&module);
    put(out, module.handle)
}

exports! {
    2000 "cuModuleLoad" fn cuModuleLoad(out: *mut Handle, path: *const c_char) {
        let image = std::fs::read(name(path)?).map_err(|_| CUDA_ERROR_FILE_NOT_FOUND)?;
        load(out, &image, &Jit::default())
    }
    2000 "cuModuleLoadData" fn cuModuleLoadData(out: *mut Handle, image: u64) {
        load(out, &read_image(image)?, &Jit::default())
    }
    2010 "cuModuleLoadDataEx"
    fn cuModuleLoadDataEx(out: *mut Handle, image: u64, count: u32, options: *const u32, values: *mut u64) {
        let jit = Jit::read(count, options, values)?;
        load(out, &read_image(image)?, &jit)
    }
    2000 "cuModuleLoadFatBinary" fn cuModuleLoadFatBinary(out: *mut Handle, image: u64) {
        load(out, &read_image(image)?, &Jit::default())
    }
    2000 "cuModuleUnload" fn cuModuleUnload(handle: Handle) {
        let driver = alive()?;
        let module = driver.handles.get::<Module>(handle)?;
        let context = module.context()?;
        context.check()?;
        if module.of_library() {
            return Err(CUDA_ERROR_INVALID_HANDLE);
        }
        context.wait();
        context.disown_module(handle);
        module.unload(driver);
        Ok(())
    }
    11070 "cuModuleGetLoadingMode" fn cuModuleGetLoadingMode(out: *mut u32) {
        // Code is decoded when it is loaded, whatever CUDA_MODULE_LOADING says.
        put(out, CU_MODULE_EAGER_LOADING)
    }
    2000 "cuModuleGetFunction"
    fn cuModuleGetFunction(out: *mut Handle, module: Handle, text: *const c_char) {
        let driver = alive()?;
        thread::current()?;
        let name = name(text)?;
        let module = driver.handles.get::<Module>(module)?;
        put(out, module.function(driver, &name)?.handle)
    }
    12040 "cuModuleGetFunctionCount" fn cuModuleGetFunctionCount(out: *mut u32, module: Handle) {
        let module = alive()?.handles.get::<Module>(module)?;
        put(out, module.program().module.kernels().len() as u32)
    }
    12040 "cuModuleEnumerateFunctions"
    fn cuModuleEnumerateFunctions(out: *mut Handle, count: u32, module: Handle) {
        let driver = alive()?;
        let module = driver.handles.get::<Module>(module)?;
        let kernels = module.program().module.kernels();
        for (i, info) in kernels.iter().take(count as usize).enumerate() {
            wanted(out)?;
            put(out.wrapping_add(i), module.function(driver, &info.name)?.handle)?;
        }
        Ok(())
    }
    3020 "cuModuleGetGlobal"
    fn cuModuleGetGlobal_v2(out: *mut u64, size: *mut usize, module: Handle, text: *const c_char) {
        let driver = alive()?;
        thread::current()?;
        let name = name(text)?;
        let (address, bytes) = driver.handles.get::<Module>(module)?.variable(&name)?;
        put_if(out, address);
        put_if(size, bytes as usize);
        Ok(())
    }
    2000 "cuModuleGetTexRef" fn cuModuleGetTexRef(_out: *mut Handle, module: Handle, text: *const c_char) {
        name(text)?;
        alive()?.handles.get::<Module>(module)?;
        Err(CUDA_ERROR_NOT_FOUND)
    }
    3000 "cuModuleGetSurfRef" fn cuModuleGetSurfRef(_out: *mut Handle, module: Handle, text: *const c_char) {
        name(text)?;
        alive()?.handles.get::<Module>(module)?;
        Err(CUDA_ERROR_NOT_FOUND)
    }
}
