//! The account at a CA: loaded, or registered and saved before it is used.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};

use super::directory::Directory;
use super::rollover::{is_doubtful, settle};
use super::{CaError, Courier};
use crate::store::{AccountFolder, Lock, Saved, StoreError};

/// What a new account is registered with.
#[derive(Clone, Debug, Default)]
pub struct AccountWish {
    /// Whom the CA may write to.
    pub email: Option<String>,
    /// The binding to an account elsewhere, which some CAs ask for (RFC 8555 7.3.4).
    pub external: Option<ExternalAccount>,
    /// Several CAs are asked in turn: the binding is for those that ask for one.
    pub several: bool,
}

/// A key that a CA has given to its customer.
#[derive(Clone, Eq, PartialEq)]
pub struct ExternalAccount {
    key: Vec<u8>,
    kid: String,
}

impl AccountWish {
    /// What one CA has given to its customer is no other CA's affair. Whether a CA asks for it is not guessed: an account that is registered without it
    /// is refused for a day.
    async fn external_for(&self, directory: &str, courier: &Courier) -> Result<Option<&ExternalAccount>, CaError> {
        let Some(external) = &self.external else { return Ok(None) };
        if !self.several {
            return Ok(Some(external)); // Some take one and do not ask.
        }
        let asks = Directory::open(courier, directory).await?.meta.external_account_required;
        Ok(asks.then_some(external))
    }
}

impl ExternalAccount {
    /// The key's name, and the key as CAs show it: base64url, or what some make of it, with padding or with `+` and `/`. `None` where it is neither.
    pub fn new(kid: &str, key: &str) -> Option<Self> {
        let key = KEY.decode(key.trim().replace('+', "-").replace('/', "_")).ok().filter(|key| !key.is_empty())?;
        Some(Self { key, kid: kid.to_owned() })
    }

    /// The key as CAs show it. A secret.
    pub fn key(&self) -> String {
        general_purpose::URL_SAFE_NO_PAD.encode(&self.key)
    }

    /// Its name.
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

/// Without the key.
impl std::fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalAccount").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// None was registered there.
    #[error("there is no account at {0} yet")]
    None(String),
    /// Our own files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The account at `directory`; registered now where there is none. One at a time registers, and the others wait for it: two would leave an orphan.
pub async fn open_account(folder: &AccountFolder, directory: &str, wish: &AccountWish, courier: &Courier) -> Result<Account, AccountError> {
    let failed = |doing, source| CaError::Exchange { directory: directory.to_owned(), doing, seen: courier.seen(), source };
    let builder = || Account::builder_with_http(Box::new(courier.clone()));
    if is_doubtful(folder)? {
        let lock = wait_for(folder).await?; // Whoever changes the key now is soon done with it.
        settle(folder, courier, &lock).await?;
    }
    let saved = if let Ok(Some(saved)) = folder.load() {
        Ok(saved)
    } else {
        let lock = wait_for(folder).await?;
        folder.load_or_put_aside(&lock)?.ok_or(lock)
    };
    let _lock = match saved {
        Ok(saved) => {
            let credentials: AccountCredentials =
                serde_json::from_value(saved.credentials).map_err(|error| failed("reading the saved account", error.into()))?;
            return Ok(builder().from_credentials(credentials).await.map_err(|error| failed("opening the account", error))?);
        }
        Err(lock) => lock,
    };
    let contact = wish.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let external =
        wish.external_for(directory, courier).await?.map(|external| ExternalAccountKey::new(external.kid.clone(), &external.key));
    let made = builder().create(&new, directory.to_owned(), external.as_ref()).await;
    let (account, credentials) = made.map_err(|error| failed(REGISTERING, error))?;
    let credentials = serde_json::to_value(&credentials).map_err(|error| failed("saving the account", error.into()))?;
    folder.save(&Saved { credentials, directory: directory.to_owned() })?;
    tracing::info!(directory, account = account.id(), "an account was registered at the CA");
    Ok(account)
}

/// Whoever has the account now is soon done, or its requests time out.
pub(super) async fn wait_for(folder: &AccountFolder) -> Result<Lock, StoreError> {
    let began = tokio::time::Instant::now();
    loop {
        match folder.lock() {
            Err(StoreError::Locked(_)) if began.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            lock => return lock,
        }
    }
}

/// What is being done when an account is registered.
pub(super) const REGISTERING: &str = "registering an account";
/// Longer than the few requests of a registration.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
const KEY: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::URL_SAFE, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_as_cas_show_it_and_never_shown_by_debug() {
        for shown in ["-_8c", "+/8c", "-_8c\n"] {
            let external = ExternalAccount::new("kid-1", shown).expect("a key");
            assert_eq!((external.key(), external.kid()), ("-_8c".to_owned(), "kid-1"), "{shown:?}");
            assert!(!format!("{external:?}").contains("-_8c"));
        }
        assert_eq!(ExternalAccount::new("kid-1", "YWI=").map(|external| external.key()), Some("YWI".to_owned()));
        assert!(ExternalAccount::new("kid-1", "no key!").is_none() && ExternalAccount::new("kid-1", "").is_none());
    }
}
