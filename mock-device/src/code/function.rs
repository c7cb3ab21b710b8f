//! Functions: kernels placed in a context.

use std::sync::{Arc, Mutex, Weak};

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::Module;
use crate::call::Answer;
use crate::device::{MAX_BLOCK_THREADS, SHARED_DEFAULT, SHARED_OPTIN};
use crate::handles::Handle;
use crate::ptx::{self, KernelInfo};
use crate::sync::lock;

/// What a program sets on a function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) max_dynamic_shared: u32,
    carveout: i32,
    nonportable_cluster: i32,
    cluster_policy: i32,
}

impl Attributes {
    /// Those of a function that nobody has changed.
    pub(crate) fn new(info: &KernelInfo) -> Attributes {
        Attributes {
            max_dynamic_shared: SHARED_DEFAULT.saturating_sub(info.shared_size),
            carveout: CU_SHAREDMEM_CARVEOUT_DEFAULT,
            nonportable_cluster: 0,
            cluster_policy: 0,
        }
    }

    /// Changes one.
    ///
    /// # Errors
    /// `CUDA_ERROR_INVALID_VALUE` for a value out of range and for attributes
    /// that cannot be set; cluster sizes are refused.
    pub(crate) fn set(&mut self, info: &KernelInfo, attribute: u32, value: i32) -> Answer {
        match attribute {
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                let value = u32::try_from(value).map_err(|_| CUDA_ERROR_INVALID_VALUE)?;
                if value > SHARED_OPTIN.saturating_sub(info.shared_size) {
                    return Err(CUDA_ERROR_INVALID_VALUE);
                }
                self.max_dynamic_shared = value;
            }
            CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT => {
                if !(-1..=100).contains(&value) {
                    return Err(CUDA_ERROR_INVALID_VALUE);
                }
                self.carveout = value;
            }
            CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED => self.nonportable_cluster = value,
            CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE => self.cluster_policy = value,
            CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH
            | CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT
            | CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH => {
                if value > 1 {
                    return Err(CUDA_ERROR_NOT_SUPPORTED);
                }
            }
            _ => return Err(CUDA_ERROR_INVALID_VALUE),
        }
        Ok(())
    }

    /// Reads one.
    ///
    /// # Errors
    /// `CUDA_ERROR_INVALID_VALUE` for one that does not exist.
    pub(crate) fn get(
        &self,
        info: &KernelInfo,
        (version, target, sm): (u32, u32, u32),
        attribute: u32,
    ) -> Answer<i32> {
        let value = match attribute {
            CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK => {
                info.max_threads.min(MAX_BLOCK_THREADS) as i32
            }
            CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES => info.shared_size as i32,
            CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES => 0,
            CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES => info.local_size as i32,
            CU_FUNC_ATTRIBUTE_NUM_REGS => info.registers as i32,
            // As documented: the architecture of the PTX, and of what the
            // JIT made of it for this device.
            CU_FUNC_ATTRIBUTE_PTX_VERSION => {
                debug_assert!(version > 0);
                target as i32
            }
            CU_FUNC_ATTRIBUTE_BINARY_VERSION => sm as i32,
            CU_FUNC_ATTRIBUTE_CACHE_MODE_CA => 0,
            CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES => self.max_dynamic_shared as i32,
            CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT => self.carveout,
            CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET
            | CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH
            | CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT
            | CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH => 0,
            CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED => self.nonportable_cluster,
            CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE => self.cluster_policy,
            _ => return Err(CUDA_ERROR_INVALID_VALUE),
        };
        Ok(value)
    }
}

/// A kernel that can be launched in one context.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) handle: Handle,
    pub(crate) kernel: ptx::Kernel,
    /// The name, closed by NUL for `cuFuncGetName`.
    pub(crate) name: std::ffi::CString,
    pub(crate) attributes: Arc<Mutex<Attributes>>,
    module: Weak<Module>,
}

impl Function {
    pub(crate) fn new(
        handle: Handle,
        module: &Arc<Module>,
        kernel: ptx::Kernel,
        attributes: Arc<Mutex<Attributes>>,
    ) -> Function {
        Function {
            handle,
            name: std::ffi::CString::new(kernel.info().name.as_str()).unwrap_or_default(),
            kernel,
            attributes,
            module: Arc::downgrade(module),
        }
    }

    /// The module it belongs to.
    ///
    /// # Errors
    /// `CUDA_ERROR_INVALID_HANDLE` when that was unloaded.
    pub(crate) fn module(&self) -> Answer<Arc<Module>> {
        self.module.upgrade().ok_or(CUDA_ERROR_INVALID_HANDLE)
    }

    /// The value of an attribute.
    pub(crate) fn attribute(&self, attribute: u32) -> Answer<i32> {
        let versions = self.module()?.versions();
        lock(&self.attributes).get(self.kernel.info(), versions, attribute)
    }
}
