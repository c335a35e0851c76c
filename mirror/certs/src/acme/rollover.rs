//! Another key for an account (RFC 8555 7.3.5), whatever happens on the way.
//!
//! The CA has one key of an account, and whoever does not have it has lost the account. So the new key is written down before it is sent, beside the
//! old one; and whoever finds it there asks the CA which of the two counts, since the one that sent it may have died before it heard. A CA that has not
//! heard of it by then may hear of it later, since a proxy may have the request yet: the key is kept, and asked about whenever the account is opened.

use std::time::{Duration, SystemTime};

use instant_acme::{Account, Error};
use serde_json::json;

use super::registered::Registered;
use super::signed::AccountKey;
use super::{AccountError, CaError, Courier, wait_for};
use crate::Moment;
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
        Ok(()) => {
            folder.save(&next)?;
            folder.clear_doubted()?; // A change is signed by the key before, which counts no more.
        }
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

/// Whether `error` may be a refusal of the key that `account` has: the account in `folder` has another one, or may just be getting one. What was refused
/// to the old key is not lost.
pub(crate) fn has_other_key(folder: &AccountFolder, account: &Account, error: &CaError) -> Result<bool, StoreError> {
    if !error.refuses_the_key() {
        return Ok(false);
    }
    let Some(saved) = folder.load()?.filter(|saved| saved.url() == Some(account.id())) else { return Ok(false) };
    let key = saved.credentials["key_pkcs8"].as_str().and_then(|written| AccountKey::read(written).ok());
    let now = Moment::from(SystemTime::now());
    let is_under_way =
        || Ok::<_, StoreError>(folder.has_next()? || folder.doubted()?.iter().any(|(since, _)| now.since(*since) < UNDER_WAY));
    Ok(key.is_some_and(|key| key.thumbprint() != account.key_thumbprint()) || is_under_way()?)
}

/// Whether it is to be asked which key counts before the account is used.
pub(super) fn is_doubtful(folder: &AccountFolder) -> Result<bool, StoreError> {
    Ok(folder.has_next()? || !folder.doubted()?.is_empty())
}

/// Finds out which key counts where a change of it broke off.
pub(super) async fn settle(folder: &AccountFolder, courier: &Courier, lock: &Lock) -> Result<(), AccountError> {
    if !is_doubtful(folder)? {
        return Ok(());
    }
    let next = folder.next(lock)?;
    if let Some(next) = &next
        && is_its_key(next, courier).await?
    {
        return Ok(take(folder, next)?);
    }
    let Some(current) = folder.load()? else { return Ok(()) };
    if is_its_key(&current, courier).await? {
        if next.is_some() {
            folder.doubt_next(SystemTime::now().into())?;
        }
        return Ok(());
    }
    for (_, path) in folder.doubted()?.iter().rev() {
        if let Some(doubted) = AccountFolder::read_doubted(path, lock)?.filter(|doubted| doubted.url() == current.url())
            && is_its_key(&doubted, courier).await?
        {
            return Ok(take(folder, &doubted)?);
        }
    }
    // Where none counts the account is gone, which an order finds out; until then no key is thrown away.
    Ok(())
}

/// The CA has this key for the account's: every other one is of no use any more.
fn take(folder: &AccountFolder, saved: &Saved) -> Result<(), StoreError> {
    folder.save(saved)?;
    tracing::warn!(directory = saved.directory, account = saved.url(), "the account has another key since a change of it broke off");
    folder.clear_doubted()?;
    folder.clear_next()
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
    /// The CA has understood, and refuses, maybe for the key: in its own words, and not because it is too busy.
    fn refuses_the_key(&self) -> bool {
        let Self::Exchange { seen, source: Error::Api(problem), .. } = self else { return false };
        let passes = problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":badNonce") || kind.ends_with(":rateLimited"));
        seen.status.is_some_and(|status| status.is_client_error() && status.as_u16() != 429) && !passes
    }
}

/// So long after a change broke off the CA may be at it yet.
const UNDER_WAY: Duration = Duration::from_secs(3600);
