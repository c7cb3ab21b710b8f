//! Where each virtual register of a function is live, as one interval of
//! instruction numbers.
//!
//! Lanes of a warp may stand at different instructions, but each lane has its
//! own column of every row, so what holds for one thread's control flow holds
//! here. A write under a guard does not end the old value's life.

use super::super::code::{CONST, CallSite, Inst, NONE, Op, Place, Slot};

/// First and last instruction at which a register holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Above this many bits of block-by-register sets, everything counts as live
/// everywhere: such functions are rare and correct that way too.
const MAX_BITS: usize = 1 << 28;

/// What one instruction reads and writes.
fn accesses(
    inst: &Inst,
    sites: &[CallSite],
    results: &[Place],
    mut read: impl FnMut(Slot),
    mut write: impl FnMut(Slot),
) {
    let register = |slot: Slot| slot != NONE && slot & CONST == 0;
    let conditional = inst.guard != NONE;
    let mut reads = |slot| {
        if register(slot) {
            read(slot);
        }
    };
    reads(inst.guard);
    inst.s.iter().for_each(|s| reads(*s));
    let slots = |places: &[Place]| -> Vec<Slot> {
        let slot = |p: &Place| match p {
            Place::Register { slot, .. } => Some(*slot),
            Place::Memory { .. } => None,
        };
        places.iter().filter_map(slot).collect()
    };
    let mut written = vec![inst.d, inst.e];
    match inst.op {
        Op::Call | Op::CallIndirect | Op::Print => {
            let site = &sites[inst.aux as usize];
            slots(&site.args).into_iter().for_each(&mut reads);
            written.extend(slots(&site.results));
        }
        Op::Ret => slots(results).into_iter().for_each(&mut reads),
        Op::BranchTable => {}
        _ if inst.list_is_def => {
            // The first `aux` rows of a vector atomic are operands.
            if matches!(inst.op, Op::Access(_)) && inst.aux > 0 {
                inst.list.iter().for_each(|s| reads(*s));
            }
            written.extend(&inst.list);
        }
        _ => inst.list.iter().for_each(|s| reads(*s)),
    }
    for slot in written.into_iter().filter(|s| register(*s)) {
        if conditional {
            reads(slot);
        }
        write(slot);
    }
}

/// Instructions that may follow number `at`.
fn successors(code: &[Inst], at: usize, mut f: impl FnMut(usize)) {
    let inst = &code[at];
    let falls = match inst.op {
        Op::Branch => {
            f(inst.x as usize);
            false
        }
        Op::BranchTable => {
            inst.list.iter().for_each(|t| f(*t as usize));
            false
        }
        Op::Ret | Op::Exit | Op::Trap => false,
        _ => true,
    };
    if (falls || inst.guard != NONE) && at + 1 < code.len() {
        f(at + 1);
    }
}

/// Live intervals of registers `0..count`; `None` for those never touched.
/// Branch targets must be instruction numbers of `code`.
pub(super) fn intervals(
    code: &[Inst],
    sites: &[CallSite],
    params: &[Place],
    results: &[Place],
    count: usize,
) -> Vec<Option<Interval>> {
    let mut live: Vec<Option<Interval>> = vec![None; count];
    let mut touch = |slot: Slot, at: usize| {
        let at = at as u32;
        let interval = live[slot as usize].get_or_insert(Interval { start: at, end: at });
        interval.start = interval.start.min(at);
        interval.end = interval.end.max(at);
    };
    for param in params {
        if let Place::Register { slot, .. } = param {
            touch(*slot, 0);
        }
    }
    let starts = block_starts(code);
    let words = count.div_ceil(64);
    if starts.len() * words * 64 > MAX_BITS {
        let everywhere = Interval {
            start: 0,
            end: code.len() as u32,
        };
        return vec![Some(everywhere); count];
    }
    let blocks: Vec<(usize, usize)> = starts
        .iter()
        .enumerate()
        .map(|(n, &start)| (start, starts.get(n + 1).copied().unwrap_or(code.len())))
        .collect();
    // Registers read before written, and written, in each block.
    let mut reads = vec![0u64; blocks.len() * words];
    let mut writes = vec![0u64; blocks.len() * words];
    for (block, &(start, end)) in blocks.iter().enumerate() {
        let base = block * words;
        for (at, inst) in code.iter().enumerate().take(end).skip(start) {
            let mut written = Vec::new();
            let read = |slot: Slot| {
                let (word, bit) = (base + slot as usize / 64, 1 << (slot % 64));
                if writes[word] & bit == 0 {
                    reads[word] |= bit;
                }
                touch(slot, at);
            };
            accesses(inst, sites, results, read, |slot| written.push(slot));
            for slot in written {
                writes[base + slot as usize / 64] |= 1 << (slot % 64);
                touch(slot, at);
            }
        }
    }
    let live_in = solve(code, &blocks, words, &reads, &writes);
    // A value that enters a block lives at its first instruction, and at the
    // last one of every block that leads there.
    let mut extend = |block: usize, at: usize| {
        for word in 0..words {
            let mut bits = live_in[block * words + word];
            while bits != 0 {
                touch((word * 64) as Slot + bits.trailing_zeros(), at);
                bits &= bits - 1;
            }
        }
    };
    for (block, &(start, end)) in blocks.iter().enumerate() {
        extend(block, start);
        successors(code, end - 1, |next| {
            if let Ok(next) = starts.binary_search(&next) {
                extend(next, end - 1);
            }
        });
    }
    live
}

fn block_starts(code: &[Inst]) -> Vec<usize> {
    let mut starts = vec![0];
    for (at, inst) in code.iter().enumerate() {
        let ends = matches!(
            inst.op,
            Op::Branch | Op::BranchTable | Op::Ret | Op::Exit | Op::Trap
        );
        if ends {
            successors(code, at, |next| starts.push(next));
            starts.push(at + 1);
        }
    }
    starts.retain(|s| *s < code.len());
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// Registers live at the start of each block, by iteration to the fixed point.
fn solve(
    code: &[Inst],
    blocks: &[(usize, usize)],
    words: usize,
    reads: &[u64],
    writes: &[u64],
) -> Vec<u64> {
    let mut live_in = reads.to_vec();
    let next: Vec<Vec<usize>> = blocks
        .iter()
        .map(|&(_, end)| {
            let mut next = Vec::new();
            successors(code, end - 1, |at| {
                next.extend(blocks.binary_search_by_key(&at, |b| b.0).ok());
            });
            next
        })
        .collect();
    let mut changed = true;
    while changed {
        changed = false;
        for block in (0..blocks.len()).rev() {
            for word in 0..words {
                let out = next[block]
                    .iter()
                    .fold(0, |set, n| set | live_in[n * words + word]);
                let at = block * words + word;
                let new = live_in[at] | out & !writes[at];
                changed |= new != live_in[at];
                live_in[at] = new;
            }
        }
    }
    live_in
}
