//! What the functions of a module share while it is decoded: symbols,
//! constant rows, shared variables, the instructions themselves.

use std::collections::HashMap;

use super::super::PtxError;
use super::super::ast::{Ast, Decl, DeclSpace, Function};
use super::super::code::{CONST, CallSite, Code, ConstValue, Inst, Slot};
use super::super::types::Width;
use super::function::decode_function;
use super::link;

/// A module-scope name.
#[derive(Debug, Clone, Copy)]
pub(in crate::ptx) enum Global {
    Variable(u32),
    Shared(u32),
    Function(u32),
}

/// A `.shared` variable of the module or of a function.
#[derive(Debug, Clone)]
pub(in crate::ptx) struct SharedVariable {
    pub(in crate::ptx) size: u64,
    pub(in crate::ptx) align: u64,
    /// `extern .shared x[]`: starts behind all static ones.
    pub(in crate::ptx) dynamic: bool,
    /// Offset in the block's shared memory, set by the layout.
    pub(in crate::ptx) offset: u64,
    /// Functions whose code names it.
    pub(in crate::ptx) users: Vec<u32>,
}

/// A module being decoded.
#[derive(Debug, Default)]
pub(in crate::ptx) struct Unit<'a> {
    /// What the names of each text mean.
    pub(super) scopes: Vec<HashMap<&'a str, Global>>,
    /// The text that is being decoded.
    pub(super) scope: usize,
    pub(in crate::ptx) variables: Vec<Decl<'a>>,
    /// The text that each variable comes from.
    pub(in crate::ptx) homes: Vec<usize>,
    pub(in crate::ptx) shared: Vec<SharedVariable>,
    pub(in crate::ptx) functions: Vec<Code>,
    /// Declared functions; calls of those without a body are refused.
    pub(in crate::ptx) declared: Vec<Function<'a>>,
    /// Direct calls, caller and callee.
    pub(in crate::ptx) calls: Vec<(u32, u32)>,
    /// Functions that call through pointers.
    pub(in crate::ptx) indirect: Vec<u32>,
    /// Functions whose address is taken.
    pub(in crate::ptx) addressed: Vec<u32>,
    pub(in crate::ptx) code: Vec<Inst>,
    pub(in crate::ptx) sites: Vec<CallSite>,
    pub(in crate::ptx) constants: Vec<(Slot, Width, ConstValue)>,
    pub(in crate::ptx) constant_bytes: u32,
    known: HashMap<(Width, ConstValue), Slot>,
}

impl<'a> Unit<'a> {
    /// What a name of module scope means in that text.
    pub(in crate::ptx) fn find(&self, scope: usize, name: &str) -> Option<Global> {
        self.scopes.get(scope)?.get(name).copied()
    }

    /// The slot of a constant row.
    pub(super) fn constant(&mut self, width: Width, value: ConstValue) -> Slot {
        if let Some(&slot) = self.known.get(&(width, value)) {
            return slot;
        }
        let at = self.constant_bytes.next_multiple_of(width.row().min(64));
        let slot = at | CONST;
        self.constant_bytes = at + width.row();
        self.constants.push((slot, width, value));
        self.known.insert((width, value), slot);
        slot
    }

    /// Declares a variable of the module, or of a function under its own name.
    pub(super) fn declare(&mut self, decl: &Decl<'a>) -> Result<Global, PtxError> {
        let line = decl.line;
        match decl.space {
            DeclSpace::Global | DeclSpace::Const => {
                self.variables.push(decl.clone());
                self.homes.push(self.scope);
                Ok(Global::Variable(self.variables.len() as u32 - 1))
            }
            DeclSpace::Shared => {
                if !decl.init.is_empty() {
                    let what = "an initialiser in `.shared`".into();
                    return Err(PtxError::Unsupported { line, what });
                }
                let dynamic = decl.elements.is_none();
                if decl.size() > 1 << 24 {
                    let message = format!("`{}` is too large for shared memory", decl.name);
                    return Err(PtxError::Syntax { line, message });
                }
                self.shared.push(SharedVariable {
                    size: decl.size(),
                    align: decl.align,
                    dynamic,
                    offset: 0,
                    users: Vec::new(),
                });
                Ok(Global::Shared(self.shared.len() as u32 - 1))
            }
            _ => Err(PtxError::Unsupported {
                line,
                what: format!("`{}`: this state space at module scope", decl.name),
            }),
        }
    }
}

/// Decodes a whole module: one text, or several that name each other's symbols.
pub(in crate::ptx) fn decode<'a>(texts: &[Ast<'a>]) -> Result<Unit<'a>, PtxError> {
    let mut unit = Unit::default();
    let bodies = link::link(&mut unit, texts)?;
    for (number, body) in bodies.iter().enumerate() {
        let code = match body {
            Some((scope, function)) => {
                unit.scope = *scope;
                decode_function(&mut unit, number as u32, function)?
            }
            None => Code {
                name: unit.declared[number].name.into(),
                start: u32::MAX,
                ..Code::default()
            },
        };
        unit.functions.push(code);
    }
    check_defined(&unit)?;
    layout_shared(&mut unit);
    Ok(unit)
}

/// Every function that can be called must have a body.
fn check_defined(unit: &Unit<'_>) -> Result<(), PtxError> {
    let called = unit
        .calls
        .iter()
        .map(|(_, callee)| callee)
        .chain(&unit.addressed);
    for &callee in called {
        let code = &unit.functions[callee as usize];
        if code.start == u32::MAX {
            let line = unit.declared[callee as usize].line;
            let what = format!(
                "function `{}`, which the module does not define,",
                code.name
            );
            return Err(PtxError::Unsupported { line, what });
        }
    }
    Ok(())
}

/// The functions that each kernel can reach.
pub(in crate::ptx) fn reachable(unit: &Unit<'_>, from: u32) -> Vec<bool> {
    let mut seen = vec![false; unit.functions.len()];
    let mut todo = vec![from];
    while let Some(function) = todo.pop() {
        if std::mem::replace(&mut seen[function as usize], true) {
            continue;
        }
        todo.extend(
            unit.calls
                .iter()
                .filter(|(caller, _)| *caller == function)
                .map(|(_, c)| c),
        );
        if unit.indirect.contains(&function) {
            todo.extend(&unit.addressed);
        }
    }
    seen
}

/// Gives every shared variable an offset: two that some kernel can both see
/// do not overlap, others may.
fn layout_shared(unit: &mut Unit<'_>) {
    let kernels: Vec<Vec<bool>> = (0..unit.functions.len() as u32)
        .filter(|&f| unit.declared[f as usize].entry)
        .map(|f| reachable(unit, f))
        .collect();
    let sees = |reach: &[bool], v: &SharedVariable| v.users.iter().any(|&u| reach[u as usize]);
    let mut ends = vec![0u64; kernels.len()];
    for dynamic in [false, true] {
        for variable in unit.shared.iter_mut().filter(|v| v.dynamic == dynamic) {
            let users: Vec<usize> = (0..kernels.len())
                .filter(|&k| sees(&kernels[k], variable))
                .collect();
            let start = users.iter().map(|&k| ends[k]).max().unwrap_or(0);
            let align = if dynamic {
                variable.align.max(16)
            } else {
                variable.align
            };
            variable.offset = start.next_multiple_of(align.max(1));
            if !dynamic {
                for k in users {
                    ends[k] = variable.offset + variable.size;
                }
            }
        }
    }
}
