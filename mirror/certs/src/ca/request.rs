//! A certificate signing request from somebody else: its key and its names, and nothing else that it asks for.
//!
//! A request may ask to be a CA, for any purpose, for a thousand years. What it asks for besides is named, for the person who signs it, and left out.

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::key::{KeyError, PublicKey};
use crate::bundle::address;
use crate::{Identifier, Identifiers};

/// What is taken from a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// For whom.
    pub identifiers: Identifiers,
    /// The key; whoever sent the request has its private part.
    pub key: PublicKey,
    /// What it asks for besides, for a person.
    pub left_out: Vec<String>,
}

/// Why a request is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The key is not one for a certificate.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Names that are none.
    #[error("the request is for {0}, which no TLS client would look for; host names and addresses are signed here")]
    Names(String),
    /// Not a request.
    #[error("it is no certificate signing request: {0}")]
    Parse(String),
    /// Whoever made it need not have the key.
    #[error("the request is not signed by the key in it: {0}")]
    Possession(String),
}

impl Request {
    /// Reads PEM or DER.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        proved(bytes, |request, key| {
            let (mut names, mut left_out) = (Vec::new(), Vec::new());
            for extension in request.requested_extensions().into_iter().flatten() {
                match extension {
                    ParsedExtension::SubjectAlternativeName(alternative) => names.extend(&alternative.general_names),
                    other => left_out.push(describe(other)),
                }
            }
            let identifiers = if names.is_empty() { common_name(request) } else { identifiers(&names)? };
            Ok(Self { identifiers, key, left_out })
        })
    }

    /// The key alone, where somebody else says for whom it is.
    pub fn key_of(bytes: &[u8]) -> Result<PublicKey, RequestError> {
        proved(bytes, |_, key| Ok(key))
    }
}

/// What `read` makes of a request that is signed by the key in it.
fn proved<T>(
    bytes: &[u8],
    read: impl FnOnce(&X509CertificationRequest<'_>, PublicKey) -> Result<T, RequestError>,
) -> Result<T, RequestError> {
    let der = der(bytes)?;
    let wrong = |error: &dyn std::fmt::Display| RequestError::Parse(error.to_string());
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|error| wrong(&error))?;
    if !rest.is_empty() {
        return Err(wrong(&"there is something behind it"));
    }
    let key = PublicKey::read(request.certification_request_info.subject_pki.raw)?;
    request.verify_signature().map_err(|error| RequestError::Possession(error.to_string()))?;
    read(&request, key)
}

fn der(bytes: &[u8]) -> Result<CertificateSigningRequestDer<'static>, RequestError> {
    if bytes.first() == Some(&0x30) {
        return Ok(bytes.to_vec().into());
    }
    // What keytool and IIS write above it.
    let text = String::from_utf8_lossy(bytes).replace("NEW CERTIFICATE REQUEST", "CERTIFICATE REQUEST");
    CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).map_err(|error| RequestError::Parse(error.to_string()))
}

fn identifiers(names: &[&GeneralName<'_>]) -> Result<Identifiers, RequestError> {
    let (mut identifiers, mut wrong) = (Identifiers::new(), Vec::new());
    for name in names {
        let read = match name {
            GeneralName::DNSName(name) => name.parse().ok().map(Identifier::Dns),
            GeneralName::IPAddress(bytes) => address(bytes).map(Identifier::Ip),
            _ => None,
        };
        match read {
            Some(identifier) => drop(identifiers.insert(identifier)),
            None => wrong.push(name.to_string()),
        }
    }
    if wrong.is_empty() { Ok(identifiers) } else { Err(RequestError::Names(wrong.join(", "))) }
}

/// Old programs put the name there and nowhere else.
fn common_name(request: &X509CertificationRequest<'_>) -> Identifiers {
    let names = request.certification_request_info.subject.iter_common_name();
    names.filter_map(|name| name.as_str().ok()?.parse().ok()).collect()
}

fn describe(extension: &ParsedExtension<'_>) -> String {
    match extension {
        ParsedExtension::BasicConstraints(basic) if basic.ca => "to be a CA".into(),
        ParsedExtension::BasicConstraints(_) => "basic constraints".into(),
        ParsedExtension::ExtendedKeyUsage(_) => "extended key usage".into(),
        ParsedExtension::KeyUsage(_) => "key usage".into(),
        ParsedExtension::NameConstraints(_) => "name constraints".into(),
        ParsedExtension::SubjectKeyIdentifier(_) => "a key identifier".into(),
        ParsedExtension::UnsupportedExtension { oid } => format!("the extension {oid}"),
        _ => "another extension".into(),
    }
}
