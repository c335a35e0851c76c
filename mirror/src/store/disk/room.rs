//! Making room: one at a time looks at the cap and the free space, and evicts what is missing.

use std::sync::PoisonError;
use std::time::Duration;

use super::super::index::Queue;
use super::{Disk, ScanState, locked, now};

impl Disk {
    /// Takes `need` bytes into the account, after eviction where that makes the room; else how many bytes were asked for in vain.
    pub(in crate::store) fn admit(&self, need: u64) -> Result<(), u64> {
        let outcome = self.make_room(need);
        if outcome.is_err() {
            self.metrics.full.inc();
        }
        outcome
    }

    /// Evicts until the cap and the reserve hold again: others fill the disk too, and a cap may have become smaller.
    pub(in crate::store) fn trim(&self) {
        let mut queue = locked(&self.admission);
        self.settle();
        let shortage = self.shortage(0);
        if shortage > 0 && self.scan_state() == ScanState::Done {
            self.free_up(&mut queue, shortage);
        }
    }

    /// The system found no space although the account had it: quotas and reserves that we cannot see. `true`: it is worth another try.
    pub(in crate::store) fn relieve(&self, need: u64) -> bool {
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
            let Some(digest) = queue.next(&self.index, now()) else { break };
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
        if system.f_blocks == 0 {
            return self.account.cap().is_none();
        }
        let everything = system.f_blocks.saturating_sub(system.f_bfree) * system.f_frsize;
        let within_cap = self.account.cap().is_none_or(|cap| everything + need < cap);
        within_cap && self.shortage(need) == 0
    }

    /// Bytes that an ordinary user may still take from the file system; 0 where it does not answer, and no limit where it knows no size.
    pub(in crate::store) fn free(&self) -> u64 {
        match rustix::fs::statvfs(self.layout.root()) {
            Ok(system) if system.f_blocks == 0 => u64::MAX / 2,
            Ok(system) => system.f_bavail * system.f_frsize,
            Err(_) => 0,
        }
    }

    /// Whether the scan is done, at the latest after a time that a client does not mind.
    fn wait_for_scan(&self) -> bool {
        let state = locked(&self.scan.0);
        let waited = self.scan.1.wait_timeout_while(state, SCAN_PATIENCE, |state| *state == ScanState::Running);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == ScanState::Done
    }
}

/// Evictions that may fail before making room is given up.
const MOST_MISSES: usize = 64;
/// A download that must know what is used waits so long for the scan, and is not stored otherwise.
const SCAN_PATIENCE: Duration = Duration::from_secs(2);
