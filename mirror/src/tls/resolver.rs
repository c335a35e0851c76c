//! The pair of the moment, for each handshake.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Pair;

/// Holds the pair in use. One pair answers every name for now; a choice by the client's server name goes into `resolve`.
pub struct Resolver {
    pair: ArcSwap<Pair>,
}

impl Resolver {
    /// Starts with `pair`.
    pub fn new(pair: Pair) -> Self {
        Self { pair: ArcSwap::from_pointee(pair) }
    }

    /// The pair that the next handshake gets.
    pub fn current(&self) -> Arc<Pair> {
        self.pair.load_full()
    }

    /// From now on `pair`; connections that are open go on.
    pub fn swap(&self, pair: Pair) {
        self.pair.store(Arc::new(pair));
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.pair.load().certified()))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").field(&self.pair.load()).finish()
    }
}
