//! A blob whose size nobody tells: no manifest names it, and the upstream sends it without a length. It is pulled like any other, and a client that
//! asks for a part of it meanwhile has exact bytes, of the part or of the whole: never of something else.

use reqwest::Method;
use tests::client::Client;
use tests::disk::wait_for_blob;
use tests::hub::{Digest, Fault, Hub, Kind, MIB, noise, on};
use tests::program::Program;
use tests::promised::{HEADERS, within};

const SIZE: usize = 4 * MIB;

struct Setting {
    bytes: bytes::Bytes,
    client: Client,
    digest: Digest,
    hub: Hub,
    mirror: Program,
    path: String,
}

impl Setting {
    fn new() -> Self {
        let (hub, bytes) = (Hub::start(), noise(23, SIZE));
        let digest = hub.put_blob("library/app", bytes.clone());
        hub.faults().set(Fault::NoContentLength, on(Kind::Cdn));
        let mirror = Program::of_hub(&hub.url()).start();
        Self { bytes, client: Client::new(mirror.url()), path: format!("/v2/library/app/blobs/{digest}"), digest, hub, mirror }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_asked_for_while_it_comes_is_exact_or_the_whole_blob() {
    for (range, start, end) in [
        ("bytes=0-99", 0, 100),
        ("bytes=500000-500099", 500_000, 500_100),
        ("bytes=3000000-", 3_000_000, SIZE),
        ("bytes=-500", SIZE - 500, SIZE),
        ("bytes=3145728-3145827", 3 * MIB, 3 * MIB + 100),
    ] {
        let setting = Setting::new();
        let gate = setting.hub.hold_at(MIB as u64, on(Kind::Cdn));
        let mut first = setting.client.open(&setting.path).await;
        let taken = first.take(100_000).await;
        let request = setting.client.request(Method::GET, &setting.path).header("range", range);
        let answer = within(HEADERS, range, setting.client.begin(request)).await.expect("headers while the upstream holds the rest");
        let (status, place) = (answer.status().as_u16(), answer.header("content-range").to_owned());
        gate.release();
        let part = answer.rest().await.expect("all of it");
        match status {
            200 => assert!(place.is_empty() && part == setting.bytes, "{range}: {place} {}", part.len()),
            206 => {
                assert_eq!(place, format!("bytes {start}-{}/{SIZE}", end - 1), "{range}");
                assert!(part == setting.bytes.slice(start..end), "{range}");
            }
            other => panic!("{range}: {other}"),
        }
        assert!([&taken[..], &first.rest().await.expect("the rest")].concat() == setting.bytes, "{range}");
        // One byte may be asked for besides, as the proof that this repository holds the blob.
        let counts = setting.hub.count();
        assert!(counts.bytes(on(Kind::Cdn)) <= SIZE as u64 + 1, "{range}: {}", counts.summary());

        wait_for_blob(&setting.mirror.store(), &setting.digest).await;
        let stored = setting.client.range(&setting.path, range).await;
        assert_eq!((stored.status.as_u16(), stored.header("content-range")), (206, format!("bytes {start}-{}/{SIZE}", end - 1).as_str()));
        assert!(stored.whole() == setting.bytes.slice(start..end), "{range}: its size is known now");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_without_the_last_chunk_is_no_end_and_the_rest_is_fetched() {
    let setting = Setting::new();
    setting.hub.faults().set(Fault::CutChunkedAt(2 * MIB as u64), on(Kind::Cdn).times(1));
    assert!(setting.client.get(&setting.path).await.whole() == setting.bytes);
    let counts = setting.hub.count();
    let asked: Vec<&str> = counts.list(on(Kind::Cdn)).iter().map(|seen| seen.header("range")).collect();
    assert_eq!(asked, ["", format!("bytes={}-", 2 * MIB).as_str()], "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_blob_is_a_blob() {
    let hub = Hub::start();
    let digest = hub.put_blob("library/app", bytes::Bytes::new());
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    for state in ["cold", "stored"] {
        let answer = client.get(&format!("/v2/library/app/blobs/{digest}")).await;
        assert_eq!(answer.header("content-length"), "0", "{state}");
        assert!(answer.whole().is_empty(), "{state}");
    }
    assert_eq!(hub.count().gets(Kind::Cdn), 1, "{}", hub.count().summary());
}
