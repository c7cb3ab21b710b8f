//! Occupancy queries that are more than their arguments.

use super::launch::Config;
use super::{Call, generic};
use crate::handles::Kind;

const CALLBACK: &str = "a function of the application would have to run inside the driver";

/// `cuOccupancyMaxPotentialBlockSize[WithFlags]`: argument 3 may be a function of the application.
pub(crate) fn max_block_size(call: &Call) -> u32 {
    if call.arg(3) != 0 {
        call.refuse(CALLBACK)
    } else {
        generic(call)
    }
}

/// `cuOccupancyMaxPotentialClusterSize` and `cuOccupancyMaxActiveClusters`: result, function, configuration.
pub(crate) fn with_config(call: &Call) -> u32 {
    let translated =
        Config::read(call, call.arg(2)).and_then(|c| call.real(1, Kind::Function).map(|f| (c, f)));
    match translated {
        Ok((mut config, function)) => {
            config.with(|address| call.driver(&[call.arg(0), function, address]))
        }
        Err(status) => status,
    }
}
