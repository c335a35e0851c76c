//! What port 443 shows before there is a certificate: a self-signed one, in memory only, that says what it is.
//!
//! It is there so that the port opens at once (tls-alpn-01 needs it), and so that whoever looks at it learns what is missing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::Identifiers;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The key cannot be used.
    #[error("the key of the first, self-signed certificate cannot be used")]
    Key(#[from] rustls::Error),
    /// It cannot be made.
    #[error("the first, self-signed certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

/// A certificate for `identifiers` that nobody trusts, for seven days around `now`.
pub fn bootstrap(identifiers: &Identifiers, now: SystemTime) -> Result<Arc<CertifiedKey>, BootstrapError> {
    let names: Vec<String> = identifiers.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, SUBJECT);
    (params.not_before, params.not_after) = ((now - HOUR).into(), (now + LIFE).into());
    let key = KeyPair::generate()?;
    let chain = vec![params.self_signed(&key)?.der().clone()];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok(Arc::new(CertifiedKey::new(chain, aws_lc_rs::default_provider().key_provider.load_private_key(key.into())?)))
}

const SUBJECT: &str = "chandler has no certificate yet";
const HOUR: Duration = Duration::from_secs(3600);
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
