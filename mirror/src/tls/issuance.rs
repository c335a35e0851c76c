//! The listeners' certificates that are issued to us, by ACME or by the private CA: who gets them, where they are put, what is told of them.
//!
//! [`Certificates`] makes one [`Issued`] for each list of names; listeners with the same list share it. Each has two tasks: the worker (crate `certs`),
//! which obtains and renews, and the watcher, which tells metrics, readiness and log how it stands and looks whether what was got is what clients see.
//!
//! Invariant: nothing here holds up the start. Without a certificate the port shows a self-signed one that says so.

mod dial;
mod elsewhere;
mod settings;
mod standing;
mod watch;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use certs::acme::{Courier, CourierError};
use certs::solve::{AlpnProofs, DnsProofs, HttpProofs, Solvers, Way};
use certs::store::{CertName, Store, StoreError};
use certs::worker::{LastAdvice, Look, RehearsalError, Stage, Trial, Worker};
use certs::{BootstrapError, Identifier, Served, SystemClock, bootstrap};
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Metrics, Resolver};
use crate::check::chain;
use crate::config::{AcmeConfig, Issuer, ListenerConfig, Names};
use crate::telemetry::Readiness;
use elsewhere::Elsewhere;
use watch::Watcher;

/// All certificates that are issued to us.
#[derive(Debug, Default)]
pub struct Certificates {
    alpn: Arc<AlpnProofs>,
    courier: Option<Courier>,
    dns: Option<Arc<DnsProofs>>,
    elsewhere: Option<Arc<Elsewhere>>,
    http: Arc<HttpProofs>,
    issued: Vec<Issued>,
    store: Option<Store>,
}

/// One of them, as a listener sees it.
#[derive(Clone)]
pub struct Issued {
    bootstrap: Arc<CertifiedKey>,
    elsewhere: Arc<Elsewhere>,
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

/// What the trials of one certificate's names found.
pub type Tried = Result<Vec<Trial>, Box<RehearsalError>>;

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
        let elsewhere = Arc::new(Elsewhere::new(config.store(), Arc::clone(&this.alpn)));
        for names in listeners.iter().filter_map(|listener| listener.tls.as_ref()?.names()) {
            if this.issued(names).is_none() {
                this.issued.push(Issued {
                    bootstrap: bootstrap(&names.identifiers, SystemTime::now())?,
                    elsewhere: Arc::clone(&elsewhere),
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
            this.dns = config.dns_proofs()?.map(Arc::new);
            (this.elsewhere, this.store) = (Some(elsewhere), Some(store));
        }
        Ok(this)
    }

    /// Takes over what was got for names that were changed, where there is nothing for the new ones yet. It writes.
    pub fn inherit(&self) {
        if let Some(store) = &self.store {
            self.issued.iter().for_each(|issued| issued.inherit(store));
        }
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
    pub async fn proof(&self, token: &str) -> Option<String> {
        if let Some(proof) = self.http.find(token) {
            return Some(proof);
        }
        self.elsewhere.as_ref()?.look(token).await
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

    /// Tries at `stage` whether the names of each of `names` can be proved: for a command line.
    pub(crate) async fn rehearse(&self, config: &AcmeConfig, ways: &[Way], names: &[CertName], stage: &Stage) -> Vec<(CertName, Tried)> {
        let mut tried = Vec::new();
        let is_meant = |issued: &&Issued| issued.names.issuer == Issuer::Acme && names.contains(&issued.names.name);
        for worker in self.issued.iter().filter(is_meant).filter_map(|issued| self.worker(config, ways, issued)) {
            tried.push((worker.name.clone(), worker.rehearse(stage).await.map_err(Box::new)));
        }
        tried
    }

    fn worker(&self, config: &AcmeConfig, ways: &[Way], issued: &Issued) -> Option<Worker> {
        Some(Worker {
            account: config.account(),
            advice: LastAdvice::default(),
            budget: config.budget_for(&issued.names),
            ca: (issued.names.issuer == Issuer::Private).then(|| config.private_ca()),
            clock: Arc::new(SystemClock),
            courier: self.courier.as_ref()?.apart(),
            name: issued.names.name.clone(),
            served: Arc::clone(&issued.served),
            solvers: self.solvers(ways),
            staging: config.staging().map(str::to_owned),
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

    fn solvers(&self, ways: &[Way]) -> Solvers {
        Solvers {
            alpn: ways.contains(&Way::TlsAlpn).then(|| Arc::clone(&self.alpn)),
            dns: self.dns.clone().filter(|_| ways.contains(&Way::Dns)),
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
    fn inherit(&self, store: &Store) {
        match store.inherit(&self.names.name, self.served.wish()) {
            Ok(None) => {}
            Ok(Some(from)) => {
                tracing::info!(tls.certificate = %self.names.name, from = %from, "names were changed; the certificate of before serves on");
                self.load(store);
            }
            Err(error) => {
                tracing::warn!(tls.certificate = %self.names.name, error = chain(&error), "no certificate of before can be taken over");
            }
        }
    }

    /// Takes what is stored, so that the first client after a restart is shown the right one.
    fn load(&self, store: &Store) {
        match store.certificate(&self.names.name).current() {
            Ok(Some(held)) => {
                self.served.offer(&held, SystemTime::now().into());
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(tls.certificate = %self.names.name, error = chain(&error), "the stored certificate cannot be read");
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

    /// Whether there is one that clients would take at `now`.
    pub(super) fn works(&self, now: SystemTime) -> bool {
        self.served.current().is_some_and(|bundle| bundle.check(&self.names.identifiers, now.into()).is_ok())
    }

    /// Until there is one.
    pub(super) fn bootstrap(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.bootstrap)
    }

    /// Whether CAs look for proofs of it.
    pub(super) fn is_proved(&self) -> bool {
        self.names.issuer == Issuer::Acme
    }

    /// A CA comes to look for a proof, which may be one that another process waits for: afterwards it is found.
    pub(super) async fn expect(&self, name: &str) {
        if !self.proofs.is_ours(name) {
            self.elsewhere.refresh().await; // Also where one is known: it may be of an order that is over.
        }
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
