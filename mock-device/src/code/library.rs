//! Libraries: programs that belong to no context, and their kernels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use cuda_abi::driver::result::*;

use super::{Attributes, Function, Module, Program};
use crate::call::Answer;
use crate::context::Context;
use crate::driver::Driver;
use crate::handles::Handle;
use crate::ptx::KernelInfo;
use crate::sync::lock;

/// A library.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) handle: Handle,
    pub(crate) program: Arc<Program>,
    /// In the order of the program; filled right after creation.
    kernels: Mutex<Vec<Arc<Kernel>>>,
    /// By generation of the context.
    modules: Mutex<HashMap<u64, Arc<Module>>>,
}

/// A kernel of a library.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) handle: Handle,
    index: usize,
    pub(crate) name: std::ffi::CString,
    library: Weak<Library>,
    /// By device.
    attributes: Mutex<HashMap<usize, Arc<Mutex<Attributes>>>>,
}

impl Library {
    /// Makes a library of a program.
    pub(crate) fn load(driver: &Driver, program: Program) -> Answer<Arc<Library>> {
        let library = driver.handles.insert(|handle| Library {
            handle,
            program: Arc::new(program),
            kernels: Mutex::default(),
            modules: Mutex::default(),
        })?;
        let infos = library.program.module.kernels();
        let mut kernels = Vec::with_capacity(infos.len());
        for (index, info) in infos.iter().enumerate() {
            kernels.push(driver.handles.insert(|handle| Kernel {
                handle,
                index,
                name: std::ffi::CString::new(info.name.as_str()).unwrap_or_default(),
                library: Arc::downgrade(&library),
                attributes: Mutex::default(),
            })?);
        }
        *lock(&library.kernels) = kernels;
        Ok(library)
    }

    /// Its kernels, in the order of the program.
    pub(crate) fn kernels(&self) -> Vec<Arc<Kernel>> {
        lock(&self.kernels).clone()
    }

    /// The kernel of that name.
    ///
    /// # Errors
    /// `CUDA_ERROR_NOT_FOUND`.
    pub(crate) fn kernel(&self, name: &str) -> Answer<Arc<Kernel>> {
        let infos = self.program.module.kernels();
        let index = infos.iter().position(|k| k.name == name);
        let kernels = lock(&self.kernels);
        index
            .and_then(|i| kernels.get(i))
            .cloned()
            .ok_or(CUDA_ERROR_NOT_FOUND)
    }

    /// The library in a context, placed there when first asked for.
    pub(crate) fn module(&self, driver: &Driver, context: &Arc<Context>) -> Answer<Arc<Module>> {
        let mut modules = lock(&self.modules);
        if let Some(module) = modules.get(&context.generation()) {
            return Ok(module.clone());
        }
        let module = Module::load(driver, context, &self.program, true)?;
        context.own_module(&module);
        modules.insert(context.generation(), module.clone());
        Ok(module)
    }

    /// Unloads it everywhere.
    pub(crate) fn unload(&self, driver: &Driver) {
        for module in std::mem::take(&mut *lock(&self.modules)).into_values() {
            if let Ok(context) = module.context() {
                context.wait();
                context.disown_module(module.handle);
                module.unload(driver);
            }
        }
        for kernel in std::mem::take(&mut *lock(&self.kernels)) {
            let _ = driver.handles.remove::<Kernel>(kernel.handle);
        }
        let _ = driver.handles.remove::<Library>(self.handle);
    }
}

impl Kernel {
    /// Its library.
    ///
    /// # Errors
    /// `CUDA_ERROR_INVALID_HANDLE` when that was unloaded.
    pub(crate) fn library(&self) -> Answer<Arc<Library>> {
        self.library.upgrade().ok_or(CUDA_ERROR_INVALID_HANDLE)
    }

    /// What the program says about it, by a function that is given it.
    pub(crate) fn with_info<T>(&self, body: impl FnOnce(&KernelInfo) -> Answer<T>) -> Answer<T> {
        let library = self.library()?;
        let infos = library.program.module.kernels();
        body(infos.get(self.index).ok_or(CUDA_ERROR_INVALID_HANDLE)?)
    }

    /// Its attributes on a device.
    pub(crate) fn attributes(&self, device: usize) -> Answer<Arc<Mutex<Attributes>>> {
        self.with_info(|info| {
            Ok(lock(&self.attributes)
                .entry(device)
                .or_insert_with(|| Arc::new(Mutex::new(Attributes::new(info))))
                .clone())
        })
    }

    /// The function in a context.
    pub(crate) fn function(
        &self,
        driver: &Driver,
        context: &Arc<Context>,
    ) -> Answer<Arc<Function>> {
        let module = self.library()?.module(driver, context)?;
        let attributes = self.attributes(context.device)?;
        let name = self.name.to_string_lossy();
        module.function_with(driver, &name, |_| attributes)
    }
}
