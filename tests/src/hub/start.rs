//! Starting a Hub.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use thiserror::Error;
use tokio::sync::watch;

use super::answer::Shared;
use super::listen::Port;
use super::log::Log;
use super::tls::Tls;
use super::{Faults, Host, Hub};

/// How a Hub is to start.
#[derive(Debug, Clone)]
pub struct Builder {
    listen: SocketAddr,
    tls: bool,
    names: Vec<String>,
    token_host: Option<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), tls: false, names: Vec::new(), token_host: None }
    }
}

impl Builder {
    /// The registry's address. With a port, the token service takes the next and the CDN the one after; else all three are free ones.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Speaks https on all three ports, with a CA of its own (`Hub::ca_pem`).
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A name or address for the certificate besides the loopback's.
    pub fn name(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// Puts the token service on another address, for instance 127.0.0.9: a realm on a foreign host.
    pub fn token_on(mut self, address: IpAddr) -> Self {
        self.token_host = Some(address.to_string());
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Hub, StartError> {
        let tls = if self.tls { Some(Tls::make(&self.names)?) } else { None };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("test-hub").enable_all().build();
        let runtime = runtime.map_err(StartError::Runtime)?;
        let mut addresses = [self.listen; 3];
        let mut ports = Vec::new();
        for (host, address) in [Host::Registry, Host::Token, Host::Cdn].into_iter().zip(&mut addresses) {
            if host == Host::Token
                && let Some(ip) = self.token_host.as_deref().and_then(|text| text.parse().ok())
            {
                address.set_ip(ip);
            }
            if address.port() != 0 {
                address.set_port(address.port() + host as u16);
            }
            let (port, bound) = Port::reserve(host, *address).map_err(|source| StartError::Bind { address: *address, source })?;
            *address = bound;
            ports.push(port);
        }
        let shared = Shared {
            state: Mutex::default(),
            faults: Faults::default(),
            log: Arc::new(Log::new()),
            black_hole: watch::Sender::new(false),
            connections: Mutex::default(),
            scheme: if tls.is_some() { "https" } else { "http" },
            addresses,
            token_host: self.token_host,
        };
        let (tls, ca_pem) = tls.map(|tls| (tls.acceptor, tls.ca_pem)).unzip();
        let hub = Hub { shared: Arc::new(shared), ports: Mutex::new(ports), tls, ca_pem, runtime: Some(runtime) };
        hub.listen(None).map_err(|source| StartError::Bind { address: self.listen, source })?;
        Ok(hub)
    }
}

/// Why a Hub did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address is taken or not this machine's.
    #[error("listening on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No threads.
    #[error("starting the test hub's runtime")]
    Runtime(#[source] io::Error),
    /// No certificate for a name.
    #[error("making the test hub's certificate")]
    Certificate(#[from] rcgen::Error),
}
