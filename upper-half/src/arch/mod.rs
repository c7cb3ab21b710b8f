//! What depends on the processor: system calls, entry and exit code, frames.
mod x86_64;
pub(crate) use x86_64::*;
