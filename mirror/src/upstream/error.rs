//! Why something could not be fetched. Never holds a token, a password or a signed address.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::redirect::RedirectError;
use crate::config::UpstreamName;
use crate::oci::Digest;

/// Why something could not be fetched from an upstream.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The upstream's token service, or the upstream, does not take our account's password, or there is none to be had. The caller may go on as [`Anonymous`](super::Identity).
    #[error("{subject}: the account `{user}` cannot be used ({reason})")]
    AccountRefused {
        /// What was asked for.
        subject: Subject,
        /// The account's name.
        user: Arc<str>,
        /// What the upstream, or our reading of the password, said.
        reason: Arc<str>,
    },
    /// The host has not answered lately and is left alone for a moment.
    #[error("{subject}: {host} has not answered lately, so it was not asked")]
    BreakerOpen {
        /// What was asked for.
        subject: Subject,
        /// Who is left alone.
        host: Arc<str>,
    },
    /// All places in the lane stayed taken for as long as a client can wait.
    #[error("{subject}: too many other requests to this upstream are under way")]
    Busy {
        /// What was asked for.
        subject: Subject,
    },
    /// No connection: name, route, port, proxy or TLS.
    #[error("{subject}: no connection to {host}")]
    Connect {
        /// What was asked for.
        subject: Subject,
        /// Who was not reached.
        host: Arc<str>,
        /// What the network or TLS said.
        #[source]
        source: Cause,
    },
    /// The connection ended before the answer did.
    #[error("{subject}: the upstream broke off")]
    Cut {
        /// What was asked for.
        subject: Subject,
        /// How it ended; nothing where the body was cleanly too short.
        #[source]
        source: Option<Cause>,
    },
    /// Refused with a token or password that is good, or without any where we have none.
    #[error("{subject}: the upstream denies access")]
    Denied {
        /// What was asked for.
        subject: Subject,
    },
    /// The bytes are not those that the digest names.
    #[error("{subject}: the upstream sent content with the digest {actual}")]
    DigestMismatch {
        /// What was asked for.
        subject: Subject,
        /// What came.
        actual: Digest,
    },
    /// The request came back to a mirror that it had passed: us, or one further on.
    #[error("{subject}: the upstream is one of a ring of mirrors, each of which asks the next (508)")]
    Loop {
        /// What was asked for.
        subject: Subject,
    },
    /// An answer that is none.
    #[error("{subject}: the upstream's answer makes no sense: {what}")]
    Malformed {
        /// What was asked for.
        subject: Subject,
        /// What is wrong with it.
        what: Cow<'static, str>,
    },
    /// The upstream has no such repository, in a registry's own words; or it has one, and says so to nobody who may not read it.
    #[error("{subject}: the upstream knows no such repository")]
    NoRepository {
        /// What was asked for.
        subject: Subject,
    },
    /// The upstream has no such thing.
    #[error("{subject}: the upstream has no such thing")]
    NotFound {
        /// What was asked for.
        subject: Subject,
    },
    /// 429: a quota is used up, or we ask too fast.
    #[error("{subject}: the upstream takes no more requests for now: a quota is spent, or they are too many (429){}", Waiting(*retry_after))]
    RateLimited {
        /// What was asked for.
        subject: Subject,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// A redirect that is not followed.
    #[error("{subject}: the upstream sent a redirect that is not followed")]
    Redirect {
        /// What was asked for.
        subject: Subject,
        /// Why not.
        #[source]
        source: RedirectError,
    },
    /// A body that stopped in the middle.
    #[error("{subject}: not a byte came for {} s", after.as_secs_f32())]
    Stalled {
        /// What was asked for.
        subject: Subject,
        /// How long it was waited for the next byte.
        after: Duration,
    },
    /// A body that came so slowly that it may as well have stopped.
    #[error("{subject}: no more than {bytes} bytes came within {} s", waited.as_secs_f32())]
    Slow {
        /// What was asked for.
        subject: Subject,
        /// What came.
        bytes: u64,
        /// How long it was waited for that.
        waited: Duration,
    },
    /// A status that says nothing better.
    #[error("{subject}: {host} answered {status}")]
    Status {
        /// What was asked for.
        subject: Subject,
        /// Who answered: the upstream, its token service, or where it redirected to.
        host: Arc<str>,
        /// The answer.
        status: StatusCode,
    },
    /// No answer in time.
    #[error("{subject}: {host} did not answer within {} s", tenths(*after))]
    Timeout {
        /// What was asked for.
        subject: Subject,
        /// Who was silent.
        host: Arc<str>,
        /// How long it was waited.
        after: Duration,
    },
    /// The upstream names a token service that must not have our password, nor (over plain HTTP, or inside of our network) our requests. Unless it is
    /// the latter, the caller may go on as [`Anonymous`](super::Identity).
    #[error("{subject}: the upstream's token service {realm} is not trusted (list its host under the upstream's `realms` if it is right)")]
    UntrustedRealm {
        /// What was asked for.
        subject: Subject,
        /// Scheme, host and port of the token service.
        realm: Arc<str>,
    },
}

impl FetchError {
    /// Whether the upstream spoke at all: a "not now" is an answer, if none that helps.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::BreakerOpen { .. }
            | Self::Busy { .. }
            | Self::Connect { .. }
            | Self::Cut { .. }
            | Self::Stalled { .. }
            | Self::Timeout { .. } => false,
            Self::AccountRefused { .. }
            | Self::Denied { .. }
            | Self::DigestMismatch { .. }
            | Self::Loop { .. }
            | Self::Malformed { .. }
            | Self::NoRepository { .. }
            | Self::NotFound { .. }
            | Self::RateLimited { .. }
            | Self::Redirect { .. }
            | Self::Slow { .. }
            | Self::Status { .. }
            | Self::UntrustedRealm { .. } => true,
        }
    }

    /// The same, as who asked has met it: of a silence, how long all tries took together, where the last one may have had a moment only.
    pub(super) fn in_all(self, waited: Duration) -> Self {
        match self {
            Self::Timeout { subject, host, .. } => Self::Timeout { subject, host, after: waited },
            other => other,
        }
    }

    /// What was asked for.
    pub fn subject(&self) -> &Subject {
        match self {
            Self::AccountRefused { subject, .. }
            | Self::BreakerOpen { subject, .. }
            | Self::Busy { subject }
            | Self::Connect { subject, .. }
            | Self::Cut { subject, .. }
            | Self::Denied { subject }
            | Self::DigestMismatch { subject, .. }
            | Self::Loop { subject }
            | Self::Malformed { subject, .. }
            | Self::NoRepository { subject }
            | Self::NotFound { subject }
            | Self::RateLimited { subject, .. }
            | Self::Redirect { subject, .. }
            | Self::Slow { subject, .. }
            | Self::Stalled { subject, .. }
            | Self::Status { subject, .. }
            | Self::Timeout { subject, .. }
            | Self::UntrustedRealm { subject, .. } => subject,
        }
    }

    /// Whether it is only our account that cannot be used: as nobody in particular the same may be had.
    pub fn is_about_account(&self) -> bool {
        matches!(self, Self::AccountRefused { .. } | Self::UntrustedRealm { .. })
    }

    /// Whether the same request may well succeed later: the upstream or the way there is sick, or we ask too much of it.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::BreakerOpen { .. }
            | Self::Busy { .. }
            | Self::Connect { .. }
            | Self::Cut { .. }
            | Self::Malformed { .. }
            | Self::RateLimited { .. }
            | Self::Slow { .. }
            | Self::Stalled { .. }
            | Self::Timeout { .. } => true,
            // 401 and 403 arrive here only from where a redirect led: a signature that ran out, and the next redirect has a new one.
            Self::Status { status, .. } => status.is_server_error() || matches!(status.as_u16(), 401 | 403 | 407 | 408),
            Self::AccountRefused { .. }
            | Self::Denied { .. }
            | Self::DigestMismatch { .. }
            | Self::Loop { .. }
            | Self::NoRepository { .. }
            | Self::NotFound { .. }
            | Self::Redirect { .. }
            | Self::UntrustedRealm { .. } => false,
        }
    }
}

/// Seconds for people.
fn tenths(time: Duration) -> f32 {
    (time.as_secs_f32() * 10.0).round() / 10.0
}

/// What was asked of whom, in words for a log line: `docker.io/library/alpine:3`.
#[derive(Clone)]
pub struct Subject {
    text: Arc<str>,
    upstream: UpstreamName,
}

impl Subject {
    pub(crate) fn new(upstream: &UpstreamName, what: impl fmt::Display) -> Self {
        Self { text: format!("{upstream}/{what}").into(), upstream: upstream.clone() }
    }

    /// Of whom.
    pub fn upstream(&self) -> &UpstreamName {
        &self.upstream
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.text)
    }
}

/// What the HTTP library said, without the address, which may hold a signature.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct Cause(Arc<reqwest::Error>);

impl Cause {
    pub(super) fn new(error: reqwest::Error) -> Self {
        Self(Arc::new(error.without_url()))
    }
}

struct Waiting(Option<Duration>);

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |wait| write!(f, " (it asks to wait {} s)", wait.as_secs()))
    }
}
