//! Makes and holds the upper half: the application, with its own ld.so and
//! libc, in a private window of the address space.
//!
//! A program is started by [`launch`]: [`window`](abi), ELF loader, stack,
//! vDSO shim and gate, seccomp filter; from then on its system calls that
//! could leave the window, or touch what belongs to the lower half, trap into
//! this crate. Each upper thread is hosted by a lower pthread. [`park`] brings
//! all of them to rest on their own signal frames, so that the window's memory
//! and [`UpperState`] are all there is to save; [`restore`] takes both up in a
//! fresh process.
//!
//! This crate knows no device, no image format and no descriptor table: the
//! lower half's program provides those through [`Hooks`]. Everything here runs
//! in the process of the application: it prints nothing but refusals, and
//! between park and resume it holds no lock that others need.

pub mod abi;
mod after;
mod arch;
mod blocked;
mod elf;
mod filter;
mod hooks;
mod ids;
mod launch;
mod park;
mod probe;
mod process;
mod program;
mod record;
mod reissue;
mod rewind;
mod sample;
mod segments;
mod signal;
mod site;
mod stack;
mod state;
mod sys;
mod threads;
mod transfer;
mod trap;
mod vdso;
mod window;

pub use abi::{is_upper, is_upper_range};
pub use elf::LoadError;
pub use hooks::{Hooks, Inherited, Program};
pub use ids::{IdState, Pair};
pub use launch::{StartError, launch};
pub use park::{ParkError, Parked, Unparked, park, preflight};
pub use probe::{Check, Refusal, checks, filter_in_force, seccomp_trap, window};
pub use segments::{
    UnknownSetting, VARIABLE as FSGSBASE_VARIABLE, fsgsbase, host_nobody, prepare, price_of_calls,
};
pub use state::{Restored, ThreadState, UpperState, restore};
pub use threads::{ThreadInfo, current_vtid, threads};
pub use vdso::set_closed;
pub use window::{window_mmap, window_munmap};
