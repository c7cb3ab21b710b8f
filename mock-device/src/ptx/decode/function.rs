//! One function's body: scopes, operands, and the emission of instructions.

use std::collections::HashMap;

use super::super::PtxError;
use super::super::ast::{Decl, DeclSpace, Function, Instruction, Operand, Statement};
use super::super::code::{CallSite, Code, Inst, NONE, Op, Place, Slot};
use super::super::types::Width;
use super::form::Form;
use super::unit::{Global, Unit};
use super::{allocate, arith, async_copy, control, convert, data, memory};

/// What a name means inside a function.
#[derive(Debug, Clone)]
pub(super) enum Symbol<'a> {
    Register(Slot, Width),
    /// Rows of a vector register.
    VectorRegister(Vec<Slot>, Width),
    /// In the frame: `.local` variables and call parameters.
    Frame {
        offset: u32,
        size: u32,
    },
    /// A parameter of the kernel itself.
    KernelParam {
        offset: u32,
    },
    Global(Global),
    Label(u32),
    Targets(Vec<&'a str>),
    Prototype {
        returns: Vec<u32>,
        params: Vec<u32>,
    },
}

#[derive(Debug, Default)]
struct Scope<'a> {
    names: HashMap<&'a str, Symbol<'a>>,
    /// `%r<10>`: prefix, count, width.
    ranges: Vec<(&'a str, u32, Width)>,
}

/// A function being decoded.
pub(super) struct Decoder<'u, 'a> {
    pub(super) unit: &'u mut Unit<'a>,
    pub(super) number: u32,
    pub(super) entry: bool,
    scopes: Vec<Scope<'a>>,
    /// Width of each virtual register.
    pub(super) registers: Vec<Width>,
    pub(super) code: Vec<Inst>,
    /// Instruction number of each label, once met.
    labels: Vec<Option<u32>>,
    pub(super) sites: Vec<CallSite>,
    /// Frame bytes in use by the open scopes, and the most there ever were.
    local: u32,
    pub(super) frame: u32,
    line: u32,
    guard: (Slot, bool),
    /// The next instruction is the first of its line of text.
    first: bool,
    carry: Option<Slot>,
}

/// Decodes a function and appends its code to the unit's.
pub(super) fn decode_function<'a>(
    unit: &mut Unit<'a>,
    number: u32,
    function: &Function<'a>,
) -> Result<Code, PtxError> {
    let mut decoder = Decoder {
        unit,
        number,
        entry: function.entry,
        scopes: vec![Scope::default()],
        registers: Vec::new(),
        code: Vec::new(),
        labels: Vec::new(),
        sites: Vec::new(),
        local: 0,
        frame: 0,
        line: function.line,
        guard: (NONE, false),
        first: true,
        carry: None,
    };
    let (params, results) = decoder.signature(function)?;
    if let Some(body) = &function.body {
        decoder.scope(body)?;
    }
    // Falling off the end returns.
    decoder.guard = (NONE, false);
    decoder.emit(Inst::new(Op::Ret, function.line));
    decoder.resolve_labels()?;
    allocate::place(decoder, function.name, params, results)
}

/// Offsets of a kernel's parameters and the size of them all.
pub(in crate::ptx) fn kernel_params(params: &[Decl<'_>]) -> (Vec<u32>, u32) {
    let mut end = 0u64;
    let mut offsets = Vec::new();
    for param in params {
        let at = end.next_multiple_of(param.align.max(1));
        offsets.push(at as u32);
        end = at.saturating_add(param.size()).min(1 << 30);
    }
    (offsets, end as u32)
}

impl<'a> Decoder<'_, 'a> {
    pub(super) fn syntax(&self, message: impl Into<String>) -> PtxError {
        PtxError::Syntax {
            line: self.line,
            message: message.into(),
        }
    }

    fn signature(&mut self, function: &Function<'a>) -> Result<(Vec<Place>, Vec<Place>), PtxError> {
        if function.entry {
            let (offsets, size) = kernel_params(&function.params);
            if size > 1 << 16 {
                return Err(self.syntax("too many parameters"));
            }
            for (param, offset) in function.params.iter().zip(offsets) {
                self.define(param.name, Symbol::KernelParam { offset });
            }
            return Ok((Vec::new(), Vec::new()));
        }
        let mut places = |decls: &[Decl<'a>]| -> Result<Vec<Place>, PtxError> {
            decls.iter().map(|decl| self.parameter(decl)).collect()
        };
        Ok((places(&function.params)?, places(&function.returns)?))
    }

    fn parameter(&mut self, decl: &Decl<'a>) -> Result<Place, PtxError> {
        self.declare(decl)?;
        match self.lookup(decl.name) {
            Some(Symbol::Register(slot, width)) => Ok(Place::Register { slot, width }),
            Some(Symbol::Frame { offset, size }) => Ok(Place::Memory { offset, size }),
            _ => Err(self.syntax(format!("`{}` cannot be a parameter", decl.name))),
        }
    }

    pub(super) fn at_line(&self) -> u32 {
        self.line
    }

    /// A new virtual register.
    pub(super) fn register(&mut self, width: Width) -> Slot {
        self.registers.push(width);
        self.registers.len() as Slot - 1
    }

    fn define(&mut self, name: &'a str, symbol: Symbol<'a>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.names.insert(name, symbol);
        }
    }

    fn declare(&mut self, decl: &Decl<'a>) -> Result<(), PtxError> {
        self.line = decl.line;
        match decl.space {
            DeclSpace::Reg => {
                let width = decl.ty.width();
                if let (Some(count), Some(scope)) = (decl.range, self.scopes.last_mut()) {
                    scope.ranges.push((decl.name, count, width));
                } else if decl.vector > 1 {
                    let rows = (0..decl.vector).map(|_| self.register(width)).collect();
                    self.define(decl.name, Symbol::VectorRegister(rows, width));
                } else {
                    let slot = self.register(width);
                    self.define(decl.name, Symbol::Register(slot, width));
                }
            }
            DeclSpace::Local | DeclSpace::Param => {
                let at = u64::from(self.local).next_multiple_of(decl.align.max(1));
                let end = at.saturating_add(decl.size());
                if end > 1 << 20 {
                    return Err(self.syntax(format!("`{}` is too large", decl.name)));
                }
                self.local = end as u32;
                self.frame = self.frame.max(self.local);
                let symbol = Symbol::Frame {
                    offset: at as u32,
                    size: decl.size() as u32,
                };
                self.define(decl.name, symbol);
            }
            DeclSpace::Shared | DeclSpace::Global | DeclSpace::Const => {
                let global = self.unit.declare(decl)?;
                self.define(decl.name, Symbol::Global(global));
            }
        }
        Ok(())
    }

    /// Looks a name up, innermost scope first.
    pub(super) fn lookup(&mut self, name: &'a str) -> Option<Symbol<'a>> {
        for index in (0..self.scopes.len()).rev() {
            if let Some(symbol) = self.scopes[index].names.get(name) {
                return Some(symbol.clone());
            }
            let found = self.scopes[index]
                .ranges
                .iter()
                .find_map(|&(prefix, count, width)| {
                    let digits = name.strip_prefix(prefix)?;
                    let plain = digits.bytes().all(|b| b.is_ascii_digit());
                    let number: u32 = digits.parse().ok().filter(|_| plain)?;
                    (number < count).then_some(width)
                });
            if let Some(width) = found {
                let slot = self.register(width);
                let symbol = Symbol::Register(slot, width);
                self.scopes[index].names.insert(name, symbol.clone());
                return Some(symbol);
            }
        }
        if let Some((vector, element)) = name.rsplit_once('.')
            && let Some(Symbol::VectorRegister(rows, width)) = self.lookup(vector)
        {
            let at = match element {
                "x" | "r" => 0,
                "y" | "g" => 1,
                "z" | "b" => 2,
                "w" | "a" => 3,
                _ => return None,
            };
            return rows.get(at).map(|&slot| Symbol::Register(slot, width));
        }
        self.unit.find(self.unit.scope, name).map(Symbol::Global)
    }

    /// Decodes the statements of one scope.
    fn scope(&mut self, statements: &[Statement<'a>]) -> Result<(), PtxError> {
        self.scopes.push(Scope::default());
        let local = self.local;
        // Labels can be used before they stand.
        for statement in statements {
            match statement {
                Statement::Label(name, _) => {
                    self.labels.push(None);
                    self.define(name, Symbol::Label(self.labels.len() as u32 - 1));
                }
                Statement::BranchTargets(name, targets) => {
                    self.define(name, Symbol::Targets(targets.clone()));
                }
                Statement::CallPrototype(name, returns, params) => {
                    let sizes = |list: &[Decl<'a>]| list.iter().map(|d| d.size() as u32).collect();
                    let symbol = Symbol::Prototype {
                        returns: sizes(returns),
                        params: sizes(params),
                    };
                    self.define(name, symbol);
                }
                _ => {}
            }
        }
        for statement in statements {
            match statement {
                Statement::Label(name, line) => {
                    self.line = *line;
                    let number = self.label(name)?;
                    let at = self.code.len() as u32;
                    if self.labels[number as usize].replace(at).is_some() {
                        return Err(self.syntax(format!("label `{name}` stands twice")));
                    }
                }
                Statement::Decl(decl) => self.declare(decl)?,
                Statement::Scope(inner) => self.scope(inner)?,
                Statement::Instruction(instruction) => self.instruction(instruction)?,
                Statement::BranchTargets(..) | Statement::CallPrototype(..) => {}
            }
        }
        self.scopes.pop();
        self.local = local;
        Ok(())
    }

    /// The number of a label.
    pub(super) fn label(&mut self, name: &'a str) -> Result<u32, PtxError> {
        match self.lookup(name) {
            Some(Symbol::Label(number)) => Ok(number),
            _ => Err(PtxError::Undefined {
                line: self.line,
                name: name.into(),
            }),
        }
    }

    fn resolve_labels(&mut self) -> Result<(), PtxError> {
        for inst in &mut self.code {
            let place = |label: u32| {
                let at = self.labels.get(label as usize).copied().flatten();
                at.ok_or(PtxError::Syntax {
                    line: inst.line,
                    message: "lost label".into(),
                })
            };
            match inst.op {
                Op::Branch => inst.x = place(inst.x as u32)?.into(),
                Op::BranchTable => {
                    for target in &mut inst.list {
                        *target = place(*target)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn instruction(&mut self, ins: &Instruction<'a>) -> Result<(), PtxError> {
        self.line = ins.line;
        self.first = true;
        self.guard = (NONE, false);
        if let Some((name, negated)) = ins.guard {
            let (slot, flipped) = self.predicate(&Operand::Name(name, 0))?;
            self.guard = (slot, negated != flipped);
        }
        let mut form = Form::new(ins.opcode, ins.line);
        let ops = &ins.operands[..];
        match form.head {
            "mov" | "cvta" | "isspacep" | "selp" | "slct" | "activemask" | "cvt" | "mapa" => {
                if form.head == "cvt" {
                    convert::decode(self, &mut form, ops)
                } else {
                    data::decode(self, &mut form, ops)
                }
            }
            "ld" | "ldu" | "st" | "atom" | "red" | "prefetch" | "prefetchu" | "discard"
            | "applypriority" | "membar" | "fence" | "createpolicy" => {
                memory::decode(self, &mut form, ops)
            }
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "brkpt" | "bar" | "barrier"
            | "vote" | "shfl" | "match" | "redux" | "elect" | "nanosleep" | "pmevent"
            | "setmaxnreg" | "griddepcontrol" => control::decode(self, &mut form, ops),
            "cp" => async_copy::decode(self, &mut form, ops),
            _ => arith::decode(self, &mut form, ops),
        }
    }

    /// Appends an instruction under the current guard.
    pub(super) fn emit(&mut self, mut inst: Inst) {
        inst.line = self.line;
        (inst.guard, inst.guard_negated) = self.guard;
        inst.weight = u8::from(std::mem::replace(&mut self.first, false));
        self.code.push(inst);
    }

    /// Runs `f` with the instructions it emits unguarded.
    pub(super) fn unguarded<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let guard = std::mem::replace(&mut self.guard, (NONE, false));
        let first = std::mem::replace(&mut self.first, false);
        let result = f(self);
        self.guard = guard;
        self.first = first;
        result
    }

    /// The predicate that stands for the carry flag.
    pub(super) fn carry(&mut self) -> Slot {
        match self.carry {
            Some(slot) => slot,
            None => {
                let slot = self.register(Width::Pred);
                self.carry = Some(slot);
                slot
            }
        }
    }
}
