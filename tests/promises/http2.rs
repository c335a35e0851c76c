//! What is promised of ranges, of one download for all and of wrong bytes, over HTTP/2: Docker, containerd and Podman speak it with every mirror that
//! has a certificate. One connection carries all requests of an engine there, so that an answer that breaks off must not take others with it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use tempfile::TempDir;
use tests::client::assert_proper;
use tests::disk::wait_for_blob;
use tests::hub::{Digest, Fault, Hub, Kind, MIB, noise, on};
use tests::program::Program;
use tokio::task::JoinSet;

use super::https::{Files, Sender, connect, http2};
use super::ranges::{RANGES, SIZE};
use super::withheld_tail::TAIL;

/// A Hub with one blob, a mirror with a certificate, and a connection to it.
struct Setting {
    bytes: Bytes,
    digest: Digest,
    hub: Hub,
    mirror: Program,
    path: String,
    sender: Sender,
    _files: TempDir,
}

impl Setting {
    async fn of_blob(size: usize) -> Self {
        let (hub, bytes, folder) = (Hub::start(), noise(19, size), TempDir::with_prefix("chandler-http2-").expect("a folder"));
        let digest = hub.put_blob("library/app", bytes.clone());
        let files = Files::write(folder.path(), "chain.pem", "key.pem", 1);
        let pair = ["chain.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
        let listeners = format!("[{{address: \"127.0.0.1:0\", tls: {{certificate: \"{}\", key: \"{}\"}}}}]", pair[0], pair[1]);
        let mirror = Program::of_hub(&hub.url()).listeners(&listeners).start();
        let sender = http2(connect(&mirror, &[&files], b"h2").await).await;
        Self { bytes, path: format!("/v2/library/app/blobs/{digest}"), digest, hub, mirror, sender, _files: folder }
    }

    /// An answer whose body is still to come.
    async fn begin(&self, range: Option<&str>) -> Response<Incoming> {
        let mut request = Request::builder().method(Method::GET).uri(format!("https://127.0.0.1{}", self.path));
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let request = request.body(Empty::new()).expect("a request");
        let response = self.sender.clone().send_request(request).await.expect("an answer");
        assert_proper(response.status(), response.headers());
        response
    }

    /// A whole answer.
    async fn get(&self, range: Option<&str>) -> (StatusCode, HeaderMap, Bytes) {
        let (parts, body) = self.begin(range).await.into_parts();
        (parts.status, parts.headers, body.collect().await.expect("a whole body").to_bytes())
    }

    async fn check(&self, range: &str, expected: Option<(usize, usize)>) {
        let (status, headers, body) = self.get(Some(range)).await;
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"));
        let Some((start, end)) = expected else {
            assert_eq!(
                (status, header("content-range")),
                (StatusCode::RANGE_NOT_SATISFIABLE, format!("bytes */{SIZE}").as_str()),
                "{range}"
            );
            return;
        };
        assert_eq!(status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(header("content-range"), format!("bytes {start}-{}/{SIZE}", end - 1), "{range}");
        assert_eq!(header("content-length"), (end - start).to_string(), "{range}");
        assert_eq!(header("docker-content-digest"), self.digest.as_str(), "{range}");
        assert!(body == self.bytes.slice(start..end), "{range}");
    }
}

/// How many bytes come before the stream is reset; `None` where the body comes to its end.
async fn before_the_reset(mut body: Incoming) -> Option<usize> {
    let mut came = 0;
    loop {
        match body.frame().await {
            Some(Ok(frame)) => came += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) => return Some(came),
            None => return None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_range_is_exact_cold_and_stored() {
    let setting = Setting::of_blob(SIZE).await;
    for (range, expected) in RANGES {
        setting.check(range, expected).await;
    }
    wait_for_blob(&setting.mirror.store(), &setting.digest).await;
    assert_eq!(setting.hub.count().gets(Kind::Cdn), 1, "{}", setting.hub.count().summary());
    setting.hub.down();
    for (range, expected) in RANGES {
        setting.check(range, expected).await;
    }
    let (status, headers, body) = setting.get(Some("bytes=0-99,1000-1099")).await;
    assert_eq!((status, headers.get("content-range")), (StatusCode::OK, None), "several ranges at once are the whole blob");
    assert!(body == setting.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_chunks_on_one_connection_make_up_the_blob_from_one_download() {
    let setting = Setting::of_blob(8 * MIB).await;
    let gate = setting.hub.hold_at(MIB as u64, on(Kind::Cdn));
    let mut chunks = JoinSet::new();
    for number in 0..32 {
        // All headers come while the upstream has sent an eighth: none of the streams holds up another.
        let answer = setting.begin(Some(&format!("bytes={}-{}", number * MIB / 4, (number + 1) * MIB / 4 - 1))).await;
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{number}");
        chunks.spawn(async move { (number, answer.into_body().collect().await.expect("a chunk").to_bytes()) });
    }
    drop(setting.begin(None).await); // A stream that is reset is nobody else's end.
    gate.release();
    while let Some(chunk) = chunks.join_next().await {
        let (number, bytes) = chunk.expect("no panic");
        assert!(bytes == setting.bytes.slice(number * MIB / 4..(number + 1) * MIB / 4), "chunk {number}");
    }
    assert_eq!(setting.hub.count().gets(Kind::Cdn), 1, "{}", setting.hub.count().summary());
    assert!(setting.get(None).await.2 == setting.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_wrong_blobs_tail_nothing_comes_and_the_connection_goes_on() {
    let setting = Setting::of_blob(SIZE).await;
    let rule = setting.hub.faults().set(Fault::FlipLastByte, on(Kind::Cdn));
    for (range, start) in [(None, 0), (Some("bytes=1000-"), 1000), (Some("bytes=-500"), SIZE - 500), (Some("bytes=4194303-"), SIZE - 1)] {
        let answer = setting.begin(range).await;
        assert!(answer.status().is_success(), "{range:?}: {}", answer.status());
        let came = before_the_reset(answer.into_body()).await.expect("a wrong blob breaks off");
        assert!(came <= (SIZE - TAIL).saturating_sub(start), "{range:?}: {came} bytes");
    }
    setting.hub.faults().remove(rule);
    assert!(setting.get(None).await.2 == setting.bytes, "on the same connection");
}

/// The word that a connection ends, sent before an answer, is the answer's end to curl.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_a_body_hears_why_it_is_refused() {
    let Some(curl) = tests::tools::require("curl") else { return };
    let (hub, folder) = (Hub::start(), TempDir::with_prefix("chandler-http2-").expect("a folder"));
    let files = Files::write(folder.path(), "chain.pem", "key.pem", 1);
    let pair = ["chain.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let listeners = format!("[{{address: \"127.0.0.1:0\", tls: {{certificate: \"{}\", key: \"{}\"}}}}]", pair[0], pair[1]);
    let mirror = Program::of_hub(&hub.url()).listeners(&listeners).config("access: [{networks: [10.20.0.0/16]}]").start();
    let pages = [("PUT /v2/library/app/manifests/1", "2 405"), ("PUT /", "2 404"), ("POST /chandler/receipt/0", "2 404")];
    for (asked, expected) in pages.into_iter().cycle().take(12) {
        let (method, path) = asked.split_once(' ').expect("two words");
        let mut command = tokio::process::Command::new(&curl);
        command.args(["--http2", "--silent", "--show-error", "--insecure", "--max-time", "20", "--output", "/dev/null"]);
        command.args(["--write-out", "%{http_version} %{http_code}", "--request", method, "--data-binary", "a body"]);
        let said = command.arg(format!("{}{path}", mirror.url())).output().await.expect("curl runs");
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert_eq!((out.as_ref(), err.as_ref()), (expected, ""), "{asked}");
    }
    drop(files);
}
