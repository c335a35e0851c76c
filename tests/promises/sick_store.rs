//! "…neither a full disk nor an unhealthy store fails a pull: it streams past."

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::client::Client;
use tests::disk::{ReadOnly, blob_file, published, restarted_after, wait_for_blob};
use tests::hub::{Digest, Hub, Kind, MIB};
use tests::operator::Operator;
use tests::program::Program;
use tests::tools;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_writes_is_passed_by_and_said_and_used_again_when_it_is_well() {
    if !tools::require_root() {
        return;
    }
    let hub = Hub::start();
    let image = hub.image("library/app").tag("1").layers([2 * MIB, 5000]).push();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").store(", health: {interval: 50ms, threshold: 2}").start();
    let (client, operator) = (Client::new(mirror.url()), Operator::of(&mirror));
    let before = hub.image("library/before").tag("1").seed(2).push();
    client.pull("library/before", "1").await;
    for blob in before.blobs() {
        wait_for_blob(&mirror.store(), &blob.digest).await;
    }
    operator.wait_for_readiness(200).await;
    operator.wait_until_written().await; // A write that is under way would meet another illness than this one.
    let stored = published(&mirror.store()).len();

    let sick = ReadOnly::over(&mirror.store().join("spool"));
    let reason = operator.wait_for_readiness(503).await;
    assert!(reason.contains("Read-only file system"), "{reason}");
    assert_eq!(operator.metric("chandler_store_healthy").await, 0);
    for _ in ["past it", "past it again"] {
        client.pull("library/app", "1").await;
        client.pull("library/before", "1").await;
    }
    assert_eq!(published(&mirror.store()).len(), stored, "nothing was stored");

    drop(sick);
    operator.wait_for_readiness(200).await;
    client.pull("library/app", "1").await;
    wait_for_blob(&mirror.store(), &image.layers[0].digest).await;
    hub.forget();
    client.pull("library/app", "1").await;
    assert_eq!(hub.count().gets(Kind::Cdn), 0, "{}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_falls_ill_between_two_checks_does_not_fail_the_pull_that_finds_it() {
    if !tools::require_root() {
        return;
    }
    let hub = Hub::start();
    hub.image("library/app").tag("1").layers([2 * MIB, 5000]).push();
    let mirror = Program::of_hub(&hub.url()).store(", health: {enabled: false}").start();
    let (client, operator) = (Client::new(mirror.url()), Operator::of(&mirror));
    operator.wait_for_readiness(200).await;
    let sick = ReadOnly::over(&mirror.store().join("spool"));
    client.pull("library/app", "1").await;
    operator.wait_for_readiness(503).await;
    drop(sick);
    operator.wait_for_readiness(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_served_past_an_ill_store_is_written_when_it_is_used_again_and_the_store_is_well() {
    if !tools::require_root() {
        return;
    }
    let hub = Hub::start();
    let image = hub.image("library/app").tag("1").layers([5000, 9000]).push();
    let mirror = Program::of_hub(&hub.url()).store(", health: {interval: 50ms, threshold: 2}").start();
    let (client, operator) = (Client::new(mirror.url()), Operator::of(&mirror));
    operator.wait_for_readiness(200).await;
    let sick = ReadOnly::over(&mirror.store().join("spool"));
    operator.wait_for_readiness(503).await;
    client.pull("library/app", "1").await;
    assert_eq!(published(&mirror.store()), Vec::<String>::new(), "nothing was stored");
    drop(sick);
    operator.wait_for_readiness(200).await;

    hub.down(); // What memory has need not be fetched again.
    let tag = mirror.store().join("repos/docker.io/library/app/_tags/1");
    let manifest = manifest_file(&mirror.store(), &image.digest);
    client.until("/v2/library/app/manifests/1", |answer| answer.status.is_success() && manifest.is_file() && tag.is_file()).await;
    for blob in image.blobs() {
        let file = blob_file(&mirror.store(), &blob.digest);
        client.until(&format!("/v2/library/app/blobs/{}", blob.digest), |answer| answer.status.is_success() && file.is_file()).await;
    }
    operator.wait_until_written().await;
    let mirror = mirror.crash_and_restart();
    Client::new(mirror.url()).pull("library/app", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_holds_up_no_other_request_and_what_lies_on_it_is_fetched_again() {
    let hub = Hub::start();
    let stuck: Vec<_> =
        (0..4).map(|seed| hub.image(&format!("library/stuck{seed}")).tag("1").seed(seed + 2).layers([MIB]).push()).collect();
    let well = hub.image("library/well").tag("1").seed(1).layers([MIB]).push();
    let mirror = Program::of_hub(&hub.url()).store(", scrub_rate: off").start();
    let client = Client::new(mirror.url());
    for image in stuck.iter().chain([&well]) {
        client.pull(&image.repository, "1").await;
    }
    Operator::of(&mirror).wait_until_written().await;
    // To open a pipe that nobody writes to takes for ever.
    let mirror = restarted_after(mirror, |store| {
        for image in &stuck {
            hang(&manifest_file(store, &image.digest));
            image.blobs().for_each(|blob| hang(&blob_file(store, &blob.digest)));
        }
    });
    hub.forget();
    let client = Client::new(mirror.url());
    let mut pulls = JoinSet::new();
    for image in stuck.clone() {
        let client = client.clone();
        pulls.spawn(async move { client.pull(&image.repository, image.digest.as_str()).await });
    }
    hub.wait_for(|counts| counts.gets(Kind::Manifest) > 0).await;
    let others = async {
        assert_eq!(client.pull("library/well", well.digest.as_str()).await.len(), 2);
        while let Some(pulled) = pulls.join_next().await {
            assert_eq!(pulled.expect("a whole pull").len(), 2);
        }
    };
    tokio::time::timeout(Duration::from_mins(1), others).await.expect("no request waits for the disk");
    let counts = hub.count();
    assert_eq!((counts.gets(Kind::Manifest), counts.gets(Kind::Cdn)), (4, 8), "{}", counts.summary());
}

fn manifest_file(store: &Path, digest: &Digest) -> PathBuf {
    store.join("manifests/sha256").join(&digest.hex()[..2]).join(digest.hex())
}

fn hang(file: &Path) {
    fs::remove_file(file).expect("it is stored");
    let made = std::process::Command::new("mkfifo").arg(file).status().expect("`mkfifo` runs");
    assert!(made.success(), "mkfifo {}", file.display());
}
