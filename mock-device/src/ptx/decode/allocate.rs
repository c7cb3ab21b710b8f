//! Places a function's virtual registers in its frame and appends its code
//! to the module's.

use super::super::PtxError;
use super::super::code::{CONST, Code, Inst, NONE, Op, Place, Slot};
use super::function::Decoder;

/// Frames start at multiples of this in local memory, so that any alignment
/// up to it holds inside them.
const FRAME_ALIGN: u32 = 128;

/// Finishes a function.
pub(super) fn place(
    decoder: Decoder<'_, '_>,
    name: &str,
    mut params: Vec<Place>,
    mut results: Vec<Place>,
) -> Result<Code, PtxError> {
    let Decoder {
        unit,
        registers,
        mut code,
        mut sites,
        frame,
        ..
    } = decoder;
    let mut rows = 0u32;
    let mut offsets = Vec::with_capacity(registers.len());
    for width in &registers {
        let at = rows.next_multiple_of(width.row().min(64));
        offsets.push(at);
        rows = at + width.row();
    }
    let place = |slot: &mut Slot| {
        if *slot & CONST == 0 {
            *slot = offsets[*slot as usize];
        }
    };
    let start = unit.code.len() as u32;
    let site_start = unit.sites.len() as u32;
    for inst in &mut code {
        for_each_slot(inst, place);
        match inst.op {
            Op::Branch => inst.x += u64::from(start),
            Op::BranchTable => inst.list.iter_mut().for_each(|t| *t += start),
            Op::Call | Op::CallIndirect => inst.aux += site_start,
            _ => {}
        }
    }
    let all = sites
        .iter_mut()
        .flat_map(|s| s.args.iter_mut().chain(&mut s.results));
    for one in all.chain(&mut params).chain(&mut results) {
        if let Place::Register { slot, .. } = one {
            place(slot);
        }
    }
    unit.code.append(&mut code);
    unit.sites.append(&mut sites);
    Ok(Code {
        name: name.into(),
        start,
        rows,
        local: frame.next_multiple_of(FRAME_ALIGN),
        params,
        results,
    })
}

/// Applies `f` to every register slot of an instruction.
fn for_each_slot(inst: &mut Inst, f: impl Fn(&mut Slot)) {
    let single = [&mut inst.guard, &mut inst.d, &mut inst.e]
        .into_iter()
        .chain(&mut inst.s);
    single.filter(|s| **s != NONE).for_each(&f);
    if inst.op_has_slots() {
        inst.list.iter_mut().for_each(f);
    }
}

impl Inst {
    /// Whether `list` holds slots and not branch targets.
    fn op_has_slots(&self) -> bool {
        !matches!(self.op, Op::BranchTable)
    }
}
