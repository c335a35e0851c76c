use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use super::*;
use crate::config::LogFormat;

type Boxed = UnsyncBoxBody<Bytes, io::Error>;

/// A sink that a test can read.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("whole").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged of what `work` does with the log.
async fn logged(trusted: &str, work: impl AsyncFnOnce(&AccessLog)) -> Vec<Value> {
    let sink = Sink::default();
    let (lines, writer) = Lines::spawn(LogFormat::Json, &[], sink.clone()).expect("a thread");
    let log = AccessLog::new(Some(lines), TrustedProxies::new(&[trusted.parse().expect("a network")]), Metrics::default());
    work(&log).await;
    assert!(writer.finish(std::time::Duration::from_mins(1)));
    let text = String::from_utf8(sink.0.lock().expect("whole").clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn request(method: &Method, headers: &[(&'static str, &'static str)]) -> Request<()> {
    request_from(Peer { address: SocketAddr::from(([10, 0, 0, 9], 4711)), certificate: None, tls: false, unnamed: false }, method, headers)
}

fn request_from(peer: Peer, method: &Method, headers: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri("/v2/app/blobs/x?token=secret");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.extension(peer).body(()).expect("a request")
}

fn full() -> Full<Bytes> {
    Full::new(Bytes::from_static(b"content"))
}

async fn answer(request: Request<()>) -> Response<Boxed> {
    assert!(request.extensions().get::<Origin>().is_some());
    let mut response = Response::new(full().map_err(io::Error::other).boxed_unsync());
    response.extensions_mut().insert(Facts { outcome: Some(Outcome::Hit), ..Facts::default() });
    response
}

#[tokio::test]
async fn a_request_is_one_line_when_its_answer_ended() {
    let lines = logged("127.0.0.1/32", async |log| {
        let response =
            log.observe(request(&Method::GET, &[("user-agent", "docker/29"), ("authorization", "Basic c2VjcmV0")]), answer).await;
        assert!(response.extensions().get::<Facts>().is_none());
        assert!(response.headers().contains_key("x-request-id"));
        response.into_body().collect().await.expect("whole");
    })
    .await;
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&line["client"], &line["user_agent"], &line["outcome"]), (&"10.0.0.9".into(), &"docker/29".into(), &"hit".into()));
    assert_eq!((&line["bytes"], &line["aborted"], &line["status"]), (&7.into(), &false.into(), &200.into()));
    assert!(!line.to_string().contains("c2VjcmV0") && !line.to_string().contains("token=secret"), "{line}");
}

#[tokio::test]
async fn an_answer_that_was_dropped_half_way_is_marked() {
    let lines = logged("127.0.0.1/32", async |log| {
        let half = async |_| {
            let pieces = [Ok(Frame::data(Bytes::from_static(b"half"))), Err(io::Error::other("the upstream was cut"))];
            Response::new(Pieces(pieces.into()))
        };
        let mut body = log.observe(request(&Method::GET, &[]), half).await.into_body();
        body.frame().await.expect("a piece").expect("whole");
        body.frame().await.expect("an end").expect_err("not a good one");
        drop(body);
        drop(log.observe(request(&Method::GET, &[]), |_| std::future::pending::<Response<Boxed>>()));
        drop(log.observe(request(&Method::GET, &[]), answer).await);
        drop(log.observe(request(&Method::HEAD, &[]), answer).await);
    })
    .await;
    let seen: Vec<_> = lines.iter().map(|line| (line["status"].as_u64(), line["bytes"].as_u64(), line["aborted"].as_bool())).collect();
    let (aborted, whole) = (Some(true), Some(false));
    let half = (Some(200), Some(4), aborted);
    assert_eq!(seen, [half, (None, Some(0), aborted), (Some(200), Some(0), aborted), (Some(200), Some(0), whole)]);
    assert_eq!(lines[0]["error"], "the upstream was cut");
}

#[tokio::test]
async fn only_a_trusted_proxy_names_the_client_and_the_id() {
    let headers = [("x-forwarded-for", "192.0.2.1"), ("x-request-id", "from-the-proxy")];
    for (trusted, client, is_given) in [("10.0.0.0/8", "192.0.2.1", true), ("127.0.0.0/8", "10.0.0.9", false)] {
        let lines = logged(trusted, async |log| {
            let response = log.observe(request(&Method::GET, &headers), answer).await;
            assert_eq!(response.headers()["x-request-id"] == "from-the-proxy", is_given);
        })
        .await;
        assert_eq!((lines[0]["client"] == client, lines[0]["request_id"] == "from-the-proxy"), (true, is_given));
    }
}

#[tokio::test]
async fn a_proxy_that_named_nobody_lets_no_client_name_itself() {
    let headers = [("x-forwarded-for", "192.0.2.1"), ("x-request-id", "from-the-client")];
    let peer = Peer { address: SocketAddr::from(([10, 0, 0, 9], 4711)), certificate: None, tls: false, unnamed: true };
    let lines = logged("10.0.0.0/8", async |log| drop(log.observe(request_from(peer, &Method::GET, &headers), answer).await)).await;
    assert_eq!(lines[0]["client"], "10.0.0.9");
    assert_ne!(lines[0]["request_id"], "from-the-client");
}

#[tokio::test]
async fn a_handler_that_panics_is_logged_as_the_500_that_its_client_gets() {
    let lines = logged("127.0.0.1/32", async |log| {
        let bug = async |_| -> Response<Boxed> { panic!("a bug") };
        let observed = log.observe(request(&Method::GET, &[]), bug);
        tokio::spawn(observed).await.map(drop).expect_err("it panicked");
    })
    .await;
    assert_eq!((&lines[0]["status"], &lines[0]["outcome"], &lines[0]["aborted"]), (&500.into(), &"error".into(), &false.into()));
}

#[tokio::test]
async fn without_a_log_only_errors_carry_an_id() {
    let log = AccessLog::new(None, TrustedProxies::default(), Metrics::default());
    assert!(!log.observe(request(&Method::GET, &[]), answer).await.headers().contains_key("x-request-id"));
    let refuse = async |request| {
        let mut response = answer(request).await;
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    };
    assert!(log.observe(request(&Method::GET, &[]), refuse).await.headers().contains_key("x-request-id"));
}

/// Frames, one after the other.
struct Pieces(VecDeque<Result<Frame<Bytes>, io::Error>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(self.0.pop_front())
    }
}
