//! Calls and returns of a warp's groups, and the frames they make.
//!
//! Arguments go from the caller's frame to the callee's, lane by lane, as the
//! call site and the function declare them; results come back the same way.

use super::super::code::{NONE, Place};
use super::super::error::FaultKind;
use super::super::module::Image;
use super::block::Shared;
use super::cx::{Cx, Rows, lanes};
use super::warp::{Frame, Warp};

/// Nested calls, all told; local memory ends most recursions earlier.
const MAX_DEPTH: u32 = 10_000;

impl Warp {
    /// The group's lanes call a function.
    pub(super) fn call(
        &mut self,
        cx: &mut Cx<'_>,
        image: &Image,
        current: usize,
        function: u32,
    ) -> Result<(), FaultKind> {
        let group = self.groups[current];
        let caller = &self.frames[group.frame as usize];
        let callee = &image.functions[function as usize];
        let local = caller.local + image.functions[caller.function as usize].local;
        let depth = caller.depth + 1;
        if depth > MAX_DEPTH {
            return Err(FaultKind::StackOverflow);
        }
        self.grow_local(local.saturating_add(callee.local))?;
        let site = &image.sites[image.code[group.pc as usize].aux as usize];
        let frame = Frame {
            rows: self
                .reuse(function)
                .unwrap_or_else(|| Rows::new(callee.rows)),
            function,
            parent: group.frame,
            call: group.pc,
            refs: 1,
            depth,
            local,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.frames[number as usize] = frame;
                number
            }
            None => {
                self.frames.push(frame);
                self.frames.len() as u32 - 1
            }
        };
        cx.mask = group.mask;
        self.copy(cx, (group.frame, &site.args), (number, &callee.params));
        self.groups[current].pc = callee.start;
        self.groups[current].frame = number;
        Ok(())
    }

    /// Register rows of a free frame of the same function.
    fn reuse(&mut self, function: u32) -> Option<Rows> {
        let at = self
            .free
            .iter()
            .position(|&n| self.frames[n as usize].function == function)?;
        let number = self.free.remove(at);
        self.free.push(number);
        Some(std::mem::take(&mut self.frames[number as usize].rows))
    }

    /// Calls through a pointer; lanes with other targets stay behind.
    pub(super) fn call_indirect(
        &mut self,
        cx: &mut Cx<'_>,
        image: &Image,
        current: usize,
    ) -> Result<(), FaultKind> {
        let group = self.groups[current];
        let inst = &image.code[group.pc as usize];
        let targets = *cx.row::<u64>(inst.s[0]);
        let address = targets[group.mask.trailing_zeros() as usize];
        let invalid = FaultKind::InvalidPc { address };
        let function = cx.function_at(address).ok_or(invalid)?;
        let callee = image.functions.get(function as usize).ok_or(invalid)?;
        if callee.start == NONE {
            return Err(invalid);
        }
        let site = &image.sites[inst.aux as usize];
        let fits = |a: &[Place], b: &[Place]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.size() == b.size())
        };
        if !fits(&site.args, &callee.params) || !fits(&site.results, &callee.results) {
            return Err(invalid);
        }
        let others = lanes(group.mask).filter(|&lane| targets[lane] != address);
        let others = others.fold(0, |m, lane| m | 1 << lane);
        if others != 0 {
            self.split(current, others, group.pc);
        }
        self.call(cx, image, current, function)
    }

    /// The group's lanes return, from the kernel itself: exit.
    pub(super) fn ret(
        &mut self,
        cx: &mut Cx<'_>,
        image: &Image,
        shared: &mut Shared,
        current: usize,
    ) {
        let group = self.groups[current];
        let Frame {
            parent,
            call,
            function,
            ..
        } = self.frames[group.frame as usize];
        if call == NONE {
            return self.exit(shared, current);
        }
        let site = &image.sites[image.code[call as usize].aux as usize];
        let callee = &image.functions[function as usize];
        cx.mask = group.mask;
        self.copy(cx, (group.frame, &callee.results), (parent, &site.results));
        self.frames[parent as usize].refs += 1;
        self.release(group.frame);
        self.groups[current].pc = call + 1;
        self.groups[current].frame = parent;
    }

    /// A group has left the frame.
    pub(super) fn release(&mut self, mut frame: u32) {
        while frame != NONE {
            let entry = &mut self.frames[frame as usize];
            entry.refs -= 1;
            if entry.refs > 0 || entry.call == NONE {
                return;
            }
            self.free.push(frame);
            frame = entry.parent;
        }
    }

    /// Copies arguments or results between frames for the lanes in `cx.mask`.
    fn copy(&mut self, cx: &mut Cx<'_>, from: (u32, &[Place]), to: (u32, &[Place])) {
        for (&source, &target) in from.1.iter().zip(to.1) {
            let size = source.size().min(target.size()) as usize;
            self.enter(cx, from.0);
            let mut bytes = Vec::with_capacity(32);
            for lane in lanes(cx.mask) {
                bytes.push((lane, cx.get_place(source, lane, size)));
            }
            self.enter(cx, to.0);
            for (lane, bytes) in bytes {
                cx.set_place(target, lane, &bytes);
            }
        }
    }
}
