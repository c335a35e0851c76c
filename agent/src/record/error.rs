//! Why the record cannot be read or written.

use std::io;
use std::path::{Path, PathBuf};

use crate::host::HostError;

/// What went wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is there, and cannot be understood.
    #[error("{} is damaged, so that what chandler changed on this machine is not known: {why}", path.display())]
    Damaged {
        /// Which file of it.
        path: PathBuf,
        /// How.
        why: String,
    },
    /// Somebody else works on this machine's engines.
    #[error("{by} is changing this machine's engines right now ({} is locked)", folder.display())]
    Held {
        /// The record's folder.
        folder: PathBuf,
        /// The process, if it could be seen.
        by: String,
    },
    /// A file of it cannot be read or written.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The lock cannot be taken, for another reason than that somebody has it.
    #[error("cannot lock {}", folder.display())]
    Lock {
        /// The record's folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else could say what root is to write where.
    #[error("what chandler changed on this machine is recorded below {}, and {why}: whoever that is could have anything written by `chandler undo`", folder.display())]
    Open {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A later chandler wrote it.
    #[error("{} is of version {version}, which a newer chandler wrote; this one knows {}", path.display(), super::form::VERSION)]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
}

impl RecordError {
    pub(super) fn damaged(path: &Path, why: &impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Damaged { .. } => Some(
                "nothing was changed; bring the folder back from a backup, or compare the engines' files by hand with what is in `contents` beside it, and then move the folder away",
            ),
            Self::Held { .. } => Some("wait until it is done, and run this again"),
            Self::Host(error) => error.hint(),
            Self::Lock { .. } => None,
            Self::Open { .. } => Some(
                "nothing was changed; `chown root FOLDER` and `chmod go-w FOLDER`, and compare what is recorded in it with the engines' files before you trust it. A mirror with a user of its own needs only the folders `cache` and `certs` below /var/lib/chandler",
            ),
            Self::Newer { .. } => Some("use the newer chandler, or undo with it before going back to this one"),
        }
    }
}
