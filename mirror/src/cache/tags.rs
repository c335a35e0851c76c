//! Where a tag points: one shared HEAD per tag and window, and the last answer when the upstream has none.
//!
//! A pull never waits for a sick upstream: where an older answer is known, a check gets [`STALE_WAIT`], then the older answer is given with a
//! warning while the check goes on. A check that failed is not made again within the window, and an upstream that answered 429 is not asked about
//! any tag of which something is known.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::freshness::{Descriptor, Lookup, peace};
use super::keep::Unkept;
use super::metrics::CheckValue;
use super::proof::as_somebody;
use super::repo::RepoKey;
use super::{Cache, CacheError, Deadline, Repo, Warning};
use crate::oci::{Digest, Reference, Tag};
use crate::store::TagRecord;
use crate::upstream::{Described, FetchError, FetchedManifest, Identity, ManifestHead};

/// What is being checked.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct TagKey {
    repo: RepoKey,
    tag: Tag,
}

/// The end of a check: it is learned before anybody hears of it. With a warning where the older answer must do.
pub(crate) type Checked = Result<Option<Warning>, CacheError>;

/// Where a tag points, as it is answered.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) at: Descriptor,
    pub(crate) warning: Option<Warning>,
}

impl Cache {
    /// Where `tag` points.
    pub(crate) async fn resolve(&self, repo: &Arc<Repo>, tag: &Tag, deadline: Deadline) -> Result<Resolved, CacheError> {
        if !repo.is_closed() {
            self.admit(repo, deadline).await?;
        }
        let window = repo.upstream.config().tag_window;
        let known = repo.known(tag);
        let lookup = if repo.is_closed() { Lookup::Miss } else { known.lookup(Instant::now(), window, repo.upstream.is_left_in_peace()) };
        let outcome = match lookup {
            Lookup::Fresh => Ok(None),
            Lookup::Miss => self.check(repo, tag, deadline).await,
            // Nothing can be served stale when its content is gone: then the check is worth the whole wait.
            Lookup::Held(_) | Lookup::Stale if !self.can_serve(known.at.as_ref()).await => self.check(repo, tag, deadline).await,
            Lookup::Held(warning) => Ok(Some(warning)),
            Lookup::Stale => self.check(repo, tag, deadline.at_most(STALE_WAIT)).await,
        };
        self.answer(repo, tag, outcome)
    }

    /// The answer after a check, or instead of one.
    fn answer(&self, repo: &Arc<Repo>, tag: &Tag, outcome: Checked) -> Result<Resolved, CacheError> {
        if repo.is_closed() {
            return Err(outcome.err().filter(|error| !error.is_final()).unwrap_or_else(|| CacheError::Closed { repo: repo.label.clone() }));
        }
        let known = repo.known(tag);
        let at = match (known.at.clone(), &outcome) {
            (Some(at), _) => at,
            (None, Ok(_)) => return Err(unknown(repo, tag)),
            (None, Err(error)) => return Err(error.clone()),
        };
        if let Err(error) = &outcome
            && error.is_final()
        {
            return Err(error.clone());
        }
        if known.gone {
            return if self.keeps_deleted(repo, tag) {
                Ok(Resolved { at, warning: Some(Warning::Deleted) })
            } else {
                Err(unknown(repo, tag))
            };
        }
        let warning = match &outcome {
            Err(error) => Some(Warning::of(error)),
            Ok(warning) => *warning,
        };
        Ok(Resolved { at, warning })
    }

    /// Asks the upstream, together with all who ask now, and waits until `deadline`.
    async fn check(&self, repo: &Arc<Repo>, tag: &Tag, deadline: Deadline) -> Checked {
        let key = TagKey { repo: repo.key.clone(), tag: tag.clone() };
        let joined = self.0.tag_checks.join(self.room(repo), key, || {
            let (cache, repo, tag) = (self.clone(), repo.clone(), tag.clone());
            async move { cache.ask_for_tag(&repo, &tag).await }
        });
        deadline.joined(joined, name(repo, tag)).await
    }

    /// The check itself; what it finds is learned.
    async fn ask_for_tag(&self, repo: &Arc<Repo>, tag: &Tag) -> Checked {
        let (reference, asked) = (Reference::Tag(tag.clone()), Instant::now());
        let identity = self.identity(repo, Deadline::new()).await?;
        let described = as_somebody(identity, |who| repo.upstream.describe_manifest(&repo.key.name, &reference, who)).await;
        let found = match described {
            // A registry that knows no HEAD: then the quota has paid, and what it bought is kept.
            Ok(Described::Fetched(fetched)) => Ok(self.learn_fetched_tag(repo, fetched)),
            Ok(Described::Head(ManifestHead { digest: Some(digest), media_type, size })) => Ok(Descriptor { digest, media_type, size }),
            Ok(Described::Head(ManifestHead { digest: None, .. })) => self.fetch_tag(repo, &reference, identity).await,
            Err(error) => Err(error),
        };
        self.learn_tag(repo, tag, found, asked).await
    }

    async fn fetch_tag(&self, repo: &Arc<Repo>, reference: &Reference, identity: Identity) -> Result<Descriptor, FetchError> {
        let fetched = as_somebody(identity, |who| repo.upstream.manifest(&repo.key.name, reference, who)).await?;
        Ok(self.learn_fetched_tag(repo, fetched))
    }

    fn learn_fetched_tag(&self, repo: &Arc<Repo>, fetched: FetchedManifest) -> Descriptor {
        let at = Descriptor {
            digest: fetched.digest.clone(),
            media_type: Some(fetched.facts.media_type.clone()),
            size: Some(fetched.bytes.len() as u64),
        };
        self.learn_manifest(repo, fetched);
        at
    }

    /// The answer is as old as the question: what was pushed meanwhile is not in it.
    async fn learn_tag(&self, repo: &Arc<Repo>, tag: &Tag, found: Result<Descriptor, FetchError>, asked: Instant) -> Checked {
        match found {
            Ok(at) => {
                self.learn_place(repo, tag, at, asked).await;
                Ok(None)
            }
            Err(FetchError::NotFound { .. }) => self.learn_gone(repo, tag, asked).await,
            Err(denied @ FetchError::Denied { .. }) => {
                // Who never had access has nothing to lose: no record is made of a repository that was only asked for.
                if repo.known(tag).at.is_some() {
                    repo.set_closed(true).await;
                } else {
                    self.heard(repo, &denied).await;
                }
                self.0.lasting.metrics.tag_checked(CheckValue::Gone);
                Err(unknown(repo, tag))
            }
            Err(error) => self.learn_failure(repo, tag, error),
        }
    }

    async fn learn_place(&self, repo: &Arc<Repo>, tag: &Tag, at: Descriptor, asked: Instant) {
        let digest = at.digest.clone();
        let moved = repo.learn(tag, |known| {
            let moved = known.at.as_ref().is_none_or(|before| before.digest != at.digest);
            known.at = Some(at);
            known.answered(asked, false);
            moved
        });
        repo.set_closed(false).await;
        self.record_tag(repo, tag, &digest);
        self.0.lasting.metrics.tag_checked(if moved { CheckValue::Moved } else { CheckValue::Same });
    }

    /// That a tag is gone is the tag's own matter, unless all else is gone with it: then its grace time is not what is meant.
    async fn learn_gone(&self, repo: &Arc<Repo>, tag: &Tag, asked: Instant) -> Checked {
        let known = repo.known(tag);
        let is_certain = known.alive.is_some_and(|seen| seen.elapsed() < ALIVE);
        if !repo.is_closed() && known.at.is_some() && !is_certain {
            match self.is_lost(repo).await {
                Ok(true) => {}
                Ok(false) => repo.learn(tag, |known| known.alive = Some(Instant::now())),
                Err(error) => return self.learn_failure(repo, tag, error), // Asked again with the tag.
            }
        }
        self.0.lasting.metrics.tag_checked(CheckValue::Gone);
        if repo.is_closed() {
            return Err(unknown(repo, tag));
        }
        repo.learn(tag, |known| known.answered(asked, true));
        self.record_gone(repo, tag);
        Ok(None)
    }

    fn learn_failure(&self, repo: &Arc<Repo>, tag: &Tag, error: FetchError) -> Checked {
        // What was never seen is not remembered: anybody may ask for any name.
        let has_older = repo.known(tag).at.is_some();
        if let FetchError::RateLimited { retry_after, .. } = error {
            // Hundreds of tags may be asked for now: all of them wait, since the limit is not the tag's.
            if !repo.upstream.is_left_in_peace() {
                tracing::warn!(repo.name = %repo.label, tag = %tag, "the upstream answers 429; tags are served as they were, for longer than their window");
            }
            repo.upstream.leave_in_peace(peace(retry_after));
            self.0.lasting.metrics.tag_checked(CheckValue::RateLimited);
            return if has_older { Ok(Some(Warning::RateLimited)) } else { Err(CacheError::fetch(name(repo, tag), error)) };
        }
        self.0.lasting.metrics.tag_checked(CheckValue::Failed);
        let error = CacheError::fetch(name(repo, tag), error);
        if has_older {
            repo.learn(tag, |known| known.failed = Some((Instant::now(), Warning::of(&error))));
        }
        Err(error)
    }

    /// Has it written down where the tag points, once its manifest is here.
    fn record_tag(&self, repo: &Arc<Repo>, tag: &Tag, digest: &Digest) {
        if repo.is_unrecorded(tag, digest) {
            self.keep(Unkept::Tags(repo.clone(), digest.clone()));
        }
    }

    fn record_gone(&self, repo: &Arc<Repo>, tag: &Tag) {
        let Some(record) = repo.records.tag(tag) else { return };
        if record.gone_since.is_none() {
            repo.records.learn_tag(tag, &TagRecord { gone_since: Some(SystemTime::now()), ..record });
            self.keep(Unkept::Records(repo.clone()));
        } else if !self.keeps_deleted(repo, tag) {
            let (records, owned) = (repo.records.clone(), tag.clone());
            drop(self.0.lasting.tasks.spawn_blocking(move || records.remove_tag(&owned)));
            repo.learn(tag, |known| known.at = None);
        }
    }

    /// A tag that the upstream deleted is served for its grace time, or for ever.
    fn keeps_deleted(&self, repo: &Repo, tag: &Tag) -> bool {
        let policy = self.0.deleted_tags;
        let since = repo.records.tag(tag).and_then(|record| record.gone_since);
        policy.keep || since.is_some_and(|since| since.elapsed().unwrap_or_default() < policy.grace)
    }

    async fn can_serve(&self, at: Option<&Descriptor>) -> bool {
        match at {
            Some(at) => self.0.memory.contains_key(&at.digest) || self.is_stored(&at.digest).await,
            None => false,
        }
    }
}

fn name(repo: &Repo, tag: &Tag) -> String {
    format!("{}:{tag}", repo.label)
}

fn unknown(repo: &Repo, tag: &Tag) -> CacheError {
    CacheError::Unknown { what: name(repo, tag).into() }
}

/// How long nobody asks anew whether a tag is all that is gone.
const ALIVE: Duration = Duration::from_mins(10);
/// What a check may take while an older answer is at hand.
pub(crate) const STALE_WAIT: Duration = Duration::from_millis(1500);
