//! Whose word about a client is believed: one list for PROXY headers and `X-Forwarded-For`, which a reload changes for both at once.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ipnet::IpNet;

/// The networks of the proxies that are believed. A clone is the same list.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<ArcSwap<Vec<IpNet>>>);

impl TrustedProxies {
    /// These.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(networks.to_vec())))
    }

    /// From now on these. Who was named by the PROXY header of a connection that is open stays so until its end.
    pub fn replace(&self, networks: &[IpNet]) {
        self.0.store(Arc::new(networks.to_vec()));
    }

    /// How the list is now, for whoever asks it more than once about one request.
    pub fn load(&self) -> Guard<Arc<Vec<IpNet>>> {
        self.0.load()
    }

    /// Whether `address` is a trusted proxy's.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.load().iter().any(|network| network.contains(&address))
    }
}
