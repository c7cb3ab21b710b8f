//! Execution of decoded instructions, a warp at a time.

pub(super) mod atomic;
pub(super) mod block;
mod calls;
pub(super) mod carry;
mod collective;
pub(super) mod convert;
pub(super) mod cx;
pub(super) mod lanes;
pub(super) mod memory;
pub(super) mod print;
pub(super) mod shuffle;
pub(super) mod softfloat;
pub(super) mod special;
pub(super) mod warp;
