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
use crate::oci::{ChildKind, Digest};
use crate::store::{RepositoryState, Visibility};
use crate::upstream::{FetchError, Identity};

/// What an anonymous question told.
pub(crate) type Seen = Visibility;

impl Cache {
    /// Refuses what the configuration leaves out, and what the upstream no longer allows. Every way to a repository's content passes here or
    /// [`Repo::is_admitted`], also a hit: that something is stored is no right to it.
    pub(crate) async fn admit(&self, repo: &Arc<Repo>, deadline: Deadline) -> Result<(), CacheError> {
        if repo.is_closed() {
            return Err(CacheError::Closed { repo: repo.label.clone() });
        }
        self.identity(repo, deadline).await.map(drop)
    }

    /// As whom manifests of `repo` are read.
    pub(crate) async fn identity(&self, repo: &Arc<Repo>, deadline: Deadline) -> Result<Identity, CacheError> {
        if blob_identity(repo) == Identity::Account {
            return Ok(Identity::Account);
        }
        match self.visibility(repo, deadline).await? {
            Visibility::Public => Ok(Identity::Account),
            Visibility::Private => Err(CacheError::NotServed { repo: repo.label.clone(), setting: "private" }),
        }
    }

    /// Whether everybody may read `repo`; asked again after a while, since owners change their minds.
    async fn visibility(&self, repo: &Arc<Repo>, deadline: Deadline) -> Result<Visibility, CacheError> {
        let recorded = repo.records.state().visibility;
        if repo.is_seen_lately()
            && let Some(visibility) = recorded
        {
            return Ok(visibility);
        }
        let (pending, _) = self.0.visibility.join(&self.0.tasks, &self.0.cancel, repo.key.clone(), || ask_anonymously(repo.clone()));
        match deadline.wait(&repo.label, pending.wait()).await.map(|seen| seen.unwrap_or(Err(CacheError::Stopping))) {
            Ok(Ok(seen)) => Ok(seen),
            // An upstream that is down changes nobody's rights.
            Ok(Err(error)) | Err(error) => recorded.ok_or(error),
        }
    }

    /// Makes sure that `repo` holds the blob or manifest `digest`, by asking the upstream where no record says so.
    pub(crate) async fn prove_blob(&self, repo: &Arc<Repo>, digest: &Digest, deadline: Deadline) -> Result<(), CacheError> {
        if repo.records.held(digest).is_some_and(|held| held.kind == ChildKind::Blob) {
            return Ok(());
        }
        let key = FetchKey { digest: digest.clone(), repo: repo.key.clone() };
        let (pending, _) = self.0.proofs.join(&self.0.tasks, &self.0.cancel, key, || {
            let (cache, repo, digest) = (self.clone(), repo.clone(), digest.clone());
            async move { cache.ask_for_blob(&repo, &digest).await }
        });
        deadline.wait(digest, pending.wait()).await?.unwrap_or(Err(CacheError::Stopping))
    }

    /// A HEAD; where a registry refuses that or leaves the size out, the headers of a GET.
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
        if let Some(size) = size {
            repo.prove(digest, size).await;
        }
        Ok(())
    }
}

impl Repo {
    /// Its content may be served without a question: it is neither closed nor left out, as far as was seen lately.
    pub(crate) fn is_admitted(&self) -> bool {
        let state = self.records.state();
        let is_open = || state.visibility == Some(Visibility::Public) && self.is_seen_lately();
        !state.closed && (blob_identity(self) == Identity::Account || is_open())
    }

    fn is_seen_lately(&self) -> bool {
        self.seen_public.lock().expect("no holder panics").is_some_and(|seen| seen.elapsed() < VISIBILITY_HOLDS)
    }

    /// Notes that the upstream itself said that the repository holds a blob of `size` bytes.
    pub(crate) async fn prove(&self, digest: &Digest, size: u64) {
        let (records, owned) = (self.records.clone(), digest.clone());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || records.link_blob(&owned, size)).await {
            tracing::warn!(repo.name = %self.label, blob.digest = %digest, error = &error as &dyn std::error::Error, "a proof is not recorded, and holds until the next start");
        }
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

/// Asks as `identity`; where the account itself cannot be used, as nobody. That an account is refused says nothing about public images;
/// but that nobody may read an image is then no news either: the account's refusal is.
pub(crate) async fn as_somebody<T, F>(identity: Identity, ask: impl Fn(Identity) -> F) -> Result<T, FetchError>
where
    F: Future<Output = Result<T, FetchError>>,
{
    match ask(identity).await {
        Err(refused) if identity == Identity::Account && refused.is_about_account() => match ask(Identity::Anonymous).await {
            Err(FetchError::Denied { .. } | FetchError::NotFound { .. }) => Err(refused),
            answer => answer,
        },
        answer => answer,
    }
}

/// Whether nobody in particular may list the tags: a question about the repository, free of quota, that no missing tag answers wrongly.
/// A registry that lists nothing to anybody is taken at its word: what cannot be seen to be public is not served as such.
async fn ask_anonymously(repo: Arc<Repo>) -> Result<Visibility, CacheError> {
    let seen = match repo.upstream.tags(&repo.key.name, "n=1", Identity::Anonymous).await {
        Ok(_) => Visibility::Public,
        Err(FetchError::Denied { .. } | FetchError::NotFound { .. }) => Visibility::Private,
        Err(error) => return Err(CacheError::fetch(&repo.label, error)),
    };
    *repo.seen_public.lock().expect("no holder panics") = Some(Instant::now());
    let records = repo.records.clone();
    let written = tokio::task::spawn_blocking(move || records.change_state(|state| RepositoryState { visibility: Some(seen), ..state }));
    if let Ok(Err(error)) = written.await {
        tracing::warn!(repo.name = %repo.label, error = &error as &dyn std::error::Error, "a repository's visibility is not recorded, and holds until the next start");
    }
    Ok(seen)
}

/// How long an anonymous answer holds.
const VISIBILITY_HOLDS: Duration = Duration::from_mins(10);
