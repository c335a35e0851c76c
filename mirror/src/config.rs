//! What the mirror is told to be: one typed value, right by construction.
//!
//! Only [`Config`] travels through the program. It is made once, from defaults, a file, the environment and flags, in that order of rising
//! weight, or from what the `registry` image reads ([`registry`]). Every problem is collected with its origin and told at once.
//! Nothing here opens a socket or a store; files are read only to resolve the configuration itself.

mod acme;
mod environment;
mod keys;
mod lower;
mod parse;
mod problem;
mod reader;
mod reference;
pub mod registry;
mod resolve;
mod rules;
mod show;
mod tree;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use certs::Identifiers;
use certs::store::CertName;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use url::Url;

pub use acme::{AcmeConfig, DnsConfig, DnsHookConfig, DnsWriterConfig, LETS_ENCRYPT, LETS_ENCRYPT_STAGING};
pub use problem::{Note, Origin, Problem, Problems};
pub use reference::{default_file, markdown};
pub use resolve::{Flag, Resolved, Sources, resolve};
pub use show::render;
pub use values::{ByteSize, ClientPattern, Limit, Pattern, Secret, UpstreamName, ValueError};

/// Everything the mirror needs to know to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who may read what.
    pub access: Access,
    /// Somebody said so. Unsaid it is open, which a stand-in that others reach warns of.
    pub access_said: bool,
    /// How certificates are got, for the listeners that want one.
    pub acme: AcmeConfig,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; `None` turns them off.
    pub admin: Option<AdminConfig>,
    /// Whose client certificates are known; empty: no client is asked for one.
    pub clients: Vec<ClientCa>,
    /// Set where the mirror stands in for the `registry` image: its defaults hold, and it is open as that image is.
    pub drop_in: bool,
    /// Headers that every answer of the data listeners carries, besides our own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What bounds clients and memory.
    pub limits: LimitsConfig,
    /// Where clients connect; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// What is logged, and how.
    pub log: LogConfig,
    /// Where content lies, and how much of it.
    pub store: StoreConfig,
    /// Machines with a token of `chandler ca token` get a certificate of the private CA.
    pub tokens: bool,
    /// Whose `X-Forwarded-For` and PROXY headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The registries that are mirrored; at least one. The first answers requests that name none.
    pub upstreams: Vec<UpstreamConfig>,
}

/// One address on which the registry API is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenerConfig {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Each connection starts with a PROXY protocol header (v1 or v2), believed from `trusted_proxies` only.
    pub proxy_protocol: bool,
    /// HTTPS; plain HTTP without.
    pub tls: Option<TlsConfig>,
}

/// Where a listener's certificate comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TlsConfig {
    /// Somebody puts it there.
    Files(TlsFiles),
    /// Somebody may put one there, which counts while it is valid; else it is got.
    FilesOrIssued(TlsFiles, Names),
    /// It is got and renewed.
    Issued(Names),
}

/// For whom a certificate is got.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    /// All of them; at least one.
    pub identifiers: Identifiers,
    /// From whom.
    pub issuer: Issuer,
    /// What the certificate is called: its first name, as it was written.
    pub name: CertName,
}

/// Who issues a listener's certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Issuer {
    /// A CA that speaks ACME.
    Acme,
    /// The CA of `chandler ca`, on this machine.
    Private,
}

impl Config {
    /// The certificates that are got, each once.
    pub fn certificates(&self) -> Vec<&Names> {
        let mut wanted: Vec<&Names> = Vec::new();
        for names in self.listeners.iter().filter_map(|listener| listener.tls.as_ref()?.names()) {
            if !wanted.contains(&names) {
                wanted.push(names);
            }
        }
        wanted
    }

    /// The listener of the registry on which CAs find proofs of http-01 too, in the place of one at `acme.http`.
    pub fn proving_listener(&self) -> Option<&ListenerConfig> {
        let address = self.acme.http;
        let answers = |listener: &&ListenerConfig| {
            let reaches = listener.address.ip() == address.ip() || listener.address.ip().is_unspecified();
            listener.tls.is_none() && !listener.proxy_protocol && reaches && listener.address.port() == address.port()
        };
        self.listeners.iter().find(answers)
    }
}

impl ListenerConfig {
    /// An address as it is written under `listeners`: `:443` is every interface.
    pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
        parse::address(text)
    }
}

impl TlsConfig {
    /// The files that somebody puts there.
    pub fn files(&self) -> Option<&TlsFiles> {
        match self {
            Self::Issued(_) => None,
            Self::Files(files) | Self::FilesOrIssued(files, _) => Some(files),
        }
    }

    fn names_mut(&mut self) -> Option<&mut Names> {
        match self {
            Self::Files(_) => None,
            Self::FilesOrIssued(_, names) | Self::Issued(names) => Some(names),
        }
    }

    /// For whom one is got.
    pub fn names(&self) -> Option<&Names> {
        match self {
            Self::Files(_) => None,
            Self::FilesOrIssued(_, names) | Self::Issued(names) => Some(names),
        }
    }
}

/// A certificate chain and its key, as PEM files. Links are followed at each look, since certbot swaps links.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// The leaf first, then its intermediates.
    pub certificate: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// The operator's own listener.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// Loopback unless `token` is set or only metrics are asked.
    pub address: SocketAddr,
    /// `/metrics`, `/healthz` and `/readyz` need no token.
    pub open_metrics: bool,
    /// `Authorization: Bearer …` for everything else, and needed beyond loopback.
    pub token: Option<Secret>,
}

/// A registry that is mirrored.
#[derive(Clone, PartialEq)]
pub struct UpstreamConfig {
    /// Who we are there.
    pub account: Option<AccountConfig>,
    /// Other addresses of the same content, tried in order when the first fails.
    pub alternates: Vec<Url>,
    /// What clients call it in `ns` and in a path's first component, lower case: `docker.io`, `ghcr.io`.
    pub answers_to: Vec<String>,
    /// An additional CA bundle (PEM) for its TLS.
    pub ca: Option<PathBuf>,
    /// Docker Hub's naming holds: a name of one component is in `library/`.
    pub hub: bool,
    /// Which of its private repositories may be served at all; `None`: all that the account may read.
    pub private: Option<Vec<Pattern>>,
    /// Its name in paths, logs and metrics.
    pub name: UpstreamName,
    /// A proxy for this upstream alone; else the system's variables hold.
    pub proxy: Option<Url>,
    /// Hosts besides its own registrable domain whose token service may have the account's password.
    pub realms: Vec<String>,
    /// Which of its repositories are served; `None`: all.
    pub repositories: Option<Vec<Pattern>>,
    /// How long a tag's answer holds before the upstream is asked again. Default one second.
    pub tag_window: Duration,
    /// `http://` or `https://`, host, port; a path is kept before `/v2/`.
    pub url: Url,
}

impl fmt::Debug for UpstreamConfig {
    /// By hand, since a proxy's URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamConfig")
            .field("name", &self.name)
            .field("url", &self.url.as_str())
            .field("answers_to", &self.answers_to)
            .field("hub", &self.hub)
            .field("account", &self.account)
            .field("alternates", &self.alternates.iter().map(Url::as_str).collect::<Vec<_>>())
            .field("ca", &self.ca)
            .field("private", &self.private)
            .field("proxy", &self.proxy.as_ref().map(without_password))
            .field("realms", &self.realms)
            .field("repositories", &self.repositories)
            .field("tag_window", &self.tag_window)
            .finish()
    }
}

/// A URL for people and logs: its password is replaced.
fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() && url.set_password(Some("secret")).is_err() {
        return "(a URL)".into();
    }
    url.to_string()
}

/// An account at an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountConfig {
    /// Where its password is.
    pub password: PasswordSource,
    /// Its name; never empty.
    pub user: String,
}

/// Where a password is taken from; read again at each reload.
#[derive(Clone, Debug, PartialEq)]
pub enum PasswordSource {
    /// The first line of a file.
    File(PathBuf),
    /// A docker credential helper (`docker-credential-…`): a program and its arguments; it is asked with `get`.
    Helper(Vec<String>),
    /// The value itself, from a file, a flag or a variable.
    Value(Secret),
}

/// Who may read what. There is no third state: either somebody said "open", or rules decide and the default is no.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// Everybody who can connect reads everything that is served.
    Open,
    /// The first rule that fits allows; none: refused.
    Rules(Vec<AccessRule>),
}

/// Clients from `networks` and with a certificate for one of `clients` may read `repositories`. Of the two an empty one asks nothing; one of them is not.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessRule {
    /// With a certificate for whom.
    pub clients: Vec<ClientPattern>,
    /// What the log calls it.
    pub name: String,
    /// From where.
    pub networks: Vec<IpNet>,
    /// What, as `upstream/repository` patterns (`docker.io/acme/*`); empty: everything.
    pub repositories: Vec<Pattern>,
}

/// A CA whose clients are known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientCa {
    /// Those in a PEM file.
    File(PathBuf),
    /// That of `chandler ca`.
    Private,
}

/// The store's place and bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// What happens to a tag that its upstream deleted.
    pub deleted_tags: DeletedTags,
    /// How the store's health is checked.
    pub health: HealthConfig,
    /// Content that nobody read for so long goes; `None`: it stays until room is needed.
    pub keep_unused: Option<Duration>,
    /// Most that the store may take; `None`: only `min_free` bounds it.
    pub max_size: Option<Limit>,
    /// What stays free on its file system. Default 5 %.
    pub min_free: Limit,
    /// Its folder.
    pub root: PathBuf,
    /// Bytes a second that the background check of stored content may read; `None`: no such check.
    pub scrub_rate: Option<ByteSize>,
}

/// A tag that the upstream no longer knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeletedTags {
    /// So long it is still served, with a warning.
    pub grace: Duration,
    /// Afterwards it is served for ever (`true`) or answered 404.
    pub keep: bool,
}

/// A small write and read in the store's folder, now and then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HealthConfig {
    /// Off: the store always counts as healthy until a write fails.
    pub enabled: bool,
    /// Between two checks.
    pub interval: Duration,
    /// So many failures in a row make it unhealthy.
    pub threshold: u32,
}

/// What is logged, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogConfig {
    /// One line a request.
    pub access: bool,
    /// Fields that every line carries.
    pub fields: Vec<(String, String)>,
    /// JSON or for humans.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`; or a filter as tracing's `EnvFilter` reads it.
    pub level: String,
    /// Standard output (as the `registry` image) rather than standard error.
    pub to_stdout: bool,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Text,
}

/// What bounds clients and memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitsConfig {
    /// Bytes that all readers' buffers take together.
    pub buffers: ByteSize,
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// How long a stop waits for running requests. Default 30 s; 8 s as a drop-in.
    pub drain: Duration,
    /// Blob downloads at once from one upstream; more wait.
    pub upstream_blobs: usize,
    /// Manifest requests at once to one upstream, in a lane of their own.
    pub upstream_manifests: usize,
    /// Bytes a second below which a blob from an upstream counts as stalled; `None`: only silence does.
    pub upstream_min_rate: Option<ByteSize>,
}

#[cfg(test)]
mod tests;
