//! Kernel launches. Parameters are passed on as they are: the kernel's parameter layout is the
//! driver's to know, and both halves share the address space.

use cuda_abi::driver::{CUDA_ERROR_INVALID_VALUE, CUDA_SUCCESS, CUlaunchAttribute, CUlaunchConfig};

use super::{Call, library, real_of};
use crate::driver;
use crate::guest;
use crate::handles::Kind;

/// `cuLaunchKernel` and `cuLaunchCooperativeKernel`: function, 3 + 3 dimensions, shared memory,
/// stream, parameters, and `extra` with the first.
pub(crate) fn kernel(call: &Call) -> u32 {
    let mut slots = [0u64; 11];
    slots[..call.args.len()].copy_from_slice(call.args);
    let handles = call
        .real(0, Kind::Function)
        .and_then(|f| call.real(8, Kind::Stream).map(|s| (f, s)));
    match handles {
        Ok((function, stream)) => (slots[0], slots[8]) = (function, stream),
        Err(status) => return status,
    }
    let status = call.driver(&slots[..call.args.len()]);
    if status == CUDA_SUCCESS.0 {
        library::used(call, call.arg(0));
    }
    status
}

/// Launch attributes whose value starts with an event: programmatic and launch completion events.
const WITH_EVENT: [u32; 2] = [7, 12];

/// A launch configuration with the driver's handles; the attributes are kept beside it.
pub(crate) struct Config {
    config: CUlaunchConfig,
    attributes: Vec<CUlaunchAttribute>,
}

impl Config {
    /// Reads and translates the application's.
    pub(crate) fn read(call: &Call, pointer: u64) -> Result<Self, u32> {
        if pointer == 0 {
            return Err(CUDA_ERROR_INVALID_VALUE.0);
        }
        let mut config: CUlaunchConfig = guest::read(pointer);
        config.hStream = real_of(call.session, config.hStream as u64, Kind::Stream)? as *mut _;
        let mut attributes = Vec::new();
        if !config.attrs.is_null() && config.numAttrs > 0 {
            let size = size_of::<CUlaunchAttribute>() as u64;
            let all = (0..u64::from(config.numAttrs))
                .map(|i| guest::read(config.attrs as u64 + i * size));
            attributes = all.collect();
            for attribute in attributes
                .iter_mut()
                .filter(|a: &&mut CUlaunchAttribute| WITH_EVENT.contains(&a.id))
            {
                attribute.value.pad[0] =
                    real_of(call.session, attribute.value.pad[0], Kind::Event)?;
            }
        }
        Ok(Self { config, attributes })
    }

    /// Calls `work` with the address of the translated configuration.
    pub(crate) fn with<R>(&mut self, work: impl FnOnce(u64) -> R) -> R {
        if !self.attributes.is_empty() {
            self.config.attrs = self.attributes.as_mut_ptr();
        }
        work(driver::input(&self.config))
    }
}

/// `cuLaunchKernelEx`: configuration, function, parameters, extra.
pub(crate) fn kernel_ex(call: &Call) -> u32 {
    let translated =
        Config::read(call, call.arg(0)).and_then(|c| call.real(1, Kind::Function).map(|f| (c, f)));
    let (mut config, function) = match translated {
        Ok(both) => both,
        Err(status) => return status,
    };
    let status = config.with(|address| call.driver(&[address, function, call.arg(2), call.arg(3)]));
    if status == CUDA_SUCCESS.0 {
        library::used(call, call.arg(1));
    }
    status
}
