//! The test Hub, alone.
fn main() {}
