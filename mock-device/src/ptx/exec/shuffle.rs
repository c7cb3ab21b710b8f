//! What the lanes of a warp compute together, once all have arrived.
//!
//! `warp` decides who takes part and when; here inputs of the whole warp go
//! in and outputs come out. Inputs of lanes outside `members` are not read.

use super::super::code::{ReduxOp, ShflMode, WarpOp};
use super::cx::{LANES, lanes};

/// Inputs of all lanes, gathered from every group that takes part.
#[derive(Debug, Clone)]
pub(in crate::ptx) struct Inputs {
    pub(in crate::ptx) a: [u64; LANES],
    pub(in crate::ptx) b: [u32; LANES],
    pub(in crate::ptx) c: [u32; LANES],
    pub(in crate::ptx) pred: u32,
}

/// Results: a value and a predicate for each lane.
#[derive(Debug, Clone)]
pub(in crate::ptx) struct Outputs {
    pub(in crate::ptx) d: [u64; LANES],
    pub(in crate::ptx) pred: u32,
}

/// Runs the operation for the lanes in `members`, which have all arrived.
pub(in crate::ptx) fn run(op: WarpOp, input: &Inputs, members: u32) -> Outputs {
    let mut out = Outputs {
        d: [0; LANES],
        pred: 0,
    };
    let votes = input.pred & members;
    let everyone = |yes: bool| if yes { !0 } else { 0 };
    match op {
        WarpOp::Barrier => {}
        WarpOp::Shfl(mode) => shuffle(mode, input, members, &mut out),
        WarpOp::VoteAll => out.pred = everyone(votes == members),
        WarpOp::VoteAny => out.pred = everyone(votes != 0),
        WarpOp::VoteUni => out.pred = everyone(votes == members || votes == 0),
        WarpOp::VoteBallot => out.d = [votes.into(); LANES],
        WarpOp::MatchAny => {
            for lane in lanes(members) {
                let same = lanes(members).filter(|&o| input.a[o] == input.a[lane]);
                out.d[lane] = same.fold(0, |mask, other| mask | 1 << other);
            }
        }
        WarpOp::MatchAll => {
            let first = members.trailing_zeros() as usize % LANES;
            let all = lanes(members).all(|lane| input.a[lane] == input.a[first]);
            out.d = [if all { members.into() } else { 0 }; LANES];
            out.pred = everyone(all);
        }
        WarpOp::Redux(op) => out.d = [redux(op, input, members).into(); LANES],
        WarpOp::Elect => {
            let leader = members.trailing_zeros();
            out.d = [leader.into(); LANES];
            out.pred = members & members.wrapping_neg();
        }
    }
    out
}

/// PTX ISA, `shfl.sync`: `c` holds the clamp in bits 0 to 4 and the segment
/// mask in bits 8 to 12.
fn shuffle(mode: ShflMode, input: &Inputs, members: u32, out: &mut Outputs) {
    for lane in lanes(members) {
        let b = (input.b[lane] & 31) as i32;
        let clamp = (input.c[lane] & 31) as i32;
        let segment = (input.c[lane] >> 8 & 31) as i32;
        let own = lane as i32;
        let max_lane = own & segment | clamp & !segment;
        let min_lane = own & segment;
        let (source, valid) = match mode {
            ShflMode::Up => (own - b, own - b >= max_lane),
            ShflMode::Down => (own + b, own + b <= max_lane),
            ShflMode::Bfly => (own ^ b, own ^ b <= max_lane),
            ShflMode::Idx => {
                let source = min_lane | b & !segment;
                (source, source <= max_lane)
            }
        };
        let source = if valid { source as usize } else { lane };
        out.d[lane] = input.a[source];
        out.pred |= u32::from(valid) << lane;
    }
}

fn redux(op: ReduxOp, input: &Inputs, members: u32) -> u32 {
    let values = lanes(members).map(|lane| input.a[lane] as u32);
    match op {
        ReduxOp::Add => values.fold(0, u32::wrapping_add),
        ReduxOp::MinU => values.min().unwrap_or(0),
        ReduxOp::MaxU => values.max().unwrap_or(0),
        ReduxOp::MinS => values.map(|v| v as i32).min().unwrap_or(0) as u32,
        ReduxOp::MaxS => values.map(|v| v as i32).max().unwrap_or(0) as u32,
        ReduxOp::And => values.fold(!0, |a, b| a & b),
        ReduxOp::Or => values.fold(0, |a, b| a | b),
        ReduxOp::Xor => values.fold(0, |a, b| a ^ b),
        ReduxOp::MinF { abs, nan } | ReduxOp::MaxF { abs, nan } => {
            let min = matches!(op, ReduxOp::MinF { .. });
            let value = |bits| {
                let value = f32::from_bits(bits);
                if abs { value.abs() } else { value }
            };
            let result = values
                .map(value)
                .reduce(|a, b| match (a.is_nan(), b.is_nan()) {
                    (false, false) if min => {
                        if a < b || a == b && a.is_sign_negative() {
                            a
                        } else {
                            b
                        }
                    }
                    (false, false) => {
                        if a > b || a == b && b.is_sign_negative() {
                            a
                        } else {
                            b
                        }
                    }
                    (true, true) => a,
                    (true, false) => {
                        if nan {
                            a
                        } else {
                            b
                        }
                    }
                    (false, true) => {
                        if nan {
                            b
                        } else {
                            a
                        }
                    }
                });
            let result = result.unwrap_or(0.0);
            if result.is_nan() {
                0x7fff_ffff
            } else {
                result.to_bits()
            }
        }
    }
}
