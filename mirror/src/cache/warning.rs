//! Why an answer may be old, as its client is told. What an operator must know besides is in the log and in `/readyz`.

use http::StatusCode;

use super::CacheError;
use crate::upstream::FetchError;

/// Why an answer may be old.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Warning {
    /// The upstream does not take our account.
    AccountRefused,
    /// The upstream no longer has the tag.
    Deleted,
    /// The upstream answers with an error.
    Failing(StatusCode),
    /// The upstream answers 429.
    RateLimited,
    /// The upstream did not answer.
    Silent,
    /// The upstream names a token service that must not have our account.
    Untrusted,
    /// What the upstream answers is of no use.
    Useless,
}

impl Warning {
    /// Of an answer that is given in place of a question which ended with `error`.
    pub(crate) fn of(error: &CacheError) -> Self {
        let CacheError::Upstream { source, .. } = error else { return Self::Silent };
        match source {
            FetchError::AccountRefused { .. } => Self::AccountRefused,
            FetchError::Loop { .. } => Self::Failing(StatusCode::LOOP_DETECTED),
            FetchError::RateLimited { .. } => Self::RateLimited,
            FetchError::Status { status, .. } => Self::Failing(*status),
            FetchError::UntrustedRealm { .. } => Self::Untrusted,
            FetchError::BreakerOpen { .. }
            | FetchError::Busy { .. }
            | FetchError::Connect { .. }
            | FetchError::Cut { .. }
            | FetchError::Slow { .. }
            | FetchError::Stalled { .. }
            | FetchError::Timeout { .. } => Self::Silent,
            FetchError::Denied { .. }
            | FetchError::DigestMismatch { .. }
            | FetchError::Malformed { .. }
            | FetchError::NoRepository { .. }
            | FetchError::NotFound { .. }
            | FetchError::Redirect { .. } => Self::Useless,
        }
    }
}
