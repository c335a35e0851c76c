//! What a certificate should be, and what one is: the two sides that [`plan`](crate::plan()) compares.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Identifiers, Moment};

/// What the configuration asks for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wish {
    /// The CAs, by the URL of their directory, in the order in which they are asked.
    pub directories: Vec<String>,
    /// A word for how it is to be got (account, proofs): changed, what failed before is tried at once. It makes no other certificate.
    #[serde(default)]
    pub how: String,
    /// For whom.
    pub identifiers: Identifiers,
    /// The kind of key.
    pub key: KeyKind,
    /// Which of the CA's profiles; `None` leaves that to the CA.
    pub profile: Option<String>,
}

/// What a certificate in hand is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Facts {
    /// Who issued it, by the URL of its directory.
    pub directory: String,
    /// Its name in ARI (RFC 9773 4.1); `None` where it names no authority key.
    pub id: Option<String>,
    /// For whom it was ordered; a CA may add names.
    pub identifiers: Identifiers,
    /// The kind of its key.
    pub key: KeyKind,
    /// Its last second.
    pub not_after: Moment,
    /// Its first second; CAs set it back by an hour or so.
    pub not_before: Moment,
    /// Which profile was asked for.
    pub profile: Option<String>,
    /// Its issuer took it back.
    pub revoked: bool,
    /// It was got so that the one before is not used any longer, however long that one is valid.
    #[serde(default)]
    pub supersedes: bool,
}

/// Kinds of keys for certificates.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// ECDSA over P-256: small and fast, and every client knows it.
    #[default]
    P256,
    /// ECDSA over P-384.
    P384,
    /// RSA of 2048 bits, for clients that know nothing else.
    Rsa2048,
}

impl Facts {
    /// How long it is valid in all.
    pub fn life(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// How long it is still valid.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.not_after.since(now)
    }

    /// Why it is not what `wish` asks for, if so.
    pub fn differs(&self, wish: &Wish) -> Option<Difference> {
        if !wish.directories.contains(&self.directory) {
            return Some(Difference::Directory);
        }
        if self.identifiers != wish.identifiers {
            return Some(Difference::Identifiers);
        }
        if self.key != wish.key {
            return Some(Difference::Key);
        }
        (self.profile != wish.profile).then_some(Difference::Profile)
    }
}

/// In what a certificate is not what is asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Difference {
    /// Another CA issued it.
    Directory,
    /// It is for others.
    Identifiers,
    /// Its key is of another kind.
    Key,
    /// It has another profile.
    Profile,
}
