//! `BuildKit` by itself: buildkitd, and the builders that `docker buildx` runs in containers. What dockerd has inside is Docker's business.
//!
//! [`look()`] gathers facts, [`plan()`] decides, [`builders`] reads what buildx keeps of its builders, [`verify`] builds. buildkitd reads its file at its start only, so that
//! a change waits for a restart, which ends builds and is the operator's to choose.

pub mod builders;
pub mod look;
pub mod plan;
pub mod verify;

#[cfg(test)]
mod tests;

pub use self::look::{Facts, look};
pub use self::plan::plan;
