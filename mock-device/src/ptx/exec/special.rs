//! Special registers and the addresses of a frame.

use std::time::{Instant, SystemTime};

use super::super::code::Inst;
use super::cx::{Cx, LANES};

/// What `mov` from a special register reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ptx) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    Laneid,
    Warpid,
    Nwarpid,
    Smid,
    Nsmid,
    Gridid,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    Clock,
    ClockHi,
    Clock64,
    Globaltimer,
    GlobaltimerLo,
    GlobaltimerHi,
    WorkspaceLow,
    WorkspaceHigh,
    TotalShared,
    DynamicShared,
    Zero,
    One,
    False,
    True,
}

const ALL: [Special; 37] = {
    use Special::*;
    [
        Tid(0),
        Tid(1),
        Tid(2),
        Ntid(0),
        Ntid(1),
        Ntid(2),
        Ctaid(0),
        Ctaid(1),
        Ctaid(2),
        Nctaid(0),
        Nctaid(1),
        Nctaid(2),
        Laneid,
        Warpid,
        Nwarpid,
        Smid,
        Nsmid,
        Gridid,
        LanemaskEq,
        LanemaskLe,
        LanemaskLt,
        LanemaskGe,
        LanemaskGt,
        Clock,
        ClockHi,
        Clock64,
        Globaltimer,
        GlobaltimerLo,
        GlobaltimerHi,
        WorkspaceLow,
        WorkspaceHigh,
        TotalShared,
        DynamicShared,
        Zero,
        One,
        False,
        True,
    ]
};

impl Special {
    /// The number by which [`read`] knows it.
    pub(in crate::ptx) fn number(self) -> u64 {
        ALL.iter().position(|s| *s == self).unwrap_or(0) as u64
    }

    /// The register of that name and its bits (1 for a predicate).
    pub(in crate::ptx) fn parse(name: &str) -> Option<(Special, u32)> {
        let name = name.strip_prefix('%')?;
        let (head, axis) = match name.rsplit_once('.') {
            Some((head, "x")) => (head, 0),
            Some((head, "y")) => (head, 1),
            Some((head, "z")) => (head, 2),
            Some(_) => return None,
            None => (name, 3),
        };
        if axis < 3 {
            return Some(match head {
                "tid" => (Special::Tid(axis), 32),
                "ntid" => (Special::Ntid(axis), 32),
                "ctaid" | "clusterid" => (Special::Ctaid(axis), 32),
                "nctaid" | "nclusterid" => (Special::Nctaid(axis), 32),
                "cluster_ctaid" => (Special::Zero, 32),
                "cluster_nctaid" => (Special::One, 32),
                _ => return None,
            });
        }
        Some(match name {
            "laneid" => (Special::Laneid, 32),
            "warpid" => (Special::Warpid, 32),
            "nwarpid" => (Special::Nwarpid, 32),
            "smid" => (Special::Smid, 32),
            "nsmid" => (Special::Nsmid, 32),
            "gridid" => (Special::Gridid, 64),
            "lanemask_eq" => (Special::LanemaskEq, 32),
            "lanemask_le" => (Special::LanemaskLe, 32),
            "lanemask_lt" => (Special::LanemaskLt, 32),
            "lanemask_ge" => (Special::LanemaskGe, 32),
            "lanemask_gt" => (Special::LanemaskGt, 32),
            "clock" => (Special::Clock, 32),
            "clock_hi" => (Special::ClockHi, 32),
            "clock64" => (Special::Clock64, 64),
            "globaltimer" => (Special::Globaltimer, 64),
            "globaltimer_lo" => (Special::GlobaltimerLo, 32),
            "globaltimer_hi" => (Special::GlobaltimerHi, 32),
            "envreg1" => (Special::WorkspaceHigh, 32),
            "envreg2" => (Special::WorkspaceLow, 32),
            "total_smem_size" | "aggr_smem_size" => (Special::TotalShared, 32),
            "dynamic_smem_size" => (Special::DynamicShared, 32),
            "reserved_smem_offset_begin" | "reserved_smem_offset_end" => (Special::Zero, 32),
            "cluster_ctarank" => (Special::Zero, 32),
            "cluster_nctarank" => (Special::One, 32),
            "is_explicit_cluster" => (Special::False, 1),
            _ => return None,
        })
    }
}

fn lanes_of(f: impl Fn(u32) -> u32) -> [u32; LANES] {
    std::array::from_fn(|lane| f(lane as u32))
}

/// Nanoseconds since the interpreter was first asked: a 1 GHz clock.
fn clock() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn wall() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64)
}

/// Reads special register number `x` into `d`.
pub(in crate::ptx) fn read(cx: &mut Cx<'_>, i: &Inst) {
    let special = ALL[i.x as usize];
    let all = |value: u32| [value; LANES];
    let p = &cx.place;
    let row = match special {
        Special::Tid(axis) => p.tid[axis],
        Special::Ntid(axis) => all(p.ntid[axis]),
        Special::Ctaid(axis) => all(p.ctaid[axis]),
        Special::Nctaid(axis) => all(p.nctaid[axis]),
        Special::Laneid => lanes_of(|lane| lane),
        Special::Warpid => all(p.warp),
        Special::Nwarpid => all(p.warps),
        Special::Smid => all(p.worker),
        Special::Nsmid => all(crate::ptx::cores() as u32),
        Special::LanemaskEq => lanes_of(|lane| 1 << lane),
        Special::LanemaskLe => lanes_of(|lane| (2u64 << lane).wrapping_sub(1) as u32),
        Special::LanemaskLt => lanes_of(|lane| (1 << lane) - 1),
        Special::LanemaskGe => lanes_of(|lane| !((1u32 << lane) - 1)),
        Special::LanemaskGt => lanes_of(|lane| !((2u64 << lane).wrapping_sub(1) as u32)),
        Special::Clock => all(clock() as u32),
        Special::ClockHi => all((clock() >> 32) as u32),
        Special::GlobaltimerLo => all(wall() as u32),
        Special::GlobaltimerHi => all((wall() >> 32) as u32),
        Special::WorkspaceLow => all(p.workspace as u32),
        Special::WorkspaceHigh => all((p.workspace >> 32) as u32),
        Special::TotalShared => all(p.total_shared),
        Special::DynamicShared => all(p.dynamic_shared),
        Special::Zero => all(0),
        Special::One => all(1),
        Special::Gridid | Special::Clock64 | Special::Globaltimer => {
            let value = match special {
                Special::Gridid => p.grid_id,
                Special::Clock64 => clock(),
                _ => wall(),
            };
            return cx.put(i.d, &[value; LANES]);
        }
        Special::False | Special::True => {
            return cx.put_pred(i.d, if special == Special::True { !0 } else { 0 });
        }
    };
    cx.put(i.d, &row);
}

/// `d` = address of frame offset `x` in the local space.
pub(in crate::ptx) fn frame_address(cx: &mut Cx<'_>, i: &Inst) {
    let value = u64::from(cx.views.frame).wrapping_add(i.x);
    cx.put(i.d, &[value; LANES]);
}

/// The same in 32 bits.
pub(in crate::ptx) fn frame_address32(cx: &mut Cx<'_>, i: &Inst) {
    let value = cx.views.frame.wrapping_add(i.x as u32);
    cx.put(i.d, &[value; LANES]);
}

/// `activemask`: the lanes of the running group.
pub(in crate::ptx) fn active_mask(cx: &mut Cx<'_>, i: &Inst) {
    let active = cx.active;
    cx.put(i.d, &[active; LANES]);
}
