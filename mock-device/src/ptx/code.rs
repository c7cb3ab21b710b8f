//! Decoded instructions: what the decoder makes and the executor runs.
//!
//! An instruction's registers are *slots*. While a function is decoded a slot
//! is a virtual register number; `decode::allocate` turns it into the byte
//! offset of a row of 32 lanes in the frame. Slots with [`CONST`] set are
//! offsets into the executable's constant rows instead.

use super::exec::cx::Cx;
use super::types::Width;

/// A register row (see the module's text).
pub(super) type Slot = u32;
/// Marks a slot of the constant rows.
pub(super) const CONST: Slot = 1 << 31;
/// No slot.
pub(super) const NONE: Slot = u32::MAX;

/// Runs one instruction for the lanes in `Cx::mask`.
///
/// It is `unsafe` only because some of them are compiled for AVX2 and FMA:
/// the decoder picks those when the processor has both.
pub(super) type Handler = unsafe fn(&mut Cx<'_>, &Inst);

/// State space of a memory access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Generic,
    Global,
    Shared,
    /// Address in the thread's local memory.
    Local,
    /// Offset from the frame's start in local memory, no base register.
    Frame,
    /// Offset in the kernel's parameters.
    Param,
}

/// Operations between the lanes of a warp that wait for their member mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WarpOp {
    /// `bar.warp.sync`
    Barrier,
    Shfl(ShflMode),
    VoteAll,
    VoteAny,
    VoteUni,
    VoteBallot,
    MatchAny,
    MatchAll,
    Redux(ReduxOp),
    Elect,
}

/// Direction of a shuffle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShflMode {
    Up,
    Down,
    Bfly,
    Idx,
}

/// Operator of `redux.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReduxOp {
    Add,
    MinU,
    MaxU,
    MinS,
    MaxS,
    And,
    Or,
    Xor,
    MinF { abs: bool, nan: bool },
    MaxF { abs: bool, nan: bool },
}

/// Operations on a block's barriers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BarOp {
    Sync,
    Arrive,
    RedPopc,
    RedAnd,
    RedOr,
}

/// What an instruction does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    /// Works lane by lane and cannot fail.
    Lanes(Handler),
    /// Works lane by lane and may set `Cx::fault`.
    Access(Handler),
    /// To the instruction number in `x`.
    Branch,
    /// To `list[s0]`.
    BranchTable,
    /// Calls function number `x` (`CallSite` in `sites`).
    Call,
    /// Calls through the pointer in `s0`.
    CallIndirect,
    /// Prints: a call of `vprintf`, with its call site in `aux`.
    Print,
    Ret,
    Exit,
    Trap,
    /// A pause: other warps may run.
    Pause,
    Warp(WarpOp),
    Bar(BarOp),
}

/// One decoded instruction.
#[derive(Debug, Clone)]
pub(super) struct Inst {
    pub(super) op: Op,
    /// Predicate row, or [`NONE`].
    pub(super) guard: Slot,
    pub(super) guard_negated: bool,
    /// `list` holds destinations, not sources.
    pub(super) list_is_def: bool,
    /// 1 for an instruction of the text, 0 for one that the decoder added.
    pub(super) weight: u8,
    pub(super) space: Access,
    pub(super) line: u32,
    /// Destination, and a second one (predicate of `shfl`, carry flag).
    pub(super) d: Slot,
    pub(super) e: Slot,
    pub(super) s: [Slot; 4],
    /// Numbers used as the operation wishes; memory accesses add `x` to the
    /// base register, which has 32 bits when `narrow`.
    pub(super) x: u64,
    pub(super) aux: u32,
    pub(super) narrow: bool,
    /// Slots of a vector operand; targets of a branch table.
    pub(super) list: Box<[Slot]>,
}

impl Inst {
    pub(super) fn new(op: Op, line: u32) -> Inst {
        Inst {
            op,
            guard: NONE,
            guard_negated: false,
            list_is_def: false,
            weight: 1,
            space: Access::Generic,
            line,
            d: NONE,
            e: NONE,
            s: [NONE; 4],
            x: 0,
            aux: 0,
            narrow: false,
            list: Box::default(),
        }
    }
}

/// Where a function's parameter or result lives in its own frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In local memory, from the frame's start.
    Memory { offset: u32, size: u32 },
    /// In a register row (or a constant row, as an argument).
    Register { slot: Slot, width: Width },
}

impl Place {
    /// Bytes of the value.
    pub(super) fn size(self) -> u32 {
        match self {
            Place::Memory { size, .. } => size,
            Place::Register {
                width: Width::Pred, ..
            } => 1,
            Place::Register { width, .. } => width.row() / 32,
        }
    }
}

/// One `call` instruction's side of the exchange; the callee's side is its
/// [`Code`].
#[derive(Debug, Clone, Default)]
pub(super) struct CallSite {
    pub(super) args: Vec<Place>,
    pub(super) results: Vec<Place>,
}

/// A function's code and frame.
#[derive(Debug, Clone, Default)]
pub(super) struct Code {
    pub(super) name: String,
    /// First instruction.
    pub(super) start: u32,
    /// Bytes of register rows.
    pub(super) rows: u32,
    /// Bytes of a thread's local memory that one frame takes.
    pub(super) local: u32,
    pub(super) params: Vec<Place>,
    pub(super) results: Vec<Place>,
}

/// A constant row, broadcast to all lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ConstValue {
    Bits(u128),
    /// Address of a module-scope variable.
    Variable {
        index: u32,
        addend: i64,
    },
    /// Offset of a `.shared` variable.
    Shared {
        index: u32,
        addend: i64,
    },
    /// Address of a function.
    Function {
        index: u32,
    },
}
