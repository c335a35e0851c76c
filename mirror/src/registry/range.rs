//! `Range` and `If-Range`: which bytes of a blob a client wants (RFC 9110, section 14). Pure.
//!
//! Several ranges in one request are answered with the whole blob, which the RFC allows and every client of several ranges (Podman's partial
//! pulls) takes: such a client then falls back to a plain pull of that layer.

use http::HeaderMap;
use http::header::{IF_RANGE, RANGE};

/// The answer's bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// `start..end` of the blob, not empty: 206.
    Part {
        /// The first byte.
        start: u64,
        /// One past the last.
        end: u64,
    },
    /// Nothing in the blob fits: 416.
    Unsatisfiable,
    /// All of it: 200.
    Whole,
}

impl Wanted {
    /// What `headers` ask of a blob of `size` bytes whose entity tag is `etag` (with its quotes).
    pub(super) fn resolve(headers: &HeaderMap, size: u64, etag: &str) -> Self {
        let Some(range) = headers.get(RANGE).and_then(|range| range.to_str().ok()) else { return Self::Whole };
        let stale = headers.get(IF_RANGE).is_some_and(|validator| validator.as_bytes() != etag.as_bytes());
        // A blob never changes, but a client that holds another validator holds another blob: RFC 9110, 13.1.5.
        if stale { Self::Whole } else { Self::parse(range, size) }
    }

    /// A syntax that is not understood is ignored, as the RFC wants: the whole blob.
    fn parse(range: &str, size: u64) -> Self {
        let Some((unit, set)) = range.split_once('=') else { return Self::Whole };
        if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
            return Self::Whole;
        }
        let Some((first, last)) = set.split_once('-') else { return Self::Whole };
        match (number(first), number(last)) {
            (Bound::None, Bound::At(0)) => Self::Unsatisfiable,
            (Bound::None, Bound::At(suffix)) => Self::part(size.saturating_sub(suffix), size, size),
            (Bound::At(start), Bound::None) => Self::part(start, size, size),
            // Backwards is no range. RFC 9110, 14.2 lets a server ignore it or reject it; the OCI conformance suite wants the latter.
            (Bound::At(start), Bound::At(last)) if last < start => Self::Unsatisfiable,
            (Bound::At(start), Bound::At(last)) => Self::part(start, last.saturating_add(1), size),
            _ => Self::Whole,
        }
    }

    fn part(start: u64, end: u64, size: u64) -> Self {
        if start >= size { Self::Unsatisfiable } else { Self::Part { start, end: end.min(size) } }
    }
}

enum Bound {
    At(u64),
    Bad,
    None,
}

fn number(text: &str) -> Bound {
    let text = text.trim();
    if text.is_empty() {
        return Bound::None;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Bound::Bad; // `+5` is a number to `parse`, not to the RFC.
    }
    // Digits that overflow mean "beyond any blob", not "not a number".
    Bound::At(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn wanted(range: &str, size: u64) -> Wanted {
        Wanted::parse(range, size)
    }

    #[test]
    fn ranges_are_resolved_as_the_conformance_suite_expects() {
        let part = |start, end| Wanted::Part { start, end };
        for (range, expected) in [
            ("bytes=500-1499", part(500, 1500)),
            ("bytes=500-", part(500, 4000)),
            ("bytes=-500", part(3500, 4000)),
            ("bytes=2000-5000", part(2000, 4000)),
            ("bytes=0-", part(0, 4000)),
            ("bytes=-9999", part(0, 4000)),
            ("Bytes = 1-1", part(1, 2)),
            ("bytes=500-0", Wanted::Unsatisfiable),
            ("bytes=5000-10000", Wanted::Unsatisfiable),
            ("bytes=4000-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=0-1,5-9", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes", Wanted::Whole),
        ] {
            assert_eq!(wanted(range, 4000), expected, "{range}");
        }
    }

    #[test]
    fn another_validator_gets_the_whole_blob() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=1-2"));
        headers.insert(IF_RANGE, HeaderValue::from_static("\"other\""));
        assert_eq!(Wanted::resolve(&headers, 10, "\"this\""), Wanted::Whole);
        headers.insert(IF_RANGE, HeaderValue::from_static("\"this\""));
        assert_eq!(Wanted::resolve(&headers, 10, "\"this\""), Wanted::Part { start: 1, end: 3 });
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_beyond_the_blob(range in "bytes=[0-9]{0,21}-[0-9]{0,21}", size: u64) {
            if let Wanted::Part { start, end } = wanted(&range, size) {
                prop_assert!(start < end && end <= size);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(range: String, size: u64) {
            let _ = wanted(&range, size);
        }
    }
}
