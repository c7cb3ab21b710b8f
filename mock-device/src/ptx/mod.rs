//! PTX on the CPU: parser, decoder and interpreter.
//!
//! The driver side of the mock hands this module PTX text and device memory;
//! it gets back kernels that it can launch. The flow is
//! [`Module::parse`] (text to decoded instructions, once) →
//! [`Module::instantiate`] (addresses of variables filled in) →
//! [`Kernel::launch`] (blocks run on worker threads, warp by warp).
//!
//! This module knows no CUDA handle, context or stream, makes no mapping and
//! owns no device memory: every access to global memory goes through
//! [`Memory`]. What it cannot execute is refused by [`Module::parse`], by
//! name; nothing unsupported is found at run time.

mod ast;
mod code;
mod cursor;
mod decode;
mod describe;
mod error;
mod exec;
mod launch;
mod lexer;
mod memory;
mod module;
mod parse_body;
mod parser;
mod types;

pub use error::{Fault, FaultKind, PtxError};
pub use launch::{Launch, LaunchStats};
pub use memory::{LOCAL_WINDOW, Memory, PARAM_WINDOW, Region, SHARED_WINDOW};
pub use module::{
    Executable, Kernel, KernelInfo, Linkage, Module, Param, Placement, Space, Variable,
};

/// Cores of this machine, at least 1.
pub(crate) fn cores() -> usize {
    static CORES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}
