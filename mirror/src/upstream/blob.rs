//! Blobs: a stream that goes on by itself where its connection broke.
//!
//! A body that breaks off, stalls, drips, or ends before its known size is fetched on from the next byte, with a fresh token, a fresh redirect, and the
//! alternates where the upstream itself is sick. A part must start at exactly that byte and be of a blob of exactly the known size; a registry that ignores
//! ranges has the bytes before skipped. Enough tries in a row that bring no byte end it; each byte starts that count anew. So do a few windows in a row
//! that bring less than the slowest rate (`rate`). There is no time for the whole: it may take as long as it takes. The digest is not checked here: who writes the bytes hashes them.

use std::fmt;

use bytes::{Buf, Bytes};
use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, sleep};

use super::error::{FetchError, Subject};
use super::exchange::{Ask, FirstByte, malformed};
use super::lanes::Place;
use super::metrics::Kind;
use super::rate::{Meter, TooSlow};
use super::{Identity, Upstream, body, retry};
use crate::oci::{Digest, RepoName};

/// The bytes of a blob from some position on. Dropping it ends the download.
pub struct BlobStream {
    blob: Blob,
    failed: Option<FetchError>,
    /// Tries in a row that brought no byte.
    idle: u32,
    lost: Option<FetchError>,
    meter: Meter,
    part: Option<Part>,
    _place: Place,
    position: u64,
    size: Option<u64>,
    upstream: Upstream,
    /// When the wait for the next byte began: it goes on where a caller drops one wait and starts another.
    waiting_since: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Blob {
    digest: Digest,
    identity: Identity,
    repo: RepoName,
    subject: Subject,
    via: HeaderValue,
}

/// One answer's share of the blob.
struct Part {
    answer: reqwest::Response,
    /// The position after its last byte, where it is known.
    end: Option<u64>,
    /// Bytes to throw away first, from a registry that ignores ranges.
    skip: u64,
    /// Of the whole blob.
    size: Option<u64>,
}

impl Upstream {
    /// The size of a blob, where the upstream tells it. Where HEAD does not work (some registries answer 401, 404 or 405 to it), a GET of one byte decides.
    pub async fn head_blob(&self, repo: &RepoName, digest: &Digest, as_: Identity) -> Result<Option<u64>, FetchError> {
        let deadline = Instant::now() + self.inner.tuning.budget;
        let blob = self.named(repo, digest, as_);
        let ask = blob.ask(Method::HEAD, None);
        let _place = self.inner.lanes.manifest(&ask.subject, deadline).await?;
        match self.inner.fetch(&ask, deadline).await {
            Ok(answer) => match body::length(answer.headers()) {
                Some(size) if body::is_plain(answer.headers()) => return Ok(Some(size)),
                _ => {}
            },
            // Some registries, and addresses that are signed for GET, do not let HEAD in.
            Err(FetchError::Denied { .. } | FetchError::NotFound { .. }) => {}
            Err(FetchError::Status { status, .. }) if status.is_client_error() => {}
            Err(error) => return Err(error),
        }
        let ask = blob.ask(Method::GET, Some(FirstByte::Only));
        let answer = self.inner.fetch(&ask, deadline).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => Ok(range_of(answer.headers()).and_then(|range| range.size)),
            _ => Ok(body::length(answer.headers()).filter(|_| body::is_plain(answer.headers()))),
        }
    }

    /// The blob from byte `from` on. Waits for the answer's headers only.
    pub async fn blob(&self, repo: &RepoName, digest: &Digest, from: u64, as_: Identity) -> Result<BlobStream, FetchError> {
        let deadline = Instant::now() + self.inner.tuning.budget;
        let blob = self.named(repo, digest, as_);
        let place = self.inner.lanes.blob(&blob.subject, deadline).await?;
        let part = self.part(&blob, from, None, deadline).await?;
        let size = part.size;
        let upstream = self.clone();
        Ok(BlobStream {
            blob,
            failed: None,
            idle: 0,
            lost: None,
            meter: Meter::default(),
            part: Some(part),
            _place: place,
            position: from,
            size,
            upstream,
            waiting_since: None,
        })
    }

    async fn part(&self, blob: &Blob, from: u64, size: Option<u64>, deadline: Instant) -> Result<Part, FetchError> {
        let ask = blob.ask(Method::GET, Some(FirstByte::At(from)));
        let answer = self.inner.fetch(&ask, deadline).await?;
        let part = Part::read(answer, from).map_err(|what| malformed(&ask, what));
        let part = part.and_then(|part| match (size, part.size) {
            (Some(known), Some(told)) if known != told => Err(malformed(&ask, format!("it has {told} bytes now, and had {known}"))),
            _ => Ok(part),
        });
        part.inspect_err(|error| self.inner.remember(error))
    }

    fn named(&self, repo: &RepoName, digest: &Digest, identity: Identity) -> Blob {
        let subject = self.subject(format_args!("{repo}@{digest}"));
        Blob { digest: digest.clone(), identity, repo: repo.clone(), subject, via: self.via.clone() }
    }
}

impl Blob {
    fn ask(&self, method: Method, from: Option<FirstByte>) -> Ask<'_> {
        let Blob { digest, identity, repo, subject, via } = self;
        let kind = if method == Method::HEAD { Kind::BlobHead } else { Kind::Blob };
        let path = format!("/v2/{repo}/blobs/{digest}");
        let (subject, via) = (subject.clone(), via.clone());
        Ask { accept: "*/*", from, identity: *identity, kind, method, path, repo: Some(repo), subject, via }
    }
}

impl BlobStream {
    /// Bytes of the whole blob, where the upstream told.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The position of the next byte.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes, never none; `None` at the end, which is where `size` bytes came where the size is known. After an error there is only that error.
    /// No byte is lost when the future is dropped; a request that it was waiting for is sent anew.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.advance().await;
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.part = None;
        }
        result
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, FetchError> {
        let (stall, floor) = (self.upstream.inner.tuning.stall, self.upstream.inner.floor);
        loop {
            if self.size.is_some_and(|size| self.position >= size) {
                self.part = None;
                return Ok(None);
            }
            if let Err(slow) = self.meter.judge(floor) {
                self.lose_slow(slow)?;
            }
            let Some(part) = &mut self.part else {
                self.resume().await?;
                continue;
            };
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            match body::next(&mut part.answer, &self.blob.subject, since, stall).await {
                Ok(Some(piece)) => {
                    self.meter.note(piece.len(), since.elapsed());
                    self.waiting_since = None;
                    let bytes = part.without_skipped(piece);
                    if !bytes.is_empty() {
                        return self.take(bytes).map(Some);
                    }
                }
                Ok(None) if self.size.is_none() && part.end.is_none_or(|end| self.position >= end) => {
                    self.size = Some(self.position); // All that can be known of an end without a length; the digest tells whether it was one.
                }
                Ok(None) => self.lose(FetchError::Cut { subject: self.blob.subject.clone(), source: None }),
                Err(error) => self.lose(error),
            }
        }
    }

    fn take(&mut self, bytes: Bytes) -> Result<Bytes, FetchError> {
        self.idle = 0;
        self.position += bytes.len() as u64;
        self.upstream.inner.received.inc_by(bytes.len() as u64);
        if self.size.is_some_and(|size| self.position > size) {
            return Err(FetchError::Malformed { subject: self.blob.subject.clone(), what: "more bytes came than it has".into() });
        }
        Ok(bytes)
    }

    fn lose(&mut self, error: FetchError) {
        self.upstream.inner.remember(&error);
        self.lost = Some(error);
        self.part = None;
        self.waiting_since = None;
    }

    /// Another connection may be faster, unless several were not. The tries that bring no byte do not end this: each byte starts their count anew.
    fn lose_slow(&mut self, slow: TooSlow) -> Result<(), FetchError> {
        let TooSlow { bytes, in_a_row, waited } = slow;
        let error = FetchError::Slow { subject: self.blob.subject.clone(), bytes, waited };
        self.lose(error.clone());
        if retry::is_worth_waiting(in_a_row) { Ok(()) } else { Err(error) }
    }

    /// A new part from the next byte on, after a pause; or why there is none.
    async fn resume(&mut self) -> Result<(), FetchError> {
        let inner = &self.upstream.inner;
        let Some(wait) = retry::before_resume(self.idle, inner.tuning.pace) else {
            return Err(self.lost.clone().unwrap_or_else(|| FetchError::Cut { subject: self.blob.subject.clone(), source: None }));
        };
        tracing::debug!(error = self.lost.as_ref().map(tracing::field::display), blob.digest = %self.blob.digest, position = self.position, "fetching on from the next byte");
        sleep(wait).await;
        self.idle += 1;
        inner.metrics.resume(&inner.config.name);
        let deadline = Instant::now() + inner.tuning.budget;
        match self.upstream.part(&self.blob, self.position, self.size, deadline).await {
            Ok(part) => {
                self.size = self.size.or(part.size);
                self.part = Some(part);
                Ok(())
            }
            Err(error) if retry::is_worth_resuming(&error) => {
                self.lose(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for BlobStream {
    /// Without the answer: its address may hold a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("BlobStream");
        debug
            .field("blob", &self.blob)
            .field("position", &self.position)
            .field("size", &self.size)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl Part {
    /// From an answer to a request for everything from byte `from` on; or what is wrong with it.
    fn read(answer: reqwest::Response, from: u64) -> Result<Self, String> {
        let headers = answer.headers();
        if !body::is_plain(headers) {
            return Err(body::ENCODED.to_owned());
        }
        let length = body::length(headers);
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(Self { end: length, skip: from, size: length, answer });
        }
        let range = range_of(headers).ok_or("a part that does not say which")?;
        if range.first != from {
            return Err(format!("a part from byte {} on, where byte {from} was asked for", range.first));
        }
        let end = range.last.checked_add(1).filter(|end| *end > from).ok_or("a part that ends before it starts")?;
        if length.is_some_and(|length| length != end - from) || range.size.is_some_and(|size| end > size) {
            return Err("a part whose length is not the one that it says".to_owned());
        }
        Ok(Self { end: Some(end), skip: 0, size: range.size, answer })
    }

    /// What of the next piece was asked for.
    fn without_skipped(&mut self, mut piece: Bytes) -> Bytes {
        let skipped = self.skip.min(piece.len() as u64);
        self.skip -= skipped;
        piece.advance(skipped as usize);
        piece
    }
}

/// `Content-Range: bytes 5-9/10`, or `/*`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct ContentRange {
    first: u64,
    last: u64,
    size: Option<u64>,
}

fn range_of(headers: &HeaderMap) -> Option<ContentRange> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim();
    let (unit, range) = text.split_once(' ')?;
    let (bounds, size) = range.trim().split_once('/')?;
    let (first, last) = bounds.split_once('-')?;
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    let range = ContentRange { first: first.parse().ok()?, last: last.parse().ok()?, size };
    unit.eq_ignore_ascii_case("bytes").then_some(range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> Option<ContentRange> {
        range_of(&HeaderMap::from_iter([(CONTENT_RANGE, text.parse().expect("a header"))]))
    }

    #[test]
    fn a_content_range_is_read_or_is_none() {
        assert_eq!(range("bytes 5-9/10"), Some(ContentRange { first: 5, last: 9, size: Some(10) }));
        assert_eq!(range("Bytes  0-0/*"), Some(ContentRange { first: 0, last: 0, size: None }));
        for text in ["", "bytes", "bytes */10", "bytes 5-/10", "bytes -5/10", "items 5-9/10", "bytes 5-9", "bytes 99999999999999999999-1/2"]
        {
            assert_eq!(range(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(text in "(bytes )?[0-9*/ -]{0,40}") {
            let _ = range(&text);
        }
    }
}
