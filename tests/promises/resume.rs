//! A download that broke off goes on from the next byte, whatever the upstream makes of a `Range`; and it never goes on with the wrong one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::client::Client;
use tests::disk::{published, wait_for_blob, wait_for_empty_spool};
use tests::hub::{Digest, Fault, Hub, Kind, MIB, noise, on};
use tests::program::Program;

/// A Hub whose first answer for a blob of 4 MiB is cut in its middle.
fn hub_that_cuts() -> (Hub, Digest, bytes::Bytes) {
    let (hub, bytes) = (Hub::start(), noise(12, 4 * MIB));
    let digest = hub.put_blob("library/app", bytes.clone());
    hub.faults().set(Fault::CutAt(2 * MIB as u64), on(Kind::Cdn).times(1));
    (hub, digest, bytes)
}

/// All that was asked for after the cut starts at the first byte that did not come.
fn assert_resumed_in_the_middle(hub: &Hub) {
    let counts = hub.count();
    let asked: Vec<&str> = counts.list(on(Kind::Cdn)).iter().map(|seen| seen.header("range")).collect();
    assert!(asked.len() >= 2 && asked[0].is_empty(), "{asked:?}");
    assert!(asked[1..].iter().all(|range| *range == format!("bytes={}-", 2 * MIB)), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_from_the_wrong_byte_is_asked_for_again() {
    for fault in [Fault::RangeIgnored, Fault::RangeOffByOne] {
        let (hub, digest, bytes) = hub_that_cuts();
        hub.faults().set(fault.clone(), on(Kind::Cdn).nth(2));
        let mirror = Program::of_hub(&hub.url()).start();
        let answer = Client::new(mirror.url()).get(&format!("/v2/library/app/blobs/{digest}")).await;
        assert!(answer.whole() == bytes, "{fault:?}");
        wait_for_blob(&mirror.store(), &digest).await;
        assert_resumed_in_the_middle(&hub);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_always_ignores_ranges_costs_bytes_and_nothing_else() {
    let (hub, digest, bytes) = hub_that_cuts();
    hub.faults().set(Fault::RangeIgnored, on(Kind::Cdn));
    let mirror = Program::of_hub(&hub.url()).start();
    assert!(Client::new(mirror.url()).get(&format!("/v2/library/app/blobs/{digest}")).await.whole() == bytes);
    assert_eq!(hub.count().gets(Kind::Cdn), 2);
    assert_resumed_in_the_middle(&hub);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_lies_about_its_place_never_makes_a_whole_body() {
    for fault in [Fault::RangeLies, Fault::RangeOffByOne] {
        let (hub, digest, bytes) = hub_that_cuts();
        let rule = hub.faults().set(fault.clone(), on(Kind::Cdn).skip(1));
        let mirror = Program::of_hub(&hub.url()).start();
        let (client, path) = (Client::new(mirror.url()), format!("/v2/library/app/blobs/{digest}"));
        assert!(client.get(&path).await.body.is_err(), "{fault:?}");
        wait_for_empty_spool(&mirror.store()).await;
        assert_eq!(published(&mirror.store()), Vec::<String>::new(), "{fault:?}");
        hub.faults().remove(rule);
        assert!(client.get(&path).await.whole() == bytes, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_outlives_its_signed_link_and_its_token() {
    let (hub, bytes) = (Hub::start(), noise(12, 4 * MIB));
    let digest = hub.put_blob("library/app", bytes.clone());
    hub.set(|settings| settings.link_lifetime = Duration::from_secs(2));
    let gate = hub.hold_at(MIB as u64, on(Kind::Cdn));
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let mut reader = client.open(&format!("/v2/library/app/blobs/{digest}")).await;
    let first = reader.take(1000).await;
    hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) == MIB as u64).await;

    let link = hub.count().list(on(Kind::Cdn))[0].target.clone();
    let expires = link.split("expires=").nth(1).and_then(|rest| rest.split('&').next()).expect("a signed link names its end");
    until(expires.parse().expect("milliseconds")).await;
    hub.revoke_tokens();
    hub.cut();
    gate.release();

    let rest = reader.rest().await.expect("the rest comes by a new link");
    assert!([&first[..], &rest[..]].concat() == bytes);
    let counts = hub.count();
    let links: Vec<&str> = counts.list(on(Kind::Cdn)).iter().map(|seen| seen.target.as_str()).collect();
    assert_eq!(links.len(), 2, "{}", counts.summary());
    assert_ne!(links[0], links[1], "the old link is dead");
}

/// Until the wall clock is past `moment`, in milliseconds since 1970.
async fn until(moment: u128) {
    while SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() <= moment {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
