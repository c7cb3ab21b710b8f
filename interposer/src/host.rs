//! Pinned host memory: memory of the application that the driver knows.
//!
//! What `cuMemHostAlloc` gives out, and on the mock device `cuMemAllocManaged`, is mapped in the
//! application's window and then registered, so that an image holds it like any other memory; a
//! restart registers it again.

use std::collections::BTreeMap;

use cuda_abi::driver::{CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_OUT_OF_MEMORY, CUDA_SUCCESS};
use serde::{Deserialize, Serialize};

use crate::dispatch::context::with_current;
use crate::driver::{self, out};
use crate::handles::Virtual;
use crate::session::Session;
use crate::table::ids;

/// A pinned range.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pinned {
    /// Bytes.
    pub(crate) len: u64,
    /// Flags that the application gave: of `cuMemHostAlloc` or `cuMemHostRegister`.
    pub(crate) flags: u32,
    /// Flags that the driver was given.
    pub(crate) registered: u32,
    /// Allocated by us, as opposed to registered by the application.
    pub(crate) ours: bool,
    /// Context that it belongs to.
    pub(crate) context: Option<Virtual>,
    /// Device pointer, once the application asked for it.
    pub(crate) device_pointer: Option<u64>,
}

/// All pinned memory, by address.
#[derive(Debug, Default)]
pub(crate) struct HostMemory {
    pub(crate) ranges: BTreeMap<u64, Pinned>,
    /// Allocations and registrations, and their ends, so far.
    pub(crate) events: u64,
}

/// Among [`Pinned::flags`]: what `cuMemAllocManaged` gave. No flag of the driver's.
pub(crate) const MANAGED: u32 = 1 << 31;

impl Pinned {
    /// Given out as managed memory.
    pub(crate) fn managed(&self) -> bool {
        self.flags & MANAGED != 0
    }
}

impl HostMemory {
    /// Whether managed memory starts there.
    pub(crate) fn managed_at(&self, address: u64) -> bool {
        self.ranges.get(&address).is_some_and(Pinned::managed)
    }

    /// The range that an address lies in.
    pub(crate) fn find(&self, address: u64) -> Option<(u64, &Pinned)> {
        let (&start, pinned) = self.ranges.range(..=address).next_back()?;
        (address - start < pinned.len).then_some((start, pinned))
    }
}

const PAGE: u64 = 4096;

/// `CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP`: with unified addressing every
/// allocation is both.
const FOR_ALLOCATIONS: u32 = 3;

/// Allocates pinned memory in the application's window.
pub(crate) fn allocate(
    session: &Session,
    size: u64,
    flags: u32,
    context: Option<Virtual>,
) -> Result<u64, u32> {
    if size == 0 {
        return Err(CUDA_ERROR_INVALID_VALUE.0);
    }
    let len = size
        .checked_next_multiple_of(PAGE)
        .ok_or(CUDA_ERROR_OUT_OF_MEMORY.0)?;
    let memory = (session.options.window_mmap)(len as usize);
    if memory.is_null() {
        return Err(CUDA_ERROR_OUT_OF_MEMORY.0);
    }
    let address = memory as u64;
    let status = driver::call(
        ids::cuMemHostRegister_v2,
        &[address, len, u64::from(FOR_ALLOCATIONS)],
    );
    if status != CUDA_SUCCESS.0 {
        (session.options.window_munmap)(memory, len as usize);
        return Err(status);
    }
    let pinned = Pinned {
        len,
        flags,
        registered: FOR_ALLOCATIONS,
        ours: true,
        context,
        device_pointer: None,
    };
    let mut host = session.host();
    host.events += 1;
    host.ranges.insert(address, pinned);
    Ok(address)
}

/// Takes a range out of the books, if it is of the right sort.
fn remove(session: &Session, address: u64, ours: bool) -> Option<Pinned> {
    let mut host = session.host();
    if host.ranges.get(&address)?.ours != ours {
        return None;
    }
    host.events += 1;
    host.ranges.remove(&address)
}

/// Frees what [`allocate`] gave. What the driver does not let go stays.
pub(crate) fn free(session: &Session, address: u64) -> u32 {
    let ours = |pinned: &Pinned| pinned.ours;
    if !session.host().ranges.get(&address).is_some_and(ours) {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let status = driver::call(ids::cuMemHostUnregister, &[address]);
    if status == CUDA_SUCCESS.0
        && let Some(pinned) = remove(session, address, true)
    {
        (session.options.window_munmap)(address as *mut u8, pinned.len as usize);
    }
    status
}

/// The application's registration has ended in the driver.
pub(crate) fn unregistered(session: &Session, address: u64) {
    remove(session, address, false);
}

/// A context has ended, and with it its pinned memory.
pub(crate) fn context_ended(session: &Session, context: Virtual) {
    let gone: Vec<(u64, Pinned)> = {
        let mut host = session.host();
        let dead: Vec<u64> = host
            .ranges
            .iter()
            .filter(|(_, p)| p.context == Some(context))
            .map(|(&address, _)| address)
            .collect();
        dead.into_iter()
            .filter_map(|address| host.ranges.remove(&address).map(|pinned| (address, pinned)))
            .collect()
    };
    for (address, pinned) in gone.into_iter().filter(|(_, pinned)| pinned.ours) {
        (session.options.window_munmap)(address as *mut u8, pinned.len as usize);
    }
}

/// Registers a range of an earlier life again; its memory is back.
pub(crate) fn register_again(
    session: &Session,
    address: u64,
    pinned: &Pinned,
) -> Result<(), String> {
    let name = || format!("pinned host memory at {address:#x} (+{:#x})", pinned.len);
    let register = || {
        let status = driver::call(
            ids::cuMemHostRegister_v2,
            &[address, pinned.len, u64::from(pinned.registered)],
        );
        if status != CUDA_SUCCESS.0 {
            return Err(format!("{}: {}", name(), crate::dispatch::text(status)));
        }
        let Some(expected) = pinned.device_pointer else {
            return Ok(());
        };
        let mut now = 0u64;
        let status = driver::call(
            ids::cuMemHostGetDevicePointer_v2,
            &[out(&mut now), address, 0],
        );
        if status != CUDA_SUCCESS.0 || now != expected {
            return Err(format!(
                "{}: its device pointer was {expected:#x} and now is {now:#x}",
                name()
            ));
        }
        Ok(())
    };
    match pinned.context {
        Some(context) => with_current(session, context, register)
            .map_err(|status| format!("{}: {}", name(), crate::dispatch::text(status)))?,
        None => register(),
    }
}
