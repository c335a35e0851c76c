//! What every part of the store shares: the folder, its lock, the index, the account, and the few moves that keep those in step.
//!
//! Locks, outermost first: `admission` (one at a time makes room) → a shard's (its two folders and their entries in the index change together)
//! → `tree` (folders and records) → `orphans`. Nothing waits for the network, and nobody holds one while content is synced (a new folder's first sync is short).
//! A hit takes none of them, only its entry's lock in the index.

mod readers;
mod room;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::warn;

pub(super) use self::readers::Claim;
use self::readers::Readers;
use super::account::Account;
use super::health::Monitor;
use super::index::{Index, New, Queue, Seconds};
use super::layout::{self, KINDS, Layout, Temporaries};
use super::lock::Lock;
use super::metrics::Metrics;
use super::quarantine::{self, Damaged, Quarantine};
use super::sources::Sources;
use super::tree::Tree;
use super::uses::Uses;
use crate::oci::{Algorithm, ChildKind, Digest};

/// The store's inside.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) account: Account,
    pub(super) health: Monitor,
    pub(super) index: Index,
    pub(super) layout: Layout,
    pub(super) metrics: Metrics,
    pub(super) quarantine: Quarantine,
    pub(super) sources: Sources,
    pub(super) temporaries: Temporaries,
    pub(super) tree: Tree,
    pub(super) uses: Uses,
    admission: Mutex<Queue>,
    readers: Readers,
    scan: (Mutex<ScanState>, Condvar),
    /// Each holds whether its folders were scanned, so that their own bytes are in the account.
    shards: [Mutex<bool>; 256],
    lock: Mutex<Lock>,
}

/// How far the scan at start is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ScanState {
    Waiting,
    Running,
    Done,
}

impl Disk {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            account: parts.account,
            health: parts.health,
            index: Index::new(),
            layout: parts.layout,
            metrics: Metrics::default(),
            quarantine: parts.quarantine,
            sources: parts.sources,
            temporaries: parts.temporaries,
            tree: Tree::default(),
            uses: Uses::default(),
            admission: Mutex::new(Queue::new(EVICTION_BATCH)),
            readers: Readers::default(),
            scan: (Mutex::new(ScanState::Waiting), Condvar::new()),
            shards: std::array::from_fn(|_| Mutex::new(false)),
            lock: Mutex::new(parts.lock),
        }
    }

    /// Gives the file at `temporary`, of `bytes` allocated bytes and on the disk already, its name. Its entry starts with one reader.
    /// The caller syncs [`Layout::shard`]'s folder. The account has the bytes already.
    pub(super) fn place(&self, temporary: &Path, kind: ChildKind, digest: &Digest, bytes: u64) -> io::Result<(ChildKind, u16)> {
        let scanned = self.shard(digest);
        // What was stored as a manifest stays one: it is evicted later.
        let kind = KINDS.into_iter().find(|kind| *kind == ChildKind::Manifest && self.is_file(*kind, digest)).unwrap_or(kind);
        let (algorithm, shard) = (digest.algorithm(), layout::shard_of(digest));
        let folder = self.layout.shard(kind, algorithm, shard);
        let before = self.shard_folder(&folder)?;
        fs::rename(temporary, self.layout.content(kind, digest))?;
        self.grown(*scanned, &folder, before);
        self.forget(digest, false);
        if kind == ChildKind::Manifest {
            let _ = fs::remove_file(self.layout.content(ChildKind::Blob, digest)); // Usually not there.
        }
        let new = New { kind, bytes, last_use: now(), verified: true, leased: true };
        let lease = self.index.insert(digest.clone(), new).expect("the entry was removed under the same lock");
        Ok((kind, lease.generation))
    }

    /// Takes in a file that the index does not know: the scan is on its way, or somebody copied it here. `file` was opened from `path`.
    pub(super) fn adopt(&self, digest: &Digest, kind: ChildKind, file: &Metadata) -> Option<u16> {
        let _scanned = self.shard(digest);
        let named = fs::symlink_metadata(self.layout.content(kind, digest)).ok()?;
        if named.ino() != file.ino() {
            return None; // Evicted or replaced in between.
        }
        if let Some(lease) = self.index.lease(digest, Some(now())) {
            return Some(lease.generation);
        }
        let new = New { kind, bytes: allocated(&named), last_use: now(), verified: false, leased: true };
        let lease = self.index.insert(digest.clone(), new)?;
        self.account.add(allocated(&named));
        Some(lease.generation)
    }

    /// Removes a file that nobody reads; the bytes that this freed.
    pub(super) fn evict(&self, digest: &Digest) -> Option<u64> {
        let scanned = self.shard(digest);
        let removed = self.index.remove_idle(digest)?;
        let folder = self.layout.shard(removed.kind, digest.algorithm(), layout::shard_of(digest));
        let before = folder_bytes(&folder);
        match fs::remove_file(self.layout.content(removed.kind, digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(blob.digest = %digest, error = %error, "cannot evict");
                self.health.failed(&error);
                let new = New { kind: removed.kind, bytes: removed.bytes, last_use: now(), verified: false, leased: false };
                self.index.insert(digest.clone(), new);
                return None;
            }
            _ => self.grown(*scanned, &folder, before),
        }
        self.account.sub(removed.bytes);
        self.metrics.evicted.inc();
        self.metrics.evicted_bytes.inc_by(removed.bytes);
        Some(removed.bytes)
    }

    /// Moves a damaged file aside. It is gone for readers to come; those who have it open keep it.
    pub(super) fn quarantine(&self, digest: &Digest, reason: &str) {
        let name = layout::quarantine_name(digest, &self.temporaries.next());
        let path = self.layout.quarantine().join(name);
        let scanned = self.shard(digest);
        let Some(kind) = KINDS.into_iter().find(|kind| self.is_file(*kind, digest)) else {
            self.forget(digest, false);
            return;
        };
        let bytes = fs::symlink_metadata(self.layout.content(kind, digest)).map_or(0, |file| allocated(&file));
        let folder = self.layout.shard(kind, digest.algorithm(), layout::shard_of(digest));
        let before = folder_bytes(&folder);
        let moved = self.tree.within(self, &self.layout.quarantine(), || fs::rename(self.layout.content(kind, digest), &path));
        if let Err(error) = moved {
            warn!(blob.digest = %digest, error = %error, "cannot move a damaged file to quarantine");
            self.health.failed(&error);
            return;
        }
        self.grown(*scanned, &folder, before);
        if !self.index.contains(digest) {
            self.account.add(bytes); // Not scanned yet, so nobody has counted it.
        }
        let readers = self.forget(digest, true);
        drop(scanned);
        warn!(blob.digest = %digest, path = %path.display(), reason, "a stored file is damaged; it will be fetched again");
        self.metrics.quarantined.inc();
        self.quarantine.add(Damaged { path, bytes, readers });
        self.quarantine.trim(self, quarantine::KEPT);
    }

    /// The entry's file is not there any more, whoever removed it.
    pub(super) fn vanished(&self, digest: &Digest) {
        let _scanned = self.shard(digest);
        if !self.has_file(digest) {
            self.forget(digest, false);
        }
    }

    /// The lock on the folder; one that is taken in its place frees it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Lock> {
        locked(&self.lock)
    }

    pub(super) fn scan_state(&self) -> ScanState {
        *locked(&self.scan.0)
    }

    pub(super) fn set_scan_state(&self, state: ScanState) {
        *locked(&self.scan.0) = state;
        self.scan.1.notify_all();
    }

    /// The lock of the shard that `digest` is in.
    pub(super) fn shard(&self, digest: &Digest) -> MutexGuard<'_, bool> {
        self.shard_at(layout::shard_of(digest))
    }

    pub(super) fn shard_at(&self, shard: u8) -> MutexGuard<'_, bool> {
        locked(&self.shards[usize::from(shard)])
    }

    /// What the shard's folder takes now; it is made where it is missing, and then takes nothing yet.
    fn shard_folder(&self, folder: &Path) -> io::Result<u64> {
        match fs::symlink_metadata(folder) {
            Ok(metadata) => Ok(allocated(&metadata)),
            Err(_) => self.tree.make_shard(self, folder).map(|()| 0),
        }
    }

    fn grown(&self, scanned: bool, folder: &Path, before: u64) {
        if scanned {
            self.account.change(before, folder_bytes(folder));
        }
    }

    /// Whether `digest` has a file, whatever the index knows.
    pub(super) fn has_file(&self, digest: &Digest) -> bool {
        KINDS.into_iter().any(|kind| self.is_file(kind, digest))
    }

    fn is_file(&self, kind: ChildKind, digest: &Digest) -> bool {
        fs::symlink_metadata(self.layout.content(kind, digest)).is_ok_and(|file| file.is_file())
    }
}

/// What [`Disk::new`] is made from.
pub(super) struct Parts {
    pub(super) account: Account,
    pub(super) health: Monitor,
    pub(super) layout: Layout,
    pub(super) lock: Lock,
    pub(super) quarantine: Quarantine,
    pub(super) sources: Sources,
    pub(super) temporaries: Temporaries,
}

/// What a file takes on the disk, whatever its length says.
pub(super) fn allocated(file: &Metadata) -> u64 {
    file.blocks() * 512
}

/// What a folder itself takes.
pub(super) fn folder_bytes(folder: &Path) -> u64 {
    fs::symlink_metadata(folder).map_or(0, |metadata| allocated(&metadata))
}

/// Whether no bytes are the right content: a file of no bytes is else what a crash of the machine makes of a file that was not synced.
pub(super) fn is_of_nothing(digest: &Digest) -> bool {
    match digest.algorithm() {
        Algorithm::Sha256 => *digest == Digest::of(Algorithm::Sha256, b""),
        Algorithm::Sha512 => *digest == Digest::of(Algorithm::Sha512, b""),
    }
}

/// The wall clock, in whole seconds.
pub(super) fn now() -> Seconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Seconds::try_from(since.as_secs()).unwrap_or(Seconds::MAX)
}

/// What a panic left behind a mutex is whole: each holder changes it in one step.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Found in one pass over the index.
const EVICTION_BATCH: usize = 1024;
