//! What is passed on rather than stored: tag lists, and answers about referrers. Each has something to say when the upstream has not.
//!
//! Both are asked for once by all who want them at the same time, and hold for a tag's window: tools that list tags in a loop would otherwise take
//! the places of those who pull.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::sync::Cache as Memory;

use super::manifests::FetchKey;
use super::proof::{blob_identity, is_left_out, is_mirrored};
use super::repo::RepoKey;
use super::shared::Shared;
use super::tags::STALE_WAIT;
use super::{Cache, CacheError, Deadline, Repo, Warning};
use crate::oci::{Digest, lists};
use crate::store::Visibility;
use crate::upstream::FetchError;

/// The tags of a repository.
#[derive(Clone, Debug)]
pub struct TagList {
    /// A JSON array of strings, in the upstream's order.
    pub tags: Bytes,
    /// More follow: the query that asks for them.
    pub next: Option<String>,
    /// Why these are only the tags that are cached; `None`: they are the upstream's.
    pub warning: Option<Warning>,
}

/// One page of one repository's tags, by the client's own query.
type TagListKey = (RepoKey, String);

/// Lists of tags: those that are asked for now, and those of the last window.
#[derive(Debug)]
pub(crate) struct TagLists {
    asked: Arc<Shared<TagListKey, Result<Arc<TagList>, CacheError>>>,
    known: Memory<TagListKey, (Instant, Arc<TagList>)>,
}

impl Default for TagLists {
    fn default() -> Self {
        let weight = |(_, query): &TagListKey, (_, list): &(Instant, Arc<TagList>)| {
            u32::try_from(list.tags.len() + query.len()).unwrap_or(u32::MAX).saturating_add(256)
        };
        Self { asked: Arc::default(), known: Memory::builder().max_capacity(TAG_LISTS).weigher(weight).build() }
    }
}

impl TagLists {
    /// The list for `key`, if it is younger than `window`.
    fn young(&self, key: &TagListKey, window: Duration) -> Option<Arc<TagList>> {
        self.known.get(key).filter(|(asked, _)| asked.elapsed() < window).map(|(_, list)| list)
    }
}

/// What the upstream said about a manifest's referrers.
#[derive(Clone, Debug)]
pub(crate) struct KnownReferrers {
    asked: Instant,
    index: Option<Bytes>,
}

impl KnownReferrers {
    /// What it costs to keep.
    pub(crate) fn weight(&self) -> u32 {
        let bytes = self.index.as_ref().map_or(0, Bytes::len);
        u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(256)
    }
}

/// The index of what refers to a manifest; `None`: an empty one.
pub type Referrers = Option<Bytes>;

impl Cache {
    /// The tags of `repo`: the upstream's own list, or what is cached.
    ///
    /// `query` is the client's own: paging is the upstream's business, whose word for "after this one" may not be `last`.
    pub async fn tag_list(&self, repo: &Arc<Repo>, query: &str, deadline: Deadline) -> Result<Arc<TagList>, CacheError> {
        self.admit(repo, deadline).await?;
        let key = (repo.key.clone(), query.to_owned());
        if let Some(list) = self.0.tag_lists.young(&key, repo.upstream.config().tag_window) {
            return Ok(list);
        }
        let joined = self.0.tag_lists.asked.join(self.room(repo), key.clone(), || {
            let (cache, repo) = (self.clone(), repo.clone());
            async move { cache.ask_for_tags(&repo, key).await }
        });
        match deadline.joined(joined, &repo.label).await {
            Ok(list) => Ok(list),
            Err(error) if error.is_final() => Err(error),
            Err(error) => cached_tags(repo, &error).map(Arc::new).ok_or(error),
        }
    }

    async fn ask_for_tags(&self, repo: &Arc<Repo>, key: TagListKey) -> Result<Arc<TagList>, CacheError> {
        let asked = Instant::now(); // What was pushed since then is not in it.
        let page = repo.upstream.tags(&repo.key.name, &key.1, blob_identity(repo)).await;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                self.heard(repo, &error).await;
                return Err(CacheError::fetch(&repo.label, error));
            }
        };
        let list = Arc::new(TagList { tags: page.tags, next: page.next, warning: None });
        self.0.tag_lists.known.insert(key, (asked, list.clone()));
        Ok(list)
    }

    /// The index of manifests that name `digest` as their subject, of `kind` alone where one is asked for. Where the upstream has none, or gives no
    /// answer about a manifest that is cached, that is an empty index: on an error dockerd asks the Hub itself, for each attestation of an image that it has from here.
    pub async fn referrers(
        &self,
        repo: &Arc<Repo>,
        digest: &Digest,
        kind: Option<String>,
        deadline: Deadline,
    ) -> Result<Referrers, CacheError> {
        let index = self.all_referrers(repo, digest, deadline).await?;
        match (index, kind) {
            (Some(index), Some(kind)) => deadline.wait(digest, self.of_kind(index, kind)).await,
            (index, _) => Ok(index),
        }
    }

    /// A large index is read on a thread that serves nobody meanwhile, and few of them at once: it takes some times its length.
    async fn of_kind(&self, index: Bytes, kind: String) -> Referrers {
        let (is_large, filter) = (index.len() > LARGE, move || lists::of_kind(&index, &kind).map(Bytes::from));
        if !is_large {
            return filter();
        }
        let room = self.0.lasting.list_room.clone().acquire_owned().await.ok()?;
        let filtered = tokio::task::spawn_blocking(move || {
            let _room = room;
            filter()
        });
        filtered.await.ok()?
    }

    async fn all_referrers(&self, repo: &Arc<Repo>, digest: &Digest, deadline: Deadline) -> Result<Referrers, CacheError> {
        self.admit(repo, deadline).await?;
        let key = FetchKey { digest: digest.clone(), repo: repo.key.clone() };
        let known = self.0.referrers.get(&key);
        let window = repo.upstream.config().tag_window;
        if let Some(known) = known.as_ref().filter(|known| known.asked.elapsed() < window) {
            return Ok(known.index.clone());
        }
        let has_something = known.is_some() || repo.records.held(digest).is_some();
        let patience = if has_something { deadline.at_most(STALE_WAIT) } else { deadline };
        let joined = self.0.referrer_checks.join(self.room(repo), key.clone(), || {
            let (cache, repo, digest) = (self.clone(), repo.clone(), digest.clone());
            async move { cache.ask_for_referrers(&repo, &digest, key).await }
        });
        match patience.joined(joined, digest).await {
            Ok(index) => Ok(index),
            Err(_) if repo.is_closed() => Err(CacheError::Closed { repo: repo.label.clone() }),
            Err(error) if !has_something => Err(error),
            Err(_) => Ok(known.and_then(|known| known.index)),
        }
    }

    async fn ask_for_referrers(&self, repo: &Arc<Repo>, digest: &Digest, key: FetchKey) -> Result<Referrers, CacheError> {
        let index = match repo.upstream.referrers(&repo.key.name, digest, blob_identity(repo)).await {
            Ok(index) => index,
            Err(FetchError::NotFound { .. }) => None,
            Err(error) => return Err(self.refused(repo, digest, error).await),
        };
        self.0.referrers.insert(key, KnownReferrers { asked: Instant::now(), index: index.clone() });
        Ok(index)
    }

    /// Whether a list may name the cached repository `label`: what is closed or left out is not even told. Blocking: it reads records.
    pub fn may_name(&self, label: &str) -> bool {
        let Some((upstream, name)) = label.split_once('/') else { return false };
        let Some(position) = self.0.upstreams.iter().position(|one| one.config().name.as_str() == upstream) else { return false };
        let (config, Ok(name)) = (self.0.upstreams[position].config(), name.parse()) else { return false };
        if !is_mirrored(config, &name) {
            return false;
        }
        let Ok(records) = self.store().repository(&config.name, &name) else { return false };
        let state = records.state();
        !state.closed && (!is_left_out(config, &name) || state.visibility == Some(Visibility::Public))
    }
}

/// What is known where the upstream gave no list because of `error`, if that is anything.
fn cached_tags(repo: &Repo, error: &CacheError) -> Option<TagList> {
    let mut tags: Vec<String> = repo.records.tags().iter().map(ToString::to_string).collect();
    tags.sort_unstable();
    let list = serde_json::to_vec(&tags).ok().filter(|_| !tags.is_empty())?;
    Some(TagList { tags: list.into(), next: None, warning: Some(Warning::of(error)) })
}

/// Filtering so much takes about a millisecond.
const LARGE: usize = 64 << 10;
/// Large lists that are filtered at once.
pub(super) const FILTERS: usize = 4;
/// Bytes of tag lists in memory.
const TAG_LISTS: u64 = 8 << 20;
