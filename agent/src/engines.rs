//! The container engines of one machine: what they are told now, and what must change so that they pull through the mirror.
//!
//! [`Wish`] is what the operator wants, [`plan`] what would be done for it: values, with no machine behind them. Each engine has a module that looks at the machine
//! (effects, facts out) and one that plans (facts and wish in, steps out). Nothing here changes a machine: `apply` does, with the plan and nothing else.

pub mod buildkit;
pub mod canary;
pub mod certs_d;
pub mod containerd;
pub mod contents;
pub mod docker;
pub mod fall_over;
pub mod files;
pub mod image;
pub mod plan;
pub mod podman;
pub mod process;
pub mod program;
pub mod secrets;
pub mod stand_in;
pub mod system_store;

pub use cloud_init::{ClientPair, Engine, MirrorUrl, MirrorUrlError, Others, Wish};

pub use self::plan::{Change, Daemon, Finding, Plan, Rebuild, Reload, Step, Weight};
