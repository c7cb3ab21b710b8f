//! What `gpuckpt-lower` and the command line share: the launch configuration,
//! the control protocol, and where a running job is found.
//!
//! The program itself is in `main.rs`.

pub mod config;
pub mod facts;
pub mod handover;
pub mod protocol;
