//! containerd by itself, and as k3s and RKE2 bring it. Docker's own containerd is Docker's business.
//!
//! [`settings`] reads `config.toml`, [`look()`] gathers facts, [`plan()`] decides, [`kubernetes`] is k3s and RKE2, [`verify`] pulls. `hosts.toml` is read at every pull;
//! what only a restart would bring is said and left to the operator, for pods run on these daemons.

pub mod kubernetes;
pub mod look;
pub mod plan;
pub mod settings;
pub mod verify;

#[cfg(test)]
mod tests;

pub use self::look::{Facts, look};
pub use self::plan::plan;
