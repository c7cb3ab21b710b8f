//! Physical memory of `cuMemCreate`: memory without an address.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use cuda_abi::driver::CUmemAllocationProp;

use super::Backing;
use crate::handles::Handle;

/// What a `CUmemGenericAllocationHandle` stands for.
#[derive(Debug)]
pub(crate) struct Physical {
    pub(crate) handle: Handle,
    pub(crate) size: u64,
    pub(crate) properties: Properties,
    pub(crate) device: usize,
    pub(crate) backing: Arc<Backing>,
    /// Releases that are still due.
    pub(crate) references: AtomicU32,
}

/// What it was created with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Properties(pub(crate) CUmemAllocationProp);

#[allow(unsafe_code, reason = "a pointer that nobody follows")]
// SAFETY: the one pointer inside is a Windows security descriptor, which this
// driver only hands back.
unsafe impl Send for Properties {}
#[allow(unsafe_code, reason = "a pointer that nobody follows")]
// SAFETY: as above.
unsafe impl Sync for Properties {}
