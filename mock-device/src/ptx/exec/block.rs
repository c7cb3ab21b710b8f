//! One block: its warps, shared memory and barriers.
//!
//! A block keeps all of its state here and none on the thread's stack, so a
//! worker can put it aside and go on with it later.

use super::super::code::{BarOp, Code, Inst};
use super::super::error::{Fault, FaultKind};
use super::super::module::Image;
use super::cx::{Cx, LANES, Line};
use super::warp::{Pause, Warp};

/// Instructions that a warp may run before another one gets its turn.
pub(in crate::ptx) const TURN: u32 = 1 << 12;
/// Turns of warps that a block gets before [`Block::run`] returns.
pub(in crate::ptx) const TURNS: u32 = 32;
/// Barriers of a block.
pub(in crate::ptx) const BARRIERS: u32 = 16;

/// Outcome of a reduction across a barrier.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::ptx) struct Tally {
    pub(in crate::ptx) count: u32,
    pub(in crate::ptx) total: u32,
}

impl Tally {
    pub(in crate::ptx) fn result(self, op: BarOp) -> u32 {
        let yes = match op {
            BarOp::RedAnd => self.count == self.total,
            BarOp::RedOr => self.count > 0,
            _ => return self.count,
        };
        if yes { !0 } else { 0 }
    }
}

/// One barrier of the block.
#[derive(Debug, Clone, Default)]
pub(in crate::ptx) struct Barrier {
    /// Completed phases.
    pub(in crate::ptx) phase: u64,
    arrived: Vec<u32>,
    any: bool,
    /// Threads that must arrive, 0 for all.
    expected: u32,
    tally: Tally,
    /// Tallies of the last phases; a waiter reads its own one late.
    pub(in crate::ptx) tallies: [Tally; 16],
}

/// What the warps of a block share.
#[derive(Debug, Default)]
pub(in crate::ptx) struct Shared {
    pub(in crate::ptx) barriers: Vec<Barrier>,
    /// Lanes of each warp that have not exited.
    pub(in crate::ptx) live: Vec<u32>,
}

impl Shared {
    /// Lanes of a warp arrive; true when that completed the barrier.
    pub(in crate::ptx) fn arrive(
        &mut self,
        id: usize,
        warp: usize,
        lanes: u32,
        expected: u32,
        votes: Option<u32>,
    ) {
        let barrier = &mut self.barriers[id];
        if barrier.arrived.len() < self.live.len() {
            barrier.arrived.resize(self.live.len(), 0);
        }
        barrier.arrived[warp] |= lanes;
        barrier.any = true;
        barrier.expected = expected;
        if let Some(votes) = votes {
            barrier.tally.count += (votes & lanes).count_ones();
            barrier.tally.total += lanes.count_ones();
        }
        self.check(id);
    }

    /// Completes the barrier when all have arrived; exited threads count.
    fn check(&mut self, id: usize) {
        let barrier = &mut self.barriers[id];
        let mut pairs = barrier.arrived.iter().zip(&self.live);
        let complete = if barrier.expected == 0 {
            pairs.all(|(&arrived, &live)| live & !arrived == 0)
        } else {
            // Hardware counts whole warps, so a warp's missing threads count
            // as soon as its others are all there.
            let count = |(&arrived, &live): (&u32, &u32)| match arrived {
                0 => 0,
                _ if live & !arrived == 0 => LANES as u32,
                _ => arrived.count_ones(),
            };
            pairs.map(count).sum::<u32>() >= barrier.expected
        };
        if complete {
            barrier.tallies[(barrier.phase % 16) as usize] = barrier.tally;
            barrier.tally = Tally::default();
            barrier.phase += 1;
            barrier.any = false;
            barrier.arrived.fill(0);
        }
    }

    /// Lanes of a warp have exited.
    pub(in crate::ptx) fn exit(&mut self, warp: usize, lanes: u32) {
        self.live[warp] &= !lanes;
        for id in 0..self.barriers.len() {
            if self.barriers[id].any {
                self.check(id);
            }
        }
    }
}

/// Shape of the launch as blocks need it.
#[derive(Debug, Clone, Copy)]
pub(in crate::ptx) struct Shape {
    pub(in crate::ptx) grid: [u32; 3],
    pub(in crate::ptx) block: [u32; 3],
    pub(in crate::ptx) shared: u32,
    pub(in crate::ptx) dynamic_shared: u32,
    pub(in crate::ptx) grid_id: u64,
    pub(in crate::ptx) workspace: u64,
    /// Turns that a block gets at once, and instructions of a warp in each.
    pub(in crate::ptx) turns: u32,
    pub(in crate::ptx) turn: u32,
    pub(in crate::ptx) stack_limit: u32,
}

/// Whether a block has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ptx) enum Progress {
    Done,
    More,
}

/// A block in execution.
pub(in crate::ptx) struct Block {
    index: [u32; 3],
    warps: Vec<Warp>,
    shared: Shared,
    memory: Vec<Line>,
    next: usize,
    /// Warps in a row that had nothing to run.
    idle: usize,
}

impl Block {
    /// A block ready to run from the kernel's first instruction. Takes over
    /// the storage of `old`.
    pub(in crate::ptx) fn new(
        old: Option<Block>,
        kernel: &Code,
        kernel_index: u32,
        shape: &Shape,
        index: [u32; 3],
    ) -> Block {
        let threads: u32 = shape.block.iter().product();
        let count = threads.div_ceil(LANES as u32) as usize;
        let mut block = old.unwrap_or_else(|| Block {
            index,
            warps: (0..count).map(|_| Warp::default()).collect(),
            shared: Shared::default(),
            memory: vec![Line([0; 64]); (shape.shared as usize).div_ceil(64)],
            next: 0,
            idle: 0,
        });
        block.index = index;
        block.next = 0;
        block.idle = 0;
        block.memory.fill(Line([0; 64]));
        block.shared.barriers.clear();
        block
            .shared
            .barriers
            .resize(BARRIERS as usize, Barrier::default());
        block.shared.live.clear();
        for (number, warp) in block.warps.iter_mut().enumerate() {
            let left = threads - number as u32 * LANES as u32;
            let lanes = if left >= 32 { !0 } else { (1 << left) - 1 };
            block.shared.live.push(lanes);
            warp.start(number, lanes, kernel, kernel_index, shape.stack_limit);
        }
        block
    }

    /// Runs until the block has ended or has had its share of time.
    pub(in crate::ptx) fn run(
        &mut self,
        cx: &mut Cx<'_>,
        image: &Image,
        shape: &Shape,
        instructions: &mut u64,
    ) -> Result<Progress, Fault> {
        self.enter(cx, shape);
        for _ in 0..shape.turns {
            let number = self.next;
            self.next = (number + 1) % self.warps.len();
            let warp = &mut self.warps[number];
            let before = *instructions;
            place_threads(cx, shape, number as u32);
            let pause = warp.run(cx, image, &mut self.shared, shape.turn, instructions);
            match pause {
                Ok(Pause::Turn) => self.idle = 0,
                Ok(Pause::Waiting | Pause::Done) => {
                    self.idle = if *instructions == before {
                        self.idle + 1
                    } else {
                        0
                    };
                }
                Err((kind, lane, line)) => {
                    return Err(self.fault(kind, shape, number, lane, line));
                }
            }
            if self.idle > self.warps.len() {
                return if self.warps.iter().all(Warp::done) {
                    Ok(Progress::Done)
                } else {
                    Err(self.fault(FaultKind::Deadlock, shape, 0, 0, 0))
                };
            }
            if pause == Ok(Pause::Done) && self.warps.iter().all(Warp::done) {
                return Ok(Progress::Done);
            }
        }
        Ok(Progress::More)
    }

    fn enter(&mut self, cx: &mut Cx<'_>, shape: &Shape) {
        cx.views.shared = self.memory.as_mut_ptr().cast();
        cx.views.shared_len = shape.shared;
        let place = &mut cx.place;
        place.ntid = shape.block;
        place.nctaid = shape.grid;
        place.ctaid = self.index;
        place.warps = self.warps.len() as u32;
        place.grid_id = shape.grid_id;
        place.workspace = shape.workspace;
        place.dynamic_shared = shape.dynamic_shared;
        place.total_shared = shape.shared;
    }

    fn fault(&self, kind: FaultKind, shape: &Shape, warp: usize, lane: u32, line: u32) -> Fault {
        let thread = thread_index(shape, (warp * LANES) as u32 + lane);
        Fault {
            kind,
            kernel: String::new(),
            line,
            block: self.index,
            thread,
        }
    }
}

fn thread_index(shape: &Shape, linear: u32) -> [u32; 3] {
    let [x, y, _] = shape.block;
    [linear % x, linear / x % y, linear / x / y]
}

/// Sets the thread indices of a warp for the special registers.
fn place_threads(cx: &mut Cx<'_>, shape: &Shape, warp: u32) {
    cx.place.warp = warp;
    for lane in 0..LANES {
        let index = thread_index(shape, warp * LANES as u32 + lane as u32);
        for (row, index) in cx.place.tid.iter_mut().zip(index) {
            row[lane] = index;
        }
    }
}

/// A barrier's number, checked.
pub(in crate::ptx) fn barrier_id(cx: &Cx<'_>, i: &Inst, lane: usize) -> Result<usize, FaultKind> {
    let id = cx.row::<u32>(i.s[0])[lane];
    if id < BARRIERS {
        Ok(id as usize)
    } else {
        Err(FaultKind::IllegalInstruction)
    }
}
