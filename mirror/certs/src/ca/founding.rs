//! How a CA begins, and how one takes over from another: a root of our own, a company's CA above us, or a CA that machines trust already.
//!
//! A new root is published before it is used: [`Ca::rotate_root`] only makes it, so that [`Ca::anchors`] has both, and the next [`Ca::rotate`] signs with it. What the
//! old ones issued stays valid until it ends.

use std::path::Path;

use super::authority::Authority;
use super::constraints::Permits;
use super::content::{self, Subject, Terms};
use super::folder::{Document, Folder, Signer};
use super::key::{CaKey, PublicKey, SecretKey};
use super::{Ca, CaError, belongs, new_serial, seal};
use crate::Moment;

/// What the operator chose for a CA.
#[derive(Clone, Debug, Default)]
pub struct Founding {
    /// The kind of its keys.
    pub key: CaKey,
    /// What its certificates are called: `NAME root`, `NAME intermediate`.
    pub name: String,
    /// O of its certificates.
    pub organization: Option<String>,
    /// What it may issue for.
    pub permits: Permits,
}

/// Why a text is no name for a CA or an organisation.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` cannot stand in a certificate: write 1 to {most} characters, and none that cannot be seen")]
pub struct NameError {
    most: usize,
    text: String,
}

/// What a rotation came to.
#[derive(Debug)]
pub enum Rotated {
    /// A new intermediate issues.
    Intermediate,
    /// The CA above is elsewhere, and must sign this: PEM.
    Request(String),
}

impl Founding {
    /// A name that fits, with what is put behind it.
    pub fn check_name(text: &str) -> Result<String, NameError> {
        check(text, MAX_NAME)
    }

    /// An organisation that fits.
    pub fn check_organization(text: &str) -> Result<String, NameError> {
        check(text, MAX_ORGANIZATION)
    }

    /// Each certificate has a name of its own, so that none is taken for its predecessor.
    fn subject(&self, rank: &str, serial: &super::Serial) -> Subject {
        let number = &serial.to_string()[..8];
        Subject { common_name: Some(format!("{} {rank} {number}", self.name)), organization: self.organization.clone() }
    }
}

impl Ca {
    /// A new CA with a root of its own.
    pub fn found(folder: &Path, founding: &Founding, now: Moment) -> Result<Self, CaError> {
        let mut ca = Self::begin(folder, founding)?;
        ca.add_root(now)?;
        ca.add_intermediate(None, now)?;
        Ok(ca)
    }

    /// A new CA below one that is elsewhere, and what that one must sign: PEM. Asked again before it is answered, it is the same request.
    pub fn ask(folder: &Path, founding: &Founding) -> Result<(Self, String), CaError> {
        let waiting = Self::open(folder).ok().filter(|ca| ca.document.issuers.is_empty() && ca.document.pending.is_some());
        let mut ca = waiting.map_or_else(|| Self::begin(folder, founding), Ok)?;
        let request = ca.request()?;
        Ok((ca, request))
    }

    /// Takes what the CA above signed: the certificate and all above it, in any order.
    pub fn answer(&mut self, certificates: &str, now: Moment) -> Result<(), CaError> {
        let name = self.document.pending.clone().ok_or(CaError::NothingAsked)?;
        let away = || CaError::KeyAway { name: "the request".into(), path: self.folder.key_path(&name) };
        let key = self.folder.key(&name)?.ok_or_else(away)?;
        let chain = usable_chain(certificates, &key, now)?;
        self.document.pending = None;
        self.document.issuers.push(Signer::new(&chain, name));
        self.commit(now)
    }

    /// Takes a CA that machines trust already. With something permitted it signs an intermediate for that and its key is not kept; else it issues itself.
    pub fn adopt(folder: &Path, certificates: &str, key: &SecretKey, founding: &Founding, now: Moment) -> Result<Self, CaError> {
        let chain = usable_chain(certificates, key, now)?;
        let mut ca = match Self::open(folder) {
            Err(CaError::Missing(_)) => Self::start(folder, founding)?,
            other => other?,
        };
        if founding.permits.is_empty() {
            let name = ca.folder.save_key(key)?;
            ca.document.issuers.push(Signer::new(&chain, name));
            ca.commit(now)?;
        } else {
            ca.document.settings.permits.clone_from(&founding.permits);
            ca.document.roots.push(Signer::new(&chain, super::key::key_name(&key.public_der())));
            ca.add_intermediate(Some(key), now)?;
        }
        Ok(ca)
    }

    /// A new intermediate takes over, for what is permitted from now on. `root_key` is for a root whose key is kept elsewhere.
    pub fn rotate(&mut self, permits: Option<Permits>, root_key: Option<&SecretKey>, now: Moment) -> Result<Rotated, CaError> {
        if let Some(permits) = permits.filter(|permits| !permits.is_empty()) {
            self.document.settings.permits = permits;
        }
        if self.document.roots.is_empty() {
            return self.request().map(Rotated::Request);
        }
        let ended = self.forget_ended(now)?;
        self.add_intermediate(root_key, now)?;
        for key in ended {
            self.folder.remove_key(&key)?;
        }
        Ok(Rotated::Intermediate)
    }

    /// A new root, to be trusted beside the old one; the next [`Ca::rotate`] uses it.
    pub fn rotate_root(&mut self, now: Moment) -> Result<(), CaError> {
        if self.document.roots.is_empty() {
            return Err(CaError::NoRoot);
        }
        self.add_root(now)?;
        self.commit(now)
    }

    /// One that nothing stands in the way of, with what it must not issue said.
    fn begin(folder: &Path, founding: &Founding) -> Result<Self, CaError> {
        if founding.permits.is_empty() {
            return Err(CaError::NothingPermitted);
        }
        Self::start(folder, founding)
    }

    fn start(folder: &Path, founding: &Founding) -> Result<Self, CaError> {
        let folder = Folder::new(folder);
        let lock = folder.lock()?;
        if folder.load()?.is_some() {
            return Err(CaError::Exists(folder.path().to_owned()));
        }
        Ok(Self { document: Document::new(founding), folder, _lock: lock })
    }

    fn founding(&self) -> Founding {
        let settings = self.document.settings.clone();
        Founding { key: settings.key, name: settings.name, organization: settings.organization, permits: settings.permits }
    }

    /// In memory; its key on the disk.
    fn add_root(&mut self, now: Moment) -> Result<(), CaError> {
        let (founding, serial) = (self.founding(), new_serial());
        let key = SecretKey::for_ca(founding.key)?;
        let content = content::root(founding.subject("root", &serial), serial, now);
        let root = Authority::parse(&seal::self_signed(&content, &key)?)?;
        let name = self.folder.save_key(&key)?;
        self.document.roots.push(Signer::new(&[root], name));
        Ok(())
    }

    /// Below the newest root, and committed.
    fn add_intermediate(&mut self, root_key: Option<&SecretKey>, now: Moment) -> Result<(), CaError> {
        let root = self.document.roots.last().ok_or(CaError::NoRoot)?;
        let mut chain = root.chain()?;
        let kept;
        let root_key = if let Some(key) = root_key {
            key
        } else {
            kept = self.key_of(root)?;
            &kept
        };
        belongs(root_key, &chain[0])?;
        let (founding, serial) = (self.founding(), new_serial());
        let subject = founding.subject("intermediate", &serial);
        let content = content::intermediate(&Terms::of(&chain), &founding.permits, subject, serial, now)?;
        let key = SecretKey::for_ca(founding.key)?;
        let certificate = seal::signed(&content, &PublicKey::read(&key.public_der())?, &chain[0], root_key)?;
        chain.insert(0, Authority::parse(&certificate)?);
        let name = self.folder.save_key(&key)?;
        self.document.issuers.push(Signer::new(&chain, name));
        self.commit(now)
    }

    /// For the CA above, with a key that waits for the answer.
    fn request(&mut self) -> Result<String, CaError> {
        let founding = self.founding();
        let waiting = self.document.pending.as_ref().map(|name| self.folder.key(name)).transpose()?.flatten();
        let key = waiting.map_or_else(|| SecretKey::for_ca(founding.key), Ok)?;
        let subject = Subject { common_name: Some(format!("{} intermediate", founding.name)), organization: founding.organization };
        let request = seal::request(&subject, &key)?;
        self.document.pending = Some(self.folder.save_key(&key)?);
        self.folder.save(&self.document)?;
        Ok(request)
    }

    /// Drops intermediates that ended, the one in use excepted; their keys, which nothing needs once the document is saved.
    fn forget_ended(&mut self, now: Moment) -> Result<Vec<String>, CaError> {
        let (mut kept, mut ended) = (Vec::new(), Vec::new());
        let last = self.document.issuers.len().saturating_sub(1);
        for (at, signer) in self.document.issuers.iter().enumerate() {
            if at < last && signer.chain()?[0].not_after() <= now {
                ended.push(signer.key.clone());
            } else {
                kept.push(signer.clone());
            }
        }
        self.document.issuers = kept;
        Ok(ended)
    }

    fn commit(&self, now: Moment) -> Result<(), CaError> {
        self.folder.save(&self.document)?;
        self.sign_list(now)
    }
}

fn check(text: &str, most: usize) -> Result<String, NameError> {
    let text = text.trim();
    let fits = (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(NameError { most, text: text.to_owned() }) }
}

/// What `key` belongs to and all above it, none of them ended, the lowest allowed to issue leaves.
fn usable_chain(certificates: &str, key: &SecretKey, now: Moment) -> Result<Vec<Authority>, CaError> {
    let chain = Authority::chain(&key.public_der(), Authority::read_all(certificates)?)?;
    for one in &chain {
        one.check(now)?;
    }
    if Terms::of(&chain).further.is_some_and(|further| further < 0) {
        return Err(content::Refusal::Path.into());
    }
    Ok(chain)
}

/// With ` intermediate ` and a number behind it, it fits into 64.
const MAX_NAME: usize = 40;
/// RFC 5280, ub-organization-name.
const MAX_ORGANIZATION: usize = 64;
