//! What can go wrong: with a module's text ([`PtxError`]) and while a kernel
//! runs ([`Fault`]).

/// Why a PTX module was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PtxError {
    /// The text is not PTX as the grammar has it.
    #[error("line {line}: {message}")]
    Syntax {
        /// Line of the source, from 1.
        line: u32,
        /// What was found and what was expected.
        message: String,
    },
    /// The text may be right, but the mock device cannot do this.
    #[error("line {line}: {what} is not supported by the mock device")]
    Unsupported {
        /// Line of the source, from 1.
        line: u32,
        /// The opcode with its modifiers, or the directive.
        what: String,
    },
    /// A symbol was used that nothing declares or defines.
    #[error("line {line}: `{name}` is not defined in this module")]
    Undefined {
        /// Line of the source, from 1.
        line: u32,
        /// The symbol.
        name: String,
    },
    /// [`crate::ptx::Module::instantiate`] got an unusable placement.
    #[error("placement: {0}")]
    Placement(String),
}

/// What a kernel did wrong, as a GPU would report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// Access outside any allocation: `CUDA_ERROR_ILLEGAL_ADDRESS`.
    IllegalAddress {
        /// The (generic) address of the access.
        address: u64,
    },
    /// An address that is no multiple of the access size:
    /// `CUDA_ERROR_MISALIGNED_ADDRESS`.
    MisalignedAddress {
        /// The (generic) address of the access.
        address: u64,
    },
    /// `trap`: `CUDA_ERROR_LAUNCH_FAILED` on current GPUs.
    Trap,
    /// A failed `assert` in a kernel: `CUDA_ERROR_ASSERT`.
    Assert,
    /// `malloc`, `free`, `new` or `delete` in a kernel, which the mock device
    /// lacks: `CUDA_ERROR_NOT_SUPPORTED`.
    NoHeap,
    /// A call through a value that is no function's address:
    /// `CUDA_ERROR_INVALID_PC`.
    InvalidPc {
        /// The value called.
        address: u64,
    },
    /// A thread's stack is used up: `CUDA_ERROR_LAUNCH_FAILED`.
    StackOverflow,
    /// Every thread waits for another one (a GPU hangs here until its
    /// watchdog strikes): `CUDA_ERROR_LAUNCH_TIMEOUT`.
    Deadlock,
    /// An instruction got an operand that is illegal at run time (a barrier
    /// above 15…): `CUDA_ERROR_ILLEGAL_INSTRUCTION`.
    IllegalInstruction,
    /// [`crate::ptx::Launch::stop`] was set; no CUDA error.
    Stopped,
    /// The launch itself is unusable (block too large, parameters too short,
    /// shared memory above the limit): `CUDA_ERROR_INVALID_VALUE`.
    BadLaunch,
}

/// A fault with the place where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// The kernel that was launched.
    pub kernel: String,
    /// Line of the PTX source (from 1), 0 when no instruction is to blame.
    pub line: u32,
    /// Block index.
    pub block: [u32; 3],
    /// Thread index within the block of the first thread at fault.
    pub thread: [u32; 3],
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            FaultKind::IllegalAddress { address } => write!(f, "illegal address {address:#x}")?,
            FaultKind::MisalignedAddress { address } => {
                write!(f, "misaligned address {address:#x}")?;
            }
            FaultKind::Trap => write!(f, "trap")?,
            FaultKind::NoHeap => {
                write!(
                    f,
                    "malloc or free in a kernel is not supported by the mock device"
                )?;
            }
            FaultKind::Assert => write!(f, "failed assertion")?,
            FaultKind::InvalidPc { address } => write!(f, "call of {address:#x}, no function")?,
            FaultKind::StackOverflow => write!(f, "thread stack overflow")?,
            FaultKind::Deadlock => write!(f, "all threads wait for each other")?,
            FaultKind::IllegalInstruction => write!(f, "illegal operand")?,
            FaultKind::Stopped => write!(f, "stopped")?,
            FaultKind::BadLaunch => write!(f, "launch configuration out of bounds")?,
        }
        let ([bx, by, bz], [tx, ty, tz]) = (self.block, self.thread);
        write!(
            f,
            " in kernel `{}`, block ({bx},{by},{bz}), thread ({tx},{ty},{tz}), PTX line {}",
            self.kernel, self.line
        )
    }
}

impl std::error::Error for Fault {}
