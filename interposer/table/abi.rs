//! What the stub library and the dispatcher agree on beside the table: where the gate is, and the
//! internal calls. Checkpoint images hold stubs, so none of these numbers may ever change.

/// Address of the gate's entry: `u64 gate(u32 call_id, u64 *slots)`.
pub(crate) const GATE: u64 = 0x1600_0100_1400;

/// Call ids with this bit are internal: a closed gate lets them through.
pub(crate) const INTERNAL: u32 = 1 << 31;

/// Waits up to 50 ms for a host callback; 1 when `slots` holds one, else 0. The slots then are:
/// function, user data, kind ([`CALLBACK_HOST`] or [`CALLBACK_STREAM`]), stream, status, ticket.
pub(crate) const CALLBACK_WAIT: u32 = INTERNAL | 1;

/// The callback with the ticket in slot 0 has returned.
pub(crate) const CALLBACK_DONE: u32 = INTERNAL | 2;

/// 1 when the driver has the symbol of the row whose id is in slot 0.
pub(crate) const DRIVER_HAS: u32 = INTERNAL | 3;

/// Slot 0 holds the application's `environ`, before its `cuInit`.
pub(crate) const ENVIRONMENT: u32 = INTERNAL | 4;

/// `void (*)(void *userData)`.
pub(crate) const CALLBACK_HOST: u64 = 0;

/// `void (*)(CUstream, CUresult, void *userData)`.
pub(crate) const CALLBACK_STREAM: u64 = 1;
