//! Tokens that are out: each is good for one certificate of a client, for the names that its operator said, for a while.
//!
//! A [`Grant`] is a file of its own, with the hash of its token's secret. It is taken by the one write that notes whose key it was used for and holds the certificate: so there is one
//! certificate a token, whatever crashes and however many ask at once, and who lost the answer asks again with the same key and gets the same.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::authority::Authority;
use super::content::{Purpose, Wanted};
use super::folder::{Folder, Record};
use super::key::PublicKey;
use super::request::Request;
use super::serial::Serial;
use super::token::{Token, TokenId, Validity};
use super::{Ca, CaError};
use crate::{Identifiers, Moment};

/// What is kept of a token.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// When it was made.
    pub at: Moment,
    hash: String,
    /// What it is called.
    pub id: TokenId,
    /// For whom the certificate will be.
    pub identifiers: Identifiers,
    life_seconds: u64,
    taken: Option<Taken>,
    /// Nobody can use it from then on.
    pub until: Moment,
}

/// By whom it was used.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Taken {
    chain: String,
    key: String,
    record: Record,
}

/// What a token came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redeemed {
    /// The certificate and the CAs above it, without the root: PEM.
    pub chain: String,
    /// For whom it is.
    pub identifiers: Identifiers,
    /// It was issued just now, and not before.
    pub is_new: bool,
    /// Its end.
    pub not_after: Moment,
    /// Its number.
    pub serial: Serial,
}

/// Why a token opens nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenRefusal {
    /// Its time is over.
    #[error("the token's time was over at {0}")]
    Ended(Moment),
    /// Nobody made it, or it is forgotten. Which, a stranger does not learn.
    #[error("the token is not known here: it was not made by this CA, is over for long, or was taken back")]
    Unknown,
    /// Somebody else has the certificate.
    #[error("the token was used for another key at {0}, and is good for one certificate")]
    Used(Moment),
}

/// For a server: the certificate that `token` is good for, for the key in a signing request (PEM or DER) that it gets from whoever shows it. Waits `patience` at most for whoever else works on the CA.
///
/// A stranger without a token makes it look for one file, and no more.
pub fn redeem(folder: &Path, token: &Token, request: &[u8], patience: Duration, now: Moment) -> Result<Redeemed, CaError> {
    Grant::of(&Folder::new(folder), token, now)?;
    let key = Request::key_of(request)?;
    Ca::open_within(folder, patience)?.redeem(token, &key, now)
}

impl Ca {
    /// A new token for a client's certificate with these names and this life. What is over for good is forgotten.
    pub fn grant(&self, identifiers: Identifiers, life: Duration, validity: Validity, now: Moment) -> Result<(Token, Grant), CaError> {
        let wanted = Wanted { identifiers, life, purpose: Purpose::Client };
        self.planned(&wanted, now)?; // What would be refused then is refused now.
        self.is_able(now)?;
        let token = Token::new(&self.anchors(now)?.iter().map(Authority::pem).collect::<String>());
        let grant = Grant {
            at: now,
            hash: token.hash(),
            id: token.id().clone(),
            identifiers: wanted.identifiers,
            life_seconds: life.as_secs(),
            taken: None,
            until: now + validity.duration(),
        };
        self.forget_over(now)?;
        self.folder.save_grant(&grant)?;
        Ok((token, grant))
    }

    /// All that are out, and those that were used as long as their certificates hold, the first to end first. What is over for good is forgotten.
    pub fn grants(&self, now: Moment) -> Result<Vec<Grant>, CaError> {
        self.forget_over(now)?;
        let mut grants = Vec::new();
        for id in self.folder.grants()? {
            grants.extend(self.folder.grant(&id)?);
        }
        grants.sort_by_key(|grant| grant.until);
        Ok(grants)
    }

    /// Takes a token back: nobody can use it from now on. A certificate that it was used for stays what it is.
    pub fn cancel(&self, id: &TokenId) -> Result<Grant, CaError> {
        let grant = self.folder.grant(id)?.ok_or_else(|| CaError::NoToken(id.clone()))?;
        self.folder.remove_grant(id)?;
        Ok(grant)
    }

    /// The certificate that `token` is good for, for `key`; the same again for the same key.
    pub fn redeem(&self, token: &Token, key: &PublicKey, now: Moment) -> Result<Redeemed, CaError> {
        let mut grant = Grant::of(&self.folder, token, now)?;
        if let Some(taken) = &grant.taken {
            return self.again(&grant, taken, key, now);
        }
        let (issued, record) = self.make(&grant.wanted(), key, now)?;
        let taken = Taken { chain: issued.chain, key: key.fingerprint(), record };
        grant.taken = Some(taken.clone());
        self.folder.save_grant(&grant)?;
        self.folder.record(&taken.record)?;
        Ok(taken.redeemed(true))
    }

    /// A crash may have come between the two writes: what leaves must be in the list. Whoever comes second hears that somebody was there, also when its time is over.
    fn again(&self, grant: &Grant, taken: &Taken, key: &PublicKey, now: Moment) -> Result<Redeemed, CaError> {
        if taken.key != key.fingerprint() {
            return Err(TokenRefusal::Used(taken.record.at).into());
        }
        if grant.until <= now {
            return Err(TokenRefusal::Ended(grant.until).into());
        }
        if self.folder.issued(&taken.record.serial)?.is_none() {
            self.folder.record(&taken.record)?;
        }
        Ok(taken.redeemed(false))
    }

    /// One that cannot be read is a person's to look at, and keeps nobody from a new one.
    fn forget_over(&self, now: Moment) -> Result<(), CaError> {
        for id in self.folder.grants()? {
            if matches!(self.folder.grant(&id), Ok(Some(grant)) if grant.is_over(now)) {
                self.folder.remove_grant(&id)?;
            }
        }
        Ok(())
    }
}

impl Grant {
    /// Of `token`, if it holds now or was used. Needs no lock: its file is replaced as a whole.
    fn of(folder: &Folder, token: &Token, now: Moment) -> Result<Self, CaError> {
        let grant = folder.grant(token.id())?.filter(|grant| token.has_hash(&grant.hash)).ok_or(TokenRefusal::Unknown)?;
        let is_of_no_use = grant.taken.is_none() && grant.until <= now;
        if is_of_no_use { Err(TokenRefusal::Ended(grant.until).into()) } else { Ok(grant) }
    }

    /// Nobody can use it, and there is no certificate that its operator may have to take back.
    fn is_over(&self, now: Moment) -> bool {
        self.until <= now && self.taken.as_ref().is_none_or(|taken| taken.record.not_after <= now)
    }

    fn wanted(&self) -> Wanted {
        Wanted { identifiers: self.identifiers.clone(), life: Duration::from_secs(self.life_seconds), purpose: Purpose::Client }
    }

    /// When it was used, and the number of the certificate and its end, if it was.
    pub fn used(&self) -> Option<(Moment, &Serial, Moment)> {
        self.taken.as_ref().map(|taken| (taken.record.at, &taken.record.serial, taken.record.not_after))
    }
}

impl Taken {
    fn redeemed(&self, is_new: bool) -> Redeemed {
        let Record { identifiers, not_after, serial, .. } = self.record.clone();
        Redeemed { chain: self.chain.clone(), identifiers, is_new, not_after, serial }
    }
}
