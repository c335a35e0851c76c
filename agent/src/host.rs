//! A machine's file tree: `/`, or a folder that holds one (`--root DIR`). All that chandler reads and changes of a machine's files goes through [`Root`].
//!
//! Paths are as the machine sees them; a symbolic link is followed within the tree, so that `/etc/x -> /srv/x` below `--root DIR` is `DIR/srv/x`. `resolve`
//! follows them, `nature` is what a file is beside its bytes, `write` replaces whole files and nothing else, `steps` is where tests break off.
//!
//! Invariants:
//! * A file is replaced by renaming a complete one over it, which has its mode, owner and attributes already: whoever reads sees the old one or the new one, and so
//!   does a machine that lost power.
//! * A link stays one: what it leads to is replaced.
//! * A file that reads otherwise than its caller believes is left as it is.

mod error;
mod nature;
mod resolve;
pub(crate) mod steps;
#[cfg(test)]
mod tests;
mod write;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

pub use self::error::HostError;
pub use self::nature::Nature;
pub use self::resolve::Place;
pub use self::write::Put;

/// Where a machine's files are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Root(PathBuf);

/// A file that is there.
#[derive(Clone, Eq, PartialEq)]
pub struct Found {
    /// All of it.
    pub bytes: Vec<u8>,
    /// What it is beside them.
    pub nature: Nature,
    /// Where it is in truth, and whether a link leads there.
    pub place: Place,
}

impl Root {
    /// This machine's own files.
    pub fn machine() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A machine's files below `folder`.
    pub fn below(folder: &Path) -> Result<Self, HostError> {
        let failed = |source| HostError::io("look at", folder, source);
        let whole = fs::canonicalize(folder).map_err(failed)?;
        if !whole.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self(whole))
    }

    /// Whether it is the tree that this program runs in, so that what runs here reads these files.
    pub fn is_machine(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where a real path of the machine is for this process. No link is followed.
    pub fn on_disk(&self, real: &Path) -> PathBuf {
        self.0.join(inner(real))
    }

    /// Where `path` is in truth: every link is followed within the tree. What is not there resolves to where it would be made.
    pub fn resolve(&self, path: &Path) -> Result<Place, HostError> {
        resolve::resolve(self, path)
    }

    /// A file; `None` where there is none, also where a link dangles.
    pub fn read(&self, path: &Path) -> Result<Option<Found>, HostError> {
        self.read_at(self.resolve(path)?)
    }

    /// The same, of a path that was resolved already.
    pub fn read_at(&self, place: Place) -> Result<Option<Found>, HostError> {
        let failed = |source| HostError::io("read", &place.real, source);
        let disk = self.on_disk(&place.real);
        let meta = match fs::symlink_metadata(&disk) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            meta => meta.map_err(failed)?,
        };
        if !meta.is_file() {
            return Err(HostError::not_a_file(&place.real, meta.file_type()));
        }
        // A pipe that takes its place just now must not hold us up, nor a link lead elsewhere.
        let opened = rustix::fs::open(&disk, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        let mut file = fs::File::from(opened.map_err(|errno| failed(errno.into()))?);
        let nature = Nature::of(&file).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(Found { bytes, nature, place }))
    }

    /// The names in a folder, sorted; `None` where there is none.
    pub fn list(&self, path: &Path) -> Result<Option<Vec<OsString>>, HostError> {
        let place = self.resolve(path)?;
        let failed = |source| HostError::io("list", &place.real, source);
        let entries = match fs::read_dir(self.on_disk(&place.real)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(failed)?,
        };
        let mut names = entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
        names.sort_unstable();
        Ok(Some(names))
    }

    /// Whether there is a folder, with links followed.
    pub fn is_folder(&self, path: &Path) -> Result<bool, HostError> {
        let place = self.resolve(path)?;
        match fs::symlink_metadata(self.on_disk(&place.real)) {
            Ok(meta) => Ok(meta.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(HostError::io("look at", &place.real, source)),
        }
    }
}

impl std::fmt::Debug for Found {
    /// Without the bytes, which may be a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("bytes", &self.bytes.len()).field("nature", &self.nature).field("place", &self.place).finish()
    }
}

/// A path without its leading slash, and without what could lead out.
fn inner(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}
