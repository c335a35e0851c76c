//! Who we may be at an upstream for a repository, and whether a repository holds a digest.
//!
//! - A digest is served for a repository only after that repository is known to hold it: a manifest of it names it, or the upstream said so.
//!   Content is shared by digest on the disk, never in rights; and between upstreams only where each sent it itself (`store::sources`).
//! - With `private` patterns an account reads only the private repositories that fit. Others must be readable by everybody, which an anonymous
//!   question (free of quota) tells; the account then only pays the quota. Where an earlier answer was yes, a hit hardly waits for it.

use std::sync::Arc;
use std::time::Instant;

use super::keep::Unkept;
use super::manifests::FetchKey;
use super::tags::STALE_WAIT;
use super::visibility::{Question, Seen};
use super::{Cache, CacheError, Deadline, Repo};
use crate::config::{Pattern, UpstreamConfig};
use crate::oci::{ChildKind, Digest, RepoName};
use crate::store::{RepositoryState, Visibility};
use crate::upstream::{FetchError, Identity};

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
        let question = repo.question();
        if let Question::No(seen) = question {
            return Ok(seen);
        }
        let joined = self.0.visibility.join(self.room(repo), repo.key.clone(), || self.clone().ask_anonymously(repo.clone()));
        let patience = match question {
            Question::Ahead(seen) => return Ok(seen),
            Question::Briefly => deadline.at_most(STALE_WAIT), // The question goes on.
            Question::Ask | Question::No(_) => deadline,
        };
        match patience.joined(joined, &repo.label).await {
            Ok(seen) => Ok(seen),
            Err(error) => {
                repo.see(Seen::unanswered);
                repo.records.state().visibility.ok_or(error)
            }
        }
    }

    /// Makes sure that `repo` holds the blob or manifest `digest`, by asking the upstream where no record says so.
    pub(crate) async fn prove_blob(&self, repo: &Arc<Repo>, digest: &Digest, deadline: Deadline) -> Result<(), CacheError> {
        if repo.records.held(digest).is_some_and(|held| held.kind == ChildKind::Blob) {
            return Ok(());
        }
        let key = FetchKey { digest: digest.clone(), repo: repo.key.clone() };
        let joined = self.0.proofs.join(self.room(repo), key, || {
            let (cache, repo, digest) = (self.clone(), repo.clone(), digest.clone());
            async move { cache.ask_for_blob(&repo, &digest).await }
        });
        deadline.joined(joined, digest).await
    }

    /// Notes that the upstream itself said that the repository holds a blob of `size` bytes.
    pub(crate) fn prove(&self, repo: &Arc<Repo>, digest: &Digest, size: u64) {
        repo.records.learn_blob(digest, size);
        self.keep(Unkept::Records(repo.clone()));
    }

    /// A HEAD; where a registry refuses that or leaves the size out, the headers of a GET.
    async fn ask_for_blob(&self, repo: &Arc<Repo>, digest: &Digest) -> Result<(), CacheError> {
        let (identity, name) = (blob_identity(repo), &repo.key.name);
        let by_head = as_somebody(identity, |who| repo.upstream.head_blob(name, digest, who)).await;
        let size = match by_head {
            Ok(Some(size)) => Some(size),
            Err(error @ FetchError::NotFound { .. }) => return Err(CacheError::fetch(digest, error)),
            _ => match as_somebody(identity, |who| repo.upstream.blob(name, digest, 0, who)).await {
                Ok(stream) => stream.size(),
                Err(error) => return Err(self.refused(repo, digest, error).await),
            },
        };
        if let Some(size) = size {
            self.prove(repo, digest, size);
        }
        Ok(())
    }

    /// Whether nobody in particular may list the tags: a question about the repository, free of quota, that no missing tag answers wrongly.
    /// A registry that lists nothing to anybody is taken at its word: what cannot be seen to be public is not served as such.
    async fn ask_anonymously(self, repo: Arc<Repo>) -> Result<Visibility, CacheError> {
        let seen = match repo.upstream.tags(&repo.key.name, "n=1", Identity::Anonymous).await {
            Ok(_) => Visibility::Public,
            Err(FetchError::Denied { .. } | FetchError::NoRepository { .. } | FetchError::NotFound { .. }) => Visibility::Private,
            Err(error) => {
                repo.see(Seen::unanswered);
                return Err(CacheError::fetch(&repo.label, error));
            }
        };
        repo.see(|known, now| known.answered(now, seen));
        // Of a name that nobody may read nothing is written down, unless that corrects a record: anybody can make up names.
        if seen == Visibility::Public || repo.records.state().visibility.is_some() {
            repo.records.learn_state(|state| RepositoryState { visibility: Some(seen), ..state });
            self.keep(Unkept::Records(repo));
        }
        Ok(seen)
    }
}

impl Repo {
    /// Its content may be served without a question: it is neither closed nor left out, as far as was seen lately.
    pub(crate) fn is_admitted(&self) -> bool {
        !self.is_closed() && (blob_identity(self) == Identity::Account || self.question() == Question::No(Visibility::Public))
    }

    fn question(&self) -> Question {
        let recorded = self.records.state().visibility;
        self.seen.lock().expect("no holder panics").question(Instant::now(), recorded)
    }

    fn see(&self, change: impl FnOnce(&mut Seen, Instant)) {
        change(&mut self.seen.lock().expect("no holder panics"), Instant::now());
    }
}

/// As whom blobs of `repo` are read: they cost no quota, so what must be public is read as nobody, and that is the proof.
pub(crate) fn blob_identity(repo: &Repo) -> Identity {
    if is_left_out(repo.upstream.config(), &repo.key.name) { Identity::Anonymous } else { Identity::Account }
}

/// Whether the configuration serves `name` only if everybody may read it: the account's `private` patterns leave it out.
pub(crate) fn is_left_out(config: &UpstreamConfig, name: &RepoName) -> bool {
    config.account.is_some() && !fits(config.private.as_deref(), name)
}

/// Whether the configuration mirrors `name` at all.
pub(crate) fn is_mirrored(config: &UpstreamConfig, name: &RepoName) -> bool {
    fits(config.repositories.as_deref(), name)
}

/// No patterns at all leave nothing out.
fn fits(patterns: Option<&[Pattern]>, name: &RepoName) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.fits(name.as_str())))
}

/// Asks as `identity`; where the account itself cannot be used, as nobody. That an account is refused says nothing about public images;
/// but that nobody may read an image is then no news either: the account's refusal is.
pub(crate) async fn as_somebody<T, F>(identity: Identity, ask: impl Fn(Identity) -> F) -> Result<T, FetchError>
where
    F: Future<Output = Result<T, FetchError>>,
{
    match ask(identity).await {
        Err(refused) if identity == Identity::Account && refused.is_about_account() => match ask(Identity::Anonymous).await {
            Err(FetchError::Denied { .. } | FetchError::NoRepository { .. } | FetchError::NotFound { .. }) => Err(refused),
            answer => answer,
        },
        answer => answer,
    }
}
