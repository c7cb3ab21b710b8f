//! Device memory as a kernel sees it: the [`Memory`] trait that the driver
//! side implements, and the generic address windows of the spaces that live
//! inside the interpreter.
//!
//! A generic address is a device address (global and constant variables,
//! allocations, registered host memory) unless it lies in one of the windows
//! below, which no x86-64 process can map.

/// Generic addresses of a block's shared memory start here.
pub const SHARED_WINDOW: u64 = 0x0100_0000_0000_0000;
/// Generic addresses of a thread's local memory start here.
pub const LOCAL_WINDOW: u64 = 0x0200_0000_0000_0000;
/// Generic addresses of a kernel's parameters start here.
pub const PARAM_WINDOW: u64 = 0x0300_0000_0000_0000;

/// One contiguous piece of device memory and its backing host memory.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    /// First device address.
    pub start: u64,
    /// Device address behind the last byte.
    pub end: u64,
    /// Host memory that backs `start`.
    pub host: *mut u8,
    /// Whether kernels may write (constant variables may not be written).
    pub writable: bool,
}

/// The device's memory, looked up by address.
///
/// # Safety
/// For every [`Region`] that [`Memory::region`] returns, `host` must point to
/// `end - start` bytes that stay mapped, readable (and writable when
/// `writable`) until the launch that asked returns, with `host` aligned to at
/// least 16 bytes modulo the alignment of `start`. The host side must not
/// hold Rust references to these bytes meanwhile.
#[allow(unsafe_code, reason = "the interpreter dereferences what it is given")]
pub unsafe trait Memory: Sync {
    /// The mapped region that holds `address`, as large as possible (an
    /// allocation); `None` when a GPU would report an illegal address. The
    /// interpreter remembers the last regions, so this may take a lock.
    fn region(&self, address: u64) -> Option<Region>;
}
