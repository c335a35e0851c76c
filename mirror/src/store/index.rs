//! What is stored, in memory: for eviction, the account and the figures. No answer to a client depends on it.
//!
//! Pure: digests in, digests out, the time is an argument. Sixteen locked maps, so that hits on several threads seldom meet.
//! Less than 100 bytes a blob: no list links the entries. The order of eviction is found when it is needed, by one pass that
//! keeps the oldest few ([`Queue`]); it is exact all the same, as everything that could come before them makes the queue stale.
//!
//! An entry's *generation* tells one file of a digest from the next one: whoever still reads the old file must not count for the new.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::oci::{ChildKind, Digest};

/// Seconds since 1970; they fit until 2106.
pub(super) type Seconds = u32;

/// All that is stored.
#[derive(Debug)]
pub(super) struct Index {
    shards: [Mutex<HashMap<Digest, Entry>>; SHARDS],
    /// Entries and idle (unread, so evictable) bytes, by kind.
    counts: [AtomicU64; 2],
    idle: [AtomicU64; 2],
    generation: AtomicU16,
    /// The last place in the order of eviction that is queued; whoever becomes evictable with no later place makes the queue stale.
    horizon: AtomicU64,
    stale: AtomicBool,
}

/// What is put in.
#[derive(Clone, Copy, Debug)]
pub(super) struct New {
    pub(super) kind: ChildKind,
    /// Allocated on disk.
    pub(super) bytes: u64,
    pub(super) last_use: Seconds,
    /// Hashed by this process.
    pub(super) verified: bool,
    /// Starts with one reader.
    pub(super) leased: bool,
}

/// One reader's hold on an entry; goes back by [`Index::release`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Lease {
    pub(super) kind: ChildKind,
    pub(super) generation: u16,
}

/// What was taken out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Removed {
    pub(super) bytes: u64,
    pub(super) generation: u16,
    pub(super) kind: ChildKind,
    pub(super) readers: u16,
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            counts: Default::default(),
            idle: Default::default(),
            generation: AtomicU16::new(0),
            horizon: AtomicU64::new(0),
            stale: AtomicBool::new(true),
        }
    }

    /// Puts `digest` in, unless it is there; the lease is meant where `new.leased`.
    pub(super) fn insert(&self, digest: Digest, new: New) -> Option<Lease> {
        let mut shard = self.shard(&digest);
        if shard.contains_key(&digest) {
            return None;
        }
        let entry = Entry {
            blocks: u32::try_from(new.bytes / BLOCK).unwrap_or(u32::MAX),
            generation: self.generation.fetch_add(1, Ordering::Relaxed),
            last_use: new.last_use,
            readers: u16::from(new.leased),
            unsaved: 0,
            manifest: new.kind == ChildKind::Manifest,
            verified: new.verified,
        };
        self.counts[slot(new.kind)].fetch_add(1, Ordering::Relaxed);
        if !new.leased {
            self.became_idle(&entry);
        }
        let lease = Lease { kind: new.kind, generation: entry.generation };
        shard.insert(digest, entry);
        Some(lease)
    }

    /// One more reader of `digest`; `now` where this is a use (a check of our own is none).
    pub(super) fn lease(&self, digest: &Digest, now: Option<Seconds>) -> Option<Lease> {
        let mut shard = self.shard(digest);
        let entry = shard.get_mut(digest)?;
        // More readers than a process has descriptors: the last of them all would leave the count at the top, and the file in the store.
        if entry.readers == 0 {
            self.idle[slot(entry.kind())].fetch_sub(entry.bytes(), Ordering::Relaxed);
        }
        entry.readers = entry.readers.saturating_add(1);
        entry.use_at(now.unwrap_or(0));
        Some(Lease { kind: entry.kind(), generation: entry.generation })
    }

    /// One reader less. `false`: the entry is no longer the file that was read.
    pub(super) fn release(&self, digest: &Digest, generation: u16) -> bool {
        let mut shard = self.shard(digest);
        let Some(entry) = shard.get_mut(digest).filter(|entry| entry.generation == generation) else { return false };
        entry.readers = entry.readers.saturating_sub(1);
        if entry.readers == 0 {
            self.became_idle(entry);
        }
        true
    }

    /// Takes `digest` out, read or not.
    pub(super) fn remove(&self, digest: &Digest) -> Option<Removed> {
        self.remove_if(digest, |_| true)
    }

    /// Takes `digest` out, unless it is read.
    pub(super) fn remove_idle(&self, digest: &Digest) -> Option<Removed> {
        self.remove_if(digest, |entry| entry.readers == 0)
    }

    /// Notes a use. `Some(true)`: the file should learn it too, which this call takes as done.
    pub(super) fn touch(&self, digest: &Digest, now: Seconds) -> Option<(ChildKind, bool)> {
        let mut shard = self.shard(digest);
        let entry = shard.get_mut(digest)?;
        entry.use_at(now);
        let due = entry.unsaved >= SAVE_EVERY;
        if due {
            entry.unsaved = 0;
        }
        Some((entry.kind(), due))
    }

    /// Whether `digest` was hashed by this process.
    pub(super) fn is_verified(&self, digest: &Digest, generation: u16) -> bool {
        self.shard(digest).get(digest).is_some_and(|entry| entry.verified && entry.generation == generation)
    }

    /// Notes that the file of this generation has the right hash.
    pub(super) fn mark_verified(&self, digest: &Digest, generation: u16) {
        if let Some(entry) = self.shard(digest).get_mut(digest).filter(|entry| entry.generation == generation) {
            entry.verified = true;
        }
    }

    /// Which file of `digest` there is, where this process has hashed it.
    pub(super) fn verified(&self, digest: &Digest) -> Option<u16> {
        self.shard(digest).get(digest).filter(|entry| entry.verified).map(|entry| entry.generation)
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.kind(digest).is_some()
    }

    /// What `digest` is stored as.
    pub(super) fn kind(&self, digest: &Digest) -> Option<ChildKind> {
        self.shard(digest).get(digest).map(Entry::kind)
    }

    /// Entries of a kind.
    pub(super) fn count(&self, kind: ChildKind) -> u64 {
        self.counts[slot(kind)].load(Ordering::Relaxed)
    }

    /// Bytes that eviction could free now.
    pub(super) fn idle(&self) -> u64 {
        self.idle.iter().map(|idle| idle.load(Ordering::Relaxed)).sum()
    }

    /// No use is much later than `now`: a clock that was ahead for a while would keep what was used meanwhile for ever. One that is a little behind,
    /// as machines start with, must not make everything old.
    pub(super) fn settle(&self, now: Seconds) {
        let latest = now.saturating_add(A_DAY);
        for shard in &self.shards {
            locked(shard).values_mut().filter(|entry| entry.last_use > latest).for_each(|entry| entry.last_use = now);
        }
    }

    /// Everything not used since `cutoff` and not read.
    pub(super) fn unused_since(&self, cutoff: Seconds) -> Vec<Digest> {
        self.collect(|entry| entry.readers == 0 && entry.last_use < cutoff)
    }

    /// All digests, in their order.
    pub(super) fn digests(&self) -> Vec<Digest> {
        let mut digests = self.collect(|_| true);
        digests.sort_unstable();
        digests
    }

    fn collect(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Digest> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = locked(shard);
            found.extend(shard.iter().filter(|(_, entry)| wanted(entry)).map(|(digest, _)| digest.clone()));
        }
        found
    }

    /// The `most` oldest idle entries of a kind, oldest first.
    fn oldest(&self, kind: ChildKind, most: usize) -> VecDeque<(Seconds, Digest)> {
        let mut oldest: BinaryHeap<(Seconds, Digest)> = BinaryHeap::with_capacity(most + 1);
        for shard in &self.shards {
            for (digest, entry) in locked(shard).iter().filter(|(_, entry)| entry.readers == 0 && entry.kind() == kind) {
                let full = oldest.len() == most;
                if full && oldest.peek().is_some_and(|(youngest, last)| (*youngest, last) <= (entry.last_use, digest)) {
                    continue;
                }
                oldest.push((entry.last_use, digest.clone()));
                if full {
                    oldest.pop();
                }
            }
        }
        oldest.into_sorted_vec().into()
    }

    fn remove_if(&self, digest: &Digest, fits: impl Fn(&Entry) -> bool) -> Option<Removed> {
        let mut shard = self.shard(digest);
        if !shard.get(digest).is_some_and(fits) {
            return None;
        }
        let entry = shard.remove(digest)?;
        self.counts[slot(entry.kind())].fetch_sub(1, Ordering::Relaxed);
        if entry.readers == 0 {
            self.idle[slot(entry.kind())].fetch_sub(entry.bytes(), Ordering::Relaxed);
        }
        Some(Removed { bytes: entry.bytes(), generation: entry.generation, kind: entry.kind(), readers: entry.readers })
    }

    fn became_idle(&self, entry: &Entry) {
        self.idle[slot(entry.kind())].fetch_add(entry.bytes(), Ordering::Relaxed);
        if place(entry.kind(), entry.last_use) <= self.horizon.load(Ordering::Relaxed) {
            self.stale.store(true, Ordering::Relaxed);
        }
    }

    /// The place in the order of an entry that nobody reads.
    fn idle_place(&self, digest: &Digest) -> Option<u64> {
        self.shard(digest).get(digest).filter(|entry| entry.readers == 0).map(|entry| place(entry.kind(), entry.last_use))
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        // The last byte: the first ones are the folders, which the scan goes through in their order.
        let byte = digest.as_bytes().last().copied().unwrap_or(0);
        locked(&self.shards[usize::from(byte) % SHARDS])
    }
}

/// The next ones to go: least recently used first, layers before manifests.
#[derive(Debug)]
pub(super) struct Queue {
    batch: usize,
    /// With the place that each had when it was queued: one that came back as another kind has another.
    candidates: VecDeque<(u64, Digest)>,
}

impl Queue {
    /// Finds `batch` candidates in one pass over the index.
    pub(super) fn new(batch: usize) -> Self {
        Self { batch, candidates: VecDeque::new() }
    }

    /// The one to evict at the time `now`; `None` when all that is left is read. It stays in the index until the caller removes it.
    pub(super) fn next(&mut self, index: &Index, now: Seconds) -> Option<Digest> {
        if index.stale.swap(false, Ordering::Relaxed) {
            self.candidates.clear();
        }
        loop {
            while let Some((queued, digest)) = self.candidates.pop_front() {
                match index.idle_place(&digest) {
                    Some(place) if place == queued => return Some(digest),
                    // Used since, and still older than some that are queued.
                    Some(place) if place <= index.horizon.load(Ordering::Relaxed) => self.candidates.clear(),
                    _ => {}
                }
            }
            index.settle(now);
            if !self.refill(index) {
                return None;
            }
        }
    }

    fn refill(&mut self, index: &Index) -> bool {
        for kind in [ChildKind::Blob, ChildKind::Manifest] {
            self.candidates =
                index.oldest(kind, self.batch).into_iter().map(|(last_use, digest)| (place(kind, last_use), digest)).collect();
            index.horizon.store(self.candidates.back().map_or(0, |(place, _)| *place), Ordering::Relaxed);
            if !self.candidates.is_empty() {
                return true;
            }
        }
        false
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Allocated, in units of 512 bytes.
    blocks: u32,
    last_use: Seconds,
    /// Seconds by which the last use is later than the one that the file knows of.
    unsaved: u16,
    generation: u16,
    readers: u16,
    manifest: bool,
    verified: bool,
}

impl Entry {
    fn bytes(&self) -> u64 {
        u64::from(self.blocks) * BLOCK
    }

    /// A clock that went back changes nothing.
    fn use_at(&mut self, now: Seconds) {
        let ahead = now.saturating_sub(self.last_use);
        self.last_use += ahead;
        self.unsaved = self.unsaved.saturating_add(u16::try_from(ahead).unwrap_or(u16::MAX));
    }

    fn kind(&self) -> ChildKind {
        if self.manifest { ChildKind::Manifest } else { ChildKind::Blob }
    }
}

/// A panic elsewhere leaves a map whole: each change is a single insert or remove.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In the order of eviction.
fn place(kind: ChildKind, last_use: Seconds) -> u64 {
    ((slot(kind) as u64) << 32) | u64::from(last_use)
}

fn slot(kind: ChildKind) -> usize {
    match kind {
        ChildKind::Blob => 0,
        ChildKind::Manifest => 1,
    }
}

const SHARDS: usize = 16;
const BLOCK: u64 = 512;
/// A file learns of its use at most once in so many seconds.
const SAVE_EVERY: u16 = 60;

/// In seconds.
const A_DAY: Seconds = 24 * 3600;

#[cfg(test)]
mod tests;
