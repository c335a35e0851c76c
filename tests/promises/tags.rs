//! "A tag is as fresh as the Hub's own answer, at no quota: one HEAD per tag and window (default 1 s, so a job sees what the job before pushed),
//! shared by all who ask; GET only for a digest never seen."
//!
//! A window of an hour never ends within a test, and one of nothing ends at once: neither needs a clock. The default is a second, and is measured.

use std::time::Instant;

use reqwest::StatusCode;
use tests::client::{Answer, Client};
use tests::hub::{Digest, Fault, Hub, ImageInfo, Kind, on};
use tests::program::Program;
use tests::promised::{MARGIN, WINDOW, within};

const REPO: &str = "library/alpine";
const TAG: &str = "/v2/library/alpine/manifests/latest";

fn hub() -> (Hub, ImageInfo) {
    let hub = Hub::start();
    let image = hub.image(REPO).tag("latest").layers([70_000, 4096]).push();
    (hub, image)
}

fn digest(answer: &Answer) -> &str {
    answer.header("docker-content-digest")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_questions_for_one_tag_cost_one_head_one_token_and_one_get() {
    let (hub, image) = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    let client = Client::new(mirror.url());
    let askers: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..10 {
                    seen.push(digest(&client.head(TAG).await).to_owned());
                    seen.push(digest(&client.get(TAG).await).to_owned());
                }
                seen
            })
        })
        .collect();
    for asker in askers {
        assert!(asker.await.expect("no panic").iter().all(|seen| seen == image.digest.as_str()));
    }
    let counts = hub.count();
    assert_eq!(counts.of(on(Kind::Manifest).repo(REPO).method("HEAD")), 1, "{}", counts.summary());
    assert_eq!(counts.of(on(Kind::Manifest).repo(REPO).method("GET")), 1, "{}", counts.summary());
    assert_eq!(counts.of(on(Kind::Token).repo(REPO)), 1, "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_setting_the_window_is_a_second() {
    let (hub, _) = hub();
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let heads = || hub.count().of(on(Kind::Manifest).repo(REPO).method("HEAD"));
    let (began, mut asked) = (Instant::now(), 0);
    while heads() < 4 {
        client.get(TAG).await.whole();
        asked += 1;
    }
    let took = began.elapsed();
    assert!((3 * WINDOW..3 * WINDOW + MARGIN).contains(&took), "the upstream was asked a fourth time after {took:?}");
    assert!(asked >= 4, "{asked} questions");
    assert_eq!(hub.count().of(on(Kind::Manifest).repo(REPO).method("GET")), 1, "{}", hub.count().summary());

    let after = hub.image(REPO).tag("latest").seed(2).push();
    let is_new = |answer: &Answer| digest(answer) == after.digest.as_str();
    within(WINDOW, "what the job before pushed", client.until(TAG, is_new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_is_seen_at_the_next_check_and_a_known_digest_is_never_fetched_again() {
    let (hub, before) = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    assert_eq!(digest(&client.get(TAG).await), before.digest.as_str());
    let after = hub.image(REPO).tag("latest").seed(2).push();
    assert_eq!(digest(&client.get(TAG).await), after.digest.as_str());
    hub.tag(REPO, "latest", &before.digest);
    let back = client.get(TAG).await;
    assert_eq!(digest(&back), before.digest.as_str());
    assert_eq!(back.whole(), before.manifest);
    let counts = hub.count();
    assert_eq!(counts.of(on(Kind::Manifest).repo(REPO).method("HEAD")), 3, "{}", counts.summary());
    assert_eq!(counts.of(on(Kind::Manifest).repo(REPO).method("GET")), 2, "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_costs_no_quota_by_tag_or_by_digest() {
    let (hub, image) = hub();
    hub.quota(None, Some(0)); // Not one pull is left.
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    for reference in ["latest", image.digest.as_str()] {
        let head = client.head(&format!("/v2/{REPO}/manifests/{reference}")).await;
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(digest(&head), image.digest.as_str());
        assert_eq!(head.header("content-length"), image.manifest.len().to_string());
        assert_eq!(head.header("content-type"), image.media_type);
    }
    assert_eq!(hub.count().gets(Kind::Manifest), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_between_head_and_get_answers_with_what_the_head_said() {
    let (hub, before) = hub();
    let after = hub.image(REPO).tag("next").seed(2).push();
    hub.faults().set(Fault::TagIs(after.digest.clone()), on(Kind::Manifest).reference("latest").skip(1));
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    let answer = Client::new(mirror.url()).get(TAG).await;
    assert_eq!(digest(&answer), before.digest.as_str());
    assert_eq!(Digest::sha256(&answer.whole()), before.digest);
    assert_eq!(hub.count().of(on(Kind::Manifest).method("GET").reference("latest")), 0, "content is asked for by digest only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_while_ten_clients_pull_gives_each_of_them_one_whole_image() {
    let (hub, before) = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    let gate = hub.hold(on(Kind::Cdn));
    let pulls: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.pull(REPO, "latest").await })
        })
        .collect();
    hub.wait_for(|counts| counts.held() == 1).await;
    let after = hub.image(REPO).tag("latest").seed(2).layers([50_000, 60_000]).push();
    gate.release();
    let names = |image: &ImageInfo| image.blobs().map(|blob| blob.digest.to_string()).collect::<Vec<_>>();
    let images = [names(&before), names(&after)];
    for pull in pulls {
        assert!(images.contains(&pull.await.expect("a whole image")), "blobs of one image, not of two");
    }
    assert_eq!(client.pull(REPO, "latest").await, images[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_such_tag_is_404_and_is_forgotten_within_a_second_of_the_longest_window() {
    let (hub, _) = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    let client = Client::new(mirror.url());
    let path = "/v2/library/alpine/manifests/new";
    let missing = client.get(path).await;
    assert_eq!((missing.status, missing.code().as_str()), (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"));
    assert_eq!(client.head(path).await.status, StatusCode::NOT_FOUND);
    let pushed = hub.image(REPO).tag("new").seed(3).push();
    let found = client.until(path, |answer| answer.status.is_success()).await;
    assert_eq!(digest(&found), pushed.digest.as_str());
    let nowhere = client.get("/v2/no/repository/manifests/latest").await;
    assert_eq!((nowhere.status, nowhere.code().as_str()), (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_never_remembered_as_no_such_tag() {
    let (hub, image) = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    let client = Client::new(mirror.url());
    let rule = hub.faults().set(Fault::Status(503), on(Kind::Manifest));
    assert_eq!(client.get(TAG).await.status, StatusCode::BAD_GATEWAY);
    hub.faults().remove(rule);
    assert_eq!(digest(&client.get(TAG).await), image.digest.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tag_is_served_with_a_warning_in_its_grace_time_and_then_as_the_setting_says() {
    for (setting, status) in [
        ("{grace: 1h, then: remove}", StatusCode::OK),
        ("{grace: 0s, then: keep}", StatusCode::OK),
        ("{grace: 0s, then: remove}", StatusCode::NOT_FOUND),
    ] {
        let (hub, image) = hub();
        let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").store(&format!(", deleted_tags: {setting}")).start();
        let client = Client::new(mirror.url());
        client.pull(REPO, "latest").await;
        hub.delete_tag(REPO, "latest");
        for _ in 0..3 {
            let answer = client.get(TAG).await;
            assert_eq!(answer.status, status, "{setting}");
            assert_eq!(answer.header("warning").starts_with("299 "), status.is_success(), "{setting}");
        }
        client.get(&format!("/v2/{REPO}/manifests/{}", image.digest)).await.whole();
        hub.tag(REPO, "latest", &image.digest);
        let again = client.until(TAG, |answer| answer.status.is_success() && answer.header("warning").is_empty()).await;
        assert_eq!(again.whole(), image.manifest);
    }
}
