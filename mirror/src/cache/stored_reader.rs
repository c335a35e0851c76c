//! Reads a stored blob. At the first full read after a start it is hashed on the way, and its tail is withheld until the hash is right:
//! a disk that lies is found before a client has a whole wrong body.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::body::Ready;
use super::buffers::{Buffers, Lease, Pace};
use super::flight::TAIL;
use super::read::{read_blocking, read_cached};
use crate::oci::{Digest, Hasher};
use crate::store::Stored;

/// A reader of one stored blob.
pub(crate) struct StoredReader {
    buffers: Arc<Buffers>,
    check: Option<Check>,
    left: Range<u64>,
    pace: Pace,
    stored: Stored,
}

/// The hash of a read that is also a check.
struct Check {
    digest: Digest,
    hasher: Hasher,
}

impl StoredReader {
    /// Bytes `range` of `stored`. A full read of a blob that was not hashed since the start checks it.
    pub(crate) fn new(digest: &Digest, stored: Stored, range: Range<u64>, buffers: &Arc<Buffers>) -> Self {
        let full = range == (0..stored.size());
        let check = (full && !stored.is_verified()).then(|| Check { digest: digest.clone(), hasher: Hasher::new(digest.algorithm()) });
        Self { buffers: buffers.clone(), check, left: range, pace: Pace::new(), stored }
    }

    /// What is in the page cache.
    pub(crate) fn ready(&mut self) -> io::Result<Ready> {
        if self.left.is_empty() {
            return Ok(Ready::End);
        }
        let mut lease = self.lease();
        let wanted = lease.space().len();
        match read_cached(self.stored.file(), &mut lease, self.left.start)? {
            Some(read) if read == wanted || !self.is_last_of_check() => self.taken(lease, read).map(Ready::Chunk),
            _ => Ok(Ready::Wait),
        }
    }

    /// What must come from the disk.
    pub(crate) async fn wait(&mut self) -> io::Result<Option<Bytes>> {
        let lease = self.lease();
        let (lease, read) = read_blocking(self.stored.file().clone(), lease, self.left.start).await?;
        if read == 0 {
            return Err(self.damaged("a stored blob is shorter than it was"));
        }
        self.taken(lease, read).map(Some)
    }

    /// While checking, the buffers stop short of the tail, and the last one takes exactly the tail.
    fn lease(&mut self) -> Lease {
        let left = self.left.end - self.left.start;
        match &self.check {
            None => self.pace.lease(&self.buffers, left),
            Some(_) if left > TAIL => self.pace.lease(&self.buffers, left - TAIL),
            Some(_) => self.pace.lease_whole(&self.buffers, left),
        }
    }

    fn is_last_of_check(&self) -> bool {
        self.check.is_some() && self.left.end - self.left.start <= TAIL
    }

    fn taken(&mut self, lease: Lease, read: usize) -> io::Result<Bytes> {
        let bytes = lease.freeze(read);
        self.left.start += read as u64;
        if let Some(check) = &mut self.check {
            check.hasher.update(&bytes);
        }
        if self.left.is_empty() {
            self.finish_check()?;
        }
        Ok(bytes)
    }

    fn finish_check(&mut self) -> io::Result<()> {
        let Some(check) = self.check.take() else { return Ok(()) };
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
