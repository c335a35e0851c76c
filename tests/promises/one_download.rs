//! "One upstream download per blob, however many clients ask at once, and whichever of them leave."

use std::sync::Arc;

use tests::client::Client;
use tests::hub::{Fault, Hub, Kind, MIB, noise, on};
use tests::program::Program;
use tokio::sync::Barrier;

/// A Hub with one blob in a public repository, and the blob's path.
fn hub_with_blob(size: usize) -> (Hub, String, bytes::Bytes) {
    let hub = Hub::start();
    let bytes = noise(7, size);
    let digest = hub.put_blob("library/big", bytes.clone());
    (hub, format!("/v2/library/big/blobs/{}", digest.as_str()), bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_cold_clients_cost_one_download_and_all_get_every_byte() {
    let (hub, path, bytes) = hub_with_blob(4 * MIB);
    let mirror = Program::of_hub(&hub.url()).start();
    let gate = hub.hold_at(MIB as u64, on(Kind::Cdn));
    let client = Client::new(mirror.url());
    let all_read = Arc::new(Barrier::new(201));
    let readers: Vec<_> = (0..200)
        .map(|_| {
            tokio::spawn({
                let (client, path, all_read) = (client.clone(), path.clone(), all_read.clone());
                async move {
                    let mut reader = client.open(&path).await;
                    let first = reader.take(1000).await;
                    all_read.wait().await;
                    [&first[..], &reader.rest().await.expect("the rest")].concat()
                }
            })
        })
        .collect();
    all_read.wait().await; // Who asks later would meet a blob that is stored.
    gate.release();
    for reader in readers {
        assert!(reader.await.expect("no panic") == bytes, "every reader gets exactly the blob");
    }
    let counts = hub.count();
    assert_eq!(counts.gets(Kind::Cdn), 1, "{}", counts.summary());
    assert_eq!(counts.bytes(on(Kind::Cdn)), bytes.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_when_all_its_clients_leave() {
    let (hub, path, bytes) = hub_with_blob(4 * MIB);
    let mirror = Program::of_hub(&hub.url()).start();
    let gate = hub.hold_at(MIB as u64, on(Kind::Cdn));
    let client = Client::new(mirror.url());
    let mut leaver = client.open(&path).await;
    leaver.take(100_000).await;
    drop(leaver);
    gate.release();
    hub.wait_for(|counts| counts.running(on(Kind::Cdn)) == 0 && counts.bytes(on(Kind::Cdn)) == bytes.len() as u64).await;
    assert!(client.get(&path).await.whole() == bytes);
    assert_eq!(hub.count().gets(Kind::Cdn), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_bytes_arrive_while_the_upstream_still_holds_the_rest() {
    let (hub, path, bytes) = hub_with_blob(4 * MIB);
    let mirror = Program::of_hub(&hub.url()).start();
    let gate = hub.hold_at(MIB as u64, on(Kind::Cdn));
    let mut reader = Client::new(mirror.url()).open(&path).await;
    let first = reader.take(MIB - 200_000).await;
    hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) == MIB as u64).await; // The upstream has sent no more than the first part, and waits.
    gate.release();
    let rest = reader.rest().await.expect("the rest");
    assert!([&first[..], &rest[..]].concat() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_is_cut_goes_on_where_it_was_and_no_client_notices() {
    let (hub, path, bytes) = hub_with_blob(4 * MIB);
    hub.faults().set(Fault::CutAt(2 * MIB as u64), on(Kind::Cdn).times(1));
    let mirror = Program::of_hub(&hub.url()).start();
    assert!(Client::new(mirror.url()).get(&path).await.whole() == bytes);
    let counts = hub.count();
    let resumed = counts.list(on(Kind::Cdn));
    assert_eq!(resumed.len(), 2, "{}", counts.summary());
    assert_eq!(resumed[1].header("range"), format!("bytes={}-", 2 * MIB), "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_last_byte_reaches_nobody_and_nothing_is_stored() {
    let (hub, path, _) = hub_with_blob(4 * MIB);
    let rule = hub.faults().set(Fault::FlipLastByte, on(Kind::Cdn));
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    assert!(client.get(&path).await.body.is_err(), "the body must break off");
    let ranged = client.range(&path, "bytes=4000000-").await;
    assert!(ranged.body.is_err() || !ranged.status.is_success(), "a range that touches the end is withheld too");
    hub.faults().remove(rule);
    hub.forget();
    client.get(&path).await.whole();
    assert_eq!(hub.count().gets(Kind::Cdn), 1, "nothing of the wrong bytes was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_whole_and_a_second_pull_needs_no_hub() {
    let hub = Hub::start();
    hub.image("library/alpine").tag("3").layers([MIB, 70_000, 4096]).push();
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let cold = client.pull("library/alpine", "3").await;
    hub.down();
    assert_eq!(client.pull("library/alpine", "3").await, cold);
}
