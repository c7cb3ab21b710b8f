//! What an image keeps of the devices: the log with its tables, and the contents of device memory.
//!
//! ```text
//!   0  magic  "GPUCKLOG"
//!   8  u32    version
//!   12 …      bincode of `Saved`, whose `log` has a version and a checksum of its own
//! ```

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cuda_abi::driver::{CUDA_ERROR_NOT_READY, CUDA_SUCCESS};
use serde::{Deserialize, Serialize};

use crate::arena;
use crate::codec;
use crate::dispatch::context::with_current;
use crate::dispatch::event::{self, PAST, RECORDED};
use crate::dispatch::text;
use crate::driver::{self, out};
use crate::environment;
use crate::handles::{Kind, Virtual};
use crate::host::Pinned;
use crate::names::Names;
use crate::session::{self, Session};
use crate::table::ids;
use crate::threads;
use crate::variables::{self, Variable};

pub(crate) const MAGIC: &[u8; 8] = b"GPUCKLOG";
pub(crate) const VERSION: u32 = 3;

/// Why no snapshot could be taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// State that cannot be read.
    #[error("cannot be saved: {}", .0.join("; "))]
    Lost(Vec<String>),
    /// The driver refused something that a snapshot needs.
    #[error("{what}: {status}")]
    Driver {
        /// What was tried.
        what: &'static str,
        /// The driver's answer.
        status: String,
    },
    /// The tables could not be written down.
    #[error("the device tables could not be encoded: {0}")]
    Encode(String),
}

/// An event's past.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PastEvent {
    pub(crate) event: Virtual,
    /// Milliseconds from its record to the checkpoint; none for events without times.
    pub(crate) before: Option<f64>,
}

/// Everything but the contents of memory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) log: Vec<u8>,
    pub(crate) life: u32,
    pub(crate) floors: Vec<u32>,
    pub(crate) arena: arena::Saved,
    pub(crate) host: Vec<(u64, Pinned)>,
    pub(crate) host_events: u64,
    /// Device, handle, references.
    pub(crate) primary: Vec<(i32, Virtual, u32)>,
    pub(crate) threads: Vec<(i32, Vec<Virtual>)>,
    pub(crate) events: Vec<PastEvent>,
    pub(crate) asked: Vec<(Virtual, Vec<String>)>,
    pub(crate) names: Names,
    pub(crate) variables: Vec<Variable>,
    /// Since version 2.
    pub(crate) environment: environment::Known,
}

impl Saved {
    /// Makes sure that what other code relies on holds; the rest is found out by the driver.
    ///
    /// # Errors
    /// What is impossible.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.arena.check()?;
        let mut free = 0;
        for (address, pinned) in &self.host {
            free = address
                .checked_add(pinned.len)
                .filter(|_| *address >= free)
                .ok_or("a range of pinned memory is impossible")?;
        }
        Ok(())
    }
}

/// A range of device memory whose contents belong to the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRegion {
    /// For [`read_region`] and [`write_region`]; the same at the checkpoint and at its restart.
    pub id: u32,
    /// For people: `memory`, or a variable's name.
    pub label: String,
    /// Device address.
    pub address: u64,
    /// Bytes.
    pub len: u64,
}

/// Why a region could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// No such region, or beyond its end.
    #[error("device region {id} has no bytes {offset}..{end}")]
    Range {
        /// Asked for.
        id: u32,
        /// First byte.
        offset: u64,
        /// After the last byte.
        end: u64,
    },
    /// The driver failed.
    #[error("device memory at {address:#x}: {status}")]
    Driver {
        /// Where.
        address: u64,
        /// The driver's answer.
        status: String,
    },
}

/// Regions of the last snapshot or restart, by id, with their contexts.
static REGIONS: Mutex<Vec<(DeviceRegion, Virtual)>> = Mutex::new(Vec::new());

/// Freed ranges that are shorter than this are saved with their neighbours.
const GAP: u64 = 4096;

/// Lists the regions anew.
pub(crate) fn set_regions(session: &Session, variables: &[Variable]) {
    let blocks = session
        .arena()
        .used(GAP)
        .into_iter()
        .map(|(address, len, context)| (String::from("memory"), address, len, context));
    let named = variables
        .iter()
        .map(|v| (v.name.clone(), v.address, v.len, v.context));
    let number = |(id, (label, address, len, context))| {
        (
            DeviceRegion {
                id: id as u32,
                label,
                address,
                len,
            },
            context,
        )
    };
    *REGIONS.lock().unwrap_or_else(PoisonError::into_inner) =
        blocks.chain(named).enumerate().map(number).collect();
}

/// The regions as of the last [`snapshot_log`] or [`crate::restore_log`].
pub fn device_regions() -> Vec<DeviceRegion> {
    REGIONS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .map(|(region, _)| region.clone())
        .collect()
}

fn locate(id: u32, offset: u64, len: usize) -> Result<(u64, Virtual), RegionError> {
    let regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
    let end = offset.saturating_add(len as u64);
    match regions.get(id as usize) {
        Some((region, context)) if end <= region.len => Ok((region.address + offset, *context)),
        _ => Err(RegionError::Range { id, offset, end }),
    }
}

fn copy(address: u64, context: Virtual, call: u32, slots: [u64; 3]) -> Result<(), RegionError> {
    let failed = |status| RegionError::Driver {
        address,
        status: text(status),
    };
    let Some(session) = session::get() else {
        return Ok(());
    };
    match with_current(session, context, || driver::call(call, &slots)) {
        Ok(status) if status == CUDA_SUCCESS.0 => Ok(()),
        Ok(status) | Err(status) => Err(failed(status)),
    }
}

/// Copies a part of a region out of the device.
///
/// # Errors
/// Beyond the region's end, or the driver's failure.
pub fn read_region(id: u32, offset: u64, buffer: &mut [u8]) -> Result<(), RegionError> {
    let (address, context) = locate(id, offset, buffer.len())?;
    copy(
        address,
        context,
        ids::cuMemcpyDtoH_v2,
        [buffer.as_mut_ptr() as u64, address, buffer.len() as u64],
    )
}

/// Copies a part of a region into the device.
///
/// # Errors
/// Beyond the region's end, or the driver's failure.
pub fn write_region(id: u32, offset: u64, bytes: &[u8]) -> Result<(), RegionError> {
    let (address, context) = locate(id, offset, bytes.len())?;
    copy(
        address,
        context,
        ids::cuMemcpyHtoD_v2,
        [address, bytes.as_ptr() as u64, bytes.len() as u64],
    )
}

/// The pruned log and every table, in bytes of their own. Call it drained.
///
/// # Errors
/// State that cannot be read, or the driver's failure. The job may go on.
pub fn snapshot_log() -> Result<Vec<u8>, SnapshotError> {
    let Some(session) = session::get() else {
        return Ok(Vec::new());
    };
    let variables = variables::list(session).map_err(SnapshotError::Lost)?;
    set_regions(session, &variables);
    let events = past_events(session)?;
    let primary = session
        .contexts()
        .primary
        .iter()
        .map(|(&device, p)| (device, p.handle, p.references))
        .collect();
    let arena = session.arena().save();
    let (host, host_events) = {
        let host = session.host();
        (
            host.ranges
                .iter()
                .map(|(&address, pinned)| (address, pinned.clone()))
                .collect(),
            host.events,
        )
    };
    let (log, asked, floors) = {
        let mut recorder = session.recorder();
        let asked = recorder
            .asked()
            .iter()
            .map(|(&owner, names)| (owner, names.iter().cloned().collect()))
            .collect();
        let floors = session.handles.floors(&recorder.numbers);
        (recorder.encode_log(), asked, floors)
    };
    let saved = Saved {
        log,
        life: session.life.load(std::sync::atomic::Ordering::Relaxed),
        floors,
        arena,
        host,
        host_events,
        primary,
        threads: threads::all(),
        events,
        asked,
        names: session.names().clone(),
        variables,
        environment: environment::save(session),
    };
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    codec::encode(&saved, &mut bytes).map_err(SnapshotError::Encode)?;
    Ok(bytes)
}

/// A base event in each context that needs one, for the life of this value.
struct Bases {
    by_context: HashMap<Virtual, u64>,
}

impl Bases {
    fn of(&mut self, session: &Session, context: Virtual) -> Result<u64, SnapshotError> {
        if let Some(&event) = self.by_context.get(&context) {
            return Ok(event);
        }
        let event = with_current(session, context, base_event)
            .and_then(|made| made)
            .map_err(|status| SnapshotError::Driver {
                what: "an event to measure times from",
                status: text(status),
            })?;
        self.by_context.insert(context, event);
        Ok(event)
    }
}

impl Drop for Bases {
    fn drop(&mut self) {
        for &event in self.by_context.values() {
            driver::call(ids::cuEventDestroy_v2, &[event]);
        }
    }
}

/// Records an event now, and waits for it; the device is drained.
pub(crate) fn base_event() -> Result<u64, u32> {
    let mut event = 0u64;
    let status = driver::call(ids::cuEventCreate, &[out(&mut event), 0]);
    if status != CUDA_SUCCESS.0 {
        return Err(status);
    }
    let mut status = driver::call(ids::cuEventRecord, &[event, 1]);
    while status == CUDA_SUCCESS.0 {
        match driver::call(ids::cuEventQuery, &[event]) {
            answer if answer == CUDA_SUCCESS.0 => return Ok(event),
            answer if answer == CUDA_ERROR_NOT_READY.0 => std::thread::yield_now(),
            answer => status = answer,
        }
    }
    driver::call(ids::cuEventDestroy_v2, &[event]);
    Err(status)
}

fn elapsed(from: u64, to: u64) -> Option<f64> {
    let mut time = 0f32;
    let status = driver::call(ids::cuEventElapsedTime, &[out(&mut time), from, to]);
    (status == CUDA_SUCCESS.0).then_some(f64::from(time))
}

/// How long ago each recorded event was.
fn past_events(session: &Session) -> Result<Vec<PastEvent>, SnapshotError> {
    let mut bases = Bases {
        by_context: HashMap::new(),
    };
    let mut events = Vec::new();
    for (event, real) in session.handles.all(Kind::Event) {
        let state = event::state_of(session, event);
        let Some(context) = event::context_of(session, event) else {
            continue;
        };
        let before = match state {
            RECORDED => elapsed(real.bits(), bases.of(session, context)?),
            // Longer ago by what has passed since the restart.
            PAST => {
                let (past, restarted) = {
                    let clock = &session.recorder().clock;
                    (
                        clock.past.get(&event).copied(),
                        clock.bases.get(&context).copied(),
                    )
                };
                match (past, restarted) {
                    (Some(past), Some(base)) => {
                        elapsed(base, bases.of(session, context)?).map(|since| past + since)
                    }
                    _ => None,
                }
            }
            _ => continue,
        };
        events.push(PastEvent { event, before });
    }
    Ok(events)
}
