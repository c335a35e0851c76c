//! Another key for an account (RFC 8555 7.3.5), whatever happens on the way.
//!
//! The CA has one key of an account, and whoever does not have it has lost the account. So the new key is written down before it is sent, beside the
//! old one; and whoever finds it there asks the CA which of the two counts, since the one that sent it may have died before it heard.

use instant_acme::{Account, Error};
use serde_json::json;

use super::registered::Registered;
use super::signed::AccountKey;
use super::{AccountError, CaError, Courier, wait_for};
use crate::store::{AccountFolder, Lock, Saved, StoreError};

/// Gives the account that is saved in `folder` another key, and returns that key's thumbprint. Who has orders under way goes on with the new one.
pub async fn roll_over(folder: &AccountFolder, directory: &str, courier: &Courier) -> Result<String, AccountError> {
    let lock = wait_for(folder).await?;
    settle(folder, courier, &lock).await?;
    let saved = folder.load()?.ok_or_else(|| AccountError::None(directory.to_owned()))?;
    let registered = Registered::of(&saved, courier).await?;
    let failed =
        |source| CaError::Exchange { directory: directory.to_owned(), doing: "making a key for the account", seen: courier.seen(), source };
    let key = AccountKey::generate().map_err(failed)?;
    let next = with_key(&saved, &key);
    folder.save_next(&next)?;
    match registered.change_key(&key).await {
        Ok(()) => folder.save(&next)?,
        // Whether the CA has heard is not known: the next one to open the account finds out.
        Err(error) if !error.refuses_the_key() => return Err(error.into()),
        Err(error) => {
            folder.clear_next()?;
            return Err(error.into());
        }
    }
    folder.clear_next()?;
    tracing::info!(directory, account = registered.url(), "the account has another key");
    Ok(key.thumbprint())
}

/// Whether the account in `folder` has another key than `account` has, or is just getting one: what was refused to the old key is not lost.
pub(crate) fn has_other_key(folder: &AccountFolder, account: &Account) -> Result<bool, StoreError> {
    let Some(saved) = folder.load()?.filter(|saved| saved.url() == Some(account.id())) else { return Ok(false) };
    let key = saved.credentials["key_pkcs8"].as_str().and_then(|written| AccountKey::read(written).ok());
    Ok(folder.has_next()? || key.is_some_and(|key| key.thumbprint() != account.key_thumbprint()))
}

/// Finds out which key counts where a change of it broke off.
pub(super) async fn settle(folder: &AccountFolder, courier: &Courier, lock: &Lock) -> Result<(), AccountError> {
    let Some(next) = folder.next(lock)? else { return Ok(()) };
    if is_its_key(&next, courier).await? {
        folder.save(&next)?;
        tracing::warn!(directory = next.directory, account = next.url(), "the account has another key since a change of it broke off");
        return Ok(folder.clear_next()?);
    }
    let current = folder.load()?;
    let counts = match &current {
        Some(current) => is_its_key(current, courier).await?,
        None => false,
    };
    // Where neither counts the account is gone, which an order finds out; until then no key is thrown away.
    if counts { Ok(folder.clear_next()?) } else { Ok(()) }
}

/// Whether the CA takes the key of `saved` for its account's. An answer that does not say so is an error.
async fn is_its_key(saved: &Saved, courier: &Courier) -> Result<bool, CaError> {
    match Registered::of(saved, courier).await?.look().await {
        Ok(_) => Ok(true),
        Err(error) if error.refuses_the_key() => Ok(false),
        Err(error) => Err(error),
    }
}

fn with_key(saved: &Saved, key: &AccountKey) -> Saved {
    let mut credentials = saved.credentials.clone();
    credentials["key_pkcs8"] = json!(key.written());
    Saved { credentials, directory: saved.directory.clone() }
}

impl CaError {
    /// The CA has understood, and refuses: in its own words, and not because it is too busy.
    fn refuses_the_key(&self) -> bool {
        let Self::Exchange { seen, source: Error::Api(problem), .. } = self else { return false };
        let passes = problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":badNonce") || kind.ends_with(":rateLimited"));
        seen.status.is_some_and(|status| status.is_client_error() && status.as_u16() != 429) && !passes
    }
}
