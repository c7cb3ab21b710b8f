//! Launching kernels: checks, parameters, and the run on a stream.

#![allow(unsafe_code, reason = "reads the parameters that the caller points to")]

use std::sync::Arc;

use cuda_abi::driver::result::*;
use cuda_abi::driver::{
    CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END,
    CU_LIMIT_STACK_SIZE,
};

use crate::call::Answer;
use crate::code::{Function, Kernel};
use crate::context::Context;
use crate::device::{
    BLOCKS_PER_SM, MAX_BLOCK_THREADS, REGISTERS_PER_SM, SHARED_OPTIN, SHARED_PER_SM, SMS,
    THREADS_PER_SM,
};
use crate::driver::Driver;
use crate::handles::Handle;
use crate::memory::View;
use crate::ptx::{self, FaultKind, KernelInfo};
use crate::stream::{self, Work};
use crate::sync::lock;

/// The shape of a launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared: u32,
    pub(crate) cooperative: bool,
}

/// The function that a `CUfunction` means, which may also be a kernel.
pub(crate) fn function(
    driver: &Driver,
    handle: Handle,
    context: &Arc<Context>,
) -> Answer<Arc<Function>> {
    if let Ok(kernel) = driver.handles.get::<Kernel>(handle) {
        return kernel.function(driver, context);
    }
    driver.handles.get::<Function>(handle)
}

/// Launches a kernel.
pub(crate) fn launch(
    driver: &'static Driver,
    handle: Handle,
    shape: Shape,
    (stream, per_thread): (Handle, bool),
    parameters: *const u64,
    extra: *const u64,
) -> Answer {
    let (context, stream) = stream::resolve(driver, stream, per_thread)?;
    let function = function(driver, handle, &context)?;
    if !Arc::ptr_eq(&function.module()?.context()?, &context) {
        return Err(CUDA_ERROR_INVALID_HANDLE);
    }
    check(&function, shape)?;
    let parameters = gather(function.kernel.info(), parameters, extra)?;
    let number = driver.next_launch();
    let fails = driver.config.fail_launch == Some(number);
    context.submit(
        &stream,
        Vec::new(),
        Work::device(move |context| {
            if fails {
                crate::report(format_args!(
                    "launch {number} fails, as the switch fail-launch says"
                ));
                return Err(CUDA_ERROR_LAUNCH_FAILED);
            }
            run(driver, context, &function, shape, &parameters, number)
        }),
        false,
    );
    Ok(())
}

fn check(function: &Function, shape: Shape) -> Answer {
    let info = function.kernel.info();
    let [x, y, z] = shape.block;
    let threads = u64::from(x) * u64::from(y) * u64::from(z);
    let [gx, gy, gz] = shape.grid;
    if threads == 0
        || threads > u64::from(MAX_BLOCK_THREADS)
        || z > 64
        || gx == 0
        || gx > i32::MAX as u32
        || !(1..=65535).contains(&gy)
        || !(1..=65535).contains(&gz)
    {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    if info
        .required_block
        .is_some_and(|block| block != shape.block)
    {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    if threads > u64::from(info.max_threads) {
        return Err(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    }
    let allowed = lock(&function.attributes).max_dynamic_shared;
    if shape.shared > allowed || info.shared_size.saturating_add(shape.shared) > SHARED_OPTIN {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    if shape.cooperative {
        let resident = u64::from(resident_blocks(info, threads as u32, shape.shared) * SMS);
        if u64::from(gx) * u64::from(gy) * u64::from(gz) > resident {
            return Err(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
        }
    }
    Ok(())
}

/// How many blocks of a kernel a multiprocessor holds at once.
pub(crate) fn resident_blocks(info: &KernelInfo, threads: u32, dynamic: u32) -> u32 {
    if threads == 0 || threads > MAX_BLOCK_THREADS || threads > info.max_threads {
        return 0;
    }
    let warps = threads.div_ceil(32);
    let registers = info.registers.max(16).next_multiple_of(8) * 32 * warps;
    let shared = info.shared_size.saturating_add(dynamic);
    if shared > SHARED_OPTIN {
        return 0;
    }
    BLOCKS_PER_SM
        .min(THREADS_PER_SM / (warps * 32))
        .min(REGISTERS_PER_SM / registers)
        .min(SHARED_PER_SM / (shared + 1024))
}

/// The parameter buffer, from an array of pointers or from `extra`.
fn gather(info: &KernelInfo, parameters: *const u64, extra: *const u64) -> Answer<Box<[u8]>> {
    let mut buffer = vec![0u8; info.params_size as usize];
    match (parameters.is_null(), extra.is_null()) {
        (false, false) => return Err(CUDA_ERROR_INVALID_VALUE),
        (false, true) => {
            for (i, parameter) in info.params.iter().enumerate() {
                // SAFETY: the caller passes one pointer for each parameter.
                let from = unsafe { parameters.add(i).read() };
                if from == 0 {
                    return Err(CUDA_ERROR_INVALID_VALUE);
                }
                let (at, size) = (parameter.offset as usize, parameter.size as usize);
                let to = buffer
                    .get_mut(at..at + size)
                    .ok_or(CUDA_ERROR_INVALID_VALUE)?;
                read_bytes(from, to);
            }
        }
        (true, false) => {
            let (from, size) = read_extra(extra)?;
            if size < buffer.len() || (from == 0 && size > 0) {
                return Err(CUDA_ERROR_INVALID_VALUE);
            }
            read_bytes(from, &mut buffer);
        }
        (true, true) if buffer.is_empty() => (),
        (true, true) => return Err(CUDA_ERROR_INVALID_VALUE),
    }
    Ok(buffer.into_boxed_slice())
}

fn read_bytes(from: u64, to: &mut [u8]) {
    let from: *const u8 = std::ptr::with_exposed_provenance(from as usize);
    // SAFETY: the caller of the API points to the parameter's bytes; `to` is
    // ours, and as long.
    unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
}

/// Address and size of the packed parameters.
fn read_extra(extra: *const u64) -> Answer<(u64, usize)> {
    let (mut buffer, mut size) = (0, 0);
    // Twice two entries and an end is all there can be.
    for i in (0..6).step_by(2) {
        // SAFETY: the list goes on until its end marker.
        let key = unsafe { extra.add(i).read() };
        if key as usize == CU_LAUNCH_PARAM_END {
            return Ok((buffer, size));
        }
        // SAFETY: every key but the end has a value.
        let value = unsafe { extra.add(i + 1).read() };
        match key as usize {
            CU_LAUNCH_PARAM_BUFFER_POINTER => buffer = value,
            CU_LAUNCH_PARAM_BUFFER_SIZE if value != 0 => {
                let at: *const usize = std::ptr::with_exposed_provenance(value as usize);
                // SAFETY: the value points to a size_t.
                size = unsafe { at.read() };
            }
            _ => return Err(CUDA_ERROR_INVALID_VALUE),
        }
    }
    Err(CUDA_ERROR_INVALID_VALUE)
}

/// Runs the kernel; on a pool thread.
fn run(
    driver: &Driver,
    context: &Arc<Context>,
    function: &Function,
    shape: Shape,
    parameters: &[u8],
    number: u64,
) -> Answer {
    context.linger(driver.config.slow_kernels);
    let (peers, stack) = {
        let settings = lock(&context.settings);
        (
            settings.peers.clone(),
            settings.limits[CU_LIMIT_STACK_SIZE as usize],
        )
    };
    let view = View::new(&driver.space, context.device, peers);
    let mut launch = ptx::Launch::new(shape.grid, shape.block, parameters, &view, context.stop());
    launch.dynamic_shared = shape.shared;
    launch.cooperative = shape.cooperative;
    launch.grid_id = number;
    launch.stack_limit = launch
        .stack_limit
        .max(u32::try_from(stack).unwrap_or(u32::MAX));
    let workspace = match shape.cooperative {
        true => Some(Workspace::new(driver, context)?),
        false => None,
    };
    launch.workspace = workspace.as_ref().map_or(0, |w| w.0);
    match function.kernel.launch(&launch) {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind == FaultKind::Stopped => Ok(()),
        Err(fault) => {
            crate::report(format_args!("{fault}"));
            Err(code_of(fault.kind))
        }
    }
}

/// Where the blocks of a cooperative launch meet, for the time of the launch.
struct Workspace<'a>(u64, &'a Driver);

impl Workspace<'_> {
    fn new<'a>(driver: &'a Driver, context: &Context) -> Answer<Workspace<'a>> {
        let start = driver.space.allocate(driver, context.device, 0, 256)?;
        Ok(Workspace(start, driver))
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        self.1.space.remove(self.0, |_| true);
    }
}

fn code_of(kind: FaultKind) -> CUresult {
    match kind {
        FaultKind::IllegalAddress { .. } => CUDA_ERROR_ILLEGAL_ADDRESS,
        FaultKind::MisalignedAddress { .. } => CUDA_ERROR_MISALIGNED_ADDRESS,
        FaultKind::Assert => CUDA_ERROR_ASSERT,
        FaultKind::NoHeap => CUDA_ERROR_NOT_SUPPORTED,
        FaultKind::InvalidPc { .. } => CUDA_ERROR_INVALID_PC,
        FaultKind::Deadlock => CUDA_ERROR_LAUNCH_TIMEOUT,
        FaultKind::IllegalInstruction => CUDA_ERROR_ILLEGAL_INSTRUCTION,
        FaultKind::BadLaunch => CUDA_ERROR_INVALID_VALUE,
        FaultKind::Trap | FaultKind::StackOverflow | FaultKind::Stopped => CUDA_ERROR_LAUNCH_FAILED,
    }
}
