//! Functions: attributes and names.

use std::ffi::c_char;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{put, put_if};
use crate::call::{Answer, exports};
use crate::code::Function;
use crate::driver::alive;
use crate::handles::Handle;
use crate::launch;
use crate::sync::lock;
use crate::thread;

/// The function of a handle in the thread's context.
fn of(handle: Handle) -> Answer<std::sync::Arc<Function>> {
    launch::function(alive()?, handle, &thread::current()?)
}

exports! {
    2020 "cuFuncGetAttribute" fn cuFuncGetAttribute(out: *mut i32, attribute: u32, function: Handle) {
        put(out, of(function)?.attribute(attribute)?)
    }
    9000 "cuFuncSetAttribute" fn cuFuncSetAttribute(function: Handle, attribute: u32, value: i32) {
        let function = of(function)?;
        lock(&*function.attributes).set(function.kernel.info(), attribute, value)
    }
    3000 "cuFuncSetCacheConfig" fn cuFuncSetCacheConfig(function: Handle, config: u32) {
        of(function)?;
        if config > CU_FUNC_CACHE_PREFER_EQUAL {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        Ok(())
    }
    4020 "cuFuncSetSharedMemConfig" fn cuFuncSetSharedMemConfig(function: Handle, config: u32) {
        of(function)?;
        if config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        Ok(())
    }
    11000 "cuFuncGetModule" fn cuFuncGetModule(out: *mut Handle, function: Handle) {
        put(out, of(function)?.module()?.handle)
    }
    12030 "cuFuncGetName" fn cuFuncGetName(out: *mut *const c_char, function: Handle) {
        // Lives as long as the module, as documented.
        put(out, of(function)?.name.as_ptr())
    }
    12040 "cuFuncGetParamInfo"
    fn cuFuncGetParamInfo(function: Handle, index: usize, offset: *mut usize, size: *mut usize) {
        let function = of(function)?;
        let parameters = &function.kernel.info().params;
        let parameter = parameters.get(index).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        put(offset, parameter.offset as usize)?;
        put_if(size, parameter.size as usize);
        Ok(())
    }
    13020 "cuFuncGetParamCount" fn cuFuncGetParamCount(function: Handle, out: *mut usize) {
        put(out, of(function)?.kernel.info().params.len())
    }
    12040 "cuFuncIsLoaded" fn cuFuncIsLoaded(out: *mut u32, function: Handle) {
        of(function)?;
        put(out, CU_FUNCTION_LOADING_STATE_LOADED)
    }
    12040 "cuFuncLoad" fn cuFuncLoad(function: Handle) {
        of(function).map(drop)
    }
}
