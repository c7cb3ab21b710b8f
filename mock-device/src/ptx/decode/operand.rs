//! Operands: registers, immediates, symbols and special registers as slots.

use super::super::PtxError;
use super::super::ast::{Base, Operand};
use super::super::code::{Access, ConstValue, Handler, Inst, NONE, Op, Slot};
use super::super::exec::lanes::op2;
use super::super::exec::softfloat::{Format, Round, pack, unpack};
use super::super::exec::special::{self, Special};
use super::super::types::{Ty, Width};
use super::form::Form;
use super::function::{Decoder, Symbol};
use super::unit::Global;

/// Where a memory operand points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    pub(super) base: Slot,
    pub(super) narrow: bool,
    pub(super) offset: u64,
    /// Space that the symbol itself decides.
    pub(super) space: Option<Access>,
}

impl<'a> Decoder<'_, 'a> {
    /// Exactly `N` operands.
    pub(super) fn take<'o, const N: usize>(
        &self,
        form: &Form<'_>,
        operands: &'o [Operand<'a>],
    ) -> Result<[&'o Operand<'a>; N], PtxError> {
        let all: Vec<&Operand<'a>> = operands.iter().collect();
        all.try_into()
            .map_err(|_| form.syntax(&format!("takes {N} operands")))
    }

    /// A destination register of that width; `_` gives a row nobody reads.
    pub(super) fn target(&mut self, operand: &Operand<'a>, width: Width) -> Result<Slot, PtxError> {
        match operand {
            Operand::Sink => Ok(self.register(width)),
            Operand::Name(name, 0) => match self.lookup(name) {
                Some(Symbol::Register(slot, own)) if own == width => Ok(slot),
                Some(Symbol::Register(..)) => {
                    Err(self.syntax(format!("register `{name}` has the wrong width")))
                }
                Some(_) => Err(self.syntax(format!("`{name}` is no register"))),
                None => Err(self.undefined(name)),
            },
            _ => Err(self.syntax("the destination must be a register")),
        }
    }

    /// A destination register and its own width.
    pub(super) fn any_target(
        &mut self,
        operand: &Operand<'a>,
        sink: Width,
    ) -> Result<(Slot, Width), PtxError> {
        if let Operand::Name(name, 0) = operand
            && let Some(Symbol::Register(slot, width)) = self.lookup(name)
        {
            return Ok((slot, width));
        }
        Ok((self.target(operand, sink)?, sink))
    }

    pub(super) fn undefined(&self, name: &str) -> PtxError {
        match self.syntax("") {
            PtxError::Syntax { line, .. } => PtxError::Undefined {
                line,
                name: name.into(),
            },
            other => other,
        }
    }

    /// A source of the type's width.
    pub(super) fn source(&mut self, operand: &Operand<'a>, ty: Ty) -> Result<Slot, PtxError> {
        let (slot, width) = self.any_source(operand, ty)?;
        if width == ty.width() {
            Ok(slot)
        } else {
            Err(self.syntax(format!("operand {operand:?} has the wrong width")))
        }
    }

    /// A source and its own width; immediates take the type's.
    pub(super) fn any_source(
        &mut self,
        operand: &Operand<'a>,
        ty: Ty,
    ) -> Result<(Slot, Width), PtxError> {
        let width = ty.width();
        let bits = match operand {
            Operand::Int(value) => int_bits(*value, ty),
            Operand::F32(bits) => float_bits(Format::F32, (*bits).into(), ty),
            Operand::F64(bits) => float_bits(Format::F64, *bits, ty),
            Operand::Name("WARP_SZ", 0) => 32,
            Operand::Name(name, addend) => return self.named(name, *addend, ty),
            _ => return Err(self.syntax(format!("{operand:?} cannot be a source here"))),
        };
        Ok((self.unit.constant(width, ConstValue::Bits(bits)), width))
    }

    fn named(&mut self, name: &'a str, addend: i64, ty: Ty) -> Result<(Slot, Width), PtxError> {
        let width = ty.width();
        match self.lookup(name) {
            Some(Symbol::Register(slot, own)) if addend == 0 => Ok((slot, own)),
            Some(Symbol::Global(global)) => {
                let value = match global {
                    Global::Variable(index) => ConstValue::Variable { index, addend },
                    Global::Shared(index) => {
                        self.uses_shared(index);
                        ConstValue::Shared { index, addend }
                    }
                    Global::Function(index) => {
                        self.unit.addressed.push(index);
                        ConstValue::Function { index }
                    }
                };
                if width < Width::W32 {
                    return Err(self.syntax(format!("the address of `{name}` does not fit")));
                }
                Ok((self.unit.constant(width, value), width))
            }
            Some(Symbol::Frame { offset, .. }) => {
                let slot = self.register(width);
                let op = match width {
                    Width::W32 => Op::Lanes(special::frame_address32),
                    Width::W64 => Op::Lanes(special::frame_address),
                    _ => return Err(self.syntax(format!("the address of `{name}` does not fit"))),
                };
                let x = (i64::from(offset) + addend) as u64;
                self.unguarded(|d| {
                    d.emit(Inst {
                        d: slot,
                        x,
                        ..Inst::new(op, 0)
                    })
                });
                Ok((slot, width))
            }
            Some(Symbol::KernelParam { offset }) => {
                let value = ConstValue::Bits((i64::from(offset) + addend) as u64 as u128);
                Ok((self.unit.constant(width, value), width))
            }
            Some(_) => Err(self.syntax(format!("`{name}` is no value"))),
            None => self.special(name),
        }
    }

    /// Reads a special register into a row of its own.
    fn special(&mut self, name: &'a str) -> Result<(Slot, Width), PtxError> {
        let Some((special, bits)) = Special::parse(name) else {
            if name.starts_with('%') && name[1..].starts_with(|c: char| c.is_ascii_lowercase()) {
                let what = format!("register `{name}` (neither declared nor special)");
                return Err(PtxError::Unsupported {
                    line: self.at_line(),
                    what,
                });
            }
            return Err(self.undefined(name));
        };
        let width = match bits {
            1 => Width::Pred,
            32 => Width::W32,
            _ => Width::W64,
        };
        let slot = self.register(width);
        let op = Op::Lanes(special::read);
        let x = special.number();
        self.unguarded(|d| {
            d.emit(Inst {
                d: slot,
                x,
                ..Inst::new(op, 0)
            })
        });
        Ok((slot, width))
    }

    pub(super) fn uses_shared(&mut self, index: u32) {
        let number = self.number;
        let users = &mut self.unit.shared[index as usize].users;
        if !users.contains(&number) {
            users.push(number);
        }
    }

    /// A predicate source: slot, and whether it is negated.
    pub(super) fn predicate(&mut self, operand: &Operand<'a>) -> Result<(Slot, bool), PtxError> {
        let (name, negated) = match operand {
            Operand::Name(name, 0) => (*name, false),
            Operand::Not(name) => (*name, true),
            Operand::Int(value) => {
                let bits = ConstValue::Bits(u128::from(*value != 0));
                return Ok((self.unit.constant(Width::Pred, bits), false));
            }
            _ => return Err(self.syntax("a predicate is wanted")),
        };
        match self.lookup(name) {
            Some(Symbol::Register(slot, Width::Pred)) => Ok((slot, negated)),
            Some(_) => Err(self.syntax(format!("`{name}` is no predicate"))),
            None => {
                let (slot, width) = self.special(name)?;
                if width == Width::Pred {
                    Ok((slot, negated))
                } else {
                    Err(self.syntax(format!("`{name}` is no predicate")))
                }
            }
        }
    }

    /// `[…]`
    pub(super) fn address(&mut self, operand: &Operand<'a>) -> Result<Address, PtxError> {
        let Operand::Address(base, offset) = operand else {
            return Err(self.syntax("an address in brackets is wanted"));
        };
        let none = Address {
            base: NONE,
            narrow: false,
            offset: *offset as u64,
            space: None,
        };
        let name = match base {
            Base::None => return Ok(none),
            Base::Name(name) => *name,
        };
        Ok(match self.lookup(name) {
            Some(Symbol::Register(base, Width::W64)) => Address { base, ..none },
            Some(Symbol::Register(base, Width::W32)) => Address {
                base,
                narrow: true,
                ..none
            },
            Some(Symbol::Frame { offset: at, .. }) => Address {
                offset: (i64::from(at) + offset) as u64,
                space: Some(Access::Frame),
                ..none
            },
            Some(Symbol::KernelParam { offset: at }) => Address {
                offset: (i64::from(at) + offset) as u64,
                space: Some(Access::Param),
                ..none
            },
            Some(Symbol::Global(global)) => {
                let (base, _) = self.named(name, 0, Ty::U64)?;
                let space = match global {
                    Global::Shared(_) => Access::Shared,
                    _ => Access::Global,
                };
                Address {
                    base,
                    space: Some(space),
                    ..none
                }
            }
            Some(_) => return Err(self.syntax(format!("`{name}` is no address"))),
            None => return Err(self.undefined(name)),
        })
    }

    /// An address's base plus its offset, in a register of its own.
    pub(super) fn sum(&mut self, address: Address) -> Result<Slot, PtxError> {
        if address.narrow || address.base == NONE {
            return Err(self.syntax("a 64-bit base register is wanted"));
        }
        let offset = self.source(&Operand::Int((address.offset as i64).into()), Ty::U64)?;
        let slot = self.register(Width::W64);
        let add = op2!(u64, u64 => u64, |a, b| a.wrapping_add(b));
        self.unguarded(|d| d.lanes(add, slot, &[address.base, offset]));
        Ok(slot)
    }

    /// The rows of a vector register, if the operand names one.
    pub(super) fn vector_register(&mut self, operand: &Operand<'a>) -> Option<(Vec<Slot>, Width)> {
        match operand {
            Operand::Name(name, 0) => match self.lookup(name) {
                Some(Symbol::VectorRegister(rows, width)) => Some((rows, width)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Emits `d = handler(sources)`.
    pub(super) fn lanes(&mut self, handler: Handler, d: Slot, sources: &[Slot]) {
        self.lanes_x(handler, d, sources, 0);
    }

    /// The same with a number in `x`.
    pub(super) fn lanes_x(&mut self, handler: Handler, d: Slot, sources: &[Slot], x: u64) {
        let mut inst = Inst {
            d,
            x,
            ..Inst::new(Op::Lanes(handler), 0)
        };
        inst.s[..sources.len()].copy_from_slice(sources);
        self.emit(inst);
    }
}

fn int_bits(value: i128, ty: Ty) -> u128 {
    use super::super::exec::convert::format;
    match format(ty) {
        // An integer as a number of a floating-point type.
        Some(f) if matches!(ty, Ty::F32 | Ty::F64) => pack(
            f,
            super::super::exec::softfloat::from_int(value),
            Round::Nearest,
        )
        .into(),
        _ => match ty.size() {
            1 => (value as u8).into(),
            2 => (value as u16).into(),
            4 => (value as u32).into(),
            8 => (value as u64).into(),
            _ => value as u128,
        },
    }
}

/// A floating-point immediate in a type's own bits; bit types take the
/// literal's bits.
fn float_bits(from: Format, bits: u64, ty: Ty) -> u128 {
    use super::super::exec::convert::format;
    match format(ty) {
        Some(to) if to != from && !matches!(ty, Ty::F16x2 | Ty::BF16x2) => {
            pack(to, unpack(from, bits), Round::Nearest).into()
        }
        _ => bits.into(),
    }
}
