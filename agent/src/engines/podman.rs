//! Podman, Buildah, Skopeo and CRI-O, which share `/etc/containers`.
//!
//! [`look()`] gathers facts, [`plan()`] decides by them over [`reading`] (which entry wins) and [`drop_in`] (our file among others'), [`findings`] says what a person must know,
//! [`service`] and [`told`] speak to what runs on, [`verify`] pulls.
//!
//! A user's files are written by that user's own run alone: root that follows a user's links would write wherever the user likes.

pub mod drop_in;
pub mod findings;
pub mod look;
pub mod plan;
pub mod reading;
pub mod service;
pub mod told;
pub mod verify;

#[cfg(test)]
mod tests;

pub use self::look::{Asker, Facts, look};
pub use self::plan::{plan, reloads};
