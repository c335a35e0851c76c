//! A repository as the cache knows it: its records in the store, and what its tags were at the last check.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use super::freshness::{Descriptor, Known, Lookup};
use super::proof::is_mirrored;
use super::{Cache, CacheError};
use crate::oci::{ChildKind, Digest, RepoName, Tag};
use crate::store::{Repository, TagRecord};
use crate::upstream::Upstream;
use crate::via::Via;

/// Which repository of which upstream.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct RepoKey {
    pub(crate) name: RepoName,
    pub(crate) upstream: usize,
}

/// One repository. Kept in memory while it is used; everything in it can be learned again. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Repo {
    /// Its records are about to be saved.
    pub(crate) is_saving: Arc<AtomicBool>,
    pub(crate) key: RepoKey,
    /// `upstream/repository`: what access rules and messages call it.
    pub(crate) label: Arc<str>,
    pub(crate) records: Arc<Repository>,
    /// When it was last seen to be readable by everybody, in this process.
    pub(crate) seen_public: Arc<Mutex<Option<Instant>>>,
    pub(crate) tags: Arc<Mutex<HashMap<Tag, Known>>>,
    /// As whoever asks for this repository asks it.
    pub(crate) upstream: Upstream,
}

impl Cache {
    /// The repository, if it is in memory.
    pub fn at_once(&self, position: usize, name: &RepoName) -> Option<Arc<Repo>> {
        self.0.repos.get(&RepoKey { name: name.clone(), upstream: position })
    }

    /// What access rules and messages call a repository: `upstream/repository`.
    pub fn label(&self, position: usize, name: &RepoName) -> String {
        format!("{}/{}", self.0.upstreams[position].config().name, name)
    }

    /// The repository `name` of the upstream at `position`; refused where the configuration does not mirror it. Its records are read on a
    /// blocking thread: a repository may have thousands.
    pub async fn repo(&self, position: usize, name: &RepoName) -> Result<Arc<Repo>, CacheError> {
        let key = RepoKey { name: name.clone(), upstream: position };
        if let Some(repo) = self.0.repos.get(&key) {
            return Ok(repo);
        }
        let upstream = self.0.upstreams[position].clone();
        let label: Arc<str> = self.label(position, name).into();
        if !is_mirrored(upstream.config(), name) {
            return Err(CacheError::NotServed { repo: label, setting: "repositories" });
        }
        let (store, of, owned) = (self.store().clone(), upstream.config().name.clone(), name.clone());
        let loaded = tokio::task::spawn_blocking(move || store.repository(&of, &owned)).await;
        let records = loaded.map_err(|_| CacheError::Stopping)?;
        let repo = Repo {
            is_saving: Arc::default(),
            key: key.clone(),
            label,
            records,
            seen_public: Arc::default(),
            tags: Arc::default(),
            upstream,
        };
        Ok(self.0.repos.keep(key, repo))
    }
}

impl Repo {
    /// `upstream/repository`.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// The same repository, asked for by a request that has passed the mirrors in `via`: what is fetched for it says so.
    pub fn on_behalf_of(self: Arc<Self>, via: &Via) -> Arc<Self> {
        if via.is_empty() {
            return self;
        }
        Arc::new(Self { upstream: self.upstream.on_behalf_of(via), ..Self::clone(&self) })
    }

    /// Nobody has it but the list of all.
    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && Arc::strong_count(&self.tags) == 1
    }

    /// What is known of `tag`, the store's record included.
    pub(crate) fn known(&self, tag: &Tag) -> Known {
        if let Some(known) = self.tags.lock().expect("no holder panics").get(tag) {
            return known.clone();
        }
        let record = self.records.tag(tag);
        let at = record.as_ref().map(|record| self.describe(record));
        Known { at, gone: record.is_some_and(|record| record.gone_since.is_some()), ..Known::default() }
    }

    /// Where `tag` points, if that holds without a check and there is nothing to warn of.
    pub(crate) fn fresh(&self, tag: &Tag) -> Option<Digest> {
        let (now, window) = (Instant::now(), self.upstream.config().tag_window);
        let tags = self.tags.lock().expect("no holder panics");
        let known = tags.get(tag).filter(|known| !known.gone && known.lookup(now, window, false) == Lookup::Fresh)?;
        known.at.as_ref().map(|at| at.digest.clone())
    }

    /// Changes what is known of `tag`.
    pub(crate) fn learn<T>(&self, tag: &Tag, change: impl FnOnce(&mut Known) -> T) -> T {
        let start = self.known(tag);
        let mut tags = self.tags.lock().expect("no holder panics");
        if tags.len() >= TAGS && !tags.contains_key(tag) {
            // Tags that are not checked in this window can be read from their records again.
            tags.retain(|_, known| known.checked.is_some_and(|checked| checked.elapsed().as_secs() < 60));
        }
        change(tags.entry(tag.clone()).or_insert(start))
    }

    /// The tags that point at `digest` by the upstream's word, and whose record does not say so yet.
    pub(crate) fn unrecorded(&self, digest: &Digest) -> Vec<Tag> {
        let tags = self.tags.lock().expect("no holder panics");
        let points_there = |known: &Known| !known.gone && known.at.as_ref().is_some_and(|at| at.digest == *digest);
        tags.iter()
            .filter(|(_, known)| points_there(known))
            .map(|(tag, _)| tag.clone())
            .filter(|tag| self.is_unrecorded(tag, digest))
            .collect()
    }

    /// No record says that `tag` points at `digest`.
    pub(crate) fn is_unrecorded(&self, tag: &Tag, digest: &Digest) -> bool {
        self.records.tag(tag).is_none_or(|record| record.digest != *digest || record.gone_since.is_some())
    }

    fn describe(&self, record: &TagRecord) -> Descriptor {
        let held = self.records.held(&record.digest).filter(|held| held.kind == ChildKind::Manifest);
        Descriptor {
            digest: record.digest.clone(),
            media_type: held.as_ref().map(|held| held.media_type.clone()),
            size: held.map(|held| held.size),
        }
    }
}

/// The repositories in memory. Not a cache with a clock: every request passes here, and finds what it looks for.
#[derive(Debug, Default)]
pub(crate) struct Repos(RwLock<HashMap<RepoKey, Arc<Repo>>>);

impl Repos {
    fn get(&self, key: &RepoKey) -> Option<Arc<Repo>> {
        self.0.read().expect("no holder panics").get(key).cloned()
    }

    /// Two who load a repository at once end with one: checks and tags live in it. When there are too many, those that nobody uses now go;
    /// what they know is in the store.
    fn keep(&self, key: RepoKey, repo: Repo) -> Arc<Repo> {
        let mut repos = self.0.write().expect("no holder panics");
        if repos.len() >= REPOS && !repos.contains_key(&key) {
            repos.retain(|_, repo| !repo.is_idle());
        }
        repos.entry(key).or_insert_with(|| Arc::new(repo)).clone()
    }
}

/// Repositories in memory before those that are not in use go.
const REPOS: usize = 4096;
/// Tags of one repository in memory before the old ones go.
const TAGS: usize = 1024;
