//! A client of the registry API that is as plain as can be, so that what it sees is what the mirror sends.
//!
//! Every answer is checked against what no answer of a mirror may have: a challenge, a 429, a redirect, a content encoding, whose quota it cost.
//! Clients that are no [`Client`], over HTTP/2 or a bare socket, have [`assert_proper`] for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use tokio::sync::mpsc;

use crate::hub::{Algorithm, Digest};

/// A client of one mirror.
#[derive(Clone, Debug)]
pub struct Client {
    base: Arc<str>,
    http: reqwest::Client,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// What came after the headers; an error is a body that broke off.
    pub body: Result<Bytes, reqwest::Error>,
    /// All headers.
    pub headers: HeaderMap,
    /// The status.
    pub status: StatusCode,
}

/// An answer whose body is taken piece by piece.
#[derive(Debug)]
pub struct Open(reqwest::Response);

impl Client {
    /// Of the mirror at `base`, `http://HOST:PORT`.
    pub fn new(base: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self::with(base, reqwest::Client::builder())
    }

    /// The same with settings of the caller's own, as for HTTPS.
    pub fn with(base: &str, settings: reqwest::ClientBuilder) -> Self {
        let http = settings.redirect(reqwest::redirect::Policy::none()).no_proxy();
        Self { base: base.into(), http: http.build().expect("settings that fit") }
    }

    /// A whole GET of a path below the mirror's root.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// A HEAD.
    pub async fn head(&self, path: &str) -> Answer {
        self.send(self.request(Method::HEAD, path)).await
    }

    /// A GET of a range, as in `bytes=0-9`.
    pub async fn range(&self, path: &str, range: &str) -> Answer {
        self.send(self.request(Method::GET, path).header("range", range)).await
    }

    /// Any request; headers can be added before it is sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// A GET whose body is left to the caller.
    pub async fn open(&self, path: &str) -> Open {
        self.begin(self.request(Method::GET, path)).await.expect("the mirror answers")
    }

    /// Sends, and leaves the body to the caller; an error is a connection that ended before the headers.
    pub async fn begin(&self, request: RequestBuilder) -> Result<Open, reqwest::Error> {
        request.send().await.map(|response| Open(check(response)))
    }

    /// Sends, and takes the whole answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = check(request.send().await.expect("the mirror answers"));
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await }
    }

    /// Asks until the answer is as wanted: what is waited for is the mirror's own doing, and it tells nobody. Panics with the last answer.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let mut last = self.get(path).await;
        for _ in 0..TRIES {
            if wanted(&last) {
                return last;
            }
            tokio::time::sleep(POLL).await;
            last = self.get(path).await;
        }
        panic!("{path} never answers as it must; last {} {:?}", last.status, last.body)
    }

    /// Pulls an image as an engine does: the manifest by tag or digest, then each child and blob by its digest. Returns the digests of the blobs;
    /// panics with the first thing that is not as it must be.
    pub async fn pull(&self, repository: &str, reference: &str) -> Vec<String> {
        let (pulled, mut found) = (mpsc::unbounded_channel::<String>(), Vec::new());
        let (ask, mut asked) = pulled;
        ask.send(reference.to_owned()).expect("open");
        while let Ok(reference) = asked.try_recv() {
            let manifest = self.get(&format!("/v2/{repository}/manifests/{reference}")).await.whole();
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("a manifest is JSON");
            let digests = |key: &str| {
                manifest[key]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|one| one["digest"].as_str().expect("a digest").to_owned())
                    .collect::<Vec<_>>()
            };
            for child in digests("manifests") {
                ask.send(child).expect("open");
            }
            let config = manifest["config"]["digest"].as_str().map(str::to_owned);
            for blob in config.into_iter().chain(digests("layers")) {
                let bytes = self.get(&format!("/v2/{repository}/blobs/{blob}")).await.whole();
                let algorithm = if blob.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 };
                assert_eq!(Digest::of(algorithm, &bytes).as_str(), blob, "the blob is what its name says");
                found.push(blob);
            }
        }
        found
    }
}

impl Answer {
    /// The body of an answer that must be whole and good.
    pub fn whole(self) -> Bytes {
        assert!(self.status.is_success(), "{} {:?}", self.status, self.body);
        self.body.expect("the body is whole")
    }

    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
    }

    /// The code of an OCI error.
    pub fn code(&self) -> String {
        let body = self.body.as_ref().expect("an error has a body");
        let error: serde_json::Value = serde_json::from_slice(body).expect("an error is JSON");
        assert!(
            error["errors"][0]["detail"]["request_id"].as_str().is_some_and(|id| !id.is_empty()),
            "an error names its request: {error}"
        );
        error["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Open {
    /// The next bytes; `None` at the end, an error where the connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, reqwest::Error> {
        self.0.chunk().await
    }

    /// Exactly the next `count` bytes.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.extend(self.chunk().await.expect("bytes").expect("more bytes"));
        }
        taken
    }

    /// Everything that is left.
    pub async fn rest(self) -> Result<Bytes, reqwest::Error> {
        self.0.bytes().await
    }

    /// How many bytes of the body come before it breaks off; `None` where it comes to its end.
    pub async fn before_the_break(mut self) -> Option<usize> {
        let mut came = 0;
        loop {
            match self.chunk().await {
                Ok(Some(bytes)) => came += bytes.len(),
                Ok(None) => return None,
                Err(_) => return Some(came),
            }
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.0.headers().get(name).map_or("", |value| value.to_str().unwrap_or("?"))
    }
}

/// Panics at what no answer of a mirror may have: engines would send passwords, retry at once or sleep, follow past the mirror, or hash the wrong bytes;
/// and whose quota a pull cost is the operator's business.
pub fn assert_proper(status: StatusCode, headers: &HeaderMap) {
    assert_ne!(status, StatusCode::TOO_MANY_REQUESTS, "a mirror never answers 429");
    assert!(!status.is_redirection() || status == StatusCode::NOT_MODIFIED, "a mirror never redirects: {status}");
    for header in IMPROPER {
        assert!(!headers.contains_key(header), "a mirror never sends `{header}`: {headers:?}");
    }
}

/// As [`assert_proper`], for an answer as it came over a bare socket; what is no whole head of HTTP/1.1 has no header that a client would see.
pub fn assert_proper_text(answer: &str) {
    let Some((head, _)) = answer.split_once("\r\n\r\n") else { return };
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {head}"));
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(name, value)| Some((name.trim().parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?)));
    assert_proper(status, &headers.collect());
}

fn check(response: reqwest::Response) -> reqwest::Response {
    assert_proper(response.status(), response.headers());
    response
}

/// In small letters.
const IMPROPER: [&str; 5] = ["www-authenticate", "proxy-authenticate", "location", "content-encoding", "docker-ratelimit-source"];

/// Between two questions of [`Client::until`], which gives up after a minute and more.
const POLL: Duration = Duration::from_millis(50);
const TRIES: u32 = 1200;
