//! What the upstream side counts. One [`Metrics`] serves all upstreams, and outlives a reload, so that no figure starts anew.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::quota::Quota;
use crate::config::UpstreamName;

const ACCOUNT_ACCEPTED: &str = "chandler_upstream_account_accepted";
const BREAKER_OPEN: &str = "chandler_upstream_breaker_open";
const QUOTA_LIMIT: &str = "chandler_upstream_quota_limit_pulls";
const QUOTA_REMAINING: &str = "chandler_upstream_quota_remaining_pulls";
const RECEIVED: &str = "chandler_upstream_received_bytes";
const REQUESTS: &str = "chandler_upstream_requests";
const RESUMES: &str = "chandler_upstream_resumes";
const RETRIES: &str = "chandler_upstream_retries";
const TOKENS: &str = "chandler_upstream_tokens";

/// Handles of all figures; a clone is the same figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    account_accepted: Family<Of, Gauge>,
    breaker_open: Family<OfHost, Gauge>,
    quota_limit: Family<OfIdentity, Gauge>,
    quota_remaining: Family<OfIdentity, Gauge>,
    received: Family<Of, Counter<u64, AtomicU64>>,
    requests: Family<OfRequest, Counter<u64, AtomicU64>>,
    resumes: Family<Of, Counter<u64, AtomicU64>>,
    retries: Family<Of, Counter<u64, AtomicU64>>,
    tokens: Family<OfIdentity, Counter<u64, AtomicU64>>,
}

impl Metrics {
    /// Makes the figures known to `registry`; once.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            ACCOUNT_ACCEPTED,
            "Whether the upstream took our account when last asked (1) or refused it (0)",
            self.account_accepted.clone(),
        );
        registry.register(
            BREAKER_OPEN,
            "Whether a silent host is being left alone (1) or was found well again (0)",
            self.breaker_open.clone(),
        );
        registry.register(QUOTA_LIMIT, "Pulls in a window, as the upstream tells", self.quota_limit.clone());
        registry.register(QUOTA_REMAINING, "Pulls left in the present window, as the upstream tells", self.quota_remaining.clone());
        registry.register(RECEIVED, "Bytes of bodies received", self.received.clone());
        registry.register(REQUESTS, "Requests sent, by what for and how they ended", self.requests.clone());
        registry.register(RESUMES, "Bodies that broke off and were fetched on from the next byte", self.resumes.clone());
        registry.register(RETRIES, "Requests sent again after a passing failure", self.retries.clone());
        registry.register(TOKENS, "Tokens obtained", self.tokens.clone());
    }

    /// Forgets how upstreams are, as a new configuration does: a figure of one that is no more would never change again.
    pub fn forget_states(&self) {
        self.account_accepted.clear();
        self.breaker_open.clear();
        self.quota_limit.clear();
        self.quota_remaining.clear();
    }

    pub(super) fn account(&self, upstream: &UpstreamName, accepted: bool) {
        self.account_accepted.get_or_create(&Of::new(upstream)).set(i64::from(accepted));
    }

    pub(super) fn breaker(&self, upstream: &UpstreamName, host: &str, open: bool) {
        let labels = OfHost { upstream: upstream.as_str().into(), host: host.into() };
        // A host that never was silent gets no figure: CDNs have thousands of names.
        if open || self.breaker_open.get(&labels).is_some() {
            self.breaker_open.get_or_create(&labels).set(i64::from(open));
        }
    }

    pub(super) fn quota(&self, upstream: &UpstreamName, account: bool, quota: &Quota) {
        let labels = OfIdentity::new(upstream, account);
        self.quota_limit.get_or_create(&labels).set(i64::try_from(quota.limit).unwrap_or(i64::MAX));
        if let Some(remaining) = quota.remaining {
            self.quota_remaining.get_or_create(&labels).set(i64::try_from(remaining).unwrap_or(i64::MAX));
        }
    }

    /// The counter itself, for streams: looking it up for each piece would cost more than counting.
    pub(super) fn received(&self, upstream: &UpstreamName) -> Counter<u64, AtomicU64> {
        self.received.get_or_create_owned(&Of::new(upstream))
    }

    pub(super) fn request(&self, upstream: &UpstreamName, kind: Kind, ended: &'static str) {
        let labels = OfRequest { upstream: upstream.as_str().into(), kind: kind.as_str(), ended };
        self.requests.get_or_create(&labels).inc();
    }

    pub(super) fn resume(&self, upstream: &UpstreamName) {
        self.resumes.get_or_create(&Of::new(upstream)).inc();
    }

    pub(super) fn retry(&self, upstream: &UpstreamName) {
        self.retries.get_or_create(&Of::new(upstream)).inc();
    }

    pub(super) fn token(&self, upstream: &UpstreamName, account: bool) {
        self.tokens.get_or_create(&OfIdentity::new(upstream, account)).inc();
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Blob,
    BlobHead,
    Manifest,
    ManifestHead,
    Ping,
    Referrers,
    Tags,
    Token,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::BlobHead => "blob_head",
            Self::Manifest => "manifest",
            Self::ManifestHead => "manifest_head",
            Self::Ping => "ping",
            Self::Referrers => "referrers",
            Self::Tags => "tags",
            Self::Token => "token",
        }
    }
}

/// `2xx`, …; and 429 by itself, for that is the one to watch.
pub(super) fn class(status: http::StatusCode) -> &'static str {
    match status.as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        429 => "429",
        400..500 => "4xx",
        _ => "5xx",
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Of {
    upstream: String,
}

impl Of {
    fn new(upstream: &UpstreamName) -> Self {
        Self { upstream: upstream.as_str().into() }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfHost {
    upstream: String,
    host: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfIdentity {
    upstream: String,
    identity: &'static str,
}

impl OfIdentity {
    fn new(upstream: &UpstreamName, account: bool) -> Self {
        Self { upstream: upstream.as_str().into(), identity: if account { "account" } else { "anonymous" } }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfRequest {
    upstream: String,
    kind: &'static str,
    ended: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_configuration_has_no_figures_of_upstreams_that_are_no_more_and_counts_on() {
        let (metrics, gone) = (Metrics::default(), "gone.test".parse().expect("a name"));
        metrics.account(&gone, false);
        metrics.breaker(&gone, "gone.test", true);
        metrics.quota(&gone, true, &Quota { limit: 100, remaining: Some(0), window: None });
        metrics.retry(&gone);
        let (mut registry, told) = (Registry::default(), |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).expect("text");
            text.lines().filter(|line| line.contains("gone.test")).map(str::to_owned).collect::<Vec<_>>()
        });
        metrics.register(&mut registry);
        assert_eq!(told(&registry).len(), 5);
        metrics.forget_states();
        assert_eq!(told(&registry), [r#"chandler_upstream_retries_total{upstream="gone.test"} 1"#]);
    }
}
