//! One warp: groups of lanes with a program counter each, and their frames.
//!
//! Lanes that stand at the same instruction of the same frame form a group
//! and run together. A branch that only some lanes take splits a group;
//! groups that meet join again. Of several groups the deepest in calls and
//! then the one furthest back in the code runs (so that they meet), except
//! that none may starve: a lane that spins on a lock must not keep its
//! holder from running.

#![allow(unsafe_code, reason = "handlers work on the frame set here")]

use super::super::code::{BarOp, Code, Inst, NONE, Op};
use super::super::error::FaultKind;
use super::super::module::Image;
use super::block::{Shared, barrier_id};
use super::cx::{Cx, LANES, Line, Rows, lanes};
use super::print;

/// Schedulings after which a waiting group goes first, and for how many.
const PATIENCE: u32 = 512;
const BOOST: u32 = 128;

/// Why [`Warp::run`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ptx) enum Pause {
    /// Its turn is over.
    Turn,
    /// Every group waits for other warps.
    Waiting,
    /// All lanes have exited.
    Done,
}

/// A fault, its lane and its line.
pub(in crate::ptx) type Failure = (FaultKind, u32, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// At a warp operation, for lanes that have not arrived.
    Warp,
    /// Behind a barrier instruction, until its phase is over.
    Barrier {
        id: usize,
        phase: u64,
        /// The instruction, to deliver a reduction's result.
        at: u32,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) pc: u32,
    pub(super) mask: u32,
    pub(super) frame: u32,
    pub(super) state: State,
    skipped: u32,
    boost: u32,
}

/// One activation of a function, shared by the lanes that called together.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) rows: Rows,
    pub(super) function: u32,
    pub(super) parent: u32,
    /// The call instruction, NONE for the kernel itself.
    pub(super) call: u32,
    /// Groups in this frame plus frames called from it.
    pub(super) refs: u32,
    pub(super) depth: u32,
    /// Start in each lane's local memory.
    pub(super) local: u32,
}

/// A warp in execution.
#[derive(Default)]
pub(in crate::ptx) struct Warp {
    number: usize,
    live: u32,
    pub(super) groups: Vec<Group>,
    pub(super) frames: Vec<Frame>,
    pub(super) free: Vec<u32>,
    local: Vec<Line>,
    local_len: u32,
    pub(super) local_limit: u32,
}

impl Warp {
    /// Makes the warp ready to run `kernel` from its start.
    pub(in crate::ptx) fn start(
        &mut self,
        number: usize,
        lanes: u32,
        kernel: &Code,
        kernel_index: u32,
        stack_limit: u32,
    ) {
        self.number = number;
        self.live = lanes;
        self.groups.clear();
        self.free.clear();
        let rows = self
            .frames
            .drain(..)
            .next()
            .filter(|f| f.function == kernel_index);
        let rows = rows.map_or_else(|| Rows::new(kernel.rows), |f| f.rows);
        self.frames.push(Frame {
            rows,
            function: kernel_index,
            parent: NONE,
            call: NONE,
            refs: 1,
            depth: 0,
            local: 0,
        });
        self.local_limit = kernel.local.saturating_add(stack_limit.max(1 << 10));
        self.groups.push(Group {
            pc: kernel.start,
            mask: lanes,
            frame: 0,
            state: State::Ready,
            skipped: 0,
            boost: 0,
        });
        // Cannot fail: the limit is at least the kernel's own frame.
        let _ = self.grow_local(kernel.local);
    }

    pub(in crate::ptx) fn done(&self) -> bool {
        self.groups.is_empty()
    }

    /// Lanes that have not exited.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// Makes room for `len` bytes of local memory in each lane.
    pub(super) fn grow_local(&mut self, len: u32) -> Result<(), FaultKind> {
        if len > self.local_limit {
            return Err(FaultKind::StackOverflow);
        }
        if len <= self.local_len {
            return Ok(());
        }
        let new_len = len
            .max(self.local_len.saturating_mul(2))
            .next_multiple_of(64);
        let (old, new) = (self.local_len as usize / 64, new_len as usize / 64);
        let mut memory = vec![Line([0; 64]); new * LANES];
        for lane in 0..LANES {
            memory[lane * new..][..old].copy_from_slice(&self.local[lane * old..][..old]);
        }
        self.local = memory;
        self.local_len = new_len;
        Ok(())
    }

    /// Points the context at a frame and at the local memory.
    pub(super) fn enter(&mut self, cx: &mut Cx<'_>, frame: u32) {
        cx.views.local = self.local.as_mut_ptr().cast();
        cx.views.local_len = self.local_len;
        let frame = &mut self.frames[frame as usize];
        cx.views.frame = frame.local;
        // SAFETY: the frame's rows stay where they are while a group is in it,
        // and were made for the function whose code runs.
        unsafe { cx.set_frame(&mut frame.rows) };
    }

    /// Runs until the warp can go no further or has had `turn` instructions.
    pub(in crate::ptx) fn run(
        &mut self,
        cx: &mut Cx<'_>,
        image: &Image,
        shared: &mut Shared,
        turn: u32,
        instructions: &mut u64,
    ) -> Result<Pause, Failure> {
        self.wake(cx, image, shared);
        let mut left = i64::from(turn);
        while let Some(current) = self.schedule() {
            let Group {
                pc, mask, frame, ..
            } = self.groups[current];
            self.enter(cx, frame);
            cx.active = mask;
            let meet = self.meeting_point(current);
            let stop = self.straight(cx, image, pc, mask, meet, &mut left, instructions);
            self.groups[current].pc = stop;
            if let Some((kind, lane)) = cx.fault.take() {
                return Err((kind, lane, image.code[stop as usize].line));
            }
            if Some(stop) != meet {
                let paused = self.control(cx, image, shared, current);
                let line = image.code[stop as usize].line;
                let pause = paused.map_err(|kind| (kind, mask.trailing_zeros(), line))?;
                if pause || left <= 0 {
                    return Ok(if self.done() {
                        Pause::Done
                    } else {
                        Pause::Turn
                    });
                }
                self.wake(cx, image, shared);
            }
        }
        Ok(if self.done() {
            Pause::Done
        } else {
            Pause::Waiting
        })
    }

    /// Runs lane instructions and uniform branches from `pc` on; returns where
    /// it met another group, failed, or found control flow that needs
    /// `control`.
    #[inline(always)]
    #[allow(
        clippy::too_many_arguments,
        reason = "the hot loop keeps them in registers"
    )]
    fn straight(
        &self,
        cx: &mut Cx<'_>,
        image: &Image,
        mut pc: u32,
        mask: u32,
        meet: Option<u32>,
        left: &mut i64,
        instructions: &mut u64,
    ) -> u32 {
        let alone = self.groups.len() == 1;
        let meet = meet.unwrap_or(NONE);
        let code = &image.code[..];
        let all = u64::from(mask.count_ones());
        let mut count = 0;
        loop {
            let inst = &code[pc as usize];
            let mut executing = mask;
            if inst.guard != NONE {
                let flip = if inst.guard_negated { !0 } else { 0 };
                executing &= cx.pred(inst.guard) ^ flip;
                count += u64::from(executing.count_ones()) * u64::from(inst.weight);
            } else {
                count += all * u64::from(inst.weight);
            }
            *left -= 1;
            match inst.op {
                Op::Lanes(handler) => {
                    if executing != 0 {
                        cx.mask = executing;
                        // SAFETY: the decoder picked a handler for this processor.
                        unsafe { handler(cx, inst) };
                    }
                    pc += 1;
                }
                Op::Access(handler) => {
                    if executing != 0 {
                        cx.mask = executing;
                        // SAFETY: as above.
                        unsafe { handler(cx, inst) };
                        if cx.fault.is_some() {
                            break;
                        }
                    }
                    pc += 1;
                }
                Op::Branch if executing == 0 => pc += 1,
                Op::Branch if executing == mask && alone && *left > 0 => pc = inst.x as u32,
                _ if executing == 0 => pc += 1,
                _ => break,
            }
            if pc == meet {
                break;
            }
        }
        *instructions += count;
        pc
    }

    /// The next instruction at which `current`, running straight on, meets
    /// another group.
    fn meeting_point(&self, current: usize) -> Option<u32> {
        if self.groups.len() == 1 {
            return None;
        }
        let own = self.groups[current];
        let others = self.groups.iter().enumerate().filter(|(index, other)| {
            *index != current
                && other.frame == own.frame
                && other.pc > own.pc
                && !matches!(other.state, State::Barrier { .. })
        });
        others.map(|(_, other)| other.pc).min()
    }

    /// Joins groups that stand together and picks the next one to run.
    fn schedule(&mut self) -> Option<usize> {
        if self.groups.len() == 1 {
            return (self.groups[0].state == State::Ready).then_some(0);
        }
        self.join();
        let ready = |g: &Group| g.state == State::Ready;
        let mut best: Option<usize> = None;
        for (index, group) in self.groups.iter().enumerate().filter(|(_, g)| ready(g)) {
            let rank = |g: &Group| {
                let depth = self.frames[g.frame as usize].depth;
                (g.boost > 0, g.skipped > PATIENCE, depth, !g.pc)
            };
            if best.is_none_or(|b| rank(group) > rank(&self.groups[b])) {
                best = Some(index);
            }
        }
        let best = best?;
        for (index, group) in self.groups.iter_mut().enumerate() {
            if index != best {
                group.skipped += u32::from(ready(group));
            } else {
                group.boost = match group.boost {
                    0 if group.skipped > PATIENCE => BOOST,
                    0 => 0,
                    boost => boost - 1,
                };
                group.skipped = 0;
            }
        }
        Some(best)
    }

    fn join(&mut self) {
        let joinable = |g: &Group| !matches!(g.state, State::Barrier { .. });
        let mut first = 0;
        while first < self.groups.len() {
            let mut second = first + 1;
            while second < self.groups.len() {
                let (a, b) = (self.groups[first], self.groups[second]);
                if a.pc == b.pc && a.frame == b.frame && joinable(&a) && joinable(&b) {
                    self.groups.swap_remove(second);
                    self.frames[a.frame as usize].refs -= 1;
                    let group = &mut self.groups[first];
                    group.mask |= b.mask;
                    group.state = State::Ready;
                    group.skipped = a.skipped.max(b.skipped);
                    group.boost = a.boost.max(b.boost);
                } else {
                    second += 1;
                }
            }
            first += 1;
        }
    }

    /// Moves `lanes` of a group to a group of their own at `pc`.
    pub(super) fn split(&mut self, group: usize, lanes: u32, pc: u32) -> usize {
        let old = self.groups[group];
        self.groups[group].mask &= !lanes;
        self.frames[old.frame as usize].refs += 1;
        self.groups.push(Group {
            pc,
            mask: lanes,
            state: State::Ready,
            ..old
        });
        self.groups.len() - 1
    }

    /// Executes the control instruction at which `current` stands. True when
    /// the warp gives up its turn.
    fn control(
        &mut self,
        cx: &mut Cx<'_>,
        image: &Image,
        shared: &mut Shared,
        current: usize,
    ) -> Result<bool, FaultKind> {
        let Group { pc, mask, .. } = self.groups[current];
        let inst = &image.code[pc as usize];
        let mut executing = mask;
        if inst.guard != NONE {
            let flip = if inst.guard_negated { !0 } else { 0 };
            executing &= cx.pred(inst.guard) ^ flip;
        }
        if executing != mask {
            // The lanes that do not take part go on behind it.
            if executing == 0 {
                self.groups[current].pc += 1;
                return Ok(false);
            }
            self.split(current, mask & !executing, pc + 1);
        }
        match inst.op {
            Op::Lanes(_) | Op::Access(_) => return Err(FaultKind::IllegalInstruction),
            Op::Branch => self.groups[current].pc = inst.x as u32,
            Op::BranchTable => self.branch_table(cx, inst, current)?,
            Op::Call => self.call(cx, image, current, inst.x as u32)?,
            Op::CallIndirect => self.call_indirect(cx, image, current)?,
            Op::Ret => self.ret(cx, image, shared, current),
            Op::Exit => self.exit(shared, current),
            Op::Print => {
                self.groups[current].pc += 1;
                cx.mask = executing;
                print::vprintf(cx, inst, &image.sites[inst.aux as usize])?;
            }
            Op::Trap if inst.x == 1 => return Err(FaultKind::Assert),
            Op::Trap if inst.x == 2 => return Err(FaultKind::NoHeap),
            Op::Trap => return Err(FaultKind::Trap),
            Op::Pause => {
                self.groups[current].pc += 1;
                return Ok(true);
            }
            Op::Warp(op) => self.warp_op(cx, image, current, op),
            Op::Bar(op) => self.barrier(cx, inst, shared, current, op)?,
        }
        Ok(false)
    }

    fn branch_table(&mut self, cx: &Cx<'_>, i: &Inst, current: usize) -> Result<(), FaultKind> {
        let index = cx.row::<u32>(i.s[0]);
        let mask = self.groups[current].mask;
        let target = |lane: usize| i.list.get(index[lane] as usize).copied();
        let first = target(mask.trailing_zeros() as usize);
        let first = first.ok_or(FaultKind::IllegalInstruction)?;
        let others = lanes(mask).filter(|&lane| target(lane) != Some(first));
        let others = others.fold(0, |m, lane| m | 1 << lane);
        if others != 0 {
            let pc = self.groups[current].pc;
            self.split(current, others, pc);
        }
        self.groups[current].pc = first;
        Ok(())
    }

    /// All lanes of the group end.
    pub(super) fn exit(&mut self, shared: &mut Shared, current: usize) {
        let Group { mask, frame, .. } = self.groups.swap_remove(current);
        self.live &= !mask;
        self.release(frame);
        shared.exit(self.number, mask);
        // Whoever waits for the lanes that are gone looks again.
        for group in &mut self.groups {
            if group.state == State::Warp {
                group.state = State::Ready;
            }
        }
    }

    fn barrier(
        &mut self,
        cx: &Cx<'_>,
        inst: &Inst,
        shared: &mut Shared,
        current: usize,
        op: BarOp,
    ) -> Result<(), FaultKind> {
        let Group { mask, pc, .. } = self.groups[current];
        let lane = mask.trailing_zeros() as usize;
        let id = barrier_id(cx, inst, lane)?;
        let expected = if inst.s[1] == NONE {
            0
        } else {
            cx.row::<u32>(inst.s[1])[lane]
        };
        let votes = (inst.s[2] != NONE).then(|| cx.pred(inst.s[2]));
        let phase = shared.barriers[id].phase;
        shared.arrive(id, self.number, mask, expected, votes);
        let group = &mut self.groups[current];
        group.pc += 1;
        if op != BarOp::Arrive {
            group.state = State::Barrier { id, phase, at: pc };
        }
        Ok(())
    }

    /// Groups whose barrier is complete go on.
    fn wake(&mut self, cx: &mut Cx<'_>, image: &Image, shared: &Shared) {
        for index in 0..self.groups.len() {
            let Group {
                state, frame, mask, ..
            } = self.groups[index];
            let State::Barrier { id, phase, at } = state else {
                continue;
            };
            let barrier = &shared.barriers[id];
            if barrier.phase == phase {
                continue;
            }
            self.groups[index].state = State::Ready;
            let inst = &image.code[at as usize];
            if let Op::Bar(op @ (BarOp::RedPopc | BarOp::RedAnd | BarOp::RedOr)) = inst.op {
                let result = barrier.tallies[(phase % 16) as usize].result(op);
                self.enter(cx, frame);
                cx.mask = mask;
                if op == BarOp::RedPopc {
                    cx.put(inst.d, &[result; LANES]);
                } else {
                    cx.put_pred(inst.d, result);
                }
            }
        }
    }
}
