//! `gpuckpt`: the command line.
fn main() {}
