//! The interposer: between the application and the CUDA driver.
//!
//! It runs in the lower half. Driver calls come through the gate to [`dispatch`], which translates
//! handles, calls the real driver, and records what a restart has to do again. The application
//! sees virtual handles that never change, and device memory at addresses of our choosing.
//!
//! # The flow
//! - *Running*: [`init`], then [`dispatch`] for every call.
//! - *Checkpoint*: [`preflight`], [`drain`], [`snapshot_log`], [`device_regions`] and
//!   [`read_region`], then [`resume`].
//! - *Restart*, in a fresh process: [`init`], [`restore_log`]; with the application's memory back,
//!   [`restore_host`]; [`write_region`] for every region; [`restore_thread`] on each thread's host.
//!
//! Nothing here may keep a pointer into the application's memory beyond a call, hold a lock across
//! a driver call, or panic through to the application.

#[path = "../table/abi.rs"]
#[allow(dead_code, reason = "the gate belongs to the stub library")]
mod abi;
mod arena;
mod callbacks;
mod codec;
mod dispatch;
mod driver;
mod endings;
mod environment;
mod fast;
mod fork;
mod guest;
pub mod handles;
#[cfg(test)]
mod heap;
mod host;
mod image;
mod memory;
mod names;
mod outline;
mod quiesce;
mod record;
mod replay;
mod say;
mod session;
mod snapshot;
mod summary;
pub mod table;
mod threads;
mod variables;

pub use dispatch::dispatch;
pub use fork::{after_fork, before_fork};
pub use quiesce::{DrainError, Refusal, drain, preflight, resume};
pub use replay::{RestoreError, restore_host, restore_log, restore_thread};
pub use session::{Options, init};
pub use snapshot::{
    DeviceRegion, RegionError, SnapshotError, device_regions, read_region, snapshot_log,
    write_region,
};
pub use summary::{ContextSummary, Summary, summary};
