//! Lanes to one upstream: so many blobs at once, and manifests in a lane of their own, so that they never queue behind layers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::{FetchError, Subject};
use crate::config::LimitsConfig;

/// The lanes of one upstream.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    blobs: Arc<Semaphore>,
    manifests: Arc<Semaphore>,
}

/// A place in a lane; leaving it is dropping it.
pub(super) type Place = OwnedSemaphorePermit;

impl Lanes {
    /// As wide as `limits` says, and at least one each.
    pub(super) fn new(limits: &LimitsConfig) -> Self {
        let lane = |width: usize| Arc::new(Semaphore::new(width.clamp(1, Semaphore::MAX_PERMITS)));
        Self { blobs: lane(limits.upstream_blobs), manifests: lane(limits.upstream_manifests) }
    }

    /// A place for a blob's body, for as long as it streams.
    pub(super) async fn blob(&self, subject: &Subject, deadline: Instant) -> Result<Place, FetchError> {
        enter(&self.blobs, subject, deadline).await
    }

    /// A place for anything small.
    pub(super) async fn manifest(&self, subject: &Subject, deadline: Instant) -> Result<Place, FetchError> {
        enter(&self.manifests, subject, deadline).await
    }
}

async fn enter(lane: &Arc<Semaphore>, subject: &Subject, deadline: Instant) -> Result<Place, FetchError> {
    let place = timeout_at(deadline, Arc::clone(lane).acquire_owned()).await;
    place.map_err(|_| FetchError::Busy { subject: subject.clone() }).map(|place| place.expect("lanes are never closed"))
}
