//! The one that changes a machine: runs the steps of a plan, and makes the plan that takes them back.
//!
//! [`Executor::apply`] runs a plan, [`undo_plan`] (pure, but for reading files) says what would bring the originals back, [`Executor::undo`] runs that and strikes
//! the files from the record. What an engine does is seen through [`Engines`], what its files mean through [`Editor`]: nothing here knows an engine.
//!
//! Invariants:
//! * A file's entry is in the record before the file changes. Each step may be run again: killed anywhere, `apply` again completes and `undo` restores.
//! * A file that somebody edited is never overwritten with what does not contain that edit.
//! * If a step of an engine fails, what this run did to the engine's files is put back, and the engine, if it was told, is told again. So it either works by all
//!   of a plan or by none.

mod base;
mod engine;
mod error;
mod execute;
mod order;
mod put_back;
#[cfg(test)]
mod tests;
mod undo;
mod way;

pub use self::base::base;
pub use self::engine::{Detour, Edit, Editor, Engines, Fault, Reported};
pub use self::error::ApplyError;
pub use self::execute::{Executor, Outcome, Report};
pub use self::order::{Layer, backwards, layer};
pub use self::undo::{End, Undo, Undoing, undo_plan};
