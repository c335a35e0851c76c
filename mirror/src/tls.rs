//! TLS as a server: certificate pairs from PEM files, certificates that are got by ACME, and the resolver that connections take them from.
//!
//! A pair is whole or it is not there: [`Pair::load`] finds what is wrong with files and names the file and the mend. [`Certificates`] gets others by
//! ACME (the crate `certs` does the work). [`Resolver`] answers each handshake with the certificate of that moment, so a swap ends no connection.
//! [`watch()`] swaps pairs.
//!
//! Invariant: a working pair is never replaced by one that [`Pair::load`] refuses.

mod issuance;
mod metrics;
mod pair;
mod resolver;
mod watch;

use std::sync::Arc;

use certs::solve::ACME_TLS;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;

pub(crate) use issuance::Telling;
pub use issuance::{AcmeError, Certificates, Issued, Shown};
pub use metrics::Metrics;
pub use pair::{Pair, PairError, PairWarning};
pub use resolver::Resolver;
pub use watch::{WATCH_INTERVAL, watch};

/// How this mirror speaks TLS: 1.2 and 1.3, HTTP/2 before HTTP/1.1, resumption by tickets (nothing is kept for each client).
pub fn server_config(resolver: Arc<Resolver>) -> Arc<ServerConfig> {
    let proves = resolver.proves();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
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

#[cfg(test)]
pub(crate) use pair::tests as test_files;
