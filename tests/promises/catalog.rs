//! "Private images are served only to whom the configuration says": nor are they named. The catalog is a list of what is cached, and a repository
//! that was cached under wider patterns is still on the disk.

use serde_json::{Value, json};
use tests::client::Client;
use tests::hub::{Hub, Kind, on};
use tests::operator::Operator;
use tests::program::Program;

const PRIVATE: &str = "acme/app";
const OTHER: &str = "acme/other";
const PUBLIC: &str = "library/alpine";

fn hub() -> Hub {
    let hub = Hub::start();
    hub.add_account("ci", "secret-word");
    for (seed, repo) in [(1, PRIVATE), (2, OTHER), (3, PUBLIC)] {
        hub.image(repo).tag("1").seed(seed).push();
    }
    for repo in [PRIVATE, OTHER] {
        hub.private(repo);
        hub.allow("ci", repo);
    }
    hub
}

async fn catalog(client: &Client, query: &str) -> Value {
    let list: Value = serde_json::from_slice(&client.get(&format!("/v2/_catalog{query}")).await.whole()).expect("JSON");
    list["repositories"].clone()
}

/// Gives the running mirror these patterns, and waits until they hold.
async fn narrow(mirror: &Program, client: &Client, patterns: &str, shut: &str) {
    let text = std::fs::read_to_string(mirror.config()).expect("it was written");
    let text = text.split_once(", private: ").map_or(text.clone(), |(before, rest)| {
        let after = rest.split_once(']').expect("a list").1;
        format!("{before}{after}")
    });
    let text = text.replace(", account: {", &format!(", private: {patterns}, account: {{"));
    std::fs::write(mirror.config(), text).expect("it is ours");
    mirror.signal("HUP");
    client.until(&format!("/v2/{shut}/manifests/1"), |answer| answer.status == 404).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn narrower_patterns_take_private_repositories_out_of_the_catalog_and_leave_public_ones() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).account("ci", "secret-word").start();
    let client = Client::new(mirror.url());
    for repo in [PRIVATE, OTHER, PUBLIC] {
        client.pull(repo, "1").await;
    }
    Operator::of(&mirror).wait_until_written().await; // It is a list of what is on the disk.
    assert_eq!(catalog(&client, "").await, json!([PRIVATE, OTHER, PUBLIC]));

    narrow(&mirror, &client, "[\"acme/app\"]", OTHER).await;
    client.get(&format!("/v2/{PUBLIC}/manifests/1")).await.whole(); // By which it is known to be public.
    assert_eq!(catalog(&client, "").await, json!([PRIVATE, PUBLIC]));
    assert_eq!(catalog(&client, "?n=1").await, json!([PRIVATE]));
    assert_eq!(catalog(&client, &format!("?n=1&last={PRIVATE}")).await, json!([PUBLIC]), "no page has a gap in which it stood");

    narrow(&mirror, &client, "[]", PRIVATE).await;
    assert_eq!(catalog(&client, "").await, json!([PUBLIC]));
    assert_eq!(client.get(&format!("/v2/{PRIVATE}/tags/list")).await.status, 404);

    Operator::of(&mirror).wait_until_written().await;
    let mirror = mirror.crash_and_restart();
    let client = Client::new(mirror.url());
    hub.down();
    let after = catalog(&client, "").await;
    assert_eq!(after, json!([PUBLIC]), "nor after a start, with nobody to ask");
    assert_eq!(hub.count().of(on(Kind::Manifest).method("GET").repo(PRIVATE)), 1, "{}", hub.count().summary());
}
