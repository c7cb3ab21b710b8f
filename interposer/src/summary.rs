//! What `status` and `inspect` show of the devices.

use serde::{Deserialize, Serialize};

use crate::dispatch::context::device_of;
use crate::handles::Kind;
use crate::session;

/// A context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSummary {
    /// The application's handle.
    pub handle: u64,
    /// Its device.
    pub device: i32,
}

/// Counts of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Contexts, created and primary.
    pub contexts: Vec<ContextSummary>,
    /// Modules.
    pub modules: usize,
    /// Libraries.
    pub libraries: usize,
    /// Streams.
    pub streams: usize,
    /// Events.
    pub events: usize,
    /// Device allocations.
    pub allocations: usize,
    /// Their bytes.
    pub allocated_bytes: u64,
    /// Pinned host ranges.
    pub pinned: usize,
    /// Their bytes.
    pub pinned_bytes: u64,
    /// Calls that were recorded so far, allocations and frees included.
    pub records_total: u64,
    /// Records that a restart would do.
    pub records_live: u64,
    /// Restarts so far.
    pub restarts: u32,
}

/// Counts everything.
pub fn summary() -> Summary {
    let Some(session) = session::get() else {
        return Summary::default();
    };
    let contexts = session.handles.all(Kind::Context).into_iter();
    let contexts = contexts
        .map(|(handle, _)| ContextSummary {
            handle: handle.bits(),
            device: device_of(session, handle).unwrap_or(-1),
        })
        .collect();
    let (allocations, allocated_bytes, arena_events) = {
        let arena = session.arena();
        let (count, bytes) = arena.totals();
        (count, bytes, arena.events)
    };
    let (pinned, pinned_bytes, host_events) = {
        let host = session.host();
        (
            host.ranges.len(),
            host.ranges.values().map(|p| p.len).sum(),
            host.events,
        )
    };
    let recorder = session.recorder();
    let counters = recorder.log().counters();
    let count = |kind| recorder.numbers.count(kind);
    Summary {
        contexts,
        modules: count(Kind::Module),
        libraries: count(Kind::Library),
        streams: count(Kind::Stream),
        events: count(Kind::Event),
        allocations,
        allocated_bytes,
        pinned,
        pinned_bytes,
        records_total: counters.total + arena_events + host_events,
        records_live: counters.live + (allocations + pinned) as u64,
        restarts: session.life.load(std::sync::atomic::Ordering::Relaxed),
    }
}
