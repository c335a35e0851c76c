//! Why the cache has no answer. The registry turns these into OCI errors, in one place.

use std::sync::Arc;

use super::flight::FlightError;
use super::shared::Full;
use crate::oci::Digest;
use crate::store::StoreError;
use crate::upstream::FetchError;

/// Why something cannot be served. Cheap to clone: all who waited for one check or fetch get the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CacheError {
    /// So much is asked at once that one question more would only take memory.
    #[error("{what} cannot be asked for now: too many other questions are under way")]
    Busy {
        /// What was to be asked.
        what: Arc<str>,
    },
    /// The repository was readable once, and the upstream now refuses it to a good account.
    #[error("the upstream no longer allows access to {repo}")]
    Closed {
        /// `upstream/repository`.
        repo: Arc<str>,
    },
    /// A download that failed after it had begun.
    #[error("{digest} could not be fetched whole")]
    Flight {
        /// Of what.
        digest: Digest,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The configuration does not mirror this repository.
    #[error("{repo} is not served here: the configuration's `{setting}` leaves it out")]
    NotServed {
        /// `upstream/repository`.
        repo: Arc<str>,
        /// Which key says so.
        setting: &'static str,
    },
    /// A task of ours ended without its result.
    #[error("the mirror is stopping")]
    Stopping,
    /// Nothing was ready within the time that clients wait for headers.
    #[error("no answer for {what} within {} s", super::HEADER_BUDGET.as_secs())]
    Timeout {
        /// What was waited for.
        what: Arc<str>,
    },
    /// The upstream does not have it, by its own word.
    #[error("{what} is unknown to the upstream")]
    Unknown {
        /// What was asked.
        what: Arc<str>,
    },
    /// What is recorded of the repository cannot be read now, so whether it may be served is not known.
    #[error("what is recorded of {repo} cannot be read now")]
    Unreadable {
        /// `upstream/repository`.
        repo: Arc<str>,
        /// Why.
        #[source]
        source: Arc<StoreError>,
    },
    /// The upstream gave no usable answer.
    #[error("{what} is not cached and the upstream {}", if source.is_answer() { "did not give it" } else { "gave no answer" })]
    Upstream {
        /// What was asked.
        what: Arc<str>,
        /// Why.
        #[source]
        source: FetchError,
    },
}

impl CacheError {
    /// Of a request to an upstream for `what`.
    pub(crate) fn fetch(what: impl std::fmt::Display, source: FetchError) -> Self {
        let what = Arc::from(what.to_string());
        match source {
            FetchError::NoRepository { .. } | FetchError::NotFound { .. } | FetchError::Denied { .. } => Self::Unknown { what },
            source => Self::Upstream { what, source },
        }
    }

    /// There is no room for the question about `what`.
    pub(crate) fn busy(what: impl std::fmt::Display) -> impl FnOnce(Full) -> Self {
        move |Full| Self::Busy { what: what.to_string().into() }
    }

    /// Of a flight of `digest`.
    pub(crate) fn flight(digest: &Digest, source: FlightError) -> Self {
        Self::Flight { digest: digest.clone(), source: Arc::new(source) }
    }

    /// The upstream's own "no", rather than its silence or ours.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::NotServed { .. } | Self::Closed { .. })
    }
}
