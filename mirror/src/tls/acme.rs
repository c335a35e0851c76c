//! The listeners' certificates that are got by ACME: who gets them, where they are put, what is told of them.
//!
//! [`Certificates`] makes one [`Issued`] for each list of names; listeners with the same list share it. Each has two tasks: the worker (crate `certs`),
//! which obtains and renews, and the watcher, which tells metrics, readiness and log how it stands and looks whether what was got is what clients see.
//!
//! Invariant: nothing here holds up the start. Without a certificate the port shows a self-signed one that says so.

mod dial;
mod elsewhere;
mod standing;
mod watch;

use std::error::Error;
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use certs::acme::{AccountWish, Courier, CourierError};
use certs::solve::{AlpnProofs, DnsHook, HttpProofs, Solvers, Way};
use certs::store::{CertName, Store, StoreError};
use certs::worker::{Look, PRIVATE, Worker};
use certs::{BootstrapError, Budget, Identifier, Served, SystemClock, Wish, bootstrap};
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::{Metrics, Resolver};
use crate::config::{AcmeConfig, DnsHookConfig, Issuer, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, ListenerConfig, Names};
use crate::roots::system_roots;
use crate::telemetry::Readiness;
use elsewhere::Elsewhere;
use watch::Watcher;

/// All certificates that are got by ACME.
#[derive(Debug, Default)]
pub struct Certificates {
    alpn: Arc<AlpnProofs>,
    courier: Option<Courier>,
    elsewhere: Elsewhere,
    http: Arc<HttpProofs>,
    issued: Vec<Issued>,
    store: Option<Store>,
}

/// One of them, as a listener sees it.
#[derive(Clone)]
pub struct Issued {
    bootstrap: Arc<CertifiedKey>,
    names: Names,
    proofs: Arc<AlpnProofs>,
    served: Arc<Served>,
    wake: Arc<Notify>,
}

/// A listener that is bound, with what it shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Where.
    pub address: SocketAddr,
    /// Each connection starts with a PROXY header, so that we cannot be a client of our own.
    pub proxied: bool,
    /// What it shows.
    pub resolver: Arc<Resolver>,
}

/// Why certificates cannot even be tried to get.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// What is shown meanwhile.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// `acme.ca`.
    #[error("cannot read {}", file.display())]
    Ca {
        /// Which.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The client for the CA.
    #[error(transparent)]
    Client(#[from] CourierError),
}

impl Certificates {
    /// Those that `listeners` want. Nothing is asked of any network.
    pub fn new(config: &AcmeConfig, listeners: &[ListenerConfig]) -> Result<Self, AcmeError> {
        let mut this = Self::default();
        for names in listeners.iter().filter_map(|listener| listener.tls.as_ref()?.names()) {
            if this.issued(names).is_none() {
                this.issued.push(Issued {
                    bootstrap: bootstrap(&names.identifiers, SystemTime::now())?,
                    names: names.clone(),
                    proofs: Arc::clone(&this.alpn),
                    served: Arc::new(Served::new(config.wish(names))),
                    wake: Arc::default(),
                });
            }
        }
        if !this.issued.is_empty() {
            let store = config.store();
            this.issued.iter().for_each(|issued| issued.load(&store));
            this.courier = Some(config.courier()?);
            this.store = Some(store);
        }
        Ok(this)
    }

    /// The one for these names.
    pub fn issued(&self, names: &Names) -> Option<&Issued> {
        self.issued.iter().find(|issued| issued.names == *names)
    }

    /// CAs have to look for proofs.
    pub fn need_proofs(&self) -> bool {
        self.issued.iter().any(|issued| issued.names.issuer == Issuer::Acme)
    }

    /// What is answered under `/.well-known/acme-challenge/`: for an order of ours, or of another process that shares our folder.
    pub async fn proof(&self, token: String) -> Option<String> {
        let store = self.store.clone()?;
        if let Some(proof) = self.http.find(&token) {
            return Some(proof);
        }
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_token = (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(is_inner);
        let thumbprint = if is_token { self.elsewhere.look(store).await? } else { return None };
        Some(format!("{token}.{thumbprint}"))
    }

    /// Starts to get and to watch them, on `tasks`, until `cancel`. `ways` are those of the configuration that can be used here.
    pub(crate) fn spawn(
        &self,
        config: &AcmeConfig,
        ways: &[Way],
        shown: &[Shown],
        telling: &Telling,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) {
        for issued in &self.issued {
            let Some(worker) = self.worker(config, ways, issued) else { continue };
            let on = shown.iter().filter(|shown| shown.resolver.shows(&issued.names)).cloned().collect();
            let watcher = Watcher::new(issued.clone(), worker.status.subscribe(), on, telling.clone());
            watcher.tell(&worker.first_status()); // At once: nobody is to be told "ready" before it is known.
            tasks.spawn(watcher.run(cancel.clone()));
            tasks.spawn(Arc::new(worker).run(cancel.clone()));
        }
    }

    /// Looks after each of `names` once, and does what is due: for a command line, while no mirror runs.
    pub(crate) async fn look(&self, config: &AcmeConfig, ways: &[Way], names: &[CertName]) -> Vec<(CertName, Result<Look, StoreError>)> {
        let mut looks = Vec::new();
        for worker in
            self.issued.iter().filter(|issued| names.contains(&issued.names.name)).filter_map(|issued| self.worker(config, ways, issued))
        {
            looks.push((worker.name.clone(), worker.look().await));
        }
        looks
    }

    fn worker(&self, config: &AcmeConfig, ways: &[Way], issued: &Issued) -> Option<Worker> {
        Some(Worker {
            account: config.account(),
            budget: config.budget_for(&issued.names),
            ca: (issued.names.issuer == Issuer::Private).then(|| config.private_ca()),
            clock: Arc::new(SystemClock),
            courier: self.courier.as_ref()?.apart(),
            name: issued.names.name.clone(),
            served: Arc::clone(&issued.served),
            solvers: self.solvers(config, ways),
            staging: staging(config),
            status: tokio::sync::watch::Sender::default(),
            store: self.store.clone()?,
            wake: Arc::clone(&issued.wake),
            wish: config.wish(&issued.names),
        })
    }

    /// What held up the next attempts is mended, somebody says.
    pub(crate) fn try_again(&self) {
        self.issued.iter().for_each(|issued| issued.wake.notify_one());
    }

    fn solvers(&self, config: &AcmeConfig, ways: &[Way]) -> Solvers {
        let dns = |hook: &DnsHookConfig| Arc::new(DnsHook::new(hook.style, &hook.hook, hook.cleanup.as_deref(), hook.timeout));
        Solvers {
            alpn: ways.contains(&Way::TlsAlpn).then(|| Arc::clone(&self.alpn)),
            dns: config.dns.as_ref().filter(|_| ways.contains(&Way::Dns)).map(dns),
            dns_persist: ways.contains(&Way::DnsPersist),
            http: ways.contains(&Way::Http).then(|| Arc::clone(&self.http)),
            order: ways.to_vec(),
        }
    }
}

/// Where it is told how certificates stand.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    /// Numbers.
    pub(crate) metrics: Metrics,
    /// What somebody should look at.
    pub(crate) readiness: Readiness,
}

impl Issued {
    /// Takes what is stored, so that the first client after a restart is shown the right one.
    fn load(&self, store: &Store) {
        match store.certificate(&self.names.name).current() {
            Ok(Some(held)) => {
                self.served.offer(&held, SystemTime::now().into());
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(tls.certificate = %self.names.name, error = &error as &dyn Error, "the stored certificate cannot be read");
            }
        }
    }

    /// Whether it is for a client that asks for `host`.
    pub(super) fn covers(&self, host: &str) -> bool {
        let covers = |identifier: &Identifier| matches!(identifier, Identifier::Dns(name) if name.covers(host));
        self.names.identifiers.iter().any(covers)
    }

    /// The one in hand.
    pub(super) fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.served.certified()
    }

    /// Until there is one.
    pub(super) fn bootstrap(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.bootstrap)
    }

    /// For a CA that looks for a proof.
    pub(super) fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.proofs.find(name)
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("names", &self.names).field("served", &self.served).finish_non_exhaustive()
    }
}

impl AcmeConfig {
    /// Where the private CA is.
    pub fn private_ca(&self) -> PathBuf {
        folder(&self.path).join("ca")
    }

    /// Where certificates and accounts are.
    pub fn store(&self) -> Store {
        Store::new(&folder(&self.path))
    }

    /// What is asked of the CA for `names`.
    pub fn wish(&self, names: &Names) -> Wish {
        if names.issuer == Issuer::Private {
            return Wish {
                directories: vec![PRIVATE.to_owned()],
                how: String::new(),
                identifiers: names.identifiers.clone(),
                key: self.key,
                profile: None,
            };
        }
        let has_address = names.identifiers.iter().any(|identifier| matches!(identifier, Identifier::Ip(_)));
        let is_lets_encrypts = self.directories.iter().any(|url| url.host_str().is_some_and(|host| host.ends_with(".letsencrypt.org")));
        Wish {
            directories: self.directories.iter().map(ToString::to_string).collect(),
            how: self.how(),
            identifiers: names.identifiers.clone(),
            key: self.key,
            // Let's Encrypt issues for addresses under this profile only.
            profile: self.profile.clone().or_else(|| (has_address && is_lets_encrypts).then(|| "shortlived".to_owned())),
        }
    }

    /// Changes with whatever could be the mend of a failure.
    fn how(&self) -> String {
        let Self { ca, directories: _, dns, email, external, http, key: _, path: _, profile: _, ways } = self;
        let mut hasher = DefaultHasher::new(); // Of another release it may be another: then one attempt comes early.
        format!("{ca:?} {dns:?} {email:?} {http} {ways:?}").hash(&mut hasher);
        external.as_ref().map(|external| (external.kid().to_owned(), external.key())).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// Whom accounts are registered for.
    pub fn account(&self) -> AccountWish {
        AccountWish { email: self.email.clone(), external: self.external.clone() }
    }

    /// What is asked of the CAs at most: one that is known by roots of its own, and is no public one behind a proxy that reads along, counts nothing.
    pub fn budget(&self) -> Budget {
        let is_public =
            |url: &Url| url.host_str().is_some_and(|host| PUBLIC.iter().any(|one| host == *one || host.ends_with(&format!(".{one}"))));
        if self.ca.is_none() || self.directories.iter().any(is_public) { Budget::PUBLIC } else { Budget::OWN }
    }

    /// The same for one certificate: a CA of one's own machine counts nothing either.
    pub fn budget_for(&self, names: &Names) -> Budget {
        if names.issuer == Issuer::Private { Budget::OWN } else { self.budget() }
    }

    /// How CAs are reached.
    pub fn courier(&self) -> Result<Courier, AcmeError> {
        let Some(file) = &self.ca else { return Ok(Courier::new(system_roots())?) };
        let pem = fs::read_to_string(file).map_err(|source| AcmeError::Ca { file: file.clone(), source })?;
        Ok(Courier::knowing(&pem)?)
    }

    /// What is wrong with the files that it names, by key.
    pub fn faults(&self) -> Vec<(&'static str, Box<dyn Error>)> {
        let ca = self.courier().err().map(|error| ("acme.ca", error.into()));
        let script = |key, file: &Path| is_no_program(file).map(|why| (key, why.into()));
        let hook = self.dns.as_ref().and_then(|dns| script("acme.dns.hook", &dns.hook));
        let cleanup = self.dns.as_ref().and_then(|dns| script("acme.dns.cleanup", dns.cleanup.as_ref()?));
        [ca, hook, cleanup].into_iter().flatten().collect()
    }
}

/// The twin of Let's Encrypt, which counts failures apart.
fn staging(config: &AcmeConfig) -> Option<String> {
    let is_its = config.directories.first().is_some_and(|first| first.as_str() == LETS_ENCRYPT);
    is_its.then(|| LETS_ENCRYPT_STAGING.to_owned())
}

/// What the `registry` image called a cache file was a file once and is a folder now; where it is a file, we lie beside it.
fn folder(path: &Path) -> PathBuf {
    if path.is_file() { path.with_added_extension("chandler") } else { path.to_owned() }
}

/// Who runs public CAs that speak ACME, as far as people here use them.
const PUBLIC: [&str; 6] = ["buypass.com", "letsencrypt.org", "pki.goog", "sectigo.com", "ssl.com", "zerossl.com"];

/// CAs' tokens have some forty characters.
const MAX_TOKEN: usize = 256;

fn is_no_program(file: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    match fs::metadata(file) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => None,
        Ok(_) => Some(format!("{} is no program; chmod +x makes a script one", file.display())),
        Err(error) => Some(format!("cannot find {}: {error}", file.display())),
    }
}
