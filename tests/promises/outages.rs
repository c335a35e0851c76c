//! "What is stored is served whatever the upstream does: down, 429, 5xx, hanging. The service starts with no network at all."
//!
//! "A hit touches no network and no database." "It answers so that every client falls over to the next endpoint at once when the mirror cannot
//! help: it never challenges, never answers 429, never passes an upstream's challenge, redirect or credentials on, and always sends headers or an
//! error within 10 s." (The client that all tests use looks at each answer for what must not be in it.)

use reqwest::{Method, StatusCode};
use tests::client::{Answer, Client};
use tests::hub::{Fault, Filter, Hub, Kind, any, on};
use tests::program::Program;
use tests::promised::{HEADERS, STALE, within};

const REPO: &str = "library/alpine";
const TAG: &str = "/v2/library/alpine/manifests/latest";

fn hub() -> Hub {
    let hub = Hub::start();
    hub.image(REPO).tag("latest").layers([70_000, 4096]).push();
    hub.image("library/cold").tag("latest").seed(2).layers([70_000]).push();
    hub
}

async fn within_promise(answer: impl Future<Output = Answer>) -> Answer {
    within(HEADERS, "headers or an error", answer).await
}

/// A tag that is known waits for a sick Hub no longer than it is promised.
async fn stale(answer: impl Future<Output = Answer>) -> Answer {
    let answer = within(STALE, "the last known answer", answer).await;
    assert!(answer.header("warning").starts_with("299 "), "{:?}", answer.headers);
    answer
}

fn assert_unavailable(answer: &Answer, about: &str) {
    assert!(matches!(answer.status.as_u16(), 502 | 503), "{about}: {} {:?}", answer.status, answer.body);
    assert_eq!(answer.code(), "UNAVAILABLE", "{about}");
}

fn sick() -> Vec<(Fault, Filter)> {
    let faults =
        [Fault::Status(500), Fault::Status(503), Fault::PullLimit, Fault::AbuseLimit, Fault::AbuseLimitBareLf, Fault::Drop, Fault::Html];
    let places = [on(Kind::Manifest).repo(REPO), on(Kind::Token)];
    faults.iter().flat_map(|fault| places.iter().map(|place| (fault.clone(), place.clone()))).collect()
}

/// What a warning says of it.
fn what_happened(fault: &Fault) -> &'static str {
    match fault {
        Fault::Status(500) => "the upstream answers 500",
        Fault::Status(503) => "the upstream answers 503",
        Fault::PullLimit | Fault::AbuseLimit | Fault::AbuseLimitBareLf => "the upstream limits requests",
        Fault::Html => "the upstream's answer makes no sense",
        _ => "the upstream does not answer",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_tag_is_served_with_a_warning_whatever_the_upstream_answers() {
    let hub = hub();
    for (fault, place) in sick() {
        let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
        let client = Client::new(mirror.url());
        let blobs = client.pull(REPO, "latest").await;
        hub.revoke_tokens();
        let rule = hub.faults().set(fault.clone(), place.clone());
        stale(client.get(TAG)).await;
        // A retry may take longer than a client with something cached is kept waiting: then silence is what happened.
        client.until(TAG, |answer| answer.header("warning").contains(what_happened(&fault))).await;
        for answer in [stale(client.get(TAG)).await, stale(client.head(TAG)).await] {
            assert_eq!(answer.status, StatusCode::OK, "{fault:?} {place:?}");
        }
        assert_eq!(client.pull(REPO, "latest").await, blobs, "{fault:?} {place:?}");
        hub.faults().remove(rule);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_cached_is_a_502_or_503_that_sends_every_client_on() {
    let hub = hub();
    for (fault, place) in sick() {
        let mirror = Program::of_hub(&hub.url()).start();
        let client = Client::new(mirror.url());
        hub.revoke_tokens();
        let rule = hub.faults().set(fault.clone(), place.clone());
        assert_unavailable(&within_promise(client.get(TAG)).await, &format!("{fault:?} {place:?}"));
        assert!(within_promise(client.head(TAG)).await.status.is_server_error(), "{fault:?} {place:?}");
        hub.faults().remove(rule);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_every_token_is_asked_a_few_times_and_the_client_hears_404() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    hub.faults().set(Fault::Unauthorized, on(Kind::Manifest));
    assert_eq!(within_promise(client.get(TAG)).await.status, StatusCode::NOT_FOUND);
    let counts = hub.count();
    assert!(counts.of(on(Kind::Manifest).repo(REPO)) <= 3, "{}", counts.summary());
    assert!(counts.of(on(Kind::Token).repo(REPO)) <= 3, "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_cannot_be_had_is_404_for_the_older_dockerd_and_502_for_all_others() {
    let hub = hub();
    let blob = hub.put_blob(REPO, tests::hub::noise(5, 300_000));
    let path = format!("/v2/{REPO}/blobs/{blob}");
    for (fault, place) in [
        (Fault::Status(500), on(Kind::Blob)),
        (Fault::AbuseLimit, on(Kind::Blob)),
        (Fault::AbuseLimitBareLf, on(Kind::Blob)),
        (Fault::Status(503), on(Kind::Cdn)),
        (Fault::PullLimit, on(Kind::Token)),
    ] {
        let mirror = Program::of_hub(&hub.url()).start();
        let client = Client::new(mirror.url());
        hub.revoke_tokens();
        let rule = hub.faults().set(fault.clone(), place.clone());
        let ask = |agent: &'static str| within_promise(client.send(client.request(Method::GET, &path).header("user-agent", agent)));
        let legacy = ask("docker/20.10.24+dfsg1 go/go1.19.8 os/linux arch/amd64 UpstreamClient(Docker-Client/20.10.24)").await;
        assert_eq!((legacy.status, legacy.code().as_str()), (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"), "{fault:?} {place:?}");
        for agent in ["docker/29.0.0 go/go1.25 containerd-client/2.2.0 storage-driver/overlayfs", "containerd/2.4.2", "curl/8"] {
            assert_unavailable(&ask(agent).await, agent);
        }
        hub.faults().remove(rule);
        client.get(&path).await.whole();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_hangs_costs_no_client_more_than_ten_seconds() {
    for place in [on(Kind::Token), on(Kind::Manifest).repo("library/cold"), on(Kind::Manifest).method("GET")] {
        let hub = hub();
        let mirror = Program::of_hub(&hub.url()).start();
        let client = Client::new(mirror.url());
        let _gate = hub.hold(place.clone());
        let answer = within_promise(client.get("/v2/library/cold/manifests/latest")).await;
        assert_unavailable(&answer, &format!("{place:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_tag_never_waits_for_a_hub_that_hangs() {
    for place in [on(Kind::Manifest), on(Kind::Token)] {
        let hub = hub();
        let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
        let client = Client::new(mirror.url());
        client.pull(REPO, "latest").await;
        hub.revoke_tokens();
        let _gate = hub.hold(place);
        assert_eq!(stale(client.get(TAG)).await.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_is_asked_once_in_a_while_and_no_longer_by_every_client() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    client.pull(REPO, "latest").await;
    hub.black_hole(true);
    assert_eq!(stale(client.get(TAG)).await.status, StatusCode::OK);
    assert_unavailable(&within_promise(client.get("/v2/library/cold/manifests/latest")).await, "a miss");

    let before = hub.count();
    let asked = (before.connections(), before.all().len());
    let misses: Vec<_> = (0..40)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.get(&format!("/v2/library/cold{number}/manifests/latest")).await })
        })
        .collect();
    for miss in misses {
        assert_unavailable(&within_promise(async { miss.await.expect("no panic") }).await, "a later miss");
    }
    let after = hub.count();
    let more = (after.connections() - asked.0) + (after.all().len() - asked.1) as u64;
    assert!(more <= 6, "40 misses may cost a probe or two, not {more}: {}", after.summary());

    hub.black_hole(false);
    client.until("/v2/library/cold/manifests/latest", |answer| answer.status.is_success()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_down_fails_no_hit_and_is_found_again_when_it_is_up() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    let blobs = client.pull(REPO, "latest").await;
    hub.down();
    for _ in 0..20 {
        assert_eq!(stale(client.get(TAG)).await.status, StatusCode::OK);
        assert_unavailable(&within_promise(client.get("/v2/library/cold/manifests/latest")).await, "a miss");
    }
    assert_eq!(client.pull(REPO, "latest").await, blobs);
    hub.up();
    client.until("/v2/library/cold/manifests/latest", |answer| answer.status.is_success()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_with_no_network_and_serves_what_it_has_at_once() {
    let hub = hub();
    let mut mirror = Program::of_hub(&hub.url()).start();
    let blobs = Client::new(mirror.url()).pull(REPO, "latest").await;
    mirror.stop();
    hub.down();
    let mut mirror = mirror.crash_and_restart();
    assert_eq!(Client::new(mirror.url()).pull(REPO, "latest").await, blobs, "with the hub down");
    mirror.stop();
    let text = std::fs::read_to_string(mirror.config()).expect("it was written");
    std::fs::write(mirror.config(), text.replace(&hub.url(), "http://registry.invalid:5000")).expect("it is ours");
    let mirror = mirror.crash_and_restart();
    let client = Client::new(mirror.url());
    assert_eq!(client.pull(REPO, "latest").await, blobs, "with a name that does not resolve");
    assert_unavailable(&within_promise(client.get("/v2/library/cold/manifests/latest")).await, "a miss");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_asks_no_upstream_for_anything() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    let client = Client::new(mirror.url());
    let blobs = client.pull(REPO, "latest").await;
    mirror.wait_for_log("upstream answers"); // The start's own question about the account is over.
    hub.forget();
    for _ in 0..10 {
        assert_eq!(client.pull(REPO, "latest").await, blobs);
        for blob in &blobs {
            let path = format!("/v2/{REPO}/blobs/{blob}");
            assert_eq!(client.head(&path).await.status, StatusCode::OK);
            assert_eq!(client.range(&path, "bytes=5-9").await.whole().len(), 5);
        }
    }
    let counts = hub.count();
    assert_eq!((counts.of(any()), counts.challenges(), counts.connections()), (0, 0, 0), "{}", counts.summary());
}
