//! Sockets, connections and their end: everything between the kernel and a service that answers requests.
//!
//! A connection's way: `accept` (the loop that only accepts) → `connection` (PROXY header, TLS handshake, HTTP) → the service. Its bytes
//! pass `wire`, its answers pass `outgoing`; both only count. What the counts mean is judged by `keeper`, one task for all connections:
//! it ends those that are idle, stalled or never send a request, and it drains them at a stop. So a request costs no timer and no lock.
//! `slots` has idle connections make room where there is no place left.
//!
//! Invariants: no handshake inside the accept loop; a full file table pauses it, never ends or spins it; a panic in the service is one
//! answer 500; an answer with `Connection: close` is its connection's last, over HTTP/2 too. What this does not do: routes, access, `X-Forwarded-For` (that is `telemetry::client_address`).

mod accept;
mod connection;
mod filter;
mod keeper;
mod metrics;
mod outgoing;
mod plain;
mod proxy_protocol;
mod slots;
mod socket;
pub mod systemd;
mod trusted;
mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{LimitsConfig, ListenerConfig, TlsConfig};
use crate::tls::{self, Certificates, ClientCertificate, Clients, Pair, PairError, Resolver, Shown};

pub use filter::{FilterBody, serve_filter};
pub use metrics::Metrics;
pub use trusted::TrustedProxies;

/// Who is at the other end: an extension of every request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its address, after a PROXY header; IPv4 clients of a dual-stack socket appear as IPv4.
    pub address: SocketAddr,
    /// What its connection has shown, where that is asked for.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Over HTTPS.
    pub tls: bool,
    /// It is a proxy that passes connections on and did not say whose this one is: whatever a request claims was written by its client.
    pub unnamed: bool,
}

/// Bound sockets that do not accept yet.
#[derive(Debug)]
pub struct Server {
    clients: Option<Clients>,
    metrics: Metrics,
    sockets: Vec<Socket>,
    tls_metrics: tls::Metrics,
}

/// A bound socket with what its connections speak.
#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    config: ListenerConfig,
    listener: TcpListener,
    resolver: Option<Arc<Resolver>>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// Its certificate or key is not usable.
    #[error("cannot serve HTTPS on {address}")]
    Tls {
        /// As configured.
        address: SocketAddr,
        /// Which file, and how to mend it.
        source: PairError,
    },
}

impl Server {
    /// Binds every listener and loads its pair, or takes what shows its certificate from `certificates`; a socket from `inherited` (see [`systemd::inherited`]) is used where its address
    /// fits, else in order. Nothing is accepted before [`Server::spawn`]: the kernel queues.
    pub fn bind(listeners: &[ListenerConfig], certificates: &Certificates, inherited: Vec<TcpListener>) -> Result<Self, BindError> {
        let tls_metrics = tls::Metrics::default();
        let mut sockets = Vec::with_capacity(listeners.len());
        for (config, inherited) in listeners.iter().zip(socket::matched(listeners, inherited)) {
            let failed = |source| BindError::Listen { address: config.address, source };
            let resolver = config.tls.as_ref().map(|tls| resolver(tls, certificates)).transpose();
            let resolver = resolver.map_err(|source| BindError::Tls { address: config.address, source })?;
            let listener = inherited.map_or_else(|| socket::listen(config.address), Ok).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            sockets.push(Socket { address, config: config.clone(), listener, resolver });
        }
        Ok(Self { clients: None, metrics: Metrics::default(), sockets, tls_metrics })
    }

    /// Clients are asked for certificates, and known by those of `clients`.
    pub fn knowing(self, clients: Option<Clients>) -> Self {
        Self { clients, ..self }
    }

    /// Where it listens, in the order of the configuration, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.address).collect()
    }

    /// What the listeners with HTTPS show, in their order.
    pub fn shown(&self) -> Vec<Shown> {
        let shown = |socket: &Socket| {
            let resolver = socket.resolver.clone()?;
            Some(Shown { address: socket.address, proxied: socket.config.proxy_protocol, resolver })
        };
        self.sockets.iter().filter_map(shown).collect()
    }

    /// Connections, what was cut and why.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Certificates: until when they hold, and reloads.
    pub fn tls_metrics(&self) -> &tls::Metrics {
        &self.tls_metrics
    }

    /// Serves until `cancel`, then closes the listeners, lets running answers finish for `limits.drain`, and cuts the rest. All of it runs
    /// on `tasks`, inside a tokio runtime; a handler dies with its client.
    pub fn spawn<S, F, B>(
        self,
        service: S,
        limits: &LimitsConfig,
        trusted: &TrustedProxies,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) where
        S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error = io::Error> + Send + Unpin + 'static,
    {
        self.spawn_with(service, limits, trusted, tasks, cancel, Times::default());
    }

    fn spawn_with<S, F, B>(
        self,
        service: S,
        limits: &LimitsConfig,
        trusted: &TrustedProxies,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
        times: Times,
    ) where
        S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error = io::Error> + Send + Unpin + 'static,
    {
        let keeper = keeper::Keeper::new(times, self.metrics.clone());
        tasks.spawn(keeper.clone().keep(limits.drain, cancel.clone()));
        let slots = slots::Slots::new(limits.connections, keeper.clone());
        let http = Arc::new(connection::Http::new(service, trusted, keeper, times, self.metrics.clone()));
        if let Some(clients) = self.clients.clone() {
            tasks.spawn(tls::watch_clients(clients, self.tls_metrics.clone(), times.certificate_look, cancel.clone()));
        }
        for socket in self.sockets {
            if let (Some(files), Some(resolver)) = (socket.config.tls.as_ref().and_then(TlsConfig::files), socket.resolver.clone()) {
                tasks.spawn(tls::watch(files.clone(), resolver, self.tls_metrics.clone(), times.certificate_look, cancel.clone()));
            }
            let lane = Arc::new(connection::Lane::new(&socket, self.clients.clone(), Arc::clone(&http)));
            tasks.spawn(accept::run(socket.listener, lane, slots.clone(), tasks.clone(), cancel.clone()));
        }
    }
}

/// What a listener shows. Where a certificate is issued to us, files need not be there yet.
fn resolver(tls: &TlsConfig, certificates: &Certificates) -> Result<Arc<Resolver>, PairError> {
    let issued = tls.names().and_then(|names| certificates.issued(names)).cloned();
    let pair = match tls.files().map(|files| Pair::load(files, SystemTime::now())) {
        Some(Err(error)) if issued.is_some() => {
            if !error.is_missing() {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the certificate files are not usable; one that is issued to us is shown instead"
                );
            }
            None
        }
        pair => pair.transpose()?,
    };
    Ok(Arc::new(Resolver::new(pair, issued)))
}

/// Every limit in time; a test shortens them.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// How long a full file table pauses the accept loop.
    accept_pause: Duration,
    /// Between two looks at the certificates' files.
    certificate_look: Duration,
    /// For the TLS handshake.
    handshake: Duration,
    /// From a connection's start, or a request's first byte, to the end of that request's head.
    head: Duration,
    /// What is idle for less makes no room for newcomers.
    idle_least: Duration,
    /// Between two requests. Longer than the 90 s after which Go's clients close by themselves, so that they, not we, decide.
    idle: Duration,
    /// The same, for a client that was told to go.
    parting: Duration,
    /// For the PROXY header.
    proxy_header: Duration,
    /// A reader that takes less than `keeper::PROGRESS` bytes in this time is cut.
    stall: Duration,
    /// Between two looks at all connections.
    sweep: Duration,
    /// As `idle_least`, of a connection that has not asked anything yet: it may be in its handshake.
    unasked_least: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            accept_pause: Duration::from_millis(250),
            certificate_look: tls::WATCH_INTERVAL,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_mins(2),
            idle_least: Duration::from_secs(2),
            parting: Duration::from_secs(10),
            proxy_header: Duration::from_secs(5),
            stall: Duration::from_mins(1),
            sweep: Duration::from_secs(2),
            unasked_least: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests;
