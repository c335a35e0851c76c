//! What is passed on rather than stored: tag lists, and answers about referrers. Each has something to say when the upstream has not.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::manifests::FetchKey;
use super::proof::{blob_identity, is_left_out, is_mirrored};
use super::tags::STALE_WAIT;
use super::{Cache, CacheError, Deadline, Repo, Warning};
use crate::oci::Digest;
use crate::store::Visibility;
use crate::upstream::FetchError;

/// The tags of a repository.
#[derive(Clone, Debug)]
pub struct TagList {
    /// In the upstream's order.
    pub tags: Vec<String>,
    /// More follow: the query that asks for them.
    pub next: Option<String>,
    /// Why these are only the tags that are cached; `None`: they are the upstream's.
    pub warning: Option<Warning>,
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
    pub async fn tag_list(&self, repo: &Arc<Repo>, query: &str) -> Result<TagList, CacheError> {
        let deadline = Deadline::new();
        self.admit(repo, deadline).await?;
        match deadline.wait(&repo.label, repo.upstream.tags(&repo.key.name, query, blob_identity(repo))).await {
            Ok(Ok(page)) => Ok(TagList { tags: tags_in(&page.body), next: page.next, warning: None }),
            Ok(Err(error @ (FetchError::NotFound { .. } | FetchError::Denied { .. }))) => {
                self.heard(repo, &error).await;
                Err(CacheError::fetch(&repo.label, error))
            }
            Ok(Err(error)) => cached_tags(repo, CacheError::fetch(&repo.label, error)),
            Err(late) => cached_tags(repo, late),
        }
    }

    /// The index of manifests that name `digest` as their subject. Where the upstream has none, or gives no answer about a manifest that is
    /// cached, that is an empty index: on an error dockerd asks the Hub itself, for each attestation of an image that it has from here.
    pub async fn referrers(&self, repo: &Arc<Repo>, digest: &Digest) -> Result<Referrers, CacheError> {
        let deadline = Deadline::new();
        self.admit(repo, deadline).await?;
        let key = FetchKey { digest: digest.clone(), repo: repo.key.clone() };
        let known = self.0.referrers.get(&key);
        let window = repo.upstream.config().tag_window;
        if let Some(known) = known.as_ref().filter(|known| known.asked.elapsed() < window) {
            return Ok(known.index.clone());
        }
        let has_something = known.is_some() || repo.records.held(digest).is_some();
        let patience = if has_something { deadline.at_most(STALE_WAIT) } else { deadline };
        let (pending, _) = self.0.referrer_checks.join(&self.0.lasting.tasks, &self.0.lasting.cancel, key.clone(), || {
            let (cache, repo, digest) = (self.clone(), repo.clone(), digest.clone());
            async move { cache.ask_for_referrers(&repo, &digest, key).await }
        });
        match patience.wait(digest, pending.wait()).await.map(|found| found.unwrap_or(Err(CacheError::Stopping))) {
            Ok(Ok(index)) => Ok(index),
            _ if repo.is_closed() => Err(CacheError::Closed { repo: repo.label.clone() }),
            Ok(Err(error)) | Err(error) if !has_something => Err(error),
            _ => Ok(known.and_then(|known| known.index)),
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
        let state = self.store().repository(&config.name, &name).state();
        !state.closed && (!is_left_out(config, &name) || state.visibility == Some(Visibility::Public))
    }
}

/// What is known where the upstream gave no list because of `error`; the error where that is nothing.
fn cached_tags(repo: &Repo, error: CacheError) -> Result<TagList, CacheError> {
    let mut tags: Vec<String> = repo.records.tags().iter().map(ToString::to_string).collect();
    tags.sort_unstable();
    if tags.is_empty() { Err(error) } else { Ok(TagList { tags, next: None, warning: Some(Warning::of(&error)) }) }
}

fn tags_in(body: &Bytes) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Tags {
        tags: Option<Vec<String>>,
    }
    serde_json::from_slice(body).ok().and_then(|Tags { tags }| tags).unwrap_or_default()
}
