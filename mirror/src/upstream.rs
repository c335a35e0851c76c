//! The client side of the mirror: one registry that is pulled from, its alternates, its token service, and where it redirects to.
//!
//! [`Upstream`] answers the cache's questions (`manifest`, `blob`, …), each a future that ends with its caller: nothing here runs on its own. By the way a request travels:
//! `lanes` (how many at once) → `exchange` (addresses, tries, redirects, the meaning of a status) → `login` (challenges, `token`s, the `account`, `realm` trust)
//! → `client` (TLS, proxy). Beside them the pure parts: `challenge`, `realm`, `redirect`, `breaker`, `retry`, `rate`, `quota`, `limit`.
//!
//! It stores nothing but tokens and what it learnt of its hosts. Every answer's headers, or an error, are there within [`Tuning::budget`].
//! Secrets leave it in requests to their own origin only, and in nothing that prints.

mod account;
mod blob;
mod body;
mod breaker;
mod challenge;
mod client;
mod error;
mod exchange;
mod lanes;
mod limit;
mod listing;
mod login;
mod manifest;
mod metrics;
mod origin;
mod preflight;
mod quota;
mod rate;
mod realm;
mod redirect;
mod retry;
#[cfg(test)]
pub(crate) mod tests;
mod token;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use prometheus_client::metrics::counter::Counter;
use url::Url;

pub use account::AccountStatus;
pub use blob::BlobStream;
pub use client::BuildError;
pub use error::{Cause, FetchError, Subject};
pub use limit::Limit;
pub use listing::TagPage;
pub use manifest::{Described, FetchedManifest, ManifestHead};
pub use metrics::Metrics;
pub use quota::Quota;
pub use redirect::RedirectError;

use account::Account;
use breaker::Breakers;
use lanes::Lanes;
use limit::Sign;
use origin::Origin;
use rate::Floor;
use retry::Tuning;
use token::Tokens;

use crate::config::{LimitsConfig, UpstreamConfig};
use crate::via::{Pseudonym, Via};

/// A registry that is pulled from. A clone is the same one.
#[derive(Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
    /// What requests through this handle carry: the mirrors that they have passed, us last.
    via: HeaderValue,
}

/// Who a request goes out as.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Identity {
    /// The configured account; anonymous where there is none.
    Account,
    /// Nobody in particular.
    Anonymous,
}

struct Inner {
    account: Option<Account>,
    breakers: Breakers,
    config: UpstreamConfig,
    /// The slowest that a blob may come.
    floor: Floor,
    http: reqwest::Client,
    lanes: Lanes,
    metrics: Metrics,
    observed: Mutex<Observed>,
    /// The upstream's own address, then its alternates.
    origins: Vec<Origin>,
    pseudonym: Pseudonym,
    received: Counter<u64, AtomicU64>,
    tokens: Tokens,
    tuning: Tuning,
}

/// What was seen of an upstream lately.
#[derive(Default)]
struct Observed {
    last_error: Option<LastError>,
    left_in_peace_until: Option<Instant>,
    limit: Option<Limit>,
    quota_of_account: Option<Quota>,
    quota_of_anybody: Option<Quota>,
}

/// How an upstream is.
#[derive(Clone, Debug)]
pub struct UpstreamStatus {
    /// Whether it takes our account.
    pub account: AccountStatus,
    /// Its own host has not answered lately and is left alone.
    pub breaker_open: bool,
    /// What went wrong last, however long ago. A 404 is nothing wrong.
    pub last_error: Option<LastError>,
    /// It refuses our pulls, or will refuse the next one.
    pub limit: Option<Limit>,
    /// The account's quota; without an account, that of our address. `None`: not told, or without limit.
    pub quota: Option<Quota>,
}

/// Something that went wrong.
#[derive(Clone, Debug)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// What.
    pub error: FetchError,
}

impl Upstream {
    /// From the configuration. `pseudonym` is this mirror's, by which a ring is found; `metrics` are shared by all upstreams. Asks nobody anything.
    pub fn new(config: &UpstreamConfig, limits: &LimitsConfig, pseudonym: Pseudonym, metrics: &Metrics) -> Result<Self, BuildError> {
        Self::tuned(config, limits, pseudonym, metrics, Tuning::default())
    }

    fn tuned(
        config: &UpstreamConfig,
        limits: &LimitsConfig,
        pseudonym: Pseudonym,
        metrics: &Metrics,
        tuning: Tuning,
    ) -> Result<Self, BuildError> {
        let http = client::build(config, &tuning)?;
        let alternates = config.alternates.iter().map(|url| Origin::new(url.clone(), is_of_same_owner(&config.url, url)));
        let origins = std::iter::once(Origin::new(config.url.clone(), true)).chain(alternates).collect();
        let account = config.account.as_ref().map(|account| Account::new(account, helper_address(config), tuning.helper));
        let inner = Inner {
            account,
            breakers: Breakers::default(),
            config: config.clone(),
            floor: Floor { rate: limits.upstream_min_rate.map_or(0, |rate| rate.0), window: tuning.rate_window },
            http,
            lanes: Lanes::new(limits),
            metrics: metrics.clone(),
            observed: Mutex::default(),
            origins,
            pseudonym,
            received: metrics.received(&config.name),
            tokens: Tokens::new(),
            tuning,
        };
        Ok(Self { inner: Arc::new(inner), via: Via::default().then(pseudonym) })
    }

    /// The same one, asked for a request that has passed the mirrors in `via`.
    pub fn on_behalf_of(&self, via: &Via) -> Self {
        Self { inner: Arc::clone(&self.inner), via: via.then(self.inner.pseudonym) }
    }

    /// As it was configured.
    pub fn config(&self) -> &UpstreamConfig {
        &self.inner.config
    }

    /// How it is, as far as was seen; asks nobody.
    pub fn status(&self) -> UpstreamStatus {
        let inner = &self.inner;
        let observed = inner.observed.lock().unwrap_or_else(PoisonError::into_inner);
        UpstreamStatus {
            account: inner.account.as_ref().map_or(AccountStatus::None, Account::status),
            breaker_open: inner.breakers.is_open(&inner.origins[0].host),
            last_error: observed.last_error.clone(),
            limit: observed.limit.and_then(|limit| limit.at(SystemTime::now())),
            quota: if inner.account.is_some() { observed.quota_of_account } else { observed.quota_of_anybody },
        }
    }

    /// It asked for peace: for so long, who has an older answer asks it nothing. It is for the caller to ask [`Self::is_left_in_peace`].
    pub fn leave_in_peace(&self, time: Duration) {
        let mut observed = self.inner.observed.lock().unwrap_or_else(PoisonError::into_inner);
        observed.left_in_peace_until = Some(Instant::now() + time);
    }

    /// Whether it asked for peace lately, whatever it was asked then: limits are by account or address.
    pub fn is_left_in_peace(&self) -> bool {
        let observed = self.inner.observed.lock().unwrap_or_else(PoisonError::into_inner);
        observed.left_in_peace_until.is_some_and(|until| Instant::now() < until)
    }

    fn subject(&self, what: impl fmt::Display) -> Subject {
        Subject::new(&self.inner.config.name, what)
    }
}

impl Inner {
    fn remember(&self, error: &FetchError) {
        if !matches!(error, FetchError::NoRepository { .. } | FetchError::NotFound { .. }) {
            let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
            observed.last_error = Some(LastError { at: SystemTime::now(), error: error.clone() });
        }
    }

    fn keep_limit(&self, is_pull: bool, sign: Sign, quota: Option<Quota>) {
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        observed.limit = Limit::after(observed.limit, SystemTime::now(), is_pull, sign, quota);
    }

    fn keep_quota(&self, of_account: bool, quota: Quota) {
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        *if of_account { &mut observed.quota_of_account } else { &mut observed.quota_of_anybody } = Some(quota);
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("name", &self.inner.config.name).field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Whether our account may be used at an alternate: the rule for token services, and never in the clear under an encrypted upstream.
fn is_of_same_owner(upstream: &Url, alternate: &Url) -> bool {
    realm::trust(upstream, alternate, &[]) == realm::Trust::Account
}

/// What docker's credential helpers know a registry by.
fn helper_address(config: &UpstreamConfig) -> String {
    if config.hub { "https://index.docker.io/v1/".to_owned() } else { exchange::host_of(&config.url).to_string() }
}
