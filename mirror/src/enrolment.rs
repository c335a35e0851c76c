//! `POST /chandler/certificate`: a machine that shows a token of `chandler ca token` gets a client's certificate for its key. `GET /chandler/ca.pem`: the roots by which it knows this mirror.
//!
//! Over HTTPS only, since a token is a secret. No access rule applies: to them a machine without a certificate is nobody, and the token, good for one certificate and for a while, is the right to ask.
//! [`certs::ca::redeem`] does the work, one request at a time, on a thread that serves nobody else.
//!
//! What always holds: no token stands in an answer or a log, an answer comes within seconds, and a stranger costs a few KiB and one look for a file. Where the disk hangs, one thread waits for it for the
//! certificates and [`READERS`] for the roots, whoever asks.

use std::error::Error;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use certs::Moment;
use certs::ca::{self, Ca, CaError, Published, Redeemed, Token, TokenError, TokenRefusal};
use certs::store::StoreError;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::check::chain;
use crate::config::{Config, Issuer};
use crate::server::{FilterBody, Peer};
use crate::telemetry::{Facts, Origin, Outcome};

/// The two pages, for a private CA. Its roots are shown wherever something here depends on it: a machine that was told their fingerprint takes them from here.
#[derive(Debug)]
pub(crate) struct Enrolment {
    folder: PathBuf,
    /// Certificates are issued by token.
    issues: bool,
    /// Who reads the roots.
    readers: Arc<Semaphore>,
    /// Whoever has the turn waits for the disk.
    stuck: Arc<AtomicBool>,
    /// Who works on the CA; a thread that looks for a lock again and again has no queue.
    turn: Arc<Semaphore>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("others are being served; ask again")]
    Busy,
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("the signing request did not come to its end")]
    Cut,
    #[error("the disk of the CA does not answer; ask again")]
    Disk,
    #[error("a signing request has {MOST} bytes at most")]
    Large,
    #[error("the certificate was not issued: the work on it ended early")]
    Lost,
    #[error("a certificate is asked for by POST, with a signing request as the body")]
    Method,
    #[error("there is no token: send `Authorization: Bearer TOKEN`; `chandler ca token NAME` beside the mirror makes one")]
    NoToken,
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// One of the two.
enum Page {
    Certificate,
    Roots,
}

impl Enrolment {
    /// Where the configuration asks for it.
    pub(crate) fn of(config: &Config) -> Option<Arc<Self>> {
        let issues = config.tokens;
        let is_server = config.certificates().iter().any(|names| names.issuer == Issuer::Private);
        (issues || is_server).then(|| {
            let [readers, turn] = [READERS, 1].map(|most| Arc::new(Semaphore::new(most)));
            Arc::new(Self { folder: config.acme.private_ca(), issues, readers, stuck: Arc::default(), turn })
        })
    }

    /// Whether a certificate could be issued now.
    pub(crate) fn check(config: &Config) -> Result<(), CaError> {
        match Ca::open_within(&config.acme.private_ca(), LOCK).and_then(|ca| ca.is_able(now()).and_then(|()| ca.can_record())) {
            Err(CaError::Store(StoreError::Locked(_))) => Ok(()), // Somebody is at work on it.
            checked => checked,
        }
    }

    /// Whether this request is answered here.
    pub(crate) fn serves<B>(&self, request: &Request<B>) -> bool {
        let is_here = match page(request.uri().path()) {
            Some(Page::Roots) => true,
            Some(Page::Certificate) => self.issues,
            None => false,
        };
        is_here && request.extensions().get::<Peer>().is_some_and(|peer| peer.tls)
    }

    /// Whether it reads the body: the request may get a certificate.
    pub(crate) fn reads<B>(&self, request: &Request<B>) -> bool {
        let is_here = matches!(page(request.uri().path()), Some(Page::Certificate));
        self.issues && is_here && request.method() == Method::POST && token(request.headers()).is_ok()
    }

    /// Its answer.
    pub(crate) async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Response<FilterBody>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Send,
    {
        let origin = request.extensions().get::<Origin>().cloned().expect("the access log is the outermost layer");
        match page(request.uri().path()) {
            Some(Page::Roots) => self.roots(&origin).await,
            Some(Page::Certificate) | None => self.certificate(request, &origin).await,
        }
    }

    async fn certificate<B>(&self, request: Request<B>, origin: &Origin) -> Response<FilterBody>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Send,
    {
        let token = token(request.headers());
        let id = token.as_ref().map(|token| token.id().to_string()).unwrap_or_default();
        let issued = match token {
            _ if request.method() != Method::POST => Err(Refused::Method),
            Ok(token) => self.redeem(token, request.into_body()).await,
            Err(error) => Err(error),
        };
        match issued {
            Ok(Redeemed { chain: text, identifiers, is_new, not_after, serial }) => {
                let names = identifiers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let done = if is_new { "a client's certificate was issued by token" } else { "it was given once more, for the same key" };
                tracing::info!(client.address = %origin.client, token.id = id, certificate.names = names, certificate.serial = %serial, certificate.until = %not_after, "{done}");
                reply(StatusCode::CREATED, "application/pem-certificate-chain", text)
            }
            Err(error) => {
                error.tell(origin, &id);
                error.response(origin)
            }
        }
    }

    /// What the token is good for. The work goes on if its client leaves: the certificate is kept for when it asks again.
    async fn redeem<B>(&self, token: Token, body: B) -> Result<Redeemed, Refused>
    where
        B: Body<Data = Bytes>,
    {
        let request = timeout(BODY, whole(body)).await.map_err(|_| Refused::Cut)??;
        let late = || if self.stuck.load(Ordering::Relaxed) { Refused::Disk } else { Refused::Busy };
        let turn = timeout(TURN, Arc::clone(&self.turn).acquire_owned()).await.map_err(|_| late())?;
        let (turn, folder, stuck) = (turn.map_err(|_| Refused::Busy)?, self.folder.clone(), Arc::clone(&self.stuck));
        stuck.store(false, Ordering::Relaxed);
        let work = move || {
            let _turn = turn;
            let redeemed = ca::redeem(&folder, &token, &request, LOCK, now());
            stuck.store(false, Ordering::Relaxed);
            redeemed
        };
        match timeout(WORK, tokio::task::spawn_blocking(work)).await {
            Ok(Ok(Err(CaError::Store(StoreError::Locked(_))))) => Err(Refused::Busy),
            Ok(Ok(redeemed)) => Ok(redeemed?),
            Ok(Err(_)) => Err(Refused::Lost), // It panicked, or the runtime ends.
            Err(_) => {
                self.stuck.store(true, Ordering::Relaxed);
                Err(Refused::Disk)
            }
        }
    }

    /// They are public; who has a token knows whether they are the right ones.
    async fn roots(&self, origin: &Origin) -> Response<FilterBody> {
        match self.read_roots().await {
            Ok(roots) => reply(StatusCode::OK, "application/x-pem-file", roots),
            Err(refused) => {
                refused.tell(origin, "");
                refused.response(origin)
            }
        }
    }

    async fn read_roots(&self) -> Result<String, Refused> {
        let reader = timeout(TURN, Arc::clone(&self.readers).acquire_owned()).await.map_err(|_| Refused::Disk)?;
        let (reader, folder) = (reader.map_err(|_| Refused::Lost)?, self.folder.clone());
        let read = move || {
            let _reader = reader;
            Published::roots(&folder, now())
        };
        let read = timeout(WORK, tokio::task::spawn_blocking(read)).await.map_err(|_| Refused::Disk)?;
        Ok(read.map_err(|_| Refused::Lost)??)
    }
}

impl Refused {
    /// A status that no engine and no `curl --retry` takes for something else, and a word for programs.
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Ca(CaError::Request(_)) | Self::Cut => (StatusCode::BAD_REQUEST, "REQUEST_INVALID"),
            Self::Ca(CaError::Token(TokenRefusal::Used(_))) => (StatusCode::FORBIDDEN, "TOKEN_USED"),
            Self::Ca(CaError::Token(_)) | Self::NoToken | Self::Token(_) => (StatusCode::FORBIDDEN, "TOKEN_REFUSED"),
            Self::Large => (StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_INVALID"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::Busy | Self::Ca(_) | Self::Disk | Self::Lost => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        }
    }

    /// What its client is told: of the CA's own troubles no path and no name.
    fn message(&self) -> String {
        match self {
            Self::Ca(CaError::Token(refusal)) => format!("{refusal}; ask for another one (`chandler ca token NAME`)"),
            Self::Ca(error @ CaError::Request(_)) => chain(error),
            Self::Ca(_) => "the CA cannot issue it now; the mirror's log says why".into(),
            other => other.to_string(),
        }
    }

    /// To the operator: guesses are to be seen, and what only he can mend.
    fn tell(&self, origin: &Origin, id: &str) {
        let (client, error) = (origin.client, self as &dyn Error);
        if self.code().0 == StatusCode::SERVICE_UNAVAILABLE && !matches!(self, Self::Busy) {
            tracing::error!(client.address = %client, token.id = id, error, "a machine asked for its certificate, and none can be issued");
        } else {
            tracing::warn!(client.address = %client, token.id = id, error, "a machine asked for a certificate and was refused");
        }
    }

    fn response(&self, origin: &Origin) -> Response<FilterBody> {
        let (status, code) = self.code();
        let detail = json!({ "request_id": origin.id.to_string() });
        let body = json!({ "errors": [{ "code": code, "message": self.message(), "detail": detail }] });
        let mut response = reply(status, "application/json", body.to_string());
        if matches!(self, Self::Method) {
            response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("POST"));
        }
        let outcome = if status == StatusCode::SERVICE_UNAVAILABLE { Outcome::Error } else { Outcome::Refused };
        response.extensions_mut().insert(Facts { error: Some(chain(self)), outcome: Some(outcome), ..Facts::default() });
        response
    }
}

fn page(path: &str) -> Option<Page> {
    match path {
        "/chandler/ca.pem" => Some(Page::Roots),
        "/chandler/certificate" => Some(Page::Certificate),
        _ => None,
    }
}

fn token(headers: &HeaderMap) -> Result<Token, Refused> {
    let given = headers.get(AUTHORIZATION).ok_or(Refused::NoToken)?;
    let (scheme, token) = given.to_str().ok().and_then(|given| given.split_once(' ')).ok_or(TokenError)?;
    if scheme.eq_ignore_ascii_case("Bearer") { Ok(token.trim().parse()?) } else { Err(Refused::NoToken) }
}

/// The body, if it is as small as a signing request. Of a larger one some more is read: where a connection is closed with bytes unread, the kernel takes the answer back.
async fn whole<B: Body<Data = Bytes>>(body: B) -> Result<Vec<u8>, Refused> {
    let (mut body, mut kept, mut came) = (pin!(body), Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refused::Cut)?;
        let Some(data) = frame.data_ref() else { continue };
        came += data.len();
        if came <= MOST {
            kept.extend_from_slice(data);
        } else if came > PATIENTLY {
            break;
        }
    }
    if came <= MOST { Ok(kept) } else { Err(Refused::Large) }
}

fn reply(status: StatusCode, kind: &'static str, text: String) -> Response<FilterBody> {
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn now() -> Moment {
    SystemTime::now().into()
}

/// For the request to come.
const BODY: Duration = Duration::from_secs(4);
/// For whoever else works on the CA, as `chandler ca` does.
const LOCK: Duration = Duration::from_secs(2);
/// A key of RSA with 8192 bits takes 3 KiB.
const MOST: usize = 16 << 10;
/// So much of what is too large is read.
const PATIENTLY: usize = 1 << 20;
/// Threads at most that read the roots.
const READERS: usize = 4;
/// For those who came before.
const TURN: Duration = Duration::from_secs(2);
/// For what is done under the lock, and the wait for it.
const WORK: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
