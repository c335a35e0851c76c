//! Upstreams that are slow, that stall, or that speak the protocol in ways of their own: a pull through the mirror is whole all the same.
//!
//! "The first byte goes to the client as soon as the upstream sends it." "A tag is as fresh as the Hub's own answer … GET only for a digest never seen."

use std::time::Duration;

use reqwest::StatusCode;
use tests::client::{Answer, Client};
use tests::hub::{Digest, Fault, Hub, ImageInfo, Kind, MIB, noise, on};
use tests::operator::Operator;
use tests::program::Program;
use tests::promised::{HEADERS, within};

const REPO: &str = "library/alpine";
const TAG: &str = "/v2/library/alpine/manifests/latest";

fn hub() -> (Hub, ImageInfo) {
    let hub = Hub::start();
    let image = hub.image(REPO).tag("latest").layers([300_000, 4096]).push();
    (hub, image)
}

fn blob(hub: &Hub, size: usize) -> (String, bytes::Bytes) {
    let bytes = noise(37, size);
    (format!("/v2/{REPO}/blobs/{}", hub.put_blob(REPO, bytes.clone())), bytes)
}

fn digest(answer: &Answer) -> &str {
    answer.header("docker-content-digest")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_slow_upstream_each_byte_goes_on_as_it_comes() {
    let (hub, _) = hub();
    let (path, bytes) = blob(&hub, 2 * MIB);
    hub.faults().set(Fault::BytesPerSecond(MIB as u64), on(Kind::Cdn));
    let mirror = Program::of_hub(&hub.url()).start();
    let mut reader = Client::new(mirror.url()).open(&path).await;
    let first = reader.take(MIB / 4).await;
    let sent = hub.count().bytes(on(Kind::Cdn));
    assert!(sent < 2 * MIB as u64, "the first quarter is here before the upstream has sent the last, and it has sent {sent}");
    assert!([&first[..], &reader.rest().await.expect("the rest")].concat() == bytes);
    assert_eq!(hub.count().gets(Kind::Cdn), 1, "slow is not sick: {}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_stalls_goes_on_elsewhere_from_the_next_byte() {
    let (hub, _) = hub();
    let (path, bytes) = blob(&hub, 4 * MIB);
    hub.faults().set(Fault::StallAt(MIB as u64), on(Kind::Cdn).times(1));
    let mirror = Program::of_hub(&hub.url()).start();
    assert!(Client::new(mirror.url()).get(&path).await.whole() == bytes);
    let counts = hub.count();
    let asked: Vec<&str> = counts.list(on(Kind::Cdn)).iter().map(|seen| seen.header("range")).collect();
    assert_eq!(asked, ["", format!("bytes={MIB}-").as_str()], "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_take_a_while_are_answers() {
    let (hub, image) = hub();
    for kind in [Kind::Token, Kind::Manifest, Kind::Blob, Kind::Cdn] {
        hub.faults().set(Fault::Delay(Duration::from_millis(700)), on(kind));
    }
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    assert_eq!(within(HEADERS, "a slow tag", client.get(TAG)).await.whole(), image.manifest);
    assert_eq!(client.pull(REPO, "latest").await.len(), image.blobs().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_names_no_digest_costs_a_get_and_is_served_with_the_right_one() {
    let (hub, image) = hub();
    hub.faults().set(Fault::NoDigestHeader, on(Kind::Manifest));
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    let client = Client::new(mirror.url());
    for answer in [client.head(TAG).await, client.get(TAG).await] {
        assert_eq!((answer.status, digest(&answer)), (StatusCode::OK, image.digest.as_str()));
        assert_eq!(answer.header("content-length"), image.manifest.len().to_string());
    }
    client.pull(REPO, "latest").await;
    client.pull(REPO, image.digest.as_str()).await;
    let counts = hub.count();
    assert_eq!(counts.of(on(Kind::Manifest).repo(REPO).method("GET")), 1, "{}", counts.summary());

    // By digest alone, from cold.
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let head = client.head(&format!("/v2/{REPO}/manifests/{}", image.digest)).await;
    assert_eq!((head.status, digest(&head)), (StatusCode::OK, image.digest.as_str()));
    client.pull(REPO, image.digest.as_str()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_knows_no_head_is_asked_by_get() {
    for status in [400, 405, 501] {
        let (hub, before) = hub();
        hub.faults().set(Fault::Status(status), on(Kind::Manifest).method("HEAD"));
        let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
        let client = Client::new(mirror.url());
        let head = client.head(TAG).await;
        assert_eq!((head.status, digest(&head)), (StatusCode::OK, before.digest.as_str()), "{status}");
        assert_eq!(head.header("content-length"), before.manifest.len().to_string(), "{status}");
        let blobs = client.pull(REPO, "latest").await;
        let after = hub.image(REPO).tag("latest").seed(2).push();
        assert_eq!(client.get(TAG).await.whole(), after.manifest, "{status}: a moved tag is seen all the same");
        hub.down();
        let stale = client.get(TAG).await;
        assert_eq!((stale.header("warning").is_empty(), stale.whole()), (false, after.manifest), "{status}");
        assert_eq!(client.pull(REPO, before.digest.as_str()).await, blobs, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_head_says_no_to_the_client_and_what_is_cached_by_digest_stays() {
    // 404 and 401 are answers, not a want of HEAD: a GET in their place would cost quota for each tag that there is not.
    for (fault, status) in [(Fault::Status(404), 404), (Fault::Unauthorized, 404), (Fault::Status(403), 404)] {
        let (hub, _) = hub();
        hub.faults().set(fault.clone(), on(Kind::Manifest).method("HEAD"));
        let mirror = Program::of_hub(&hub.url()).start();
        let client = Client::new(mirror.url());
        let answer = within(HEADERS, "a refusal", client.get(TAG)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, "MANIFEST_UNKNOWN"), "{fault:?}");
        let counts = hub.count();
        assert_eq!(counts.of(on(Kind::Manifest).repo(REPO).method("GET")), 0, "{fault:?}: {}", counts.summary());
        hub.faults().clear();
        client.until(TAG, |answer| answer.status.is_success()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_addressed_by_sha512_is_pulled_cached_and_checked_as_any_other() {
    let hub = Hub::start();
    let image = hub.image(REPO).tag("latest").sha512().layers([2 * MIB, 70_000, 4096]).push();
    assert!(image.digest.as_str().starts_with("sha512:") && image.layers[0].digest.as_str().starts_with("sha512:"));
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let answer = client.get(TAG).await;
    assert_eq!(digest(&answer), image.digest.as_str());
    assert!(Digest::sha512(&answer.whole()) == image.digest);
    let blobs = client.pull(REPO, "latest").await;
    let large = format!("/v2/{REPO}/blobs/{}", image.layers[0].digest);
    for named in &blobs {
        let head = client.head(&format!("/v2/{REPO}/blobs/{named}")).await;
        assert_eq!((head.status, digest(&head)), (StatusCode::OK, named.as_str()));
        tests::disk::wait_for_blob(&mirror.store(), &Digest::parse(named).expect("a digest")).await;
    }
    assert_eq!(client.range(&large, "bytes=1000-1999").await.whole().len(), 1000);
    assert_eq!(hub.count().gets(Kind::Cdn), blobs.len() as u64, "{}", hub.count().summary());

    Operator::of(&mirror).wait_until_written().await;
    let mirror = mirror.crash_and_restart();
    hub.down();
    let client = Client::new(mirror.url());
    assert_eq!(client.pull(REPO, "latest").await, blobs, "from the disk, hashed again");
    assert_eq!(client.pull(REPO, image.digest.as_str()).await, blobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_under_a_sha512_name_reach_nobody() {
    let hub = Hub::start();
    let bytes = noise(39, 4 * MIB);
    let name = Digest::sha512(&bytes);
    hub.put_blob_as(REPO, &name, bytes.clone());
    let rule = hub.faults().set(Fault::FlipByte(5), on(Kind::Cdn));
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let path = format!("/v2/{REPO}/blobs/{name}");
    let came = client.open(&path).await.before_the_break().await.expect("it breaks off");
    assert!(came <= bytes.len() - super::withheld_tail::TAIL, "{came}");
    hub.faults().remove(rule);
    assert!(client.get(&path).await.whole() == bytes);
}
