//! Who we may be at an upstream for a repository, and whether a repository holds a digest.
//!
//! - A digest is served for a repository only after that repository is known to hold it: a manifest of it names it, or the upstream said so.
//!   Content is shared by digest on the disk, never in rights.
//! - With `private` patterns an account reads only the private repositories that fit. Others must be readable by everybody, which an anonymous
//!   question (a HEAD, free of quota) tells; the account then only pays the quota.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::manifests::FetchKey;
use super::{Cache, CacheError, Deadline, Repo};
use crate::oci::{Digest, Reference};
use crate::store::{RepositoryState, Visibility};
use crate::upstream::{FetchError, Identity, Upstream};

/// What an anonymous question told.
pub(crate) type Seen = Visibility;

impl Cache {
    /// As whom `repo` is read.
    pub(crate) async fn identity(&self, repo: &Arc<Repo>, reference: &Reference) -> Result<Identity, CacheError> {
        if blob_identity(repo) == Identity::Account {
            return Ok(Identity::Account);
        }
        match self.visibility(repo, reference).await? {
            Visibility::Public => Ok(Identity::Account),
            Visibility::Private => Err(CacheError::NotServed { repo: repo.label.clone(), setting: "private" }),
        }
    }

    /// Whether everybody may read `repo`; asked again after a while, since owners change their minds.
    async fn visibility(&self, repo: &Arc<Repo>, reference: &Reference) -> Result<Visibility, CacheError> {
        let recorded = repo.records.state().visibility;
        let is_young = repo.seen_public.lock().expect("no holder panics").is_some_and(|seen| seen.elapsed() < VISIBILITY_HOLDS);
        if is_young && let Some(visibility) = recorded {
            return Ok(visibility);
        }
        let (pending, _) = self.0.visibility.join(&self.0.tasks, repo.key.clone(), || ask_anonymously(repo.clone(), reference.clone()));
        match Deadline::new().wait(&repo.label, pending.wait()).await.map(|seen| seen.unwrap_or(Err(CacheError::Stopping))) {
            Ok(Ok(seen)) => Ok(seen),
            // An upstream that is down changes nobody's rights.
            Ok(Err(error)) | Err(error) => recorded.ok_or(error),
        }
    }

    /// Makes sure that `repo` holds the blob or manifest `digest`, by asking the upstream where no record says so.
    pub(crate) async fn prove_blob(&self, repo: &Arc<Repo>, digest: &Digest, deadline: Deadline) -> Result<(), CacheError> {
        if repo.is_permitted() && repo.records.held(digest).is_some() {
            return Ok(());
        }
        let key = FetchKey { digest: digest.clone(), repo: repo.key.clone() };
        let (pending, _) = self.0.proofs.join(&self.0.tasks, key, || {
            let (cache, repo, digest) = (self.clone(), repo.clone(), digest.clone());
            async move { cache.ask_for_blob(&repo, &digest).await }
        });
        deadline.wait(digest, pending.wait()).await?.unwrap_or(Err(CacheError::Stopping))
    }

    /// Some registries refuse HEAD on blobs or leave the size out: then the headers of a GET must do.
    async fn ask_for_blob(&self, repo: &Arc<Repo>, digest: &Digest) -> Result<(), CacheError> {
        let (identity, name) = (blob_identity(repo), &repo.key.name);
        let by_head = as_somebody(identity, |who| repo.upstream.head_blob(name, digest, who)).await;
        let size = match by_head {
            Ok(Some(size)) => Some(size),
            Err(error @ FetchError::NotFound { .. }) => return Err(CacheError::fetch(digest, error)),
            _ => {
                let stream = as_somebody(identity, |who| repo.upstream.blob(name, digest, 0, who)).await;
                stream.map_err(|error| CacheError::fetch(digest, error))?.size()
            }
        };
        if let Some(size) = size
            && let Err(error) = repo.records.link_blob(digest, size)
        {
            tracing::warn!(repo.name = %repo.label, blob.digest = %digest, error = &error as &dyn std::error::Error, "a proof is not recorded, and holds until the next start");
        }
        Ok(())
    }
}

/// As whom blobs of `repo` are read: they cost no quota, so what must be public is read as nobody, and that is the proof.
pub(crate) fn blob_identity(repo: &Repo) -> Identity {
    let config = repo.upstream.config();
    match (&config.account, &config.private) {
        (Some(_), Some(private)) if !private.iter().any(|pattern| pattern.fits(repo.key.name.as_str())) => Identity::Anonymous,
        _ => Identity::Account,
    }
}

/// Asks as `identity`; where the account itself is refused, as nobody. That an account is refused says nothing about public images;
/// but that nobody may read an image is then no news either: the account's refusal is.
pub(crate) async fn as_somebody<T, F>(identity: Identity, ask: impl Fn(Identity) -> F) -> Result<T, FetchError>
where
    F: Future<Output = Result<T, FetchError>>,
{
    match ask(identity).await {
        Err(refused @ FetchError::AccountRefused { .. }) if identity == Identity::Account => match ask(Identity::Anonymous).await {
            Err(FetchError::Denied { .. } | FetchError::NotFound { .. }) => Err(refused),
            answer => answer,
        },
        answer => answer,
    }
}

async fn ask_anonymously(repo: Arc<Repo>, reference: Reference) -> Result<Visibility, CacheError> {
    let upstream: &Upstream = &repo.upstream;
    let seen = match upstream.head_manifest(&repo.key.name, &reference, Identity::Anonymous).await {
        Ok(_) => Visibility::Public,
        Err(FetchError::Denied { .. }) => Visibility::Private,
        // Registries that hide private repositories answer 404; so does a missing tag of a public one, which must not be recorded as a secret.
        Err(FetchError::NotFound { .. }) => return Ok(Visibility::Private),
        Err(error) => return Err(CacheError::fetch(&repo.label, error)),
    };
    *repo.seen_public.lock().expect("no holder panics") = Some(Instant::now());
    let state = RepositoryState { visibility: Some(seen), ..repo.records.state() };
    if let Err(error) = repo.records.set_state(state) {
        tracing::warn!(repo.name = %repo.label, error = &error as &dyn std::error::Error, "a repository's visibility is not recorded, and holds until the next start");
    }
    Ok(seen)
}

/// How long an anonymous answer holds.
const VISIBILITY_HOLDS: Duration = Duration::from_mins(10);
