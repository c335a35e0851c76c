//! A certificate chain with its key, read from PEM files and checked: what is wrong is said with the file and the mend.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certs::DnsName;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use rustls_pki_types::pem::{Error as PemError, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, X509Certificate};

use crate::config::TlsFiles;

/// A chain whose order is right, whose leaf is in its time, and whose key fits.
#[derive(Clone)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    not_after: SystemTime,
    not_before: SystemTime,
    warnings: Vec<PairWarning>,
}

/// What works for some clients only.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PairWarning {
    /// Only the leaf is there, and somebody else issued it.
    #[error("{} holds only the certificate itself; clients that do not know its issuer ({issuer}) refuse it. hint: append the issuer's certificate (with certbot: use fullchain.pem)", file.display())]
    MissingIntermediate {
        /// Where.
        file: PathBuf,
        /// Who issued it.
        issuer: String,
    },
    /// No subject alternative name: Go's clients (Docker, containerd, Podman) refuse it.
    #[error("the certificate in {} names no host in subjectAltName, and container engines ignore the common name. hint: issue it again with -addext subjectAltName=DNS:…", file.display())]
    NoName {
        /// Where.
        file: PathBuf,
    },
}

/// Why files are no usable pair.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// Protected by a passphrase.
    #[error("the key in {} is encrypted, and nobody is there to type its passphrase\nhint: openssl pkey -in {} -out plain.pem", file.display(), file.display())]
    EncryptedKey {
        /// Where.
        file: PathBuf,
    },
    /// Its time is over.
    #[error("the certificate in {} expired at {}\nhint: put a renewed certificate and its key in place", file.display(), humantime::format_rfc3339_seconds(*since))]
    Expired {
        /// Where.
        file: PathBuf,
        /// Its `notAfter`.
        since: SystemTime,
    },
    /// A block that is no certificate.
    #[error("certificate {position} in {} cannot be read: {reason}", file.display())]
    Malformed {
        /// Where.
        file: PathBuf,
        /// From 1.
        position: usize,
        /// What the parser says.
        reason: String,
    },
    /// No certificate at all.
    #[error("{} holds no certificate{}\nhint: it must be PEM, with -----BEGIN CERTIFICATE----- lines", file.display(), if *is_key { " but a key: are certificate and key swapped?" } else { "" })]
    NoCertificate {
        /// Where.
        file: PathBuf,
        /// It holds a key instead.
        is_key: bool,
    },
    /// No private key at all.
    #[error("{} holds no private key\nhint: it must be PEM, with a BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY line", file.display())]
    NoKey {
        /// Where.
        file: PathBuf,
    },
    /// Its time has not come.
    #[error("the certificate in {} is not valid before {}\nhint: check this machine's clock", file.display(), humantime::format_rfc3339_seconds(*from))]
    NotYetValid {
        /// Where.
        file: PathBuf,
        /// Its `notBefore`.
        from: SystemTime,
    },
    /// A certificate was not issued by the one behind it.
    #[error("certificate {position} in {} was issued by \"{issuer}\", but \"{found}\" follows it\nhint: the order is the host's certificate, then its issuer, then that one's issuer", file.display())]
    OutOfOrder {
        /// Where.
        file: PathBuf,
        /// Who follows.
        found: String,
        /// Who should.
        issuer: String,
        /// From 1.
        position: usize,
    },
    /// Right, but from the wrong end.
    #[error("the chain in {} is reversed: the host's certificate comes last\nhint: put it first, then its issuer, then that one's issuer", file.display())]
    Reversed {
        /// Where.
        file: PathBuf,
    },
    /// The file is not there, or not for us.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// Where.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A kind of key that TLS here does not take.
    #[error("the key in {} is of no supported kind: {reason}\nhint: use ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits and more", file.display())]
    UnsupportedKey {
        /// Where.
        file: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error("the key in {} does not belong to the certificate in {}\nhint: their public keys differ; put the key beside the certificate that was issued for it", key.display(), certificate.display())]
    WrongKey {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

impl PairError {
    /// A file is not there at all.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Pair {
    /// Reads and checks both files; links are followed. Blocking.
    pub fn load(files: &TlsFiles, now: SystemTime) -> Result<Self, PairError> {
        let chain = read_chain(&files.certificate)?;
        let certificates = parse_chain(&files.certificate, &chain)?;
        check_order(&files.certificate, &certificates)?;
        let leaf = &certificates[0];
        let (not_before, not_after) = check_time(&files.certificate, leaf, now)?;
        let (names, warnings) = (names(leaf), warnings(&files.certificate, &certificates));
        let key = read_key(&files.key)?;
        let unsupported = |error: TlsError| PairError::UnsupportedKey { file: files.key.clone(), reason: error.to_string() };
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(unsupported)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(PairError::WrongKey { certificate: files.certificate.clone(), key: files.key.clone() }),
        }
        Ok(Self { certified: Arc::new(certified), names, not_after, not_before, warnings })
    }

    /// The host names and addresses of the certificate in `file`, whatever else is wrong with it; none where there is no certificate.
    pub fn names_in(file: &Path) -> Vec<String> {
        let Ok(chain) = read_chain(file) else { return Vec::new() };
        parse_chain(file, &chain[..1]).map(|leaf| names(&leaf[0])).unwrap_or_default()
    }

    /// When the leaf ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// When it began.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The leaf's host names and addresses.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a client that asks for `host` takes it.
    pub(super) fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.parse::<DnsName>().is_ok_and(|name| name.covers(host)))
    }

    /// What a person should hear of.
    pub fn warnings(&self) -> &[PairWarning] {
        &self.warnings
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The same certificates; then the key is the same too.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("names", &self.names).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

fn read(file: &Path) -> Result<Vec<u8>, PairError> {
    std::fs::read(file).map_err(|source| PairError::Unreadable { file: file.into(), source })
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let text = read(file)?;
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let malformed = |error: PemError| PairError::Malformed { file: file.into(), position: chain.len() + 1, reason: error.to_string() };
        chain.push(certificate.map_err(malformed)?);
    }
    if chain.is_empty() {
        return Err(PairError::NoCertificate { file: file.into(), is_key: contains(&text, "PRIVATE KEY-----") });
    }
    Ok(chain)
}

fn parse_chain<'a>(file: &Path, chain: &'a [CertificateDer<'_>]) -> Result<Vec<X509Certificate<'a>>, PairError> {
    let parse = |(at, der): (usize, &'a CertificateDer<'_>)| match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(PairError::Malformed { file: file.into(), position: at + 1, reason: error.to_string() }),
    };
    chain.iter().enumerate().map(parse).collect()
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, PairError> {
    let text = read(file)?;
    if contains(&text, "BEGIN ENCRYPTED PRIVATE KEY") || contains(&text, "Proc-Type: 4,ENCRYPTED") {
        return Err(PairError::EncryptedKey { file: file.into() });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => PairError::NoKey { file: file.into() },
        other => PairError::UnsupportedKey { file: file.into(), reason: other.to_string() },
    })
}

/// Clients take the leaf from the first place only; some build the rest from any order, many do not.
fn check_order(file: &Path, chain: &[X509Certificate<'_>]) -> Result<(), PairError> {
    let issued_by = |pair: (&X509Certificate<'_>, &X509Certificate<'_>)| pair.0.issuer().as_raw() == pair.1.subject().as_raw();
    let Some(at) = chain.windows(2).position(|pair| !issued_by((&pair[0], &pair[1]))) else { return Ok(()) };
    if chain.windows(2).all(|pair| issued_by((&pair[1], &pair[0]))) {
        return Err(PairError::Reversed { file: file.into() });
    }
    let (issuer, found) = (chain[at].issuer().to_string(), chain[at + 1].subject().to_string());
    Err(PairError::OutOfOrder { file: file.into(), found, issuer, position: at + 1 })
}

/// When it began and when it ends, if it is in its time.
fn check_time(file: &Path, leaf: &X509Certificate<'_>, now: SystemTime) -> Result<(SystemTime, SystemTime), PairError> {
    let (from, until) = (moment(leaf.validity().not_before), moment(leaf.validity().not_after));
    if now > until {
        return Err(PairError::Expired { file: file.into(), since: until });
    }
    if now < from {
        return Err(PairError::NotYetValid { file: file.into(), from });
    }
    Ok((from, until))
}

fn moment(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.timestamp().try_into().unwrap_or(0))
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = leaf.subject_alternative_name() else { return Vec::new() };
    let written = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|octets| std::net::IpAddr::from(octets).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|octets| std::net::IpAddr::from(octets).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(written).collect()
}

fn warnings(file: &Path, chain: &[X509Certificate<'_>]) -> Vec<PairWarning> {
    let leaf = &chain[0];
    let mut found = Vec::new();
    if chain.len() == 1 && leaf.issuer().as_raw() != leaf.subject().as_raw() {
        found.push(PairWarning::MissingIntermediate { file: file.into(), issuer: leaf.issuer().to_string() });
    }
    if names(leaf).is_empty() {
        found.push(PairWarning::NoName { file: file.into() });
    }
    found
}

fn contains(text: &[u8], mark: &str) -> bool {
    text.windows(mark.len()).any(|window| window == mark.as_bytes())
}

#[cfg(test)]
pub(crate) mod tests;
