//! Attributes of kernels.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_char, c_int, c_void};

use cuda_abi::driver::*;
use cuda_abi::runtime::*;

use crate::context::bind;
use crate::driver::Driver;
use crate::export::{Answer, Out};
use crate::register::kernel;

/// The function, in the current context, of what a host stub or kernel names.
pub(crate) fn function(driver: &Driver, named: *const c_void) -> Answer<CUfunction> {
    let kernel = kernel(driver, named)?;
    let mut function: CUfunction = core::ptr::null_mut();
    driver.kernel_get_function(&mut function, kernel)?;
    Ok(function)
}

export! {
    fn cudaFuncGetAttributes(attributes: Out<CudaFuncAttributes>, named: *const c_void) {
        attributes.check()?;
        let driver = bind()?;
        let function = function(driver, named)?;
        let get = |attribute| {
            let mut value = 0;
            driver.func_get_attribute(&mut value, attribute, function)?;
            Ok::<c_int, CudaError>(value)
        };
        // Newer attributes may be unknown to the driver; they are zero then.
        let newer = |attribute| get(attribute).unwrap_or(0);
        let size = |attribute| get(attribute).map(|value| usize::try_from(value).unwrap_or(0));
        attributes.set(CudaFuncAttributes {
            sharedSizeBytes: size(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
            constSizeBytes: size(CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES)?,
            localSizeBytes: size(CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
            maxThreadsPerBlock: get(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
            numRegs: get(CU_FUNC_ATTRIBUTE_NUM_REGS)?,
            ptxVersion: get(CU_FUNC_ATTRIBUTE_PTX_VERSION)?,
            binaryVersion: get(CU_FUNC_ATTRIBUTE_BINARY_VERSION)?,
            cacheModeCA: newer(CU_FUNC_ATTRIBUTE_CACHE_MODE_CA),
            maxDynamicSharedSizeBytes: newer(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES),
            preferredShmemCarveout: newer(CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT),
            clusterDimMustBeSet: newer(CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET),
            requiredClusterWidth: newer(CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH),
            requiredClusterHeight: newer(CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT),
            requiredClusterDepth: newer(CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH),
            clusterSchedulingPolicyPreference: newer(CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE),
            nonPortableClusterSizeAllowed: newer(CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED),
            deviceNodeUpdateStatus: 0,
            sharedMemoryMode: 0,
            reserved: [0; 14],
        })
    }

    fn cudaFuncSetAttribute(named: *const c_void, attribute: CUfunction_attribute, value: c_int) {
        let driver = bind()?;
        driver.func_set_attribute(function(driver, named)?, attribute, value)
    }

    fn cudaFuncSetCacheConfig(named: *const c_void, config: CUfunc_cache) {
        let driver = bind()?;
        driver.func_set_cache_config(function(driver, named)?, config)
    }

    fn cudaFuncSetSharedMemConfig(named: *const c_void, config: CUsharedconfig) {
        let driver = bind()?;
        driver.func_set_shared_mem_config(function(driver, named)?, config)
    }

    fn cudaFuncGetName(name: Out<*const c_char>, named: *const c_void) {
        name.check()?;
        let driver = bind()?;
        driver.func_get_name(name.pointer(), function(driver, named)?)
    }

    fn cudaFuncGetParamInfo(
        named: *const c_void,
        index: usize,
        offset: Out<usize>,
        size: *mut usize,
    ) {
        offset.check()?;
        let driver = bind()?;
        driver.func_get_param_info(function(driver, named)?, index, offset.pointer(), size)
    }

    fn cudaGetFuncBySymbol(to: Out<CUfunction>, symbol: *const c_void) {
        to.check()?;
        let driver = bind()?;
        to.set(function(driver, symbol)?)
    }
}
