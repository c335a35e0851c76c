//! Manifests: from memory, from the store, or by one shared GET per digest.
//!
//! A manifest is stored before the tag that names it, and its children are linked to the repository with it: that is the proof by which its
//! blobs are served.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::proof::as_somebody;
use super::repo::RepoKey;
use super::{Cache, CacheError, Deadline, Object, Repo, Source, Warning};
use crate::oci::{ChildKind, Digest, ManifestFacts, MediaType, Reference};
use crate::store::ManifestRecord;
use crate::telemetry::Outcome;
use crate::upstream::{FetchError, FetchedManifest, ManifestHead};

/// Content that is here for another repository, now proved for this one: no GET, no quota.
fn proved(digest: &Digest, bytes: Bytes, media_type: Option<MediaType>) -> Option<FetchedManifest> {
    let sent = media_type.unwrap_or_else(|| MediaType::new(MediaType::OCI_MANIFEST));
    let facts = ManifestFacts::parse(&bytes, &sent).ok()?;
    Some(FetchedManifest { bytes, digest: digest.clone(), facts })
}

/// Only then is a GET, which costs quota, worth trying.
pub(crate) fn knows_no_head(error: &FetchError) -> bool {
    matches!(error, FetchError::Status { status, .. } if matches!(status.as_u16(), 400 | 405 | 501))
}

/// A digest in a repository.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct FetchKey {
    pub(crate) digest: Digest,
    pub(crate) repo: RepoKey,
}

/// A manifest to be served.
#[derive(Clone, Debug)]
pub struct ManifestAnswer {
    /// The manifest; without bytes where a HEAD of the upstream was enough.
    pub object: Arc<Object>,
    /// Where it came from.
    pub outcome: Outcome,
    /// What the client should be told about its age.
    pub warning: Option<Warning>,
}

impl Cache {
    /// The manifest that `reference` names, where nobody needs to be asked: the hit, without a future of any kind.
    pub fn manifest_at_once(&self, repo: &Repo, reference: &Reference) -> Option<ManifestAnswer> {
        if !repo.is_admitted() {
            return None;
        }
        let object = match reference {
            Reference::Digest(digest) => self.in_memory(repo, digest).or_else(|| self.stored_object(repo, digest))?,
            Reference::Tag(tag) => self.in_memory(repo, &repo.fresh(tag)?)?,
        };
        Some(ManifestAnswer { object, outcome: Outcome::Hit, warning: None })
    }

    /// The manifest that `reference` names; `describe` is enough for a HEAD and spares the upstream's quota.
    pub async fn manifest(&self, repo: &Arc<Repo>, reference: &Reference, describe: bool) -> Result<ManifestAnswer, CacheError> {
        let deadline = Deadline::new();
        match reference {
            Reference::Digest(digest) => {
                self.reopen(repo, reference, deadline).await?;
                let (object, outcome) = self.by_digest(repo, digest, describe, deadline).await?;
                Ok(ManifestAnswer { object, outcome, warning: None })
            }
            Reference::Tag(tag) => {
                let resolved = self.resolve(repo, tag, deadline).await?;
                if describe && let (Some(kind), Some(size)) = (&resolved.at.media_type, resolved.at.size) {
                    let object = self
                        .in_memory(repo, &resolved.at.digest)
                        .unwrap_or_else(|| Arc::new(Object::described(&resolved.at.digest, kind, size)));
                    let outcome = if resolved.warning.is_some() { Outcome::Stale } else { Outcome::Hit };
                    return Ok(ManifestAnswer { object, outcome, warning: resolved.warning });
                }
                match self.by_digest(repo, &resolved.at.digest, false, deadline).await {
                    Ok((object, outcome)) => {
                        let outcome = if resolved.warning.is_some() { Outcome::Stale } else { outcome };
                        Ok(ManifestAnswer { object, outcome, warning: resolved.warning })
                    }
                    // The tag moved, and what it moved to cannot be had: what it was is better than nothing.
                    Err(error) if error.is_final() => Err(error),
                    Err(error) => self.before_the_move(repo, tag, Warning::of(&error)).ok_or(error),
                }
            }
        }
    }

    fn before_the_move(&self, repo: &Arc<Repo>, tag: &crate::oci::Tag, warning: Warning) -> Option<ManifestAnswer> {
        let record = repo.records.tag(tag)?;
        let object = self.in_memory(repo, &record.digest).or_else(|| self.stored_object(repo, &record.digest))?;
        Some(ManifestAnswer { object, outcome: Outcome::Stale, warning: Some(warning) })
    }

    /// A closed repository opens when the upstream answers for what is asked.
    async fn reopen(&self, repo: &Arc<Repo>, reference: &Reference, deadline: Deadline) -> Result<(), CacheError> {
        if !repo.is_closed() {
            return self.admit(repo, deadline).await;
        }
        let identity = self.identity(repo, deadline).await?;
        let head = as_somebody(identity, |who| repo.upstream.head_manifest(&repo.key.name, reference, who));
        if deadline.wait(&repo.label, head).await?.is_err() {
            return Err(CacheError::Closed { repo: repo.label.clone() });
        }
        repo.set_closed(false).await;
        Ok(())
    }

    async fn by_digest(
        &self,
        repo: &Arc<Repo>,
        digest: &Digest,
        describe: bool,
        deadline: Deadline,
    ) -> Result<(Arc<Object>, Source), CacheError> {
        if let Some(object) = self.in_memory(repo, digest).or_else(|| self.stored_object(repo, digest)) {
            return Ok((object, Outcome::Hit));
        }
        if describe && let Some(held) = repo.records.held(digest).filter(|held| held.kind == ChildKind::Manifest) {
            return Ok((Arc::new(Object::described(digest, &held.media_type, held.size)), Outcome::Hit));
        }
        let key = FetchKey { digest: digest.clone(), repo: repo.key.clone() };
        let (pending, led) = self.0.fetches.join(&self.0.tasks, &self.0.cancel, key, || {
            let (cache, repo, digest) = (self.clone(), repo.clone(), digest.clone());
            async move { cache.fetch(&repo, &digest, describe).await }
        });
        let object = deadline.wait(digest, pending.wait()).await?.unwrap_or(Err(CacheError::Stopping))?;
        if object.bytes.is_none() && !describe {
            // Joined a HEAD's question for a description; the content itself is still to be fetched.
            return Box::pin(self.by_digest(repo, digest, false, deadline)).await;
        }
        Ok((object, if led { Outcome::Miss } else { Outcome::Joined }))
    }

    /// From memory, if the repository holds it.
    fn in_memory(&self, repo: &Repo, digest: &Digest) -> Option<Arc<Object>> {
        let object = self.0.memory.get(digest)?;
        // The same bytes may lie there as somebody's blob; and an index that names a manifest is no proof of its bytes: anybody can write one.
        let is_held = object.is_manifest() && repo.records.has_manifest(digest);
        if is_held {
            repo.records.touch_manifest(digest); // Its layers must not age while it is pulled.
        }
        is_held.then_some(object)
    }

    /// From the store, if the repository holds it.
    fn stored_object(&self, repo: &Repo, digest: &Digest) -> Option<Arc<Object>> {
        let held = repo.records.held(digest).filter(|_| repo.records.has_manifest(digest))?;
        let object = Arc::new(Object::new(digest, &held.media_type, self.store().manifest(digest)?));
        repo.records.touch_manifest(digest);
        self.0.memory.insert(digest.clone(), object.clone());
        Some(object)
    }

    /// Asks the upstream: only for a proof where the content is here already, or where a description is enough.
    async fn fetch(&self, repo: &Arc<Repo>, digest: &Digest, describe: bool) -> Result<Arc<Object>, CacheError> {
        let reference = Reference::Digest(digest.clone());
        let identity = self.identity(repo, Deadline::new()).await?;
        let stored = self.store().manifest(digest);
        if describe || stored.is_some() {
            let head = as_somebody(identity, |who| repo.upstream.head_manifest(&repo.key.name, &reference, who)).await;
            match (head, stored) {
                (Ok(ManifestHead { media_type, .. }), Some(bytes)) => {
                    if let Some(fetched) = proved(digest, bytes, media_type) {
                        return Ok(self.learn_manifest(repo, fetched).await);
                    }
                }
                (Ok(ManifestHead { media_type: Some(kind), size: Some(size), .. }), None) => {
                    return Ok(Arc::new(Object::described(digest, &kind, size)));
                }
                (Err(error), _) if !knows_no_head(&error) => return Err(self.refused(repo, digest, error).await),
                _ => {} // A HEAD without its headers, or none at all: the GET tells.
            }
        }
        match as_somebody(identity, |who| repo.upstream.manifest(&repo.key.name, &reference, who)).await {
            Ok(fetched) => Ok(self.learn_manifest(repo, fetched).await),
            Err(error) => Err(self.refused(repo, digest, error).await),
        }
    }

    /// An upstream that denies a repository which we could read closes it.
    async fn refused(&self, repo: &Arc<Repo>, digest: &Digest, error: FetchError) -> CacheError {
        if matches!(error, FetchError::Denied { .. }) && !repo.records.tags().is_empty() {
            repo.set_closed(true).await;
        }
        CacheError::fetch(format_args!("{}@{digest}", repo.label), error)
    }

    /// Stores a fetched manifest, links it and its children, and writes down the tags that wait for it. What cannot be written is known in memory.
    pub(crate) async fn learn_manifest(&self, repo: &Arc<Repo>, fetched: FetchedManifest) -> Arc<Object> {
        let FetchedManifest { bytes, digest, facts } = fetched;
        let object = Arc::new(Object::new(&digest, &facts.media_type, bytes.clone()));
        self.0.memory.insert(digest.clone(), object.clone());
        let record = ManifestRecord { digest: digest.clone(), media_type: facts.media_type, size: object.size, children: facts.children };
        let (store, records) = (self.store().clone(), repo.records.clone());
        let written = tokio::task::spawn_blocking(move || {
            let stored = store.put_manifest(&record.digest, &bytes);
            let linked = records.link_manifest(&record); // Also where the content is in memory only: the proof holds.
            stored.and(linked)
        });
        // A disk that hangs holds nobody up: the manifest is in memory, and is written when the disk comes back.
        match tokio::time::timeout(WRITE_WAIT, written).await {
            Err(_) => {
                tracing::warn!(repo.name = %repo.label, manifest.digest = %digest, "the disk does not take a manifest; it is served from memory");
            }
            Ok(Ok(Ok(()))) => {
                for tag in repo.unrecorded(&digest) {
                    self.record_tag(repo, &tag, &digest).await;
                }
            }
            Ok(Ok(Err(error))) => {
                tracing::warn!(repo.name = %repo.label, manifest.digest = %digest, error = &error as &dyn Error, "a manifest is served but could not be stored");
            }
            Ok(Err(error)) => tracing::error!(repo.name = %repo.label, error = &error as &dyn Error, "storing a manifest panicked"),
        }
        object
    }
}

/// What writing a manifest may take before it is answered all the same.
const WRITE_WAIT: Duration = Duration::from_secs(2);
