//! A CA's certificate, ours or another's, as it stands: what it says of what may be issued below it.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::constraints::Constraints;
use super::content::Purpose;
use super::key::pem;
use super::serial::Serial;
use crate::Moment;
use crate::bundle::moment;

/// A certificate that may sign certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    constraints: Option<Constraints>,
    issuer: Vec<u8>,
    key_id: Vec<u8>,
    name: String,
    not_after: Moment,
    not_before: Moment,
    path_length: Option<u32>,
    public_key: Vec<u8>,
    purposes: Option<BTreeSet<Purpose>>,
    serial: Serial,
    subject: Vec<u8>,
}

/// Why a CA's certificate is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthorityError {
    /// Not a certificate.
    #[error("certificate {position} cannot be read: {reason}")]
    Certificate {
        /// From 1.
        position: usize,
        /// What the parser says.
        reason: String,
    },
    /// Nothing there.
    #[error("there is no certificate in it")]
    Empty,
    /// Its time is over.
    #[error("the certificate of {0} ended at {1}")]
    Ended(String, Moment),
    /// None of them belongs to the key.
    #[error("none of the certificates is for the key")]
    Key,
    /// A leaf.
    #[error("{0} is no CA: its basic constraints or its key usage do not let it sign certificates")]
    NoAuthority(String),
    /// Its time has not come.
    #[error("the certificate of {0} is not valid before {1}")]
    NotYet(String, Moment),
}

impl Authority {
    /// Reads one.
    pub fn parse(certificate: &CertificateDer<'_>) -> Result<Self, AuthorityError> {
        let unreadable = |reason: String| AuthorityError::Certificate { position: 1, reason };
        let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|error| unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(unreadable("there is something behind it".into()));
        }
        let basic = parsed.basic_constraints().map_err(|error| unreadable(error.to_string()))?;
        let usage = parsed.key_usage().map_err(|error| unreadable(error.to_string()))?;
        let signs = usage.is_none_or(|usage| usage.value.key_cert_sign());
        let Some(basic) = basic.filter(|basic| basic.value.ca && signs) else {
            return Err(AuthorityError::NoAuthority(parsed.subject().to_string()));
        };
        let constraints = parsed.name_constraints().map_err(|error| unreadable(error.to_string()))?;
        Ok(Self {
            constraints: constraints.map(|extension| Constraints::read(extension.value)),
            issuer: parsed.issuer().as_raw().to_vec(),
            key_id: key_id(&parsed),
            name: parsed.subject().to_string(),
            not_after: moment(parsed.validity().not_after),
            not_before: moment(parsed.validity().not_before),
            path_length: basic.value.path_len_constraint,
            public_key: parsed.public_key().raw.to_vec(),
            purposes: purposes(&parsed),
            serial: Serial::from_bytes(parsed.raw_serial()).ok_or_else(|| unreadable("its serial number is too long".into()))?,
            subject: parsed.subject().as_raw().to_vec(),
            certificate: certificate.clone().into_owned(),
        })
    }

    /// All in a PEM text, in its order.
    pub fn read_all(text: &str) -> Result<Vec<Self>, AuthorityError> {
        let mut all = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let position = all.len() + 1;
            let certificate = certificate.map_err(|error| AuthorityError::Certificate { position, reason: error.to_string() })?;
            all.push(Self::parse(&certificate).map_err(|error| match error {
                AuthorityError::Certificate { reason, .. } => AuthorityError::Certificate { position, reason },
                other => other,
            })?);
        }
        if all.is_empty() { Err(AuthorityError::Empty) } else { Ok(all) }
    }

    /// From the certificate for `public_key` upward, as far as `pool` goes; in whatever order it is.
    pub fn chain(public_key: &[u8], mut pool: Vec<Self>) -> Result<Vec<Self>, AuthorityError> {
        pool.sort_by_key(|one| std::cmp::Reverse(one.not_after)); // A CA that was renewed may be there twice.
        let first = pool.iter().position(|one| one.public_key == public_key).ok_or(AuthorityError::Key)?;
        let mut chain = vec![pool.remove(first)];
        while let Some(last) = chain.last().filter(|last| !last.is_self_signed())
            && let Some(next) = pool.iter().position(|one| last.is_issued_by(one))
        {
            chain.push(pool.remove(next));
        }
        Ok(chain)
    }

    /// Its time is now.
    pub fn check(&self, now: Moment) -> Result<(), AuthorityError> {
        if self.not_after <= now {
            return Err(AuthorityError::Ended(self.name.clone(), self.not_after));
        }
        if self.not_before > now {
            return Err(AuthorityError::NotYet(self.name.clone(), self.not_before));
        }
        Ok(())
    }

    /// By name and by signature.
    pub fn is_issued_by(&self, other: &Self) -> bool {
        let parsed = (X509Certificate::from_der(&self.certificate), X509Certificate::from_der(&other.certificate));
        let (Ok((_, ours)), Ok((_, theirs))) = parsed else { return false };
        self.issuer == other.subject && ours.verify_signature(Some(theirs.public_key())).is_ok()
    }

    /// It names itself as its issuer: clients trust it for its own sake.
    pub fn is_self_signed(&self) -> bool {
        self.issuer == self.subject
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// For which names it may issue, if it says so.
    pub fn constraints(&self) -> Option<&Constraints> {
        self.constraints.as_ref()
    }

    /// SHA-256 of the certificate, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex::encode(digest(&SHA256, &self.certificate))
    }

    /// How certificates that it issues name its key.
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// Its subject, for a person.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its last second.
    pub fn not_after(&self) -> Moment {
        self.not_after
    }

    /// Its first second.
    pub fn not_before(&self) -> Moment {
        self.not_before
    }

    /// How many CAs may stand between it and a leaf.
    pub fn path_length(&self) -> Option<u32> {
        self.path_length
    }

    /// As PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Its key: DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// What it may issue for, if it says so.
    pub fn purposes(&self) -> Option<&BTreeSet<Purpose>> {
        self.purposes.as_ref()
    }

    /// Its number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Its name: DER, to the byte.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }
}

/// What the certificate says; else what we would have said.
fn key_id(parsed: &X509Certificate<'_>) -> Vec<u8> {
    let said = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    said.unwrap_or_else(|| digest(&SHA256, parsed.public_key().raw).as_ref()[..20].to_vec())
}

/// Clients hold what is below a CA against its extended key usage, too.
fn purposes(parsed: &X509Certificate<'_>) -> Option<BTreeSet<Purpose>> {
    let usage = parsed.extended_key_usage().ok()??.value;
    if usage.any {
        return None;
    }
    let both = [(Purpose::Client, usage.client_auth), (Purpose::Server, usage.server_auth)];
    Some(both.into_iter().filter(|(_, is)| *is).map(|(purpose, _)| purpose).collect())
}
