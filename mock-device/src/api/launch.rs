//! Kernel launches.

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{get, get_all};
use crate::call::{Answer, exports};
use crate::driver::alive;
use crate::handles::Handle;
use crate::launch::{Shape, launch};

/// Launch attributes (`CUlaunchAttributeID`).
mod attribute {
    pub(super) const IGNORE: u32 = 0;
    pub(super) const ACCESS_POLICY_WINDOW: u32 = 1;
    pub(super) const COOPERATIVE: u32 = 2;
    pub(super) const SYNCHRONIZATION_POLICY: u32 = 3;
    pub(super) const CLUSTER_DIMENSION: u32 = 4;
    pub(super) const CLUSTER_SCHEDULING_POLICY_PREFERENCE: u32 = 5;
    pub(super) const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;
    pub(super) const PROGRAMMATIC_EVENT: u32 = 7;
    pub(super) const PRIORITY: u32 = 8;
    pub(super) const MEM_SYNC_DOMAIN_MAP: u32 = 9;
    pub(super) const MEM_SYNC_DOMAIN: u32 = 10;
    pub(super) const PREFERRED_CLUSTER_DIMENSION: u32 = 11;
    pub(super) const LAUNCH_COMPLETION_EVENT: u32 = 12;
    pub(super) const DEVICE_UPDATABLE_KERNEL_NODE: u32 = 13;
    pub(super) const PREFERRED_SHARED_MEMORY_CARVEOUT: u32 = 14;
}

/// What a launch attribute asks for.
fn apply(attribute: &CUlaunchAttribute, shape: &mut Shape) -> Answer {
    let refused = |what: &str| {
        crate::report(format_args!("cuLaunchKernelEx: {what} is not supported"));
        Err(CUDA_ERROR_NOT_SUPPORTED)
    };
    match attribute.id {
        attribute::COOPERATIVE => shape.cooperative = attribute.value.word(0) != 0,
        attribute::CLUSTER_DIMENSION | attribute::PREFERRED_CLUSTER_DIMENSION => {
            if attribute.value.cluster() != [1, 1, 1] {
                return refused("a cluster dimension");
            }
        }
        attribute::PROGRAMMATIC_EVENT => return refused("a programmatic event"),
        attribute::LAUNCH_COMPLETION_EVENT => return refused("a launch completion event"),
        attribute::DEVICE_UPDATABLE_KERNEL_NODE => {
            return refused("a device-updatable kernel node");
        }
        // Hints for caches, priorities and overlap: nothing changes what the
        // kernel computes.
        attribute::IGNORE
        | attribute::ACCESS_POLICY_WINDOW
        | attribute::SYNCHRONIZATION_POLICY
        | attribute::CLUSTER_SCHEDULING_POLICY_PREFERENCE
        | attribute::PROGRAMMATIC_STREAM_SERIALIZATION
        | attribute::PRIORITY
        | attribute::MEM_SYNC_DOMAIN_MAP
        | attribute::MEM_SYNC_DOMAIN
        | attribute::PREFERRED_SHARED_MEMORY_CARVEOUT => (),
        other => {
            crate::report(format_args!(
                "cuLaunchKernelEx: attribute {other} is not supported"
            ));
            return Err(CUDA_ERROR_NOT_SUPPORTED);
        }
    }
    Ok(())
}

exports! {
    4000 "cuLaunchKernel"
    fn cuLaunchKernel | cuLaunchKernel_ptsz [per_thread] (
        function: Handle,
        grid_x: u32, grid_y: u32, grid_z: u32,
        block_x: u32, block_y: u32, block_z: u32,
        shared: u32,
        stream: Handle,
        parameters: *const u64,
        extra: *const u64,
    ) {
        let shape = Shape {
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            shared,
            cooperative: false,
        };
        launch(alive()?, function, shape, (stream, per_thread), parameters, extra)
    }
    9000 "cuLaunchCooperativeKernel"
    fn cuLaunchCooperativeKernel | cuLaunchCooperativeKernel_ptsz [per_thread] (
        function: Handle,
        grid_x: u32, grid_y: u32, grid_z: u32,
        block_x: u32, block_y: u32, block_z: u32,
        shared: u32,
        stream: Handle,
        parameters: *const u64,
    ) {
        let shape = Shape {
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            shared,
            cooperative: true,
        };
        launch(alive()?, function, shape, (stream, per_thread), parameters, std::ptr::null())
    }
    11060 "cuLaunchKernelEx"
    fn cuLaunchKernelEx | cuLaunchKernelEx_ptsz [per_thread] (
        config: *const CUlaunchConfig,
        function: Handle,
        parameters: *const u64,
        extra: *const u64,
    ) {
        let config = get(config)?;
        let mut shape = Shape {
            grid: [config.gridDimX, config.gridDimY, config.gridDimZ],
            block: [config.blockDimX, config.blockDimY, config.blockDimZ],
            shared: config.sharedMemBytes,
            cooperative: false,
        };
        for attribute in get_all(config.attrs.cast_const(), config.numAttrs as usize)? {
            apply(&attribute, &mut shape)?;
        }
        let lane = (config.hStream as u64, per_thread);
        launch(alive()?, function, shape, lane, parameters, extra)
    }
}
