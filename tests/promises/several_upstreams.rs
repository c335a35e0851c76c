//! "Private images are served only to whom the configuration says." And what is stored is served whatever the upstream does: each upstream's own.

use reqwest::StatusCode;
use tests::client::Client;
use tests::hub::{Hub, Kind, noise, on};
use tests::operator::Operator;
use tests::program::Program;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

fn second(hub: &Hub) -> String {
    format!("{{name: other.test, url: \"{}\"}}", hub.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_another_upstream_is_no_way_to_a_private_layer() {
    let (hub, other) = (Hub::start(), Hub::start());
    hub.add_account("ci", "Pa55-w0rd");
    let private = hub.image("acme/app").tag("1").seed(7).layers([200_000]).push();
    hub.private("acme/app");
    hub.allow("ci", "acme/app");
    let layer = &private.layers[0];
    let config = other.put_blob("mallory/app", noise(5, 100));
    let document = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI}","config":{{"digest":"{config}","size":100}},"layers":[{{"digest":"{}","size":{}}}]}}"#,
        layer.digest, layer.size
    );
    other.put_manifest("mallory/app", Some("1"), OCI, &document.into());
    let mut mirror = Program::of_hub(&hub.url()).account("ci", "Pa55-w0rd").upstream(&second(&other)).start();
    let blob = format!("/v2/other.test/mallory/app/blobs/{}", layer.digest);
    for start in ["the first", "after a crash"] {
        let client = Client::new(mirror.url());
        client.pull("acme/app", "1").await; // Its bytes are on the mirror's disk.
        client.get("/v2/other.test/mallory/app/manifests/1").await.whole();
        for answer in [client.get(&blob).await, client.range(&blob, "bytes=0-99").await, client.range(&blob, "bytes=-99").await] {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{start}");
        }
        Operator::of(&mirror).wait_until_written().await;
        mirror = mirror.crash_and_restart();
    }
    assert_eq!(hub.count().list(on(Kind::Cdn).digest(&layer.digest)).len(), 1, "{}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_upstreams_have_is_fetched_once_from_each_and_served_for_both_when_they_are_down() {
    let (hub, other) = (Hub::start(), Hub::start());
    let image = hub.image("library/app").tag("1").seed(7).layers([200_000, 1000]).push();
    other.image("team/app").tag("1").seed(7).layers([200_000, 1000]).push();
    let mirror = Program::of_hub(&hub.url()).upstream(&second(&other)).start();
    let client = Client::new(mirror.url());
    for _ in ["cold", "stored"] {
        client.pull("library/app", "1").await;
        client.pull("other.test/team/app", "1").await;
    }
    for hub in [&hub, &other] {
        assert_eq!(hub.count().list(on(Kind::Cdn).digest(&image.layers[0].digest)).len(), 1, "{}", hub.count().summary());
        hub.down();
    }
    Operator::of(&mirror).wait_until_written().await;
    let mirror = mirror.crash_and_restart();
    let client = Client::new(mirror.url());
    client.pull("library/app", "1").await;
    client.pull("other.test/team/app", "1").await;
}
