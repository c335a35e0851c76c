//! What can go wrong in the store. Reading content is not here: what cannot be read is not there.

use std::io;
use std::path::PathBuf;

use super::VERSION;

/// Why a store cannot be opened. Each names the path; [`OpenError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store in this one, has the folder.
    #[error("the store `{}` is in use by {}", path.display(), process(*pid))]
    InUse {
        /// The store's folder.
        path: PathBuf,
        /// Who has it, where its lock file says so.
        pid: Option<u32>,
    },
    /// The system refused something that the store needs.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// Its subject.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// `chandler.json` is no marker of ours.
    #[error("`{}` does not read as a store's marker", path.display())]
    Marker {
        /// The file.
        path: PathBuf,
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
    /// A later program wrote here.
    #[error("`{}` says version {found}, and this program knows version {VERSION}", path.display())]
    Newer {
        /// The marker.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Another folder came into the place of the one that was opened.
    #[error("`{}` is not the folder of the start: another one lies in its place; put the old one back, or restart the mirror, which takes up what is there", path.display())]
    Replaced {
        /// The store's folder.
        path: PathBuf,
    },
    /// A folder of the store is a mount or a link to elsewhere: a rename, which is how files are published, cannot get there.
    #[error("`{}` lies on another file system than the rest of the store", path.display())]
    OtherFileSystem {
        /// The folder.
        path: PathBuf,
    },
}

impl OpenError {
    /// What to do about it, in one line.
    pub fn hint(&self) -> String {
        match self {
            Self::InUse { .. } => "stop the other process, or give this one a folder of its own".into(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "let the mirror's user own the store's folder with all that is in it (chown -R)".into(),
                io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or choose another folder for the store".into(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space on its file system".into(),
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                    "a file is in the way: move it, or choose another folder for the store".into()
                }
                _ => "check the path and the file system's health".into(),
            },
            Self::Marker { .. } => "if nothing else uses the folder, remove the file: content is kept".into(),
            Self::Newer { .. } => "run the newer program, or start with an empty folder".into(),
            Self::Replaced { .. } => "put the old folder back, or restart the mirror".into(),
            Self::OtherFileSystem { .. } => "mount or link the store's whole folder, not a part of it".into(),
        }
    }
}

/// Why something was not written, or a repository's records not read. What was there before is there still; who has bytes that pass streams them past the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room under the cap or on the disk, and nothing left to evict.
    #[error("no room in the store for {0} more bytes")]
    Full(u64),
    /// The system refused.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// Its subject.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The health check failed, so nothing new is written.
    #[error("the store is unhealthy: {0}")]
    Unhealthy(String),
}

/// Whether the system says that there is no space, which is no illness.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}
