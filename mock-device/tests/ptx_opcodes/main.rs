//! Every opcode form against a reference computed another way: wide integers
//! for integer arithmetic, exact residues for rounding, plain loops for the
//! rest.

mod bits;
mod compare;
mod convert;
mod float;
mod half;
mod harness;
mod int;
mod memory;
#[path = "../ptx_support/mod.rs"]
mod ptx_support;
mod rare;
mod warp;
