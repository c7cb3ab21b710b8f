//! Warp operations under divergence: who takes part, and when.
//!
//! A lane waits until every lane of its member mask that has not exited
//! stands at the same operation with the same mask, in this group or in
//! another one (Volta's rule: the instructions may be different ones).

use super::super::code::{Inst, NONE, Op, WarpOp};
use super::super::module::Image;
use super::cx::{Cx, LANES, lanes};
use super::shuffle::{Inputs, run};
use super::warp::{State, Warp};

/// A group's lanes that take part.
type Part = (usize, u32);

impl Warp {
    /// `current` stands at a warp operation: completes it or waits.
    pub(super) fn warp_op(&mut self, cx: &mut Cx<'_>, image: &Image, current: usize, op: WarpOp) {
        let group = self.groups[current];
        let inst = &image.code[group.pc as usize];
        let first = group.mask.trailing_zeros() as usize;
        let members = self.member_mask(cx, inst, group.mask, first);
        let same = self.with_members(cx, inst, group.mask, members);
        if same == group.mask && members & self.live() & !same == 0 {
            self.complete(cx, image, &[(current, same)], op);
            self.groups[current].pc += 1;
            return;
        }
        // Several member masks in one group, or lanes elsewhere.
        let mut rest = group.mask;
        let mut waiting = 0;
        while rest != 0 {
            let first = rest.trailing_zeros() as usize;
            self.enter(cx, group.frame);
            let members = self.member_mask(cx, inst, group.mask, first);
            let same = self.with_members(cx, inst, group.mask, members);
            rest &= !same;
            let mut parts = vec![(current, same)];
            let mut arrived = same;
            for (index, lanes) in self.others(cx, image, current, op, members) {
                parts.push((index, lanes));
                arrived |= lanes;
            }
            if members & self.live() & !arrived != 0 {
                waiting |= same;
                continue;
            }
            self.complete(cx, image, &parts, op);
            for &(index, lanes) in &parts {
                if index != current {
                    self.advance(index, lanes);
                }
            }
        }
        let done = group.mask & !waiting;
        if waiting == 0 {
            self.groups[current].pc += 1;
            return;
        }
        if done != 0 {
            self.split(current, done, group.pc + 1);
        }
        self.groups[current].state = State::Warp;
    }

    /// Lanes of a group go on behind its instruction.
    fn advance(&mut self, group: usize, lanes: u32) {
        let old = self.groups[group];
        if old.mask == lanes {
            self.groups[group].pc += 1;
            self.groups[group].state = State::Ready;
        } else {
            self.split(group, lanes, old.pc + 1);
        }
    }

    fn member_mask(&self, cx: &Cx<'_>, inst: &Inst, active: u32, lane: usize) -> u32 {
        if inst.s[3] == NONE {
            active
        } else {
            cx.row::<u32>(inst.s[3])[lane]
        }
    }

    /// The lanes of `mask` whose member mask is `members`.
    fn with_members(&self, cx: &Cx<'_>, inst: &Inst, mask: u32, members: u32) -> u32 {
        if inst.s[3] == NONE {
            return mask;
        }
        let row = cx.row::<u32>(inst.s[3]);
        let mut same = 0;
        for (lane, value) in row.iter().enumerate() {
            same |= u32::from(*value == members) << lane;
        }
        same & mask
    }

    /// Lanes of other groups that wait at the same operation with that mask.
    fn others(
        &mut self,
        cx: &mut Cx<'_>,
        image: &Image,
        current: usize,
        op: WarpOp,
        members: u32,
    ) -> Vec<Part> {
        let mut parts = Vec::new();
        for index in 0..self.groups.len() {
            let group = self.groups[index];
            if index == current || group.state != State::Warp {
                continue;
            }
            let inst = &image.code[group.pc as usize];
            if !matches!(inst.op, Op::Warp(other) if other == op) || inst.s[3] == NONE {
                continue;
            }
            self.enter(cx, group.frame);
            let same = self.with_members(cx, inst, group.mask, members);
            if same != 0 {
                parts.push((index, same));
            }
        }
        parts
    }

    /// Gathers inputs of all parts, computes, and scatters the results.
    fn complete(&mut self, cx: &mut Cx<'_>, image: &Image, parts: &[Part], op: WarpOp) {
        let mut input = Inputs {
            a: [0; LANES],
            b: [0; LANES],
            c: [0; LANES],
            pred: 0,
        };
        let mut members = 0;
        for &(index, mask) in parts {
            let group = self.groups[index];
            let inst = &image.code[group.pc as usize];
            self.enter(cx, group.frame);
            members |= mask;
            gather(cx, inst, op, mask, &mut input);
        }
        let output = run(op, &input, members);
        for &(index, mask) in parts {
            let group = self.groups[index];
            let inst = &image.code[group.pc as usize];
            self.enter(cx, group.frame);
            cx.mask = mask;
            if inst.d != NONE {
                cx.put(inst.d, &output.d.map(|v| v as u32));
            }
            if inst.e != NONE {
                cx.put_pred(inst.e, output.pred);
            }
        }
    }
}

fn gather(cx: &Cx<'_>, inst: &Inst, op: WarpOp, mask: u32, input: &mut Inputs) {
    match op {
        WarpOp::Barrier | WarpOp::Elect => {}
        WarpOp::VoteAll | WarpOp::VoteAny | WarpOp::VoteUni | WarpOp::VoteBallot => {
            input.pred |= cx.pred(inst.s[0]) & mask;
        }
        WarpOp::MatchAny | WarpOp::MatchAll if inst.aux == 64 => {
            let row = cx.row::<u64>(inst.s[0]);
            lanes(mask).for_each(|lane| input.a[lane] = row[lane]);
        }
        WarpOp::MatchAny | WarpOp::MatchAll | WarpOp::Redux(_) => {
            let row = cx.row::<u32>(inst.s[0]);
            lanes(mask).for_each(|lane| input.a[lane] = row[lane].into());
        }
        WarpOp::Shfl(_) => {
            let (a, b, c) = (
                cx.row::<u32>(inst.s[0]),
                cx.row::<u32>(inst.s[1]),
                cx.row::<u32>(inst.s[2]),
            );
            for lane in lanes(mask) {
                input.a[lane] = a[lane].into();
                input.b[lane] = b[lane];
                input.c[lane] = c[lane];
            }
        }
    }
}
