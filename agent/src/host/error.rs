//! Why a machine's file could not be read or changed.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// What went wrong, and with which path of the machine.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The file holds something else than the plan was made for.
    #[error("{} was changed by somebody else in the meantime, and is left as it is", .0.display())]
    Changed(PathBuf),
    /// `chattr +i` or `+a` holds it.
    #[error("{} may not be changed: it has the attribute immutable or append-only", .0.display())]
    Immutable(PathBuf),
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// `read`, `write`, …
        doing: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The new file cannot be what the old one is.
    #[error("cannot give the new {} the {what} of the one it would replace, which is left as it is", path.display())]
    Keep {
        /// `owner`, `mode`, `attribute security.selinux`.
        what: String,
        /// Of which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its links lead in a circle.
    #[error("{} leads through more than {} symbolic links, or in a circle", .0.display(), super::resolve::MOST_LINKS)]
    Loop(PathBuf),
    /// Something is mounted right there.
    #[error("{} is a mount of its own (a file that a container or a service was given), so that no other file can take its place", .0.display())]
    Mounted(PathBuf),
    /// A folder, a device, …
    #[error("{} is {what}, where a file was expected", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
        /// `a folder`.
        what: &'static str,
    },
    /// Something on the way to it is no folder.
    #[error("{} cannot be: {} is not a folder", path.display(), on_the_way.display())]
    NotAFolder {
        /// What was looked for.
        path: PathBuf,
        /// What stands in its way.
        on_the_way: PathBuf,
    },
    /// The file system is mounted read-only.
    #[error("{} is on a file system that is mounted read-only", .0.display())]
    ReadOnly(PathBuf),
}

impl HostError {
    /// An error of the operating system, by what it means here.
    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path),
            _ => Self::Io { doing, path, source },
        }
    }

    pub(super) fn not_a_file(path: &Path, kind: FileType) -> Self {
        let what = match kind {
            kind if kind.is_dir() => "a folder",
            kind if kind.is_fifo() => "a pipe",
            kind if kind.is_socket() => "a socket",
            kind if kind.is_symlink() => "a link that was just made",
            _ => "a device",
        };
        Self::NotAFile { path: path.to_owned(), what }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Changed(_) => Some("run it again: the plan is made anew from what the file holds now"),
            Self::Immutable(_) => Some("if it is to change, `chattr -i -a FILE` first, and ask who set it"),
            Self::Io { source, .. } | Self::Keep { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as root, or as the user whose engine it is")
            }
            Self::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Some("make room there and run it again, which completes it; or `chandler undo`, which takes back what was done")
            }
            Self::Mounted(_) => Some("change the file where it is mounted from: on the host, or in what starts the container"),
            Self::NotAFile { what: "a folder", .. } => {
                Some("a container engine makes a folder where the file to mount is missing: remove it, if it is empty")
            }
            Self::ReadOnly(_) => Some("such a system is changed in its image: `chandler apply --root DIR` works on an unbooted tree"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_both_ways_out() {
        let full = HostError::io("write", Path::new("/etc/docker/daemon.json"), io::Error::from(io::ErrorKind::StorageFull));
        let hint = full.hint().expect("there is something to do");
        assert!(hint.contains("run it again") && hint.contains("`chandler undo`"), "{hint}");
    }
}
