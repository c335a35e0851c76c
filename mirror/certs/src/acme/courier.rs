//! Carries the library's requests with our own HTTP client, and notes what an answer says beside its body: the library forgets status and
//! `Retry-After` when a CA is not well, which is when they matter.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::Moment;

/// One CA's HTTP client. A clone is the same one, with the same memory.
#[derive(Clone, Debug)]
pub struct Courier {
    client: reqwest::Client,
    seen: Arc<Mutex<Seen>>,
}

/// What the last answer said beside its body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The CA's clock, less ours, in seconds.
    pub ahead: Option<i64>,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
    /// Its status; `None` before any answer, and after a request that got none.
    pub status: Option<StatusCode>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// The bundle of certificates is none.
    #[error("the CA bundle for the ACME server cannot be used")]
    Bundle(#[source] rustls_pki_types::pem::Error),
    /// There is nothing in it.
    #[error("the CA bundle for the ACME server holds no certificate")]
    Empty,
    /// One of its certificates.
    #[error("the CA bundle for the ACME server holds a certificate that cannot be used")]
    Root(#[source] rustls::Error),
    /// The client itself.
    #[error("the HTTP client for the ACME server cannot be made")]
    Client(#[source] reqwest::Error),
}

impl Courier {
    /// That knows ACME servers by the certificates in `pem` alone: a CA of one's own is not trusted beside all others by accident.
    pub fn knowing(pem: &str) -> Result<Self, CourierError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.map_err(CourierError::Bundle)?).map_err(CourierError::Root)?;
        }
        if roots.is_empty() { Err(CourierError::Empty) } else { Self::new(roots) }
    }

    /// That knows ACME servers by `roots`.
    pub fn new(roots: RootCertStore) -> Result<Self, CourierError> {
        // A CA's own answers lead to the URLs that are asked: plain HTTP would show what is signed, and lead into our network (RFC 8555 6.1).
        let client = client(roots)?.https_only(true).build().map_err(CourierError::Client)?;
        Ok(Self { client, seen: Arc::default() })
    }

    /// The same client with a memory of its own: what one certificate's CA answers says nothing about another's.
    pub fn apart(&self) -> Self {
        Self { client: self.client.clone(), seen: Arc::default() }
    }

    /// What the last answer said.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far our clock is from the CA's.
    pub fn skew(&self) -> Duration {
        Duration::from_secs(self.seen().ahead.unwrap_or(0).unsigned_abs())
    }

    /// A plain GET, bounded in size.
    pub(super) async fn get(&self, url: &str) -> Result<(StatusCode, HeaderMap, Bytes), reqwest::Error> {
        self.ask(self.client.get(url)).await
    }

    /// Sends what is signed.
    pub(super) async fn post(&self, url: &str, signed: String) -> Result<(StatusCode, HeaderMap, Bytes), reqwest::Error> {
        self.ask(self.client.post(url).header(CONTENT_TYPE, "application/jose+json").body(signed)).await
    }

    /// A word that the CA takes once (RFC 8555 7.2).
    pub(super) async fn nonce(&self, url: &str) -> Result<String, instant_acme::Error> {
        let (_, headers, _) = self.ask(self.client.head(url)).await.map_err(|error| instant_acme::Error::Other(error.into()))?;
        let nonce = headers.get("replay-nonce").and_then(|nonce| nonce.to_str().ok());
        nonce.map(str::to_owned).ok_or(instant_acme::Error::Str("the CA gives no nonce"))
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, HeaderMap, Bytes), reqwest::Error> {
        self.note(None);
        let answer = request.send().await?;
        self.note(Some((answer.status(), answer.headers())));
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok((status, headers, body(answer).await?))
    }

    fn note(&self, answer: Option<(StatusCode, &HeaderMap)>) {
        let now = SystemTime::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.ahead;
        *seen = answer.map_or_else(Seen::default, |(status, headers)| Seen::of(status, headers, now));
        seen.ahead = seen.ahead.or(known);
    }

    async fn carry(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, instant_acme::Error> {
        let other = |error: reqwest::Error| instant_acme::Error::Other(error.into());
        let (parts, payload) = request.into_parts();
        let payload = payload.collect().await.map_or_else(|never| match never {}, http_body_util::Collected::to_bytes);
        let request = reqwest::Request::try_from(Request::from_parts(parts, reqwest::Body::from(payload))).map_err(other)?;
        self.note(None);
        let answer = self.client.execute(request).await.map_err(other)?;
        self.note(Some((answer.status(), answer.headers())));
        let mut parts = http::Response::new(()).into_parts().0;
        (parts.status, parts.headers) = (answer.status(), answer.headers().clone());
        Ok(BytesResponse { parts, body: Box::new(body(answer).await.map_err(other)?) })
    }
}

impl HttpClient for Courier {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        Box::pin(self.clone().carry(request))
    }
}

impl Seen {
    fn of(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let date = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).map(Moment::from);
        let ahead = date.map(|date| date.unix().saturating_sub(Moment::from(now).unix()));
        Self { ahead, retry_after: text(RETRY_AFTER).and_then(|text| retry_after(text, now)), status: Some(status) }
    }
}

/// A client that knows servers by `roots`, waits for none too long, and goes nowhere but where it is sent.
pub(crate) fn client(roots: RootCertStore) -> Result<reqwest::ClientBuilder, CourierError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(CourierError::Root)?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.with_root_certificates(roots).with_no_client_auth())
        .connect_timeout(TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none()) // A signed request names its URL: it is of no use elsewhere.
        .user_agent(concat!("chandler/", env!("CARGO_PKG_VERSION")));
    Ok(client)
}

/// Seconds, or a date (RFC 9110 10.2.3). A date that is over asks for nothing.
pub(super) fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let seconds = text.trim().parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).ok())
}

/// No answer of a CA is longer: what is, is none.
async fn body(mut answer: reqwest::Response) -> Result<Bytes, reqwest::Error> {
    let mut all = bytes::BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        all.extend_from_slice(&chunk[..chunk.len().min(MOST - all.len())]);
        if all.len() == MOST {
            break;
        }
    }
    Ok(all.freeze())
}

/// Bytes of an answer that are read.
const MOST: usize = 1 << 20;
/// For a request as a whole. CAs answer in tens of milliseconds, or not at all.
const TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_http_is_not_spoken_wherever_a_ca_leads() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        server.set_nonblocking(true).expect("a socket can be asynchronous");
        let url = format!("http://{}/order", server.local_addr().expect("it is bound"));
        let courier = Courier::new(RootCertStore::empty()).expect("a client");
        let failed = [courier.get(&url).await.err(), courier.post(&url, "signed".into()).await.err()];
        for error in failed.into_iter().flatten() {
            assert!(super::super::with_causes(&error).contains("scheme is not allowed"), "{error:?}");
        }
        assert!(courier.nonce(&url).await.is_err());
        let request = Request::builder().uri(&url).body(BodyWrapper::from(Vec::new())).expect("a request");
        assert!(courier.clone().carry(request).await.is_err(), "nor for the library");
        assert!(server.accept().is_err(), "nobody called");
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 12:00:00 GMT").expect("a date");
        for (text, wait) in [
            ("120", Some(120)),
            (" 5 ", Some(5)),
            ("Sat, 21 Nov 2026 12:01:00 GMT", Some(60)),
            ("Sat, 21 Nov 2026 11:59:00 GMT", None),
            ("-5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, now), wait.map(Duration::from_secs), "{text}");
        }
    }
}
