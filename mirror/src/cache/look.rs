//! Looks into the store that may have to wait for the disk.
//!
//! The threads that serve everybody never wait for a disk: what a hit needs is in memory, or is a file that the kernel has at hand. Everything else
//! is looked for on a blocking thread, for [`PATIENCE`] at most. A disk that does not answer has nothing: then the upstream is asked, and of the
//! threads that hang there are only so many.

use std::time::Duration;

use super::Cache;
use crate::oci::Digest;
use crate::store::Store;

impl Cache {
    /// What `look` finds in the store.
    pub(crate) async fn look<T: Send + 'static>(&self, look: impl FnOnce(&Store) -> Option<T> + Send + 'static) -> Option<T> {
        let found = async {
            let room = self.0.lasting.look_room.clone().acquire_owned().await.ok()?;
            let store = self.store().clone();
            let found = tokio::task::spawn_blocking(move || {
                let found = look(&store);
                drop(room); // Not with the future: a thread that hangs takes its room.
                found
            });
            found.await.ok()?
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| {
            tracing::warn!("the store's disk does not answer; what is stored there is fetched again");
            None
        })
    }

    /// Whether `digest` is stored; the disk is asked only where the index does not know.
    pub(crate) async fn is_stored(&self, digest: &Digest) -> bool {
        let owned = digest.clone();
        self.store().knows(digest) || self.look(move |store| store.blob(&owned)).await.is_some()
    }
}

/// What a look may take, out of the nine seconds until a client must have its headers.
const PATIENCE: Duration = Duration::from_secs(2);
/// Looks at once.
pub(crate) const LOOKS: usize = 64;
