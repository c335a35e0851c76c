//! The whole mirror, in three acts: [`Mirror::bind`] (sockets, store), [`Mirror::spawn`] (tasks), [`Running::drain`] (a gentle end).
//!
//! Every task belongs to one of two trackers and ends with its token: the listeners' first, so that running answers can finish, then that of
//! everything else. What dies with a client: its connection and its body. What does not: downloads, checks of tags, and all background work.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::canary::Canaries;
use crate::config::{Access, AdminConfig, Config, ListenerConfig, LogConfig, Secret, UpstreamConfig};
use crate::observe::{self, Watch};
use crate::registry::Registry;
use crate::server::{BindError, Server, serve_filter};
use crate::store::{OpenError, Store};
use crate::surface::{Serve as _, surface};
use crate::telemetry::{self, AccessLog, Admin, Lines, Readiness, Writer};
use crate::tls::PairError;
use crate::upstream::{self, Upstream};
use crate::via::Pseudonym;

/// A mirror that is ready to serve: its sockets are bound, its store is open and locked.
#[derive(Debug)]
pub struct Mirror {
    admin: Option<Server>,
    parts: Parts,
    server: Server,
}

/// A mirror that serves.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    parts: Parts,
}

/// What outlives a reload.
#[derive(Debug)]
struct Parts {
    background: CancellationToken,
    cache: Arc<ArcSwap<Cache>>,
    canaries: Arc<Canaries>,
    config: Config,
    connections: TaskTracker,
    /// What locks an admin listener beyond loopback that has no token: a word that nobody knows.
    lock: Secret,
    listening: CancellationToken,
    log: AccessLog,
    pseudonym: Pseudonym,
    readiness: Readiness,
    registry: Arc<ArcSwap<Registry>>,
    request_metrics: telemetry::Metrics,
    store: Store,
    tasks: TaskTracker,
    upstream_metrics: upstream::Metrics,
    writer: Option<Writer>,
}

/// Why a mirror does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operator's own listener.
    #[error("cannot serve metrics and readiness")]
    Admin(#[source] BindError),
    /// An address or a certificate.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The access log's thread.
    #[error("cannot start the access log")]
    Log(#[source] io::Error),
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No random numbers: nothing that follows would be safe.
    #[error("the system gives no random numbers")]
    Random,
    /// Only at a reload.
    #[error(
        "the new configuration is open to everybody for listeners on loopback, and this mirror still listens beyond; restart it to change listeners"
    )]
    WouldOpen,
    /// An upstream's client.
    #[error("the client for the upstream `{upstream}` cannot be made")]
    Upstream {
        /// Which.
        upstream: String,
        /// Why.
        #[source]
        source: upstream::BuildError,
    },
}

impl StartError {
    /// What to do about it, in one line. Where there is none, the error says it, or nobody can do anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Admin(BindError::Listen { source, .. }) => Some(format!(
                "{}; or move it with admin.address (CHANDLER_ADMIN_ADDRESS), or leave it out (admin: off)",
                listen_hint(source)?
            )),
            Self::Bind(BindError::Listen { source, .. }) => {
                Some(format!("{}; or choose another address (listeners, --listen, CHANDLER_LISTENERS)", listen_hint(source)?))
            }
            Self::Bind(BindError::Tls { source: PairError::Unreadable { .. }, .. }) => Some(
                "the user that chandler runs as must be able to read it; in a container mount the whole folder, with what its links lead to".into(),
            ),
            Self::Open(error) => Some(error.hint()),
            Self::Upstream { .. } => Some("`chandler mirror --check` tries the configuration and the files that it names".into()),
            Self::Admin(_) | Self::Bind(_) | Self::Log(_) | Self::Random | Self::WouldOpen => None,
        }
    }
}

fn listen_hint(error: &io::Error) -> Option<&'static str> {
    if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) {
        return Some("this machine speaks no IPv6: write 0.0.0.0 in the place of [::], or of nothing before the port");
    }
    match error.kind() {
        io::ErrorKind::AddrInUse => Some("another program listens there (`ss -ltnp` names it): stop it"),
        io::ErrorKind::AddrNotAvailable => Some("this machine has no such address (`ip address` lists those that it has)"),
        io::ErrorKind::PermissionDenied => Some(
            "only root and programs with CAP_NET_BIND_SERVICE may have a port below 1024: give it this right (systemd: AmbientCapabilities=)",
        ),
        _ => None,
    }
}

impl Mirror {
    /// Binds the sockets (or takes those that the service manager hands over) and opens the store. Nothing is asked of any network.
    ///
    /// Sockets come first: where an address is taken, a store must not be locked and swept.
    pub fn bind(config: &Config, inherited: Vec<TcpListener>) -> Result<Self, StartError> {
        let server = Server::bind(&config.listeners, inherited)?;
        let admin = config.admin.as_ref().map(|admin| bind_admin(admin, config.drop_in)).transpose()?.flatten();
        let store = Store::open(&config.store)?;
        let (tasks, background, pseudonym) = (TaskTracker::new(), CancellationToken::new(), Pseudonym::new(random()?));
        let (upstream_metrics, request_metrics) = (upstream::Metrics::default(), telemetry::Metrics::default());
        let cache = Cache::new(config, store.clone(), upstreams(config, pseudonym, &upstream_metrics)?, tasks.clone(), background.clone());
        let (lines, writer) = access_log(&config.log).map_err(StartError::Log)?.unzip();
        let canaries = Arc::<Canaries>::default();
        let registry = Registry::new(config, cache.clone(), store.clone(), canaries.clone(), pseudonym);
        let parts = Parts {
            background,
            cache: Arc::new(ArcSwap::from_pointee(cache)),
            canaries,
            config: config.clone(),
            connections: TaskTracker::new(),
            listening: CancellationToken::new(),
            lock: Secret::new(&format!("{:016x}", random()?)),
            log: AccessLog::new(lines, &config.trusted_proxies, request_metrics.clone()),
            pseudonym,
            readiness: Readiness::default(),
            registry: Arc::new(ArcSwap::from_pointee(registry)),
            request_metrics,
            store,
            tasks,
            upstream_metrics,
            writer,
        };
        Ok(Self { admin, parts, server })
    }

    /// Starts everything, inside a tokio runtime.
    pub fn spawn(self) -> Running {
        let Self { admin, parts, server } = self;
        let addresses = server.addresses();
        let admin = admin.map(|admin| parts.spawn_admin(admin, &server));
        parts.store.spawn(&parts.tasks, &parts.background);
        observe::warn_of_open_accounts(&parts.config, &addresses, &parts.readiness);
        let watch =
            Watch { cache: parts.cache.clone(), log: parts.log.clone(), readiness: parts.readiness.clone(), store: parts.store.clone() };
        parts.tasks.spawn(watch.run(parts.background.clone()));
        let service = Arc::new(surface(parts.registry.clone(), parts.canaries.clone()));
        let log = parts.log.clone();
        let answer = move |request| {
            let service = service.clone();
            log.observe(request, move |request| service.serve(request))
        };
        server.spawn(answer, &parts.config.limits, &parts.config.trusted_proxies, &parts.connections, &parts.listening);
        parts.cache.load().greet();
        Running { addresses, admin, parts }
    }
}

impl Running {
    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the operator's pages are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Takes over what a new configuration says of upstreams, access, headers and tags. Listeners, the store and the log stay as they are.
    pub fn reload(&self, config: &Config) -> Result<(), StartError> {
        let parts = &self.parts;
        if self.would_open(config) {
            return Err(StartError::WouldOpen);
        }
        let upstreams = upstreams(config, parts.pseudonym, &parts.upstream_metrics)?;
        let cache = parts.cache.load().reloaded(config, upstreams);
        cache.greet();
        let registry = Registry::new(config, cache.clone(), parts.store.clone(), parts.canaries.clone(), parts.pseudonym);
        parts.cache.store(Arc::new(cache));
        parts.registry.store(Arc::new(registry));
        observe::forget_upstreams(&parts.config.upstreams, &parts.readiness); // Once nobody asks the old ones any more.
        observe::warn_of_open_accounts(config, &self.addresses, &parts.readiness);
        Ok(())
    }

    /// The sockets stay, so a configuration for other ones must not bring its leave to be open with it.
    fn would_open(&self, config: &Config) -> bool {
        let is_exposed = self.addresses.iter().any(|address| !address.ip().is_loopback());
        let has_account = config.upstreams.iter().any(|upstream| upstream.account.is_some());
        let is_open = matches!(config.access, Access::Open) && !config.drop_in;
        is_exposed && has_account && is_open && config.listeners != self.parts.config.listeners
    }

    /// Stops: no new connections, running answers get the configured time, then downloads and background work end.
    pub async fn drain(self) {
        let Parts { background, connections, listening, tasks, writer, .. } = self.parts;
        listening.cancel();
        connections.close();
        connections.wait().await;
        background.cancel();
        tasks.close();
        tasks.wait().await;
        if let Some(writer) = writer
            && let Err(error) = tokio::task::spawn_blocking(|| writer.finish()).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last lines of the access log may be missing");
        }
    }
}

impl Parts {
    /// The operator's pages, until the very end of the drain.
    fn spawn_admin(&self, admin: Server, server: &Server) -> SocketAddr {
        let address = admin.addresses()[0];
        let config = self.config.admin.clone().expect("a listener was bound for it");
        let (store, cache) = (self.store.clone(), self.cache.clone());
        let filter = telemetry::admin(Admin {
            figures: Box::new(move || observe::figures(&store, &cache.load())),
            open_metrics: config.open_metrics,
            readiness: self.readiness.clone(),
            registry: observe::metrics(server, &self.store, &self.cache.load(), &self.upstream_metrics, &self.request_metrics),
            token: config.token.or_else(|| (!config.address.ip().is_loopback()).then(|| self.lock.clone())),
        });
        admin.spawn(serve_filter(filter), &self.config.limits, &[], &self.connections, &self.listening);
        address
    }
}

/// As a drop-in the operator never asked for this listener: where its port is taken the mirror serves without it.
fn bind_admin(admin: &AdminConfig, drop_in: bool) -> Result<Option<Server>, StartError> {
    let listener = ListenerConfig { address: admin.address, proxy_protocol: false, tls: None };
    match Server::bind(&[listener], Vec::new()) {
        Ok(server) => Ok(Some(server)),
        Err(error) if drop_in => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "metrics and readiness are not served; set CHANDLER_ADMIN_ADDRESS to a free address"
            );
            Ok(None)
        }
        Err(error) => Err(StartError::Admin(error)),
    }
}

fn access_log(config: &LogConfig) -> io::Result<Option<(Lines, Writer)>> {
    let spawn = |sink: Box<dyn io::Write + Send>| Lines::spawn(config.format, &config.fields, sink);
    match (config.access, config.to_stdout) {
        (false, _) => Ok(None),
        (true, true) => spawn(Box::new(io::stdout())).map(Some),
        (true, false) => spawn(Box::new(io::stderr())).map(Some),
    }
}

fn upstreams(config: &Config, pseudonym: Pseudonym, metrics: &upstream::Metrics) -> Result<Vec<Upstream>, StartError> {
    let make = |one: &UpstreamConfig| {
        Upstream::new(one, &config.limits, pseudonym, metrics)
            .map_err(|source| StartError::Upstream { upstream: one.name.to_string(), source })
    };
    config.upstreams.iter().map(make).collect()
}

/// 64 bits that nobody can guess.
fn random() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(u64::from_ne_bytes(bytes))
}
