//! What `gpuckpt-lower` and the command line share: the launch configuration,
//! the control protocol, where a running job is found, and the faults that tests ask for.
//!
//! The program itself is in `main.rs`.

pub mod config;
pub mod driver_path;
pub mod facts;
pub mod faults;
pub mod handover;
pub mod protocol;
