//! What the handshakes of one listener follow.
//!
//! Where clients are known by certificates, a change of what they are known by makes all of it new, with it the keys of session tickets: no session
//! from before is resumed. Nothing is let in by a resumed session in any case, since what a connection has shown is judged at each request.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use certs::solve::ACME_TLS;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{Acceptor, ClientHello};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::clients::{Ask, ClientCertificate, Clients};
use super::{Issued, Resolver};

/// How a listener's connections begin.
#[derive(Debug)]
pub struct Handshakes {
    clients: Option<Clients>,
    current: ArcSwap<Current>,
    resolver: Arc<Resolver>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// Of what is known of clients.
    number: u64,
}

impl Handshakes {
    /// With the certificates of `resolver`. Clients are asked for theirs where there are `clients`.
    pub fn new(resolver: Arc<Resolver>, clients: Option<Clients>) -> Self {
        let number = clients.as_ref().map_or(0, Clients::number);
        let config = server_config(Arc::clone(&resolver), clients.is_some());
        Self { clients, current: ArcSwap::from_pointee(Current { config, number }), resolver }
    }

    /// For the next one.
    pub fn config(&self) -> Arc<ServerConfig> {
        let current = self.current.load();
        let number = self.clients.as_ref().map_or(0, Clients::number);
        if current.number == number {
            return Arc::clone(&current.config);
        }
        let config = server_config(Arc::clone(&self.resolver), true);
        self.current.store(Arc::new(Current { config: Arc::clone(&config), number }));
        config
    }

    /// Shakes hands over `io`. A CA that looks for a proof (tls-alpn-01) is known by its first message, before which nobody knows what to look for.
    pub async fn shake<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> io::Result<TlsStream<IO>> {
        let Some(issued) = self.resolver.issued().filter(|issued| issued.is_proved()) else {
            return TlsAcceptor::from(self.config()).accept(io).await;
        };
        let begun = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        if let Some(name) = wanted_proof(&begun.client_hello()) {
            issued.expect(&name).await;
        }
        begun.into_stream(self.config()).await
    }

    /// What a client has shown, where it was asked.
    pub fn certificate(&self, shown: Option<&[CertificateDer<'static>]>) -> Option<Arc<ClientCertificate>> {
        self.clients.as_ref()?.certificate(shown)
    }
}

/// The name that a CA wants to see proved.
fn wanted_proof(client: &ClientHello<'_>) -> Option<String> {
    let is_ca = client.alpn()?.any(|protocol| protocol == ACME_TLS);
    client.server_name().filter(|_| is_ca).map(str::to_owned)
}

/// How this mirror speaks TLS: 1.2 and 1.3, HTTP/2 before HTTP/1.1, resumption by tickets (nothing is kept for each client).
fn server_config(resolver: Arc<Resolver>, asks: bool) -> Arc<ServerConfig> {
    let proves = resolver.issued().is_some_and(Issued::is_proved);
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3");
    let builder = if asks { builder.with_client_cert_verifier(Ask::new()) } else { builder.with_no_client_auth() };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if proves {
        config.alpn_protocols.push(ACME_TLS.to_vec()); // Behind the others: whoever can speak HTTP does.
    }
    // Without a ticketer, resumption works for the last 256 clients only.
    match aws_lc_rs::Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => tracing::warn!(%error, "TLS sessions are not resumed by tickets"),
    }
    Arc::new(config)
}
