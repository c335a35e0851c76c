//! The buffers that readers fill: reused, counted against one budget, and given back when the client's socket has taken the bytes.
//!
//! A reader never waits for a buffer. Over the budget it gets a small one, so a thousand slow clients cost memory in proportion to the small size,
//! and a fast one is not starved by them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// What a reader gets when the budget is spent.
pub(crate) const SMALL: usize = 8 * 1024;
/// What a reader starts with.
pub(crate) const FIRST: usize = 32 * 1024;
/// What a reader grows to, while its client drains at once: beyond it throughput no longer rises.
pub(crate) const LARGE: usize = 256 * 1024;

/// All buffers of one mirror.
#[derive(Debug)]
pub(crate) struct Buffers {
    budget: usize,
    idle: Mutex<Vec<Vec<u8>>>,
    leased: AtomicUsize,
}

impl Buffers {
    /// At most about `budget` bytes in large buffers.
    pub(crate) fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self { budget, idle: Mutex::default(), leased: AtomicUsize::new(0) })
    }

    /// A buffer of `size` bytes, or of [`SMALL`] where the budget does not allow so much.
    pub(crate) fn lease(self: &Arc<Self>, size: usize, reader: &Arc<AtomicUsize>) -> Lease {
        let spent = self.leased.load(Ordering::Relaxed) + size > self.budget;
        let size = if spent { size.min(SMALL) } else { size };
        self.lease_exactly(size, reader)
    }

    fn lease_exactly(self: &Arc<Self>, size: usize, reader: &Arc<AtomicUsize>) -> Lease {
        let bytes = if size == LARGE { self.take_idle() } else { vec![0; size] };
        self.leased.fetch_add(size, Ordering::Relaxed);
        reader.fetch_add(size, Ordering::Relaxed);
        Lease { buffers: self.clone(), bytes, filled: 0, reader: reader.clone(), size }
    }

    /// Bytes that are with readers and their sockets right now.
    pub(crate) fn leased(&self) -> usize {
        self.leased.load(Ordering::Relaxed)
    }

    /// Only large buffers are kept: zeroing and mapping them anew is what costs.
    fn take_idle(&self) -> Vec<u8> {
        self.idle.lock().expect("no holder panics").pop().unwrap_or_else(|| vec![0; LARGE])
    }
}

/// A buffer on its way through a reader to a socket. Dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Lease {
    buffers: Arc<Buffers>,
    bytes: Vec<u8>,
    filled: usize,
    reader: Arc<AtomicUsize>,
    size: usize,
}

impl Lease {
    /// The first `filled` bytes, as what HTTP sends.
    pub(crate) fn freeze(mut self, filled: usize) -> Bytes {
        self.filled = filled;
        Bytes::from_owner(self)
    }

    /// Where to read to.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.buffers.leased.fetch_sub(self.size, Ordering::Relaxed);
        self.reader.fetch_sub(self.size, Ordering::Relaxed);
        if self.size == LARGE {
            let mut idle = self.buffers.idle.lock().expect("no holder panics");
            if idle.len() < IDLE_KEPT {
                idle.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

/// How large the next buffer of one reader is: it doubles while the client has taken everything, and falls back when it has not.
#[derive(Debug)]
pub(crate) struct Pace {
    outstanding: Arc<AtomicUsize>,
    size: usize,
}

impl Pace {
    /// At the start of a body.
    pub(crate) fn new() -> Self {
        Self { outstanding: Arc::default(), size: FIRST }
    }

    /// A buffer of up to `wanted` bytes at today's pace.
    pub(crate) fn lease(&mut self, buffers: &Arc<Buffers>, wanted: u64) -> Lease {
        let held = self.outstanding.load(Ordering::Relaxed);
        self.size = if held > self.size { (self.size / 2).max(SMALL) } else { (self.size * 2).min(LARGE) };
        let size = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.size);
        buffers.lease(size, &self.outstanding)
    }

    /// A buffer of exactly `wanted` bytes, whatever the budget says: for the tail that is checked as one.
    pub(crate) fn lease_whole(&self, buffers: &Arc<Buffers>, wanted: u64) -> Lease {
        buffers.lease_exactly(wanted as usize, &self.outstanding)
    }
}

/// Eight readers at full speed find their buffers ready; more make theirs anew.
const IDLE_KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_whose_client_drains_grows_and_one_whose_client_lags_shrinks() {
        let buffers = Buffers::new(16 << 20);
        let mut pace = Pace::new();
        let sizes: Vec<usize> = (0..4).map(|_| pace.lease(&buffers, u64::MAX).bytes.len()).collect();
        assert_eq!(sizes, [FIRST * 2, FIRST * 4, LARGE, LARGE]);
        let kept: Vec<Lease> = (0..7).map(|_| pace.lease(&buffers, u64::MAX)).collect();
        assert_eq!(kept.last().expect("seven").bytes.len(), SMALL);
    }

    #[test]
    fn beyond_the_budget_buffers_are_small_and_all_of_them_come_back() {
        let buffers = Buffers::new(LARGE);
        let reader = Arc::default();
        let first = buffers.lease(LARGE, &reader);
        let second = buffers.lease(LARGE, &reader);
        assert_eq!((first.size, second.size), (LARGE, SMALL));
        let sent = first.freeze(10);
        assert_eq!(sent.len(), 10);
        drop((sent, second));
        assert_eq!((buffers.leased(), reader.load(Ordering::Relaxed)), (0, 0));
    }
}
