//! The whole mirror, in three acts: [`Mirror::bind`] (sockets, store), [`Mirror::spawn`] (tasks), [`Running::drain`] (a gentle end).
//!
//! Every task belongs to one of three groups, which end one after the other: the listeners' first, so that running answers can finish, then everything
//! in the background, and last the operator's pages, which say that it stops. No group holds the stop for ever.
//! What dies with a client: its connection and its body, and what it asked for, where too many questions go on without anybody. What does not: downloads
//! that have begun, and all background work.

mod error;
mod once;
mod open_files;
mod restart;
mod tasks;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use certs::solve::Way;

pub use error::StartError;
pub use once::{obtain, rehearse};
use tasks::Tasks;

use crate::cache::Cache;
use crate::canary::Canaries;
use crate::config::{Access, AdminConfig, Config, LimitsConfig, ListenerConfig, LogConfig, Secret, UpstreamConfig};
use crate::enrolment::Enrolment;
use crate::observe::{self, Watch};
use crate::registry::Registry;
use crate::server::{Server, TrustedProxies, serve_filter};
use crate::store::Store;
use crate::surface::{self, Serve as _, surface};
use crate::telemetry::{self, AccessLog, Admin, Guard, Lines, Output, Readiness, Writer};
use crate::tls::{Certificates, Clients, Telling, watch_cert_folder, watch_private_ca};
use crate::upstream::{self, Upstream};
use crate::via::Pseudonym;

/// A mirror that is ready to serve: its sockets are bound, its store is open and locked.
#[derive(Debug)]
pub struct Mirror {
    admin: Option<Server>,
    parts: Parts,
    /// Where CAs look for proofs, if no listener of the registry does it.
    proving: Option<Server>,
    server: Server,
    /// How names can be proved here.
    ways: Vec<Way>,
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
    /// What `acme.ca` held at the start, by which CAs are known until the end.
    acme_ca: Option<Vec<u8>>,
    /// The operator's listener.
    admin: Tasks,
    background: Tasks,
    cache: Arc<ArcSwap<Cache>>,
    canaries: Arc<Canaries>,
    certificates: Arc<Certificates>,
    /// What it started with.
    config: Config,
    guard: Arc<ArcSwap<Guard>>,
    /// The data listeners and their connections.
    listening: Tasks,
    /// What locks an admin listener beyond loopback that has no token: a word that nobody knows.
    lock: Secret,
    log: AccessLog,
    pseudonym: Pseudonym,
    readiness: Readiness,
    registry: Arc<ArcSwap<Registry>>,
    request_metrics: telemetry::Metrics,
    store: Store,
    trusted: TrustedProxies,
    upstream_metrics: upstream::Metrics,
    writer: Option<Writer>,
}

impl Mirror {
    /// Binds the sockets (or takes those that the service manager hands over) and opens the store. Nothing is asked of any network.
    ///
    /// Sockets come first: where an address is taken, a store must not be locked and swept.
    pub fn bind(config: &Config, inherited: Vec<TcpListener>) -> Result<Self, StartError> {
        let certificates = Arc::new(Certificates::new(&config.acme, &config.listeners)?);
        certificates.inherit();
        let server = Server::bind(&config.listeners, &certificates, inherited)?.knowing(Clients::load(config)?);
        refuse_exposure(config, &server.addresses())?;
        let (proving, ways) = bind_proving(config, &certificates)?;
        let admin = config.admin.as_ref().map(|admin| bind_admin(admin, config.drop_in)).transpose()?.flatten();
        let parts = Parts::new(config, Store::open(&config.store)?, certificates, admin.as_ref().map(|server| server.addresses()[0]))?;
        Ok(Self { admin, parts, proving, server, ways })
    }

    /// Shows in the metrics how many lines the process's own log loses.
    pub fn counting_losses_of(mut self, log: &Output) -> Self {
        self.parts.request_metrics.count_losses_of(log);
        self
    }

    /// Starts everything, inside a tokio runtime.
    pub fn spawn(self) -> Running {
        let Self { admin, parts, proving, server, ways } = self;
        let certificates = Arc::clone(&parts.certificates);
        let (addresses, shown) = (server.addresses(), server.shown());
        let limits = open_files::limits(&parts.config, open_files::raise());
        let admin = admin.map(|admin| parts.spawn_admin(admin, &server));
        let Tasks { cancel, tracker } = &parts.background;
        parts.store.spawn(tracker, cancel);
        observe::warn_of_open_accounts(&parts.config, &addresses, &parts.readiness);
        let watch =
            Watch { cache: parts.cache.clone(), log: parts.log.clone(), readiness: parts.readiness.clone(), store: parts.store.clone() };
        tracker.spawn(watch.run(cancel.clone()));
        let telling = Telling { metrics: server.tls_metrics().clone(), readiness: parts.readiness.clone() };
        tracker.spawn(watch_private_ca(parts.config.clone(), telling.clone(), cancel.clone()));
        tracker.spawn(watch_cert_folder(parts.config.clone(), telling.clone(), cancel.clone()));
        certificates.spawn(&parts.config.acme, &ways, &shown, &telling, tracker, cancel);
        let enrolment = Enrolment::of(&parts.config);
        let service = Arc::new(surface(parts.registry.clone(), parts.canaries.clone(), Arc::clone(&certificates), enrolment));
        let log = parts.log.clone();
        let answer = move |request| {
            let service = service.clone();
            log.observe(request, move |request| service.serve(request))
        };
        let Tasks { cancel, tracker } = &parts.listening;
        server.spawn(answer, &limits, &parts.trusted, tracker, cancel);
        if let Some(proving) = proving {
            let service = serve_filter(surface::proving(Arc::clone(&certificates)));
            let limits = LimitsConfig { connections: FEW, ..limits };
            proving.spawn(service, &limits, &TrustedProxies::default(), tracker, cancel);
        }
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

    /// Takes over what a new configuration says of upstreams, access, trusted proxies, headers, tags and the admin token. All else stays as it is: the
    /// keys that would change it are returned, and hold from the next start on. The log's level is its owner's to change.
    pub fn reload(&self, config: &Config) -> Result<Vec<&'static str>, StartError> {
        let parts = &self.parts;
        refuse_exposure(config, &self.addresses)?;
        if self.would_open(config) {
            return Err(StartError::WouldOpen);
        }
        let upstreams = upstreams(config, parts.pseudonym, &parts.upstream_metrics)?;
        let cache = parts.cache.load().reloaded(config, upstreams);
        parts.upstream_metrics.forget_states(); // They are learned anew, by the first questions.
        cache.greet();
        let registry = Registry::new(config, cache.clone(), parts.store.clone(), parts.canaries.clone(), parts.pseudonym);
        parts.trusted.replace(&config.trusted_proxies); // Before the rules that are made for them.
        parts.cache.store(Arc::new(cache));
        parts.registry.store(Arc::new(registry));
        let mut waiting = restart::waiting(&parts.config, config);
        if parts.acme_ca != config.acme.ca_bundle() && !waiting.contains(&"acme") {
            waiting.push("acme.ca");
        }
        if !waiting.iter().any(|key| key.starts_with("acme")) {
            parts.certificates.try_again(); // With what was mended in `acme` it would fail as before, and count.
        }
        if let Some(admin) = &config.admin {
            parts.guard.store(Arc::new(guard(admin, self.admin, &parts.lock)));
        }
        observe::warn_of_open_accounts(config, &self.addresses, &parts.readiness);
        Ok(waiting)
    }

    /// The sockets stay, so a configuration for other ones must not bring its leave to be open with it.
    fn would_open(&self, config: &Config) -> bool {
        let is_exposed = self.addresses.iter().any(|address| !address.ip().is_loopback());
        let has_account = !observe::accounts_with_private_images(config).is_empty();
        let is_open = matches!(config.access, Access::Open) && !config.drop_in;
        is_exposed && has_account && is_open && config.listeners != self.parts.config.listeners
    }

    /// Stops: no new connections, running answers get the configured time, then downloads and background work end. `/readyz` says so until the very
    /// end. Whatever hangs, it ends: what is left then is said, and dies with the process.
    pub async fn drain(self) {
        let Parts { admin, background, cache, config, listening, readiness, writer, .. } = self.parts;
        readiness.block("stopping", "the mirror takes no new connections; running answers may finish");
        let left = listening.end(config.limits.drain + CUT).await;
        if left > 0 {
            tracing::warn!(server.tasks = left, "{left} tasks of connections do not end; the stop goes on without them");
        }
        let left = background.end(BACKGROUND).await;
        if left > 0 {
            let flights = cache.load().flights();
            tracing::warn!(
                server.tasks = left,
                "{left} background tasks do not end, {flights} of them downloads, as where a disk hangs; the stop goes on without them"
            );
        }
        if let Some(writer) = writer
            && !tokio::task::spawn_blocking(|| writer.finish(LAST_LINES)).await.unwrap_or(false)
        {
            tracing::warn!("nobody reads the access log: its last lines are lost");
        }
        admin.end(ADMIN + CUT).await;
    }
}

impl Parts {
    fn new(config: &Config, store: Store, certificates: Arc<Certificates>, admin: Option<SocketAddr>) -> Result<Self, StartError> {
        let (background, canaries, pseudonym) = (Tasks::default(), Arc::<Canaries>::default(), Pseudonym::new(random()?));
        let lock = Secret::new(&format!("{:016x}", random()?));
        let (upstream_metrics, request_metrics) = (upstream::Metrics::default(), telemetry::Metrics::default());
        let upstreams = upstreams(config, pseudonym, &upstream_metrics)?;
        let cache = Cache::new(config, store.clone(), upstreams, background.tracker.clone(), background.cancel.clone());
        let registry = Registry::new(config, cache.clone(), store.clone(), canaries.clone(), pseudonym);
        let (lines, writer) = access_log(&config.log).map_err(StartError::Log)?.unzip();
        let trusted = TrustedProxies::new(&config.trusted_proxies);
        let guard = config.admin.as_ref().map(|asked| guard(asked, admin, &lock)).unwrap_or_default();
        Ok(Self {
            acme_ca: config.acme.ca_bundle(),
            admin: Tasks::default(),
            background,
            cache: Arc::new(ArcSwap::from_pointee(cache)),
            certificates,
            canaries,
            config: config.clone(),
            guard: Arc::new(ArcSwap::from_pointee(guard)),
            listening: Tasks::default(),
            lock,
            log: AccessLog::new(lines, trusted.clone(), request_metrics.clone()),
            pseudonym,
            readiness: Readiness::default(),
            registry: Arc::new(ArcSwap::from_pointee(registry)),
            request_metrics,
            store,
            trusted,
            upstream_metrics,
            writer,
        })
    }

    /// The operator's pages, for which nobody else's running answers need to be waited.
    fn spawn_admin(&self, admin: Server, server: &Server) -> SocketAddr {
        let address = admin.addresses()[0];
        let (store, cache) = (self.store.clone(), self.cache.clone());
        let filter = telemetry::admin(Admin {
            figures: Box::new(move || observe::figures(&store, &cache.load())),
            guard: self.guard.clone(),
            readiness: self.readiness.clone(),
            registry: observe::metrics(server, &self.store, &self.cache.load(), &self.upstream_metrics, &self.request_metrics),
        });
        let limits = LimitsConfig { connections: FEW, drain: ADMIN, ..self.config.limits.clone() };
        admin.spawn(serve_filter(filter), &limits, &TrustedProxies::default(), &self.admin.tracker, &self.admin.cancel);
        address
    }
}

/// An account's private images must not become everybody's without somebody saying so, wherever the sockets came from.
fn refuse_exposure(config: &Config, addresses: &[SocketAddr]) -> Result<(), StartError> {
    let is_unsaid = matches!(config.access, Access::Open) && !config.access_said && !config.drop_in;
    let Some(address) = addresses.iter().find(|address| is_unsaid && !address.ip().is_loopback()) else { return Ok(()) };
    let accounts = observe::accounts_with_private_images(config);
    if accounts.is_empty() {
        return Ok(());
    }
    Err(StartError::Exposed { accounts: accounts.join(" and "), address: *address })
}

/// Who may see the operator's pages at `address`, which a reload cannot move: beyond loopback and without a token they show metrics at the most.
fn guard(config: &AdminConfig, address: Option<SocketAddr>, lock: &Secret) -> Guard {
    let is_exposed = address.is_some_and(|address| !address.ip().is_loopback());
    let token = config.token.clone().or_else(|| is_exposed.then(|| lock.clone()));
    Guard { open_metrics: config.open_metrics, token }
}

/// As a drop-in the operator never asked for this listener: where its port is taken the mirror serves without it.
fn bind_admin(admin: &AdminConfig, drop_in: bool) -> Result<Option<Server>, StartError> {
    let listener = ListenerConfig { address: admin.address, proxy_protocol: false, tls: None };
    match Server::bind(&[listener], &Certificates::default(), Vec::new()) {
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

/// Where CAs look for http-01, and the ways that are left where they cannot.
fn bind_proving(config: &Config, certificates: &Certificates) -> Result<(Option<Server>, Vec<Way>), StartError> {
    let (address, ways) = (config.acme.http, config.acme.ways.clone());
    if !certificates.need_proofs() || !ways.contains(&Way::Http) || config.proving_listener().is_some() {
        return Ok((None, ways));
    }
    let listener = ListenerConfig { address, proxy_protocol: false, tls: None };
    match Server::bind(&[listener], &Certificates::default(), Vec::new()) {
        Ok(server) => Ok((Some(server), ways)),
        Err(error) if ways.len() == 1 => Err(StartError::Proving(error)),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "CAs cannot look for http-01 here; the other ways are left. acme.http moves it, acme.challenges leaves it out"
            );
            Ok((None, ways.into_iter().filter(|way| *way != Way::Http).collect()))
        }
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

/// For running answers of the operator's pages.
const ADMIN: Duration = Duration::from_secs(1);
/// Connections at once to a listener that few have any use for.
const FEW: usize = 64;
/// For downloads and background work to see their end. What takes longer hangs.
const BACKGROUND: Duration = Duration::from_secs(5);
/// For connections to see that they were cut.
const CUT: Duration = Duration::from_secs(2);
/// For the reader of the access log to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
