//! What an operator sees: one line per request, metrics, readiness, and the admin surface that shows them.
//!
//! [`AccessLog`] is the outermost layer of the data listeners: it gives each request its id and its client's address, and counts it when
//! its answer ends or is dropped. Handlers tell it what they know by putting [`Facts`] into the response's extensions.
//!
//! Invariants: no header but `User-Agent` and the request id is ever written, so no credential can be; control characters never reach a
//! log; a request costs no lock and, when no line is written for it, no formatting.

mod access_log;
mod admin;
mod client;
mod line;
mod metrics;
mod process;
mod readiness;
mod request_id;
mod writer;

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::UpstreamName;
use crate::oci::{Reference, RepoName};
use crate::tls::ClientCertificate;

pub use access_log::{AccessLog, Logged};
pub use admin::{Admin, Guard, admin};
pub use client::{SharedAddress, client_address};
pub use metrics::Metrics;
pub use process::Process;
pub use readiness::{Condition, Kind, Readiness, Report};
pub use request_id::RequestId;
pub use writer::{Lines, Output, Writer};

/// Whence a request came: an extension of every request that [`AccessLog`] saw.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What its connection has shown, if anything. Behind a proxy that speaks TLS itself, that is the proxy's.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The client, behind trusted proxies.
    pub client: IpAddr,
    /// The connection is the client's own, and no proxy's that speaks for several.
    pub direct: bool,
    /// Its id in log lines, error bodies and `X-Request-Id`.
    pub id: RequestId,
}

/// What a handler knows of a request: it puts this into the response's extensions, and it is taken out before the answer leaves.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What went wrong, for the log; without secrets.
    pub error: Option<String>,
    /// How it was answered.
    pub outcome: Option<Outcome>,
    /// The tag or digest that was asked for.
    pub reference: Option<Reference>,
    /// The repository.
    pub repo: Option<RepoName>,
    /// The registry it belongs to.
    pub upstream: Option<UpstreamName>,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// By the made-up image of a check.
    Canary,
    /// Not as the client wished, and not by its fault.
    Error,
    /// From what was stored, without any network.
    Hit,
    /// From a download that was under way for another client.
    Joined,
    /// From the upstream.
    Miss,
    /// Not allowed by `access`.
    Refused,
    /// From what was stored, because the upstream did not answer.
    Stale,
}

impl Outcome {
    /// Its word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Error => "error",
            Self::Hit => "hit",
            Self::Joined => "joined",
            Self::Miss => "miss",
            Self::Refused => "refused",
            Self::Stale => "stale",
        }
    }
}
