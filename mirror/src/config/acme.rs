//! How certificates are got by ACME, and where all that are issued to us are kept: the keys under `acme`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use certs::KeyKind;
use certs::acme::ExternalAccount;
use certs::solve::route53::Route53Settings;
use certs::solve::{HookStyle, Rfc2136, Way};
use url::Url;

/// How certificates are got, for the listeners that want one.
#[derive(Clone, Debug, PartialEq)]
pub struct AcmeConfig {
    /// The roots (PEM) by which the ACME server is known, and no others; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The CAs' directories, in the order in which they are asked; at least one.
    pub directories: Vec<Url>,
    /// Who writes TXT records.
    pub dns: Option<DnsConfig>,
    /// Whom the CA may write to.
    pub email: Option<String>,
    /// The binding to an account elsewhere, which some CAs ask for.
    pub external: Option<ExternalAccount>,
    /// Where http-01 is answered, where no plain listener has that port.
    pub http: SocketAddr,
    /// The kind of the certificates' keys.
    pub key: KeyKind,
    /// Where certificates, their keys and accounts are kept.
    pub path: PathBuf,
    /// Which of the CA's profiles.
    pub profile: Option<String>,
    /// Variables that hold passwords of the mirror's by other names than its own: no script for TXT records gets them.
    pub secrets: Vec<String>,
    /// How names may be proved; at least one way.
    pub ways: Vec<Way>,
}

/// How TXT records for dns-01 are written.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsConfig {
    /// Who is asked where names lead; none: the machine's own.
    pub resolvers: Vec<SocketAddr>,
    /// How long the zone's servers may take to show a record; `None`: they are not asked.
    pub wait: Option<Duration>,
    /// By whom.
    pub writer: DnsWriterConfig,
}

/// Who writes TXT records.
#[derive(Clone, Debug, PartialEq)]
pub enum DnsWriterConfig {
    /// A script.
    Hook(DnsHookConfig),
    /// A name server that takes signed updates.
    Rfc2136(Rfc2136),
    /// Amazon Route 53.
    Route53(Route53Settings),
}

/// A script that writes TXT records for dns-01.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsHookConfig {
    /// Takes them away; else the same script.
    pub cleanup: Option<PathBuf>,
    /// Puts them in place.
    pub hook: PathBuf,
    /// How it is called.
    pub style: HookStyle,
    /// How long it may take, propagation included.
    pub timeout: Duration,
}

/// Let's Encrypt's.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Let's Encrypt's for trials: no client trusts what it issues.
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
