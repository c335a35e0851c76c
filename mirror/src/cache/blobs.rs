//! Blobs: from memory when small, from the store, or from a flight.
//!
//! A blob of up to [`TAIL`] bytes is answered whole, once its hash is right, so that its status is true. A larger one starts with the first byte.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::body::{BlobBody, Reader};
use super::flight::{Flight, FlightError, TAIL};
use super::flight_reader::{FlightReader, Rest};
use super::flights::Boarding;
use super::proof::blob_identity;
use super::stored_reader::StoredReader;
use super::{Cache, CacheError, Deadline, Object, Repo};
use crate::oci::{ChildKind, Digest, Hasher, MediaType};
use crate::store::{Held, Stored};
use crate::telemetry::Outcome;
use crate::upstream::FetchError;

/// A blob that can be served.
#[derive(Debug)]
pub struct BlobAnswer {
    /// How its bytes are had.
    pub content: BlobContent,
    /// Where it came from.
    pub outcome: Outcome,
    /// Bytes; unknown only while an upstream that does not say sends a blob that no manifest names.
    pub size: Option<u64>,
}

/// How a blob's bytes are had.
#[derive(Debug)]
pub enum BlobContent {
    /// Not at all: its size was all that was asked.
    Described,
    /// From a download in progress.
    Flight(FlightContent),
    /// From memory.
    Memory(Arc<Object>),
    /// From the store.
    Stored(Stored),
}

/// A download in progress, and where a reader may go on alone.
pub struct FlightContent {
    flight: Arc<Flight>,
    rest: Rest,
}

impl Cache {
    /// The size of `digest`, without a download.
    pub async fn describe_blob(&self, repo: &Arc<Repo>, digest: &Digest, deadline: Deadline) -> Result<BlobAnswer, CacheError> {
        self.admit(repo, deadline).await?;
        self.prove_blob(repo, digest, deadline).await?;
        let outcome = if self.0.memory.contains_key(digest) || self.store().knows(digest) { Outcome::Hit } else { Outcome::Miss };
        let mut size = repo.records.held(digest).map(|held| held.size);
        if size.is_none() {
            // An upstream that does not tell the size of what it has.
            let owned = digest.clone();
            size = self.look(move |store| store.blob(&owned).map(|stored| stored.size())).await;
        }
        Ok(BlobAnswer { content: BlobContent::Described, outcome, size })
    }

    /// The blob `digest` of `repo`, where nobody needs to be asked: the hit, without a future of any kind.
    pub fn blob_at_once(&self, repo: &Repo, digest: &Digest) -> Option<BlobAnswer> {
        let held = if repo.is_admitted() { held_blob(repo, digest)? } else { return None };
        let answer = self.remembered(digest).or_else(|| large(self.store().blob_at_once(digest)?, &held));
        // Who sent it is told before it is here: only now it is sure whose this content is.
        answer.filter(|_| self.is_own(repo, digest))
    }

    /// The blob `digest` of `repo`.
    pub async fn blob(&self, repo: &Arc<Repo>, digest: &Digest, deadline: Deadline) -> Result<BlobAnswer, CacheError> {
        self.admit(repo, deadline).await?;
        let is_new = held_blob(repo, digest).is_none();
        let is_coming = || self.0.lasting.flights.contains_from(&repo.upstream.config().name, digest);
        if is_new && (is_coming() || self.is_own(repo, digest) && self.is_stored(digest).await) {
            // The content is here for another repository: this one needs its own proof.
            self.prove_blob(repo, digest, deadline).await?;
        }
        loop {
            let was_known = self.store().knows(digest);
            if let Some(held) = held_blob(repo, digest)
                && self.is_own(repo, digest)
                && let Some(answer) = self.stored_blob(digest, &held, deadline).await?
                && self.is_own(repo, digest)
            {
                return Ok(answer); // Asked again, since another upstream's may have come meanwhile.
            }
            if let Some(answer) = self.on_flight(repo, digest, was_known, deadline).await? {
                return Ok(answer);
            }
        }
    }

    /// A small blob in memory.
    fn remembered(&self, digest: &Digest) -> Option<BlobAnswer> {
        let object = self.0.memory.get(digest).filter(|object| object.bytes.is_some())?;
        self.keep_up_blob(&object);
        Some(object.into())
    }

    /// From memory or the store. A small blob goes to memory, with its hash checked.
    async fn stored_blob(&self, digest: &Digest, held: &Held, deadline: Deadline) -> Result<Option<BlobAnswer>, CacheError> {
        if let Some(answer) = self.remembered(digest) {
            return Ok(Some(answer));
        }
        for _ in ["as it is", "once it is checked"] {
            let owned = digest.clone();
            let found = self.look(move |store| {
                let stored = store.blob(&owned)?;
                let small = if stored.size() <= TAIL { Some(read_checked(&owned, &stored)?) } else { None };
                Some((stored, small))
            });
            match found.await {
                None => return Ok(None),
                Some((_, Some(bytes))) => return Ok(Some(self.remember(digest, bytes, true).into())),
                Some((stored, None)) if !is_doubtful(&stored, held) => return Ok(large(stored, held)),
                // A file that lost its end, or a manifest that names a wrong size: the hash tells.
                Some(_) => {
                    let check = self.hash(digest).map_err(CacheError::busy(digest))?;
                    deadline.wait(digest, check.wait()).await?;
                }
            }
        }
        Ok(None) // It cannot even be read.
    }

    fn remember(&self, digest: &Digest, bytes: Bytes, kept: bool) -> Arc<Object> {
        let object = Arc::new(Object::new(digest, &MediaType::new(MediaType::OCTET_STREAM), bytes));
        object.set_kept(kept);
        self.0.memory.insert(digest.clone(), object.clone());
        object
    }

    /// From a flight; nothing where one landed in the store since it was `was_known` there.
    async fn on_flight(
        &self,
        repo: &Arc<Repo>,
        digest: &Digest,
        was_known: bool,
        deadline: Deadline,
    ) -> Result<Option<BlobAnswer>, CacheError> {
        while let Some(Boarding { flight, leader }) = self.open(repo, digest, was_known, deadline).await? {
            // Another repository, its account or its name may be what failed: this one's own has not been tried.
            let is_others = leader.as_ref().is_some_and(|leader| *leader != repo.key);
            let flight = match flight {
                Err(_) if is_others => continue,
                flight => flight?,
            };
            if leader.is_some() {
                self.prove_blob(repo, digest, deadline).await?; // Another's flight is no proof that this repository holds it.
            }
            let outcome = if leader.is_some() { Outcome::Joined } else { Outcome::Miss };
            let (size, content) = (flight.size(), FlightContent { rest: rest(repo), flight });
            if size.is_none_or(|size| size > TAIL) {
                return Ok(Some(BlobAnswer { content: BlobContent::Flight(content), outcome, size }));
            }
            match deadline.wait(digest, content.whole(self)).await? {
                Ok(bytes) => return Ok(Some(BlobAnswer { outcome, ..self.remember(digest, bytes, false).into() })),
                Err(_) if is_others => {}
                Err(error) => return Err(content.why(error)),
            }
        }
        Ok(None)
    }
}

/// A small blob that is at hand.
impl From<Arc<Object>> for BlobAnswer {
    fn from(object: Arc<Object>) -> Self {
        Self { size: Some(object.size), content: BlobContent::Memory(object), outcome: Outcome::Hit }
    }
}

impl BlobAnswer {
    /// A body of the bytes in `range`, or of all of them.
    pub fn body(self, cache: &Cache, digest: &Digest, range: Option<Range<u64>>) -> BlobBody {
        let whole = 0..self.size.unwrap_or(u64::MAX);
        let range = range.unwrap_or(whole);
        let length = (range.end != u64::MAX).then(|| range.end - range.start);
        let reader = match self.content {
            BlobContent::Flight(content) => {
                Reader::Flight(Box::new(FlightReader::new(&content.flight, range, &cache.0.lasting.buffers, content.rest)))
            }
            BlobContent::Stored(stored) => Reader::Stored(Box::new(StoredReader::new(digest, stored, range, cache))),
            BlobContent::Described | BlobContent::Memory(_) => Reader::Empty,
        };
        BlobBody::new(reader, length)
    }
}

impl FlightContent {
    /// All bytes, hash checked.
    async fn whole(&self, cache: &Cache) -> io::Result<Bytes> {
        let mut reader = FlightReader::new(&self.flight, 0..u64::MAX, &cache.0.lasting.buffers, self.rest.clone());
        let mut all = BytesMut::new();
        while let Some(bytes) = reader.wait().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// The flight's own reason, rather than that reading it failed.
    fn why(&self, error: io::Error) -> CacheError {
        match self.flight.watch().borrow().outcome.clone() {
            Some(Err(FlightError::Upstream { source: error @ FetchError::NotFound { .. }, .. })) => {
                CacheError::fetch(self.flight.digest(), error)
            }
            Some(Err(error)) => CacheError::flight(self.flight.digest(), error),
            _ => CacheError::Flight { digest: self.flight.digest().clone(), source: Arc::new(error) },
        }
    }
}

impl std::fmt::Debug for FlightContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlightContent").field("flight", &self.flight).finish_non_exhaustive()
    }
}

/// As a blob: that an index names a manifest proves nothing about its bytes.
fn held_blob(repo: &Repo, digest: &Digest) -> Option<Held> {
    repo.records.held(digest).filter(|held| held.kind == ChildKind::Blob)
}

/// An answer from the store, unless the file is doubtful or small: a small one is answered from memory.
fn large(stored: Stored, held: &Held) -> Option<BlobAnswer> {
    if stored.size() <= TAIL || is_doubtful(&stored, held) {
        return None;
    }
    stored.touch();
    Some(BlobAnswer { size: Some(stored.size()), content: BlobContent::Stored(stored), outcome: Outcome::Hit })
}

/// Not as long as it should be, and not hashed: a range, which no hash checks, could name a wrong size of the whole.
fn is_doubtful(stored: &Stored, held: &Held) -> bool {
    stored.size() != held.size && !stored.is_verified()
}

fn rest(repo: &Repo) -> Rest {
    Rest { identity: blob_identity(repo), repo: repo.key.name.clone(), upstream: repo.upstream.clone() }
}

/// A small stored blob; a damaged one is put aside, and fetched again by whoever asks.
fn read_checked(digest: &Digest, stored: &Stored) -> Option<Bytes> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; stored.size() as usize];
    if let Err(error) = stored.file().read_exact_at(&mut bytes, 0) {
        stored.failed(&error);
        return None;
    }
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(&bytes);
    if hasher.finish() == *digest {
        stored.mark_verified();
        return Some(bytes.into());
    }
    stored.quarantine();
    None
}
