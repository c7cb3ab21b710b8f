//! From the syntax tree to executable instructions.
//!
//! `unit` holds what a whole module shares (symbols, constants), `function`
//! decodes one body, `liveness` and `allocate` place its registers. Which lane function an
//! opcode and a type mean is in `int`, `bitops`, `float`, `approx`, `half`,
//! `compare`; which operands it takes is in `arith`,
//! `predicates`, `data`, `memory`, `control`. Whatever is not understood here is an error with the opcode's
//! name.

mod allocate;
mod approx;
mod arith;
mod async_copy;
mod bitops;
mod compare;
mod control;
mod convert;
mod data;
pub(super) mod float;
mod form;
mod function;
mod half;
mod int;
mod link;
mod liveness;
mod memory;
mod operand;
mod predicates;
mod unit;

pub(super) use function::kernel_params;
pub(super) use unit::{Global, Unit, decode, reachable};
