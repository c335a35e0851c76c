//! What was taken back, and whether a certificate is among it: pure.

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::serial::Serial;
use crate::Moment;

/// All that was taken back and has not ended yet.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    number: u64,
    revoked: Vec<Revoked>,
}

/// One certificate that was taken back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// When.
    pub at: Moment,
    /// Why.
    pub cause: Cause,
    /// The key of who issued it, as certificates name it, in hexadecimal.
    pub issuer: String,
    /// Its number there.
    pub serial: Serial,
    /// Its own end, after which nobody need remember.
    pub until: Moment,
}

/// Why a certificate is taken back.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// What it was for is no more.
    CessationOfOperation,
    /// Somebody else has the key.
    KeyCompromise,
    /// Another one took its place.
    Superseded,
    /// Nobody said.
    #[default]
    Unspecified,
}

/// Which certificate this is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The key of who issued it, in hexadecimal, if the certificate says so.
    pub issuer: Option<String>,
    /// Its end.
    pub not_after: Moment,
    /// Its number there.
    pub serial: Serial,
}

impl Revocations {
    /// Adds one, unless it is there already, and forgets what has ended by `now`.
    pub fn add(&mut self, revoked: Revoked, now: Moment) -> bool {
        self.number += 1;
        self.revoked.retain(|one| one.until > now);
        let is_new = !self.revoked.iter().any(|one| one.issuer == revoked.issuer && one.serial == revoked.serial);
        if is_new {
            self.revoked.push(revoked);
        }
        is_new
    }

    /// Counted up with each change.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Those that were issued with this key.
    pub fn of(&self, key_id: &[u8]) -> impl Iterator<Item = &Revoked> {
        let issuer = hex::encode(key_id);
        self.revoked.iter().filter(move |one| one.issuer == issuer)
    }

    /// The entry for this certificate. One that does not say who issued it is found by its number alone.
    pub fn find(&self, identity: &Identity) -> Option<&Revoked> {
        let is_issuer = |one: &Revoked| identity.issuer.as_ref().is_none_or(|issuer| *issuer == one.issuer);
        self.revoked.iter().find(|one| one.serial == identity.serial && is_issuer(one))
    }
}

impl Identity {
    /// Of a certificate; `None` where it is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let issuer = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref().map(|id| hex::encode(id.0)),
            _ => None,
        });
        let not_after = crate::bundle::moment(parsed.validity().not_after);
        Some(Self { issuer, not_after, serial: Serial::from_bytes(parsed.raw_serial())? })
    }
}

/// Whether the one that shows this chain is to be refused: its certificate, or one of a CA above it, was taken back, or cannot be read.
pub fn is_revoked(list: &Revocations, chain: &[CertificateDer<'_>]) -> bool {
    chain.iter().any(|certificate| Identity::of(certificate).is_none_or(|identity| list.find(&identity).is_some()))
}
