//! "…always sends headers or an error within 10 s." "What is stored is served whatever the upstream does: down, 429, 5xx, hanging."
//!
//! Silence is the worst that an upstream can do: it costs whoever waits for it. Here each kind of question meets it, in all three shapes: no answer to
//! a request, no word on a connection, and no connection at all.

use reqwest::{Method, StatusCode};
use tests::client::{Answer, Client};
use tests::dead_end::DeadEnd;
use tests::hub::{Filter, Hub, ImageInfo, Kind, noise, on};
use tests::program::Program;
use tests::promised::{HEADERS, HIT, STALE, within};
use tokio::task::JoinSet;

const REPO: &str = "library/alpine";
const TAG: &str = "/v2/library/alpine/manifests/latest";

fn hub() -> (Hub, ImageInfo) {
    let hub = Hub::start();
    let image = hub.image(REPO).tag("latest").layers([300_000, 4096]).push();
    hub.image("library/cold").tag("latest").seed(2).layers([300_000]).push();
    (hub, image)
}

/// Every question about `repo` that a client may ask, by method and path.
fn questions(repo: &str, image: &ImageInfo) -> Vec<(Method, String)> {
    let (manifest, layer) = (&image.digest, &image.layers[0].digest);
    let paths = [
        "manifests/latest".into(),
        format!("manifests/{manifest}"),
        format!("blobs/{layer}"),
        "tags/list".into(),
        format!("referrers/{manifest}"),
    ];
    let both = paths.into_iter().flat_map(|path| [Method::GET, Method::HEAD].map(|method| (method, format!("/v2/{repo}/{path}"))));
    both.collect()
}

/// Asks all at once, each of which must be answered in time; in the order of the questions.
async fn all_in_time(client: &Client, questions: &[(Method, String)]) -> Vec<Answer> {
    let mut asked = JoinSet::new();
    for (number, (method, path)) in questions.iter().cloned().enumerate() {
        let client = client.clone();
        asked.spawn(async move {
            let what = format!("{method} {path}");
            (number, within(HEADERS, &what, client.send(client.request(method, &path))).await)
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Nothing is there, so each answer must send the client on: that is 502 or 503, and not "unknown".
fn assert_sends_on(questions: &[(Method, String)], answers: &[Answer], about: &str) {
    for ((method, path), answer) in questions.iter().zip(answers) {
        assert!(matches!(answer.status.as_u16(), 502 | 503), "{about}: {method} {path}: {} {:?}", answer.status, answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_about_what_is_not_cached_is_answered_in_time_whatever_is_silent() {
    // What a question needs, and its answer if that is silent. A HEAD of a blob and a GET come to the CDN in the end.
    let silent: [(Filter, &[&str]); 7] = [
        (on(Kind::Token), &["manifests/", "blobs/", "tags/list", "referrers/"]),
        (on(Kind::Manifest).method("HEAD"), &["manifests/latest"]),
        (on(Kind::Manifest), &["manifests/"]),
        (on(Kind::Blob), &["blobs/"]),
        (on(Kind::Cdn), &["blobs/"]),
        (on(Kind::Tags), &["tags/list"]),
        (on(Kind::Referrers), &["referrers/"]),
    ];
    let mut hubs = JoinSet::new();
    for (filter, parts) in silent {
        hubs.spawn(async move {
            let (hub, _) = hub();
            let image = hub.image("library/other").tag("latest").seed(3).layers([300_000]).push();
            let mirror = Program::of_hub(&hub.url()).start();
            let _gate = hub.hold(filter.clone());
            let asked = questions("library/other", &image);
            let asked: Vec<_> = asked.into_iter().filter(|(_, path)| parts.iter().any(|part| path.contains(part))).collect();
            let answers = all_in_time(&Client::new(mirror.url()), &asked).await;
            assert_sends_on(&asked, &answers, &format!("{filter:?}"));
        });
    }
    while let Some(ended) = hubs.join_next().await {
        ended.expect("each in time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_waits_for_no_hub_that_is_silent() {
    let (hub, image) = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    let blobs = client.pull(REPO, "latest").await;
    hub.black_hole(true);
    let layer = format!("/v2/{REPO}/blobs/{}", image.layers[0].digest);
    let by_digest = format!("/v2/{REPO}/manifests/{}", image.digest);
    for path in [&layer, &by_digest] {
        let hit = within(HIT, path, client.get(path)).await;
        hit.whole();
        assert_eq!(within(HIT, path, client.head(path)).await.status, StatusCode::OK);
    }
    assert_eq!(within(HIT, "a range", client.range(&layer, "bytes=-500")).await.whole().len(), 500);
    let stale = within(STALE, "a tag", client.get(TAG)).await;
    assert!(stale.header("warning").starts_with("299 "), "{:?}", stale.headers);
    stale.whole();

    let list = within(HEADERS, "the list of tags", client.get(&format!("/v2/{REPO}/tags/list"))).await;
    assert!(list.header("warning").starts_with("299 "), "{:?}", list.headers);
    let referrers = within(STALE, "referrers", client.get(&format!("/v2/{REPO}/referrers/{}", image.digest))).await;
    assert!(
        String::from_utf8_lossy(&referrers.whole()).contains("\"manifests\":[]"),
        "an empty index, so that no engine asks the Hub itself"
    );
    assert_eq!(within(STALE, "a pull", client.pull(REPO, "latest")).await, blobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_of_private_images_make_no_hit_wait_for_a_hub_that_is_silent() {
    let (hub, image) = hub();
    hub.add_account("ci", "secret-word");
    let mirror = Program::of_hub(&hub.url()).account("ci", "secret-word").hub(", private: [\"acme/*\"], tag_window: 1h").start();
    Client::new(mirror.url()).pull(REPO, "latest").await;
    // After a start nobody has said lately that the repository is public.
    let mirror = tests::disk::restarted_after(mirror, |_| hub.black_hole(true));
    let client = Client::new(mirror.url());
    let layer = format!("/v2/{REPO}/blobs/{}", image.layers[0].digest);
    within(STALE, "a layer", client.get(&layer)).await.whole();
    within(STALE, "a manifest", client.get(&format!("/v2/{REPO}/manifests/{}", image.digest))).await.whole();
    within(STALE, "a tag", client.get(TAG)).await.whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_takes_no_connection_costs_no_more_than_one_that_takes_it_and_is_silent() {
    let (hub, image) = hub();
    let mirror = Program::of_hub(&hub.url()).start();
    let blobs = Client::new(mirror.url()).pull(REPO, "latest").await;
    let dead_end = DeadEnd::new().await;
    let text = std::fs::read_to_string(mirror.config()).expect("it was written");
    std::fs::write(mirror.config(), text.replace(&hub.url(), &dead_end.url())).expect("it is ours");
    mirror.signal("HUP");
    mirror.wait_for_log("the configuration was read again");

    let client = Client::new(mirror.url());
    let cold = questions("library/cold", &image);
    let answers = all_in_time(&client, &cold).await;
    assert_sends_on(&cold, &answers, "nobody takes the connection");
    let manifest = client.until(TAG, |answer| !answer.header("warning").is_empty()).await;
    assert_eq!(manifest.whole(), image.manifest);
    assert_eq!(within(STALE, "a pull", client.pull(REPO, "latest")).await, blobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_nobody_sends_is_had_as_soon_as_somebody_does() {
    let (hub, bytes) = (Hub::start(), noise(29, 300_000));
    let path = format!("/v2/{REPO}/blobs/{}", hub.put_blob(REPO, bytes.clone()));
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let gate = hub.hold(on(Kind::Cdn));
    let answer = within(HEADERS, "an error", client.get(&path)).await;
    assert!(matches!((answer.status.as_u16(), answer.code().as_str()), (502 | 503, "UNAVAILABLE")), "{}", answer.status);
    gate.release();
    let had = client.until(&path, |answer| answer.status.is_success()).await;
    assert!(had.whole() == bytes);
}
