//! Everything that outlives the process: blobs, manifests, and what is known of repositories, as plain files.
//!
//! Pieces: `layout` (names), `open` (lock, version, left-overs), `disk` (what all share), `tree` (folders, records), `index` and `account` (what is there
//! and what it takes), `spool` and `blob` (writing and reading content), `sources` (whose it is), `repository` and `records`, and the tasks in the background: `scan`,
//! `health`, `cleanup` (which saves the `uses`), `scrub`.
//!
//! Invariants:
//! * A file under its final name is whole: it was written, synced, renamed, and its folder synced, in this order. kill -9 at any moment leaves nothing or all of it.
//! * Content comes before the record that names it.
//! * What is allocated on disk, downloads under way and metadata included, is in the account before it is written, and the account stays within the cap.
//! * What is read or written is not evicted. Bytes leave the account when the last reader has closed the file.
//! * A file that is not ours is never touched, such as a `docker/registry/v2` tree in the same folder.
//!
//! Nobody outside this module knows a path. It does not know what an upstream is, nor who may read what, and it hashes only what it reads itself
//! (manifests, and the check in the background): whoever writes or reads a blob hashes the bytes as they pass.
//! All calls block for the time of a few system calls, writes for an fsync; callers decide whether that needs a thread.

mod account;
mod blob;
mod check;
mod cleanup;
mod disk;
mod error;
mod health;
mod index;
mod layout;
mod lock;
mod metrics;
mod open;
mod quarantine;
mod records;
mod repository;
mod scan;
mod scrub;
mod sources;
mod spool;
mod tree;
mod uses;

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use blob::Stored;
pub use error::{OpenError, StoreError};
pub use health::Health;
pub use metrics::Metrics;
pub use records::{ManifestRecord, RepositoryState, TagRecord, Visibility};
pub use repository::{Held, Repository};
pub use spool::Spool;

use self::cleanup::Cleanup;
use self::disk::{Disk, ScanState};
use self::repository::Repositories;
use crate::config::{StoreConfig, UpstreamName};
use crate::oci::{ChildKind, Digest, MAX_MANIFEST_BYTES, RepoName};

/// The store of one process; clones are the same store. Its folder is free again when the last clone, [`Stored`], [`Spool`] and [`Repository`] is gone.
#[derive(Clone, Debug)]
pub struct Store {
    config: StoreConfig,
    disk: Arc<Disk>,
    repositories: Arc<Repositories>,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Figures {
    /// Bytes that everything of ours takes on disk; complete once `scanned`.
    pub allocated: u64,
    /// Layers and configs.
    pub blobs: u64,
    /// Most bytes that the store may take.
    pub cap: Option<u64>,
    /// Files removed for room or age since the start.
    pub evicted: u64,
    /// Bytes free on the file system.
    pub free: u64,
    /// Manifests.
    pub manifests: u64,
    /// Files found damaged since the start.
    pub quarantined: u64,
    /// The scan at start is done.
    pub scanned: bool,
}

impl Store {
    /// Opens the folder for this process alone; hits work from now on.
    pub fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        let disk = Arc::new(open::open(config)?);
        Ok(Self { config: config.clone(), disk, repositories: Arc::new(Repositories::new()) })
    }

    /// Starts the work in the background: the scan, the health check, clean-up, the slow check of content. All of it ends with `cancel`.
    pub fn spawn(&self, tasks: &TaskTracker, cancel: &CancellationToken) {
        self.disk.set_scan_state(ScanState::Running);
        let (disk, stop) = (Arc::clone(&self.disk), cancel.clone());
        let scan = tasks.spawn_blocking(move || {
            scan::run(&disk, &stop);
            disk.trim();
        });
        tasks.spawn(health::watch(Arc::clone(&self.disk), self.config.health, cancel.clone()));
        tasks.spawn(self.cleanup().watch(cancel.clone()));
        if let Some(rate) = self.config.scrub_rate.filter(|rate| rate.0 > 0) {
            let (disk, cancel) = (Arc::clone(&self.disk), cancel.clone());
            tasks.spawn(async move {
                if scan.await.is_ok() {
                    scrub::watch(disk, rate.0, cancel).await;
                }
            });
        }
    }

    /// The file of `digest`, a blob or a manifest, as a use of it: one lease, one `open`, one `fstat`.
    pub fn blob(&self, digest: &Digest) -> Option<Stored> {
        Stored::open(&self.disk, digest, Some(disk::now()))
    }

    /// The same where no disk needs to be asked: `None` also for a file that the kernel would have to look for.
    pub fn blob_at_once(&self, digest: &Digest) -> Option<Stored> {
        Stored::open_at_once(&self.disk, digest, disk::now())
    }

    /// A manifest's bytes, read and hashed. One that is damaged is quarantined, and not there.
    pub fn manifest(&self, digest: &Digest) -> Option<Bytes> {
        let stored = self.blob(digest)?;
        let size = usize::try_from(stored.size()).ok().filter(|size| *size <= MAX_MANIFEST_BYTES);
        let Some(size) = size else {
            if stored.kind() == ChildKind::Manifest {
                self.disk.quarantine(digest, "a manifest cannot be that large");
            }
            return None;
        };
        let mut bytes = vec![0; size];
        if let Err(error) = stored.file().read_exact_at(&mut bytes, 0) {
            stored.failed(&error);
            return None;
        }
        if Digest::of(digest.algorithm(), &bytes) != *digest {
            self.disk.quarantine(digest, "a manifest's hash is another");
            return None;
        }
        stored.mark_verified();
        stored.touch();
        Some(bytes.into())
    }

    /// Says whose all content is of which no record says who sent it, where that is not said yet: the only upstream's that there was, or else `upstream`'s.
    pub fn claim(&self, upstream: &UpstreamName) -> Result<(), StoreError> {
        self.disk.sources.claim(&self.disk, upstream)
    }

    /// Notes that `upstream` sent the bytes of `digest`, whose hash was checked. To be called before they are stored: what is stored then outlives the
    /// process together with this.
    pub fn sent(&self, upstream: &UpstreamName, digest: &Digest) {
        self.disk.sources.learn(&self.disk, upstream, digest);
    }

    /// What `upstream` sent is stored now. Noted again, for while it was on its way another upstream may have sent the same, and had it for itself.
    pub fn stored_from(&self, upstream: &UpstreamName, digest: &Digest) -> Result<(), StoreError> {
        self.sent(upstream, digest);
        self.disk.sources.save(&self.disk)
    }

    /// Whether `upstream` sent the bytes of `digest`, if they are here. From memory.
    pub fn has_sent(&self, upstream: &UpstreamName, digest: &Digest) -> bool {
        self.disk.sources.has_sent(upstream, digest)
    }

    /// Whether the index knows `digest`: no look at the disk, and `false` for a file that the scan has not come to.
    pub fn knows(&self, digest: &Digest) -> bool {
        self.disk.index.contains(digest)
    }

    /// Stores a small blob whose hash was checked, durably.
    pub fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        if self.blob(digest).is_some_and(|stored| stored.size() == bytes.len() as u64) {
            return self.disk.sources.save(&self.disk);
        }
        let mut spool = self.spool(digest, Some(bytes.len() as u64))?;
        spool.append(bytes)?;
        spool.publish(ChildKind::Blob).map(drop)
    }

    /// Stores a manifest whose hash was checked, durably.
    pub fn put_manifest(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        if self.disk.index.kind(digest) == Some(ChildKind::Manifest) && self.manifest(digest).is_some() {
            return self.disk.sources.save(&self.disk);
        }
        let mut spool = self.spool(digest, Some(bytes.len() as u64))?;
        spool.append(bytes)?;
        spool.publish(ChildKind::Manifest).map(drop)
    }

    /// Starts to store a blob, of `size` bytes where that is known: its room is taken now, from older blobs where it must.
    pub fn spool(&self, digest: &Digest, size: Option<u64>) -> Result<Spool, StoreError> {
        Spool::new(&self.disk, digest, size)
    }

    /// What is known of a repository; empty where nothing is. An error where that cannot be told now: it may be closed, and must not be served.
    pub fn repository(&self, upstream: &UpstreamName, name: &RepoName) -> Result<Arc<Repository>, Arc<StoreError>> {
        self.repositories.get(&self.disk, upstream, name)
    }

    /// Up to `limit` repositories that hold something, as `UPSTREAM/REPO` in their order, after `after`.
    pub fn catalog(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        let mut named: Vec<_> = cleanup::repositories(&self.disk).into_iter().map(|one| (format!("{}/{}", one.0, one.1), one)).collect();
        named.sort_unstable();
        let later = named.into_iter().filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
        let holding = later.filter(|(_, (upstream, name))| cleanup::holds_something(&self.disk, upstream, name));
        holding.map(|(name, _)| name).take(limit).collect()
    }

    /// Whether the store takes writes, and each change of that.
    pub fn health(&self) -> tokio::sync::watch::Receiver<Health> {
        self.disk.health.watch()
    }

    /// How much is stored, now.
    pub fn figures(&self) -> Figures {
        self.disk.settle();
        let figures = Figures {
            allocated: self.disk.account.used(),
            blobs: self.disk.index.count(ChildKind::Blob),
            cap: self.disk.account.cap(),
            evicted: self.disk.metrics.evicted.get(),
            free: self.disk.free(),
            manifests: self.disk.index.count(ChildKind::Manifest),
            quarantined: self.disk.metrics.quarantined.get(),
            scanned: self.disk.scan_state() == ScanState::Done,
        };
        self.disk.metrics.show(&figures);
        figures
    }

    /// The store's metrics, to be registered once. Gauges are as old as the last call of [`figures`](Self::figures): call it before a scrape is answered.
    pub fn metrics(&self) -> Metrics {
        self.disk.metrics.clone()
    }

    fn cleanup(&self) -> Cleanup {
        Cleanup { disk: Arc::clone(&self.disk), keep_unused: self.config.keep_unused, repositories: Arc::clone(&self.repositories) }
    }
}

/// The version of what lies on the disk.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests;
