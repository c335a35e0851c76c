//! Tokens: kept by what they are for and for whom, fetched once however many ask, renewed before they end.
//!
//! The key holds the account, so that a token of ours and an anonymous one are never mixed up. A token's life is counted by our own clock from
//! when we asked for it: `issued_at` is the other side's clock, and clocks differ. A fetch that fails fails for all who waited for it, and not for
//! one after the other. Nothing here speaks HTTP: the fetch is handed in.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::FetchError;
use crate::config::Secret;

/// What a token is for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    /// Whose it is; `None`: anybody's.
    pub(super) account: Option<Arc<str>>,
    /// The token service.
    pub(super) realm: Arc<str>,
    /// What it lets us do; empty only for a login check.
    pub(super) scope: Arc<str>,
    /// What the token service calls the registry.
    pub(super) service: Option<Arc<str>>,
}

/// A token, and when we got it.
#[derive(Debug)]
pub(super) struct Token {
    asked_at: Instant,
    life: Duration,
    pub(super) value: Secret,
}

impl Token {
    /// How long ago it was asked for.
    pub(super) fn age(&self) -> Duration {
        self.asked_at.elapsed()
    }

    /// Whether it was asked for after `moment`.
    pub(super) fn is_of_after(&self, moment: Instant) -> bool {
        self.asked_at >= moment
    }

    fn is_fresh(&self) -> bool {
        self.age() < self.life * 4 / 5
    }

    fn is_alive(&self) -> bool {
        self.age() < self.life
    }
}

/// What a token service grants.
pub(super) struct Grant {
    life: Duration,
    value: Secret,
}

impl Grant {
    /// From the service's JSON. A token that could not stand in a header is none.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let value = answer.token.filter(|token| !token.is_empty()).or(answer.access_token)?;
        let is_sendable = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        let seconds = answer.expires_in.filter(|seconds| *seconds >= 1.0).unwrap_or(DEFAULT_LIFE);
        is_sendable.then(|| Self { life: Duration::from_secs_f64(seconds.min(LONGEST_LIFE)), value: Secret::new(&value) })
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("life", &self.life).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
    #[serde(default)]
    token: Option<String>,
}

/// All tokens of one upstream.
pub(super) struct Tokens(moka::sync::Cache<Key, Arc<Mutex<Slot>>>);

#[derive(Default)]
struct Slot {
    failure: Option<(Instant, FetchError)>,
    token: Option<Arc<Token>>,
}

impl Tokens {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(moka::sync::Cache::new(MOST_TOKENS))
    }

    /// The token for `key`, by `fetch` unless a fresh one is there. `rejected` is a token that the registry did not take: another is got in its place.
    pub(super) async fn get<F>(&self, key: &Key, rejected: Option<&Arc<Token>>, fetch: impl FnOnce() -> F) -> Result<Arc<Token>, FetchError>
    where
        F: Future<Output = Result<Grant, FetchError>>,
    {
        let came = Instant::now();
        let slot = self.0.get_with_by_ref(key, Arc::default);
        let mut slot = slot.lock().await; // Whoever is first fetches; a fetch that is dropped leaves the turn to the next.
        if let (Some(token), Some(rejected)) = (&slot.token, rejected)
            && Arc::ptr_eq(token, rejected)
        {
            slot.token = None;
        }
        if let Some(token) = slot.token.as_ref().filter(|token| token.is_fresh()) {
            return Ok(Arc::clone(token));
        }
        if let Some((_, error)) = slot.failure.as_ref().filter(|(failed, _)| *failed >= came) {
            return Err(error.clone());
        }
        let asked_at = Instant::now();
        match fetch().await {
            Ok(grant) => {
                let token = Arc::new(Token { asked_at, life: grant.life, value: grant.value });
                *slot = Slot { failure: None, token: Some(Arc::clone(&token)) };
                Ok(token)
            }
            // The old one is in its last fifth, and good still.
            Err(error) if error.is_transient() && slot.token.as_ref().is_some_and(|token| token.is_alive()) => {
                slot.token.clone().ok_or(error)
            }
            Err(error) => {
                slot.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("count", &self.0.entry_count()).finish()
    }
}

/// Seconds, where the service names none: the specification's default.
const DEFAULT_LIFE: f64 = 60.0;
/// Seconds; a service that promises more may still forget it.
const LONGEST_LIFE: f64 = 24.0 * 3600.0;
const MOST_TOKENS: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::upstream::error::Subject;

    fn key(account: Option<&str>) -> Key {
        Key { account: account.map(Into::into), realm: "https://a/t".into(), scope: "repository:a:pull".into(), service: None }
    }

    fn grant(value: &str, seconds: u64) -> Grant {
        Grant { life: Duration::from_secs(seconds), value: Secret::new(value) }
    }

    fn sick() -> FetchError {
        FetchError::Cut { subject: Subject::new(&"hub".parse().expect("a name"), "a:1"), source: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_who_ask_at_once_share_one_fetch_and_its_failure() {
        for fails in [false, true] {
            let (tokens, fetches) = (Arc::new(Tokens::new()), Arc::new(AtomicUsize::new(0)));
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..100 {
                let (tokens, fetches) = (Arc::clone(&tokens), Arc::clone(&fetches));
                all.spawn(async move {
                    let fetch = || async {
                        fetches.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        if fails { Err(sick()) } else { Ok(grant("t", 300)) }
                    };
                    tokens.get(&key(None), None, fetch).await
                });
            }
            assert!(all.join_all().await.iter().all(|result| result.is_err() == fails));
            assert_eq!(fetches.load(Ordering::Relaxed), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_at_four_fifths_of_its_life_and_outlives_a_sick_service() {
        let tokens = Tokens::new();
        let get = async |value: Option<&str>| {
            let result = value.map_or(Err(sick()), |value| Ok(grant(value, 100)));
            tokens.get(&key(None), None, || async { result }).await.map(|token| token.value.expose().to_owned())
        };
        assert_eq!(get(Some("one")).await.expect("a token"), "one");
        tokio::time::advance(Duration::from_secs(79)).await;
        assert_eq!(get(Some("two")).await.expect("a token"), "one");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(get(None).await.expect("the old one still"), "one");
        assert_eq!(get(Some("two")).await.expect("a token"), "two");
        tokio::time::advance(Duration::from_secs(101)).await;
        assert!(get(None).await.is_err());
    }

    #[tokio::test]
    async fn a_rejected_token_is_replaced_once_for_all_who_had_it() {
        let tokens = Tokens::new();
        let old = tokens.get(&key(None), None, || async { Ok(grant("old", 300)) }).await.expect("a token");
        let new = tokens.get(&key(None), Some(&old), || async { Ok(grant("new", 300)) }).await.expect("a token");
        let again = tokens.get(&key(None), Some(&old), || async { Ok(grant("newer", 300)) }).await.expect("a token");
        assert_eq!((new.value.expose(), again.value.expose()), ("new", "new"));
    }

    #[tokio::test]
    async fn our_tokens_and_anonymous_ones_are_never_mixed() {
        let tokens = Tokens::new();
        let ours = tokens.get(&key(Some("ship")), None, || async { Ok(grant("ours", 300)) }).await.expect("a token");
        let anybodys = tokens.get(&key(None), None, || async { Ok(grant("anybody's", 300)) }).await.expect("a token");
        assert_eq!((ours.value.expose(), anybodys.value.expose()), ("ours", "anybody's"));
        assert!(!format!("{ours:?}{tokens:?}").contains("ours"));
    }

    #[test]
    fn a_grant_is_read_in_every_shape_that_services_send() {
        let read = |text: &str| Grant::read(text.as_bytes()).map(|grant| (grant.value.expose().to_owned(), grant.life.as_secs()));
        for (text, expected) in [
            (r#"{"token":"t","expires_in":300,"issued_at":"1970-01-01T00:00:00Z"}"#, Some(("t", 300))),
            (r#"{"access_token":"t"}"#, Some(("t", 60))),
            (r#"{"token":"","access_token":"t","expires_in":5}"#, Some(("t", 5))),
            (r#"{"token":"t","access_token":"u","expires_in":0}"#, Some(("t", 60))),
            (r#"{"token":"t","expires_in":-5}"#, Some(("t", 60))),
            (r#"{"token":"t","expires_in":1e300}"#, Some(("t", 86400))),
            (r#"{"token":null}"#, None),
            (r#"{"token":""}"#, None),
            (r#"{"token":"a\nb: c"}"#, None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected.map(|(value, life)| (value.to_owned(), life)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(life in any::<f64>(), token: String, bytes: Vec<u8>) {
            let _ = Grant::read(&bytes);
            let _ = Grant::read(serde_json::json!({ "token": token, "expires_in": life }).to_string().as_bytes());
        }
    }
}
