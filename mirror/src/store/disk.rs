//! What every part of the store shares: the folder, its lock, the index, the account, and the few moves that keep those in step.
//!
//! Locks, outermost first: `admission` (one at a time makes room) → a shard's (its two folders and their entries in the index change together)
//! → `tree` (folders and records) → `orphans`. Nothing waits for the network, and nobody holds one while content is synced (a new folder's first sync is short).
//! A hit takes none of them, only its entry's lock in the index.
//!
//! A reader holds a lease on its entry. When the file goes all the same (damaged, or replaced), the lease lives on as an *orphan*, and the bytes
//! stay in the account until its last reader closes: the kernel frees them no sooner.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tracing::warn;

use super::account::Account;
use super::health::Monitor;
use super::index::{Index, New, Queue, Seconds};
use super::layout::{self, KINDS, Layout, Temporaries};
use super::lock::Lock;
use super::metrics::Metrics;
use super::quarantine::{self, Damaged, Quarantine};
use super::tree::Tree;
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
    pub(super) temporaries: Temporaries,
    pub(super) tree: Tree,
    admission: Mutex<Queue>,
    lingering: Mutex<Vec<Lingering>>,
    lingerers: AtomicUsize,
    orphans: Mutex<HashMap<(Digest, u16), Orphan>>,
    scan: (Mutex<ScanState>, Condvar),
    /// Each holds whether its folders were scanned, so that their own bytes are in the account.
    shards: [Mutex<bool>; 256],
    _lock: Lock,
}

/// How far the scan at start is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ScanState {
    Waiting,
    Running,
    Done,
}

/// A file whose owner let go of it while somebody still reads it.
#[derive(Debug)]
struct Lingering {
    file: Weak<File>,
    claim: Claim,
}

/// What somebody has a right to until the file is closed.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    /// Bytes of a file without a name.
    Bytes(u64),
    /// A reader's place at an entry.
    Lease(Digest, u16),
}

#[derive(Debug)]
struct Orphan {
    bytes: u64,
    readers: u16,
    /// It has a name in quarantine, which pays for its bytes.
    named: bool,
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
            temporaries: parts.temporaries,
            tree: Tree::default(),
            admission: Mutex::new(Queue::new(EVICTION_BATCH)),
            lingering: Mutex::default(),
            lingerers: AtomicUsize::new(0),
            orphans: Mutex::default(),
            scan: (Mutex::new(ScanState::Waiting), Condvar::new()),
            shards: std::array::from_fn(|_| Mutex::new(false)),
            _lock: parts.lock,
        }
    }

    // === room ===

    /// Takes `need` bytes into the account, after eviction where that makes the room; else how many bytes were asked for in vain.
    pub(super) fn admit(&self, need: u64) -> Result<(), u64> {
        let outcome = self.make_room(need);
        if outcome.is_err() {
            self.metrics.full.inc();
        }
        outcome
    }

    /// Evicts until the cap and the reserve hold again: others fill the disk too, and a cap may have become smaller.
    pub(super) fn trim(&self) {
        let mut queue = locked(&self.admission);
        self.settle();
        let shortage = self.shortage(0);
        if shortage > 0 && self.scan_state() == ScanState::Done {
            self.free_up(&mut queue, shortage);
        }
    }

    /// The system found no space although the account had it: quotas and reserves that we cannot see. `true`: it is worth another try.
    pub(super) fn relieve(&self, need: u64) -> bool {
        let mut queue = locked(&self.admission);
        need <= self.reclaimable() && self.free_up(&mut queue, need) > 0
    }

    fn make_room(&self, need: u64) -> Result<(), u64> {
        if self.scan_state() != ScanState::Done && !self.fits_unscanned(need) && !self.wait_for_scan() {
            return Err(need);
        }
        let mut queue = locked(&self.admission);
        self.settle();
        let shortage = self.shortage(need);
        if shortage > 0 && (shortage > self.reclaimable() || self.free_up(&mut queue, shortage) < shortage) {
            return Err(need);
        }
        self.account.add(need);
        Ok(())
    }

    fn shortage(&self, need: u64) -> u64 {
        self.account.shortage(need, self.free())
    }

    fn reclaimable(&self) -> u64 {
        self.index.idle() + self.quarantine.bytes()
    }

    /// Damaged files first, then by the queue.
    fn free_up(&self, queue: &mut Queue, wanted: u64) -> u64 {
        let mut freed = self.quarantine.trim(self, 0);
        let mut missed = 0;
        while freed < wanted && missed < MOST_MISSES {
            let Some(digest) = queue.next(&self.index) else { break };
            match self.evict(&digest) {
                Some(bytes) => freed += bytes,
                None => missed += 1, // Opened in between, or the disk refuses.
            }
        }
        freed
    }

    /// Before the scan is done nobody knows what is used, except that it is no more than all that the file system holds.
    fn fits_unscanned(&self, need: u64) -> bool {
        let Ok(system) = rustix::fs::statvfs(self.layout.root()) else { return false };
        let everything = system.f_blocks.saturating_sub(system.f_bfree) * system.f_frsize;
        let within_cap = self.account.cap().is_none_or(|cap| everything + need < cap);
        within_cap && self.shortage(need) == 0
    }

    /// Bytes that an ordinary user may still take from the file system; 0 where it does not answer, and no limit where it knows no size.
    pub(super) fn free(&self) -> u64 {
        match rustix::fs::statvfs(self.layout.root()) {
            Ok(system) if system.f_blocks == 0 => u64::MAX / 2,
            Ok(system) => system.f_bavail * system.f_frsize,
            Err(_) => 0,
        }
    }

    // === content ===

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
        if !KINDS.into_iter().any(|kind| self.is_file(kind, digest)) {
            self.forget(digest, false);
        }
    }

    /// Takes the entry out of the index, and its bytes out of the account unless somebody reads it or it got a name in quarantine.
    fn forget(&self, digest: &Digest, named: bool) -> Option<(Digest, u16)> {
        let mut orphans = locked(&self.orphans);
        let removed = self.index.remove(digest)?;
        if removed.readers == 0 {
            self.account.sub(if named { 0 } else { removed.bytes });
            return None;
        }
        let key = (digest.clone(), removed.generation);
        orphans.insert(key.clone(), Orphan { bytes: removed.bytes, readers: removed.readers, named });
        Some(key)
    }

    /// A named orphan lost its name; the bytes that are free now.
    pub(super) fn unlinked(&self, readers: Option<(Digest, u16)>, bytes: u64) -> u64 {
        let mut orphans = locked(&self.orphans);
        if let Some(orphan) = readers.and_then(|key| orphans.get_mut(&key)) {
            orphan.named = false;
            return 0;
        }
        self.account.sub(bytes);
        bytes
    }

    // === readers ===

    /// Gives up `claim` when `file`, which the caller is about to drop, has no other owner; else as soon as it has none.
    pub(super) fn let_go(&self, file: &std::sync::Arc<File>, claim: Claim) {
        self.settle();
        if std::sync::Arc::strong_count(file) == 1 {
            return self.give_up(&claim);
        }
        let mut lingering = locked(&self.lingering);
        lingering.push(Lingering { file: std::sync::Arc::downgrade(file), claim });
        self.lingerers.store(lingering.len(), Ordering::Release);
    }

    /// Gives up the claims of files that were closed meanwhile.
    pub(super) fn settle(&self) {
        if self.lingerers.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut lingering = locked(&self.lingering);
        let closed: Vec<Lingering> = lingering.extract_if(.., |one| one.file.strong_count() == 0).collect();
        self.lingerers.store(lingering.len(), Ordering::Release);
        drop(lingering);
        for one in closed {
            self.give_up(&one.claim);
        }
    }

    fn give_up(&self, claim: &Claim) {
        let (digest, generation) = match claim {
            Claim::Bytes(bytes) => return self.account.sub(*bytes),
            Claim::Lease(digest, generation) => (digest, *generation),
        };
        if self.index.release(digest, generation) {
            return;
        }
        let mut orphans = locked(&self.orphans);
        let key = (digest.clone(), generation);
        let Some(orphan) = orphans.get_mut(&key) else { return };
        orphan.readers -= 1;
        if orphan.readers == 0 {
            self.account.sub(if orphan.named { 0 } else { orphan.bytes });
            orphans.remove(&key);
        }
    }

    // === the scan ===

    pub(super) fn scan_state(&self) -> ScanState {
        *locked(&self.scan.0)
    }

    pub(super) fn set_scan_state(&self, state: ScanState) {
        *locked(&self.scan.0) = state;
        self.scan.1.notify_all();
    }

    /// Whether the scan is done, at the latest after a time that a client does not mind.
    fn wait_for_scan(&self) -> bool {
        let state = locked(&self.scan.0);
        let waited = self.scan.1.wait_timeout_while(state, SCAN_PATIENCE, |state| *state == ScanState::Running);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == ScanState::Done
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
/// Evictions that may fail before making room is given up.
const MOST_MISSES: usize = 64;
/// A download that must know what is used waits so long for the scan, and is not stored otherwise.
const SCAN_PATIENCE: Duration = Duration::from_secs(2);
