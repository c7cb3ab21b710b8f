//! The GPU kit: one folder and one command that asks a machine with a GPU what only
//! it can answer, and writes the answers as `evidence.json` and `evidence.md`.
//!
//! ```text
//! run ──► steps      the table: what is asked, how long it may take, in which order
//!     ──► runner     one step after the other; each is a process `run probe NAME`
//!           └─ probes/…   asks one question, says figures and a state (protocol)
//!     ──► evidence, report, compare
//! ```
//!
//! It is a tool around the product: it may not use the product's crates but
//! `cuda-abi`, and it talks to gpuckpt as its users do, through its command line.

pub mod across;
pub mod children;
pub mod compare;
pub mod driver;
pub mod evidence;
pub mod inherited;
pub mod installed;
pub mod job;
pub mod kit;
pub mod machine;
pub mod probe;
pub mod probes;
pub mod protocol;
pub mod report;
pub mod runner;
pub mod statistics;
pub mod steps;
