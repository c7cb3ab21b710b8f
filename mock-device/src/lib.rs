//! A CUDA driver (`libcuda.so.1`) whose device is the CPU.
//!
//! Programs use it natively by `LD_LIBRARY_PATH`, and gpuckpt loads it into
//! its lower half by `--device mock`. It executes PTX ([`ptx`]) and follows
//! the driver API's documentation; where a program could be right by luck it
//! moves things on purpose (`docs/mock-device.md`).
//!
//! From the outside in: `api` exports the C functions, one table a subject;
//! `call` guards them; `context`, `stream`, `event`, `memory`, `code` and
//! `launch` hold the objects; `schedule` runs streams. Everything is created
//! by `cuInit` and lives as long as the process.

mod api;
mod call;
mod code;
mod config;
mod context;
mod copy;
mod device;
mod driver;
mod event;
mod handles;
mod launch;
mod memory;
pub mod ptx;
mod random;
mod schedule;
mod stream;
mod sync;
mod thread;

/// Says something on standard error, where the driver has no code for it.
///
/// In one piece and without a lock: a thread that forks while another one
/// writes would leave its child a lock that nobody opens.
#[allow(unsafe_code, reason = "borrows descriptor 2")]
fn report(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    use std::os::fd::FromRawFd;
    let text = format!("gpuckpt mock device: {text}\n");
    // SAFETY: the descriptor is not closed here.
    let stderr = unsafe { std::fs::File::from_raw_fd(2) };
    // A closed standard error is no reason to fail.
    let _ = std::mem::ManuallyDrop::new(stderr).write_all(text.as_bytes());
}
