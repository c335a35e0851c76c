//! What came back for a key of ours, before anything is done with it.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::key::{SecretKey, pem};
use super::serial::Serial;
use crate::Moment;
use crate::bundle::moment;

/// A client's certificate with the CAs above it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// All of it and nothing else, PEM.
    pub chain: String,
    /// Its end.
    pub not_after: Moment,
    /// Its number.
    pub serial: Serial,
}

/// Why it is of no use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceivedError {
    /// Of another key.
    #[error("the certificate is for another key")]
    Key,
    /// Not a certificate.
    #[error("it is no certificate: {0}")]
    Parse(String),
    /// For something else.
    #[error("the certificate is not for clients")]
    Purpose,
}

impl Received {
    /// Reads what a CA sent for `key`.
    pub fn read(text: &str, key: &SecretKey) -> Result<Self, ReceivedError> {
        let wrong = |error: &dyn std::fmt::Display| ReceivedError::Parse(error.to_string());
        let chain = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
        let first = chain.first().ok_or_else(|| wrong(&"there is none in it"))?;
        let (_, leaf) = X509Certificate::from_der(first).map_err(|error| wrong(&error))?;
        if leaf.public_key().raw != key.public_der() {
            return Err(ReceivedError::Key);
        }
        let usage = leaf.extended_key_usage().ok().flatten();
        if leaf.is_ca() || !usage.is_some_and(|usage| usage.value.client_auth) {
            return Err(ReceivedError::Purpose);
        }
        Ok(Self {
            not_after: moment(leaf.validity().not_after),
            serial: Serial::from_bytes(leaf.raw_serial()).ok_or_else(|| wrong(&"its serial number is too long"))?,
            chain: chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect(),
        })
    }
}
