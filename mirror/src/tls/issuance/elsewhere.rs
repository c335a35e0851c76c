//! Orders of other processes that share our folder: what CAs are to find for them. Looked for at most once in a while, since strangers can ask.

use std::sync::Arc;
use std::time::Duration;

use certs::solve::AlpnProofs;
use certs::store::{Proofs, Store};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What the last look found.
#[derive(Debug)]
pub(super) struct Elsewhere {
    alpn: Arc<AlpnProofs>,
    last: Mutex<Option<(Instant, Arc<Proofs>)>>,
    store: Store,
}

impl Elsewhere {
    pub(super) fn new(store: Store, alpn: Arc<AlpnProofs>) -> Self {
        Self { alpn, last: Mutex::default(), store }
    }

    /// The proofs that others wait for; those for port 443 are in its table after it. One look at a time, which begins after all who share it have asked:
    /// what was written down before a CA was told to look is seen.
    pub(super) async fn look(&self) -> Arc<Proofs> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((began, found)) = &*last {
            if *began > asked {
                return Arc::clone(found);
            }
            tokio::time::sleep_until(*began + PAUSE).await;
        }
        let began = Instant::now();
        let (store, alpn) = (self.store.clone(), Arc::clone(&self.alpn));
        // The disk may hang, and a certificate takes its time.
        let found = tokio::task::spawn_blocking(move || look(&store, &alpn)).await;
        let found = Arc::new(found.unwrap_or_default()); // It panicked, or the runtime ends.
        *last = Some((began, Arc::clone(&found)));
        found
    }
}

fn look(store: &Store, alpn: &AlpnProofs) -> Proofs {
    let found = store.proofs().unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "it is not known whether another process waits for a proof");
        Proofs::default()
    });
    if let Err(error) = alpn.take_over(&found) {
        tracing::warn!(error = &error as &dyn std::error::Error, "another process' proof cannot be shown");
    }
    found
}

/// Between the beginnings of two looks, however many ask: strangers can.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_proof_that_is_written_right_after_a_look_is_seen_by_the_next_who_asks() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let elsewhere = Elsewhere::new(store.clone(), Arc::default());
        assert!(elsewhere.look().await.http.is_empty());
        let pending = serde_json::json!({
            "account": "https://ca.test/acct/7", "csr": "", "directory": "https://ca.test/dir", "identifiers": ["mirror.test"], "key": "",
            "order": "https://ca.test/order/1", "profile": null, "proofs": {"http": {"token": "token.thumbprint"}}, "replaces": null,
        });
        let certificate = store.certificate(&"mirror.test".parse().expect("a name"));
        certificate.save_pending(&serde_json::from_value(pending).expect("an order")).expect("written");
        assert_eq!(elsewhere.look().await.http.get("token").map(String::as_str), Some("token.thumbprint"));
    }
}
