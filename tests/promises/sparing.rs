//! The upstream is asked no more than is of use: not after it asked for peace, not again right after a failure, not twice for one thing, and never about
//! what is another registry's.

use reqwest::StatusCode;
use tests::client::{Answer, Client};
use tests::hub::{Fault, Hub, Kind, any, on};
use tests::program::Program;

const REPO: &str = "library/alpine";

fn tag(tag: &str) -> String {
    format!("/v2/{REPO}/manifests/{tag}")
}

fn hub_with(tags: &[&str]) -> Hub {
    let hub = Hub::start();
    let image = hub.image(REPO).tag("latest").push();
    for tag in tags {
        hub.tag(REPO, tag, &image.digest);
    }
    hub
}

/// Looks until the operator's `/readyz` has (or lacks) `text`: the mirror looks at its parts about once a second.
async fn ready_until(mirror: &Program, text: &str, has: bool) {
    let has_it = |page: &Answer| String::from_utf8_lossy(page.body.as_ref().expect("a page")).contains(text) == has;
    Client::new(mirror.admin()).until("/readyz", has_it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_for_one_tag_leaves_the_upstream_in_peace_for_all_tags_that_are_known() {
    let hub = hub_with(&["a", "b"]);
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    for name in ["a", "b"] {
        assert_eq!(client.get(&tag(name)).await.status, StatusCode::OK);
    }
    hub.faults().set(Fault::AbuseLimit, on(Kind::Manifest).repo(REPO));
    client.until(&tag("a"), |answer| answer.header("warning").contains("the upstream limits requests")).await;
    let heads = || hub.count().of(on(Kind::Manifest).repo(REPO));
    let before = heads();
    for name in ["a", "b", "a", "b"] {
        let answer = client.get(&tag(name)).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}");
        assert!(answer.header("warning").contains("the upstream limits requests"), "{name}: {:?}", answer.headers);
    }
    assert_eq!(heads(), before, "the limit is not the tag's: {}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_failed_is_not_made_again_within_the_window() {
    let hub = hub_with(&[]);
    let mut mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    Client::new(mirror.url()).pull(REPO, "latest").await;
    mirror.stop(); // Anew, so that the tag is known and must be checked.
    let mirror = mirror.crash_and_restart();
    let client = Client::new(mirror.url());
    hub.faults().set(Fault::Status(503), on(Kind::Manifest).repo(REPO));
    client.until(&tag("latest"), |answer| answer.header("warning").contains("the upstream answers 503")).await;
    let before = hub.count().of(on(Kind::Manifest).repo(REPO));
    for _ in 0..10 {
        let answer = client.get(&tag("latest")).await;
        assert!(answer.header("warning").contains("the upstream answers 503"), "{:?}", answer.headers);
    }
    assert_eq!(hub.count().of(on(Kind::Manifest).repo(REPO)), before, "{}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_tags_is_asked_for_once_by_all_who_want_it_in_a_window() {
    let hub = hub_with(&["1", "2"]);
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    let client = Client::new(mirror.url());
    let path = format!("/v2/{REPO}/tags/list");
    let askers: Vec<_> = (0..20)
        .map(|_| {
            let (client, path) = (client.clone(), path.clone());
            tokio::spawn(async move { client.get(&path).await.whole() })
        })
        .collect();
    for asker in askers {
        assert!(asker.await.expect("no panic").windows(8).any(|part| part == b"\"latest\""));
    }
    assert_eq!(hub.count().of(on(Kind::Tags).repo(REPO)), 1, "{}", hub.count().summary());
    client.get(&format!("{path}?n=1")).await.whole();
    assert_eq!(hub.count().of(on(Kind::Tags).repo(REPO)), 2, "another page is another question");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_knows_no_head_is_asked_for_a_cold_tag_by_one_get() {
    let hub = hub_with(&[]);
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    hub.faults().set(Fault::Status(405), on(Kind::Manifest).repo(REPO).method("HEAD"));
    assert_eq!(Client::new(mirror.url()).get(&tag("latest")).await.status, StatusCode::OK);
    assert_eq!(hub.count().of(on(Kind::Manifest).repo(REPO).method("GET")), 1, "{}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_a_registry_that_is_not_mirrored_asks_nobody() {
    let hub = hub_with(&[]);
    let mirror = Program::of_hub(&hub.url()).start();
    mirror.wait_for_log("upstream answers"); // The start's own questions are over.
    hub.forget();
    let answer = Client::new(mirror.url()).get("/v2/quay.io/a/b/manifests/latest").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(String::from_utf8_lossy(answer.body.as_ref().expect("a reason")).contains("`quay.io` is not mirrored here"));
    assert_eq!(hub.count().of(any()), 0, "{}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_quota_is_a_warning_in_readyz_until_a_pull_is_accepted() {
    let hub = hub_with(&[]);
    hub.image("library/cold").tag("latest").seed(2).push(); // Other content: what is here already costs nothing.
    hub.quota(None, Some(1));
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    client.get(&tag("latest")).await.whole();
    ready_until(&mirror, "quota docker.io: the quota is spent", true).await;
    let refused = client.get("/v2/library/cold/manifests/latest").await;
    assert!(!refused.status.is_success());
    ready_until(&mirror, "quota docker.io: the upstream refuses pulls for now (429), since ", true).await;
    ready_until(&mirror, "at the latest (0 of 1 pulls left in 6h)", true).await;
    hub.quota(None, Some(100));
    assert_eq!(client.get("/v2/library/cold/manifests/latest").await.status, StatusCode::OK);
    ready_until(&mirror, "quota docker.io", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_file_that_is_missing_is_told_and_no_refusal() {
    let hub = hub_with(&[]);
    let mirror = Program::of_hub(&hub.url()).hub(", account: {user: ship, password_file: /nonexistent/password}, private: []").start();
    ready_until(&mirror, "account docker.io: the password file /nonexistent/password cannot be read", true).await;
    ready_until(&mirror, "refuses the account", false).await;
}
