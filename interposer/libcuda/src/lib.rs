//! gpuckpt's `libcuda.so.1`, which lives in the application's half of the process.
//!
//! Every symbol of the driver API is a generated stub that takes its arguments through the gate to
//! the dispatcher in the lower half; the logic is there. What must be answered on this side is: the
//! lookup by name ([`proc_address`]), the texts of errors ([`errors`]: the strings must outlive a
//! restart), and host callbacks, which a thread of this half runs ([`callbacks`]).
//!
//! The library is part of every checkpoint image. It therefore holds no state that a restart could
//! make wrong, allocates nothing, and depends on nothing of the lower half but the gate.

#[path = "../../table/abi.rs"]
#[allow(dead_code, reason = "the dispatcher uses the rest")]
mod abi;
pub mod callbacks;
pub mod environment;
pub mod errors;
mod gate;
pub mod proc_address;

#[cfg(test)]
#[path = "../../table/format.rs"]
#[allow(dead_code, reason = "each user of the parser needs a part of it")]
mod format;
