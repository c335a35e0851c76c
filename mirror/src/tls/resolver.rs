//! The certificate of the moment, for each handshake.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use certs::solve::ACME_TLS;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Issued, Pair};
use crate::config::Names;

/// Holds what a listener can show: the pair that somebody put there, the certificate that is issued to us (by ACME or the private CA), or both.
///
/// The pair wins while it is in its time, but for names that only the other one has.
pub struct Resolver {
    issued: Option<Issued>,
    pair: ArcSwapOption<Pair>,
}

impl Resolver {
    /// With what is there at the start; at least one of both.
    pub fn new(pair: Option<Pair>, issued: Option<Issued>) -> Self {
        Self { issued, pair: ArcSwapOption::from_pointee(pair) }
    }

    /// The pair from files, if there is one.
    pub fn pair(&self) -> Option<Arc<Pair>> {
        self.pair.load_full()
    }

    /// From now on `pair`; connections that are open go on.
    pub fn swap(&self, pair: Pair) {
        self.pair.store(Some(Arc::new(pair)));
    }

    /// The pair's files are gone: what is issued to us takes its place, if that works at `now`. Says whether it does; else what is shown stays.
    pub(super) fn let_go(&self, now: SystemTime) -> bool {
        let works = self.issued.as_ref().is_some_and(|issued| issued.works(now));
        if works {
            self.pair.store(None);
        }
        works
    }

    /// Whether it shows the certificate for `names`.
    pub(super) fn shows(&self, names: &Names) -> bool {
        self.issued.as_ref().is_some_and(|issued| issued.names() == names)
    }

    /// What is issued to us, in whose place the pair serves.
    pub(super) fn issued(&self) -> Option<&Issued> {
        self.issued.as_ref()
    }

    /// What a client that asks for `name`, or for none, is shown at `now`.
    pub fn choose(&self, name: Option<&str>, now: SystemTime) -> Option<Arc<CertifiedKey>> {
        let pair = self.pair.load();
        let pair = pair.as_deref();
        let Some(issued) = &self.issued else { return pair.map(|pair| Arc::clone(pair.certified())) };
        let is_others = name.is_some_and(|name| issued.covers(name) && pair.is_some_and(|pair| !pair.covers(name)));
        let winner = pair.filter(|pair| now < pair.not_after() && !is_others);
        let shown = winner.map(|pair| Arc::clone(pair.certified())).or_else(|| issued.certified());
        // What was right once tells more than what never was.
        shown.or_else(|| pair.map(|pair| Arc::clone(pair.certified()))).or_else(|| Some(issued.bootstrap()))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(issued) = &self.issued
            && client.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_TLS))
        {
            return issued.proof(client.server_name()?);
        }
        self.choose(client.server_name(), SystemTime::now())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("pair", &self.pair.load()).field("issued", &self.issued).finish()
    }
}
