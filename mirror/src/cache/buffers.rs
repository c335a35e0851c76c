//! The buffers that readers fill: reused, counted against one budget, and given back when the client's socket has taken the bytes.
//!
//! No reader waits for another. Over the budget each gets small buffers, and no third one before its client has taken the first: HTTP/2 would queue
//! them for a client that takes nothing. So a thousand slow clients cost a thousand times [`QUEUED`], and a fast one is not starved by them.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

/// What a reader gets when the budget is spent.
pub(crate) const SMALL: usize = 8 * 1024;
/// What a reader's client may leave untaken when the budget is spent: one buffer is sent while the next is filled.
pub(crate) const QUEUED: usize = 2 * SMALL;
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
    fn lease(self: &Arc<Self>, size: usize, reader: &Arc<Outstanding>) -> Lease {
        let size = if self.is_spent(size) { size.min(SMALL) } else { size };
        self.lease_exactly(size, reader)
    }

    fn is_spent(&self, size: usize) -> bool {
        self.leased.load(Ordering::Relaxed) + size > self.budget
    }

    fn lease_exactly(self: &Arc<Self>, size: usize, reader: &Arc<Outstanding>) -> Lease {
        let bytes = if size == LARGE { self.take_idle() } else { vec![0; size] };
        self.leased.fetch_add(size, Ordering::Relaxed);
        reader.bytes.fetch_add(size, Ordering::Relaxed);
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

/// What one reader's client has not taken yet.
#[derive(Debug, Default)]
struct Outstanding {
    bytes: AtomicUsize,
    /// Told of each buffer that comes back; only the reader itself waits.
    taken: Notify,
}

/// A buffer on its way through a reader to a socket. Dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Lease {
    buffers: Arc<Buffers>,
    bytes: Vec<u8>,
    filled: usize,
    reader: Arc<Outstanding>,
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
        self.reader.bytes.fetch_sub(self.size, Ordering::AcqRel);
        self.reader.taken.notify_one();
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
    outstanding: Arc<Outstanding>,
    size: usize,
}

impl Pace {
    /// At the start of a body.
    pub(crate) fn new() -> Self {
        Self { outstanding: Arc::default(), size: FIRST }
    }

    /// A buffer of up to `wanted` bytes at today's pace.
    pub(crate) fn lease(&mut self, buffers: &Arc<Buffers>, wanted: u64) -> Lease {
        let held = self.outstanding.bytes.load(Ordering::Relaxed);
        self.size = if held > self.size { (self.size / 2).max(SMALL) } else { (self.size * 2).min(LARGE) };
        let size = usize::try_from(wanted).unwrap_or(usize::MAX).min(self.size);
        buffers.lease(size, &self.outstanding)
    }

    /// Whether the budget is spent, and this reader's client has enough to take.
    pub(crate) fn must_wait(&self, buffers: &Buffers) -> bool {
        self.outstanding.bytes.load(Ordering::Acquire) >= QUEUED && buffers.is_spent(SMALL)
    }

    /// Waits for this reader's own client and for nobody else, and not for ever: an HTTP/2 stream whose window is never opened is on no other clock.
    pub(crate) async fn turn(&self, buffers: &Buffers) -> io::Result<()> {
        while self.must_wait(buffers) {
            self.one_taken().await?;
        }
        Ok(())
    }

    /// Waits until the client has all that it was given: a body that fails takes with it what is still queued.
    pub(crate) async fn all_taken(&self) {
        while self.outstanding.bytes.load(Ordering::Acquire) > 0 && self.one_taken().await.is_ok() {}
    }

    async fn one_taken(&self) -> io::Result<()> {
        // What is taken between the look and the wait is told all the same: a word that nobody waits for is kept.
        let taken = tokio::time::timeout(PATIENCE, self.outstanding.taken.notified()).await;
        taken.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of what it asked for"))
    }

    /// A buffer of exactly `wanted` bytes, whatever the budget says: for the tail that is checked as one.
    pub(crate) fn lease_whole(&self, buffers: &Arc<Buffers>, wanted: u64) -> Lease {
        buffers.lease_exactly(wanted as usize, &self.outstanding)
    }
}

/// For a client to take a large buffer, when the budget is spent: who is slower than 2 KiB/s may as well have stopped.
const PATIENCE: Duration = Duration::from_mins(2);
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
        let reader = Arc::<Outstanding>::default();
        let first = buffers.lease(LARGE, &reader);
        let second = buffers.lease(LARGE, &reader);
        assert_eq!((first.size, second.size), (LARGE, SMALL));
        let sent = first.freeze(10);
        assert_eq!(sent.len(), 10);
        drop((sent, second));
        assert_eq!((buffers.leased(), reader.bytes.load(Ordering::Relaxed)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_budget_a_reader_waits_for_its_own_client_and_for_no_other() {
        let buffers = Buffers::new(LARGE);
        let (mut stuck, mut alive) = (Pace::new(), Pace::new());
        let held: Vec<Lease> = (0..100).map_while(|_| (!stuck.must_wait(&buffers)).then(|| stuck.lease(&buffers, u64::MAX))).collect();
        assert!(buffers.leased() <= LARGE + QUEUED, "{} bytes for one that takes nothing", buffers.leased());

        let mut sent = vec![alive.lease(&buffers, u64::MAX), alive.lease(&buffers, u64::MAX)];
        assert!(alive.must_wait(&buffers), "a third is queued for nobody");
        let waiting = tokio::spawn({
            let buffers = buffers.clone();
            async move { alive.turn(&buffers).await.map(|()| alive) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        sent.pop();
        let alive = waiting.await.expect("no panic").expect("its client has taken one");
        assert!(!alive.must_wait(&buffers), "though the other one holds what it has");

        let error = stuck.turn(&buffers).await.expect_err("nobody waits for ever");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        stuck.all_taken().await;
        drop(held);
        stuck.turn(&buffers).await.expect("there is room");
    }
}
