//! One hash of a stored blob for all who read parts of it.
//!
//! A part that touches the blob's end waits for it with that end; any other only starts it, so that the parts to come need not wait. The check is
//! nobody's own: it goes on when those who wait for it leave, and is done once a start, so a request for one byte costs no more than the
//! first of all requests for the blob.

use super::Cache;
use super::shared::{Full, Pending};
use crate::oci::Digest;

impl Cache {
    /// The check of what is stored under `digest`: the one that runs, or a new one. Its verdict is noted in the store.
    pub(crate) fn hash(&self, digest: &Digest) -> Result<Pending<()>, Full> {
        let joined = self.0.lasting.checks.join(&self.0.lasting.local, digest.clone(), || {
            let (cache, digest) = (self.clone(), digest.clone());
            async move { cache.run_hash(digest).await }
        });
        joined.map(|(pending, _)| pending)
    }

    /// Starts that check, where few others run: nobody waits for it.
    pub(crate) fn hash_ahead(&self, digest: &Digest) {
        if self.0.lasting.check_room.available_permits() > AHEAD {
            let _ = self.hash(digest);
        }
    }

    async fn run_hash(&self, digest: Digest) {
        let Ok(permit) = self.0.lasting.check_room.clone().acquire_owned().await else { return };
        let (store, cancel) = (self.store().clone(), self.0.lasting.cancel.clone());
        let hashed = tokio::task::spawn_blocking(move || {
            if let Some(stored) = store.blob(&digest) {
                stored.check(&cancel);
            }
            drop(permit);
        });
        let _ = hashed.await; // A panic in it is reported by the runtime's hook; the blob stays unchecked.
    }
}

/// Checks at once: a disk gives no more when more ask.
pub(crate) const CHECKS: usize = 4;
/// So many of them are for those who wait.
const AHEAD: usize = 2;
