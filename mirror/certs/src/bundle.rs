//! A key with its chain in one text: what is stored, and the checks before anything is served.
//!
//! One text, because a key and a certificate in two files can be of two certificates after a crash. The checks are all that a client makes and
//! that [`CertifiedKey`] does not: names, time, purpose, and each signature on the way up.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, X509Certificate};

use crate::{Facts, Identifier, Identifiers, KeyKind, Moment, Wish};

/// A private key and the certificates that belong to it, the leaf first.
#[derive(Clone)]
pub struct Bundle {
    certified: Arc<CertifiedKey>,
    leaf: Leaf,
    pem: Arc<str>,
}

/// What a leaf says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Leaf {
    id: Option<String>,
    identifiers: Identifiers,
    key: Option<KeyKind>,
    not_after: Moment,
    not_before: Moment,
    serial: String,
}

/// Why a bundle is not to be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BundleError {
    /// It is a CA's own certificate.
    #[error("the first certificate is a CA's, not a server's")]
    Authority,
    /// Not a certificate.
    #[error("certificate {position} cannot be read: {reason}")]
    Certificate {
        /// From 1.
        position: usize,
        /// What the parser says.
        reason: String,
    },
    /// Its time is over.
    #[error("it expired at {0}")]
    Expired(Moment),
    /// A certificate is not signed by the one behind it.
    #[error("certificate {0} is not signed by the one that follows it")]
    Issuer(usize),
    /// The key is of another certificate, or of no use.
    #[error("the key does not fit: {0}")]
    Key(String),
    /// Names are missing.
    #[error("it is not for {0}")]
    Names(String),
    /// Nothing that could be a chain.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// Its time has not come.
    #[error("it is not valid before {0}")]
    NotYet(Moment),
    /// It may not be used by a server.
    #[error("it is not for servers: its extended key usage lacks serverAuth")]
    Purpose,
}

impl Bundle {
    /// Reads a key and a chain, and checks what does not depend on the time or on what is wanted.
    pub fn parse(pem: &str) -> Result<Self, BundleError> {
        let unusable = |error: &dyn fmt::Display| BundleError::Key(error.to_string());
        let chain = read_chain(pem)?;
        let parsed = parse_chain(&chain)?;
        let leaf = Leaf::of(&parsed[0])?;
        check_issuers(&parsed)?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| unusable(&words(&error)))?;
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(|error| unusable(&error))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(unusable(&error)),
        }
        Ok(Self { certified: Arc::new(certified), leaf, pem: pem.into() })
    }

    /// From a key and a chain that a CA sent.
    pub fn join(key: &str, chain: &str) -> Result<Self, BundleError> {
        Self::parse(&format!("{}\n{}\n", key.trim(), chain.trim()))
    }

    /// Whether it may be served now, for `wanted`.
    pub fn check(&self, wanted: &Identifiers, now: Moment) -> Result<(), BundleError> {
        if self.leaf.not_after <= now {
            return Err(BundleError::Expired(self.leaf.not_after));
        }
        if self.leaf.not_before > now + TOLERANCE {
            return Err(BundleError::NotYet(self.leaf.not_before));
        }
        let missing: Vec<_> = wanted.difference(&self.leaf.identifiers).map(ToString::to_string).collect();
        if missing.is_empty() { Ok(()) } else { Err(BundleError::Names(missing.join(", "))) }
    }

    /// The certificates, PEM, the leaf first.
    pub fn chain_pem(&self) -> &str {
        self.pem.find(CERTIFICATE).map_or("", |start| &self.pem[start..])
    }

    /// The key, PEM. A secret.
    pub fn key_pem(&self) -> &str {
        self.pem.find(CERTIFICATE).map_or("", |start| &self.pem[..start])
    }

    /// Whether it was got with this key (PEM).
    pub fn has_key(&self, key: &str) -> bool {
        self.pem.contains(key.trim())
    }

    /// What [`plan`](crate::plan()) wants to know of it.
    pub fn facts(&self, directory: &str, wish: &Wish) -> Facts {
        Facts {
            directory: directory.to_owned(),
            id: self.leaf.id.clone(),
            identifiers: wish.identifiers.clone(),
            key: self.leaf.key.unwrap_or(wish.key),
            not_after: self.leaf.not_after,
            not_before: self.leaf.not_before,
            profile: wish.profile.clone(),
            revoked: false,
            supersedes: false,
        }
    }

    /// What can be told of it without knowing how it came.
    pub fn own_facts(&self) -> Facts {
        let wish = Wish {
            directories: Vec::new(),
            how: String::new(),
            identifiers: self.leaf.identifiers.clone(),
            key: KeyKind::default(),
            profile: None,
        };
        self.facts("", &wish)
    }

    /// What a handshake needs.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// For whom the leaf is.
    pub fn identifiers(&self) -> &Identifiers {
        &self.leaf.identifiers
    }

    /// Its last second.
    pub fn not_after(&self) -> Moment {
        self.leaf.not_after
    }

    /// Its number at its CA, in hexadecimal.
    pub fn serial(&self) -> &str {
        &self.leaf.serial
    }

    /// Key and chain as they are stored. Whoever writes it must keep it from other users' eyes.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

/// Without the key.
impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.leaf.fmt(f)
    }
}

impl Leaf {
    fn of(certificate: &X509Certificate<'_>) -> Result<Self, BundleError> {
        if certificate.is_ca() {
            return Err(BundleError::Authority);
        }
        if let Ok(Some(usage)) = certificate.extended_key_usage()
            && !(usage.value.server_auth || usage.value.any)
        {
            return Err(BundleError::Purpose);
        }
        Ok(Self {
            id: ari_id(certificate),
            identifiers: identifiers(certificate),
            key: key_kind(certificate),
            not_after: moment(certificate.validity().not_after),
            not_before: moment(certificate.validity().not_before),
            serial: hex::encode(certificate.raw_serial()),
        })
    }
}

fn read_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let position = chain.len() + 1;
        chain.push(certificate.map_err(|error| BundleError::Certificate { position, reason: words(&error) })?);
    }
    if chain.is_empty() { Err(BundleError::NoCertificate) } else { Ok(chain) }
}

/// The reader's own words for it list bytes.
fn words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its end is missing".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "its beginning is not one of PEM".to_owned(),
        pem::Error::NoItemsFound => "there is none".to_owned(),
        other => other.to_string(),
    }
}

fn parse_chain<'a>(chain: &'a [CertificateDer<'_>]) -> Result<Vec<X509Certificate<'a>>, BundleError> {
    let parse = |(at, der): (usize, &'a CertificateDer<'_>)| match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(BundleError::Certificate { position: at + 1, reason: error.to_string() }),
    };
    chain.iter().enumerate().map(parse).collect()
}

/// Each is signed by the next; the last one's issuer is the clients' affair.
fn check_issuers(chain: &[X509Certificate<'_>]) -> Result<(), BundleError> {
    for (at, pair) in chain.windows(2).enumerate() {
        let is_named = pair[0].issuer().as_raw() == pair[1].subject().as_raw();
        if !is_named || pair[0].verify_signature(Some(pair[1].public_key())).is_err() {
            return Err(BundleError::Issuer(at + 1));
        }
    }
    Ok(())
}

/// RFC 9773 4.1: the authority key identifier and the serial number, both in base64url without padding.
fn ari_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let authority = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })?;
    Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(authority), URL_SAFE_NO_PAD.encode(certificate.raw_serial())))
}

/// Names that no identifier of ours can be, such as e-mail addresses, are left out.
fn identifiers(certificate: &X509Certificate<'_>) -> Identifiers {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let read = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => name.parse().ok().map(Identifier::Dns),
        GeneralName::IPAddress(bytes) => address(bytes).map(Identifier::Ip),
        _ => None,
    };
    names.value.general_names.iter().filter_map(read).collect()
}

/// 4 or 16 bytes.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// `None` for kinds that are never asked for here.
fn key_kind(certificate: &X509Certificate<'_>) -> Option<KeyKind> {
    use x509_parser::public_key::PublicKey;
    match certificate.public_key().parsed().ok()? {
        PublicKey::EC(point) if point.key_size() == 256 => Some(KeyKind::P256),
        PublicKey::EC(point) if point.key_size() == 384 => Some(KeyKind::P384),
        PublicKey::RSA(key) if key.key_size() == 2048 => Some(KeyKind::Rsa2048),
        _ => None,
    }
}

/// Certificates know whole seconds.
pub(crate) fn moment(time: ASN1Time) -> Moment {
    Moment::from_unix(time.timestamp())
}

/// Where the chain begins; the key stands before it.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// A CA's clock may be a little ahead of ours.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests;
