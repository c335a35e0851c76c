//! The slow check of stored content: each file is hashed in turn, at so many bytes a second, and one that is damaged or
//! cannot be read goes to quarantine.
//!
//! It is no use of a blob: it changes no order of eviction. A file that is being checked is not evicted.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::blob::Stored;
use super::disk::{Disk, now};
use crate::oci::{Digest, Hasher};

/// Checks round after round until cancelled.
pub(super) async fn watch(disk: Arc<Disk>, rate: u64, cancel: CancellationToken) {
    loop {
        round(&disk, rate, &cancel).await;
        if tokio::time::timeout(BETWEEN_ROUNDS, cancel.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// One round over all that is stored. It starts anywhere, so that restarts do not make the same files the only ones that are ever checked.
async fn round(disk: &Arc<Disk>, rate: u64, cancel: &CancellationToken) {
    let mut digests = disk.index.digests();
    let somewhere = now() as usize % digests.len().max(1);
    digests.rotate_left(somewhere);
    for digest in digests {
        if cancel.is_cancelled() {
            return;
        }
        check(disk, &digest, rate, cancel).await;
    }
}

/// Hashes one file.
pub(super) async fn check(disk: &Arc<Disk>, digest: &Digest, rate: u64, cancel: &CancellationToken) {
    let Some(stored) = Stored::open(disk, digest, None) else { return };
    let file = Arc::clone(stored.file());
    // So that what clients read stays in the page cache; a kernel that does not know the advice works as well.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::NoReuse);
    let mut hasher = Hasher::new(digest.algorithm());
    let mut offset = 0;
    loop {
        let (reading, mut hashing) = (Arc::clone(&file), hasher);
        let read = spawn_blocking(move || {
            let mut bytes = vec![0; CHUNK];
            let read = reading.read_at(&mut bytes, offset)?;
            hashing.update(&bytes[..read]);
            Ok::<_, std::io::Error>((read, hashing))
        });
        let read = match read.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
            Ok((read, hashed)) => {
                hasher = hashed;
                read as u64
            }
            Err(error) => {
                // A panic in it is reported by the runtime's hook.
                let _ = spawn_blocking(move || stored.failed(&error)).await;
                return;
            }
        };
        if read == 0 {
            break;
        }
        offset += read;
        disk.metrics.scrubbed_bytes.inc_by(read);
        let pause = Duration::from_secs_f64(read as f64 / rate.max(1) as f64);
        if tokio::time::timeout(pause, cancel.cancelled()).await.is_ok() {
            return;
        }
    }
    drop(file);
    if hasher.finish() == *digest {
        return stored.mark_verified();
    }
    drop(stored);
    let (disk, digest) = (Arc::clone(disk), digest.clone());
    // A panic in it is reported by the runtime's hook.
    let _ = spawn_blocking(move || disk.quarantine(&digest, "the background check computed another hash")).await;
}

/// Read at once.
const CHUNK: usize = 256 << 10;
/// A small store is not checked without a pause.
const BETWEEN_ROUNDS: Duration = Duration::from_hours(1);
