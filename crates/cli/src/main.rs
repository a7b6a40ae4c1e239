//! The `maflow` program.
fn main() {}
