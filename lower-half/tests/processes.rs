//! The table of the job's processes: a module of the program, which has no test
//! harness of its own; its tests lie in it.

#[path = "../src/processes.rs"]
#[allow(dead_code, reason = "the program uses the rest")]
mod processes;
