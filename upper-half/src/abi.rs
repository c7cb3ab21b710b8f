//! Addresses and numbers that outlive a process: images, inherited seccomp
//! filters and library stubs of the application depend on them. Any change
//! needs a new [`VERSION`].

/// Version of everything in this file and of the layout of the gate image.
pub const VERSION: u32 = 3;

/// First address of the application's window.
pub const W_LO: u64 = 0x1600_0000_0000;
/// First address after the application's window.
pub const W_HI: u64 = 0x2a00_0000_0000;
/// First address of the device arena (GPU addresses, never host memory).
pub const ARENA_LO: u64 = 0x1000_0000_0000;
/// First address after the device arena.
pub const ARENA_HI: u64 = 0x1400_0000_0000;
/// First address of a non-PIE program's own segments.
pub const LOW_LO: u64 = 0x1_0000;
/// First address after a non-PIE program's own segments.
pub const LOW_HI: u64 = 0x1_0000_0000;

/// Where the gate image is mapped: vDSO, gate, exempt system call, table page.
pub const GATE_BASE: u64 = W_LO + 0x0100_0000;
/// `u64 gate(u32 call_id, u64 *args)`, SysV calling convention.
pub const GATE_ENTRY: u64 = GATE_BASE + 0x1400;
/// The `syscall` instruction that the filter lets pass.
pub const REISSUE: u64 = GATE_BASE + 0x1800;
/// The handler under which the kernel knows all of the application's handlers.
pub const SIGNAL_WRAPPER: u64 = GATE_BASE + 0x1a00;
/// Two ranges of the gate's code, as pairs of offsets (4 bytes each) from
/// [`GATE_ENTRY`]: a frame that stands in one begins it anew.
pub const DESCENTS: u64 = GATE_BASE + 0x1d00;
/// `i64 probe(i64 nr)`: a system call from the window.
pub const PROBE: u64 = GATE_BASE + 0x1c00;
/// The table page: pointers into the lower half, filled anew by every process.
pub const TABLE: u64 = GATE_BASE + 0x3000;
/// First address after the gate image.
pub const GATE_END: u64 = TABLE + 0x1000;

/// Slots of the table page (8 bytes each); 0 to 4 are the vDSO functions.
pub mod slot {
    /// The dispatcher's address.
    pub const DISPATCH: usize = 8;
    /// Low half: nonzero while the gate admits no new device work. High half:
    /// nonzero where FS is changed by system calls.
    pub const CLOSED: usize = 9;
    /// [`super::VERSION`].
    pub const VERSION: usize = 10;
    /// Lower function for signals that must not run now.
    pub const HELD_SIGNAL: usize = 11;
    /// First of 65 slots: the application's signal handlers by number.
    pub const HANDLERS: usize = 128;
}

/// Bit of a call id that lets a call pass a closed gate (callback service).
pub const INTERNAL_CALL: u32 = 1 << 31;

/// A thread found something pending as it left the gate or the vDSO.
pub(crate) const NR_PENDING: i64 = 0x1770_0001;
/// The signal wrapper needs a look at the interrupted frame.
pub(crate) const NR_SIGNAL: i64 = 0x1770_0002;
/// Traps when the base filter of this version is in force.
pub(crate) const NR_PROBE_BASE: i64 = 0x1770_0100 + VERSION as i64;
/// Traps when the low-4-GiB filter is in force.
pub(crate) const NR_PROBE_LOW: i64 = 0x1770_0200 + VERSION as i64;
/// Traps when the filter for virtual ids is in force.
pub(crate) const NR_PROBE_IDS: i64 = 0x1770_0300 + VERSION as i64;

/// Signal that asks a thread to park.
pub const PARK_SIGNAL: i32 = 63;
/// Value queued with [`PARK_SIGNAL`]; the application's own use lacks it.
pub(crate) const PARK_COOKIE: u64 = 0x6770_7563_6b70_7431;

/// Where programs, stacks and memory go inside the window. Not part of the
/// ABI: a restart takes all addresses from the image.
pub(crate) mod place {
    use super::W_LO;
    /// Position-independent programs.
    pub(crate) const PROGRAM: u64 = W_LO + 0x10_0000_0000;
    /// Program interpreters (ld.so).
    pub(crate) const INTERPRETER: u64 = W_LO + 0x80_0000_0000;
    /// The break.
    pub(crate) const BREAK: u64 = W_LO + 0x100_0000_0000;
    /// How far the break may grow.
    pub(crate) const BREAK_MAX: u64 = 0x80_0000_0000;
    /// Top of the main stack.
    pub(crate) const STACK_TOP: u64 = W_LO + 0x200_0000_0000;
    /// Everything mapped without an address.
    pub(crate) const MAPPINGS: u64 = W_LO + 0x400_0000_0000;
}

/// True when `address` belongs to the application.
pub const fn is_upper(address: u64) -> bool {
    (address >= W_LO && address < W_HI) || (address >= LOW_LO && address < LOW_HI)
}

/// True when all of `[start, end)` lies in one of the application's ranges.
pub const fn is_upper_range(start: u64, end: u64) -> bool {
    start < end && ((start >= W_LO && end <= W_HI) || (start >= LOW_LO && end <= LOW_HI))
}

/// Traps when the filter for virtual ids of code below 4 GiB is in force.
pub(crate) const NR_PROBE_LOW_IDS: i64 = 0x1770_0400 + VERSION as i64;
