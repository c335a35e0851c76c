//! Whether an engine really pulls through the mirrors: it pulls a canary, and the mirrors are asked who did. Effects.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::api::{self, ApiError};
use crate::engines::canary::{Nonce, Verdict, Witness, judge};
use crate::engines::program;

/// Pulls a new canary through the engine at the socket, at most for `patience`, and removes it again whatever happened. The error says why nothing could be tried.
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
    if let (Ok(()), Err(error)) = (&pull, removed) {
        program::left_behind(&nonce, &error);
    }
    Ok(judge(pull, mirrors))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::engines::{Others, Wish};

    #[tokio::test]
    async fn an_engine_that_does_not_answer_was_not_tried() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let wish = Wish { mirrors: Vec::new(), anchors: None, client: None, registries: Vec::new(), others: Others::Keep };
        let witness = Witness::new(&wish).expect("a client");
        let folder = tempfile::TempDir::new().expect("a folder");
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).expect("it can listen");
        let hangs_up = std::thread::spawn(move || drop(listener.accept()));
        assert!(verify(&socket, &witness, Duration::from_mins(1)).await.is_err(), "and no verdict");
        hangs_up.join().expect("it was asked");
    }
}
