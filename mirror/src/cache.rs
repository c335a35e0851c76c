//! What is served from here: from memory, from the store, or from an upstream once and then from the store.
//!
//! - [`Cache::manifest`]: tags by the freshness rule (`freshness`, pure; `tags`, the shared check), manifests by digest (`manifests`).
//! - [`Cache::blob`]: single flight (`flight`), bodies (`body` and the readers), a ring where the disk is full (`ring`).
//! - `proof`: nothing is served for a repository that was not proved to hold it, nor from one that the configuration leaves out.
//!
//! A hit touches no network. Every fetch and check is a detached task of the cache's tracker, ended by its token: a client that leaves ends nothing.
//! Whoever asks waits at most [`HEADER_BUDGET`] for an answer, since clients give up on a silent mirror later than on an error.

mod blobs;
mod body;
mod buffers;
mod error;
mod flight;
mod flight_reader;
mod freshness;
mod manifests;
mod metrics;
mod object;
mod passing;
mod proof;
mod read;
mod repo;
mod ring;
mod shared;
mod stored_reader;
mod tags;
mod warning;

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache as Memory;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use blobs::{BlobAnswer, BlobContent};
pub use body::BlobBody;
pub use error::CacheError;
pub use manifests::ManifestAnswer;
pub use metrics::Metrics;
pub use object::Object;
pub use passing::{Referrers, TagList};
pub use repo::Repo;
pub use warning::Warning;

use buffers::Buffers;
use flight::Flight;
use manifests::FetchKey;
use repo::{RepoKey, Repos};
use shared::Shared;

use crate::config::Config;
use crate::oci::Digest;
use crate::store::Store;
use crate::telemetry::Outcome;
use crate::upstream::Upstream;

/// Time to headers or an error, whatever the upstream does. Below the ten seconds that are promised.
pub const HEADER_BUDGET: Duration = Duration::from_secs(9);

/// The cache. A clone is the same cache.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    buffers: Arc<Buffers>,
    cancel: CancellationToken,
    fetches: Arc<Shared<FetchKey, Result<Arc<Object>, CacheError>>>,
    flights: Arc<blobs::Flights>,
    memory: Memory<Digest, Arc<Object>>,
    metrics: Metrics,
    proofs: Arc<Shared<FetchKey, Result<(), CacheError>>>,
    referrer_checks: Arc<Shared<FetchKey, Result<Referrers, CacheError>>>,
    referrers: Memory<FetchKey, passing::KnownReferrers>,
    repos: Repos,
    store: Store,
    tag_checks: Arc<Shared<tags::TagKey, tags::Checked>>,
    tasks: TaskTracker,
    upstreams: Vec<Upstream>,
    visibility: Arc<Shared<RepoKey, Result<proof::Seen, CacheError>>>,
    deleted_tags: crate::config::DeletedTags,
}

/// Whether an answer came from here. What the access log and the metrics call it.
pub(crate) type Source = Outcome;

impl Cache {
    /// A cache of `upstreams` over `store`. Its tasks run on `tasks` and end with `cancel`.
    pub fn new(config: &Config, store: Store, upstreams: Vec<Upstream>, tasks: TaskTracker, cancel: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            buffers: Buffers::new(config.limits.buffers.0 as usize),
            cancel,
            deleted_tags: config.store.deleted_tags,
            fetches: Arc::default(),
            flights: Arc::default(),
            memory: memory(),
            metrics: Metrics::default(),
            proofs: Arc::default(),
            referrer_checks: Arc::default(),
            referrers: Memory::builder().max_capacity(REFERRERS).weigher(|_, known: &passing::KnownReferrers| known.weight()).build(),
            repos: Repos::default(),
            store,
            tag_checks: Arc::default(),
            tasks,
            upstreams,
            visibility: Arc::default(),
        }))
    }

    /// The same cache with a new configuration: what is in the air stays.
    pub fn reloaded(&self, config: &Config, upstreams: Vec<Upstream>) -> Self {
        let old = &self.0;
        Self(Arc::new(Inner {
            buffers: old.buffers.clone(),
            cancel: old.cancel.clone(),
            deleted_tags: config.store.deleted_tags,
            fetches: Arc::default(),
            flights: old.flights.clone(),
            memory: memory(), // What an answer's headers are may have changed, and they are kept with it.
            metrics: old.metrics.clone(),
            proofs: Arc::default(),
            referrer_checks: Arc::default(),
            referrers: Memory::builder().max_capacity(REFERRERS).weigher(|_, known: &passing::KnownReferrers| known.weight()).build(),
            repos: Repos::default(),
            store: old.store.clone(),
            tag_checks: Arc::default(),
            tasks: old.tasks.clone(),
            upstreams,
            visibility: Arc::default(),
        }))
    }

    /// Asks each upstream in the background what the account may do, so that a refused one is known before a job needs it.
    pub fn greet(&self) {
        for upstream in self.0.upstreams.clone() {
            let cancel = self.0.cancel.clone();
            self.0.tasks.spawn(async move {
                let name = upstream.config().name.clone();
                match cancel.run_until_cancelled(upstream.preflight()).await {
                    Some(Ok(status)) => tracing::info!(upstream.name = %name, account = %status.account, quota = status.quota.map(tracing::field::display), "the upstream answers"),
                    Some(Err(error)) => tracing::warn!(upstream.name = %name, error = &error as &dyn std::error::Error, "the upstream gave no useful answer at the start; what is stored is served"),
                    None => {}
                }
            });
        }
    }

    /// The upstreams, in the order of the configuration.
    pub fn upstreams(&self) -> &[Upstream] {
        &self.0.upstreams
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Bytes in buffers of readers now.
    pub fn buffered_bytes(&self) -> usize {
        self.0.buffers.leased()
    }

    /// Downloads in progress.
    pub fn flights(&self) -> usize {
        self.0.flights.len()
    }

    fn store(&self) -> &Store {
        &self.0.store
    }
}

/// Until when one request gets its headers, however many waits that takes: each of them in turn gets what is left.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(tokio::time::Instant);

impl Deadline {
    /// [`HEADER_BUDGET`] from now.
    #[expect(clippy::new_without_default, reason = "it is made of the moment, which is no default")]
    pub fn new() -> Self {
        Self(tokio::time::Instant::now() + HEADER_BUDGET)
    }

    /// Waits for `work` no longer than that.
    pub(crate) async fn wait<T>(self, what: impl std::fmt::Display, work: impl Future<Output = T>) -> Result<T, CacheError> {
        tokio::time::timeout_at(self.0, work).await.map_err(|_| CacheError::Timeout { what: what.to_string().into() })
    }

    /// What is left of it, but no more than `most`.
    fn at_most(self, most: Duration) -> Self {
        Self(self.0.min(tokio::time::Instant::now() + most))
    }
}

fn memory() -> Memory<Digest, Arc<Object>> {
    Memory::builder().max_capacity(MEMORY).weigher(|_, object: &Arc<Object>| object.weight()).build()
}

/// Flights keep their blob readable by the descriptor; nothing else may hold one open.
type Shareable = Arc<Flight>;

/// Manifests and small blobs in memory.
const MEMORY: u64 = 16 << 20;
/// Bytes of answers about referrers in memory.
const REFERRERS: u64 = 8 << 20;
