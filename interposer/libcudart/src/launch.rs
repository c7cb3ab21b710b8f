//! Launching kernels and host functions.
#![allow(
    unsafe_code,
    reason = "exports symbols by name and keeps a stack of launch shapes"
)]
#![allow(
    non_snake_case,
    reason = "the names are the runtime API's and the compiler's"
)]

use core::cell::RefCell;
use core::ffi::{c_uint, c_void};

use cuda_abi::driver::*;
use cuda_abi::runtime::*;

use crate::context::{bind, current_device};
use crate::driver::Driver;
use crate::export::{Answer, In, Out, per_thread};
use crate::register::kernel;

/// The shape between `<<<` and `>>>`.
#[derive(Clone, Copy)]
struct Shape {
    grid: Dim3,
    block: Dim3,
    shared: usize,
    stream: CUstream,
}

thread_local! {
    /// A stack, because the arguments of one launch may contain another.
    static SHAPES: RefCell<Vec<Shape>> = const { RefCell::new(Vec::new()) };
}

/// Zero tells the compiler's code to go on to the kernel's stub.
#[unsafe(no_mangle)]
extern "C" fn __cudaPushCallConfiguration(
    grid: Dim3,
    block: Dim3,
    shared: usize,
    stream: CUstream,
) -> c_uint {
    let shape = Shape {
        grid,
        block,
        shared,
        stream,
    };
    SHAPES.with_borrow_mut(|shapes| shapes.push(shape));
    0
}

export! {
    fn __cudaPopCallConfiguration(
        grid: Out<Dim3>,
        block: Out<Dim3>,
        shared: Out<usize>,
        stream: Out<CUstream>,
    ) {
        let shape = SHAPES.with_borrow_mut(Vec::pop).ok_or(cudaErrorMissingConfiguration)?;
        grid.set(shape.grid)?;
        block.set(shape.block)?;
        shared.set(shape.shared)?;
        stream.set(shape.stream)
    }
}

/// A wrong shape has an error of its own in the runtime; the driver calls it an invalid value.
fn explain(driver: &Driver, error: CudaError, grid: Dim3, block: Dim3) -> CudaError {
    if error != cudaErrorInvalidValue {
        return error;
    }
    let limit = |attribute| {
        let mut value = 0;
        let device = current_device()?;
        driver.device_get_attribute(&mut value, attribute, device)?;
        Ok::<u64, CudaError>(u64::try_from(value).unwrap_or(0))
    };
    let within = |n: u32, attribute| n > 0 && limit(attribute).is_ok_and(|max| u64::from(n) <= max);
    let threads = u64::from(block.x) * u64::from(block.y) * u64::from(block.z);
    let good = within(grid.x, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X)
        && within(grid.y, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y)
        && within(grid.z, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z)
        && within(block.x, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X)
        && within(block.y, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y)
        && within(block.z, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z)
        && limit(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK).is_ok_and(|max| threads <= max);
    if good {
        error
    } else {
        cudaErrorInvalidConfiguration
    }
}

/// Launches a kernel. The driver takes a library's kernel where it takes a function.
fn launch(kernel: CUkernel, shape: Shape, params: *mut *mut c_void, cooperative: bool) -> Answer {
    let driver = bind()?;
    let Shape {
        grid,
        block,
        shared,
        stream,
    } = shape;
    let shared = c_uint::try_from(shared).map_err(|_| cudaErrorInvalidValue)?;
    let (g, b) = (grid, block);
    let answer = if cooperative {
        driver
            .launch_cooperative_kernel(kernel, g.x, g.y, g.z, b.x, b.y, b.z, shared, stream, params)
    } else {
        let extra = core::ptr::null_mut();
        driver.launch_kernel(
            kernel, g.x, g.y, g.z, b.x, b.y, b.z, shared, stream, params, extra,
        )
    };
    answer.map_err(|error| explain(driver, error, grid, block))
}

/// Launches by host stub or kernel.
fn launch_named(
    function: *const c_void,
    shape: Shape,
    params: *mut *mut c_void,
    cooperative: bool,
) -> Answer {
    let kernel = kernel(bind()?, function)?;
    launch(kernel, shape, params, cooperative)
}

fn launch_config(
    config: CudaLaunchConfig,
    function: *const c_void,
    params: *mut *mut c_void,
) -> Answer {
    let driver = bind()?;
    let kernel = kernel(driver, function)?;
    let driver_config = driver_config(&config)?;
    driver
        .launch_kernel_ex(&driver_config, kernel, params, core::ptr::null_mut())
        .map_err(|error| explain(driver, error, config.gridDim, config.blockDim))
}

/// The driver's form of a launch configuration.
pub(crate) fn driver_config(config: &CudaLaunchConfig) -> Answer<CUlaunchConfig> {
    let CudaLaunchConfig {
        gridDim: grid,
        blockDim: block,
        ..
    } = *config;
    Ok(CUlaunchConfig {
        gridDimX: grid.x,
        gridDimY: grid.y,
        gridDimZ: grid.z,
        blockDimX: block.x,
        blockDimY: block.y,
        blockDimZ: block.z,
        sharedMemBytes: u32::try_from(config.dynamicSmemBytes)
            .map_err(|_| cudaErrorInvalidValue)?,
        hStream: config.stream,
        attrs: config.attrs,
        numAttrs: config.numAttrs,
    })
}

export_on_stream! {
    fn cudaLaunchKernel, cudaLaunchKernel_ptsz(
        function: *const c_void,
        grid: Dim3,
        block: Dim3,
        params: *mut *mut c_void,
        shared: usize,
        stream: CUstream,
    ) on stream {
        launch_named(function, Shape { grid, block, shared, stream }, params, false)
    }

    fn cudaLaunchCooperativeKernel, cudaLaunchCooperativeKernel_ptsz(
        function: *const c_void,
        grid: Dim3,
        block: Dim3,
        params: *mut *mut c_void,
        shared: usize,
        stream: CUstream,
    ) on stream {
        launch_named(function, Shape { grid, block, shared, stream }, params, true)
    }

    fn __cudaLaunchKernel, __cudaLaunchKernel_ptsz(
        kernel: CUkernel,
        grid: Dim3,
        block: Dim3,
        params: *mut *mut c_void,
        shared: usize,
        stream: CUstream,
    ) on stream {
        if kernel.is_null() {
            // Its lookup failed, and that error is what the program must see.
            return Err(last_lookup());
        }
        launch(kernel, Shape { grid, block, shared, stream }, params, false)
    }

    fn cudaLaunchHostFunc, cudaLaunchHostFunc_ptsz(
        stream: CUstream,
        function: CUhostFn,
        data: *mut c_void,
    ) on stream {
        if function.is_none() {
            return Err(cudaErrorInvalidValue);
        }
        bind()?.launch_host_func(stream, function, data)
    }
}

export! {
    fn cudaLaunchKernelExC(
        config: In<CudaLaunchConfig>,
        function: *const c_void,
        params: *mut *mut c_void,
    ) {
        launch_config(config.get()?, function, params)
    }

    fn cudaLaunchKernelExC_ptsz(
        config: In<CudaLaunchConfig>,
        function: *const c_void,
        params: *mut *mut c_void,
    ) {
        let mut config = config.get()?;
        config.stream = per_thread(config.stream);
        launch_config(config, function, params)
    }
}

/// The error to give for a kernel that was looked up in vain: the thread's last one, if any.
fn last_lookup() -> CudaError {
    match crate::error::last() {
        cudaSuccess => cudaErrorInvalidDeviceFunction,
        error => error,
    }
}
