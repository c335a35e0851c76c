//! "…the tail (at least 64 KiB, a small blob whole, so that it gets a true status) is held back until the hash is checked, in ranges that touch the end too;
//! nothing unverified is stored; a stored blob is hashed again at its first full read after a start, and by a slow scrub."
//!
//! Disks lie. A damaged file is found before a client has a whole wrong body, is put aside, and the next pull has the blob anew.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use tests::client::Client;
use tests::disk::{blob_file, restarted_after, wait_for_blob};
use tests::hub::{Digest, Hub, KIB, Kind, MIB, noise};
use tests::operator::Operator;
use tests::program::Program;

/// A stored blob of `size`, and a mirror that started anew after `damage` was done to its file. The slow scrub is off: it would be first.
async fn damaged(size: usize, damage: impl FnOnce(&Path)) -> (Hub, Program, Digest) {
    let hub = Hub::start();
    let digest = hub.put_blob("library/app", noise(31, size));
    let mirror = Program::of_hub(&hub.url()).store(", scrub_rate: off").start();
    Client::new(mirror.url()).get(&path(&digest)).await.whole();
    wait_for_blob(&mirror.store(), &digest).await;
    hub.forget();
    let mirror = restarted_after(mirror, |store| damage(&blob_file(store, &digest)));
    (hub, mirror, digest)
}

fn path(digest: &Digest) -> String {
    format!("/v2/library/app/blobs/{digest}")
}

fn flip_byte(file: &Path, at: u64) {
    let opened = fs::OpenOptions::new().read(true).write(true).open(file).expect("it is stored");
    let mut byte = [0];
    opened.read_exact_at(&mut byte, at).expect("it is that long");
    opened.write_all_at(&[byte[0] ^ 1], at).expect("it can be written");
}

fn truncate(file: &Path, to: u64) {
    fs::OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(to)).expect("it is stored");
}

/// One pull, which may break off but never end whole and wrong; then one that is right, and from then on no network.
async fn heals(hub: &Hub, mirror: &Program, digest: &Digest, size: usize) {
    let (client, bytes) = (Client::new(mirror.url()), noise(31, size));
    let first = client.get(&path(digest)).await;
    assert!(
        !first.status.is_success() || first.body.is_err() || first.body.is_ok_and(|body| body == bytes),
        "a whole body is the right one"
    );
    assert!(client.get(&path(digest)).await.whole() == bytes, "the next pull is right");
    assert_eq!(hub.count().gets(Kind::Cdn), 1, "it was fetched anew: {}", hub.count().summary());
    wait_for_blob(&mirror.store(), digest).await;
    hub.down();
    assert!(client.get(&path(digest)).await.whole() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_byte_in_a_stored_blob_is_found_at_its_first_full_read_after_a_start() {
    let (hub, mirror, digest) = damaged(4 * MIB, |file| flip_byte(file, 2 * MIB as u64)).await;
    let first = Client::new(mirror.url()).get(&path(&digest)).await;
    assert!(first.body.is_err(), "its tail is withheld");
    Operator::of(&mirror).wait_for_metric("chandler_store_quarantined_total", 1).await;
    heals(&hub, &mirror, &digest, 4 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_byte_in_the_tail_is_found_too() {
    let (hub, mirror, digest) = damaged(4 * MIB, |file| flip_byte(file, 4 * MIB as u64 - 1)).await;
    heals(&hub, &mirror, &digest, 4 * MIB).await;
    assert!(Operator::of(&mirror).metric("chandler_store_quarantined_total").await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_small_blob_is_fetched_anew_before_anybody_sees_it() {
    let (hub, mirror, digest) = damaged(3000, |file| flip_byte(file, 1500)).await;
    assert!(Client::new(mirror.url()).get(&path(&digest)).await.whole() == noise(31, 3000), "the very first request is right");
    heals(&hub, &mirror, &digest, 3000).await;
    assert!(Operator::of(&mirror).metric("chandler_store_quarantined_total").await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_file_that_lost_its_end_is_found() {
    for left in [3 * MIB, 10 * KIB, 1, 0] {
        let (hub, mirror, digest) = damaged(4 * MIB, |file| truncate(file, left as u64)).await;
        heals(&hub, &mirror, &digest, 4 * MIB).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_a_stored_file_that_lost_its_end_never_names_another_size() {
    let (hub, mirror, digest) = damaged(4 * MIB, |file| truncate(file, 3 * MIB as u64)).await;
    let answer = Client::new(mirror.url()).range(&path(&digest), "bytes=1000-1999").await;
    assert_eq!(answer.header("content-range"), format!("bytes 1000-1999/{}", 4 * MIB));
    assert!(answer.whole() == noise(31, 4 * MIB).slice(1000..2000));
    heals(&hub, &mirror, &digest, 4 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_touches_the_end_of_a_damaged_blob_is_never_whole() {
    for range in ["bytes=3000000-", "bytes=-100", "bytes=4194303-4194303", "bytes=1-"] {
        let (hub, mirror, digest) = damaged(4 * MIB, |file| flip_byte(file, 1000)).await;
        let part = Client::new(mirror.url()).range(&path(&digest), range).await;
        assert_eq!(part.status, 206, "{range}: headers wait for no check");
        assert!(part.body.is_err(), "{range}: its share of the tail is withheld");
        Operator::of(&mirror).wait_for_metric("chandler_store_quarantined_total", 1).await;
        assert!(!blob_file(&mirror.store(), &digest).exists(), "{range}: it is out of the way");
        heals(&hub, &mirror, &digest, 4 * MIB).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_before_the_tail_of_a_resumed_pull_is_sent_before_the_check_has_an_opinion() {
    let (hub, mirror, digest) = damaged(4 * MIB, |file| flip_byte(file, 1000)).await;
    let client = Client::new(mirror.url());
    let request = client.request(reqwest::Method::GET, &path(&digest)).header("range", "bytes=1000000-");
    let mut answer = request.send().await.expect("an answer");
    let mut came = Vec::new();
    while let Ok(Some(bytes)) = answer.chunk().await {
        came.extend(bytes);
    }
    let tail = 4 * MIB - 64 * KIB;
    assert!(came == noise(31, 4 * MIB)[1_000_000..tail], "all but the tail, and not a byte of that: {} bytes", came.len());
    heals(&hub, &mirror, &digest, 4 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_stored_blob_share_one_check_and_later_ones_need_none() {
    let (hub, mirror, digest) = damaged(8 * MIB, |_| {}).await;
    hub.down();
    let (bytes, operator) = (noise(31, 8 * MIB), Operator::of(&mirror));
    for _ in ["unchecked", "checked"] {
        let mut parts = tokio::task::JoinSet::new();
        for part in 0..16 {
            let (client, path) = (Client::new(mirror.url()), path(&digest));
            parts.spawn(async move { (part, client.range(&path, &format!("bytes={}-", 1 + part * 100_000)).await.whole()) });
        }
        while let Some(part) = parts.join_next().await {
            let (part, body) = part.expect("no panic");
            assert!(body == bytes.slice(1 + part * 100_000..), "part {part}");
        }
        assert_eq!(operator.metric("chandler_store_checked_bytes_total").await, 8 * MIB as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_from_the_middle_is_sent_at_once_and_starts_the_check_for_those_to_come() {
    let (hub, mirror, digest) = damaged(4 * MIB, |file| flip_byte(file, 3 * MIB as u64)).await;
    let part = Client::new(mirror.url()).range(&path(&digest), "bytes=1000-1999").await;
    assert!(part.whole() == noise(31, 4 * MIB).slice(1000..2000));
    Operator::of(&mirror).wait_for_metric("chandler_store_quarantined_total", 1).await;
    assert!(Client::new(mirror.url()).range(&path(&digest), "bytes=1-").await.whole() == noise(31, 4 * MIB).slice(1..), "fetched anew");
    assert_eq!(hub.count().gets(Kind::Cdn), 1, "{}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_fetched_anew_and_nobody_sees_it() {
    let hub = Hub::start();
    let image = hub.image("library/app").tag("1").push();
    let mirror = Program::of_hub(&hub.url()).store(", scrub_rate: off").start();
    Client::new(mirror.url()).pull("library/app", "1").await;
    let mirror = restarted_after(mirror, |store| {
        let hex = image.digest.hex();
        flip_byte(&store.join("manifests/sha256").join(&hex[..2]).join(hex), 20);
    });
    let client = Client::new(mirror.url());
    assert!(client.get(&format!("/v2/library/app/manifests/{}", image.digest)).await.whole() == image.manifest);
    hub.down();
    client.pull("library/app", image.digest.as_str()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slow_scrub_finds_damage_that_nobody_reads() {
    let hub = Hub::start();
    let digest = hub.put_blob("library/app", noise(31, MIB));
    let mirror = Program::of_hub(&hub.url()).store(", scrub_rate: 1GiB").start();
    Client::new(mirror.url()).get(&path(&digest)).await.whole();
    wait_for_blob(&mirror.store(), &digest).await;
    hub.forget();
    let mirror = restarted_after(mirror, |store| flip_byte(&blob_file(store, &digest), 1000));
    Operator::of(&mirror).wait_for_metric("chandler_store_quarantined_total", 1).await;
    assert!(!blob_file(&mirror.store(), &digest).exists(), "it is out of the way");
    assert!(Client::new(mirror.url()).get(&path(&digest)).await.whole() == noise(31, MIB), "the first pull is right");
    assert_eq!(hub.count().gets(Kind::Cdn), 1);
}
