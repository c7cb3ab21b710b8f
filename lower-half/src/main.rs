//! `gpuckpt-lower`.
fn main() {}
