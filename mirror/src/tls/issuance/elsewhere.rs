//! Orders of other processes that share our folder: what CAs are to find for them. Looked for at most once in a while, since strangers can ask.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use certs::solve::AlpnProofs;
use certs::store::{Proofs, Store};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::check::chain;

/// What the last look found.
#[derive(Debug)]
pub(super) struct Elsewhere {
    alpn: Arc<AlpnProofs>,
    last: Mutex<Option<Seen>>,
    store: Store,
}

#[derive(Debug)]
struct Seen {
    began: Instant,
    ended: Instant,
    found: Arc<Found>,
}

#[derive(Debug, Default)]
struct Found {
    proofs: Proofs,
    /// What could not be read.
    troubles: Vec<String>,
}

impl Elsewhere {
    pub(super) fn new(store: Store, alpn: Arc<AlpnProofs>) -> Self {
        Self { alpn, last: Mutex::default(), store }
    }

    /// The proof of http-01 for this token that another one waits for; those for port 443 are in its table after it.
    pub(super) async fn look(&self, token: &str) -> Option<String> {
        self.see().await.proofs.http.get(token).cloned()
    }

    /// Sees to it that the table of port 443 is what others wait for now.
    pub(super) async fn refresh(&self) {
        self.see().await;
    }

    /// One look at a time, which begins after all who share it have asked: what was written down before a CA was told to look is seen.
    async fn see(&self) -> Arc<Found> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(seen) = &*last {
            if seen.began > asked {
                return Arc::clone(&seen.found);
            }
            tokio::time::sleep_until(seen.ended + rest(seen.ended - seen.began)).await;
        }
        let began = Instant::now();
        let (store, alpn) = (self.store.clone(), Arc::clone(&self.alpn));
        // The disk may hang, and a certificate takes its time.
        let found = tokio::task::spawn_blocking(move || look(&store, &alpn)).await;
        let found = Arc::new(found.unwrap_or_default()); // It panicked, or the runtime ends.
        let said = last.as_ref().map(|seen| &seen.found.troubles);
        for trouble in found.troubles.iter().filter(|trouble| !said.is_some_and(|said| said.contains(trouble))) {
            tracing::warn!(error = trouble, "it is not known whether another process waits for a proof");
        }
        *last = Some(Seen { began, ended: Instant::now(), found: Arc::clone(&found) });
        found
    }
}

fn look(store: &Store, alpn: &AlpnProofs) -> Found {
    let told = |error: &dyn Error| chain(error);
    let (proofs, unread) = store.proofs().unwrap_or_else(|error| (Proofs::default(), vec![error]));
    let mut troubles: Vec<String> = unread.iter().map(|error| told(error)).collect();
    troubles.extend(alpn.take_over(&proofs).err().map(|error| told(&error)));
    Found { proofs, troubles }
}

/// From the end of a look that took so long to the next one. Strangers can ask: where looks are short, at most one part in so many of a thread's time goes
/// into them; where they take long, they still do not follow each other at once.
fn rest(took: Duration) -> Duration {
    PAUSE.max(took * (SHARE - 1)).min(LONGEST)
}

/// However many ask.
const PAUSE: Duration = Duration::from_millis(20);
/// How many times as long as itself the time from one look to the next is.
const SHARE: u32 = 4;
/// CAs wait for some seconds, and several of them look one after the other.
const LONGEST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_take_long_do_not_follow_each_other_at_once() {
        let rest = |took: u64| rest(Duration::from_millis(took)).as_millis();
        assert_eq!([0, 10, 100, 500, 60_000].map(rest), [20, 30, 300, 500, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_that_is_written_right_after_a_look_is_seen_by_the_next_who_asks() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        let elsewhere = Elsewhere::new(store.clone(), Arc::default());
        assert_eq!(elsewhere.look("token").await, None);
        let pending = serde_json::json!({
            "account": "https://ca.test/acct/7", "csr": "", "directory": "https://ca.test/dir", "identifiers": ["mirror.test"], "key": "",
            "order": "https://ca.test/order/1", "profile": null, "proofs": {"http": {"token": "token.thumbprint"}}, "replaces": null,
        });
        let certificate = store.certificate(&"mirror.test".parse().expect("a name"));
        certificate.save_pending(&serde_json::from_value(pending).expect("an order")).expect("written");
        assert_eq!(elsewhere.look("token").await.as_deref(), Some("token.thumbprint"));
    }
}
