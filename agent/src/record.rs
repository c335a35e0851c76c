//! What of this machine's files is ours, and what was there before: the one thing that `undo` goes by.
//!
//! ```text
//! record.json      an entry for each file that was changed, in the order of the first change
//! contents/HASH    the bytes that entries name: the originals, and what we wrote
//! ```
//!
//! There is no other journal. An entry is on the disk, with the original's bytes and with those that are about to be written, before its file is touched; so a file
//! that a killed process leaves reads either as its original or as something of ours, and each run may begin anew. What reads otherwise was edited by somebody
//! ([`Standing::Edited`]).
//!
//! Invariants:
//! * What cannot be understood is an error, never "nothing was changed": an original that is forgotten is lost.
//! * `record.json` is replaced as a whole, after the contents that it names and before those that it no longer names are removed. Contents without it are damage.
//! * One process at a time changes it ([`Held`]), by a lock on the folder, which ends with the process.
//! * Contents may be keys: 0600 in folders of 0700, and never in a `Debug`.

mod error;
mod form;
mod guard;
mod held;
mod lock;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ::mirror::oci::{Algorithm, Digest};

use crate::engines::Engine;
use crate::host::{Nature, Root};

pub use self::error::RecordError;
pub use self::held::{Held, Intention};

/// Where root's agent keeps it, as the machine sees it.
pub const STATE: &str = "/var/lib/chandler/agent";

/// All of it, read.
#[derive(Clone)]
pub struct Record {
    root: Root,
    /// A real path of the machine.
    folder: PathBuf,
    entries: Vec<Entry>,
    contents: BTreeMap<Digest, Vec<u8>>,
}

/// A file that we changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// As it was planned.
    pub path: PathBuf,
    /// Where that led.
    pub real: PathBuf,
    /// For whom.
    pub engine: Engine,
    /// Nobody is shown what is in it.
    pub secret: bool,
    /// What `undo` brings back.
    pub original: Original,
    /// All that we wrote since that was there, and what we were about to write, the newest last. `None`: that it was removed.
    pub ours: Vec<Option<Digest>>,
    /// What we wrote before somebody made an edit that is the original now: what of that edit is ours is told by these until the file is written.
    pub earlier: Vec<Option<Digest>>,
    /// The folders that were made for it, the outermost first.
    pub folders: Vec<PathBuf>,
}

/// What was there before us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Original {
    /// Nothing.
    Absent,
    /// A file.
    File {
        /// Its bytes, in `contents`.
        digest: Digest,
        /// What it was beside them.
        nature: Nature,
    },
}

/// What a file holds now, by the record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// We never changed it.
    Unknown,
    /// What was there before us.
    Original,
    /// What we wrote.
    Ours,
    /// What somebody made of it since, or its path leads elsewhere than it did.
    Edited,
}

impl Record {
    /// Reads it, for who only looks: nothing is made, and whoever changes it is not waited for.
    pub fn read(root: &Root, folder: &Path) -> Result<Self, RecordError> {
        let folder = root.resolve(folder)?.real;
        guard::check(root, &folder)?;
        let (entries, contents) = form::read(root, &folder)?;
        Ok(Self { root: root.clone(), folder, entries, contents })
    }

    /// Of which tree.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// In the order of the first change.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whose files are in it, the one whose were changed last first.
    pub fn engines(&self) -> Vec<Engine> {
        let mut engines = Vec::new();
        for entry in self.entries.iter().rev() {
            if !engines.contains(&entry.engine) {
                engines.push(entry.engine);
            }
        }
        engines
    }

    /// That of a file, by the path that was planned.
    pub fn entry(&self, path: &Path) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// What a file holds: `real` is where its path leads now, `now` what is there.
    pub fn standing(&self, path: &Path, real: &Path, now: Option<&[u8]>) -> Standing {
        let Some(entry) = self.entry(path) else { return Standing::Unknown };
        let now = now.map(digest);
        if entry.real != real {
            Standing::Edited
        } else if now.as_ref() == entry.original.digest() {
            Standing::Original
        } else if entry.ours.contains(&now) {
            Standing::Ours
        } else {
            Standing::Edited
        }
    }

    /// The bytes that an entry's file held before us; `None`: it was not there.
    pub fn original(&self, entry: &Entry) -> Option<&[u8]> {
        entry.original.digest().map(|digest| self.content(digest))
    }

    /// All that we wrote there, the newest last, without the times when we removed it.
    pub fn ours(&self, entry: &Entry) -> Vec<&[u8]> {
        entry.earlier.iter().chain(&entry.ours).flatten().map(|digest| self.content(digest)).collect()
    }

    fn content(&self, digest: &Digest) -> &[u8] {
        self.contents.get(digest).expect("no entry is read or made without its contents")
    }
}

impl Original {
    /// Of its bytes; `None`: it was not there.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Absent => None,
            Self::File { digest, .. } => Some(digest),
        }
    }

    /// What it was beside its bytes.
    pub fn nature(&self) -> Option<&Nature> {
        match self {
            Self::Absent => None,
            Self::File { nature, .. } => Some(nature),
        }
    }
}

impl Entry {
    /// The contents that it needs.
    fn needs(&self) -> impl Iterator<Item = &Digest> {
        self.original.digest().into_iter().chain(self.earlier.iter().chain(&self.ours).flatten())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("folder", &self.folder).field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// How contents are told apart.
fn digest(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}
