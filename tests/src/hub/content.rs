//! What the test Hub holds: repositories with their manifests, blobs and tags, accounts with their rights, quotas.
//!
//! Plain data behind one lock; every change a test makes takes effect with the next request, tokens that are out included.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::Digest;

/// A manifest and the type it is served as.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
}

/// One repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) private: bool,
    pub(super) readers: BTreeSet<String>,
    pub(super) tags: BTreeMap<String, Digest>,
    pub(super) manifests: HashMap<Digest, Manifest>,
    pub(super) blobs: HashMap<Digest, Bytes>,
}

/// One account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) password: String,
    pub(super) revoked: bool,
}

/// How many manifest GETs somebody has left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota {
    pub(super) limit: Option<u64>,
    pub(super) used: u64,
}

/// Everything there is.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) repositories: BTreeMap<String, Repository>,
    pub(super) accounts: BTreeMap<String, Account>,
    quotas: HashMap<Option<String>, Quota>,
}

impl World {
    /// The repository, made empty and public when it is new.
    pub(super) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// Whether `account` (or somebody without one) may pull `repository` now. A repository that is not there is nobody's.
    pub(super) fn may_read(&self, account: Option<&str>, repository: &str) -> bool {
        let Some(repository) = self.repositories.get(repository) else { return false };
        !repository.private || account.is_some_and(|name| repository.readers.contains(name))
    }

    /// Whether the password is right and the account still stands.
    pub(super) fn accepts(&self, account: &str, password: &str) -> bool {
        self.stands(account) && self.accounts.get(account).is_some_and(|known| known.password == password)
    }

    /// Whether the account exists and was not revoked.
    pub(super) fn stands(&self, account: &str) -> bool {
        self.accounts.get(account).is_some_and(|known| !known.revoked)
    }

    /// Sets how many manifest GETs `account` may do from now on; `None` is no limit.
    pub(super) fn set_quota(&mut self, account: Option<&str>, limit: Option<u64>) {
        self.quotas.insert(account.map(str::to_owned), Quota { limit, used: 0 });
    }

    /// The quota of `account`: what was set, or what the Hub gives (100 without an account, 200 with a free one).
    pub(super) fn quota(&mut self, account: Option<&str>) -> &mut Quota {
        let limit = if account.is_some() { 200 } else { 100 };
        self.quotas.entry(account.map(str::to_owned)).or_insert(Quota { limit: Some(limit), used: 0 })
    }
}

impl Quota {
    /// Takes one pull; false when none is left.
    pub(super) fn take(&mut self) -> bool {
        if self.limit.is_some_and(|limit| self.used >= limit) {
            return false;
        }
        self.used += 1;
        true
    }

    /// The limit and what is left of it; `None` without a limit.
    pub(super) fn left(&self) -> Option<(u64, u64)> {
        self.limit.map(|limit| (limit, limit.saturating_sub(self.used)))
    }
}
