//! The files of a private CA.
//!
//! ```text
//! ca.json         what it is: its settings, its certificates, and which of them issues
//! keys/ID.key     a private key, named after the public one; a root's may be kept elsewhere
//! tokens/ID.json  a token that is out, by the hash of its secret, and what it was used for
//! issued.jsonl    what it issued, a line each, written before the certificate leaves
//! revoked.json    what it took back
//! crl.pem         the same, signed, for other programs
//! lock            held by whoever works on it
//! ```
//!
//! Invariants:
//! * `ca.json` is replaced as a whole, after the keys that it names: a crash leaves the CA as it was or as it was to be, and at most a key that nothing names.
//! * What cannot be read or understood is an error, never "not there": a second CA made in its place would be trusted by nobody.
//! * Keys are 0600 from their first byte, folders 0700.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::authority::{Authority, AuthorityError};
use super::constraints::Permits;
use super::content::Purpose;
use super::grants::Grant;
use super::key::{CaKey, SecretKey, key_name};
use super::revocation::Revocations;
use super::serial::Serial;
use super::token::TokenId;
use super::{CaError, Founding};
use crate::store::{Lock, StoreError, files};
use crate::{Identifiers, Moment};

/// Where a CA lies.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

/// What a CA is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Of the format.
    pub(super) version: Version,
    /// How its certificates are made.
    pub(super) settings: Settings,
    /// Those that sign intermediates, the newest last.
    pub(super) roots: Vec<Signer>,
    /// Those that sign leaves; the last does, the others did.
    pub(super) issuers: Vec<Signer>,
    /// The key that a CA elsewhere is asked to sign.
    pub(super) pending: Option<String>,
}

/// The only one so far; another is from a newer program.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub(super) struct Version;

/// What its operator chose.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) key: CaKey,
    pub(super) name: String,
    pub(super) organization: Option<String>,
    pub(super) permits: Permits,
}

/// A CA's certificate with all above it, and its key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signer {
    chain: String,
    pub(super) key: String,
}

/// A line in the list of what was issued.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Record {
    pub(super) at: Moment,
    pub(super) serial: Serial,
    pub(super) issuer: String,
    pub(super) identifiers: Identifiers,
    pub(super) purpose: Purpose,
    pub(super) not_after: Moment,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What others than its operator read of it.
    pub(super) fn published(&self) -> [PathBuf; 2] {
        ["ca.json", "revoked.json"].map(|name| self.0.join(name))
    }

    pub(super) fn lock(&self) -> Result<Lock, StoreError> {
        self.lock_within(Duration::ZERO)
    }

    pub(super) fn lock_within(&self, patience: Duration) -> Result<Lock, StoreError> {
        self.explained(Lock::take_within(&self.0.join("lock"), patience))
    }

    /// What keeps us out is told with what mends it.
    fn explained<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        done.map_err(|error| error.explained(super::state(&self.0)))
    }

    pub(super) fn load(&self) -> Result<Option<Document>, StoreError> {
        self.explained(files::read(&self.0.join("ca.json")))
    }

    /// After the keys that it names.
    pub(super) fn save(&self, document: &Document) -> Result<(), StoreError> {
        files::write(&self.0.join("ca.json"), document)
    }

    pub(super) fn key_path(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(format!("{name}.key"))
    }

    /// `None` where it is kept elsewhere.
    pub(super) fn key(&self, name: &str) -> Result<Option<SecretKey>, CaError> {
        let text = self.explained(files::read_text(&self.key_path(name)))?;
        Ok(text.map(|text| SecretKey::parse(&text)).transpose()?)
    }

    /// Its name.
    pub(super) fn save_key(&self, key: &SecretKey) -> Result<String, StoreError> {
        let name = key_name(&key.public_der());
        files::write_text(&self.key_path(&name), key.pem())?;
        Ok(name)
    }

    pub(super) fn remove_key(&self, name: &str) -> Result<(), StoreError> {
        files::remove(&self.key_path(name))
    }

    pub(super) fn grant(&self, id: &TokenId) -> Result<Option<Grant>, StoreError> {
        files::read(&self.grant_path(id))
    }

    pub(super) fn save_grant(&self, grant: &Grant) -> Result<(), StoreError> {
        files::write(&self.grant_path(&grant.id), grant)
    }

    /// For good: a token that was taken back must not be there again after a power cut.
    pub(super) fn remove_grant(&self, id: &TokenId) -> Result<(), StoreError> {
        files::remove_durably(&self.grant_path(id))
    }

    /// The names of all.
    pub(super) fn grants(&self) -> Result<Vec<TokenId>, StoreError> {
        let folder = self.0.join("tokens");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|source| StoreError::Io { doing: "list", path: folder.clone(), source })?,
        };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok()).collect())
    }

    fn grant_path(&self, id: &TokenId) -> PathBuf {
        self.0.join("tokens").join(format!("{id}.json"))
    }

    /// Before the certificate leaves: one that is not in the list could not be taken back by its number.
    pub(super) fn record(&self, record: &Record) -> Result<(), StoreError> {
        self.explained(files::append(&self.0.join("issued.jsonl"), record))
    }

    /// Whether all can be written that the service writes when it issues.
    pub(super) fn check_writable(&self) -> Result<(), StoreError> {
        let folder = fs::metadata(&self.0).map_err(|source| StoreError::Io { doing: "look at", path: self.0.clone(), source })?;
        for path in [self.0.clone(), self.0.join("issued.jsonl"), self.0.join("tokens")] {
            self.explained(files::check_writable(&path, folder.uid()))?;
        }
        Ok(())
    }

    /// The newest entry with this number. Lines that a crash cut are passed over: their certificates never left.
    pub(super) fn issued(&self, serial: &Serial) -> Result<Option<Record>, StoreError> {
        let text = files::read_text(&self.0.join("issued.jsonl"))?.unwrap_or_default();
        let mut records = text.lines().rev().filter_map(|line| serde_json::from_str::<Record>(line).ok());
        Ok(records.find(|record| record.serial == *serial))
    }

    pub(super) fn revocations(&self) -> Result<Revocations, StoreError> {
        Ok(self.explained(files::read(&self.0.join("revoked.json")))?.unwrap_or_default())
    }

    pub(super) fn save_revocations(&self, list: &Revocations) -> Result<(), StoreError> {
        files::write(&self.0.join("revoked.json"), list)
    }

    pub(super) fn save_signed_list(&self, text: &str) -> Result<(), StoreError> {
        files::write_text(&self.signed_list(), text)
    }

    pub(super) fn signed_list(&self) -> PathBuf {
        self.0.join("crl.pem")
    }
}

impl Document {
    pub(super) fn new(founding: &Founding) -> Self {
        let Founding { key, name, organization, permits } = founding.clone();
        let settings = Settings { key, name, organization, permits };
        Self { version: Version, settings, roots: Vec::new(), issuers: Vec::new(), pending: None }
    }

    /// What clients are to trust, the oldest first.
    pub(super) fn anchors(&self, now: Moment) -> Result<Vec<Authority>, AuthorityError> {
        let mut anchors: Vec<Authority> = Vec::new();
        for signer in self.roots.iter().chain(&self.issuers) {
            let top = signer.chain()?.pop().ok_or(AuthorityError::Empty)?;
            if top.not_after() > now && !anchors.contains(&top) {
                anchors.push(top);
            }
        }
        anchors.sort_by_key(Authority::not_before);
        Ok(anchors)
    }
}

impl Signer {
    pub(super) fn new(chain: &[Authority], key: String) -> Self {
        Self { chain: chain.iter().map(Authority::pem).collect(), key }
    }

    /// Its own certificate first.
    pub(super) fn chain(&self) -> Result<Vec<Authority>, AuthorityError> {
        Authority::read_all(&self.chain)
    }
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == 1 { Ok(Self) } else { Err(format!("it is of version {number}, which a newer chandler wrote; this one knows 1")) }
    }
}

impl From<Version> for u32 {
    fn from(Version: Version) -> Self {
        1
    }
}
