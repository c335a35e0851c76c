//! What the promises are tested with: the test Hub with its faults, and the harness for real engines.
//!
//! Nothing here uses the mirror's own code: bugs that both sides share would cancel out.

pub mod anybody;
pub mod bench;
pub mod client;
pub mod container_image;
pub mod dead_end;
pub mod dice;
pub mod disk;
pub mod engine;
pub mod hub;
pub mod interposer;
pub mod named;
pub mod newborn;
pub mod operator;
pub mod pebble;
pub mod program;
pub mod promised;
pub mod released;
pub mod route53;
pub mod slow_client;
pub mod systemd;
pub mod tap;
pub mod tools;
