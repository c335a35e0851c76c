//! Docker: the machine's dockerd, and users' rootless ones.
//!
//! [`look()`] gathers [`Facts`], [`plan()`] makes steps of them and of a wish (pure), [`reload()`] has a running daemon read its file and sees that it did, [`verify()`] proves by a pull that it uses the mirror.
//! Beside them: `command_line`, `unit` and `proxy` read what a daemon is told by others than its file (pure), `api` is what it is asked.

pub mod api;
pub mod command_line;
pub mod engine;
pub mod facts;
pub mod look;
pub mod plan;
pub mod proxy;
pub mod reload;
pub mod unit;
pub mod verify;

pub use self::engine::Dockerds;
pub use self::facts::{Api, Facts, Owner, Report};
pub use self::look::{LookError, look};
pub use self::plan::plan;
pub use self::reload::{ReloadError, reload};
pub use self::verify::verify;
