//! The dbbouncer program.
fn main() {}
