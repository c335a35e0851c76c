//! What Docker Hub says about our quota: `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`. Pure.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;

/// A quota as the upstream's last answer told it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    /// Pulls in a window.
    pub limit: u64,
    /// Pulls left in the present window.
    pub remaining: Option<u64>,
    /// How long a window is.
    pub window: Option<Duration>,
}

impl Quota {
    /// From an answer's headers; `None` where it tells none, which on Docker Hub means without limit.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let (limit, window) = figure(headers, "ratelimit-limit")?;
        let remaining = figure(headers, "ratelimit-remaining").map(|(remaining, _)| remaining);
        Some(Self { limit, remaining, window: window.map(Duration::from_secs) })
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remaining {
            Some(remaining) => write!(f, "{remaining} of {} pulls left", self.limit)?,
            None => write!(f, "{} pulls", self.limit)?,
        }
        self.window.map_or(Ok(()), |window| write!(f, " in {}", humantime::format_duration(window)))
    }
}

/// How long a `Retry-After` in seconds asks us to wait; at most a day, so that no answer locks us out for good.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(24 * 60 * 60)))
}

/// `100;w=21600`: a number, and the window's seconds.
fn figure(headers: &HeaderMap, name: &str) -> Option<(u64, Option<u64>)> {
    let text = headers.get(name)?.to_str().ok()?;
    let mut parts = text.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")).and_then(|seconds| seconds.parse().ok());
    Some((number, window))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn the_hubs_headers_are_read() {
        let quota = Quota::read(&headers(&[("ratelimit-limit", "100;w=21600"), ("RateLimit-Remaining", "76;w=21600")]));
        assert_eq!(quota, Some(Quota { limit: 100, remaining: Some(76), window: Some(Duration::from_hours(6)) }));
        assert_eq!(Quota::read(&headers(&[])), None);
        assert_eq!(Quota::read(&headers(&[("ratelimit-limit", "unlimited")])), None);
        assert_eq!(quota.expect("a quota").to_string(), "76 of 100 pulls left in 6h");
        let bare = Quota::read(&headers(&[("ratelimit-limit", " 5 "), ("ratelimit-remaining", "-1")]));
        assert_eq!(bare, Some(Quota { limit: 5, remaining: None, window: None }));
        assert_eq!(bare.expect("a quota").to_string(), "5 pulls");
    }

    #[test]
    fn a_retry_after_is_bounded() {
        assert_eq!(retry_after(&headers(&[("retry-after", "60")])), Some(Duration::from_mins(1)));
        assert_eq!(retry_after(&headers(&[("retry-after", "99999999")])), Some(Duration::from_hours(24)));
        assert_eq!(retry_after(&headers(&[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")])), None);
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(text in "[ -~]{0,30}") {
            let _ = Quota::read(&headers(&[("ratelimit-limit", &text), ("ratelimit-remaining", &text), ("retry-after", &text)]));
        }
    }
}
