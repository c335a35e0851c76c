//! The files behind certificates: `DIR/certs/NAME/…` for each certificate, `DIR/acme/CA/…` for each account.
//!
//! ```text
//! certs/NAME/gen-000007.pem    key and chain in one file: never one of another generation
//! certs/NAME/gen-000007.json   what it is (Facts)
//! certs/NAME/current           {"generation": 7}: the one in use
//! certs/NAME/state.json        what was tried, and what the CA suggests
//! certs/NAME/pending.json      the order under way, with its key, what CAs are to find as its proofs, and its TXT records
//! certs/NAME/left.json         TXT records of orders that are over, which could not be taken away yet
//! certs/NAME/trial/…           the same of an order at a CA's twin for trials
//! certs/NAME/attended          held, by as many as like, while a worker looks after it
//! certs/NAME/lock              held by whoever works on this certificate
//! ```
//!
//! Invariants:
//! * A file is whole or not there: written beside, synced, renamed, the folder synced. Keys are 0600 from their first byte, folders 0700.
//! * That a file cannot be *read* is an error, never "not there": a disk that is ill must not make us order certificates.
//! * A file that cannot be *understood* is an error too, until whoever holds the lock puts it aside under another name ([`CertFolder::tidy`]); it is never
//!   removed. Only a certificate among several is passed over, so that there is one to serve.

mod account;
mod barred;
pub(crate) mod files;
mod inherit;
mod left;
mod lock;
mod name;
mod pending;

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use account::{AccountFolder, Saved};
pub use files::put;
pub use left::Left;
pub use lock::Lock;
pub use name::{CertName, CertNameError};
pub use pending::{Pending, Proofs, Record};

use crate::{Bundle, Facts, History, Moment, Suggestion};

/// Where certificates and accounts lie.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// The files of one certificate.
#[derive(Clone, Debug)]
pub struct CertFolder {
    folder: PathBuf,
    store: PathBuf,
}

/// A stored certificate.
#[derive(Clone, Debug)]
pub struct Held {
    /// Key and chain.
    pub bundle: Bundle,
    /// What it is.
    pub facts: Facts,
    /// Its number, counted up from 1.
    pub generation: u32,
}

/// What is remembered of a certificate besides itself.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct State {
    /// Somebody asked for a new one, whether it is due or not.
    pub asked: bool,
    /// What was tried.
    pub history: History,
    /// Drawn once, so that many certificates are not due at one second.
    pub jitter: Option<f64>,
    /// When the CA is to be asked for its suggestion again.
    pub next_look: Option<Moment>,
    /// What the CA suggests.
    pub suggestion: Option<Suggestion>,
}

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file that nobody understands.
    #[error("{} cannot be understood", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file or folder.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody else works on it.
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
}

impl StoreError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }

    /// Of a file below the folder that is `configured`: where it is for want of a permission, with what mends it.
    pub(crate) fn explained(self, configured: &Path) -> Self {
        match self {
            Self::Io { doing, path, source } => {
                let source = barred::explained(configured, &path, source);
                Self::Io { doing, path, source }
            }
            other => other,
        }
    }

    fn damaged(path: &Path, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Damaged { path: path.to_owned(), source: Box::new(source) }
    }

    fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

impl Store {
    /// In `folder`, which is made at the first write.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The certificate `name`.
    pub fn certificate(&self, name: &CertName) -> CertFolder {
        CertFolder { folder: self.folder.join("certs").join(name.as_str()), store: self.folder.clone() }
    }

    /// The account at the CA with this directory.
    pub fn account(&self, directory: &str) -> AccountFolder {
        AccountFolder::new(&self.folder.join("acme"), directory)
    }

    /// Writes a file as large as a certificate with all that belongs to it, and takes it away again: whether one could be stored, also as far as the disk has room.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.try_room().map_err(|error| error.explained(&self.folder))
    }

    fn try_room(&self) -> Result<(), StoreError> {
        let path = self.folder.join("probe");
        let written = files::write_text(&path, &"\n".repeat(PROBE));
        if written.is_err() {
            let _ = files::remove(&path.with_added_extension("new")); // What is left of it on a full disk.
            return written;
        }
        files::remove(&path)
    }

    /// Whether what is stored of `names` can be read, and more be written. Nothing is made, not even the folder: whoever asks may be another than who will work here.
    pub fn examine(&self, names: &[&CertName]) -> Result<(), StoreError> {
        self.look_over(names).map_err(|error| error.explained(&self.folder))
    }

    fn look_over(&self, names: &[&CertName]) -> Result<(), StoreError> {
        let missing = |one: &&Path| !one.as_os_str().is_empty() && !one.exists();
        let nearest = self.folder.ancestors().nth(self.folder.ancestors().take_while(missing).count()).unwrap_or(Path::new("."));
        let owner = fs::metadata(&self.folder).map_or(0, |folder| folder.uid());
        files::check_writable(nearest, owner).map_err(|error| match error {
            StoreError::Io { source, .. } if nearest != self.folder => StoreError::io("make", &self.folder, source),
            error => error,
        })?;
        files::check_writable(&self.folder.join("certs"), owner)?;
        for name in names {
            let certificate = self.certificate(name);
            files::check_writable(&certificate.folder, owner)?;
            certificate.current()?;
        }
        Ok(())
    }

    /// Every certificate that has a folder, in their order.
    pub fn names(&self) -> Result<Vec<CertName>, StoreError> {
        let folder = self.folder.join("certs");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| StoreError::io("list", &folder, source).explained(&self.folder))?,
        };
        let mut names: Vec<CertName> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }
}

impl CertFolder {
    /// Makes sure that nobody else works on this certificate, in any process of this machine, until the lock is dropped.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        self.explained(Lock::take(&self.folder.join("lock"), false))
    }

    /// The same; while somebody else works on it, it is waited for, `patience` at most.
    pub fn lock_within(&self, patience: Duration) -> Result<Lock, StoreError> {
        self.explained(Lock::take_within(&self.folder.join("lock"), patience))
    }

    /// Says, until the lock is dropped, that a worker looks after this certificate.
    pub fn attend(&self) -> Result<Lock, StoreError> {
        self.explained(Lock::take(&self.folder.join("attended"), true))
    }

    /// Whether a worker does, in any process of this machine.
    pub fn is_attended(&self) -> Result<bool, StoreError> {
        self.explained(Lock::is_held(&self.folder.join("attended")))
    }

    /// Somebody wants a certificate now: what failed need not be waited out, and with `even_if_not_due` the one in hand is replaced whatever its age.
    pub fn ask(&self, now: Moment, even_if_not_due: bool) -> Result<(), StoreError> {
        self.tidy()?;
        let _lock = self.lock()?;
        let mut state = self.state()?;
        state.history.forgive(now);
        state.asked |= even_if_not_due;
        self.save_state(&state)
    }

    /// The one in use; where that is damaged, the newest that is whole.
    pub fn current(&self) -> Result<Option<Held>, StoreError> {
        let named = passing_over(self.explained(files::read::<Current>(&self.folder.join(CURRENT))))?.map(|current| current.generation);
        let all = self.generations()?;
        let newest_first = named.into_iter().chain(all.into_iter().rev().filter(|one| Some(*one) != named));
        for generation in newest_first {
            if let Some(held) = passing_over(self.generation(generation))? {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }

    /// One that was stored.
    pub fn generation(&self, generation: u32) -> Result<Option<Held>, StoreError> {
        let path = self.folder.join(file_of(generation, "pem"));
        let Some(pem) = self.explained(files::read_text(&path))? else { return Ok(None) };
        let bundle = Bundle::parse(&pem).map_err(|error| StoreError::damaged(&path, error))?;
        // Without its description it serves as well, until one that is known takes its place.
        let facts = passing_over(files::read::<Facts>(&self.folder.join(file_of(generation, "json"))))?;
        let facts = facts.unwrap_or_else(|| bundle.own_facts());
        Ok(Some(Held { bundle, facts, generation }))
    }

    /// Puts aside what nobody understands, if nobody else works on this certificate: what was remembered there is lost, and the work goes on.
    pub fn tidy(&self) -> Result<(), StoreError> {
        if self.damage()?.is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        for (path, why) in self.damage()? {
            files::put_aside(&path, &why); // Read under the lock: it is nobody's new one.
        }
        Ok(())
    }

    fn damage(&self) -> Result<Vec<(PathBuf, String)>, StoreError> {
        let mut errors = Vec::new();
        for generation in self.generations()? {
            errors.extend(self.generation(generation).err());
            errors.extend(files::read::<Facts>(&self.folder.join(file_of(generation, "json"))).err());
        }
        errors.extend(files::read::<Current>(&self.folder.join(CURRENT)).err());
        errors.extend(self.state().err());
        errors.extend(self.pending().err());
        errors.extend(self.rehearsal().pending().err());
        errors.extend(self.left().err().into_iter().chain(self.rehearsal().left().err()));
        let damaged = |error| match error {
            StoreError::Damaged { path, source } => Some((path, source.to_string())),
            _ => None, // Whoever needs that file says so.
        };
        Ok(errors.into_iter().filter_map(damaged).collect())
    }

    /// Stores `bundle` and makes it the one in use. Older ones but the last few are removed.
    pub fn publish(&self, bundle: &Bundle, facts: &Facts) -> Result<Held, StoreError> {
        let generation = self.generations()?.last().map_or(1, |last| last.saturating_add(1));
        self.explained(files::write(&self.folder.join(file_of(generation, "json")), facts))?;
        self.explained(files::write_text(&self.folder.join(file_of(generation, "pem")), bundle.pem()))?;
        self.point_to(generation)?;
        self.forget_before(generation)?;
        Ok(Held { bundle: bundle.clone(), facts: facts.clone(), generation })
    }

    /// Notes that its issuer took one back: it is a reason to get another.
    pub fn note_revoked(&self, held: &Held) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let facts = Facts { revoked: true, ..held.facts.clone() };
        self.explained(files::write(&self.folder.join(file_of(held.generation, "json")), &facts))
    }

    /// Makes a stored one the one in use.
    pub fn point_to(&self, generation: u32) -> Result<(), StoreError> {
        self.explained(files::write(&self.folder.join(CURRENT), &Current { generation }))
    }

    /// Changes with what is remembered; `None` where nothing is.
    pub fn stamp(&self) -> Option<(u64, i64, i64)> {
        let file = fs::metadata(self.folder.join("state.json")).ok()?;
        Some((file.ino(), file.mtime(), file.mtime_nsec()))
    }

    /// What is remembered.
    pub fn state(&self) -> Result<State, StoreError> {
        Ok(self.explained(files::read(&self.folder.join("state.json")))?.unwrap_or_default())
    }

    /// Remembers it.
    pub fn save_state(&self, state: &State) -> Result<(), StoreError> {
        self.explained(files::write(&self.folder.join("state.json"), state))
    }

    /// The order under way.
    pub fn pending(&self) -> Result<Option<Pending>, StoreError> {
        self.explained(files::read(&self.folder.join(PENDING)))
    }

    /// Remembers it: before it is acted on, so that a crash does not lose a certificate that the CA has counted.
    pub fn save_pending(&self, pending: &Pending) -> Result<(), StoreError> {
        self.explained(files::write(&self.folder.join(PENDING), pending))
    }

    /// It has ended, one way or the other.
    pub fn clear_pending(&self) -> Result<(), StoreError> {
        self.explained(files::remove(&self.folder.join(PENDING)))
    }

    /// Where a trial is written down, beside the certificate itself.
    pub fn rehearsal(&self) -> Self {
        Self { folder: self.folder.join("trial"), store: self.store.clone() }
    }

    /// In their order.
    pub fn generations(&self) -> Result<Vec<u32>, StoreError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| StoreError::io("list", &self.folder, source).explained(&self.store))?,
        };
        let mut found: Vec<u32> = entries.flatten().filter_map(|entry| number_of(entry.file_name().to_str()?)).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// What keeps us out is told with what mends it.
    fn explained<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        done.map_err(|error| error.explained(&self.store))
    }

    fn forget_before(&self, generation: u32) -> Result<(), StoreError> {
        for old in self.generations()?.into_iter().filter(|old| *old + KEPT <= generation) {
            files::remove(&self.folder.join(file_of(old, "pem")))?;
            files::remove(&self.folder.join(file_of(old, "json")))?;
        }
        Ok(())
    }
}

/// What cannot be understood counts as not there.
fn passing_over<T>(read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error) if error.is_damage() => Ok(None),
        read => read,
    }
}

#[derive(Deserialize, Serialize)]
struct Current {
    generation: u32,
}

fn file_of(generation: u32, ending: &str) -> String {
    format!("gen-{generation:06}.{ending}")
}

fn number_of(file: &str) -> Option<u32> {
    file.strip_prefix("gen-")?.strip_suffix(".pem")?.parse().ok()
}

const CURRENT: &str = "current";
/// So many generations stay, to go back to.
const KEPT: u32 = 3;
/// Bytes.
const PROBE: usize = 16 << 10;
const PENDING: &str = "pending.json";

#[cfg(test)]
mod tests;
