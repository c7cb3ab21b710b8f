//! `cp.async`: copies from global to shared memory that may be late.
//!
//! Here they are never late: the copy is made at once, and waiting for it is
//! nothing. Forms that signal an mbarrier are refused.

use super::super::PtxError;
use super::super::ast::Operand;
use super::super::code::{Access, Inst, Op};
use super::super::exec::cx::Cx;
use super::super::exec::memory::copy_to_shared;
use super::super::types::Ty;
use super::form::Form;
use super::function::Decoder;

/// Decodes a `cp`, or refuses it.
pub(super) fn decode<'a>(
    d: &mut Decoder<'_, 'a>,
    f: &mut Form<'_>,
    ops: &[Operand<'a>],
) -> Result<(), PtxError> {
    fn nothing(_: &mut Cx<'_>, _: &Inst) {}
    if !f.eat("async") {
        return Err(f.unsupported());
    }
    if f.eat("commit_group") || f.eat("wait_group") || f.eat("wait_all") {
        f.done()?;
        d.emit(Inst::new(Op::Lanes(nothing), 0));
        return Ok(());
    }
    let cached = f.eat("ca") || f.eat("cg");
    let spaces = (f.eat("shared") || f.eat("shared::cta")) && f.eat("global");
    while f.find(|p| p.starts_with("L2::").then_some(())).is_some() {}
    f.done()?;
    let (target, source, size, filled) = match ops {
        [target, source, Operand::Int(size)] => (target, source, *size, None),
        [target, source, Operand::Int(size), filled] => (target, source, *size, Some(filled)),
        _ => return Err(f.syntax("wrong operands")),
    };
    if !cached || !spaces || !matches!(size, 4 | 8 | 16) {
        return Err(f.unsupported());
    }
    let target = d.address(target)?;
    let source = d.address(source)?;
    let mut inst = Inst::new(Op::Access(copy_to_shared), 0);
    inst.space = Access::Shared;
    (inst.s[0], inst.narrow, inst.x) = (target.base, target.narrow, target.offset);
    if source.narrow || source.offset != 0 {
        // One offset is all an instruction has: add this one beforehand.
        let base = d.sum(source)?;
        inst.s[1] = base;
    } else {
        inst.s[1] = source.base;
    }
    inst.aux = size as u32;
    if let Some(filled) = filled {
        inst.s[2] = d.source(filled, Ty::U32)?;
    }
    d.emit(inst);
    Ok(())
}
