//! CUDA facts that the mock device, the interposer and our libcudart share.
//!
//! - [`driver`]: result codes, enumerations, flags and `repr(C)` layouts of the driver API.
//! - [`runtime`]: error codes and device property layouts of the runtime API, versions 12 and 13.
//! - [`fatbin`]: the container that nvcc puts device code into.
//! - [`ptx`]: a scanner that reads a PTX module's outline: entries, parameters, variables.
//!
//! The crate makes no system call and holds no state. Every value that comes from outside is a
//! plain integer or a newtype over one, never a Rust `enum`: an unknown value must stay
//! representable. Parsers are bounded by their input and never panic.

#[macro_use]
mod macros;
pub mod driver;
pub mod fatbin;
pub mod ptx;
pub mod runtime;
