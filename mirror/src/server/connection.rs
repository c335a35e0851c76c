//! One connection from its first byte to its last: PROXY header, TLS handshake, HTTP/1.1 or HTTP/2. Its task owns all of it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use certs::solve::ACME_TLS;
use http::header::HOST;
use http::{Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::keeper::Keeper;
use super::outgoing::Outgoing;
use super::proxy_protocol::{self, Header, ProxyError};
use super::wire::{Line, Order, Turn, Wire};
use super::{Metrics, Peer, Socket, Times, TrustedProxies, plain, socket};
use crate::tls::{Clients, Handshakes};

/// What all connections share: the service and how HTTP is spoken.
pub(super) struct Http<S> {
    any: auto::Builder<TokioExecutor>,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
    keeper: Keeper,
    metrics: Metrics,
    service: S,
    times: Times,
    trusted: TrustedProxies,
}

/// One listener's connections.
pub(super) struct Lane<S> {
    address: SocketAddr,
    http: Arc<Http<S>>,
    proxied: bool,
    tls: Option<Handshakes>,
    warned: AtomicBool,
}

impl<S> Http<S> {
    pub(super) fn new(service: S, trusted: &TrustedProxies, keeper: Keeper, times: Times, metrics: Metrics) -> Self {
        let any = builder();
        let (http1, http2) = (any.clone().http1_only(), any.clone().http2_only());
        Self { any, http1, http2, keeper, metrics, service, times, trusted: trusted.clone() }
    }
}

impl<S, F, B> Http<S>
where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error = io::Error> + Unpin,
{
    /// One request's answer: the service's, 500 where that panics, or 400 where the request must not be understood.
    fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        line: &Arc<Line>,
    ) -> impl Future<Output = Result<Response<Outgoing<B>>, Infallible>> + use<S, F, B> {
        let turn = Turn::start(line, request.version() == Version::HTTP_2);
        let head = request.method() == Method::HEAD;
        request.extensions_mut().insert(peer);
        let started = names_its_host(&request).then(|| catch_unwind(AssertUnwindSafe(|| (self.service)(request))));
        async move {
            let response = match started {
                None => return Ok(Outgoing::hostless(head, turn)),
                Some(Ok(answering)) => unless_it_panics(answering).await,
                Some(Err(_)) => None,
            };
            let Some(response) = response else {
                turn.panicked();
                return Ok(Outgoing::panicked(head, turn));
            };
            Ok(Outgoing::answer(response, head, turn))
        }
    }
}

/// `header_read_timeout` is off because it arms a timer for each request; the keeper does the same for all connections at once.
fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_buf_size(MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING_INTERVAL))
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_STREAM_BUFFER);
    builder
}

impl<S> Lane<S> {
    pub(super) fn new(socket: &Socket, clients: Option<Clients>, http: Arc<Http<S>>) -> Self {
        let tls = socket.resolver.clone().map(|resolver| Handshakes::new(resolver, clients));
        Self { address: socket.address, http, proxied: socket.config.proxy_protocol, tls, warned: AtomicBool::new(false) }
    }

    pub(super) fn accept_pause(&self) -> Duration {
        self.http.times.accept_pause
    }

    /// The whole life of a connection; ends when the client, an error or the keeper says so.
    pub(super) async fn serve<F, B>(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit)
    where
        S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error = io::Error> + Send + Unpin + 'static,
    {
        let _slot = slot;
        let enrolled = self.http.keeper.enroll();
        let line = enrolled.line();
        let established = pin!(self.establish(tcp, canonical(peer), line));
        match until_ordered(line, established).await {
            Some(Ok(Established::Plain(wire, peer))) => self.speak(&self.http.any, wire, peer, line).await,
            Some(Ok(Established::Tls(stream, peer))) => {
                let spoken = stream.get_ref().1.alpn_protocol();
                if spoken == Some(ACME_TLS) {
                    return; // The handshake was the answer (RFC 8737 3).
                }
                let is_http2 = spoken == Some(b"h2");
                self.speak(if is_http2 { &self.http.http2 } else { &self.http.http1 }, *stream, peer, line).await;
            }
            Some(Err(failure)) => self.refuse(peer, &failure),
            None => {}
        }
    }

    async fn establish(&self, mut tcp: TcpStream, address: SocketAddr, line: &Arc<Line>) -> Result<Established, Failure> {
        socket::prepare(&tcp).map_err(Failure::Tcp)?;
        let mut peer = Peer { address, certificate: None, tls: self.tls.is_some(), unnamed: false };
        let mut ahead = Vec::new();
        if self.proxied {
            if !self.http.trusted.contains(address.ip()) {
                return Err(Failure::Untrusted);
            }
            let header = timeout(self.http.times.proxy_header, read_proxy_header(&mut tcp)).await.map_err(|_| Failure::ProxySlow)?;
            let (source, rest) = header?;
            peer = Peer { address: source.map_or(address, canonical), unnamed: source.is_none(), ..peer };
            ahead = rest;
        }
        let Some(handshakes) = &self.tls else { return Ok(Established::Plain(Wire::new(tcp, ahead, Arc::clone(line)), peer)) };
        let shaking = async {
            if plain::is_http(&tcp, &ahead).await.map_err(Failure::Tcp)? {
                plain::refuse(tcp).await;
                return Err(Failure::PlainHttp);
            }
            handshakes.shake(Wire::new(tcp, ahead, Arc::clone(line))).await.map_err(Failure::Handshake)
        };
        let stream = timeout(self.http.times.handshake, shaking).await.map_err(|_| Failure::HandshakeSlow)?;
        let stream = stream?;
        peer.certificate = handshakes.certificate(stream.get_ref().1.peer_certificates());
        Ok(Established::Tls(Box::new(stream), peer))
    }

    async fn speak<I, F, B>(&self, builder: &auto::Builder<TokioExecutor>, io: I, peer: Peer, line: &Arc<Line>)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error = io::Error> + Send + Unpin + 'static,
    {
        let (http, turns) = (Arc::clone(&self.http), Arc::clone(line));
        let address = peer.address;
        let service = service_fn(move |request| http.answer(request, peer.clone(), &turns));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let outcome = until_cut(line, |cx, drains| {
            if drains {
                // What is handed over goes out before the word that nothing comes after it.
                if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                    return Poll::Ready(end);
                }
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(cx)
        });
        if let Some(Err(error)) = outcome.await {
            tracing::debug!(client.address = %address, error = error.as_ref() as &dyn std::error::Error, "a connection ended early");
        }
    }

    fn refuse(&self, peer: SocketAddr, failure: &Failure) {
        self.http.metrics.end(failure.reason());
        tracing::debug!(client.address = %peer, error = failure as &dyn std::error::Error, "a connection was refused");
        if matches!(failure, Failure::Untrusted | Failure::Proxy(_)) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                client.address = %peer, server.address = %self.address,
                "{failure}; this is said once for this listener. hint: list the proxy under trusted_proxies, or turn proxy_protocol off"
            );
        }
    }
}

enum Established {
    Plain(Wire, Peer),
    Tls(Box<tokio_rustls::server::TlsStream<Wire>>, Peer),
}

/// Why a connection never came to speak HTTP.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    #[error("the TLS handshake took too long")]
    HandshakeSlow,
    #[error("a request came as plain HTTP to a listener that speaks HTTPS")]
    PlainHttp,
    #[error("a connection without a right PROXY header came to a listener that expects one")]
    Proxy(#[from] ProxyError),
    #[error("the connection ended before its PROXY header did")]
    ProxyRead(#[source] io::Error),
    #[error("the PROXY header took too long")]
    ProxySlow,
    #[error("the connection was lost")]
    Tcp(#[source] io::Error),
    #[error("a client that is no trusted proxy came to a listener that expects PROXY headers")]
    Untrusted,
}

impl Failure {
    fn reason(&self) -> &'static str {
        match self {
            Self::Handshake(_) => "tls_handshake",
            Self::HandshakeSlow => "tls_handshake_slow",
            Self::PlainHttp => "plain_http",
            Self::Proxy(_) | Self::ProxyRead(_) | Self::ProxySlow => "proxy_header",
            Self::Tcp(_) => "tcp",
            Self::Untrusted => "untrusted_proxy",
        }
    }
}

/// The source that a proxy names, if it names one, and what was read behind the header.
async fn read_proxy_header(tcp: &mut TcpStream) -> Result<(Option<SocketAddr>, Vec<u8>), Failure> {
    let mut bytes = Vec::with_capacity(512);
    loop {
        if let Some(Header { source, length }) = proxy_protocol::parse(&bytes)? {
            return Ok((source, bytes.split_off(length)));
        }
        if tcp.read_buf(&mut bytes).await.map_err(Failure::ProxyRead)? == 0 {
            return Err(Failure::ProxyRead(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// `work`, or `None` when the keeper wants the connection's end before that.
async fn until_ordered<T>(line: &Line, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut listening = false;
    std::future::poll_fn(|cx| {
        if !std::mem::replace(&mut listening, true) {
            line.listen(cx.waker());
        }
        if line.ordered() == Order::Serve { work.as_mut().poll(cx).map(Some) } else { Poll::Ready(None) }
    })
    .await
}

/// What `poll` comes to, or `None` when the keeper cuts it. The flag tells `poll`, once, that the keeper wants what runs to be the last.
async fn until_cut<T>(line: &Line, mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<T>) -> Option<T> {
    let (mut listening, mut draining) = (false, false);
    std::future::poll_fn(|cx| {
        if !std::mem::replace(&mut listening, true) {
            line.listen(cx.waker());
        }
        match line.ordered() {
            Order::Cut => Poll::Ready(None),
            Order::Serve => poll(cx, false).map(Some),
            Order::Drain => poll(cx, !std::mem::replace(&mut draining, true)).map(Some),
        }
    })
    .await
}

/// Its output, or `None` if it panicked; it is not polled again then.
async fn unless_it_panics<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// RFC 9112, 3.2: a request of HTTP/1.1 has one `Host`; what has two may be one thing to a proxy and another to us.
fn names_its_host<R>(request: &Request<R>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    match request.version() {
        Version::HTTP_11 => hosts == 1,
        Version::HTTP_2 => true, // It has a pseudo-header for it.
        _ => hosts <= 1,
    }
}

/// An IPv4 client of a dual-stack socket is an IPv4 client to every rule about networks.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Of a request's head, and of what HTTP/1.1 queues for a reader. hyper's own 400 KiB a connection are memory without use.
const MAX_BUFFER: usize = 64 << 10;
/// What HTTP/2 queues for one stream's reader.
const MAX_STREAM_BUFFER: usize = 64 << 10;
const MAX_STREAMS: u32 = 100;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
