//! An answer as a plain value, and the last step from it to the wire: ranges, lengths, and the faults of content.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use serde_json::json;

use super::Digest;
use super::body::{Account, Answer, Shape};
use super::faults::{Fault, Taken};

/// What is to be answered, before faults.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Ranges of the body may be asked for.
    pub(super) ranged: bool,
    /// Content that the faults of content are about: not an error, not a redirect.
    pub(super) content: bool,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).expect("tests name statuses between 100 and 999");
        let reply = Self { status, headers: HeaderMap::new(), body: body.into(), ranged: false, content: false };
        reply.with("content-type", content_type)
    }

    pub(super) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// An OCI error body.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &json!({"errors": [{"code": code, "message": message, "detail": null}]}))
    }

    /// Content with its address.
    pub(super) fn content(content_type: &str, digest: &Digest, body: Bytes) -> Self {
        let mut reply = Self::new(200, content_type, body).with("docker-content-digest", digest.as_str());
        reply.content = true;
        reply
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("header values here are visible ASCII");
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// To the wire.
    pub(super) fn send(mut self, method: &Method, range: Option<&str>, taken: &[Taken], account: Account) -> Response<Answer> {
        if self.content {
            self.flip(taken);
            self.cut_out(range, taken);
            self.describe(taken);
        }
        let mut with_length = true;
        for Taken { fault, .. } in taken {
            if matches!(fault, Fault::NoContentLength | Fault::CutChunkedAt(_) | Fault::EndChunkedAt(_)) {
                with_length = false;
            }
        }
        if with_length {
            self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        let body = if method == Method::HEAD { Bytes::new() } else { self.body };
        let shape = if method == Method::HEAD { Shape::of(&[]) } else { Shape::of(taken) };
        let status = self.status.as_u16();
        account.log.update(account.entry, |seen| seen.status = Some(status));
        let mut response = Response::new(Answer::new(body, shape, account));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    fn flip(&mut self, taken: &[Taken]) {
        for Taken { fault, .. } in taken {
            let at = match fault {
                Fault::FlipByte(at) => *at as usize,
                Fault::FlipLastByte => self.body.len().saturating_sub(1),
                _ => continue,
            };
            let mut bytes = self.body.to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x55;
            }
            self.body = bytes.into();
        }
    }

    fn cut_out(&mut self, range: Option<&str>, taken: &[Taken]) {
        let has = |wanted: fn(&Fault) -> bool| taken.iter().any(|taken| wanted(&taken.fault));
        if !self.ranged || self.status != StatusCode::OK {
            return;
        }
        self.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let Some(range) = range.filter(|_| !has(|fault| matches!(fault, Fault::RangeIgnored))) else { return };
        let size = self.body.len() as u64;
        match parse_range(range, size) {
            Range::Whole => {}
            Range::Unsatisfiable => {
                let (headers, status) = (self.headers.clone(), StatusCode::RANGE_NOT_SATISFIABLE);
                *self = Self { status, headers, body: Bytes::new(), ranged: false, content: false };
                let said = HeaderValue::from_str(&format!("bytes */{size}")).expect("digits are visible ASCII");
                self.headers.insert(header::CONTENT_RANGE, said);
            }
            Range::Part { first, last } => {
                let lies = has(|fault| matches!(fault, Fault::RangeLies));
                let late = lies || has(|fault| matches!(fault, Fault::RangeOffByOne));
                let from = (first + u64::from(late)).min(last);
                let said = if lies { first } else { from };
                let said = HeaderValue::from_str(&format!("bytes {said}-{last}/{size}")).expect("digits are visible ASCII");
                self.body = self.body.slice(from as usize..=last as usize);
                self.status = StatusCode::PARTIAL_CONTENT;
                self.headers.insert(header::CONTENT_RANGE, said);
            }
        }
    }

    fn describe(&mut self, taken: &[Taken]) {
        for Taken { fault, .. } in taken {
            match fault {
                Fault::ContentType("") => drop(self.headers.remove(header::CONTENT_TYPE)),
                Fault::ContentType(text) => drop(self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text))),
                Fault::NoDigestHeader => drop(self.headers.remove("docker-content-digest")),
                Fault::Gzip => {
                    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                    gzip.write_all(&self.body).expect("a Vec takes every write");
                    self.body = gzip.finish().expect("a Vec takes every write").into();
                    self.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                _ => {}
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Range {
    Whole,
    Part { first: u64, last: u64 },
    Unsatisfiable,
}

/// RFC 9110 section 14: a range that is not understood, and several at once, mean the whole.
fn parse_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else { return Range::Whole };
    let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse::<u64>().ok().map(Some) };
    let (Some(first), Some(last)) = (number(first), number(last)) else { return Range::Whole };
    match (first, last) {
        (None, None) => Range::Whole,
        (None, Some(0)) => Range::Unsatisfiable,
        (None, Some(suffix)) if size > 0 => Range::Part { first: size.saturating_sub(suffix), last: size - 1 },
        (Some(first), last) if first < size && last.is_none_or(|last| last >= first) => {
            Range::Part { first, last: last.unwrap_or(u64::MAX).min(size - 1) }
        }
        _ => Range::Unsatisfiable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        let part = |first, last| Range::Part { first, last };
        for (text, wanted) in [
            ("bytes=0-", part(0, 9)),
            ("bytes=2-3", part(2, 3)),
            ("bytes=2-99", part(2, 9)),
            ("bytes=-4", part(6, 9)),
            ("bytes=-40", part(0, 9)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=5-2", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=0-1,3-4", Range::Whole),
            ("lines=1-2", Range::Whole),
            ("bytes=-", Range::Whole),
        ] {
            assert_eq!(parse_range(text, 10), wanted, "{text}");
        }
    }
}
