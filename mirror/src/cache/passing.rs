//! What is passed on rather than stored: tag lists, and answers about referrers. Each has something to say when the upstream has not.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::manifests::FetchKey;
use super::proof::blob_identity;
use super::{Cache, CacheError, Deadline, Repo};
use crate::oci::Digest;
use crate::upstream::FetchError;

/// The tags of a repository.
#[derive(Clone, Debug)]
pub struct TagList {
    /// In the upstream's order.
    pub tags: Vec<String>,
    /// More follow: the query that asks for them.
    pub next: Option<String>,
    /// The upstream did not answer; these are the tags that are cached.
    pub stale: bool,
}

/// What the upstream said about a manifest's referrers.
#[derive(Clone, Debug)]
pub(crate) struct KnownReferrers {
    asked: Instant,
    index: Option<Bytes>,
}

impl Cache {
    /// The tags of `repo`: the upstream's own list, or what is cached.
    ///
    /// `query` is the client's own: paging is the upstream's business, whose word for "after this one" may not be `last`.
    pub async fn tag_list(&self, repo: &Arc<Repo>, query: &str) -> Result<TagList, CacheError> {
        // A list costs no quota: what must be public is listed as nobody sees it.
        let asked = repo.upstream.tags(&repo.key.name, query, blob_identity(repo));
        match Deadline::new().wait(&repo.label, asked).await {
            Ok(Ok(page)) => Ok(TagList { tags: tags_in(&page.body), next: page.next.map(|next| next.query), stale: false }),
            Ok(Err(error @ (FetchError::NotFound { .. } | FetchError::Denied { .. }))) => Err(CacheError::fetch(&repo.label, error)),
            Ok(Err(error)) => cached_tags(repo).ok_or_else(|| CacheError::fetch(&repo.label, error)),
            Err(late) => cached_tags(repo).ok_or(late),
        }
    }

    /// The index of manifests that name `digest` as their subject; `None` when the upstream has none, which clients must hear as an empty index:
    /// on a 404 dockerd asks the Hub itself.
    pub async fn referrers(&self, repo: &Arc<Repo>, digest: &Digest) -> Result<Option<Bytes>, CacheError> {
        let key = FetchKey { digest: digest.clone(), repo: repo.key.clone() };
        let known = self.0.referrers.get(&key).filter(|_| repo.is_permitted());
        let window = repo.upstream.config().tag_window;
        if let Some(known) = known.as_ref().filter(|known| known.asked.elapsed() < window) {
            return Ok(known.index.clone());
        }
        let answer = Deadline::new().wait(digest, repo.upstream.referrers(&repo.key.name, digest, None, blob_identity(repo))).await;
        match answer {
            Ok(Ok(index)) => {
                self.0.referrers.insert(key, KnownReferrers { asked: Instant::now(), index: index.clone() });
                Ok(index)
            }
            Ok(Err(FetchError::NotFound { .. })) => Ok(None),
            // Who may not read the repository any more is told nothing of what was known of it.
            Ok(Err(error @ FetchError::Denied { .. })) => Err(CacheError::fetch(digest, error)),
            Ok(Err(error)) => known.map(|known| known.index).ok_or_else(|| CacheError::fetch(digest, error)),
            Err(late) => known.map(|known| known.index).ok_or(late),
        }
    }
}

fn cached_tags(repo: &Repo) -> Option<TagList> {
    if !repo.is_permitted() {
        return None;
    }
    let mut tags: Vec<String> = repo.records.tags().iter().map(ToString::to_string).collect();
    tags.sort_unstable();
    (!tags.is_empty()).then_some(TagList { tags, next: None, stale: true })
}

fn tags_in(body: &Bytes) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Tags {
        tags: Option<Vec<String>>,
    }
    serde_json::from_slice(body).ok().and_then(|Tags { tags }| tags).unwrap_or_default()
}
