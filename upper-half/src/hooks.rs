//! What the lower half's own program provides to this crate.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A program to start.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file to execute; scripts are resolved here.
    pub path: PathBuf,
    /// Arguments, `argv[0]` first.
    pub argv: Vec<Vec<u8>>,
    /// Environment, `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// The environment for a program that has a dynamic linker, where it differs.
    pub dynamic_env: Option<Vec<Vec<u8>>>,
}

/// What a process keeps across an `execve` inside a job, as far as the kernel
/// does not keep it by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Version of the gate and filter ABI.
    pub abi: u32,
    /// The application's signal mask.
    pub mask: u64,
    /// Bits of the two reserved signals that the application has in its mask.
    pub mask_bits: u64,
    /// Reserved signals that the application ignores.
    pub ignored: u64,
    /// Virtual ids.
    pub ids: crate::ids::IdState,
    /// Children that the application knows by other ids than the kernel's.
    #[serde(default)]
    pub children: Vec<crate::ids::Pair>,
}

/// Calls from this crate into the lower half's program. All are made on a
/// lower stack with the lower FS; std, allocation and TLS may be used.
pub trait Hooks: Sync {
    /// The gate's dispatcher.
    fn dispatch(&self) -> extern "C" fn(u32, *mut u64) -> u64;
    /// Replaces the process by a fresh lower half that runs this program;
    /// returns the errno when that failed. In a vfork child (shared memory
    /// with the parent) what is allocated here is lost when it succeeds.
    fn exec(&self, path: &[u8], argv: Vec<Vec<u8>>, env: Vec<Vec<u8>>, upper: Inherited) -> i32;
    /// Replaces the process by this program as it is (`gpuckpt-lower` itself,
    /// or one that cannot be hosted); returns the errno when that failed.
    fn exec_native(&self, path: &[u8], argv: Vec<Vec<u8>>, env: Vec<Vec<u8>>) -> i32;
    /// Called before the lower half forks.
    fn before_fork(&self) {}
    /// Called after it, in both processes; `child` is the child's real id, or
    /// negative when fork failed.
    fn after_fork(&self, in_child: bool, child: i32) {
        let _ = (in_child, child);
    }
    /// True for a descriptor of the lower half.
    fn fd_is_ours(&self, fd: i32) -> bool;
    /// The lower half's descriptors have at least this number.
    fn fd_base(&self) -> i32;
    /// Refuse at the call what would otherwise fall back (io_uring_setup).
    fn strict(&self) -> bool {
        false
    }
    /// A hosted thread begins, on its host.
    fn on_thread_start(&self, vtid: i32) {
        let _ = vtid;
    }
    /// A hosted thread ends, on its host.
    fn on_thread_exit(&self, vtid: i32) {
        let _ = vtid;
    }
}
