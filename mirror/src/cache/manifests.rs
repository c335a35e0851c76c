//! Manifests: from memory, from the store, or by one shared GET per digest.
//!
//! A manifest is stored before the tag that names it, and its children are linked to the repository with it: that is the proof by which its
//! blobs are served.

use std::sync::Arc;

use bytes::Bytes;

use super::keep::Unkept;
use super::proof::as_somebody;
use super::repo::RepoKey;
use super::{Cache, CacheError, Deadline, Object, Repo, Warning};
use crate::oci::{ChildKind, Digest, ManifestFacts, MediaType, Reference};
use crate::store::ManifestRecord;
use crate::telemetry::Outcome;
use crate::upstream::{Described, FetchedManifest, ManifestHead};

/// Content that is here for another repository, now proved for this one: no GET, no quota.
fn proved(digest: &Digest, bytes: Bytes, media_type: Option<MediaType>) -> Option<FetchedManifest> {
    let sent = media_type.unwrap_or_else(|| MediaType::new(MediaType::OCTET_STREAM)); // Then the document says what it is.
    let facts = ManifestFacts::parse(&bytes, &sent).ok()?;
    Some(FetchedManifest { bytes, digest: digest.clone(), facts })
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
    pub fn manifest_at_once(&self, repo: &Arc<Repo>, reference: &Reference) -> Option<ManifestAnswer> {
        if !repo.is_admitted() {
            return None;
        }
        let object = match reference {
            Reference::Digest(digest) => self.in_memory(repo, digest)?,
            Reference::Tag(tag) => self.in_memory(repo, &repo.fresh(tag)?)?,
        };
        Some(ManifestAnswer { object, outcome: Outcome::Hit, warning: None })
    }

    /// The manifest that `reference` names; `describe` is enough for a HEAD and spares the upstream's quota.
    pub async fn manifest(
        &self,
        repo: &Arc<Repo>,
        reference: &Reference,
        describe: bool,
        deadline: Deadline,
    ) -> Result<ManifestAnswer, CacheError> {
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
                    Err(error) => self.before_the_move(repo, tag, Warning::of(&error)).await.ok_or(error),
                }
            }
        }
    }

    async fn before_the_move(&self, repo: &Arc<Repo>, tag: &crate::oci::Tag, warning: Warning) -> Option<ManifestAnswer> {
        let record = repo.records.tag(tag)?;
        let object = self.at_hand(repo, &record.digest).await?;
        Some(ManifestAnswer { object, outcome: Outcome::Stale, warning: Some(warning) })
    }

    async fn by_digest(
        &self,
        repo: &Arc<Repo>,
        digest: &Digest,
        describe: bool,
        deadline: Deadline,
    ) -> Result<(Arc<Object>, Outcome), CacheError> {
        if let Some(object) = self.at_hand(repo, digest).await {
            return Ok((object, Outcome::Hit));
        }
        if describe && let Some(held) = repo.records.held(digest).filter(|held| held.kind == ChildKind::Manifest) {
            return Ok((Arc::new(Object::described(digest, &held.media_type, held.size)), Outcome::Hit));
        }
        let key = FetchKey { digest: digest.clone(), repo: repo.key.clone() };
        let joined = self.0.fetches.join(self.room(repo), key, || {
            let (cache, repo, digest) = (self.clone(), repo.clone(), digest.clone());
            async move { cache.fetch(&repo, &digest, describe).await }
        });
        let led = joined.as_ref().is_ok_and(|(_, led)| *led);
        let object = deadline.joined(joined, digest).await?;
        if object.bytes.is_none() && !describe {
            // Joined a HEAD's question for a description; the content itself is still to be fetched.
            return Box::pin(self.by_digest(repo, digest, false, deadline)).await;
        }
        Ok((object, if led { Outcome::Miss } else { Outcome::Joined }))
    }

    /// From memory, if the repository holds it.
    fn in_memory(&self, repo: &Arc<Repo>, digest: &Digest) -> Option<Arc<Object>> {
        let object = self.0.memory.get(digest)?;
        // The same bytes may lie there as somebody's blob; and an index that names a manifest is no proof of its bytes: anybody can write one.
        let is_held = object.is_manifest() && repo.records.has_manifest(digest);
        if is_held {
            repo.records.touch_manifest(digest); // Its layers must not age while it is pulled.
            self.keep_up(repo, &object);
        }
        is_held.then_some(object)
    }

    /// From memory, or from the store, if the repository holds it.
    async fn at_hand(&self, repo: &Arc<Repo>, digest: &Digest) -> Option<Arc<Object>> {
        if let Some(object) = self.in_memory(repo, digest) {
            return Some(object);
        }
        let held = repo.records.held(digest).filter(|_| repo.records.has_manifest(digest))?;
        let owned = digest.clone();
        let object = Arc::new(Object::new(digest, &held.media_type, self.look(move |store| store.manifest(&owned)).await?));
        object.set_kept(true);
        repo.records.touch_manifest(digest);
        self.0.memory.insert(digest.clone(), object.clone());
        Some(object)
    }

    /// Asks the upstream: only for a proof where the content is here already, or where a description is enough.
    async fn fetch(&self, repo: &Arc<Repo>, digest: &Digest, describe: bool) -> Result<Arc<Object>, CacheError> {
        let reference = Reference::Digest(digest.clone());
        let identity = self.identity(repo, Deadline::new()).await?;
        if let Some(object) = self.in_memory(repo, digest) {
            return Ok(object); // It was fetched while the disk was asked.
        }
        // Where the repository is known to hold it, the store was looked into before.
        let owned = digest.clone();
        let is_to_be_proved = self.is_own(repo, digest) && !repo.records.has_manifest(digest);
        let stored = if is_to_be_proved { self.look(move |store| store.manifest(&owned)).await } else { None };
        let stored = stored.filter(|_| self.is_own(repo, digest)); // Another upstream's may have come meanwhile.
        if describe || stored.is_some() {
            let described = as_somebody(identity, |who| repo.upstream.describe_manifest(&repo.key.name, &reference, who)).await;
            match (described, stored) {
                (Ok(Described::Fetched(fetched)), _) => return Ok(self.learn_manifest(repo, fetched)),
                (Ok(Described::Head(ManifestHead { media_type, .. })), Some(bytes)) => {
                    if let Some(fetched) = proved(digest, bytes, media_type) {
                        return Ok(self.learn_manifest(repo, fetched));
                    }
                }
                (Ok(Described::Head(ManifestHead { media_type: Some(kind), size: Some(size), .. })), None) => {
                    return Ok(Arc::new(Object::described(digest, &kind, size)));
                }
                (Err(error), _) => return Err(self.refused(repo, digest, error).await),
                _ => {} // A HEAD without its headers: the GET tells.
            }
        }
        match as_somebody(identity, |who| repo.upstream.manifest(&repo.key.name, &reference, who)).await {
            Ok(fetched) => Ok(self.learn_manifest(repo, fetched)),
            Err(error) => Err(self.refused(repo, digest, error).await),
        }
    }

    /// Takes a fetched manifest into memory, with the proof of all that it names. It is answered from there, and written meanwhile.
    pub(crate) fn learn_manifest(&self, repo: &Arc<Repo>, fetched: FetchedManifest) -> Arc<Object> {
        let FetchedManifest { bytes, digest, facts } = fetched;
        let object = Arc::new(Object::new(&digest, &facts.media_type, bytes));
        self.store().sent(&repo.upstream.config().name, &digest);
        self.0.memory.insert(digest.clone(), object.clone());
        repo.records.learn_manifest(&ManifestRecord { digest, media_type: facts.media_type, size: object.size, children: facts.children });
        self.keep(Unkept::Manifest(repo.clone(), object.clone()));
        object
    }
}
