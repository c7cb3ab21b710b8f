//! To be written.

pub mod ptx;
