//! The Hub over https: a CA made for the occasion, given out as PEM.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// What serves TLS, and the CA that clients are to trust.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) ca_pem: String,
}

impl Tls {
    /// A fresh CA and a certificate for the loopback names and `names`.
    pub(super) fn make(names: &[String]) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name("Test Hub CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let mut all: Vec<String> = LOOPBACK.iter().map(|name| (*name).to_owned()).collect();
        all.extend_from_slice(names);
        let mut params = CertificateParams::new(all)?;
        params.distinguished_name = name("Test Hub");
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &ca)?;
        Ok(Self { acceptor: acceptor(certificate.der().clone(), &key), ca_pem: ca.pem() })
    }
}

fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has the default versions").with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate], key).expect("the key was made for the certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

const LOOPBACK: [&str; 4] = ["localhost", "127.0.0.1", "127.0.0.9", "::1"];
