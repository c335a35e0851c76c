//! What the operator's listener shows, gathered from all parts: readiness with its reasons, metrics, figures.
//!
//! One task looks at the parts every second or so. Nothing here is asked for by a pull.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry as MetricsRegistry;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::config::{Access, Config, UpstreamConfig, UpstreamName};
use crate::server::Server;
use crate::store::{Health, Store};
use crate::telemetry::{AccessLog, Process, Readiness, SharedAddress};
use crate::upstream::{self, AccountStatus, Quota, Upstream};

/// Who watches the parts.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The cache of the current configuration.
    pub(crate) cache: Arc<ArcSwap<Cache>>,
    /// Whether all clients look like one.
    pub(crate) log: AccessLog,
    /// What is found.
    pub(crate) readiness: Readiness,
    /// Its health and its figures.
    pub(crate) store: Store,
}

impl Watch {
    /// Until `cancel`.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = Vec::new();
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look(&mut known);
        }
    }

    /// `known` are the upstreams of the last look.
    fn look(&self, known: &mut Vec<UpstreamName>) {
        match &*self.store.health().borrow() {
            Health::Healthy => self.readiness.clear("store"),
            Health::Unhealthy { reason } => self.readiness.block("store", format!("{reason}; pulls go past the store")),
        }
        self.store.figures(); // Its gauges are as old as the last look.
        let cache = self.cache.load();
        cache.upstreams().iter().for_each(|upstream| self.look_at(upstream));
        let now = cache.upstreams().iter().map(|upstream| upstream.config().name.clone()).collect();
        let before = std::mem::replace(known, now);
        before.iter().filter(|name| !known.contains(name)).for_each(|gone| self.forget(gone));
        self.look_at_addresses(self.log.shared_address());
    }

    fn look_at(&self, upstream: &Upstream) {
        let (status, name) = (upstream.status(), &upstream.config().name);
        let [account, reach, quota] = conditions_of(name);
        match status.account {
            AccountStatus::Refused { reason, .. } => self.readiness.warn(
                account,
                format!("the upstream refuses the account: {reason}; public and cached images are served, private ones that are not cached fail; mend that and send SIGHUP"),
            ),
            AccountStatus::Unreadable { reason, .. } => self.readiness.warn(
                account,
                format!("{reason}; the upstream was not asked with it; public and cached images are served, private ones that are not cached fail; mend that and send SIGHUP"),
            ),
            AccountStatus::Accepted | AccountStatus::None | AccountStatus::Unknown => self.readiness.clear(&account),
        }
        match status.limit {
            Some(limit) => self.readiness.warn(
                quota,
                format!(
                    "{limit}{}; what is stored is served, images never seen fail; an account or a larger plan has more pulls",
                    told(status.quota.as_ref())
                ),
            ),
            None => self.readiness.clear(&quota),
        }
        match (status.breaker_open, status.last_error) {
            (true, Some(last)) => self.readiness.warn(reach, format!("not reached ({}); what is stored is served", last.error)),
            (true, None) => self.readiness.warn(reach, "not reached; what is stored is served"),
            (false, _) => self.readiness.clear(&reach),
        }
    }

    /// What was said of an upstream that a reload took away.
    fn forget(&self, name: &UpstreamName) {
        for condition in conditions_of(name) {
            self.readiness.clear(&condition);
        }
    }

    fn look_at_addresses(&self, shared: &SharedAddress) {
        match shared.only(MANY_REQUESTS) {
            Some(address) => self.readiness.warn(
                "clients",
                format!("all requests come from {address}: a NAT or a userland proxy hides the clients, so access rules cannot tell them apart; use host networking, PROXY protocol or `trusted_proxies`"),
            ),
            None => self.readiness.clear("clients"),
        }
    }
}

/// ` (0 of 100 pulls left in 6h)`
fn told(quota: Option<&Quota>) -> String {
    quota.map(|quota| format!(" ({quota})")).unwrap_or_default()
}

/// The names of the conditions of an upstream: that of its account, whether it is reached, and what is left of its quota.
fn conditions_of(name: &UpstreamName) -> [String; 3] {
    [format!("account {name}"), format!("upstream {name}"), format!("quota {name}")]
}

/// The accounts whose private images are served.
pub(crate) fn accounts_with_private_images(config: &Config) -> Vec<String> {
    let serves_some = |one: &&UpstreamConfig| one.private.as_ref().is_none_or(|private| !private.is_empty());
    let account = |one: &UpstreamConfig| Some(format!("`{}` at {}", one.account.as_ref()?.user, one.name));
    config.upstreams.iter().filter(serves_some).filter_map(account).collect()
}

/// Says in `/readyz` whose private images are open to whom, for as long as it is so and nobody said that it should be.
pub(crate) fn warn_of_open_accounts(config: &Config, addresses: &[SocketAddr], readiness: &Readiness) {
    readiness.clear("access");
    let is_local = addresses.iter().all(|address| address.ip().is_loopback());
    let accounts = accounts_with_private_images(config);
    // Our own configuration asks for the word `open`; a drop-in is open without anybody having said so.
    if config.drop_in && !config.access_said && matches!(config.access, Access::Open) && !is_local && !accounts.is_empty() {
        let reason = format!(
            "private images of the account {} are open to whoever reaches this mirror; close it with CHANDLER_ACCESS=10.0.0.0/8 (your networks), or name what may be served with CHANDLER_UPSTREAMS_0_PRIVATE; CHANDLER_ACCESS=open ends this warning",
            accounts.join(" and ")
        );
        readiness.warn("access", reason);
    }
}

/// All metrics of all parts.
pub(crate) fn metrics(
    server: &Server,
    store: &Store,
    cache: &Cache,
    upstream: &upstream::Metrics,
    requests: &crate::telemetry::Metrics,
) -> MetricsRegistry {
    let mut registry = MetricsRegistry::default();
    requests.register(&mut registry);
    server.metrics().register(&mut registry);
    server.tls_metrics().register(&mut registry);
    cache.metrics().register(&mut registry);
    store.metrics().register(&mut registry);
    upstream.register(&mut registry);
    Process::register(&mut registry);
    registry
}

/// The cache's figures at this moment.
pub(crate) fn figures(store: &Store, cache: &Cache) -> Value {
    let stored = store.figures();
    let upstreams: Vec<Value> = cache.upstreams().iter().map(upstream_figures).collect();
    json!({
        "store": {
            "allocated_bytes": stored.allocated,
            "blobs": stored.blobs,
            "cap_bytes": stored.cap,
            "evicted": stored.evicted,
            "free_bytes": stored.free,
            "manifests": stored.manifests,
            "quarantined": stored.quarantined,
            "scanned": stored.scanned,
        },
        "flights": cache.flights(),
        "buffered_bytes": cache.buffered_bytes(),
        "upstreams": upstreams,
    })
}

fn upstream_figures(upstream: &Upstream) -> Value {
    let status = upstream.status();
    let quota = status.quota.map(|quota| json!({ "limit": quota.limit, "remaining": quota.remaining, "window_seconds": quota.window.map(|window| window.as_secs()) }));
    json!({ "name": upstream.config().name.as_str(), "account": status.account.to_string(), "quota": quota, "reached": !status.breaker_open, "last_error": status.last_error.map(|last| last.error.to_string()) })
}

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// So many requests from one address are no coincidence.
const MANY_REQUESTS: u64 = 1000;
