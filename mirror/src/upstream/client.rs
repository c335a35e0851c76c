//! The HTTP client of one upstream: TLS roots, proxy, and what every request carries.
//!
//! HTTP/1.1 with as many connections as the lanes allow, because one HTTP/2 window caps a layer's throughput and puts manifests behind layers. It follows no
//! redirect, retries nothing, decodes nothing and keeps no total time: those are decided where they can be decided well.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, Proxy, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::retry::Tuning;
use crate::config::UpstreamConfig;
use crate::roots::system_roots;

/// Why an upstream's client cannot be made. Each is a mistake in the configuration or on this machine.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The bundle cannot be read.
    #[error("the CA bundle {} cannot be read", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate in the bundle is none that can be a root.
    #[error("the CA bundle {} holds a certificate that cannot be used", path.display())]
    CaCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The bundle is empty.
    #[error("the CA bundle {} holds no certificate", path.display())]
    CaEmpty {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    /// Not an `http` or `https` proxy.
    #[error("the proxy's address must start with http:// or https://, not {0}://")]
    Proxy(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// The client for `config`.
pub(super) fn build(config: &UpstreamConfig, tuning: &Tuning) -> Result<Client, BuildError> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls(config.ca.as_deref())?)
        .http1_only()
        .http1_ignore_invalid_headers_in_responses(true)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(tuning.connect)
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(KEEPALIVE)
        .tcp_nodelay(true)
        .user_agent(concat!("chandler/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers());
    let builder = match &config.proxy {
        Some(proxy) if !matches!(proxy.scheme(), "http" | "https") => return Err(BuildError::Proxy(proxy.scheme().to_owned())),
        Some(proxy) => builder.proxy(Proxy::all(proxy.clone()).map_err(client_error)?),
        None if tuning.system_proxy => builder,
        None => builder.no_proxy(),
    };
    builder.build().map_err(client_error)
}

fn client_error(error: reqwest::Error) -> BuildError {
    BuildError::Client(error.without_url()) // A proxy's address may hold a password.
}

fn headers() -> HeaderMap {
    // A CDN that compresses would have us hash other bytes than the digest's.
    HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))])
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, BuildError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(BuildError::Tls)?;
    let mut roots = system_roots();
    if let Some(path) = ca {
        add_bundle(&mut roots, path)?;
    }
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

fn add_bundle(roots: &mut RootCertStore, path: &Path) -> Result<(), BuildError> {
    let unreadable = |source| BuildError::Ca { path: path.to_owned(), source };
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|source| BuildError::CaCertificate { path: path.to_owned(), source })?;
    }
    if roots.len() == before { Err(BuildError::CaEmpty { path: path.to_owned() }) } else { Ok(()) }
}

/// Shorter than what registries and the load balancers before them keep, so that few connections die under a request.
const IDLE: Duration = Duration::from_secs(45);
const KEEPALIVE: Duration = Duration::from_secs(30);
