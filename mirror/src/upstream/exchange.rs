//! One request until its answer's headers: every address of the upstream in turn, tries, tokens, redirects, breakers, and the judgement of a status.
//!
//! From the outside in: [`Inner::fetch`] tries again and elsewhere, [`Inner::ask`] is let in, [`Inner::travel`] follows redirects, [`Inner::send`] sends.
//! Nothing is spawned: dropping the future drops the request.
//!
//! Credentials go to the origin of the address that was asked and nowhere else; a challenge counts only from there. An alternate's refusal proves
//! nothing about the upstream, so it never takes the place of the upstream's own failure.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION, RANGE, VIA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use super::account::AccountStatus;
use super::breaker::{Pass, Silence};
use super::error::{Cause, FetchError, Subject};
use super::limit::Sign;
use super::login::Authorization;
use super::metrics::{self, Kind};
use super::origin::Origin;
use super::quota::{Quota, retry_after};
use super::redirect::{follow, is_redirect, same_origin};
use super::{Identity, Inner, body, challenge, retry};
use crate::oci::{RepoName, lists};

/// What is asked of an upstream.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) accept: &'static str,
    pub(super) from: Option<FirstByte>,
    pub(super) identity: Identity,
    pub(super) kind: Kind,
    pub(super) method: Method,
    /// What follows the address: `/v2/…`, with its query.
    pub(super) path: String,
    /// Whose token it takes; `None`: a token for nothing in particular.
    pub(super) repo: Option<&'a RepoName>,
    pub(super) subject: Subject,
    /// The mirrors that this request has passed, us last.
    pub(super) via: HeaderValue,
}

/// A `Range` that asks for the rest from a byte on, or for the very first byte alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FirstByte {
    /// From here to the end.
    At(u64),
    /// Only to learn what an answer's headers tell.
    Only,
}

impl Inner {
    /// The successful answer to `ask`, or why there is none, by `deadline`.
    pub(super) async fn fetch(&self, ask: &Ask<'_>, deadline: Instant) -> Result<reqwest::Response, FetchError> {
        let result = self.fetch_somewhere(ask, deadline).await;
        if let Err(error) = &result {
            self.remember(error);
        }
        result
    }

    /// A small answer's body, of at most `most` bytes, by `deadline`.
    pub(super) async fn read(&self, answer: reqwest::Response, most: usize, ask: &Ask<'_>, deadline: Instant) -> Result<Bytes, FetchError> {
        let late = FetchError::Timeout { subject: ask.subject.clone(), host: host_of(answer.url()), after: self.tuning.budget };
        let body = timeout_at(deadline, body::read(answer, most, &ask.subject, self.tuning.stall)).await;
        let body = body.unwrap_or(Err(late)).inspect_err(|error| self.remember(error))?;
        self.received.inc_by(body.len() as u64);
        Ok(body)
    }

    /// [`fetch`](Self::fetch), of which nothing is remembered.
    pub(super) async fn fetch_somewhere(&self, ask: &Ask<'_>, deadline: Instant) -> Result<reqwest::Response, FetchError> {
        let (began, mut tries) = (Instant::now(), 0);
        loop {
            let error = match self.fetch_once(ask, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Addresses that are signed for GET refuse HEAD; a GET is tried next, and nothing is gained by insisting.
            let has_second_opinion =
                ask.kind == Kind::BlobHead && matches!(&error, FetchError::Status { status, .. } if status.is_client_error());
            if has_second_opinion {
                return Err(error);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(wait) = retry::before_next(&error, tries, self.tuning.pace, left) else { return Err(error.in_all(began.elapsed())) };
            tracing::debug!(error = %error, upstream.host = %self.origins[0].host, "asking the upstream again");
            self.metrics.retry(&self.config.name);
            sleep(wait).await;
            tries += 1;
        }
    }

    /// One pass over the upstream's addresses. The first one's failure is the one that is told.
    async fn fetch_once(&self, ask: &Ask<'_>, deadline: Instant) -> Result<reqwest::Response, FetchError> {
        let (own, alternates) = self.origins.split_first().expect("an upstream has its own address");
        let failure = match self.ask(own, ask, share(deadline, alternates.len())).await {
            Err(error) if retry::is_worth_another_address(&error) => error,
            result => return result,
        };
        for (index, alternate) in alternates.iter().enumerate() {
            match self.ask(alternate, ask, share(deadline, alternates.len() - index - 1)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => tracing::debug!(error = %error, upstream.host = %alternate.host, "an alternate has no answer either"),
            }
        }
        Err(failure)
    }

    /// Asks one address, with whatever it wants to see first.
    async fn ask(&self, origin: &Origin, ask: &Ask<'_>, deadline: Instant) -> Result<reqwest::Response, FetchError> {
        let began = Instant::now();
        let mut authorization = self.known_authorization(origin, ask, deadline).await?;
        let mut logins = 0;
        loop {
            let (answer, at_home) = self.travel(origin, ask, &authorization, deadline).await?;
            if answer.status() != StatusCode::UNAUTHORIZED || !at_home {
                self.note(origin, &authorization, ask, &answer);
                if ask.kind == Kind::Tags && at_home && answer.status() == StatusCode::NOT_FOUND {
                    return Err(self.unlisted(answer, ask, deadline).await);
                }
                return judge(answer, at_home, ask).inspect(|_| self.let_in(&authorization));
            }
            if logins == MOST_LOGINS {
                return Err(FetchError::Denied { subject: ask.subject.clone() }); // It wants something new each time.
            }
            logins += 1;
            let lines = answer.headers().get_all(WWW_AUTHENTICATE).into_iter().filter_map(|line| line.to_str().ok());
            let challenges = challenge::parse(lines);
            authorization = self.answer_challenge(origin, ask, challenges, authorization, began, deadline).await?;
        }
    }

    /// What a 404 to a question about the whole repository says. Registries use it for what is none of our business too, so a registry's own word
    /// is told from that of a proxy or a page.
    async fn unlisted(&self, answer: reqwest::Response, ask: &Ask<'_>, deadline: Instant) -> FetchError {
        let subject = ask.subject.clone();
        let body = timeout_at(deadline, body::read(answer, MOST_OF_AN_ERROR, &subject, self.tuning.stall)).await;
        if body.is_ok_and(|body| body.is_ok_and(|body| lists::is_error(&body))) {
            return FetchError::NoRepository { subject };
        }
        FetchError::NotFound { subject }
    }

    /// The answer at the end of all redirects, and whether it comes from the origin that was asked.
    pub(super) async fn travel(
        &self,
        origin: &Origin,
        ask: &Ask<'_>,
        authorization: &Authorization,
        deadline: Instant,
    ) -> Result<(reqwest::Response, bool), FetchError> {
        let mut trail = vec![origin.address(&ask.path)];
        loop {
            let here = trail.last().expect("it starts with the first address");
            let at_home = same_origin(here, &origin.url);
            let request = self.request(here, ask, at_home.then_some(authorization));
            let answer = self.send(request, here, ask.kind, &ask.subject, deadline).await?;
            if !is_redirect(answer.status()) {
                return Ok((answer, at_home));
            }
            let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let is_blob = matches!(ask.kind, Kind::Blob | Kind::BlobHead);
            let to = follow(&trail, location, is_blob).map_err(|source| FetchError::Redirect { subject: ask.subject.clone(), source })?;
            trail.push(to);
        }
    }

    /// The request as it goes to `url`; with an `authorization`, be it none at all, to the origin that was asked and nowhere else.
    fn request(&self, url: &Url, ask: &Ask<'_>, authorization: Option<&Authorization>) -> reqwest::RequestBuilder {
        let mut request = self.http.request(ask.method.clone(), url.clone()).header(ACCEPT, ask.accept);
        match ask.from {
            Some(FirstByte::At(from)) if from > 0 => request = request.header(RANGE, format!("bytes={from}-")),
            Some(FirstByte::Only) => request = request.header(RANGE, "bytes=0-0"),
            Some(FirstByte::At(_)) | None => {}
        }
        // A CDN need not know of mirrors; but what a redirect leads to may be one.
        if authorization.is_some() || is_of_registry(url, &ask.path) {
            request = request.header(VIA, ask.via.clone());
        }
        match authorization {
            Some(Authorization::Basic { credentials, .. }) => request.basic_auth(&credentials.user, Some(credentials.password.expose())),
            Some(Authorization::Bearer { token, .. }) => request.bearer_auth(token.value.expose()),
            Some(Authorization::None) | None => request,
        }
    }

    /// Sends one request, and no more: the only place that touches the network.
    pub(super) async fn send(
        &self,
        request: reqwest::RequestBuilder,
        url: &Url,
        kind: Kind,
        subject: &Subject,
        deadline: Instant,
    ) -> Result<reqwest::Response, FetchError> {
        let host = host_of(url);
        let began = Instant::now();
        let Some(pass) = self.breakers.admit(&host, began) else {
            return Err(FetchError::BreakerOpen { subject: subject.clone(), host });
        };
        let limit = deadline.min(began + self.tuning.headers);
        let error = match timeout_at(limit, request.send()).await {
            Ok(Ok(answer)) => {
                pass.answered(Instant::now());
                self.metrics.breaker(&self.config.name, &host, false);
                self.metrics.request(&self.config.name, kind, metrics::class(answer.status()));
                return Ok(answer);
            }
            Ok(Err(error)) => unsent(error, &host, subject),
            Err(_) => FetchError::Timeout { subject: subject.clone(), host: Arc::clone(&host), after: began.elapsed() },
        };
        self.count_failure(&error, &host, kind, pass);
        Err(error)
    }

    fn count_failure(&self, error: &FetchError, host: &str, kind: Kind, pass: Pass<'_>) {
        let (ended, silence) = match error {
            FetchError::Connect { .. } => ("connect", Some(Silence::Brief)),
            // What was cut short by the budget alone says less.
            FetchError::Timeout { after, .. } if *after >= self.tuning.headers / 2 => ("timeout", Some(Silence::Long)),
            FetchError::Timeout { .. } => ("timeout", Some(Silence::Brief)),
            FetchError::Malformed { .. } => ("malformed", None), // Nonsense is an answer too.
            _ => ("cut", Some(Silence::Cut)),
        };
        self.metrics.request(&self.config.name, kind, ended);
        let is_open = if let Some(silence) = silence {
            pass.silent(Instant::now(), silence)
        } else {
            pass.answered(Instant::now());
            false
        };
        self.metrics.breaker(&self.config.name, host, is_open);
    }

    /// Keeps what an answer tells of our quota, and of limits.
    fn note(&self, origin: &Origin, authorization: &Authorization, ask: &Ask<'_>, answer: &reqwest::Response) {
        let is_about_pulls = matches!(ask.kind, Kind::Manifest | Kind::ManifestHead);
        if !is_about_pulls || !std::ptr::eq(origin, &raw const self.origins[0]) {
            return;
        }
        let quota = Quota::read(answer.headers());
        if let Some(quota) = quota {
            self.metrics.quota(&self.config.name, authorization.is_ours(), &quota);
            self.keep_quota(authorization.is_ours(), quota);
        }
        // While the account is good, what nobody in particular may pull is no limit of ours.
        if !authorization.is_ours() && self.account.as_ref().is_some_and(|account| account.status() == AccountStatus::Accepted) {
            return;
        }
        let sign = match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => Sign::Refused(retry_after(answer.headers())),
            status if status.is_success() => Sign::Accepted,
            _ => return,
        };
        self.keep_limit(ask.kind == Kind::Manifest, sign, quota);
    }
}

/// What an answer means, once it is not a redirect and not a challenge.
fn judge(answer: reqwest::Response, at_home: bool, ask: &Ask<'_>) -> Result<reqwest::Response, FetchError> {
    let subject = ask.subject.clone();
    let status = answer.status();
    let status_error = |subject| FetchError::Status { subject, host: host_of(answer.url()), status };
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT if is_page(answer.headers()) => Err(malformed(ask, "a page of HTML")),
        StatusCode::OK => Ok(answer),
        StatusCode::PARTIAL_CONTENT if ask.from.is_some_and(|from| from != FirstByte::At(0)) => Ok(answer),
        StatusCode::PARTIAL_CONTENT => Err(malformed(ask, "a part of the content, where all of it was asked for")),
        _ if status.is_success() => Err(malformed(ask, "a success without content")),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(FetchError::NotFound { subject }),
        StatusCode::TOO_MANY_REQUESTS => Err(FetchError::RateLimited { subject, retry_after: retry_after(answer.headers()) }),
        StatusCode::LOOP_DETECTED => Err(FetchError::Loop { subject }),
        // A page says that a proxy or a firewall is speaking, and not the registry.
        StatusCode::FORBIDDEN if at_home && !is_page(answer.headers()) => Err(FetchError::Denied { subject }),
        _ => Err(status_error(subject)),
    }
}

/// `Malformed`, for `ask`.
pub(super) fn malformed(ask: &Ask<'_>, what: impl Into<Cow<'static, str>>) -> FetchError {
    FetchError::Malformed { subject: ask.subject.clone(), what: what.into() }
}

/// Host and port: what a breaker is for, and what an error may name.
pub(super) fn host_of(url: &Url) -> Arc<str> {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.into(), |port| format!("{host}:{port}").into())
}

/// What a failed send or read of the HTTP library is.
pub(super) fn unsent(error: reqwest::Error, host: &Arc<str>, subject: &Subject) -> FetchError {
    let subject = subject.clone();
    if error.is_connect() {
        return FetchError::Connect { subject, host: Arc::clone(host), source: Cause::new(error) };
    }
    match hyper_error(&error) {
        Some(what) if what.is_parse() || what.is_parse_too_large() => {
            FetchError::Malformed { subject, what: format!("no HTTP: {what}").into() }
        }
        _ => FetchError::Cut { subject, source: Some(Cause::new(error)) },
    }
}

fn hyper_error(error: &reqwest::Error) -> Option<&hyper::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Whether an address that a redirect leads to is a registry's: it ends in what was asked, which no CDN's does.
fn is_of_registry(url: &Url, asked: &str) -> bool {
    let asked = asked.split('?').next().unwrap_or_default();
    url.path().ends_with(asked.strip_prefix("/v2").unwrap_or(asked))
}

/// Captive portals and broken proxies answer everything with a page.
fn is_page(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    media_type.len() >= 9 && media_type[..9].eq_ignore_ascii_case(b"text/html")
}

/// This address's part of the time until `deadline`, when `others` are to have theirs.
fn share(deadline: Instant, others: usize) -> Instant {
    let now = Instant::now();
    let left: Duration = deadline.saturating_duration_since(now);
    now + left / (u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1))
}

/// Errors are a few lines.
const MOST_OF_AN_ERROR: usize = 16 << 10;
/// With what the challenge asks, and once more with a fresh token or a changed password.
const MOST_LOGINS: usize = 2;
