//! What is served from here: from memory, from the store, or from an upstream once and then from the store.
//!
//! - [`Cache::manifest`]: tags by the freshness rule (`freshness`, pure; `tags`, the shared check), manifests by digest (`manifests`).
//! - [`Cache::blob`]: single flight (`flights`, `flight`), bodies (`body` and the readers), a ring where the disk is full (`ring`).
//! - `check`: a stored blob that was not hashed since the start is hashed once for all who read parts of it.
//! - `closing`: access that was lost.
//! - `keep`: writes down what was learned, after it was answered.
//! - `look`: the disk is asked on other threads than those that serve everybody.
//! - `proof` and `visibility`: nothing is served for a repository that was not proved to hold it, nor from one that the configuration leaves out.
//!
//! A hit touches no network. Whoever asks waits at most [`HEADER_BUDGET`] for an answer, since clients give up on a silent mirror later than on an error.
//!
//! Every fetch and check is a task of the cache's tracker, ended by its token. A client that leaves ends no download that has begun; a question that has
//! no answer yet, a download's first one included, goes on without its client too, but only so many do (`shared`): beyond that it dies with the last
//! who waits for it. And beyond so many questions at once to one upstream the next client is told at once that it is too much ([`CacheError::Busy`]).

mod blobs;
mod body;
mod buffers;
mod check;
mod closing;
mod error;
mod flight;
mod flight_reader;
mod flights;
mod freshness;
mod keep;
mod look;
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
mod visibility;
mod warning;

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache as Memory;
use tokio::sync::Semaphore;
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
use flights::Flights;
use keep::Keeper;
use manifests::FetchKey;
use repo::{RepoKey, Repos};
use shared::{Full, Pending, Room, Shared};

use crate::config::{Config, DeletedTags};
use crate::oci::Digest;
use crate::store::{Repository, Store, Visibility};
use crate::upstream::Upstream;

/// Time to headers or an error, whatever the upstream does. Below the ten seconds that are promised.
pub const HEADER_BUDGET: Duration = Duration::from_secs(9);

/// The cache. A clone is the same cache.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    access_checks: Arc<Shared<RepoKey, ()>>,
    deleted_tags: DeletedTags,
    fetches: Arc<Shared<FetchKey, Result<Arc<Object>, CacheError>>>,
    lasting: Lasting,
    loads: Arc<Shared<RepoKey, Result<Arc<Repository>, CacheError>>>,
    /// Not lasting: an answer's headers are kept with it, and they may be configured.
    memory: Memory<Digest, Arc<Object>>,
    proofs: Arc<Shared<FetchKey, Result<(), CacheError>>>,
    referrer_checks: Arc<Shared<FetchKey, Result<Referrers, CacheError>>>,
    referrers: Memory<FetchKey, passing::KnownReferrers>,
    repos: Repos,
    /// For questions to each of the upstreams.
    rooms: Vec<Room>,
    tag_checks: Arc<Shared<tags::TagKey, tags::Checked>>,
    tag_lists: passing::TagLists,
    upstreams: Vec<Upstream>,
    visibility: Arc<Shared<RepoKey, Result<Visibility, CacheError>>>,
}

/// What outlives a new configuration: what is in the air, and what it counts.
#[derive(Clone, Debug)]
struct Lasting {
    buffers: Arc<Buffers>,
    cancel: CancellationToken,
    check_room: Arc<Semaphore>,
    checks: Arc<Shared<Digest, ()>>,
    flights: Arc<Flights>,
    keeper: Arc<Keeper>,
    list_room: Arc<Semaphore>,
    load_room: Arc<Semaphore>,
    /// For work that asks nobody but the disk.
    local: Room,
    look_room: Arc<Semaphore>,
    metrics: Metrics,
    store: Store,
    tasks: TaskTracker,
}

impl Cache {
    /// A cache of `upstreams` over `store`. Its tasks run on `tasks` and end with `cancel`.
    pub fn new(config: &Config, store: Store, upstreams: Vec<Upstream>, tasks: TaskTracker, cancel: CancellationToken) -> Self {
        if let Some(first) = upstreams.first()
            && let Err(error) = store.claim(&first.config().name)
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "whose the stored content is could not be written down; it holds until the next start"
            );
        }
        let lasting = Lasting {
            buffers: Buffers::new(config.limits.buffers.0 as usize),
            cancel: cancel.clone(),
            check_room: Arc::new(Semaphore::new(check::CHECKS)),
            checks: Arc::default(),
            flights: Arc::default(),
            keeper: Arc::default(),
            list_room: Arc::new(Semaphore::new(passing::FILTERS)),
            load_room: Arc::new(Semaphore::new(repo::LOADS)),
            local: Room::new(tasks.clone(), cancel),
            look_room: Arc::new(Semaphore::new(look::LOOKS)),
            metrics: Metrics::default(),
            store,
            tasks,
        };
        Self::of(lasting, config, upstreams)
    }

    /// The same cache with a new configuration.
    pub fn reloaded(&self, config: &Config, upstreams: Vec<Upstream>) -> Self {
        Self::of(self.0.lasting.clone(), config, upstreams)
    }

    fn of(lasting: Lasting, config: &Config, upstreams: Vec<Upstream>) -> Self {
        let rooms = upstreams.iter().map(|_| Room::new(lasting.tasks.clone(), lasting.cancel.clone())).collect();
        Self(Arc::new(Inner {
            access_checks: Arc::default(),
            deleted_tags: config.store.deleted_tags,
            fetches: Arc::default(),
            lasting,
            loads: Arc::default(),
            memory: Memory::builder().max_capacity(MEMORY).weigher(|_, object: &Arc<Object>| object.weight()).build(),
            proofs: Arc::default(),
            referrer_checks: Arc::default(),
            referrers: Memory::builder().max_capacity(REFERRERS).weigher(|_, known: &passing::KnownReferrers| known.weight()).build(),
            repos: Repos::default(),
            rooms,
            tag_checks: Arc::default(),
            tag_lists: passing::TagLists::default(),
            upstreams,
            visibility: Arc::default(),
        }))
    }

    /// Asks each upstream in the background what the account may do, so that a refused one is known before a job needs it.
    pub fn greet(&self) {
        for upstream in self.0.upstreams.clone() {
            let cancel = self.0.lasting.cancel.clone();
            self.0.lasting.tasks.spawn(async move {
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
        &self.0.lasting.metrics
    }

    /// Bytes in buffers of readers now.
    pub fn buffered_bytes(&self) -> usize {
        self.0.lasting.buffers.leased()
    }

    /// Downloads in progress.
    pub fn flights(&self) -> usize {
        self.0.lasting.flights.len()
    }

    fn store(&self) -> &Store {
        &self.0.lasting.store
    }

    /// Whether the upstream of `repo` sent the bytes of `digest` itself: another's are not given out on its word, which may be a lie.
    fn is_own(&self, repo: &Repo, digest: &Digest) -> bool {
        self.store().has_sent(&repo.upstream.config().name, digest)
    }

    /// For questions about `repo`.
    fn room(&self, repo: &Repo) -> &Room {
        &self.0.rooms[repo.key.upstream]
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

    /// Waits as long for work that is shared, or is told that there is no room for it.
    async fn joined<T: Clone>(
        self,
        joined: Result<(Pending<Result<T, CacheError>>, bool), Full>,
        what: impl std::fmt::Display,
    ) -> Result<T, CacheError> {
        let (pending, _) = joined.map_err(CacheError::busy(&what))?;
        self.wait(&what, pending.wait()).await?.unwrap_or(Err(CacheError::Stopping))
    }

    /// One that is over.
    #[cfg(test)]
    pub(crate) fn passed() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// What is left of it, but no more than `most`.
    fn at_most(self, most: Duration) -> Self {
        Self(self.0.min(tokio::time::Instant::now() + most))
    }
}

/// Manifests and small blobs in memory.
const MEMORY: u64 = 16 << 20;
/// Bytes of answers about referrers in memory.
const REFERRERS: u64 = 8 << 20;

#[cfg(test)]
mod tests;
