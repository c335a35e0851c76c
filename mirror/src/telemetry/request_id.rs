//! A name for each request, so that a line here, a line at the proxy and an error in a CI log can be laid side by side.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, in both directions.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Unique within this process and, by its random first half, most likely everywhere. Cheap: it is written out only when somebody reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestId(Source);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Source {
    Given(Arc<str>),
    Ours(u64),
}

impl RequestId {
    /// A new one.
    pub fn next() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        Self(Source::Ours(COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The one that a trusted proxy gave, if it is a plain word.
    pub(super) fn given(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(X_REQUEST_ID)?.to_str().ok()?;
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'));
        (plain && !text.is_empty() && text.len() <= MAX_GIVEN).then(|| Self(Source::Given(text.into())))
    }

    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).expect("an id has only visible ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Given(text) => f.write_str(text),
            Source::Ours(number) => write!(f, "{:08x}-{number:x}", process()),
        }
    }
}

/// Random, so that the ids of two processes differ. Without randomness ids are merely less unique.
fn process() -> u32 {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    *PROCESS.get_or_init(|| {
        let mut bytes = [0; 4];
        match aws_lc_rs::rand::fill(&mut bytes) {
            Ok(()) => u32::from_be_bytes(bytes),
            Err(_) => std::process::id(),
        }
    })
}

/// More is no id but a payload.
const MAX_GIVEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_a_given_one_is_kept_only_if_it_is_a_plain_word() {
        assert_ne!(RequestId::next().to_string(), RequestId::next().to_string());
        let given = |text: &str| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).expect("a value"))]);
            RequestId::given(&headers).map(|id| id.to_string())
        };
        assert_eq!(given("7f3a-11.B_c").as_deref(), Some("7f3a-11.B_c"));
        for text in ["", "a b", "\"}", "é", &"x".repeat(129)] {
            assert_eq!(given(text), None, "{text}");
        }
    }
}
