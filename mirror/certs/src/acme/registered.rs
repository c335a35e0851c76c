//! An account that is registered, as its CA has it: looked at, told another address, given another key, ended.

use instant_acme::Error;
use serde::Deserialize;
use serde_json::json;

use super::rollover::{is_doubtful, settle};
use super::signed::{AccountKey, Signer};
use super::{AccountError, CaError, Courier, Directory, legible, wait_for};
use crate::store::{AccountFolder, Saved};

/// An account with all that it takes to speak for it.
pub struct Registered {
    courier: Courier,
    directory: String,
    key: AccountKey,
    links: Directory,
    url: String,
}

/// What the CA knows of an account.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Known {
    /// Whom it may write to; a CA may keep that to itself, or not at all.
    #[serde(default)]
    pub contact: Vec<String>,
    /// `valid`, `deactivated` by its owner, or `revoked` by the CA.
    pub status: String,
}

impl Registered {
    /// The one that is saved in `folder`; its CA is asked where it is to be asked.
    pub async fn open(folder: &AccountFolder, directory: &str, courier: &Courier) -> Result<Self, AccountError> {
        if is_doubtful(folder)? {
            let lock = wait_for(folder).await?; // Whoever changes the key now is soon done with it.
            settle(folder, courier, &lock).await?;
        }
        let saved = folder.load()?.ok_or_else(|| AccountError::None(directory.to_owned()))?;
        Ok(Self::of(&saved, courier).await?)
    }

    pub(super) async fn of(saved: &Saved, courier: &Courier) -> Result<Self, CaError> {
        let failed = |source| CaError::Exchange {
            directory: saved.directory.clone(),
            doing: "reading the saved account",
            seen: courier.seen(),
            source,
        };
        let written: Written = serde_json::from_value(saved.credentials.clone()).map_err(|error| failed(error.into()))?;
        let key = AccountKey::read(&written.key_pkcs8).map_err(failed)?;
        let links = Directory::open(courier, &saved.directory).await?;
        Ok(Self { courier: courier.clone(), directory: saved.directory.clone(), key, links, url: written.id })
    }

    /// Its CA.
    pub fn directory(&self) -> &Directory {
        &self.links
    }

    /// Its name at the CA.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its key's name.
    pub fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }

    /// What the CA knows of it.
    pub async fn look(&self) -> Result<Known, CaError> {
        self.ask("looking at the account", "").await
    }

    /// Has the CA write to `email`, or to nobody.
    pub async fn write_to(&self, email: Option<&str>) -> Result<Known, CaError> {
        let contact: Vec<String> = email.iter().map(|email| format!("mailto:{email}")).collect();
        self.ask("telling the account's mail address", &json!({ "contact": contact }).to_string()).await
    }

    /// Gives it another key.
    pub(super) async fn change_key(&self, key: &AccountKey) -> Result<(), CaError> {
        let doing = "changing the account's key";
        let failed = |source| self.failed(doing, source);
        let url = self.links.key_change.as_deref().ok_or_else(|| failed(Error::Unsupported("another key for an account")))?;
        let payload = json!({ "account": self.url, "oldKey": self.key.public() }).to_string();
        // By the new key, and all of it by the old one (RFC 8555 7.3.5).
        let inner = key.sign(&json!({ "alg": "ES256", "jwk": key.public(), "url": url }), &payload).map_err(failed)?;
        self.signer().post(doing, url, &inner.to_string()).await?;
        Ok(())
    }

    async fn ask(&self, doing: &'static str, payload: &str) -> Result<Known, CaError> {
        let text = self.signer().post(doing, &self.url, payload).await?;
        let known: Known = serde_json::from_slice(&text).map_err(|error| self.failed(doing, error.into()))?;
        Ok(Known { contact: known.contact.iter().map(|one| legible(one)).collect(), status: legible(&known.status) })
    }

    fn signer(&self) -> Signer<'_> {
        let Self { courier, directory, key, links, url } = self;
        Signer { account: url, courier, directory, key, links }
    }

    fn failed(&self, doing: &'static str, source: Error) -> CaError {
        CaError::Exchange { directory: self.directory.clone(), doing, seen: self.courier.seen(), source }
    }
}

/// Ends the account that is saved in `folder`, for good, and forgets it. Its certificates stay valid; the next order registers another one.
pub async fn deactivate(folder: &AccountFolder, directory: &str, courier: &Courier) -> Result<String, AccountError> {
    let lock = wait_for(folder).await?;
    settle(folder, courier, &lock).await?;
    let saved = folder.load()?.ok_or_else(|| AccountError::None(directory.to_owned()))?;
    let registered = Registered::of(&saved, courier).await?;
    let known = registered.ask("ending the account", &json!({ "status": "deactivated" }).to_string()).await?;
    if known.status == "valid" {
        return Err(registered.failed("ending the account", Error::Str("the CA's word that it has ended")).into());
    }
    folder.remove()?;
    Ok(registered.url)
}

/// Without the key.
impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("directory", &self.directory).field("url", &self.url).finish_non_exhaustive()
    }
}

/// What the library writes of an account, as far as it is needed.
#[derive(Deserialize)]
struct Written {
    id: String,
    key_pkcs8: String,
}
