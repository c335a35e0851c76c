//! Reads a stored blob, or a part of it. Of one that was not hashed since the start the tail is withheld until its hash is right: a disk that lies is
//! found before a client has a whole wrong body. What the disk does not give at all is put aside, and the next pull has it anew.
//!
//! A read of the whole hashes what it sends. A part cannot: its share of the tail waits for the check that all parts share, and what lies before
//! the tail goes out meanwhile.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Cache;
use super::body::Ready;
use super::buffers::{Buffers, Lease, Pace};
use super::flight::TAIL;
use super::read::{read_blocking, read_cached};
use super::shared::Pending;
use crate::oci::{Digest, Hasher};
use crate::store::Stored;

/// A reader of one stored blob.
pub(crate) struct StoredReader {
    buffers: Arc<Buffers>,
    guard: Guard,
    left: Range<u64>,
    pace: Pace,
    stored: Stored,
}

/// What stands before the tail.
enum Guard {
    /// The hash of a read of the whole.
    Hash(Check),
    /// Nothing: the blob is known to be right, or the tail is not wanted.
    None,
    /// The check that all parts share; none where there was no room for one.
    Shared(Option<Pending<()>>),
}

/// The hash of a read that is also a check.
struct Check {
    digest: Digest,
    hasher: Hasher,
}

impl StoredReader {
    /// Bytes `range` of `stored`.
    pub(crate) fn new(digest: &Digest, stored: Stored, range: Range<u64>, cache: &Cache) -> Self {
        let guard = Guard::new(digest, &stored, &range, cache);
        Self { buffers: cache.0.lasting.buffers.clone(), guard, left: range, pace: Pace::new(), stored }
    }

    /// What is in the page cache.
    pub(crate) fn ready(&mut self) -> io::Result<Ready> {
        if self.left.is_empty() {
            return Ok(Ready::End);
        }
        if self.is_withheld() || self.pace.must_wait(&self.buffers) {
            return Ok(Ready::Wait);
        }
        let mut lease = self.lease();
        let wanted = lease.space().len();
        // What fails here is read once more on a thread that may wait, which then tells the store.
        match read_cached(self.stored.file(), &mut lease, self.left.start).unwrap_or(None) {
            Some(read) if read == wanted || !self.is_last_of_check() => self.taken(lease, read).map(Ready::Chunk),
            _ => Ok(Ready::Wait),
        }
    }

    /// What must come from the disk, be checked first, or be taken by a client that lags.
    pub(crate) async fn wait(&mut self) -> io::Result<Option<Bytes>> {
        if self.is_withheld() {
            self.wait_for_check().await?;
        }
        self.pace.turn(&self.buffers).await?;
        if let Ready::Chunk(bytes) = self.ready()? {
            return Ok(Some(bytes)); // It was its client that was waited for, not the disk.
        }
        let lease = self.lease();
        let (lease, read) =
            read_blocking(self.stored.file().clone(), lease, self.left.start).await.inspect_err(|error| self.stored.failed(error))?;
        if read == 0 {
            return Err(self.damaged("a stored blob is shorter than it was"));
        }
        self.taken(lease, read).map(Some)
    }

    /// Waits until the client has all that it was given.
    pub(crate) async fn all_taken(&self) {
        self.pace.all_taken().await;
    }

    /// Whether all that is left is tail, and waits for the check that is shared.
    fn is_withheld(&self) -> bool {
        matches!(self.guard, Guard::Shared(_)) && self.left.start >= self.tail()
    }

    /// The first byte that is withheld.
    fn tail(&self) -> u64 {
        self.stored.size().saturating_sub(TAIL)
    }

    async fn wait_for_check(&mut self) -> io::Result<()> {
        if let Guard::Shared(Some(check)) = std::mem::replace(&mut self.guard, Guard::None) {
            check.wait().await;
        }
        if self.stored.is_verified() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a stored blob is damaged, or could not be checked"))
    }

    /// While checking, the buffers stop short of the tail. The last one of a read that checks takes exactly the tail.
    fn lease(&mut self) -> Lease {
        let left = self.left.end - self.left.start;
        match &self.guard {
            Guard::None => self.pace.lease(&self.buffers, left),
            Guard::Shared(_) => self.pace.lease(&self.buffers, left.min(self.tail() - self.left.start)),
            Guard::Hash(_) if left > TAIL => self.pace.lease(&self.buffers, left - TAIL),
            Guard::Hash(_) => self.pace.lease_whole(&self.buffers, left),
        }
    }

    fn is_last_of_check(&self) -> bool {
        matches!(self.guard, Guard::Hash(_)) && self.left.end - self.left.start <= TAIL
    }

    fn taken(&mut self, lease: Lease, read: usize) -> io::Result<Bytes> {
        let bytes = lease.freeze(read);
        self.left.start += read as u64;
        if let Guard::Hash(check) = &mut self.guard {
            check.hasher.update(&bytes);
        }
        if self.left.is_empty() {
            self.finish_check()?;
        }
        Ok(bytes)
    }

    fn finish_check(&mut self) -> io::Result<()> {
        let Guard::Hash(check) = std::mem::replace(&mut self.guard, Guard::None) else { return Ok(()) };
        if check.hasher.finish() == check.digest {
            self.stored.mark_verified();
            return Ok(());
        }
        self.stored.quarantine();
        Err(io::Error::new(io::ErrorKind::InvalidData, "a stored blob is damaged"))
    }

    fn damaged(&self, what: &'static str) -> io::Error {
        self.stored.quarantine();
        io::Error::new(io::ErrorKind::UnexpectedEof, what)
    }
}

impl Guard {
    fn new(digest: &Digest, stored: &Stored, range: &Range<u64>, cache: &Cache) -> Self {
        if stored.is_verified() {
            return Self::None;
        }
        if *range == (0..stored.size()) {
            return Self::Hash(Check { digest: digest.clone(), hasher: Hasher::new(digest.algorithm()) });
        }
        if range.end > stored.size().saturating_sub(TAIL) {
            return Self::Shared(cache.hash(digest).ok());
        }
        cache.hash_ahead(digest);
        Self::None
    }
}
