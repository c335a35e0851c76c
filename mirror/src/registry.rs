//! The registry API, `/v2/…`: requests in, answers out.
//!
//! `action` reads a request (pure), `access` decides, the cache answers, `reply` writes the answer, `error` turns failures into statuses and OCI
//! codes. `range` is HTTP's arithmetic of bytes. Nothing here knows of sockets, files or upstreams.
//!
//! This mirror is read only. It never challenges a client, never sends a 429, and passes nothing of an upstream's headers on.

mod action;
mod error;
mod range;
mod reply;
mod turn;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response};

pub use action::{Action, ActionError, Names, Page, Target};
pub use reply::RegistryBody;

use error::{RegistryError, Subject};
use range::Wanted;
use reply::Replies;
use turn::Turn;

use crate::access::Client;
use crate::cache::{BlobAnswer, BlobContent, Cache, CacheError, Deadline, Repo, TagList};
use crate::canary::{CANARY, Canaries, Nonce};
use crate::config::{Access, Config};
use crate::oci::{Digest, Reference};
use crate::store::Store;
use crate::telemetry::{Facts, Origin, Outcome};
use crate::tls::ClientCertificate;
use crate::via::{Pseudonym, Via};

/// The registry API of one mirror. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    access: Access,
    cache: Cache,
    canaries: Arc<Canaries>,
    catalog_turn: Turn,
    names: Names,
    pseudonym: Pseudonym,
    replies: Replies,
    store: Store,
    upstreams: Vec<crate::config::UpstreamName>,
}

/// An answer that is content.
type Answer = Result<Response<RegistryBody>, RegistryError>;

impl Registry {
    /// Over `cache`. `pseudonym` is this mirror's name in `Via`, by which a request that comes back is known.
    pub fn new(config: &Config, cache: Cache, store: Store, canaries: Arc<Canaries>, pseudonym: Pseudonym) -> Self {
        Self(Arc::new(Inner {
            access: config.access.clone(),
            cache,
            canaries,
            catalog_turn: Turn::default(),
            names: Names::new(&config.upstreams),
            pseudonym,
            replies: Replies::new(&config.headers),
            store,
            upstreams: config.upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
        }))
    }

    /// Whether a path is of this API: `/v2/…`, or `/UPSTREAM/v2/…`. What is not, other surfaces may answer.
    pub fn serves(path: &str) -> bool {
        path.starts_with("/v2") || path.starts_with("//") || path.contains("/v2/") || path.ends_with("/v2")
    }

    /// Answers a request: a hit at once, everything else by a future of its own.
    ///
    /// Hits are most of all requests. An `async fn` would move the state of the whole way to the upstream, tens of kilobytes, for each of them.
    pub fn answer(&self, request: Parts, asker: Origin) -> Answering {
        let action = match self.0.names.parse(&request.method, request.uri.path(), request.uri.query()) {
            Ok(action) => action,
            Err(error) => return Answering::Done(Some(self.finish(Err(error.into()), Subject::Page, Facts::default(), &request, &asker))),
        };
        let (mut facts, subject) = (self.facts(&action), subject(&action));
        if let Some(answer) = self.at_once(&action, &request, &asker, &mut facts) {
            return Answering::Done(Some(self.finish(answer, subject, facts, &request, &asker)));
        }
        let this = self.clone();
        Answering::Pending(Box::pin(async move {
            let answer = this.act(action, &request, &asker, &mut facts).await;
            this.finish(answer, subject, facts, &request, &asker)
        }))
    }

    /// Whether a connection is one that no rule has any use for: it ends with its answer, so that strangers hold no place that others could have.
    /// A proxy's connection is others' too.
    pub fn is_strangers(&self, asker: &Origin) -> bool {
        asker.direct && !self.0.access.knows(client(asker))
    }

    fn finish(&self, answer: Answer, subject: Subject, mut facts: Facts, request: &Parts, asker: &Origin) -> Response<RegistryBody> {
        let mut response = answer.unwrap_or_else(|error| self.refuse(&error, subject, request, asker, &mut facts));
        if self.is_strangers(asker) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(facts);
        response
    }

    /// What needs neither the upstream nor a wait; `None` where [`Registry::act`] must try.
    fn at_once(&self, action: &Action, request: &Parts, asker: &Origin, facts: &mut Facts) -> Option<Answer> {
        if self.is_own(&request.headers) {
            return Some(Err(RegistryError::Loop));
        }
        let (Action::Blob(target, _) | Action::Manifest(target, _)) = action else {
            return matches!(action, Action::Ping).then(|| Ok(self.0.replies.ping()));
        };
        if Canaries::nonce(&target.repo).is_some() {
            return None;
        }
        let repo = self.0.cache.at_once(target.upstream, &target.repo)?;
        if !self.0.access.decide(client(asker), repo.label()).is_allowed() {
            return Some(Err(self.refused(asker, repo.label().to_string())));
        }
        match action {
            Action::Manifest(_, reference) => {
                let answer = self.0.cache.manifest_at_once(&repo, reference)?;
                facts.outcome = Some(answer.outcome);
                Some(Ok(self.0.replies.manifest(&answer, target, &request.headers)))
            }
            Action::Blob(_, digest) if request.method == Method::GET && !reply::is_known(&request.headers, digest) => {
                let answer = self.0.cache.blob_at_once(&repo, digest)?;
                facts.outcome = Some(answer.outcome);
                Some(self.blob_answer(answer, target, digest, request))
            }
            _ => None,
        }
    }

    async fn act(&self, action: Action, request: &Parts, asker: &Origin, facts: &mut Facts) -> Answer {
        let deadline = Deadline::new();
        match action {
            Action::Ping => Ok(self.0.replies.ping()),
            Action::Blob(target, digest) => {
                if let Some(nonce) = nonce_of(&target)? {
                    return self.canary(&nonce, Some(&digest), true, request, asker, facts).map(|answer| reply::named(answer, &target));
                }
                let repo = self.permitted(&target, request, asker, deadline).await?;
                self.blob(&target, &repo, &digest, request, deadline, facts).await
            }
            Action::Manifest(target, reference) => {
                if let Some(nonce) = nonce_of(&target)? {
                    let digest = if let Reference::Digest(digest) = &reference { Some(digest) } else { None };
                    return self.canary(&nonce, digest, false, request, asker, facts).map(|answer| reply::named(answer, &target));
                }
                let repo = self.permitted(&target, request, asker, deadline).await?;
                let answer = self.0.cache.manifest(&repo, &reference, request.method == Method::HEAD, deadline).await?;
                facts.outcome = Some(answer.outcome);
                Ok(self.0.replies.manifest(&answer, &target, &request.headers))
            }
            Action::Referrers(target, digest, kind) => {
                if nonce_of(&target)?.is_some() {
                    return Ok(self.0.replies.referrers(None, kind.is_some(), &target));
                }
                let repo = self.permitted(&target, request, asker, deadline).await?;
                let is_filtered = kind.is_some();
                let index = self.0.cache.referrers(&repo, &digest, kind, deadline).await?;
                Ok(self.0.replies.referrers(index, is_filtered, &target))
            }
            Action::Tags(target, _) => {
                if nonce_of(&target)?.is_some() {
                    let list = TagList { tags: Bytes::from_static(br#"["latest"]"#), next: None, warning: None };
                    return Ok(self.0.replies.tags(&list, &target, target.repo.as_str()));
                }
                let repo = self.permitted(&target, request, asker, deadline).await?;
                let list = self.0.cache.tag_list(&repo, &without_namespace(request.uri.query()), deadline).await?;
                Ok(self.0.replies.tags(&list, &target, repo.label()))
            }
            Action::Catalog(page) => self.catalog(&page, asker, deadline).await,
        }
    }

    /// The repository as this request asks for it, if the client may read it and the configuration serves it; nothing is read from the disk for who
    /// may not.
    async fn permitted(&self, target: &Target, request: &Parts, asker: &Origin, deadline: Deadline) -> Result<Arc<Repo>, RegistryError> {
        let label = self.0.cache.label(target.upstream, &target.repo);
        if self.0.access.decide(client(asker), &label).is_allowed() {
            let repo = self.0.cache.repo(target.upstream, &target.repo, deadline).await?;
            return Ok(repo.on_behalf_of(&Via::read(&request.headers)));
        }
        Err(self.refused(asker, label))
    }

    fn refused(&self, asker: &Origin, repo: String) -> RegistryError {
        let address = asker.client;
        let client = match asker.certificate.as_deref().map(|certificate| (certificate.name(), certificate.verdict())) {
            _ if !self.0.access.asks_for_certificates() => address.to_string(),
            None => format!("{address}, without a client certificate,"),
            Some((name, Ok(()))) => format!("{address}, with the certificate of {name},"),
            Some((name, Err(why))) => format!("{address}, with a certificate of {name} which {why},"),
        };
        RegistryError::Refused { client, repo }
    }

    async fn blob(
        &self,
        target: &Target,
        repo: &Arc<Repo>,
        digest: &Digest,
        request: &Parts,
        deadline: Deadline,
        facts: &mut Facts,
    ) -> Answer {
        let cache = &self.0.cache;
        let is_known = reply::is_known(&request.headers, digest);
        if request.method == Method::HEAD || is_known {
            let answer = cache.describe_blob(repo, digest, deadline).await?;
            facts.outcome = Some(answer.outcome);
            return Ok(if is_known {
                self.0.replies.not_modified(digest, target)
            } else {
                self.0.replies.described(digest, answer.size, target)
            });
        }
        let answer = cache.blob(repo, digest, deadline).await?;
        facts.outcome = Some(answer.outcome);
        self.blob_answer(answer, target, digest, request)
    }

    fn blob_answer(&self, answer: BlobAnswer, target: &Target, digest: &Digest, request: &Parts) -> Answer {
        let (cache, size) = (&self.0.cache, answer.size);
        if let BlobContent::Memory(object) = &answer.content {
            return self.0.replies.small(object, target, &request.headers);
        }
        let wanted = match size {
            Some(size) => Wanted::resolve(&request.headers, size, &reply::etag(digest)),
            None => Wanted::Whole,
        };
        match (wanted, size) {
            (Wanted::Part { start, end }, Some(size)) => {
                let body = answer.body(cache, digest, Some(start..end));
                Ok(self.0.replies.part(digest, start..end, size, body, target))
            }
            (Wanted::Unsatisfiable, Some(size)) => Err(RegistryError::Range { size }),
            _ => Ok(self.0.replies.whole(digest, size, answer.body(cache, digest, None), target)),
        }
    }

    /// A made-up image: for every client that is known at all, whatever repositories it may read.
    fn canary(&self, nonce: &Nonce, digest: Option<&Digest>, blob: bool, request: &Parts, asker: &Origin, facts: &mut Facts) -> Answer {
        if !self.0.access.knows(client(asker)) {
            return Err(self.refused(asker, format!("{CANARY}/{nonce}")));
        }
        let image = self.0.canaries.image(nonce);
        let digest = digest.unwrap_or(image.root());
        let Some(object) = image.get(digest).filter(|object| blob != object.media_type.is_manifest()) else {
            return Err(CacheError::Unknown { what: format!("{CANARY}/{nonce}@{digest}").into() }.into());
        };
        facts.outcome = Some(Outcome::Canary);
        if request.method == Method::GET {
            self.0.canaries.sign(nonce, asker.client, user_agent(&request.headers), object.what);
        }
        self.0.replies.canary(digest, object, &request.headers)
    }

    /// What is cached and may be read by this client. The first upstream's repositories have their plain names, as its clients use them.
    /// The list is read from the disk, so it is made on a blocking thread, one at a time, and who asks waits no longer than for anything else.
    async fn catalog(&self, page: &Page, asker: &Origin, deadline: Deadline) -> Answer {
        if !self.0.access.knows(client(asker)) {
            return Ok(self.0.replies.catalog(&[], None)); // A walk of the disk is not for everybody.
        }
        let (this, asker) = (self.clone(), asker.clone());
        let names = self.0.catalog_turn.take("_catalog", deadline, move || this.cached_names(client(&asker))).await?;
        let later = names.into_iter().filter(|name| page.last.as_ref().is_none_or(|last| name > last));
        let limit = page.limit.unwrap_or(usize::MAX);
        let mut names: Vec<String> = later.take(limit.saturating_add(1)).collect();
        let more = names.len() > limit;
        names.truncate(limit);
        Ok(self.0.replies.catalog(&names, more.then_some(limit)))
    }

    fn cached_names(&self, client: Client<'_>) -> Vec<String> {
        let first = format!("{}/", self.0.upstreams[0]);
        let may = |label: &String| self.0.access.decide(client, label).is_allowed() && self.0.cache.may_name(label);
        let labels = self.0.store.catalog(None, usize::MAX).into_iter().filter(may);
        let mut names: Vec<String> = labels.map(|label| label.strip_prefix(&first).unwrap_or(&label).to_owned()).collect();
        names.sort_unstable();
        names
    }

    /// A request that this very mirror sent out before.
    fn is_own(&self, headers: &HeaderMap) -> bool {
        Via::read(headers).has(self.0.pseudonym)
    }

    fn refuse(
        &self,
        error: &RegistryError,
        subject: Subject,
        request: &Parts,
        asker: &Origin,
        facts: &mut Facts,
    ) -> Response<RegistryBody> {
        let (status, code) = error.status(subject, user_agent(&request.headers));
        facts.error = Some(error.chain());
        facts.outcome = Some(if matches!(error, RegistryError::Refused { .. }) { Outcome::Refused } else { Outcome::Error });
        if error.is_ours() {
            tracing::warn!(request.id = %asker.id, request.path = request.uri.path(), status = status.as_u16(), "{}", error.chain());
        }
        self.0.replies.error(status, error.body(code, &asker.id.to_string()), error)
    }

    fn facts(&self, action: &Action) -> Facts {
        let (target, reference) = match action {
            Action::Blob(target, digest) | Action::Referrers(target, digest, _) => (target, Some(Reference::Digest(digest.clone()))),
            Action::Manifest(target, reference) => (target, Some(reference.clone())),
            Action::Tags(target, _) => (target, None),
            Action::Catalog(_) | Action::Ping => return Facts::default(),
        };
        let upstream = self.0.upstreams.get(target.upstream).cloned();
        Facts { upstream, repo: Some(target.repo.clone()), reference, ..Facts::default() }
    }
}

fn subject(action: &Action) -> Subject {
    match action {
        Action::Blob(..) => Subject::Blob,
        Action::Manifest(..) | Action::Referrers(..) => Subject::Manifest,
        _ => Subject::Page,
    }
}

/// An answer, or the way to it.
pub enum Answering {
    /// Here; `None` once it was taken.
    Done(Option<Response<RegistryBody>>),
    /// On its way.
    Pending(Pin<Box<dyn Future<Output = Response<RegistryBody>> + Send>>),
}

impl Future for Answering {
    type Output = Response<RegistryBody>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Done(response) => Poll::Ready(response.take().expect("a future is not polled after its end")),
            Self::Pending(answer) => answer.as_mut().poll(context),
        }
    }
}

impl std::fmt::Debug for Answering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Done(_)) { "Done" } else { "Pending" })
    }
}

/// Who asks, as access rules see it.
fn client(asker: &Origin) -> Client<'_> {
    Client { address: asker.client, names: asker.certificate.as_deref().and_then(ClientCertificate::identity) }
}

/// The canary that `target` is, if it is one. A name that is nearly one is nobody's: it must not travel to an upstream.
fn nonce_of(target: &Target) -> Result<Option<Nonce>, RegistryError> {
    match Canaries::nonce(&target.repo) {
        None => Ok(None),
        Some(Ok(nonce)) => Ok(Some(nonce)),
        Some(Err(_)) => Err(CacheError::Unknown { what: target.repo.as_str().into() }.into()),
    }
}

/// The query for the upstream, which does not know what a mirror is.
fn without_namespace(query: Option<&str>) -> String {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("ns="));
    pairs.collect::<Vec<_>>().join("&")
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
