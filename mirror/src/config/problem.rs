//! Where a setting came from, and what is wrong with it.
//!
//! A [`Problem`] keeps the program from starting, a [`Note`] does not. Neither ever holds a secret's text.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Nobody said it.
    Default,
    /// A place in a file; line and column count from 1.
    File {
        /// The file, as it was named.
        path: Arc<Path>,
        /// Its line.
        line: usize,
        /// The column in it, in characters.
        column: usize,
    },
    /// A flag, with its dashes.
    Flag(Arc<str>),
    /// An environment variable.
    Variable(Arc<str>),
}

impl Origin {
    /// A flag, named with its dashes.
    pub fn flag(name: &str) -> Self {
        Self::Flag(name.into())
    }

    /// An environment variable.
    pub fn variable(name: &str) -> Self {
        Self::Variable(name.into())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
        }
    }
}

/// A mistake in the configuration: where it is, what it is, and how to mend it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and the mend, in one line.
    pub text: String,
}

impl Problem {
    /// In the order in which a person goes through them: down the file, then variables, then flags.
    pub(super) fn place(&self) -> (u8, usize, usize) {
        match self.origin {
            Origin::File { line, column, .. } => (0, line, column),
            Origin::Variable(_) => (1, 0, 0),
            Origin::Flag(_) => (2, 0, 0),
            Origin::Default => (3, 0, 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => f.write_str(&self.text),
            origin => write!(f, "{origin}: {}", self.text),
        }
    }
}

/// Something that an operator should know and that stops nothing.
pub type Note = Problem;

/// Every mistake of a configuration at once; never empty.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the configuration has a problem\n  {only}"),
            many => {
                write!(f, "the configuration has {} problems", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
