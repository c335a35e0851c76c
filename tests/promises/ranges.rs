//! Parts of blobs, as resuming engines, containerd's parallel chunks and Podman's partial pulls ask for them; cold and stored alike.
//!
//! "The first byte goes to the client as soon as the upstream sends it."

use reqwest::Method;
use tests::client::{Answer, Client};
use tests::disk::wait_for_blob;
use tests::hub::{Digest, Hub, KIB, Kind, MIB, noise, on};
use tests::program::Program;
use tokio::task::JoinSet;

pub(super) const SIZE: usize = 4 * MIB;

/// Each range with the bytes it means; `None` is 416, a whole body is `0..SIZE` without `Content-Range`.
pub(super) const RANGES: [(&str, Option<(usize, usize)>); 12] = [
    ("bytes=0-", Some((0, SIZE))),
    ("bytes=0-0", Some((0, 1))),
    ("bytes=500-1499", Some((500, 1500))),
    ("bytes=3000000-", Some((3_000_000, SIZE))),
    ("bytes=-500", Some((SIZE - 500, SIZE))),
    ("bytes=-99999999", Some((0, SIZE))),
    ("bytes=4194303-", Some((SIZE - 1, SIZE))),
    ("bytes=4000000-9999999", Some((4_000_000, SIZE))),
    ("bytes=500-0", None),
    ("bytes=4194304-", None),
    ("bytes=9000000-9000001", None),
    ("bytes=-0", None),
];

struct Setting {
    bytes: bytes::Bytes,
    client: Client,
    digest: Digest,
    hub: Hub,
    mirror: Program,
    path: String,
}

impl Setting {
    fn of_blob(size: usize) -> Self {
        let (hub, bytes) = (Hub::start(), noise(13, size));
        let digest = hub.put_blob("library/app", bytes.clone());
        let mirror = Program::of_hub(&hub.url()).start();
        let path = format!("/v2/library/app/blobs/{digest}");
        Self { bytes, client: Client::new(mirror.url()), digest, hub, mirror, path }
    }

    async fn stored(&self) {
        self.client.get(&self.path).await.whole();
        wait_for_blob(&self.mirror.store(), &self.digest).await;
        self.hub.down();
    }

    fn check(&self, answer: Answer, range: &str, expected: Option<(usize, usize)>) {
        let Some((start, end)) = expected else {
            assert_eq!(answer.status, 416, "{range}");
            assert_eq!(answer.header("content-range"), format!("bytes */{SIZE}"), "{range}");
            return;
        };
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{}/{SIZE}", end - 1), "{range}");
        assert_eq!(answer.header("content-length"), (end - start).to_string(), "{range}");
        assert_eq!(answer.header("docker-content-digest"), self.digest.as_str(), "{range}");
        assert!(answer.whole() == self.bytes.slice(start..end), "{range}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_range_of_a_cold_blob_is_exact_and_costs_no_more_than_the_one_download() {
    for (range, expected) in RANGES {
        let setting = Setting::of_blob(SIZE);
        let answer = setting.client.range(&setting.path, range).await;
        setting.check(answer, range, expected);
        let counts = setting.hub.count();
        assert!(counts.gets(Kind::Cdn) <= 1, "{range}: {}", counts.summary());
        assert!(setting.client.get(&setting.path).await.whole() == setting.bytes, "{range}");
        assert_eq!(setting.hub.count().gets(Kind::Cdn), 1, "{range}: the one download brought the whole blob");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_range_of_a_stored_blob_is_exact() {
    let setting = Setting::of_blob(SIZE);
    setting.stored().await;
    for (range, expected) in RANGES {
        let answer = setting.client.range(&setting.path, range).await;
        setting.check(answer, range, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_a_small_blob_are_exact_cold_and_stored() {
    let setting = Setting::of_blob(10 * KIB);
    for _ in ["cold", "from memory"] {
        let answer = setting.client.range(&setting.path, "bytes=100-299").await;
        assert_eq!((answer.status.as_u16(), answer.header("content-range")), (206, "bytes 100-299/10240"));
        assert!(answer.whole() == setting.bytes.slice(100..300));
    }
    assert_eq!(setting.client.range(&setting.path, "bytes=10240-").await.status, 416);
    assert_eq!(setting.hub.count().gets(Kind::Cdn), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_chunks_that_are_closed_early_make_up_the_blob_from_one_download() {
    let setting = Setting::of_blob(8 * MIB);
    let mut chunks = JoinSet::new();
    for number in 0..8 {
        let request = setting.client.request(Method::GET, &setting.path).header("range", format!("bytes={}-", number * MIB));
        chunks.spawn(async move {
            let mut answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 206);
            let mut bytes = Vec::new();
            while bytes.len() < MIB {
                bytes.extend(answer.chunk().await.expect("bytes").expect("more bytes"));
            }
            bytes.truncate(MIB);
            (number, bytes)
        });
    }
    while let Some(chunk) = chunks.join_next().await {
        let (number, bytes) = chunk.expect("no panic");
        assert!(bytes == setting.bytes[number * MIB..(number + 1) * MIB], "chunk {number}");
    }
    setting.hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) == 8 * MIB as u64).await;
    assert!(setting.client.get(&setting.path).await.whole() == setting.bytes);
    let counts = setting.hub.count();
    assert_eq!(counts.gets(Kind::Cdn), 1, "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_range_is_answered_at_once_and_sent_when_its_bytes_come() {
    let setting = Setting::of_blob(SIZE);
    let gate = setting.hub.hold_at(MIB as u64, on(Kind::Cdn));
    let request = setting.client.request(Method::GET, &setting.path).header("range", "bytes=3145728-3145827");
    let answer = request.send().await.expect("headers come while the upstream is two megabytes behind");
    assert_eq!(answer.status(), 206);
    setting.hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) == MIB as u64).await;
    gate.release();
    assert!(answer.bytes().await.expect("the range") == setting.bytes.slice(3 * MIB..3 * MIB + 100));
    assert_eq!(setting.hub.count().gets(Kind::Cdn), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_at_once_are_answered_with_the_whole_blob() {
    let setting = Setting::of_blob(SIZE);
    for _ in ["cold", "stored"] {
        let answer = setting.client.range(&setting.path, "bytes=0-99,1000-1099").await;
        assert_eq!((answer.status.as_u16(), answer.header("content-range")), (200, ""));
        assert!(answer.whole() == setting.bytes);
        wait_for_blob(&setting.mirror.store(), &setting.digest).await;
    }
    assert_eq!(setting.hub.count().gets(Kind::Cdn), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_are_honoured_cold_and_stored() {
    let setting = Setting::of_blob(SIZE);
    let etag = format!("\"{}\"", setting.digest);
    let ask = |name: &'static str, value: String, range: bool| {
        let request = setting.client.request(Method::GET, &setting.path).header(name, value);
        setting.client.send(if range { request.header("range", "bytes=1-2") } else { request })
    };
    for state in ["cold", "stored"] {
        let known = ask("if-none-match", etag.clone(), false).await;
        assert_eq!((known.status.as_u16(), known.header("etag")), (304, etag.as_str()), "{state}");
        assert!(known.body.expect("an end").is_empty(), "{state}");
        assert_eq!(setting.hub.count().gets(Kind::Cdn), u64::from(state == "stored"), "{state}: what is known is not fetched");

        let same = ask("if-range", etag.clone(), true).await;
        assert_eq!((same.status.as_u16(), same.whole()), (206, setting.bytes.slice(1..3)), "{state}");
        let other = ask("if-range", "\"sha256:other\"".into(), true).await;
        assert_eq!(other.status, 200, "{state}");
        assert!(other.whole() == setting.bytes, "{state}");
        wait_for_blob(&setting.mirror.store(), &setting.digest).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_cold_blob_is_right_and_downloads_nothing() {
    let hub = Hub::start();
    let image = hub.image("library/app").tag("1").layers([3 * MIB, 5000]).push();
    let unnamed = hub.put_blob("library/app", noise(14, SIZE));
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    client.get("/v2/library/app/manifests/1").await.whole();
    mirror.wait_for_log("the upstream answers"); // Its own greeting is no answer to these questions.
    hub.forget();
    for blob in image.blobs() {
        let head = client.head(&format!("/v2/library/app/blobs/{}", blob.digest)).await;
        assert_eq!((head.status.as_u16(), head.header("content-length")), (200, blob.size.to_string().as_str()));
        assert_eq!(head.header("docker-content-digest"), blob.digest.as_str());
    }
    assert_eq!(hub.count().all().len(), 0, "the manifest has said it all: {}", hub.count().summary());

    let head = client.head(&format!("/v2/library/app/blobs/{unnamed}")).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, SIZE.to_string().as_str()));
    assert_eq!(hub.count().bytes(on(Kind::Cdn)), 0, "{}", hub.count().summary());
}
