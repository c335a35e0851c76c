//! What a CA issues, and what it takes back.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::authority::{Authority, AuthorityError};
use super::content::{self, Content, Purpose, Refusal, Role, Terms, Wanted};
use super::folder::{Record, Signer};
use super::key::{PublicKey, SecretKey, pem};
use super::request::Request;
use super::revocation::{Cause, Identity, Revoked, is_revoked};
use super::serial::Serial;
use super::{Ca, CaError, new_serial, seal};
use crate::{KeyKind, Moment};

/// A leaf that was issued.
#[derive(Debug)]
pub struct Issued {
    /// It and the CAs above it, without the root: PEM.
    pub chain: String,
    /// What it contains.
    pub content: Content,
    /// Its key, if that was made here.
    pub key: Option<SecretKey>,
}

/// A certificate that was taken back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Withdrawn {
    /// It had not been taken back before.
    pub is_new: bool,
    /// Its number.
    pub serial: Serial,
}

impl Ca {
    /// A new key and a certificate for it.
    pub fn issue(&self, wanted: &Wanted, key: KeyKind, now: Moment) -> Result<Issued, CaError> {
        let key = SecretKey::for_leaf(key)?;
        let issued = self.certify(wanted, &PublicKey::read(&key.public_der())?, now)?;
        Ok(Issued { key: Some(key), ..issued })
    }

    /// A certificate for somebody else's key; the names in `wanted` are what is left of those in the request.
    pub fn sign(&self, request: &Request, wanted: &Wanted, now: Moment) -> Result<Issued, CaError> {
        self.certify(wanted, &request.key, now)
    }

    fn certify(&self, wanted: &Wanted, key: &PublicKey, now: Moment) -> Result<Issued, CaError> {
        let (issued, record) = self.make(wanted, key, now)?;
        self.folder.record(&record)?;
        Ok(issued)
    }

    /// In memory. It must not leave before its record is written.
    pub(super) fn make(&self, wanted: &Wanted, key: &PublicKey, now: Moment) -> Result<(Issued, Record), CaError> {
        let content = self.planned(wanted, now)?;
        let (signer, above) = self.signer()?;
        let certificate = seal::signed(&content, key, &above[0], &self.key_of(signer)?)?;
        let record = record(&content, &above[0], now);
        let sent = above.iter().filter(|authority| !authority.is_self_signed()).map(Authority::pem);
        let chain = [pem("CERTIFICATE", &certificate)].into_iter().chain(sent).collect();
        Ok((Issued { chain, content, key: None }, record))
    }

    /// What a certificate as `wanted` would contain, unless it must be refused.
    pub(super) fn planned(&self, wanted: &Wanted, now: Moment) -> Result<Content, CaError> {
        let terms = Terms::of(&self.signer()?.1).within(&self.document.settings.permits);
        Ok(content::leaf(&terms, wanted, new_serial(), now)?)
    }

    /// Whether it would issue this. Nothing is made.
    pub fn would_issue(&self, wanted: &Wanted, now: Moment) -> Result<(), CaError> {
        self.key_of(self.signer()?.0)?;
        self.planned(wanted, now).map(drop)
    }

    /// Whether clients' certificates can be issued, whatever their names.
    pub fn is_able(&self, now: Moment) -> Result<(), CaError> {
        let (signer, above) = self.signer()?;
        self.key_of(signer)?;
        for one in &above {
            one.check(now)?;
        }
        match Terms::of(&above).purposes {
            Some(purposes) if !purposes.contains(&Purpose::Client) => Err(Refusal::Purpose(Purpose::Client).into()),
            _ => Ok(()),
        }
    }

    /// Whether what it issues can be written down, by this process and by whoever the folder belongs to: else nothing leaves.
    pub fn can_record(&self) -> Result<(), CaError> {
        Ok(self.folder.check_writable()?)
    }

    /// The one that issues, with its certificate and all above it, none of them taken back.
    fn signer(&self) -> Result<(&Signer, Vec<Authority>), CaError> {
        let signer = self.document.issuers.last().ok_or(CaError::NotSigned)?;
        let above = signer.chain()?;
        if is_revoked(&self.folder.revocations()?, &above.iter().map(|one| one.certificate().clone()).collect::<Vec<_>>()) {
            return Err(CaError::IssuerRevoked);
        }
        Ok((signer, above))
    }

    /// Takes the certificate with this number back.
    pub fn revoke_serial(&mut self, serial: &Serial, cause: Cause, now: Moment) -> Result<Withdrawn, CaError> {
        let record = self.folder.issued(serial)?.ok_or_else(|| CaError::Unknown(serial.clone()))?;
        self.withdraw(Revoked { at: now, cause, issuer: record.issuer, serial: record.serial, until: record.not_after }, now)
    }

    /// Takes the first certificate in a PEM text back: a leaf, or an intermediate with all that it issued.
    pub fn revoke_certificate(&mut self, text: &str, cause: Cause, now: Moment) -> Result<Withdrawn, CaError> {
        let unreadable = |reason: String| AuthorityError::Certificate { position: 1, reason };
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
        let identity = Identity::of(&certificate).ok_or_else(|| unreadable("it is no certificate".into()))?;
        let issuer = identity.issuer.ok_or(CaError::Foreign)?;
        let mut ours = Vec::new();
        for signer in self.document.issuers.iter().chain(&self.document.roots) {
            ours.push(hex::encode(signer.chain()?[0].key_id()));
        }
        if !ours.contains(&issuer) {
            return Err(CaError::Foreign);
        }
        self.withdraw(Revoked { at: now, cause, issuer, serial: identity.serial, until: identity.not_after }, now)
    }

    fn withdraw(&mut self, revoked: Revoked, now: Moment) -> Result<Withdrawn, CaError> {
        let mut list = self.folder.revocations()?;
        let serial = revoked.serial.clone();
        let is_new = list.add(revoked, now);
        self.folder.save_revocations(&list)?;
        self.sign_list(now)?;
        Ok(Withdrawn { is_new, serial })
    }

    /// Writes what was taken back for programs that read such lists, each issuer's part signed by it. An issuer whose key is kept elsewhere has none.
    pub(super) fn sign_list(&self, now: Moment) -> Result<(), CaError> {
        let list = self.folder.revocations()?;
        let mut text = String::new();
        for signer in self.document.issuers.iter().chain(&self.document.roots) {
            let authority = signer.chain()?.swap_remove(0);
            match self.folder.key(&signer.key)? {
                Some(key) if authority.not_after() > now => text += &seal::revocation_list(&list, &authority, &key, now)?,
                _ => {}
            }
        }
        Ok(self.folder.save_signed_list(&text)?)
    }
}

fn record(content: &Content, issuer: &Authority, now: Moment) -> Record {
    let (identifiers, purpose) = match &content.role {
        Role::Leaf { identifiers, purpose } => (identifiers.clone(), *purpose),
        Role::Intermediate(_) | Role::Root => Default::default(),
    };
    Record {
        at: now,
        identifiers,
        issuer: hex::encode(issuer.key_id()),
        not_after: content.not_after,
        purpose,
        serial: content.serial.clone(),
    }
}
