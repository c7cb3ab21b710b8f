//! The syntax tree of a PTX module, as close to the text as the decoder needs.

use super::module::Linkage;
use super::types::Ty;

/// State space named in a declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeclSpace {
    Reg,
    Param,
    Local,
    Shared,
    Global,
    Const,
}

/// A declaration in any space.
#[derive(Debug, Clone)]
pub(super) struct Decl<'a> {
    pub(super) line: u32,
    pub(super) space: DeclSpace,
    pub(super) linkage: Linkage,
    pub(super) name: &'a str,
    pub(super) ty: Ty,
    /// Elements of a vector type (`.v2`, `.v4`), else 1.
    pub(super) vector: u32,
    /// Alignment in bytes, explicit or the type's own.
    pub(super) align: u64,
    /// Array elements (product of the dimensions); `None` when the outermost
    /// dimension is left open.
    pub(super) elements: Option<u64>,
    /// `%r<10>`: how many numbered names this declares.
    pub(super) range: Option<u32>,
    pub(super) init: Vec<Init<'a>>,
    pub(super) managed: bool,
}

impl Decl<'_> {
    /// Bytes, 0 for an open array.
    pub(super) fn size(&self) -> u64 {
        let element = u64::from(self.ty.size()) * u64::from(self.vector);
        element.saturating_mul(self.elements.unwrap_or(0))
    }
}

/// One element of an initialiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Init<'a> {
    Int(i128),
    F32(u32),
    F64(u64),
    /// `sym+4`, `generic(sym)+4`; `mask(sym)` takes the masked bits only.
    Symbol {
        name: &'a str,
        addend: i64,
        generic: bool,
        mask: Option<u64>,
    },
}

/// Where an address operand starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Base<'a> {
    /// Register or symbol.
    Name(&'a str),
    /// Absolute.
    None,
}

/// An instruction operand.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand<'a> {
    /// Register, special register, label, function or variable; `sym+4` has
    /// an addend.
    Name(&'a str, i64),
    /// `!p`
    Not(&'a str),
    /// Integer, sign-extended from what was written.
    Int(i128),
    F32(u32),
    F64(u64),
    /// `[base+offset]`
    Address(Base<'a>, i64),
    /// `{a, b}`
    Vector(Vec<Operand<'a>>),
    /// `(a, b)`, in calls.
    List(Vec<Operand<'a>>),
    /// `d|p`
    Pair(Box<Operand<'a>>, Box<Operand<'a>>),
    /// `_`
    Sink,
}

/// An instruction.
#[derive(Debug, Clone)]
pub(super) struct Instruction<'a> {
    pub(super) line: u32,
    /// Guard predicate and whether it is negated.
    pub(super) guard: Option<(&'a str, bool)>,
    /// Opcode with all modifiers.
    pub(super) opcode: &'a str,
    pub(super) operands: Vec<Operand<'a>>,
}

/// A statement of a function's body.
#[derive(Debug, Clone)]
pub(super) enum Statement<'a> {
    Label(&'a str, u32),
    Decl(Decl<'a>),
    Instruction(Instruction<'a>),
    Scope(Vec<Statement<'a>>),
    /// `label: .branchtargets a, b;`
    BranchTargets(&'a str, Vec<&'a str>),
    /// `label: .callprototype (ret) _ (params);`
    CallPrototype(&'a str, Vec<Decl<'a>>, Vec<Decl<'a>>),
}

/// A kernel or device function.
#[derive(Debug, Clone)]
pub(super) struct Function<'a> {
    pub(super) line: u32,
    pub(super) entry: bool,
    pub(super) linkage: Linkage,
    pub(super) name: &'a str,
    pub(super) returns: Vec<Decl<'a>>,
    pub(super) params: Vec<Decl<'a>>,
    pub(super) max_block: Option<[u32; 3]>,
    pub(super) required_block: Option<[u32; 3]>,
    pub(super) min_blocks: Option<u32>,
    /// `None` for a declaration.
    pub(super) body: Option<Vec<Statement<'a>>>,
}

/// A whole module.
#[derive(Debug, Clone, Default)]
pub(super) struct Ast<'a> {
    pub(super) version: (u32, u32),
    pub(super) target: &'a str,
    pub(super) variables: Vec<Decl<'a>>,
    pub(super) functions: Vec<Function<'a>>,
}
