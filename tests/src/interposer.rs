//! Stands between a client and a real CA, and decides what becomes of each request: it is passed on, lost, or answered in the CA's place.
//!
//! The CA writes its URLs for whoever asks, so that all that follows from its directory comes this way too.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::pebble::Pebble;

/// A listener before a CA. Its tasks end when it is dropped.
pub struct Interposer {
    address: SocketAddr,
    root: String,
    _tasks: JoinSet<()>,
}

/// What becomes of a request.
pub enum Fate {
    /// This is the answer; the CA hears of nothing.
    Answer(Response<Bytes>),
    /// To the CA and back, and its answer is changed on its way.
    Change(Box<Change>),
    /// Nobody answers, and the connection stays.
    Hang,
    /// The connection ends; the CA hears of nothing.
    Lose,
    /// The connection ends; the CA hears of it once this is sent, and then the other is.
    LoseUntil(oneshot::Receiver<()>, oneshot::Sender<()>),
    /// The CA does what it is asked, then this is called, and the connection ends.
    LoseAnswer(Box<dyn FnOnce() + Send>),
    /// To the CA and back.
    Pass,
}

/// What an answer becomes on its way.
pub type Change = dyn FnOnce(Response<Bytes>) -> Response<Bytes> + Send;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// How.
    pub method: Method,
    /// From 0, in the order in which they came.
    pub number: usize,
    /// For what.
    pub path: String,
}

type Decide = dyn FnMut(&Asked) -> Fate + Send;

struct Shared {
    ca: SocketAddr,
    client: reqwest::Client,
    decide: Mutex<(usize, Box<Decide>)>,
}

impl Interposer {
    /// Before `pebble`; `decide` is asked for each request.
    pub fn before(pebble: &Pebble, decide: impl FnMut(&Asked) -> Fate + Send + 'static) -> Self {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket can be asynchronous");
        let listener = TcpListener::from_std(listener).expect("it is nonblocking");
        let (root, acceptor) = identity();
        let trusted = reqwest::Certificate::from_pem(pebble.api_root().as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder().tls_certs_only([trusted]).no_proxy().build().expect("a client");
        let shared = Arc::new(Shared { ca: pebble.api_address(), client, decide: Mutex::new((0, Box::new(decide))) });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, shared));
        Self { address, root, _tasks: tasks }
    }

    /// The URL of the CA's directory, by this way.
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// What a client must trust, PEM.
    pub fn root(&self) -> &str {
        &self.root
    }
}

impl fmt::Debug for Interposer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interposer").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| answer(shared.clone(), request));
            // An error is how a connection is ended without an answer.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
    match shared.fate(&request) {
        Fate::Answer(answer) => Ok(answer.map(Full::new)),
        Fate::Change(change) => {
            let mut changed = change(shared.pass_on(request).await?);
            changed.headers_mut().remove(http::header::CONTENT_LENGTH);
            Ok(changed.map(Full::new))
        }
        Fate::Hang => std::future::pending::<Result<Infallible, Lost>>().await.map(|never| match never {}),
        Fate::Lose => Err(Lost),
        Fate::LoseUntil(now, done) => {
            tokio::spawn(async move {
                if now.await.is_ok() && shared.pass_on(request).await.is_ok() {
                    let _ = done.send(());
                }
            });
            Err(Lost)
        }
        Fate::LoseAnswer(then) => {
            shared.pass_on(request).await?;
            then();
            Err(Lost)
        }
        Fate::Pass => Ok(shared.pass_on(request).await?.map(Full::new)),
    }
}

impl Shared {
    fn fate(&self, request: &Request<Incoming>) -> Fate {
        let mut deciding = self.decide.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, decide) = &mut *deciding;
        let asked = Asked { method: request.method().clone(), number: *number, path: request.uri().path().to_owned() };
        *number += 1;
        decide(&asked)
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Result<Response<Bytes>, Lost> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("https://{}{path}", self.ca).parse::<Uri>().map_err(|_| Lost)?;
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        let request = reqwest::Request::try_from(Request::from_parts(parts, reqwest::Body::from(body))).map_err(|_| Lost)?;
        let answer = self.client.execute(request).await.map_err(|_| Lost)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut passed = Response::new(answer.bytes().await.map_err(|_| Lost)?);
        (*passed.status_mut(), *passed.headers_mut()) = (status, headers);
        Ok(passed)
    }
}

/// No answer comes.
#[derive(Debug, thiserror::Error)]
#[error("lost")]
struct Lost;

impl Fate {
    /// A page of a proxy that stands before a CA that is away.
    pub fn page(status: StatusCode, text: &str) -> Self {
        let mut answer = Response::new(Bytes::from(text.to_owned()));
        *answer.status_mut() = status;
        Self::Answer(answer)
    }

    /// The CA's answer with another text.
    pub fn rewrite(change: impl FnOnce(String) -> String + Send + 'static) -> Self {
        Self::Change(Box::new(|answer| answer.map(|body| change(String::from_utf8_lossy(&body).into_owned()).into())))
    }

    /// The CA's answer with a header of the test's, or without it.
    pub fn with_header(name: HeaderName, value: Option<HeaderValue>) -> Self {
        Self::Change(Box::new(move |mut answer| {
            answer.headers_mut().remove(&name);
            answer.headers_mut().extend(value.map(|value| (name, value)));
            answer
        }))
    }
}

/// A root, and a server's certificate under it.
fn identity() -> (String, TlsAcceptor) {
    let mut root = rcgen::CertificateParams::new([]).expect("no names");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name.push(rcgen::DnType::CommonName, "root of what stands before a CA");
    let root = rcgen::CertifiedIssuer::self_signed(root, rcgen::KeyPair::generate().expect("a key")).expect("signed");
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name").signed_by(&key, &root).expect("signed");
    let chain = vec![CertificateDer::from_pem_slice(leaf.pem().as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    (root.pem(), TlsAcceptor::from(Arc::new(config)))
}
