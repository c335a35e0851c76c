//! Small bodies, read whole: never more than a bound, never waiting for ever, never another encoding than the plain one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use tokio::time::{Instant, timeout_at};

use super::error::{FetchError, Subject};
use super::exchange::{host_of, unsent};

/// The whole body, of at most `most` bytes. Each piece may take `stall`.
pub(super) async fn read(mut answer: reqwest::Response, most: usize, subject: &Subject, stall: Duration) -> Result<Bytes, FetchError> {
    let malformed = |what: &'static str| FetchError::Malformed { subject: subject.clone(), what: what.into() };
    if !is_plain(answer.headers()) {
        return Err(malformed(ENCODED));
    }
    if length(answer.headers()).is_some_and(|length| length > most as u64) {
        return Err(malformed(TOO_LONG));
    }
    let mut body = BytesMut::new();
    while let Some(piece) = next(&mut answer, subject, Instant::now(), stall).await? {
        if body.len() + piece.len() > most {
            return Err(malformed(TOO_LONG));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// The next piece of a body, which was waited for since `since`; `None` at its end.
pub(super) async fn next(
    answer: &mut reqwest::Response,
    subject: &Subject,
    since: Instant,
    stall: Duration,
) -> Result<Option<Bytes>, FetchError> {
    match timeout_at(since + stall, answer.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) => Err(unsent(error, &host_of(answer.url()), subject)),
        Err(_) => Err(FetchError::Stalled { subject: subject.clone(), after: stall }),
    }
}

/// How long the body is said to be, for a HEAD too.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Whether the bytes are the content's own.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// What is said of an encoded body.
pub(super) const ENCODED: &str = "it is encoded (Content-Encoding), though that was not asked for";
const TOO_LONG: &str = "it is longer than such a thing can be";
