//! Orders of other processes that share our folder: whose proof they wait for. Looked for at most once in a while, since strangers can ask.

use std::time::Duration;

use certs::store::Store;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What the last look found.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Mutex<Option<(Instant, Option<String>)>>);

impl Elsewhere {
    /// The thumbprint of the account that has an order under way. One look at a time; who asks meanwhile waits for it.
    pub(super) async fn look(&self, store: Store) -> Option<String> {
        let mut last = self.0.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < FRESH
        {
            return found.clone();
        }
        let found = tokio::task::spawn_blocking(move || store.thumbprint()).await;
        let found = match found {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "it is not known whether another process waits for a proof");
                None
            }
            Err(_) => None, // It panicked, or the runtime ends.
        };
        *last = Some((Instant::now(), found.clone()));
        found
    }
}

/// Shorter than a CA waits between placing an order and looking for its proof.
const FRESH: Duration = Duration::from_millis(500);
