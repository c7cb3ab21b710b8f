//! Runs a grid: hands blocks to worker threads and gathers their outcome.

use std::sync::atomic::AtomicBool;

use super::Memory;

/// Everything a launch needs besides the kernel.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    /// Blocks in x, y, z; none may be 0.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z; at most 1024 in all.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub dynamic_shared: u32,
    /// The parameter buffer: at least `KernelInfo::params_size` bytes.
    pub params: &'a [u8],
    /// Device memory.
    pub memory: &'a dyn Memory,
    /// Set by another thread to give the kernel up soon (within
    /// milliseconds), at process exit for instance.
    pub stop: &'a AtomicBool,
    /// Upper bound on threads that run blocks at once; 0 means one for each
    /// core. The calling thread is one of them; others are started only when
    /// the grid proves to be long.
    pub workers: usize,
    /// All blocks must be resident at once (cooperative launch): blocks take
    /// turns, so that a barrier across the grid ends.
    pub cooperative: bool,
    /// What `%gridid` reads.
    pub grid_id: u64,
    /// Bytes of local memory (stack) a thread may use.
    pub stack_limit: u32,
}

impl<'a> Launch<'a> {
    /// A plain launch: no dynamic shared memory, all cores, a stack of
    /// 64 KiB a thread.
    pub fn new(
        grid: [u32; 3],
        block: [u32; 3],
        params: &'a [u8],
        memory: &'a dyn Memory,
        stop: &'a AtomicBool,
    ) -> Launch<'a> {
        Launch {
            grid,
            block,
            dynamic_shared: 0,
            params,
            memory,
            stop,
            workers: 0,
            cooperative: false,
            grid_id: 0,
            stack_limit: 64 << 10,
        }
    }
}

impl std::fmt::Debug for Launch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch")
            .field("grid", &self.grid)
            .field("block", &self.block)
            .field("dynamic_shared", &self.dynamic_shared)
            .finish_non_exhaustive()
    }
}

/// What a finished launch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaunchStats {
    /// PTX instructions executed, counted for each active thread.
    pub instructions: u64,
}
