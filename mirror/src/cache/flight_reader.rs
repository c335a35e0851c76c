//! Reads a blob that is still being fetched, at its own offset: from the spool, from the ring when the disk is full, and, left behind by the ring,
//! from the upstream by itself.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::body::Ready;
use super::buffers::{Buffers, Pace};
use super::flight::{Flight, FlightError, Progress, TAIL};
use super::proof::as_somebody;
use super::read::{read_blocking, read_cached};
use super::ring::Taken;
use crate::oci::{Digest, Hasher, RepoName};
use crate::upstream::{BlobStream, Identity, Upstream};

/// A reader of one flight.
pub(crate) struct FlightReader {
    alone: Option<Alone>,
    buffers: Arc<Buffers>,
    /// Of everything before `offset`, kept from the ring's first byte on by readers of the whole blob.
    checked: Option<Hasher>,
    flight: Arc<Flight>,
    offset: u64,
    pace: Pace,
    progress: watch::Receiver<Progress>,
    range: Range<u64>,
    rest: Rest,
}

/// Where a reader that is left behind gets the rest.
#[derive(Clone)]
pub(crate) struct Rest {
    /// As whom.
    pub(crate) identity: Identity,
    /// Of which repository.
    pub(crate) repo: RepoName,
    /// From whom.
    pub(crate) upstream: Upstream,
}

/// A reader's own fetch, with its own check.
struct Alone {
    /// Of all bytes so far; `None` for a part that ends before the tail.
    hasher: Option<Hasher>,
    /// Bytes that came and are withheld, as the tail of a flight is.
    held: Vec<u8>,
    stream: BlobStream,
}

impl FlightReader {
    /// Bytes `range` of what `flight` brings; an end of `u64::MAX` means to its end, where the size is not known.
    pub(crate) fn new(flight: &Arc<Flight>, range: Range<u64>, buffers: &Arc<Buffers>, rest: Rest) -> Self {
        flight.join();
        Self {
            alone: None,
            buffers: buffers.clone(),
            checked: None,
            progress: flight.watch(),
            flight: flight.clone(),
            offset: range.start,
            pace: Pace::new(),
            range,
            rest,
        }
    }

    /// What is there.
    pub(crate) fn ready(&mut self) -> io::Result<Ready> {
        if self.alone.is_some() {
            return Ok(Ready::Wait);
        }
        let progress = self.progress.borrow_and_update().clone();
        if self.offset >= self.end(&progress) {
            return Ok(Ready::End);
        }
        // The spool's bytes stay readable when the fetch fails later; but a failure ends the body, so that the client does not wait for the tail.
        let released = self.flight.released(&progress).min(self.range.end);
        if self.offset < released {
            return self.read(released);
        }
        match progress.outcome {
            Some(Err(error)) => Err(broken(&error)),
            Some(Ok(())) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob ended before this reader's part of it")),
            // The ring learns what is waited for: it may be far ahead of what anybody has read.
            None if self.flight.overflow().is_some() => Ok(self.read_ring(released)),
            None => Ok(Ready::Wait),
        }
    }

    /// Waits for the next bytes.
    pub(crate) async fn wait(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.alone.is_some() {
                return self.next_alone().await;
            }
            self.pace.turn(&self.buffers).await?;
            match self.ready()? {
                Ready::Chunk(bytes) => return Ok(Some(bytes)),
                Ready::End => return Ok(None),
                Ready::Wait => {}
            }
            if self.is_left_behind() {
                self.go_alone().await?;
            } else if self.can_read_file() {
                return self.read_disk().await.map(Some);
            } else {
                self.wait_for_progress().await?;
            }
        }
    }

    /// Waits until the client has all that it was given.
    pub(crate) async fn all_taken(&self) {
        self.pace.all_taken().await;
    }

    /// No reader waits for ever, whatever became of the fetch.
    async fn wait_for_progress(&mut self) -> io::Result<()> {
        match tokio::time::timeout(NO_PROGRESS, self.progress.changed()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::other("the download ended without a word")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the download makes no progress")),
        }
    }

    /// One past this reader's last byte, as far as is known.
    fn end(&self, progress: &Progress) -> u64 {
        match (&progress.outcome, self.flight.size()) {
            (_, Some(size)) => self.range.end.min(size),
            (Some(Ok(())), None) => self.range.end.min(progress.written),
            _ => self.range.end,
        }
    }

    fn read(&mut self, released: u64) -> io::Result<Ready> {
        let spooled = self.flight.overflow().map_or(released, |overflow| released.min(overflow.start));
        if self.offset < spooled {
            let Some(file) = self.flight.file().filter(|_| !self.pace.must_wait(&self.buffers)) else { return Ok(Ready::Wait) };
            let mut lease = self.pace.lease(&self.buffers, spooled - self.offset);
            return match read_cached(file, &mut lease, self.offset)? {
                Some(read) => {
                    self.offset += read as u64;
                    Ok(Ready::Chunk(lease.freeze(read)))
                }
                None => Ok(Ready::Wait),
            };
        }
        Ok(self.read_ring(released))
    }

    fn read_ring(&mut self, released: u64) -> Ready {
        let Some(overflow) = self.flight.overflow() else { return Ready::Wait };
        let is_whole = self.range.start == 0 && self.flight.size().is_none_or(|size| self.range.end >= size);
        let checked = self.checked.take().or_else(|| is_whole.then(|| overflow.hasher.clone()));
        match overflow.ring.take(self.offset, released) {
            Taken::Bytes(bytes) => {
                self.offset += bytes.len() as u64;
                self.checked = checked.map(|mut hasher| {
                    hasher.update(&bytes);
                    hasher
                });
                Ready::Chunk(bytes)
            }
            Taken::LeftBehind | Taken::NotYet => {
                self.checked = checked;
                Ready::Wait
            }
        }
    }

    fn is_left_behind(&self) -> bool {
        let released = self.flight.released(&self.progress.borrow()).min(self.range.end);
        self.flight.overflow().is_some_and(|overflow| {
            self.offset >= overflow.start && self.offset < released && overflow.ring.take(self.offset, released) == Taken::LeftBehind
        })
    }

    fn can_read_file(&self) -> bool {
        let released = self.flight.released(&self.progress.borrow()).min(self.range.end);
        let spooled = self.flight.overflow().map_or(released, |overflow| released.min(overflow.start));
        self.flight.file().is_some() && self.offset < spooled
    }

    async fn read_disk(&mut self) -> io::Result<Bytes> {
        let released = self.flight.released(&self.progress.borrow()).min(self.range.end);
        let spooled = self.flight.overflow().map_or(released, |overflow| released.min(overflow.start));
        let file = self.flight.file().expect("asked before").clone();
        let lease = self.pace.lease(&self.buffers, spooled - self.offset);
        let (lease, read) = read_blocking(file, lease, self.offset).await?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a spool is shorter than it was"));
        }
        self.offset += read as u64;
        Ok(lease.freeze(read))
    }

    /// Fetches the rest by itself. Only a reader that hashed all before can check the end, so a part that touches the end breaks off here;
    /// its client asks again.
    async fn go_alone(&mut self) -> io::Result<()> {
        let hasher = self.checked.take();
        let may = hasher.is_some() || self.flight.size().is_some_and(|size| self.range.end <= size.saturating_sub(TAIL));
        if !may {
            return Err(io::Error::other("a part of a blob that could not be stored fell behind; ask again"));
        }
        let Rest { identity, repo, upstream } = &self.rest;
        let stream = as_somebody(*identity, |who| upstream.blob(repo, self.flight.digest(), self.offset, who)).await;
        self.alone = Some(Alone { hasher, held: Vec::new(), stream: stream.map_err(io::Error::other)? });
        self.flight.leave(); // The window no longer waits for this reader.
        tracing::debug!(blob.digest = %self.flight.digest(), offset = self.offset, "a reader fell behind a download that has no room; it fetches the rest for itself");
        Ok(())
    }

    async fn next_alone(&mut self) -> io::Result<Option<Bytes>> {
        let alone = self.alone.as_mut().expect("asked before");
        loop {
            if self.offset >= self.range.end {
                return Ok(None);
            }
            let Some(bytes) = alone.stream.next().await.map_err(io::Error::other)? else {
                let tail = alone.finish(self.flight.digest())?;
                self.offset += tail.len() as u64;
                self.range.end = self.offset; // Where no size was known, it is now: who asks again is at the end.
                return Ok((!tail.is_empty()).then_some(tail));
            };
            if let Some(released) = alone.take(bytes) {
                let wanted = usize::try_from(self.range.end - self.offset).unwrap_or(usize::MAX);
                let released = released.slice(..released.len().min(wanted));
                self.offset += released.len() as u64;
                return Ok(Some(released));
            }
        }
    }
}

impl Alone {
    /// What may go out now that `bytes` came: all but the tail, or all where the part ends before the tail.
    fn take(&mut self, bytes: Bytes) -> Option<Bytes> {
        let Some(hasher) = &mut self.hasher else { return Some(bytes) };
        hasher.update(&bytes);
        self.held.extend_from_slice(&bytes);
        let free = self.held.len().checked_sub(TAIL as usize).filter(|free| *free > 0)?;
        Some(self.held.drain(..free).collect::<Vec<u8>>().into())
    }

    /// The tail, if the whole blob is what its name says.
    fn finish(&mut self, digest: &Digest) -> io::Result<Bytes> {
        if self.hasher.take().is_some_and(|hasher| hasher.finish() == *digest) {
            return Ok(std::mem::take(&mut self.held).into());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the upstream sent other bytes than the digest says"))
    }
}

impl Drop for FlightReader {
    fn drop(&mut self) {
        if self.alone.is_none() {
            self.flight.leave();
        }
    }
}

/// The chain of causes travels in the text, since hyper only says that a body failed.
fn broken(error: &FlightError) -> io::Error {
    io::Error::other(error.clone())
}

/// Longer than an upstream's stall and the tries to go on after it take together.
const NO_PROGRESS: Duration = Duration::from_secs(120);
