//! The bare loop: hyper 1 and nothing else, which is the most that a server of this kind can do on this machine. It answers known paths with
//! the very headers that chandler sent for them: small bodies from memory, others by `pread` into 256 KiB buffers on the async thread.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Outcome;

/// One path that is answered.
#[derive(Debug, Deserialize, Serialize)]
pub struct Route {
    /// The body.
    pub file: PathBuf,
    /// Every header but `date`.
    pub headers: Vec<(String, String)>,
    /// From the root.
    pub path: String,
}

/// Serves the routes in the file `routes` until the process ends.
pub async fn serve(routes: &Path, http: SocketAddr, https: SocketAddr, certificate: &Path, key: &Path) -> Outcome<()> {
    let routes: Vec<Route> = serde_json::from_slice(&fs::read(routes)?)?;
    let replies = routes.into_iter().map(Reply::load).collect::<Outcome<HashMap<String, Reply>>>()?;
    let replies = Arc::new(replies);
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (plain, secret) = (TcpListener::bind(http).await?, TcpListener::bind(https).await?);
    loop {
        let replies = replies.clone();
        tokio::select! {
            accepted = plain.accept() => {
                let stream = accepted?.0;
                stream.set_nodelay(true)?;
                tokio::spawn(connection(stream, replies));
            }
            accepted = secret.accept() => {
                let stream = accepted?.0;
                stream.set_nodelay(true)?;
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection(stream, replies).await;
                    }
                });
            }
        }
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, replies: Arc<HashMap<String, Reply>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let reply = replies.get(request.uri().path()).map(Reply::answer);
        async move { Ok::<_, Infallible>(reply.unwrap_or_else(nothing)) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// What a path is answered with.
struct Reply {
    headers: HeaderMap,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Disk(Arc<File>, u64),
    Memory(Bytes),
}

impl Reply {
    fn load(route: Route) -> Outcome<(String, Self)> {
        let size = fs::metadata(&route.file)?.len();
        let source = if size <= IN_MEMORY {
            Source::Memory(fs::read(&route.file)?.into())
        } else {
            Source::Disk(Arc::new(File::open(&route.file)?), size)
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &route.headers {
            headers.insert(name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?);
        }
        Ok((route.path, Self { headers, source }))
    }

    fn answer(&self) -> Response<BareBody> {
        let body = match self.source.clone() {
            Source::Memory(bytes) => BareBody::Memory(Some(bytes)),
            Source::Disk(file, size) => BareBody::Disk { at: 0, file, size },
        };
        let mut response = Response::new(body);
        *response.headers_mut() = self.headers.clone();
        response
    }
}

fn nothing() -> Response<BareBody> {
    let mut response = Response::new(BareBody::Memory(None));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

enum BareBody {
    Disk { at: u64, file: Arc<File>, size: u64 },
    Memory(Option<Bytes>),
}

impl Body for BareBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Memory(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Disk { at, file, size } => {
                if at >= size {
                    return Poll::Ready(None);
                }
                let mut buffer = Vec::with_capacity(BUFFER);
                let read = rustix::io::pread(&*file, rustix::buffer::spare_capacity(&mut buffer), *at)?;
                *at += read as u64;
                Poll::Ready(Some(Ok(Frame::data(buffer.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Disk { at, size, .. } => size.saturating_sub(*at),
            Self::Memory(bytes) => bytes.as_ref().map_or(0, Bytes::len) as u64,
        })
    }
}

const BUFFER: usize = 256 << 10;
const IN_MEMORY: u64 = 64 << 10;
