//! "…neither a full disk nor an unhealthy store fails a pull: it streams past."

use tests::client::Client;
use tests::disk::{ReadOnly, published, wait_for_blob};
use tests::hub::{Hub, Kind, MIB};
use tests::operator::Operator;
use tests::program::Program;
use tests::tools;

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
