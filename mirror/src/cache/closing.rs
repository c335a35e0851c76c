//! Access that was lost, and access that is there again.
//!
//! A repository that we could read is *closed* when the upstream refuses it to a token that is good: nothing of it is served until a check succeeds.
//! Who never had access has nothing to lose: no record is made of a repository that was only asked for.
//!
//! Many registries say "no such thing" of what is none of our business. So where a tag that is known is gone, or a list of tags with it, the repository itself
//! is asked for: one that the registry does not know, in its own words, and that no longer has a manifest that it gave before, is closed as well. A page or a
//! proxy that answers 404 to everything closes nothing, and what an upstream says for a moment only closes for that moment: nothing is thrown away.
//!
//! A refused tag that is known closes it at once. Anything else, a digest, a list, an unknown tag, is only a hint: some registries answer 401 or 403 to a digest that the repository does not hold,
//! or that a scanner has locked, though all else may be read. So the repository is asked for something that it did give: a tag that is recorded,
//! or, where none is, a manifest that is linked. That answer decides. What was asked for as nobody proves nothing about our account, and neither
//! does the host that a redirect led to: its 403 is a link that ran out, and no [`FetchError::Denied`].

use std::sync::Arc;
use std::time::Duration;

use super::proof::{as_somebody, blob_identity};
use super::tags::STALE_WAIT;
use super::{Cache, CacheError, Deadline, Repo};
use crate::oci::{Digest, Reference};
use crate::store::RepositoryState;
use crate::upstream::{FetchError, Identity};

impl Cache {
    /// The error of a request for `digest`. Where it is a refusal, it is known by then whether access was lost.
    pub(crate) async fn refused(&self, repo: &Arc<Repo>, digest: &Digest, error: FetchError) -> CacheError {
        self.heard(repo, &error).await;
        CacheError::fetch(format_args!("{}@{digest}", repo.label), error)
    }

    /// Where `error` is a refusal of anything but a tag that is known, it hints at lost access: that is known when this ends. Says whether it is: not where
    /// the upstream is slow or too much is asked of it.
    pub(crate) async fn heard(&self, repo: &Arc<Repo>, error: &FetchError) -> bool {
        let is_hint = matches!(error, FetchError::Denied { .. } | FetchError::NoRepository { .. });
        if !is_hint || repo.is_closed() || blob_identity(repo) != Identity::Account {
            return true;
        }
        let check = self.0.access_checks.join(self.room(repo), repo.key.clone(), || look_again(repo.clone(), error.clone()));
        let Ok((pending, _)) = check else { return false };
        // An upstream that is slow to say so changes nothing yet; the check goes on.
        matches!(tokio::time::timeout(STALE_WAIT, pending.wait()).await, Ok(Some(())))
    }

    /// Whether a repository of which a tag is gone is lost as a whole; then it is closed. An error where that cannot be told now.
    pub(crate) async fn is_lost(&self, repo: &Arc<Repo>) -> Result<bool, FetchError> {
        if blob_identity(repo) != Identity::Account {
            return Ok(false); // Whether everybody may read it is asked all the time.
        }
        match as_somebody(Identity::Account, |who| repo.upstream.tags(&repo.key.name, "n=1", who)).await {
            Err(error) if error.is_transient() => Err(error),
            Err(hint) if self.heard(repo, &hint).await => Ok(repo.is_closed()),
            Err(hint) => Err(hint), // Whether access is lost is not known: it is asked again with the tag.
            Ok(_) => Ok(false),
        }
    }

    /// A closed repository opens when the upstream answers for what is asked.
    pub(crate) async fn reopen(&self, repo: &Arc<Repo>, reference: &Reference, deadline: Deadline) -> Result<(), CacheError> {
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
}

/// Asks for something that the repository gave before, and closes it where that is refused too.
async fn look_again(repo: Arc<Repo>, hint: FetchError) {
    let is_unknown = matches!(hint, FetchError::NoRepository { .. });
    // Some registries forget a repository with its last tag, and have manifests of it still; others prune manifests one by one.
    let manifests = if is_unknown { repo.records.some_manifests(ASKED_AGAIN) } else { Vec::new() };
    let mut given: Vec<Reference> = manifests.into_iter().map(Reference::Digest).collect();
    given.extend(repo.given_before().filter(|_| given.is_empty()));
    let mut is_lost = false;
    for given in given {
        is_lost = match as_somebody(Identity::Account, |who| repo.upstream.head_manifest(&repo.key.name, &given, who)).await {
            Err(FetchError::Denied { .. }) => true,
            Err(FetchError::NotFound { .. } | FetchError::NoRepository { .. }) => is_unknown,
            _ => return, // It is there, or cannot be asked: nothing is lost that is known.
        };
    }
    if is_lost {
        repo.set_closed(true).await;
    }
}

/// Manifests that must all be gone before a repository is taken for gone.
const ASKED_AGAIN: usize = 5;

impl Repo {
    /// Access was lost.
    pub(crate) fn is_closed(&self) -> bool {
        self.records.state().closed
    }

    /// Access was lost, or is there again.
    pub(crate) async fn set_closed(&self, closed: bool) {
        if self.records.state().closed == closed {
            return;
        }
        tracing::warn!(repo.name = %self.label, closed, "{}", if closed { "the upstream refuses this repository now; it is closed until a check succeeds" } else { "the upstream allows this repository again" });
        let records = self.records.clone();
        records.learn_state(|state| RepositoryState { closed, ..state });
        // Nobody hears of it before it outlives the process, unless the disk hangs.
        let written = tokio::time::timeout(WRITE_WAIT, tokio::task::spawn_blocking(move || records.save())).await;
        let error: Box<dyn std::error::Error> = match written {
            Ok(Ok(Err(error))) => error.into(),
            Err(late) => late.into(),
            _ => return,
        };
        tracing::warn!(repo.name = %self.label, error = &*error, "this is not recorded, and holds until the next start");
    }

    /// A tag or a manifest that the upstream gave us once.
    fn given_before(&self) -> Option<Reference> {
        let stands = |tag: &crate::oci::Tag| self.records.tag(tag).is_some_and(|record| record.gone_since.is_none());
        let tag = self.records.tags().into_iter().find(stands).map(Reference::Tag);
        tag.or_else(|| self.records.some_manifest().map(Reference::Digest))
    }
}

/// What an answer waits for a record that must not be lost.
const WRITE_WAIT: Duration = Duration::from_secs(2);
