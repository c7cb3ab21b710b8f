//! How many blocks fit.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_int, c_uint, c_void};

use cuda_abi::runtime::CudaLaunchConfig;

use crate::context::bind;
use crate::export::{In, Out};
use crate::function::function;
use crate::launch::driver_config;

export! {
    fn cudaOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: Out<c_int>,
        named: *const c_void,
        block_size: c_int,
        shared: usize,
    ) {
        blocks.check()?;
        let driver = bind()?;
        driver.occupancy_max_active_blocks(
            blocks.pointer(), function(driver, named)?, block_size, shared, 0,
        )
    }

    fn cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: Out<c_int>,
        named: *const c_void,
        block_size: c_int,
        shared: usize,
        flags: c_uint,
    ) {
        blocks.check()?;
        let driver = bind()?;
        driver.occupancy_max_active_blocks(
            blocks.pointer(), function(driver, named)?, block_size, shared, flags,
        )
    }

    fn cudaOccupancyAvailableDynamicSMemPerBlock(
        bytes: Out<usize>,
        named: *const c_void,
        blocks: c_int,
        block_size: c_int,
    ) {
        bytes.check()?;
        let driver = bind()?;
        driver.occupancy_available_shared(
            bytes.pointer(), function(driver, named)?, blocks, block_size,
        )
    }

    fn cudaOccupancyMaxPotentialClusterSize(
        size: Out<c_int>,
        named: *const c_void,
        config: In<CudaLaunchConfig>,
    ) {
        size.check()?;
        let driver = bind()?;
        let config = driver_config(&config.get()?)?;
        driver.occupancy_max_cluster(size.pointer(), function(driver, named)?, &config)
    }

    fn cudaOccupancyMaxActiveClusters(
        clusters: Out<c_int>,
        named: *const c_void,
        config: In<CudaLaunchConfig>,
    ) {
        clusters.check()?;
        let driver = bind()?;
        let config = driver_config(&config.get()?)?;
        driver.occupancy_max_active_clusters(clusters.pointer(), function(driver, named)?, &config)
    }
}
