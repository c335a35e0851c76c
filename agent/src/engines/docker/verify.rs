//! Whether an engine really pulls through the mirrors: it pulls a canary, and the mirrors are asked who did. Effects.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::api::{self, ApiError};
use crate::engines::canary::{Nonce, Verdict, Witness, judge};

/// Pulls a new canary through the engine at the socket, at most for `patience`, and removes it again whatever happened.
pub async fn verify(socket: &Path, witness: &Witness, patience: Duration) -> Result<Verdict, ApiError> {
    let nonce = Nonce::new().map_err(|error| ApiError::Said(format!("the system gives no random number: {error}")))?;
    let docker = api::connect(socket).await?;
    let pull = match timeout(patience, api::pull(&docker, &nonce.repository(), Nonce::tag())).await {
        Ok(pulled) => pulled.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the pull was not over after {patience:?}")),
    };
    // Also of a pull that failed at our end something may be there. What is not there cannot be removed.
    let removed = api::remove(&docker, &format!("{}:{}", nonce.repository(), Nonce::tag())).await;
    let mirrors = witness.hear(&nonce).await;
    if pull.is_ok() {
        removed?;
    }
    Ok(judge(pull, mirrors))
}
