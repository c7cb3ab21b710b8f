//! One entry of the address table.

use std::sync::Arc;

use cuda_abi::driver::*;

use super::addresses::BLOCK;
use super::{Backing, Physical};
use crate::config::MAX_DEVICES;

/// What an entry is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// `cuMemAlloc` and its like.
    Block,
    /// Variables of a module that kernels may write.
    Variables,
    /// Constants of a module: the host may write them, kernels may not.
    Constants,
    /// `cuMemMap`, with what each device may do (`CUmemAccess_flags`).
    Virtual {
        physical: Arc<Physical>,
        access: [u8; MAX_DEVICES],
    },
    /// `cuMemHostAlloc`, with its flags.
    HostAllocated(u32),
    /// `cuMemHostRegister`, with its flags.
    HostRegistered(u32),
    /// `cuMemAllocManaged`
    Managed,
}

/// A range of device addresses and its memory.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) size: u64,
    pub(crate) backing: Arc<Backing>,
    pub(crate) kind: Kind,
    pub(crate) device: usize,
    /// Generation of the owning context; 0 for the process itself.
    pub(crate) owner: u64,
    /// `CU_POINTER_ATTRIBUTE_BUFFER_ID`.
    pub(crate) id: u64,
}

impl Mapping {
    /// The address behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.size
    }

    /// The address behind the last byte that kernels reach: as on a GPU,
    /// blocks are rounded up, and what lies behind is a fault.
    pub(crate) fn reach(&self) -> u64 {
        match self.kind {
            Kind::Block => self.start + self.size.next_multiple_of(BLOCK),
            _ => self.end(),
        }
    }

    /// Whether it is host memory.
    pub(crate) fn is_host(&self) -> bool {
        matches!(
            self.kind,
            Kind::HostAllocated(_) | Kind::HostRegistered(_) | Kind::Managed
        )
    }

    /// What a device (and contexts that count the owner as a peer) may do.
    pub(crate) fn access(&self, device: usize, is_peer: impl Fn(u64) -> bool) -> Access {
        match &self.kind {
            Kind::Virtual { access, .. } => match u32::from(access[device]) {
                CU_MEM_ACCESS_FLAGS_PROT_READWRITE => Access::Write,
                CU_MEM_ACCESS_FLAGS_PROT_READ => Access::Read,
                _ => Access::None,
            },
            Kind::HostRegistered(flags)
                if u64::from(*flags) & CU_MEMHOSTREGISTER_READ_ONLY != 0 =>
            {
                Access::Read
            }
            Kind::HostAllocated(_) | Kind::HostRegistered(_) | Kind::Managed => Access::Write,
            _ if self.device == device || is_peer(self.owner) => Access::Write,
            _ => Access::None,
        }
    }
}

/// What someone may do with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    None,
    Read,
    Write,
}
