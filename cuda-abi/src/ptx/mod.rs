//! The outline of a PTX module: what can be asked of it by name, without its code.
//!
//! [`Outline::scan`] reads version and target, the kernels with the sizes and offsets of their
//! parameters, and the variables of the module's scope. Bodies are skipped by their braces. It is
//! not a parser for execution; it follows the grammar of the PTX ISA manual at module level and
//! keeps going over directives that it does not know.
//!
//! Input is bytes without a closing NUL. Nothing makes it panic, and what it allocates is in
//! proportion to the names it finds.

mod lexer;
mod scan;

/// Where a scan stopped, and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("PTX line {line}: {why}")]
pub struct PtxError {
    /// The line, from 1.
    pub line: u32,
    /// What was found, or was not.
    pub why: &'static str,
}

/// What a module declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline<'a> {
    /// The PTX version: `(9, 0)`.
    pub version: (u16, u16),
    /// The target and its options, as written: `sm_75`, `texmode_independent`.
    pub targets: Vec<&'a str>,
    /// 32 or 64.
    pub address_size: u8,
    /// The kernels, in order.
    pub entries: Vec<Entry<'a>>,
    /// The variables of the module's scope, in order.
    pub variables: Vec<Variable<'a>>,
}

impl Outline<'_> {
    /// The architecture as a number: 75 for `sm_75`, also for `sm_90a`.
    #[must_use]
    pub fn arch(&self) -> Option<u32> {
        let name = self
            .targets
            .iter()
            .find_map(|target| target.strip_prefix("sm_"))?;
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        name.get(..digits)?.parse().ok()
    }
}

/// Who may see a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linkage {
    /// This module alone.
    #[default]
    Internal,
    /// Everyone; the definition is here.
    Visible,
    /// Everyone; the definition is elsewhere.
    Extern,
    /// Everyone, unless another module defines it too.
    Weak,
    /// Everyone; modules share one.
    Common,
}

/// A kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Who may see it.
    pub linkage: Linkage,
    /// Its parameters, in order.
    pub params: Vec<Param<'a>>,
}

impl Entry<'_> {
    /// The size of the parameter block.
    #[must_use]
    pub fn param_bytes(&self) -> u64 {
        self.params.last().map_or(0, |last| last.offset + last.size)
    }
}

/// A parameter of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name.
    pub name: &'a str,
    /// Bytes from the start of the parameter block.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// A power of two.
    pub align: u64,
}

/// Where a variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Device memory.
    Global,
    /// Constant memory; with a bank, for old modules.
    Const,
    /// Shared memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
}

/// A variable of the module's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it lies.
    pub space: Space,
    /// Bytes; `None` for an array whose size is left open (dynamic shared memory, declarations).
    pub size: Option<u64>,
    /// A power of two.
    pub align: u64,
    /// Whether the module gives its first value.
    pub initialised: bool,
    /// Who may see it.
    pub linkage: Linkage,
    /// Whether it is a `__managed__` variable.
    pub managed: bool,
    /// Whether it is a texture, sampler or surface reference.
    pub reference: bool,
}
