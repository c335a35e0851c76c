//! Whoever has a file of ours open, and the bytes that last as long.
//!
//! A reader holds a lease on its entry. When the file goes all the same (damaged, or replaced), the lease lives on as an *orphan*, and the bytes
//! stay in the account until its last reader closes: the kernel frees them no sooner. Readers share a file by `Arc`; whoever holds the lease
//! and lets go of it while others read leaves a weak reference, which is looked at now and then.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::{Disk, locked};
use crate::oci::Digest;

/// Those that cannot be found in the index.
#[derive(Debug, Default)]
pub(super) struct Readers {
    lingering: Mutex<Vec<Lingering>>,
    /// How many those are, so that a hit need not lock to see that there are none.
    lingerers: AtomicUsize,
    orphans: Mutex<HashMap<(Digest, u16), Orphan>>,
}

/// A file whose owner let go of it while somebody still reads it.
#[derive(Debug)]
struct Lingering {
    file: Weak<File>,
    claim: Claim,
}

/// What somebody has a right to until the file is closed.
#[derive(Clone, Debug)]
pub(in crate::store) enum Claim {
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
    /// Gives up `claim` when `file`, which the caller is about to drop, has no other owner; else as soon as it has none.
    pub(in crate::store) fn let_go(&self, file: &Arc<File>, claim: Claim) {
        self.settle();
        if Arc::strong_count(file) == 1 {
            return self.give_up(&claim);
        }
        let mut lingering = locked(&self.readers.lingering);
        lingering.push(Lingering { file: Arc::downgrade(file), claim });
        self.readers.lingerers.store(lingering.len(), Ordering::Release);
    }

    /// Gives up the claims of files that were closed meanwhile.
    pub(in crate::store) fn settle(&self) {
        if self.readers.lingerers.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut lingering = locked(&self.readers.lingering);
        let closed: Vec<Lingering> = lingering.extract_if(.., |one| one.file.strong_count() == 0).collect();
        self.readers.lingerers.store(lingering.len(), Ordering::Release);
        drop(lingering);
        for one in closed {
            self.give_up(&one.claim);
        }
    }

    /// Gives up `claim` now.
    pub(in crate::store) fn give_up(&self, claim: &Claim) {
        let (digest, generation) = match claim {
            Claim::Bytes(bytes) => return self.account.sub(*bytes),
            Claim::Lease(digest, generation) => (digest, *generation),
        };
        if self.index.release(digest, generation) {
            return;
        }
        let mut orphans = locked(&self.readers.orphans);
        let key = (digest.clone(), generation);
        let Some(orphan) = orphans.get_mut(&key) else { return };
        orphan.readers -= 1;
        if orphan.readers == 0 {
            self.account.sub(if orphan.named { 0 } else { orphan.bytes });
            orphans.remove(&key);
        }
    }

    /// Takes the entry out of the index, and its bytes out of the account unless somebody reads it or it got a name in quarantine.
    pub(super) fn forget(&self, digest: &Digest, named: bool) -> Option<(Digest, u16)> {
        let mut orphans = locked(&self.readers.orphans);
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
    pub(in crate::store) fn unlinked(&self, readers: Option<(Digest, u16)>, bytes: u64) -> u64 {
        let mut orphans = locked(&self.readers.orphans);
        if let Some(orphan) = readers.and_then(|key| orphans.get_mut(&key)) {
            orphan.named = false;
            return 0;
        }
        self.account.sub(bytes);
        bytes
    }
}
