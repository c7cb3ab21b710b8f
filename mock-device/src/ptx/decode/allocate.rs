//! Places a function's virtual registers in its frame and appends its code
//! to the module's.
//!
//! Registers whose lives do not overlap share rows: compilers name thousands
//! of them, and a warp's frame should stay in the cache.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::super::PtxError;
use super::super::code::{CONST, Code, Inst, NONE, Op, Place, Slot};
use super::super::types::Width;
use super::function::Decoder;
use super::liveness::{Interval, intervals};

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
    let live = intervals(&code, &sites, &params, &results, registers.len());
    let (offsets, rows) = rows(&registers, &live);
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
            Op::Call | Op::CallIndirect | Op::Print => inst.aux += site_start,
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

/// The byte offset of each register's row, and the bytes of them all: a scan
/// over the intervals by their start, rows of a width being reused once their
/// holder is dead.
fn rows(registers: &[Width], live: &[Option<Interval>]) -> (Vec<u32>, u32) {
    let mut offsets = vec![0; registers.len()];
    let mut order: Vec<usize> = (0..registers.len())
        .filter(|&r| live[r].is_some())
        .collect();
    let interval = |r: usize| live[r].unwrap_or(Interval { start: 0, end: 0 });
    order.sort_by_key(|&r| interval(r).start);
    let mut busy: BinaryHeap<Reverse<(u32, u32, Width)>> = BinaryHeap::new();
    let mut free: HashMap<Width, Vec<u32>> = HashMap::new();
    let mut end = 0u32;
    for register in order {
        let width = registers[register];
        let Interval { start, end: last } = interval(register);
        while let Some(&Reverse((dead, offset, width))) = busy.peek()
            && dead < start
        {
            busy.pop();
            free.entry(width).or_default().push(offset);
        }
        let offset = free.entry(width).or_default().pop().unwrap_or_else(|| {
            let at = end.next_multiple_of(width.row().min(64));
            end = at + width.row();
            at
        });
        offsets[register] = offset;
        busy.push(Reverse((last, offset, width)));
    }
    (offsets, end)
}

/// Applies `f` to every register slot of an instruction.
fn for_each_slot(inst: &mut Inst, f: impl Fn(&mut Slot)) {
    let single = [&mut inst.guard, &mut inst.d, &mut inst.e]
        .into_iter()
        .chain(&mut inst.s);
    single.filter(|s| **s != NONE).for_each(&f);
    if !matches!(inst.op, Op::BranchTable) {
        inst.list.iter_mut().for_each(f);
    }
}
