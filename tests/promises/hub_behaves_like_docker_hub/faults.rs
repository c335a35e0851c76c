//! Each fault, seen by a client.

use std::time::Duration;

use tests::hub::{Digest, Fault, Host, Hub, KIB, Kind, any, noise, on};

use super::client::{Client, raw};

const REPO: &str = "library/alpine";
const SIZE: usize = 600 * KIB;

struct Bench {
    hub: Hub,
    client: Client,
    blob: Digest,
}

fn bench() -> Bench {
    let hub = Hub::start();
    hub.image(REPO).tag("latest").push();
    let blob = hub.put_blob(REPO, noise(3, SIZE));
    Bench { hub, client: Client::anonymous(), blob }
}

impl Bench {
    async fn manifest(&self) -> (u16, String) {
        let reply = self.client.get(&self.hub, REPO, "manifests/latest").await;
        (reply.status().as_u16(), reply.text().await.expect("a body"))
    }

    async fn blob(&self, range: Option<&str>) -> reqwest::Result<(u16, bytes::Bytes)> {
        self.client.blob(&self.hub, REPO, &self.blob, range).await
    }
}

#[tokio::test]
async fn each_wrong_answer_is_given_as_often_as_it_was_asked_for() {
    let b = bench();
    for (fault, status, text) in [
        (Fault::Status(503), 503, "a fault of the test"),
        (Fault::Html, 200, "<!DOCTYPE html>"),
        (Fault::PullLimit, 429, "increase-rate-limit"),
        (Fault::AbuseLimit, 429, "Too Many Requests"),
        (Fault::Unauthorized, 401, "UNAUTHORIZED"),
        (Fault::Delay(Duration::from_millis(1)), 200, "schemaVersion"),
    ] {
        b.hub.faults().set(fault.clone(), on(Kind::Manifest).repo(REPO).method("GET").nth(2));
        assert_eq!(b.manifest().await.0, 200, "{fault:?}");
        let (found, body) = b.manifest().await;
        assert!(found == status && body.contains(text), "{fault:?}: {found} {body}");
        assert_eq!(b.manifest().await.0, 200, "{fault:?}");
        b.hub.faults().clear();
    }
    for status in [401, 404, 405] {
        b.hub.faults().set(Fault::Status(status), on(Kind::Manifest).method("HEAD"));
        assert_eq!(b.client.ask("HEAD", &b.hub, REPO, "manifests/latest").await.status(), status);
        assert_eq!(b.manifest().await.0, 200);
        b.hub.faults().clear();
    }
    b.hub.faults().set(Fault::Drop, on(Kind::Manifest).times(1));
    assert!(b.client.try_ask("GET", &b.hub, REPO, "manifests/latest").await.is_err());
}

#[tokio::test]
async fn the_token_service_fails_on_its_own() {
    let b = bench();
    for (fault, status) in [(Fault::AbuseLimit, 429), (Fault::Status(500), 500)] {
        b.hub.faults().set(fault, Kind::Token);
        assert_eq!(b.client.token(&b.hub, REPO).await.status(), status);
        b.hub.faults().clear();
    }
    let rule = b.hub.faults().set(Fault::Hang, Kind::Token);
    let (reply, ()) = tokio::join!(b.client.token(&b.hub, REPO), async {
        b.hub.wait_for(|count| count.held() == 1).await;
        b.hub.faults().remove(rule);
    });
    assert_eq!(reply.status(), 200);
}

#[tokio::test]
async fn a_429_with_bare_line_feeds_is_sent_as_it_is() {
    let b = bench();
    let token = b.client.token_text(&b.hub, REPO).await;
    b.hub.faults().set(Fault::AbuseLimitBareLf, Kind::Manifest);
    let address = b.hub.address(Host::Registry);
    let request = format!("GET /v2/{REPO}/manifests/latest HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\n\r\n");
    let answer = tokio::task::spawn_blocking(move || raw(address, &request)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\n") && !answer.contains('\r'), "{answer}");
    assert!(answer.contains("\nRetry-After: 60\n") && answer.contains("\nConnection: close\n"), "{answer}");
}

#[tokio::test]
async fn headers_are_left_out_or_wrong() {
    let b = bench();
    let head = async |fault: Fault| {
        b.hub.faults().set(fault, on(Kind::Manifest).times(1));
        b.client.get(&b.hub, REPO, "manifests/latest").await.headers().clone()
    };
    assert_eq!(head(Fault::ContentType("text/html")).await["content-type"], "text/html");
    assert!(!head(Fault::ContentType("")).await.contains_key("content-type"));
    assert!(!head(Fault::NoDigestHeader).await.contains_key("docker-content-digest"));
    assert!(!head(Fault::NoContentLength).await.contains_key("content-length"));
    assert_eq!(head(Fault::Gzip).await["content-encoding"], "gzip");
}

#[tokio::test]
async fn bodies_are_cut_ended_early_and_flipped_where_told() {
    let b = bench();
    let whole = noise(3, SIZE);
    for fault in [Fault::CutAt(1000), Fault::CutChunkedAt(1000)] {
        b.hub.faults().set(fault.clone(), on(Kind::Blob).times(1));
        assert!(b.blob(None).await.is_err(), "{fault:?}");
        assert_eq!(b.hub.count().list(Kind::Cdn).last().map(|seen| seen.bytes), Some(1000));
        assert_eq!(b.blob(None).await.expect("a blob").1, whole);
    }
    b.hub.faults().set(Fault::EndChunkedAt(1000), on(Kind::Cdn).times(1));
    assert_eq!(b.blob(None).await.expect("a clean end").1, whole[..1000]);
    for (fault, at) in [(Fault::FlipByte(77), 77), (Fault::FlipLastByte, SIZE - 1)] {
        b.hub.faults().set(fault, on(Kind::Cdn).times(1));
        let bytes = b.blob(None).await.expect("a blob").1;
        let wrong: Vec<usize> = (0..SIZE).filter(|index| bytes[*index] != whole[*index]).collect();
        assert_eq!(wrong, [at]);
    }
}

#[tokio::test]
async fn ranges_are_right_ignored_or_wrong() {
    let b = bench();
    let whole = noise(3, SIZE);
    assert_eq!(b.blob(Some("bytes=10-19")).await.expect("a range"), (206, whole.slice(10..20)));
    assert_eq!(b.blob(Some("bytes=700000-")).await.expect("a range").0, 416);
    for (fault, status, from, said) in [
        (Fault::RangeIgnored, 200, 0, None),
        (Fault::RangeOffByOne, 206, 11, Some("bytes 11-614399/614400")),
        (Fault::RangeLies, 206, 11, Some("bytes 10-614399/614400")),
    ] {
        b.hub.faults().set(fault, on(Kind::Cdn).times(1));
        let reply = b.client.blob_head(&b.hub, REPO, &b.blob, Some("bytes=10-")).await;
        assert_eq!(reply.status(), status);
        assert_eq!(reply.headers().get("content-range").map(|value| value.to_str().expect("ASCII")), said);
        assert_eq!(reply.bytes().await.expect("a range"), whole.slice(from..));
    }
}

#[tokio::test]
async fn a_body_stalls_at_its_byte_until_it_is_released() {
    let b = bench();
    let gate = b.hub.hold_at(5000, Kind::Blob);
    let (blob, ()) = tokio::join!(b.blob(None), async {
        b.hub.wait_for(|count| count.bytes(Kind::Cdn) == 5000).await;
        assert_eq!(b.hub.count().running(Kind::Cdn), 1);
        gate.release();
    });
    assert_eq!(blob.expect("a blob").1, noise(3, SIZE));
}

#[tokio::test]
async fn bytes_a_second_pace_a_body() {
    let b = bench();
    b.hub.faults().set(Fault::BytesPerSecond(6_000_000), Kind::Cdn);
    let started = std::time::Instant::now();
    assert_eq!(b.blob(None).await.expect("a blob").1.len(), SIZE);
    // Slower is a matter of the machine; faster would be a matter of the code.
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_tag_moves_after_some_requests() {
    let b = bench();
    let other = b.hub.image(REPO).seed(2).push();
    b.hub.faults().set(Fault::TagIs(other.digest.clone()), on(Kind::Manifest).reference("latest").skip(1));
    let digest = async |method: &str| {
        b.client.ask(method, &b.hub, REPO, "manifests/latest").await.headers()["docker-content-digest"].to_str().expect("ASCII").to_owned()
    };
    assert_ne!(digest("HEAD").await, other.digest.as_str());
    assert_eq!(digest("GET").await, other.digest.as_str());
}

#[tokio::test]
async fn links_to_the_cdn_expire() {
    let b = bench();
    b.hub.set(|settings| settings.link_lifetime = Duration::ZERO);
    let redirect = b.client.get(&b.hub, REPO, &format!("blobs/{}", b.blob)).await;
    let link = redirect.headers()["location"].to_str().expect("ASCII").to_owned();
    b.hub.set(|settings| settings.redirects = false);
    assert_eq!(b.client.get(&b.hub, REPO, &format!("blobs/{}", b.blob)).await.status(), 200);
    assert_eq!(b.client.bare(&link).await.status(), 403);
}

#[tokio::test]
async fn challenges_and_realms_are_what_the_test_says() {
    let hub = Hub::builder().token_on([127, 0, 0, 9].into()).start().expect("a hub");
    let url = format!("{}/v2/", hub.url());
    let client = Client::anonymous();
    let challenges = async || {
        let reply = client.bare(&url).await;
        reply.headers().get_all("www-authenticate").iter().map(|value| value.to_str().expect("ASCII").to_owned()).collect::<Vec<_>>()
    };
    assert!(challenges().await[0].starts_with("Bearer realm=\"http://127.0.0.9:"));
    hub.set(|settings| settings.challenge = Some("Negotiate\nbearer service=\"{service}\", realm=\"{realm}\"".to_owned()));
    let realm = format!("{}/token", hub.url_of(Host::Token));
    assert_eq!(challenges().await, ["Negotiate".to_owned(), format!("bearer service=\"registry.docker.io\", realm=\"{realm}\"")]);
}

#[tokio::test]
async fn it_goes_down_and_comes_back_on_the_same_port() {
    let b = bench();
    let gate = b.hub.hold_at(5000, Kind::Blob);
    let (cut, ()) = tokio::join!(b.blob(None), async {
        b.hub.wait_for(|count| count.bytes(Kind::Cdn) == 5000).await;
        b.hub.down();
    });
    assert!(cut.is_err());
    gate.release();
    let refused = b.client.try_bare(&b.hub.url()).await.expect_err("it is down");
    assert!(refused.is_connect(), "{refused:?}");
    b.hub.up();
    assert_eq!(b.manifest().await.0, 200);
    b.hub.down_host(Host::Cdn);
    assert_eq!(b.manifest().await.0, 200);
    b.hub.up();
    assert_eq!(b.blob(None).await.expect("a blob").0, 200);
}

#[tokio::test]
async fn a_black_hole_accepts_and_stays_silent() {
    let b = bench();
    let token = b.client.token_text(&b.hub, REPO).await;
    b.hub.black_hole(true);
    let before = b.hub.count().connections();
    let url = format!("{}/v2/{REPO}/manifests/latest", b.hub.url());
    let (reply, ()) = tokio::join!(b.client.with_token(&url, &token), async {
        b.hub.wait_for(|count| count.connections() > before).await;
        assert_eq!(b.hub.count().of(any().method("GET").repo(REPO)), 1, "the token alone was answered");
        b.hub.black_hole(false);
    });
    assert_eq!(reply.status(), 200);
}
