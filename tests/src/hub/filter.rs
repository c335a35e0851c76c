//! Which requests a fault, a gate or a count means.

use super::Digest;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `/v2/`
    Ping,
    /// `/v2/NAME/manifests/REFERENCE`
    Manifest,
    /// `/v2/NAME/blobs/DIGEST` at the registry, answered with a redirect (or with the bytes when redirects are off)
    Blob,
    /// A blob's bytes, at the CDN
    Cdn,
    /// `/token`
    Token,
    /// `/v2/NAME/tags/list`
    Tags,
    /// `/v2/NAME/referrers/DIGEST`
    Referrers,
    /// Anything else
    Other,
}

/// What is known of a request before it is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) kind: Kind,
    pub(super) method: &'a http::Method,
    pub(super) repository: Option<&'a str>,
    pub(super) reference: Option<&'a str>,
    pub(super) account: Option<&'a str>,
}

/// A choice of requests; every part that is set must fit.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    kind: Option<Kind>,
    method: Option<String>,
    repository: Option<String>,
    reference: Option<String>,
    who: Who,
    skip: u64,
    times: Option<u64>,
}

#[derive(Debug, Clone, Default)]
enum Who {
    #[default]
    Anybody,
    Anonymous,
    Account(String),
}

/// Requests of one kind.
pub fn on(kind: Kind) -> Filter {
    Filter { kind: Some(kind), ..Filter::default() }
}

/// All requests.
pub fn any() -> Filter {
    Filter::default()
}

impl From<Kind> for Filter {
    fn from(kind: Kind) -> Self {
        on(kind)
    }
}

impl Filter {
    /// Only this method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only this repository.
    pub fn repo(mut self, repository: &str) -> Self {
        self.repository = Some(repository.to_owned());
        self
    }

    /// Only this tag or digest.
    pub fn reference(mut self, reference: &str) -> Self {
        self.reference = Some(reference.to_owned());
        self
    }

    /// Only this digest.
    pub fn digest(self, digest: &Digest) -> Self {
        self.reference(digest.as_str())
    }

    /// Only requests made as this account.
    pub fn account(mut self, account: &str) -> Self {
        self.who = Who::Account(account.to_owned());
        self
    }

    /// Only requests made without an account.
    pub fn anonymous(mut self) -> Self {
        self.who = Who::Anonymous;
        self
    }

    /// The first `count` requests that fit are let pass (faults and gates only).
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// No more than `count` requests, after those skipped (faults and gates only).
    pub fn times(mut self, count: u64) -> Self {
        self.times = Some(count);
        self
    }

    /// Only the request number `nth` that fits, counted from 1 (faults and gates only).
    pub fn nth(self, nth: u64) -> Self {
        self.skip(nth.saturating_sub(1)).times(1)
    }

    pub(super) fn is_of(&self, kind: Kind) -> bool {
        self.kind == Some(kind)
    }

    pub(super) fn matches(&self, facts: &Facts<'_>) -> bool {
        self.matches_as(facts, facts.kind)
    }

    /// Whether it fits if the request were of `kind`.
    pub(super) fn matches_as(&self, facts: &Facts<'_>, kind: Kind) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(facts.method.as_str()))
            && (self.repository.is_none() || self.repository.as_deref() == facts.repository)
            && (self.reference.is_none() || self.reference.as_deref() == facts.reference)
            && match &self.who {
                Who::Anybody => true,
                Who::Anonymous => facts.account.is_none(),
                Who::Account(name) => facts.account == Some(name),
            }
    }

    /// Whether the `seen`th request that fits, counted from 1, is meant.
    pub(super) fn turn(&self, seen: u64) -> bool {
        seen > self.skip && self.times.is_none_or(|times| seen <= self.skip + times)
    }
}
