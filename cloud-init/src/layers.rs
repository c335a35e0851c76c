//! The layers of quoting that a document travels through, a module each. Each has a property test: what was put in is what is read.

pub mod java;
pub mod shell;
pub mod yaml;
