//! One fetch of one blob in progress, and all who read it.
//!
//! - The fetch is a task of its own: it does not die with the client that started it, and no client's pace is its pace.
//! - Bytes go to a spool file; every reader, the first too, reads that file at its own offset and waits on a `watch` of the bytes written.
//! - [`TAIL`] bytes at the end (a small blob whole) are withheld until the hash of the whole is checked. They are released before the fsync.
//! - Where the disk has no room, from the start or from the middle, the rest goes through a [`Ring`]. A fetch that only fills a ring
//!   ends soon after its last reader: there is nothing to keep.
//!
//! Hashing and writing happen on one blocking thread a flight, fed through a short channel; network reads never wait for the disk
//! beyond it, and the threads that serve hits never hash a flight.

use std::error::Error;
use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::ring::{Abandoned, Ring};
use crate::config::UpstreamName;
use crate::oci::{ChildKind, Digest, Hasher};
use crate::store::{Spool, Store, StoreError};
use crate::upstream::{BlobStream, FetchError};

/// What is withheld at a blob's end until its hash is checked. No client's read of a whole blob completes without it.
pub(crate) const TAIL: u64 = 64 * 1024;

/// A fetch in progress, shared by its readers.
#[derive(Debug)]
pub(crate) struct Flight {
    digest: Digest,
    file: Option<Arc<File>>,
    overflow: OnceLock<Overflow>,
    progress: watch::Sender<Progress>,
    size: Option<u64>,
    spool_readers: Mutex<usize>,
}

/// How far a flight is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// How it ended, once it has.
    pub(crate) outcome: Option<Result<(), FlightError>>,
    /// Bytes that came from the upstream and can be read, but for the tail.
    pub(crate) written: u64,
}

/// From where on the bytes are in the ring, and the hash of all before.
#[derive(Debug)]
pub(crate) struct Overflow {
    /// The hash of what is in the spool: a reader that is left behind goes on from here.
    pub(crate) hasher: Hasher,
    /// The window.
    pub(crate) ring: Ring,
    /// The first byte that is not in the spool.
    pub(crate) start: u64,
}

/// Why a flight did not bring its blob.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FlightError {
    /// There was no room to keep it, and its last reader left.
    #[error("the download of {0} was not kept and nobody reads it any more")]
    Abandoned(Digest),
    /// The upstream's bytes are not what their name says.
    #[error("the upstream sent other bytes than {expected}: their hash is {actual}")]
    Mismatch { expected: Digest, actual: Digest },
    /// The upstream's bytes are fewer or more than the manifest says.
    #[error("the upstream sent {actual} bytes of {digest} where the manifest says {expected}")]
    Size { digest: Digest, expected: u64, actual: u64 },
    /// The mirror stops.
    #[error("the mirror is stopping")]
    Stopping,
    /// The upstream broke off for good.
    #[error("the download of {digest} broke off")]
    Upstream {
        digest: Digest,
        #[source]
        source: FetchError,
    },
}

impl Flight {
    /// A flight of `digest`, which is `size` bytes long as far as anybody knows, into `spool` if there is room for one.
    pub(crate) fn new(digest: &Digest, size: Option<u64>, spool: Option<&Spool>) -> Arc<Self> {
        let flight = Self {
            digest: digest.clone(),
            file: spool.map(Spool::file),
            overflow: OnceLock::new(),
            progress: watch::Sender::new(Progress::default()),
            size,
            spool_readers: Mutex::new(0),
        };
        if spool.is_none() {
            flight.overflow_at(0, Hasher::new(digest.algorithm()));
        }
        Arc::new(flight)
    }

    /// The blob's digest.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size, where the manifest or the upstream said it.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// The spool.
    pub(crate) fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }

    /// The ring, once the spool is full.
    pub(crate) fn overflow(&self) -> Option<&Overflow> {
        self.overflow.get()
    }

    /// Follows the progress.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Why it ended, where it ended badly.
    pub(crate) fn failure(&self) -> Option<FlightError> {
        self.progress.borrow().outcome.clone()?.err()
    }

    /// One past the last byte that may be given out now.
    pub(crate) fn released(&self, progress: &Progress) -> u64 {
        match (&progress.outcome, self.size) {
            (Some(Ok(())), _) => progress.written,
            (_, Some(size)) => progress.written.min(size.saturating_sub(TAIL)),
            (_, None) => progress.written.saturating_sub(TAIL),
        }
    }

    /// A reader comes. It must [`Flight::leave`].
    pub(crate) fn join(&self) {
        let mut readers = self.spool_readers.lock().expect("no holder panics");
        *readers += 1;
        if let Some(overflow) = self.overflow.get() {
            overflow.ring.join();
        }
    }

    /// A reader goes.
    pub(crate) fn leave(&self) {
        let mut readers = self.spool_readers.lock().expect("no holder panics");
        *readers -= 1;
        if let Some(overflow) = self.overflow.get() {
            overflow.ring.leave();
        }
    }

    /// From `start` on the bytes go through a ring. The lock orders this against readers that come and go.
    fn overflow_at(&self, start: u64, hasher: Hasher) {
        let readers = self.spool_readers.lock().expect("no holder panics");
        let ring = Ring::new(RING, start, *readers, LONELY);
        let set = self.overflow.set(Overflow { hasher, ring, start });
        assert!(set.is_ok(), "a flight overflows once");
    }

    fn end(&self, outcome: Result<(), FlightError>) {
        self.progress.send_modify(|progress| progress.outcome = Some(outcome));
    }
}

/// The fetch itself: the owner of a flight's bytes until they are published or given up.
pub(crate) struct Fetch {
    /// Ends it, when the mirror stops.
    pub(crate) cancel: CancellationToken,
    /// Who reads it.
    pub(crate) flight: Arc<Flight>,
    /// Where it counts.
    pub(crate) metrics: Metrics,
    /// Where it goes.
    pub(crate) spool: Option<Spool>,
    /// Learns who sent it.
    pub(crate) store: Store,
    /// Where it comes from.
    pub(crate) stream: BlobStream,
    /// Who sends it.
    pub(crate) upstream: UpstreamName,
}

impl Fetch {
    /// Runs to the end. Whoever starts it does not wait for it: it is detached from every client on purpose.
    ///
    /// `on_end` runs once nobody new should join: after the blob is in the store, or before the readers learn of the failure.
    pub(crate) async fn run(self, on_end: impl FnOnce() + Send + 'static) {
        let Self { cancel, flight, metrics, spool, mut stream, store, upstream } = self;
        let (to_writer, from_fetch) = mpsc::channel(CHUNKS_AHEAD);
        let writer = Writer {
            flight: flight.clone(),
            hasher: Hasher::new(flight.digest.algorithm()),
            metrics: metrics.clone(),
            spool,
            store,
            told: 0,
            upstream,
            written: 0,
        };
        let written = tokio::task::spawn_blocking(move || writer.run(from_fetch, on_end));
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => Err(FlightError::Stopping),
                next = stream.next() => next.map_err(|source| FlightError::Upstream { digest: flight.digest.clone(), source }),
            };
            let last = !matches!(next, Ok(Some(_)));
            let sent = tokio::select! {
                sent = to_writer.send(next) => sent.is_ok(),
                () = cancel.cancelled() => false,
            };
            if last || !sent {
                break;
            }
        }
        close_ring(&flight, &cancel);
        drop(to_writer);
        if written.await.is_err() {
            flight.end(Err(FlightError::Abandoned(flight.digest.clone())));
        }
    }
}

/// A writer that waits for a ring's readers must not hold up a stop.
fn close_ring(flight: &Flight, cancel: &CancellationToken) {
    if let Some(overflow) = flight.overflow()
        && cancel.is_cancelled()
    {
        overflow.ring.close();
    }
}

/// The blocking side of a fetch: hashes, writes, checks, publishes.
struct Writer {
    flight: Arc<Flight>,
    hasher: Hasher,
    metrics: Metrics,
    spool: Option<Spool>,
    store: Store,
    told: u64,
    upstream: UpstreamName,
    written: u64,
}

/// What a fetch hands to its writer; `None` is the clean end.
type Feed = mpsc::Receiver<Result<Option<Bytes>, FlightError>>;

fn verify(flight: &Flight, hasher: Hasher, actual: u64) -> Result<(), FlightError> {
    if let Some(expected) = flight.size.filter(|expected| *expected != actual) {
        return Err(FlightError::Size { digest: flight.digest.clone(), expected, actual });
    }
    let (actual, expected) = (hasher.finish(), flight.digest.clone());
    if actual == expected { Ok(()) } else { Err(FlightError::Mismatch { expected, actual }) }
}

impl Writer {
    fn run(mut self, mut chunks: Feed, on_end: impl FnOnce()) {
        let came = self.take_all(&mut chunks);
        drop(chunks); // A fetch that still sends learns at once that nobody listens.
        let Self { flight, hasher, metrics, spool, store, upstream, written, .. } = self;
        let verified = came.and_then(|()| verify(&flight, hasher, written));
        if let Err(error) = &verified {
            metrics.flight_failed(error);
            on_end(); // A new request starts a new flight rather than joining a dead one.
            flight.end(verified);
            return;
        }
        store.sent(&upstream, &flight.digest);
        // Released before the fsync: clients wait for the hash, not for the disk.
        flight.end(Ok(()));
        if let Some(spool) = spool.filter(|_| flight.overflow().is_none()) {
            match spool.publish(ChildKind::Blob).and_then(|_| store.stored_from(&upstream, &flight.digest)) {
                Ok(()) => metrics.stored(written),
                Err(error) => {
                    tracing::warn!(blob.digest = %flight.digest, error = &error as &dyn Error, "a verified blob could not be stored; its readers were served");
                }
            }
        }
        on_end();
    }

    fn take_all(&mut self, chunks: &mut Feed) -> Result<(), FlightError> {
        while let Some(next) = chunks.blocking_recv() {
            match next? {
                Some(chunk) => self.take(chunk, !chunks.is_empty())?,
                None => return Ok(()),
            }
        }
        Err(FlightError::Stopping) // No clean end was sent: the fetch itself was ended.
    }

    /// `more` chunks waiting means that the readers are told a little later: waking two hundred of them for each packet is what a herd costs.
    fn take(&mut self, chunk: Bytes, more: bool) -> Result<(), FlightError> {
        let (length, digest) = (chunk.len() as u64, &self.flight.digest);
        if let Some(expected) = self.flight.size.filter(|size| self.written + length > *size) {
            // Not at the end, which need not come: a body without one would push everything else out of the store.
            return Err(FlightError::Size { digest: digest.clone(), expected, actual: self.written + length });
        }
        if self.spooled(&chunk) {
            self.hasher.update(&chunk);
        } else {
            let before = self.hasher.clone();
            self.hasher.update(&chunk);
            let overflow = self.overflow(before);
            overflow.ring.push(chunk).map_err(|Abandoned| FlightError::Abandoned(self.flight.digest.clone()))?;
        }
        self.written += length;
        let tell = !more || self.written - self.told >= TELL_EVERY || self.flight.overflow().is_some();
        if tell {
            self.told = self.written;
        }
        self.flight.progress.send_if_modified(|progress| {
            progress.written = self.written;
            tell
        });
        Ok(())
    }

    /// The ring, opened at the first byte that has no room.
    fn overflow(&self, before: Hasher) -> &Overflow {
        self.flight.overflow().unwrap_or_else(|| {
            self.flight.overflow_at(self.written, before);
            self.metrics.overflowed();
            self.flight.overflow().expect("set above")
        })
    }

    /// Whether the chunk is in the spool. Once it is not, nothing that follows is.
    fn spooled(&mut self, chunk: &[u8]) -> bool {
        if self.flight.overflow().is_some() {
            return false;
        }
        let Some(spool) = &mut self.spool else { return false };
        match spool.append(chunk) {
            Ok(()) => true,
            Err(error) => {
                log_overflow(&self.flight.digest, &error);
                false
            }
        }
    }
}

fn log_overflow(digest: &Digest, error: &StoreError) {
    tracing::warn!(blob.digest = %digest, error = error as &dyn Error, "no room to keep a download; it is passed through");
}

/// Readers are told at least this often.
const TELL_EVERY: u64 = 256 * 1024;
/// Chunks between network and disk: enough that neither waits for the other's hiccups.
const CHUNKS_AHEAD: usize = 8;
/// The window of a fetch without room: 4 MiB, many times the tail, and more than a socket's buffers.
const RING: u64 = 4 << 20;
/// A fetch that is not kept goes on so long without readers: many times the moment between its answer's headers and the first look at its body.
const LONELY: Duration = Duration::from_secs(5);
