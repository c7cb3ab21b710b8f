//! Modules: programs placed in a context.

#![allow(unsafe_code, reason = "writes the initial values of variables")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use cuda_abi::driver::result::*;

use super::{Attributes, Function, Program};
use crate::call::Answer;
use crate::context::Context;
use crate::driver::Driver;
use crate::handles::Handle;
use crate::memory::{Kind, Mapping};
use crate::ptx::{Executable, Linkage, Placement, Space, Variable};
use crate::sync::lock;

/// A module.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) handle: Handle,
    program: Arc<Program>,
    executable: Executable,
    addresses: Vec<u64>,
    /// Where its code lies.
    code: u64,
    /// Starts of the memory that holds the variables.
    segments: Vec<u64>,
    sm: u32,
    of_library: bool,
    context: Weak<Context>,
    generation: u64,
    functions: Mutex<HashMap<String, Arc<Function>>>,
}

/// Addresses of a module's code, 16 bytes a function: entries and device functions.
const CODE: u64 = 1 << 20;

/// Where the variables of one space go.
#[derive(Default)]
struct Segment {
    size: u64,
}

impl Segment {
    fn place(&mut self, variable: &Variable) -> u64 {
        // As nvcc's linker does at least; keeps vector accesses aligned.
        let align = variable.align.max(16);
        let at = self.size.next_multiple_of(align);
        self.size = at + variable.size.max(1);
        at
    }
}

impl Module {
    /// Places a program in a context.
    ///
    /// # Errors
    /// Out of memory, and `CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND` for a
    /// variable that is declared and nowhere defined.
    pub(crate) fn load(
        driver: &Driver,
        context: &Arc<Context>,
        program: &Arc<Program>,
        of_library: bool,
    ) -> Answer<Arc<Module>> {
        let variables = program.module.variables();
        if let Some(missing) = variables.iter().find(|v| v.linkage == Linkage::Extern) {
            crate::report(format_args!(
                "variable `{}` is nowhere defined",
                missing.name
            ));
            return Err(CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND);
        }
        let (mut writable, mut constant) = (Segment::default(), Segment::default());
        let offsets: Vec<u64> = variables
            .iter()
            .map(|v| match v.space {
                Space::Global => writable.place(v),
                Space::Const => constant.place(v),
            })
            .collect();
        let mut segments = Vec::new();
        let mut enter = |size: u64, kind: Kind| -> Answer<Option<Arc<Mapping>>> {
            if size == 0 {
                return Ok(None);
            }
            let owner = context.generation();
            let segment = driver
                .space
                .add_variables(driver, context.device, owner, size, kind)?;
            segments.push(segment.start);
            Ok(Some(segment))
        };
        let writable = enter(writable.size, Kind::Variables)?;
        let constant = enter(constant.size, Kind::Constants)?;
        let homes: Vec<(&Arc<Mapping>, u64)> = variables
            .iter()
            .zip(&offsets)
            .filter_map(|(v, offset)| {
                let home = match v.space {
                    Space::Global => writable.as_ref(),
                    Space::Const => constant.as_ref(),
                };
                Some((home?, *offset))
            })
            .collect();
        let addresses: Vec<u64> = homes.iter().map(|(m, at)| m.start + at).collect();
        let code = driver.space.code_address(CODE)?;
        let executable = program
            .module
            .instantiate(Placement {
                variables: &addresses,
                code,
            })
            .map_err(|error| {
                crate::report(format_args!("module load: {error}"));
                CUDA_ERROR_INVALID_IMAGE
            })?;
        for (index, (home, offset)) in homes.iter().enumerate() {
            let bytes = executable.initial_bytes(index);
            let to = home.backing.start().wrapping_add(*offset as usize);
            // SAFETY: the segment was sized for all variables, this one of
            // `size` bytes at `offset` included; nobody else has it yet.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        }
        driver.handles.insert(|handle| Module {
            handle,
            program: program.clone(),
            executable,
            addresses,
            code,
            segments,
            sm: driver.config.sm,
            of_library,
            context: Arc::downgrade(context),
            generation: context.generation(),
            functions: Mutex::default(),
        })
    }

    /// PTX version, PTX target, and architecture of the device.
    pub(crate) fn versions(&self) -> (u32, u32, u32) {
        (self.program.version, self.program.target, self.sm)
    }

    /// Whether it belongs to a library, which alone may unload it.
    pub(crate) fn of_library(&self) -> bool {
        self.of_library
    }

    /// The program.
    pub(crate) fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The context it was loaded in.
    pub(crate) fn context(&self) -> Answer<Arc<Context>> {
        self.context
            .upgrade()
            .filter(|c| !c.is_destroyed() && c.generation() == self.generation)
            .ok_or(CUDA_ERROR_CONTEXT_IS_DESTROYED)
    }

    /// The function of that name; always the same one.
    ///
    /// # Errors
    /// `CUDA_ERROR_NOT_FOUND`.
    pub(crate) fn function(self: &Arc<Self>, driver: &Driver, name: &str) -> Answer<Arc<Function>> {
        self.function_with(driver, name, |info| {
            Arc::new(Mutex::new(Attributes::new(info)))
        })
    }

    /// As [`Module::function`], with the attributes that a new one shares.
    pub(crate) fn function_with(
        self: &Arc<Self>,
        driver: &Driver,
        name: &str,
        attributes: impl FnOnce(&crate::ptx::KernelInfo) -> Arc<Mutex<Attributes>>,
    ) -> Answer<Arc<Function>> {
        let mut functions = lock(&self.functions);
        if let Some(function) = functions.get(name) {
            return Ok(function.clone());
        }
        let kernel = self.executable.kernel(name).ok_or(CUDA_ERROR_NOT_FOUND)?;
        let shared = attributes(kernel.info());
        let function = driver
            .handles
            .insert(|handle| Function::new(handle, self, kernel, shared))?;
        functions.insert(name.to_owned(), function.clone());
        Ok(function)
    }

    /// Address and size of a variable.
    ///
    /// # Errors
    /// `CUDA_ERROR_NOT_FOUND`.
    pub(crate) fn variable(&self, name: &str) -> Answer<(u64, u64)> {
        let variables = self.program.module.variables();
        let index = variables.iter().position(|v| v.name == name);
        let index = index.ok_or(CUDA_ERROR_NOT_FOUND)?;
        let address = self.addresses.get(index).ok_or(CUDA_ERROR_NOT_FOUND)?;
        Ok((*address, variables[index].size))
    }

    /// Makes the handles of its functions and its own invalid.
    pub(crate) fn forget(&self, driver: &Driver) {
        for function in std::mem::take(&mut *lock(&self.functions)).into_values() {
            let _ = driver.handles.remove::<Function>(function.handle);
        }
        let _ = driver.handles.remove::<Module>(self.handle);
        driver.space.give_code(self.code, CODE);
    }

    /// Unloads it: nothing may use it any more.
    pub(crate) fn unload(&self, driver: &Driver) {
        self.forget(driver);
        for start in &self.segments {
            driver.space.remove(*start, |m| {
                matches!(m.kind, Kind::Variables | Kind::Constants)
            });
        }
    }
}
