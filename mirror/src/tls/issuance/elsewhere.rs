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

    /// The proofs that others wait for; those for port 443 are in its table after it. One look at a time; who asks meanwhile waits for it.
    pub(super) async fn look(&self) -> Arc<Proofs> {
        let mut last = self.last.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < FRESH
        {
            return Arc::clone(found);
        }
        let (store, alpn) = (self.store.clone(), Arc::clone(&self.alpn));
        // The disk may hang, and a certificate takes its time.
        let found = tokio::task::spawn_blocking(move || look(&store, &alpn)).await;
        let found = Arc::new(found.unwrap_or_default()); // It panicked, or the runtime ends.
        *last = Some((Instant::now(), Arc::clone(&found)));
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

/// A CA looks within a few milliseconds after it was told that a proof is there, and must not meet what was known before.
const FRESH: Duration = Duration::from_millis(20);
