//! The test Hub does what Docker Hub does, and each fault what its name says: what the other promises stand on.

mod client;
mod faults;

use client::{Client, get_image};
use tests::hub::{Auth, DOCKER_LIST, Fault, Host, Hub, KIB, Kind, OCI_INDEX, any, noise, on};

#[tokio::test]
async fn a_pull_goes_by_challenge_token_manifest_and_redirect() {
    let hub = Hub::start();
    let image = hub.image("library/alpine").tag("latest").layers([64 * KIB, 200 * KIB]).push();
    let client = Client::anonymous();

    let challenged = client.bare(&format!("{}/v2/library/alpine/manifests/latest", hub.url())).await;
    assert_eq!(challenged.status(), 401);
    let challenge = challenged.headers()["www-authenticate"].to_str().expect("ASCII").to_owned();
    let realm = format!("{}/token", hub.url_of(Host::Token));
    assert_eq!(challenge, format!("Bearer realm=\"{realm}\",service=\"registry.docker.io\",scope=\"repository:library/alpine:pull\""));

    let manifest = client.get(&hub, "library/alpine", "manifests/latest").await;
    assert_eq!(manifest.headers()["docker-content-digest"], image.digest.as_str());
    assert_eq!(manifest.headers()["content-type"], image.media_type.as_str());
    assert_eq!(manifest.bytes().await.expect("a manifest"), image.manifest);

    let redirect = client.get(&hub, "library/alpine", &format!("blobs/{}", image.layers[0].digest)).await;
    assert_eq!(redirect.status(), 307);
    let link = redirect.headers()["location"].to_str().expect("ASCII").to_owned();
    let blob = client.bare(&link).await.bytes().await.expect("a blob");
    assert_eq!(blob.len() as u64, image.layers[0].size);
    assert_eq!(tests::hub::Digest::sha256(&blob), image.layers[0].digest);

    assert_eq!(hub.count().bytes(on(Kind::Cdn).digest(&image.layers[0].digest)), image.layers[0].size);

    let refused = client.with_token(&link, "any").await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.expect("XML").contains("Only one auth mechanism allowed"));
    let count = hub.count();
    assert_eq!((count.gets(Kind::Manifest), count.gets(Kind::Blob), count.gets(Kind::Cdn)), (1, 1, 2), "{}", count.summary());
}

#[tokio::test]
async fn a_get_of_a_manifest_takes_from_the_quota_and_a_head_does_not() {
    let hub = Hub::start();
    hub.image("library/alpine").tag("latest").push();
    hub.quota(None, Some(1));
    let client = Client::anonymous();
    let mut seen = Vec::new();
    for method in ["HEAD", "GET", "HEAD", "GET"] {
        let reply = client.ask(method, &hub, "library/alpine", "manifests/latest").await;
        assert_eq!(reply.headers()["ratelimit-limit"], "1;w=21600");
        assert_eq!(reply.headers()["docker-ratelimit-source"], "127.0.0.1");
        seen.push((method, reply.status().as_u16(), reply.headers()["ratelimit-remaining"].to_str().expect("ASCII").to_owned()));
    }
    let zero = || "0;w=21600".to_owned();
    assert_eq!(seen, [("HEAD", 200, "1;w=21600".to_owned()), ("GET", 200, zero()), ("HEAD", 200, zero()), ("GET", 429, zero())]);
    hub.quota(None, None);
    let free = client.get(&hub, "library/alpine", "manifests/latest").await;
    assert_eq!((free.status().as_u16(), free.headers().get("ratelimit-limit")), (200, None));
}

#[tokio::test]
async fn a_private_repository_is_read_by_accounts_with_the_right_alone() {
    let hub = Hub::start();
    hub.add_account("ci", "secret");
    hub.add_account("other", "secret");
    hub.image("ci/app").tag("latest").push();
    hub.private("ci/app");
    hub.allow("ci", "ci/app");
    let ci = Client::of("ci", "secret");
    let status = async |client: &Client| client.get(&hub, "ci/app", "manifests/latest").await.status().as_u16();

    assert_eq!(status(&Client::anonymous()).await, 401);
    assert_eq!(status(&Client::of("other", "secret")).await, 401);
    assert_eq!(status(&ci).await, 200);
    assert_eq!(Client::of("ci", "wrong").token(&hub, "ci/app").await.status(), 401);
    hub.withdraw("ci", "ci/app");
    assert_eq!(status(&ci).await, 401);
    hub.set(|settings| settings.denial = 403);
    assert_eq!(status(&ci).await, 403);
    hub.allow("ci", "ci/app");
    assert_eq!(status(&ci).await, 200);
    hub.revoke_account("ci");
    assert_eq!(ci.token(&hub, "ci/app").await.status(), 401);
    hub.add_account("ci", "new");
    assert_eq!(ci.token(&hub, "ci/app").await.status(), 401);
    assert_eq!(status(&Client::of("ci", "new")).await, 200);
    hub.delete_repository("ci/app");
    assert_eq!(status(&Client::of("ci", "new")).await, 403);
}

#[tokio::test]
async fn a_token_is_good_for_its_account_repository_and_time() {
    let hub = Hub::start();
    hub.image("library/a").tag("latest").push();
    hub.image("library/b").tag("latest").push();
    let client = Client::anonymous();
    let token = client.token_text(&hub, "library/a").await;
    let status = async |repository: &str| {
        let reply = client.with_token(&format!("{}/v2/{repository}/manifests/latest", hub.url()), &token).await;
        reply.status().as_u16()
    };
    assert_eq!(status("library/a").await, 200);
    assert_eq!(status("library/b").await, 401);
    hub.revoke_tokens();
    assert_eq!(status("library/a").await, 401);
    hub.set(|settings| settings.token_lifetime = std::time::Duration::ZERO);
    assert_eq!(client.get(&hub, "library/a", "manifests/latest").await.status(), 401);
    hub.set(|settings| settings.auth = Auth::Open);
    assert_eq!(status("library/a").await, 200);
}

#[tokio::test]
async fn indexes_attestations_referrers_and_tags_are_served() {
    let hub = Hub::start();
    let amd = hub.image("library/multi").layers([8 * KIB]).push();
    let arm = hub.image("library/multi").platform("linux/arm64").seed(2).docker().push();
    let index = hub.index("library/multi").tag("latest").image(&amd).image(&arm).attestation(&amd).push();
    let list = hub.index("library/multi").docker().tag("list").image(&arm).push();
    let signature = hub.artifact(&amd, "application/vnd.test.signature", b"signed");
    let client = Client::anonymous();

    let reply = client.get(&hub, "library/multi", "manifests/latest").await;
    assert_eq!((reply.headers()["content-type"].to_str().expect("ASCII"), list.media_type.as_str()), (OCI_INDEX, DOCKER_LIST));
    let value: serde_json::Value = serde_json::from_slice(&reply.bytes().await.expect("an index")).expect("JSON");
    let attestation = &value["manifests"][2];
    assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], amd.digest.as_str());
    assert_eq!(
        client.get(&hub, "library/multi", &format!("manifests/{}", attestation["digest"].as_str().expect("text"))).await.status(),
        200
    );

    let old = "application/vnd.docker.distribution.manifest.v2+json";
    let child = client.accept(old).get(&hub, "library/multi", "manifests/latest").await;
    assert_eq!(child.headers()["docker-content-digest"], amd.digest.as_str());
    let whole = client.accept(old).get(&hub, "library/multi", &format!("manifests/{}", index.digest)).await;
    assert_eq!(whole.headers()["docker-content-digest"], index.digest.as_str());

    let found = client.text(&hub, "library/multi", &format!("referrers/{}?artifactType=application/vnd.test.signature", amd.digest)).await;
    assert!(found.contains(signature.digest.as_str()));
    let none = client.text(&hub, "library/multi", &format!("referrers/{}", arm.digest)).await;
    assert!(none.contains("\"manifests\":[]"), "{none}");

    let page = client.get(&hub, "library/multi", "tags/list?n=1").await;
    assert_eq!(page.headers()["link"], "</v2/library/multi/tags/list?last=latest&n=1>; rel=\"next\"");
    let page = client.text(&hub, "library/multi", "tags/list?n=1&last=latest").await;
    assert_eq!(page, r#"{"name":"library/multi","tags":["list"]}"#);
}

#[tokio::test]
async fn every_shape_of_content_is_pulled_whole() {
    let hub = Hub::start();
    let images = [
        hub.image("shapes/many").tag("latest").layers(vec![KIB; 100]).push(),
        hub.image("shapes/long").tag("latest").sha512().push(),
        hub.image("shapes/wide").tag("latest").padded_by(3_900_000).push(),
        hub.image("shapes/docker").tag("latest").docker().with_file("/bin/true", 0o755, b"#!".as_slice()).entrypoint(["/bin/true"]).push(),
    ];
    let client = Client::anonymous();
    for image in &images {
        let blobs = get_image(&client, &hub, image).await;
        assert_eq!(blobs, image.blobs().map(|blob| blob.size).collect::<Vec<_>>(), "{}", image.repository);
    }
    assert_eq!(hub.count().gets(Kind::Manifest), 4);
    let empty = hub.put_blob("shapes/empty", bytes::Bytes::new());
    let big = hub.put_blob("shapes/empty", noise(9, 3 * 1024 * KIB));
    assert_eq!(client.blob(&hub, "shapes/empty", &empty, None).await.expect("a blob").1.len(), 0);
    assert_eq!(client.blob(&hub, "shapes/empty", &big, None).await.expect("a blob").1, noise(9, 3 * 1024 * KIB));
}

#[tokio::test]
async fn a_gate_holds_requests_until_it_is_released() {
    let hub = Hub::start();
    hub.image("library/alpine").tag("latest").push();
    let gate = hub.hold(on(Kind::Manifest).repo("library/alpine"));
    let client = Client::anonymous();
    let (reply, ()) = tokio::join!(client.get(&hub, "library/alpine", "manifests/latest"), async {
        hub.wait_for(|count| count.held() == 1).await;
        assert_eq!(hub.count().gets(Kind::Manifest), 1);
        gate.release();
    });
    assert_eq!(reply.status(), 200);
    hub.wait_for(|count| count.running(any()) == 0).await;
    hub.forget();
    assert!(hub.count().all().is_empty());
}

#[tokio::test]
async fn over_https_it_is_trusted_by_its_own_ca_alone() {
    let hub = Hub::builder().tls().start().expect("a hub");
    let image = hub.image("library/alpine").tag("latest").push();
    let trusting = Client::trusting(hub.ca_pem().expect("a CA"));
    assert_eq!(get_image(&trusting, &hub, &image).await.len(), 2);
    assert!(Client::anonymous().try_bare(&hub.url()).await.is_err());
}

#[test]
fn it_serves_tests_that_are_not_async() {
    let hub = Hub::start();
    let gone = hub.faults().set(Fault::Delay(std::time::Duration::ZERO), any());
    let address = hub.address(Host::Registry);
    let asking = std::thread::spawn(move || client::raw(address, "GET /v2/ HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"));
    hub.wait_until(|count| count.challenges() == 1);
    hub.faults().remove(gone);
    assert!(asking.join().expect("an answer").starts_with("HTTP/1.1 401 "));
}
