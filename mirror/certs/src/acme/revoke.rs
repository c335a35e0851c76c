//! Taking a certificate back (RFC 8555 7.6), by the account that ordered it.

use instant_acme::{RevocationReason, RevocationRequest};

use super::{AccountError, AccountWish, CaError, Courier, open_account};
use crate::Bundle;
use crate::ca::Cause;
use crate::store::Store;

/// Has the CA at `directory`, which issued it, take back the leaf of `bundle`.
pub async fn revoke(
    store: &Store,
    directory: &str,
    wish: &AccountWish,
    courier: &Courier,
    bundle: &Bundle,
    cause: Cause,
) -> Result<(), AccountError> {
    let account = open_account(&store.account(directory), directory, wish, courier).await?;
    let request = RevocationRequest { certificate: &bundle.certified().cert[0], reason: reason(cause) };
    let failed =
        |source| CaError::Exchange { directory: directory.to_owned(), doing: "taking the certificate back", seen: courier.seen(), source };
    Ok(account.revoke(&request).await.map_err(failed)?)
}

fn reason(cause: Cause) -> Option<RevocationReason> {
    match cause {
        Cause::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
        Cause::KeyCompromise => Some(RevocationReason::KeyCompromise),
        Cause::Superseded => Some(RevocationReason::Superseded),
        Cause::Unspecified => None,
    }
}
