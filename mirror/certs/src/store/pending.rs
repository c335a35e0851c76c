//! Orders under way, as they are written down: to go on with after a crash, and for other processes of the folder to answer for.
//!
//! A CA that looks for a proof meets whoever has the port, which need not be whoever placed the order: a command line that renews while the mirror runs, a
//! second mirror behind one address. What is answered is made public by being answered; the key beside it never is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::solve::{Proof, Way};
use crate::{Identifier, Identifiers, KeyKind};

/// An order under way: all that is needed to go on with it after a crash.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
pub struct Pending {
    /// The account's URL, which owns the order.
    pub account: String,
    /// The certificate signing request, DER in hexadecimal.
    pub csr: String,
    /// At which CA.
    pub directory: String,
    /// For whom.
    pub identifiers: Identifiers,
    /// The key, PEM.
    pub key: String,
    /// Of which kind it is.
    #[serde(default)]
    pub kind: KeyKind,
    /// The order's URL, once it is placed.
    pub order: Option<String>,
    /// Which profile was asked for.
    pub profile: Option<String>,
    /// What the CA is to find, whichever process of this machine it meets.
    #[serde(default)]
    pub proofs: Proofs,
    /// TXT records that are there or are about to be: they are taken away again, whoever goes on with the order.
    #[serde(default)]
    pub records: Vec<Record>,
    /// The certificate that it says to replace.
    pub replaces: Option<String>,
}

/// Without the key.
impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { account, directory, identifiers, kind: _, order, profile, proofs: _, records: _, replaces, csr: _, key: _ } = self;
        let mut shown = f.debug_struct("Pending");
        shown.field("account", account).field("directory", directory).field("identifiers", identifiers);
        shown.field("order", order).field("profile", profile).field("replaces", replaces).finish_non_exhaustive()
    }
}

/// A TXT record of dns-01, and all that it takes to take it away.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// Whose proof it is.
    pub identifier: Identifier,
    /// Where it is, for those who do not leave that to a script.
    pub place: Option<String>,
    /// The CA's token.
    pub token: String,
    /// Its value.
    pub value: String,
}

/// What CAs come to look for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Proofs {
    /// tls-alpn-01: the SHA-256 of the key authorization in hexadecimal, by the name that is proved.
    pub alpn: BTreeMap<Identifier, String>,
    /// http-01: the file by its token.
    pub http: BTreeMap<String, String>,
}

impl Proofs {
    /// Another one. Says whether it is one that others can answer.
    pub(crate) fn add(&mut self, proof: &Proof) -> bool {
        match proof.way {
            Way::Http => drop(self.http.insert(proof.token.clone(), proof.key_authorization.clone())),
            Way::TlsAlpn => drop(self.alpn.insert(proof.identifier.clone(), hex::encode(&proof.digest))),
            Way::Dns | Way::DnsPersist => return false,
        }
        true
    }

    fn extend(&mut self, others: Self) {
        self.alpn.extend(others.alpn);
        self.http.extend(others.http);
    }
}

impl Store {
    /// The proofs of all orders under way, whoever of those that share this folder placed them; nothing where there is no order, so that strangers learn
    /// nothing of us. What cannot be read hides none of the others, and is told beside them.
    pub fn proofs(&self) -> Result<(Proofs, Vec<StoreError>), StoreError> {
        let (mut all, mut unread) = (Proofs::default(), Vec::new());
        for name in self.names()? {
            let folder = self.certificate(&name);
            for pending in [folder.pending(), folder.rehearsal().pending()] {
                match pending {
                    Ok(Some(pending)) if pending.order.is_some() => all.extend(pending.proofs),
                    Ok(_) => {}
                    Err(error) => unread.push(error),
                }
            }
        }
        Ok((all, unread))
    }
}
