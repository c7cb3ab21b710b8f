//! x86-64: the only supported processor.
mod entry;
mod frame;
mod segments;
mod syscall;
pub(crate) use entry::*;
pub(crate) use frame::*;
pub(crate) use segments::*;
pub(crate) use syscall::*;
