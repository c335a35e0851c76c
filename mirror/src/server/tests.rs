//! Real sockets on port 0, real HTTP clients; waits are on what is observed.

mod clients;
mod handshakes;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;
use crate::config::{ByteSize, TlsConfig, TlsFiles};
use crate::tls::Certificates;
use crate::tls::test_files::Files;

type Answer = Response<TestBody>;

/// Pieces that a test lets through one by one, or all at once.
struct TestBody {
    gate: Option<mpsc::UnboundedReceiver<Bytes>>,
    pieces: VecDeque<Bytes>,
    length: Option<u64>,
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match (self.pieces.pop_front(), &mut self.gate) {
            (None, Some(gate)) => std::task::ready!(gate.poll_recv(cx)),
            (piece, _) => piece,
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn whole(text: &'static str) -> Answer {
    Response::new(TestBody { gate: None, pieces: [Bytes::from_static(text.as_bytes())].into(), length: Some(text.len() as u64) })
}

fn gated() -> (mpsc::UnboundedSender<Bytes>, Answer) {
    let (sender, gate) = mpsc::unbounded_channel();
    (sender, Response::new(TestBody { gate: Some(gate), pieces: VecDeque::new(), length: None }))
}

fn endless() -> Answer {
    let pieces = vec![Bytes::from(vec![b'x'; 64 << 10]); 4000].into();
    Response::new(TestBody { gate: None, pieces, length: None })
}

/// A server under test; its tasks end with it.
struct Running {
    address: SocketAddr,
    cancel: CancellationToken,
    metrics: Metrics,
    resolver: Option<Arc<Resolver>>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Setup {
    connections: Option<usize>,
    drain: Duration,
    proxied: bool,
    times: Option<Times>,
    tls: Option<TlsFiles>,
    trusted: TrustedProxies,
}

fn limits() -> LimitsConfig {
    LimitsConfig {
        buffers: ByteSize(1 << 20),
        connections: 100,
        drain: Duration::ZERO,
        upstream_blobs: 1,
        upstream_manifests: 1,
        upstream_min_rate: None,
    }
}

impl Running {
    fn start<F>(setup: &Setup, service: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let config = ListenerConfig {
            address: ([127, 0, 0, 1], 0).into(),
            proxy_protocol: setup.proxied,
            tls: setup.tls.clone().map(TlsConfig::Files),
        };
        let server = Server::bind(&[config], &Certificates::default(), Vec::new()).expect("bound");
        let (address, metrics, resolver) =
            (server.addresses()[0], server.metrics().clone(), server.shown().pop().map(|shown| shown.resolver));
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let limits = LimitsConfig { connections: setup.connections.unwrap_or(100), drain: setup.drain, ..limits() };
        server.spawn_with(service, &limits, &setup.trusted, &tasks, &cancel, setup.times.unwrap_or_default());
        Self { address, cancel, metrics, resolver, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }

    async fn http1(&self) -> http1::SendRequest<Empty<Bytes>> {
        http1_over(self.connect().await).await
    }

    async fn http2(&self) -> http2::SendRequest<Empty<Bytes>> {
        let io = TokioIo::new(self.connect().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("speaks HTTP/2");
        tokio::spawn(connection);
        sender
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        within(self.tasks.wait()).await;
    }

    fn ended(&self, reason: &'static str) -> u64 {
        self.metrics.ended.get_or_create(&metrics::Ended { reason }).get()
    }
}

async fn http1_over<I>(io: I) -> http1::SendRequest<Empty<Bytes>>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.expect("speaks HTTP/1.1");
    tokio::spawn(connection);
    sender
}

/// A test that hangs says where.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it ends in time")
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::builder().uri(path).header("host", "mirror.test").body(Empty::new()).expect("a request")
}

fn head(path: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(Method::HEAD).uri(path).header("host", "mirror.test").body(Empty::new()).expect("a request")
}

async fn text(answer: Response<Incoming>) -> String {
    String::from_utf8(answer.into_body().collect().await.expect("a whole body").to_bytes().to_vec()).expect("text")
}

fn quick() -> Times {
    let short = Duration::from_millis(60);
    Times {
        handshake: short,
        head: short,
        idle: short,
        proxy_header: short,
        stall: short,
        sweep: Duration::from_millis(10),
        ..Times::default()
    }
}

/// Answers once with this.
fn once(answer: Answer) -> impl Fn(Request<Incoming>) -> std::future::Ready<Answer> {
    let answer = std::sync::Mutex::new(Some(answer));
    move |_| std::future::ready(answer.lock().expect("whole").take().expect("asked once"))
}

#[tokio::test]
async fn a_stop_lets_a_streaming_answer_finish_while_new_connections_are_refused() {
    let (gate, answer) = gated();
    let server = Running::start(&Setup { drain: Duration::from_mins(10), ..Setup::default() }, once(answer));
    let mut client = server.http1().await;
    let answer = within(client.send_request(get("/"))).await.expect("headers");
    gate.send("one,".into()).expect("it reads");
    let idle = server.connect().await;
    let address = server.address;
    server.cancel.cancel();
    within(async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.send("two".into()).expect("it still reads");
    drop(gate);
    assert_eq!(within(text(answer)).await, "one,two");
    within(server.stop()).await;
    drop(idle);
}

#[tokio::test]
async fn a_stop_cuts_what_its_deadline_leaves() {
    let (_gate, answer) = gated();
    let server = Running::start(&Setup { drain: Duration::from_millis(20), ..Setup::default() }, once(answer));
    let mut client = server.http2().await;
    let answer = within(client.send_request(get("http://mirror.test/"))).await.expect("headers");
    within(server.stop()).await;
    within(answer.into_body().collect()).await.expect_err("it was cut, and not ended");
}

#[tokio::test]
async fn a_head_has_a_length_and_no_body_on_both_protocols() {
    let server = Running::start(&Setup::default(), async |_| whole("five5"));
    let (mut one, mut two) = (server.http1().await, server.http2().await);
    for answer in [one.send_request(head("/")).await.expect("1.1"), two.send_request(head("http://m.test/")).await.expect("2")] {
        assert_eq!(answer.headers()[CONTENT_LENGTH], "5", "{:?}", answer.version());
        assert_eq!(within(text(answer)).await, "");
    }
    for answer in [one.send_request(get("/")).await.expect("1.1"), two.send_request(get("http://m.test/")).await.expect("2")] {
        assert_eq!(within(text(answer)).await, "five5", "both connections go on");
    }
}

#[tokio::test]
async fn a_head_of_what_has_no_known_length_says_none() {
    let server = Running::start(&Setup::default(), async |_| Response::new(TestBody { gate: None, pieces: [].into(), length: None }));
    let (mut one, mut two) = (server.http1().await, server.http2().await);
    for answer in [one.send_request(head("/")).await.expect("1.1"), two.send_request(head("http://m.test/")).await.expect("2")] {
        assert_eq!(answer.headers().get(CONTENT_LENGTH), None, "{:?}", answer.version());
        assert_eq!(within(text(answer)).await, "");
    }
}

#[tokio::test]
async fn a_panic_is_one_answer_500_and_the_connection_goes_on() {
    let server = Running::start(&Setup::default(), async |request: Request<Incoming>| match request.uri().path() {
        "/panic" => panic!("a bug"),
        _ => whole("well"),
    });
    let mut client = server.http1().await;
    let answer = within(client.send_request(get("/panic"))).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(within(text(answer)).await.contains("UNKNOWN"));
    assert_eq!(text(within(client.send_request(get("/"))).await.expect("an answer")).await, "well");
    assert_eq!(server.metrics.panics.get(), 1);
}

#[tokio::test]
async fn a_client_that_drips_its_head_is_cut() {
    let server = Running::start(&Setup { times: Some(quick()), ..Setup::default() }, async |_| whole("never"));
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: m").await.expect("sent");
    let mut rest = Vec::new();
    let _ = within(client.read_to_end(&mut rest)).await;
    assert_eq!((rest.as_slice(), server.ended("slow_head")), (&b""[..], 1));
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_cut_and_so_is_an_idle_one() {
    let server = Running::start(&Setup { times: Some(quick()), ..Setup::default() }, async |_| whole("one"));
    let _ = within(server.connect().await.read_to_end(&mut Vec::new())).await;
    assert_eq!(server.ended("slow_head"), 1);
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: m\r\n\r\n").await.expect("sent");
    let mut all = Vec::new();
    let _ = within(client.read_to_end(&mut all)).await;
    assert!(all.ends_with(b"one"));
    assert_eq!(server.ended("idle"), 1);
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_on_both_protocols() {
    let server = Running::start(&Setup { times: Some(quick()), ..Setup::default() }, async |_| endless());
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: m\r\n\r\n").await.expect("sent");
    within(async {
        while server.ended("stalled") < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut two = server.http2().await;
    let answer = within(two.send_request(get("http://m.test/"))).await.expect("headers");
    within(async {
        while server.ended("stalled") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    within(answer.into_body().collect()).await.expect_err("its window was never opened, so it was cut");
}

#[tokio::test]
async fn a_slow_answer_of_ours_is_no_stall_of_the_client() {
    let (gate, answer) = gated();
    let server = Running::start(&Setup { times: Some(quick()), ..Setup::default() }, once(answer));
    let mut client = server.http1().await;
    let answer = within(client.send_request(get("/"))).await.expect("headers");
    // Another connection's end proves that the limits ran out while this one waited for us.
    let _ = within(server.connect().await.read_to_end(&mut Vec::new())).await;
    gate.send("late".into()).expect("it still reads");
    drop(gate);
    assert_eq!(within(text(answer)).await, "late");
}

#[tokio::test]
async fn the_peer_is_whom_a_trusted_proxy_names() {
    let trusted = TrustedProxies::new(&["127.0.0.0/8".parse().expect("a network")]);
    let setup = Setup { proxied: true, times: Some(quick()), trusted, ..Setup::default() };
    let (seen, mut peers) = mpsc::unbounded_channel();
    let server = Running::start(&setup, move |request: Request<Incoming>| {
        seen.send(request.extensions().get::<Peer>().cloned()).expect("the test listens");
        std::future::ready(whole("done"))
    });
    for (named, unnamed) in [("TCP4 192.0.2.7 10.0.0.1 4711 443", false), ("UNKNOWN", true)] {
        let mut client = server.connect().await;
        let own = client.local_addr().expect("its address");
        let request = format!("PROXY {named}\r\nGET / HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("sent");
        let mut all = Vec::new();
        within(client.read_to_end(&mut all)).await.expect("answered");
        assert!(all.ends_with(b"done"));
        let address = if unnamed { own } else { "192.0.2.7:4711".parse().expect("an address") };
        assert_eq!(within(peers.recv()).await, Some(Some(Peer { address, certificate: None, tls: false, unnamed })));
    }

    for bytes in [&b"GET / HTTP/1.1\r\nhost: m\r\n\r\n"[..], b"PROXY TC"] {
        let mut client = server.connect().await;
        client.write_all(bytes).await.expect("sent");
        let mut all = Vec::new();
        let _ = within(client.read_to_end(&mut all)).await;
        assert_eq!(all, b"", "no header, or half of one, is no connection");
    }

    let stranger = Running::start(&Setup { trusted: TrustedProxies::default(), ..setup }, async |_| whole("never"));
    let mut client = stranger.connect().await;
    let _ = client.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n").await;
    let _ = within(client.read_to_end(&mut Vec::new())).await;
    assert_eq!(stranger.ended("untrusted_proxy"), 1);
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("its address");
    let error = Server::bind(&[ListenerConfig { address, proxy_protocol: false, tls: None }], &Certificates::default(), Vec::new())
        .expect_err("taken");
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
    let inherited = Server::bind(&[ListenerConfig { address, proxy_protocol: false, tls: None }], &Certificates::default(), vec![taken])
        .expect("it is ours");
    assert_eq!(inherited.addresses(), [address]);
}

#[tokio::test]
async fn a_filter_is_served_as_it_answers() {
    use warp::Filter as _;
    let filter = warp::any().map(|| warp::reply::Response::new("from a filter".into())).boxed();
    let server = Server::bind(
        &[ListenerConfig { address: ([127, 0, 0, 1], 0).into(), proxy_protocol: false, tls: None }],
        &Certificates::default(),
        Vec::new(),
    )
    .expect("bound");
    let address = server.addresses()[0];
    server.spawn(serve_filter(filter), &limits(), &TrustedProxies::default(), &TaskTracker::new(), &CancellationToken::new());
    let mut client = http1_over(TcpStream::connect(address).await.expect("connects")).await;
    let answer = within(client.send_request(get("/"))).await.expect("an answer");
    assert_eq!(text(answer).await, "from a filter");
}
