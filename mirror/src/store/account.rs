//! The account: bytes that the store has allocated or promised, against its cap and against what must stay free.
//!
//! Pure but for its atomics. Every byte is put in before it is written and taken out after it is freed, so the disk is never above the account
//! and the account, which [`Account::shortage`] guards, never above the cap.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is taken, and what may be.
#[derive(Debug)]
pub(super) struct Account {
    used: AtomicU64,
    /// Part of `used` that the file system does not know of yet: where it cannot preallocate, a download's rest.
    promised: AtomicU64,
    cap: Option<u64>,
    min_free: u64,
}

impl Account {
    /// `cap` and `min_free` in bytes.
    pub(super) fn new(cap: Option<u64>, min_free: u64) -> Self {
        Self { used: AtomicU64::new(0), promised: AtomicU64::new(0), cap, min_free }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn cap(&self) -> Option<u64> {
        self.cap
    }

    pub(super) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What counted `before` counts `after` now.
    pub(super) fn change(&self, before: u64, after: u64) {
        // In one step: nobody is to see both.
        if after >= before { self.add(after - before) } else { self.sub(before - after) }
    }

    pub(super) fn promise(&self, bytes: u64) {
        self.promised.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn keep_promise(&self, bytes: u64) {
        self.promised.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many bytes must go before `need` more may come, with `free` bytes free on the file system.
    pub(super) fn shortage(&self, need: u64, free: u64) -> u64 {
        let over_cap = self.cap.map_or(0, |cap| self.used().saturating_add(need).saturating_add(slack(need)).saturating_sub(cap));
        let free = free.saturating_sub(self.promised.load(Ordering::Relaxed));
        over_cap.max(need.saturating_add(self.min_free).saturating_sub(free))
    }
}

/// Whole blocks, as every file system allocates them.
pub(super) fn in_blocks(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(4096).unwrap_or(u64::MAX)
}

/// Room for what a write takes besides its bytes: a folder's growth, a file's map of extents.
fn slack(need: u64) -> u64 {
    if need == 0 { 0 } else { (32 << 10) + need / 1024 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_both_shortages_counts() {
        let account = Account::new(Some(1 << 20), 1000);
        account.add(1 << 19);
        assert_eq!(account.shortage(0, 5000), 0);
        assert_eq!(account.shortage(0, 400), 600, "the reserve");
        assert_eq!(account.shortage(1 << 20, 1 << 30), (1 << 19) + slack(1 << 20), "the cap");
        account.promise(5000);
        assert_eq!(account.shortage(0, 5000), 1000, "what is promised is not free");
        assert!(account.shortage(u64::MAX, 1 << 30) > 1 << 62, "a size that somebody made up does not wrap around to little");
    }
}
