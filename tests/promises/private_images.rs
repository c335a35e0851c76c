//! "Private images are served only to whom the configuration says. Credentials are never logged, shown or sent to another host. An account that
//! the Hub refuses (revoked, expired) leaves public and cached images working and is loud in `/readyz`, metrics and `doctor`."

mod passwords;

use reqwest::{Method, StatusCode};
use tests::client::{Answer, Client};
use tests::hub::{Digest, Fault, Hub, ImageInfo, Kind, OCI_INDEX, noise, on};
use tests::operator::Operator;
use tests::program::{Builder, Program};

const USER: &str = "ci";
const PASSWORD: &str = "Pa55-w0rd-of-the-account";
const PRIVATE: &str = "acme/app";
const PUBLIC: &str = "library/alpine";

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

struct Images {
    hub: Hub,
    private: ImageInfo,
}

fn images_at(hub: Hub) -> Images {
    hub.add_account(USER, PASSWORD);
    let private = hub.image(PRIVATE).tag("1").seed(7).layers([200_000]).push();
    hub.private(PRIVATE);
    hub.allow(USER, PRIVATE);
    hub.image(PUBLIC).tag("1").push();
    Images { hub, private }
}

fn images() -> Images {
    images_at(Hub::start())
}

impl Images {
    fn mirror(&self) -> Builder {
        Program::of_hub(&self.hub.url()).account(USER, PASSWORD)
    }
}

fn manifest(repo: &str, reference: &str) -> String {
    format!("/v2/{repo}/manifests/{reference}")
}

/// All ways to the bytes of `image` under the name `repo` are shut, and no answer has a byte of them.
async fn assert_shut(client: &Client, repo: &str, image: &ImageInfo) {
    let layer = &image.layers[0].digest;
    let blob = format!("/v2/{repo}/blobs/{layer}");
    let by_digest = manifest(repo, image.digest.as_str());
    let answers: Vec<(&str, Answer)> = vec![
        ("manifest", client.get(&by_digest).await),
        ("manifest head", client.head(&by_digest).await),
        ("blob", client.get(&blob).await),
        ("blob head", client.head(&blob).await),
        ("blob range", client.range(&blob, "bytes=0-99").await),
        ("blob end", client.range(&blob, "bytes=-100").await),
        ("known blob", client.send(client.request(Method::GET, &blob).header("if-none-match", format!("\"{layer}\""))).await),
        ("config", client.get(&format!("/v2/{repo}/blobs/{}", image.config.as_ref().expect("an image").digest)).await),
    ];
    for (what, answer) in answers {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{what} of {repo}: {:?}", answer.body);
        assert!(answer.body.is_ok_and(|body| body.len() < 500), "{what} of {repo}");
    }
}

/// Looks until the operator's page at `path` has (or lacks) `text`: the mirror looks at its parts about once a second.
async fn admin_until(mirror: &Program, path: &str, text: &str, has: bool) {
    let has_it = |page: &Answer| String::from_utf8_lossy(page.body.as_ref().expect("a page")).contains(text) == has;
    Client::new(mirror.admin()).until(path, has_it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_pulled_with_the_account_and_no_login_on_the_client() {
    let images = images();
    let mirror = images.mirror().start();
    let client = Client::new(mirror.url());
    client.pull(PRIVATE, "1").await;
    client.pull(PUBLIC, "1").await;
    let counts = images.hub.count();
    for seen in counts.list(on(Kind::Manifest)) {
        assert_eq!(seen.account.as_deref(), Some(USER), "{}", counts.summary());
    }
    assert!(counts.list(on(Kind::Cdn)).iter().all(|seen| !seen.is_authorized()), "a token is no business of the CDN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_without_an_account_has_no_private_images() {
    let images = images();
    let mirror = Program::of_hub(&images.hub.url()).start();
    let client = Client::new(mirror.url());
    let answer = client.get(&manifest(PRIVATE, "1")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"));
    assert_shut(&client, PRIVATE, &images.private).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_say_which_private_images_are_served_and_the_quota_serves_every_public_one() {
    let images = images();
    let hub = &images.hub;
    let secret = hub.image("secret/plans").tag("1").seed(9).layers([200_000]).push();
    hub.private("secret/plans");
    hub.allow(USER, "secret/plans");
    let mirror = images.mirror().hub(", private: [\"acme/*\"]").start();
    let client = Client::new(mirror.url());
    client.pull(PRIVATE, "1").await;
    client.pull(PUBLIC, "1").await;
    for path in [manifest("secret/plans", "1"), manifest("secret/plans", secret.digest.as_str())] {
        assert_eq!(client.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(client.head(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_shut(&client, "secret/plans", &secret).await;
    assert_eq!(client.get("/v2/secret/plans/tags/list").await.status, StatusCode::NOT_FOUND, "nor the names of its tags");
    let referrers = client.get(&format!("/v2/secret/plans/referrers/{}", secret.digest)).await;
    assert_eq!(referrers.status, StatusCode::NOT_FOUND, "nor who refers to it");
    assert!(client.get("/v2/acme/app/tags/list").await.status.is_success());
    let counts = hub.count();
    let pulls = counts.list(on(Kind::Manifest).method("GET").repo(PUBLIC));
    assert!(!pulls.is_empty() && pulls.iter().all(|seen| seen.account.as_deref() == Some(USER)), "{}", counts.summary());
    assert_eq!(counts.of(on(Kind::Manifest).method("GET").repo("secret/plans")), 0, "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_hold_while_the_hub_is_down_and_what_was_public_is_still_served() {
    let images = images();
    let mirror = images.mirror().hub(", private: []").start();
    let client = Client::new(mirror.url());
    let public = client.pull(PUBLIC, "1").await;
    assert_eq!(client.get(&manifest(PRIVATE, "1")).await.status, StatusCode::NOT_FOUND);
    images.hub.down();
    assert_eq!(client.pull(PUBLIC, "1").await, public);
    Operator::of(&mirror).wait_until_written().await;
    let mirror = mirror.crash_and_restart();
    let client = Client::new(mirror.url());
    assert_eq!(client.pull(PUBLIC, "1").await, public);
    for path in [manifest(PRIVATE, "1"), manifest(PRIVATE, images.private.digest.as_str())] {
        assert!(!client.get(&path).await.status.is_success(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn narrower_patterns_shut_what_was_cached_under_wider_ones() {
    let images = images();
    let mirror = images.mirror().start();
    let client = Client::new(mirror.url());
    let public = client.pull(PUBLIC, "1").await;
    client.pull(PRIVATE, "1").await;
    let text = std::fs::read_to_string(mirror.config()).expect("it was written");
    std::fs::write(mirror.config(), text.replace("account: {", "private: [], account: {")).expect("it is ours");
    mirror.signal("HUP");
    mirror.wait_for_log("the configuration was read again");
    assert_eq!(client.get(&manifest(PRIVATE, "1")).await.status, StatusCode::NOT_FOUND);
    assert_shut(&client, PRIVATE, &images.private).await;
    assert_eq!(client.pull(PUBLIC, "1").await, public);
    Operator::of(&mirror).wait_until_written().await;
    let mirror = mirror.crash_and_restart();
    let client = Client::new(mirror.url());
    assert_shut(&client, PRIVATE, &images.private).await;
    assert_eq!(client.pull(PUBLIC, "1").await, public);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_of_a_private_image_is_worth_nothing_under_another_name() {
    let images = images();
    let mirror = images.mirror().start();
    let client = Client::new(mirror.url());
    client.pull(PUBLIC, "1").await;
    for name in [PUBLIC, "library/never-heard-of"] {
        assert_shut(&client, name, &images.private).await;
    }
    client.pull(PRIVATE, "1").await; // Now its bytes are on the mirror's disk.
    for name in [PUBLIC, "library/never-heard-of", "docker.io/library/alpine"] {
        assert_shut(&client, name, &images.private).await;
    }
    Operator::of(&mirror).wait_until_written().await;
    let mirror = mirror.crash_and_restart();
    let client = Client::new(mirror.url());
    for name in [PUBLIC, "library/never-heard-of"] {
        assert_shut(&client, name, &images.private).await;
    }
    client.pull(PRIVATE, "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_layer_that_is_just_being_fetched_is_worth_nothing_under_another_name() {
    let images = images();
    let mirror = images.mirror().start();
    let client = Client::new(mirror.url());
    client.get(&manifest(PRIVATE, "1")).await.whole();
    let layer = &images.private.layers[0].digest;
    let gate = images.hub.hold_at(100_000, on(Kind::Cdn).digest(layer));
    let reader = client.open(&format!("/v2/{PRIVATE}/blobs/{layer}")).await;
    for name in [PUBLIC, "library/never-heard-of"] {
        assert_shut(&client, name, &images.private).await;
    }
    gate.release();
    assert_eq!(reader.rest().await.expect("a whole body").len() as u64, images.private.layers[0].size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_account_leaves_public_and_cached_images_and_readyz_says_so() {
    let images = images();
    let hub = &images.hub;
    hub.image("library/new").tag("1").seed(11).push();
    hub.image("acme/other").tag("1").seed(12).push();
    hub.private("acme/other");
    hub.allow(USER, "acme/other");
    let mirror = images.mirror().hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    let (private, public) = (client.pull(PRIVATE, "1").await, client.pull(PUBLIC, "1").await);
    hub.revoke_account(USER);
    assert_eq!(client.pull(PRIVATE, "1").await, private, "cached");
    client.until(&manifest(PRIVATE, "1"), |answer| answer.header("warning").contains("refuses this mirror's account")).await;
    assert_eq!(client.pull(PUBLIC, "1").await, public, "cached and public");
    client.pull("library/new", "1").await;
    let refused = client.get(&manifest("acme/other", "1")).await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY, "it is there, and we cannot have it: not a 404");
    admin_until(&mirror, "/readyz", "refuses the account", true).await;
    assert!(Client::new(mirror.admin()).get("/readyz").await.status.is_success(), "a warning: what works goes on");
    admin_until(&mirror, "/figures", "refused", true).await;
    admin_until(&mirror, "/metrics", "chandler_upstream_account_accepted{upstream=\"docker.io\"} 0\n", true).await;

    hub.add_account(USER, PASSWORD);
    mirror.signal("HUP");
    admin_until(&mirror, "/readyz", "refuses the account", false).await;
    client.pull("acme/other", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_withdrawn_shuts_the_repository_until_it_is_given_back() {
    for denial in [401, 403] {
        let images = images();
        images.hub.set(|settings| settings.denial = denial);
        let mirror = images.mirror().hub(", tag_window: 0s").start();
        let client = Client::new(mirror.url());
        let blobs = client.pull(PRIVATE, "1").await;
        images.hub.withdraw(USER, PRIVATE);
        assert_eq!(client.get(&manifest(PRIVATE, "1")).await.status, StatusCode::NOT_FOUND, "{denial}");
        for page in ["tags/list".to_owned(), format!("referrers/{}", images.private.digest)] {
            assert_eq!(client.get(&format!("/v2/{PRIVATE}/{page}")).await.status, StatusCode::NOT_FOUND, "{denial}: {page}");
        }
        assert_shut(&client, PRIVATE, &images.private).await;
        let mirror = mirror.crash_and_restart();
        let client = Client::new(mirror.url());
        assert_shut(&client, PRIVATE, &images.private).await;
        images.hub.allow(USER, PRIVATE);
        // A token that was made without the right is used until it is a few seconds old.
        client.until(&manifest(PRIVATE, "1"), |answer| answer.status.is_success()).await;
        assert_eq!(client.pull(PRIVATE, "1").await, blobs, "{denial}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_layer_shuts_the_repository_when_its_tag_is_refused_too() {
    for denial in [401, 403] {
        let images = images();
        images.hub.set(|settings| settings.denial = denial);
        let mirror = images.mirror().hub(", tag_window: 1h").start();
        let client = Client::new(mirror.url());
        client.get(&manifest(PRIVATE, "1")).await.whole(); // And none of its layers.
        images.hub.withdraw(USER, PRIVATE);
        let layer = format!("/v2/{PRIVATE}/blobs/{}", images.private.layers[0].digest);
        assert_eq!(client.get(&layer).await.status, StatusCode::NOT_FOUND, "{denial}");
        mirror.wait_for_log("the upstream refuses this repository now");
        assert_shut(&client, PRIVATE, &images.private).await;
        let mirror = mirror.crash_and_restart();
        let client = Client::new(mirror.url());
        assert_shut(&client, PRIVATE, &images.private).await;
        images.hub.allow(USER, PRIVATE);
        client.until(&manifest(PRIVATE, "1"), |answer| answer.status.is_success()).await;
        client.pull(PRIVATE, "1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_alone_is_refused_shuts_nothing() {
    for fault in [Fault::Status(403), Fault::Unauthorized] {
        let images = images();
        let layer = &images.private.layers[0].digest;
        images.hub.faults().set(fault.clone(), on(Kind::Blob).digest(layer));
        let mirror = images.mirror().hub(", tag_window: 1h").start();
        let client = Client::new(mirror.url());
        client.get(&manifest(PRIVATE, "1")).await.whole();
        images.hub.forget();
        let blob = format!("/v2/{PRIVATE}/blobs/{layer}");
        assert_eq!(client.get(&blob).await.status, StatusCode::NOT_FOUND, "{fault:?}");
        let counts = images.hub.count();
        assert_eq!(counts.of(on(Kind::Manifest).method("HEAD")), 1, "{fault:?}: its tag decides: {}", counts.summary());
        client.get(&manifest(PRIVATE, images.private.digest.as_str())).await.whole();
        client.get(&format!("/v2/{PRIVATE}/blobs/{}", images.private.config.as_ref().expect("an image").digest)).await.whole();
        images.hub.faults().clear();
        client.get(&blob).await.whole();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_refused_to_nobody_in_particular_is_no_loss_of_the_accounts_access() {
    let images = images();
    images.hub.faults().set(Fault::Status(403), on(Kind::Blob).anonymous());
    let mirror = images.mirror().hub(", private: []").start();
    let client = Client::new(mirror.url());
    let image: serde_json::Value = serde_json::from_slice(&client.get(&manifest(PUBLIC, "1")).await.whole()).expect("a manifest");
    images.hub.forget();
    let layer = image["layers"][0]["digest"].as_str().expect("a digest");
    assert_eq!(client.get(&format!("/v2/{PUBLIC}/blobs/{layer}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(images.hub.count().of(on(Kind::Manifest)), 0, "{}", images.hub.count().summary());
    images.hub.faults().clear();
    client.pull(PUBLIC, "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_names_a_private_layer_is_no_way_to_it() {
    let images = images();
    let hub = &images.hub;
    let own = hub.image("mallory/app").tag("own").seed(33).push();
    let mirror = images.mirror().start();
    let client = Client::new(mirror.url());
    client.pull(PRIVATE, "1").await; // Now its bytes are on the mirror's disk.
    let (secret, size) = (&images.private.layers[0].digest, images.private.layers[0].size);
    let (config, layer) = (own.config.as_ref().expect("an image"), &own.layers[0]);
    let described = |digest: &Digest, size: u64| format!(r#""digest":"{digest}","size":{size}"#);
    let (config, layer, stolen) = (described(&config.digest, config.size), described(&layer.digest, layer.size), described(secret, size));
    // What registries take although they do not have the layer: its owner says that clients fetch it from elsewhere, or they look at another field.
    let manifests = [
        ("urls", OCI, format!(r#"{{"config":{{{config}}},"layers":[{{{stolen},"urls":["https://example.com/x"]}}]}}"#)),
        ("foreign", DOCKER, format!(r#"{{"config":{{{config}}},"layers":[{{{stolen},"mediaType":"{FOREIGN}"}}]}}"#)),
        ("index", OCI_INDEX, format!(r#"{{"manifests":[],"layers":[{{{stolen}}}]}}"#)),
        ("twins", OCI, format!(r#"{{"config":{{{config}}},"layers":[{{{stolen}}}],"Layers":[{{{layer}}}]}}"#)),
    ];
    for (tag, media_type, document) in manifests {
        let document = document.replacen('{', &format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","#), 1);
        hub.put_manifest("mallory/app", Some(tag), media_type, &document.into());
        client.get(&manifest("mallory/app", tag)).await.whole();
        let blob = format!("/v2/mallory/app/blobs/{secret}");
        for answer in [client.get(&blob).await, client.head(&blob).await, client.range(&blob, "bytes=0-99").await] {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{tag}");
        }
    }
    // Where the registry does have it, it is served: it was asked.
    let pushed = hub.put_blob("mallory/app", noise(5, 100_000));
    let document = format!(
        r#"{{"schemaVersion":2,"config":{{{config}}},"layers":[{{{},"urls":["https://example.com/x"]}}]}}"#,
        described(&pushed, 100_000)
    );
    hub.put_manifest("mallory/app", Some("pushed"), OCI, &document.into());
    client.pull("mallory/app", "pushed").await;
    client.pull("mallory/app", "own").await;
}
