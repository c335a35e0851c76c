//! A private CA: a root that machines trust, an intermediate that may issue for a few names only, and short leaves.
//!
//! [`content`] decides what a certificate contains, from values and the time; [`seal`] turns that into bytes; `folder` keeps the state; [`Ca`] ties them together:
//! [`founding`] makes CAs and their successors, [`issuing`] what they issue and take back, [`grants`] the tokens by which machines get a certificate. [`export`] says which files make machines
//! trust it, [`published`] what a server knows its clients by, [`received`] what a machine got.
//!
//! What always holds:
//! * A leaf ends before every CA above it, and its names are ones that all of them permit: what clients would refuse is not issued.
//! * Of a signing request only the key and the names are used.
//! * A crash at any moment leaves the CA as it was or as it was to be.

pub mod authority;
pub mod constraints;
pub mod content;
pub mod export;
mod folder;
pub mod founding;
pub mod grants;
pub mod issuing;
pub mod key;
pub mod output;
pub mod published;
pub mod received;
pub mod request;
pub mod revocation;
pub mod seal;
mod serial;
pub mod token;

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;

pub use authority::{Authority, AuthorityError};
pub use constraints::{Constraints, Permit, PermitError, Permits};
pub use content::{Content, LEAF_LIFE, Purpose, Refusal, Subject, Terms, Wanted};
pub use export::{Host, HostError};
pub use founding::{Founding, NameError, Rotated};
pub use grants::{Grant, Redeemed, TokenRefusal, redeem};
pub use issuing::{Issued, Withdrawn};
pub use key::{CaKey, KeyError, PublicKey, SecretKey};
pub use published::Published;
pub use received::{Received, ReceivedError};
pub use request::{Request, RequestError};
pub use revocation::{Cause, Identity, Revocations, Revoked, is_revoked};
pub use seal::SealError;
pub use serial::{Serial, SerialError};
pub use token::{Token, TokenError, TokenId, TokenIdError, Validity, ValidityError, concealed};

use folder::{Document, Folder, Signer};

use crate::Moment;
use crate::store::{Lock, StoreError};

/// A CA that this process works on, and no other meanwhile.
#[derive(Debug)]
pub struct Ca {
    document: Document,
    folder: Folder,
    _lock: Lock,
}

/// Why a CA did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A CA's certificate is of no use.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// There is one.
    #[error("there is a CA in {} already", .0.display())]
    Exists(PathBuf),
    /// Another's certificate.
    #[error("the certificate was not issued by this CA")]
    Foreign,
    /// What it would issue is refused by all who know.
    #[error("the CA's own certificate was taken back: what it issues would be refused")]
    IssuerRevoked,
    /// A key that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key is not where it should be.
    #[error("the key of {name} is not here: {} is missing", path.display())]
    KeyAway {
        /// Whose.
        name: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no CA in {}", .0.display())]
    Missing(PathBuf),
    /// A request went out and nothing came back.
    #[error("the CA cannot issue yet: its request waits to be signed by the CA above")]
    NotSigned,
    /// Nothing was asked.
    #[error("no request of this CA waits for an answer")]
    NothingAsked,
    /// Everything would be permitted.
    #[error("nothing is permitted: a CA that may issue for every name is a danger to all who trust it")]
    NothingPermitted,
    /// No such token.
    #[error("no token is called {0}")]
    NoToken(TokenId),
    /// The CA above is elsewhere.
    #[error("this CA has no root of its own: the one above it is elsewhere")]
    NoRoot,
    /// No.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A request that is not one, or not to be signed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Bytes could not be made.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token that opens nothing.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// A number that this CA never gave.
    #[error("this CA issued no certificate with the number {0}")]
    Unknown(Serial),
    /// A key of another CA.
    #[error("the key does not belong to {0}")]
    WrongKey(String),
}

impl CaError {
    /// The whole command that makes a CA where there is none, with the folder that it is looked for in: without that, another one would be made elsewhere.
    pub fn mend(&self) -> Option<String> {
        let Self::Missing(folder) = self else { return None };
        Some(format!("`chandler ca init --state {} --permit NAME` makes one there", state(folder).display()))
    }
}

/// The folder that has a CA's folder in it, as `--state` names it.
pub(crate) fn state(folder: &Path) -> &Path {
    folder.parent().filter(|state| !state.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Ca {
    /// The one in `folder`.
    pub fn open(folder: &Path) -> Result<Self, CaError> {
        Self::open_within(folder, Duration::ZERO)
    }

    /// The same. While somebody else works on it, it is waited for, `patience` at most: they take no longer than a few writes.
    pub fn open_within(folder: &Path, patience: Duration) -> Result<Self, CaError> {
        let missing = || CaError::Missing(folder.to_owned());
        if !folder.exists() {
            return Err(missing()); // Else the lock would make the folder.
        }
        let folder = Folder::new(folder);
        let lock = folder.lock_within(patience)?;
        let document = folder.load()?.ok_or_else(missing)?;
        Ok(Self { document, folder, _lock: lock })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The one that issues, and all above it.
    pub fn issuer(&self) -> Result<Vec<Authority>, CaError> {
        Ok(self.document.issuers.last().ok_or(CaError::NotSigned)?.chain()?)
    }

    /// What clients are to trust, the oldest first: every root of a chain that has not ended, and the next root before it is used.
    pub fn anchors(&self, now: Moment) -> Result<Vec<Authority>, CaError> {
        Ok(self.document.anchors(now)?)
    }

    /// What was taken back.
    pub fn revocations(&self) -> Result<Revocations, CaError> {
        Ok(self.folder.revocations()?)
    }

    /// The same, signed: PEM.
    pub fn signed_list(&self) -> PathBuf {
        self.folder.signed_list()
    }

    /// Where the newest root's key is, if it is here: only a rotation needs it.
    pub fn root_key(&self) -> Option<PathBuf> {
        self.document.roots.last().map(|root| self.folder.key_path(&root.key)).filter(|path| path.exists())
    }

    fn key_of(&self, signer: &Signer) -> Result<SecretKey, CaError> {
        let own = signer.chain()?.swap_remove(0);
        let key = self.folder.key(&signer.key)?;
        let key = key.ok_or_else(|| CaError::KeyAway { name: own.name().to_owned(), path: self.folder.key_path(&signer.key) })?;
        belongs(&key, &own)?;
        Ok(key)
    }
}

fn belongs(key: &SecretKey, authority: &Authority) -> Result<(), CaError> {
    if key.public_der() == authority.public_key() { Ok(()) } else { Err(CaError::WrongKey(authority.name().to_owned())) }
}

fn new_serial() -> Serial {
    let mut bytes = [0; 20];
    rand::fill(&mut bytes).expect("the system has random bytes; without them no key could be made either");
    Serial::from_random(bytes)
}

#[cfg(test)]
mod tests;
