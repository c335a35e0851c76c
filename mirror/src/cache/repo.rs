//! A repository as the cache knows it: its records in the store, and what its tags were at the last check.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use super::freshness::{Descriptor, Known, Lookup};
use super::proof::is_mirrored;
use super::visibility::Seen;
use super::{Cache, CacheError, Deadline};
use crate::config::UpstreamName;
use crate::oci::{ChildKind, Digest, RepoName, Tag};
use crate::store::{Repository, StoreError, TagRecord};
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
    /// Whether everybody may read it, as far as this process has seen.
    pub(crate) seen: Arc<Mutex<Seen>>,
    tags: Arc<Mutex<Tags>>,
    /// As whoever asks for this repository asks it.
    pub(crate) upstream: Upstream,
    /// How many repositories were loaded before its last use.
    used: Arc<AtomicU64>,
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
    /// blocking thread, since a repository may have thousands, and on one for all who ask: a disk that hangs takes no more. Where they cannot be read
    /// nothing is served, for they may say that it is closed; the next request tries again.
    pub async fn repo(&self, position: usize, name: &RepoName, deadline: Deadline) -> Result<Arc<Repo>, CacheError> {
        let key = RepoKey { name: name.clone(), upstream: position };
        if let Some(repo) = self.0.repos.get(&key) {
            return Ok(repo);
        }
        let upstream = self.0.upstreams[position].clone();
        let label: Arc<str> = self.label(position, name).into();
        if !is_mirrored(upstream.config(), name) {
            return Err(CacheError::NotServed { repo: label, setting: "repositories" });
        }
        let joined = self.0.loads.join(&self.0.lasting.local, key.clone(), || {
            let (cache, of, owned, repo) = (self.clone(), upstream.config().name.clone(), name.clone(), label.clone());
            async move { cache.load(of, owned).await?.map_err(|source| CacheError::Unreadable { repo, source }) }
        });
        let records = deadline.joined(joined, &label).await?;
        let repo = Repo {
            is_saving: Arc::default(),
            key: key.clone(),
            label,
            records,
            seen: Arc::default(),
            tags: Arc::default(),
            upstream,
            used: Arc::default(),
        };
        Ok(self.0.repos.keep(key, repo))
    }

    async fn load(&self, of: UpstreamName, name: RepoName) -> Result<Result<Arc<Repository>, Arc<StoreError>>, CacheError> {
        let (store, room) = (self.store().clone(), self.0.lasting.load_room.clone());
        let room = room.acquire_owned().await.map_err(|_| CacheError::Stopping)?;
        let load = move || {
            let loaded = store.repository(&of, &name);
            drop(room); // Not with the future: a thread that hangs takes its room.
            loaded
        };
        tokio::task::spawn_blocking(load).await.map_err(|_| CacheError::Stopping)
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
        if let Some(known) = self.tags.lock().expect("no holder panics").known.get(tag) {
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
        let known = tags.known.get(tag).filter(|known| !known.gone && known.lookup(now, window, false) == Lookup::Fresh)?;
        known.at.as_ref().map(|at| at.digest.clone())
    }

    /// Changes what is known of `tag`.
    pub(crate) fn learn<T>(&self, tag: &Tag, change: impl FnOnce(&mut Known) -> T) -> T {
        let start = self.known(tag);
        let mut tags = self.tags.lock().expect("no holder panics");
        tags.make_room(tag, Instant::now());
        change(tags.known.entry(tag.clone()).or_insert(start))
    }

    /// The tags that point at `digest` by the upstream's word, and whose record does not say so yet.
    pub(crate) fn unrecorded(&self, digest: &Digest) -> Vec<Tag> {
        let tags = self.tags.lock().expect("no holder panics");
        let points_there = |known: &Known| !known.gone && known.at.as_ref().is_some_and(|at| at.digest == *digest);
        tags.known
            .iter()
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

/// What a repository's tags were when they were last asked for, in this process.
#[derive(Debug)]
struct Tags {
    known: HashMap<Tag, Known>,
    /// As many as there may be before those go that are of no use.
    most: usize,
}

impl Default for Tags {
    fn default() -> Self {
        Self { known: HashMap::new(), most: TAGS }
    }
}

impl Tags {
    /// Before `tag` comes in. All are looked at only when they are twice as many as were of use the last time: somebody may make up thousands.
    fn make_room(&mut self, tag: &Tag, now: Instant) {
        if self.known.len() >= self.most && !self.known.contains_key(tag) {
            self.known.retain(|_, known| known.is_of_use(now));
            self.most = TAGS.max(2 * self.known.len());
        }
    }
}

/// The repositories in memory. Its clock is how many were loaded: every request passes here, and finds what it looks for for the price of a look.
#[derive(Debug, Default)]
pub(crate) struct Repos {
    all: RwLock<HashMap<RepoKey, Arc<Repo>>>,
    loads: AtomicU64,
}

impl Repos {
    fn get(&self, key: &RepoKey) -> Option<Arc<Repo>> {
        let repo = self.all.read().expect("no holder panics").get(key).cloned()?;
        repo.used.store(self.loads.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(repo)
    }

    #[cfg(test)]
    pub(super) fn holds(&self, name: &str) -> bool {
        self.all.read().expect("no holder panics").keys().any(|key| key.name.as_str() == name)
    }

    /// Two who load a repository at once end with one: checks and tags live in it. When there are too many, some go that nobody uses now, the
    /// longest unused first: what they know is in the store. What is not yet there stays.
    fn keep(&self, key: RepoKey, repo: Repo) -> Arc<Repo> {
        let mut all = self.all.write().expect("no holder panics");
        repo.used.store(self.loads.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if all.len() >= REPOS && !all.contains_key(&key) {
            let mut idle: Vec<(u64, RepoKey)> = all
                .iter()
                .filter(|(_, repo)| repo.is_idle() && !repo.records.is_behind())
                .map(|(key, repo)| (repo.used.load(Ordering::Relaxed), key.clone()))
                .collect();
            idle.sort_unstable_by_key(|(used, _)| *used);
            for (_, key) in idle.iter().take(REPOS / 4) {
                all.remove(key);
            }
        }
        all.entry(key).or_insert_with(|| Arc::new(repo)).clone()
    }
}

/// Repositories in memory before some that are not in use go.
pub(super) const REPOS: usize = 4096;
/// Repositories that are loaded at once.
pub(super) const LOADS: usize = 64;
/// Tags of one repository in memory before the old ones go.
const TAGS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn gone(at: Instant) -> Known {
        Known { checked: Some(at), gone: true, ..Known::default() }
    }

    #[test]
    fn tags_that_somebody_makes_up_are_looked_through_seldom_and_do_not_stay() {
        let (mut tags, start, mut looks) = (Tags::default(), Instant::now(), 0);
        let mut learn = |tags: &mut Tags, at: usize, now: Instant| {
            let (tag, most): (Tag, usize) = (format!("t{at}").parse().expect("a tag"), tags.most);
            tags.make_room(&tag, now);
            looks += usize::from(tags.most != most);
            tags.known.insert(tag, gone(now));
        };
        (0..40_000).for_each(|at| learn(&mut tags, at, start));
        assert_eq!(tags.known.len(), 40_000, "all hold for a second");
        (40_000..100_000).for_each(|at| learn(&mut tags, at, start + Duration::from_secs(2)));
        assert!(tags.known.len() <= 65_536, "{}", tags.known.len());
        let now = start + Duration::from_secs(5);
        (100_000..200_000).for_each(|at| learn(&mut tags, at, now + Duration::from_millis(at as u64)));
        assert!(tags.known.len() <= 2 * TAGS, "{}", tags.known.len());
        assert!(looks < 300, "{looks}");
    }
}
