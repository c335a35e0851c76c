//! The account at a CA: one a directory, shared by all certificates.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Lock, StoreError, files};
use crate::Moment;

/// The files of one account.
#[derive(Clone, Debug)]
pub struct AccountFolder {
    folder: PathBuf,
}

/// An account that is registered.
#[derive(Clone, Deserialize, Serialize)]
pub struct Saved {
    /// Its credentials as the ACME library writes them; the account's key is among them.
    pub credentials: serde_json::Value,
    /// At which CA.
    pub directory: String,
}

impl Saved {
    /// The account's URL, by which a lasting TXT record names it.
    pub fn url(&self) -> Option<&str> {
        self.credentials.get("id")?.as_str()
    }
}

impl AccountFolder {
    pub(super) fn new(folder: &Path, directory: &str) -> Self {
        Self { folder: folder.join(folder_name(directory)) }
    }

    /// Nobody else registers or changes it meanwhile.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        Lock::take(&self.folder.join("lock"), false).map_err(|error| error.explained(self.store()))
    }

    /// The account, if there is one.
    pub fn load(&self) -> Result<Option<Saved>, StoreError> {
        files::read(&self.folder.join(FILE)).map_err(|error| error.explained(self.store()))
    }

    /// `STORE/acme/CA` is ours.
    fn store(&self) -> &Path {
        self.folder.ancestors().nth(2).unwrap_or(&self.folder)
    }

    /// The same for whoever holds its lock: one that nobody understands is put aside and counts as none.
    pub fn load_or_put_aside(&self, _lock: &Lock) -> Result<Option<Saved>, StoreError> {
        Self::whole_or_put_aside(&self.folder.join(FILE))
    }

    fn whole_or_put_aside(path: &Path) -> Result<Option<Saved>, StoreError> {
        match files::read(path) {
            Err(StoreError::Damaged { path, source }) => {
                files::put_aside(&path, &source);
                Ok(None)
            }
            account => account,
        }
    }

    /// Keeps it.
    pub fn save(&self, account: &Saved) -> Result<(), StoreError> {
        files::write(&self.folder.join(FILE), account)
    }

    /// A change of the account's key is under way, or broke off.
    pub(crate) fn has_next(&self) -> Result<bool, StoreError> {
        let path = self.folder.join(NEXT);
        path.try_exists().map_err(|source| StoreError::Io { doing: "look at", path, source })
    }

    /// The account with the key that it is about to have, for whoever holds the lock.
    pub(crate) fn next(&self, _lock: &Lock) -> Result<Option<Saved>, StoreError> {
        Self::whole_or_put_aside(&self.folder.join(NEXT))
    }

    /// Keeps it, before the CA hears of that key.
    pub(crate) fn save_next(&self, account: &Saved) -> Result<(), StoreError> {
        files::write(&self.folder.join(NEXT), account)
    }

    /// The change has ended.
    pub(crate) fn clear_next(&self) -> Result<(), StoreError> {
        files::remove(&self.folder.join(NEXT))
    }

    /// The CA has not heard of that key, and may yet: the request for it may be under way. It is kept, since it would be the only copy. The caller holds
    /// the lock.
    pub(crate) fn doubt_next(&self, now: Moment) -> Result<(), StoreError> {
        files::rename(&self.folder.join(NEXT), &self.folder.join(format!("{DOUBTED}{}", now.unix())))
    }

    /// The keys of changes that the CA had not heard of when it was asked, and when that was.
    pub(crate) fn doubted(&self) -> Result<Vec<(Moment, PathBuf)>, StoreError> {
        let failed = |source| StoreError::Io { doing: "look into", path: self.folder.clone(), source };
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let since = path.file_name().and_then(|name| name.to_str()?.strip_prefix(DOUBTED)?.parse().ok());
            found.extend(since.map(|since| (Moment::from_unix(since), path)));
        }
        found.sort();
        Ok(found)
    }

    /// The account with the key in one of these, for whoever holds the lock.
    pub(crate) fn read_doubted(path: &Path, _lock: &Lock) -> Result<Option<Saved>, StoreError> {
        Self::whole_or_put_aside(path)
    }

    /// The CA took a later change, by the key before: none of these can come any more.
    pub(crate) fn clear_doubted(&self) -> Result<(), StoreError> {
        self.doubted()?.iter().try_for_each(|(_, path)| files::remove(path))
    }

    /// The account has ended, for good: its key is of no use to anybody. The caller holds the lock.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        files::remove(&self.folder.join(FILE))?;
        self.clear_doubted()?;
        self.clear_next()
    }

    /// The CA does not know the account with this URL any more. It is put aside, since a CA may be wrong and a key be there once only; another one that
    /// was registered meanwhile stays.
    pub fn forget(&self, account: &str) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let is_it = |saved: &Saved| saved.url() == Some(account);
        if self.load()?.as_ref().is_some_and(is_it) {
            files::put_aside(&self.folder.join(FILE), &"the CA does not know this account any more");
            let next = self.has_next()?.then(|| self.folder.join(NEXT));
            for path in next.into_iter().chain(self.doubted()?.into_iter().map(|(_, path)| path)) {
                files::put_aside(&path, &"the CA does not know this account any more");
            }
        }
        Ok(())
    }
}

/// Without the key.
impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saved").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// The directory's URL with what folders cannot be called replaced: `acme-v02.api.letsencrypt.org-directory`.
fn folder_name(directory: &str) -> String {
    let bare = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    bare.trim_end_matches('/').chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

const FILE: &str = "account.json";
/// With the moment at which the CA had not heard of it.
const DOUBTED: &str = "account.json.doubted-";
const NEXT: &str = "account.json.next";
