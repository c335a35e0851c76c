//! What is asked for besides manifests and blobs: tag lists, the catalog, referrers, and canaries with their receipts.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::client::{Answer, Client};
use tests::hub::{Hub, Kind, OCI_INDEX, on};
use tests::operator::Operator;
use tests::program::Program;

const NONCE: &str = "00112233445566778899aabbccddeeff";

fn document(answer: Answer) -> Value {
    serde_json::from_slice(&answer.whole()).expect("JSON")
}

/// Follows `Link` from `path` on, and gives each page's `key`.
async fn pages(client: &Client, path: &str, key: &str) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let answer = client.get(&path).await;
        next = answer.header("link").strip_prefix('<').and_then(|link| link.split_once('>')).map(|(path, _)| path.to_owned());
        let names = document(answer)[key].as_array().expect("a list").clone();
        pages.push(names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect());
        assert!(pages.len() < 10, "the list never ends");
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_tags_is_the_upstreams_own_page_by_page() {
    let hub = Hub::start();
    let image = hub.image("library/alpine").tag("latest").push();
    for tag in ["3.20", "3.21", "3.22", "edge"] {
        hub.tag("library/alpine", tag, &image.digest);
    }
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let all = ["3.20", "3.21", "3.22", "edge", "latest"];
    assert_eq!(pages(&client, "/v2/library/alpine/tags/list", "tags").await, [all.to_vec()]);
    let paged = pages(&client, "/v2/library/alpine/tags/list?n=2", "tags").await;
    assert_eq!(paged, [vec!["3.20", "3.21"], vec!["3.22", "edge"], vec!["latest"]]);
    assert_eq!(pages(&client, "/v2/alpine/tags/list?last=edge&ns=docker.io", "tags").await, [["latest"]]);
    let unknown = client.get("/v2/no/repository/tags/list").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_upstream_the_cached_tags_are_the_list_and_a_warning_says_so() {
    let hub = Hub::start();
    let image = hub.image("library/alpine").tag("latest").push();
    hub.tag("library/alpine", "never-pulled", &image.digest);
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    client.pull("library/alpine", "latest").await;
    hub.down();
    let list = client.get("/v2/library/alpine/tags/list").await;
    assert!(list.header("warning").starts_with("299 "));
    assert_eq!(document(list)["tags"], json!(["latest"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_is_what_is_cached_page_by_page() {
    let (hub, other) = (Hub::start(), Hub::start());
    for repo in ["library/alpine", "acme/app", "team/tool"] {
        hub.image(repo).tag("1").push();
    }
    other.image("team/tool").tag("1").push();
    let mirror = Program::of_hub(&hub.url()).upstream(&format!("{{name: ghcr.io, url: \"{}\"}}", other.url())).start();
    let client = Client::new(mirror.url());
    assert_eq!(pages(&client, "/v2/_catalog", "repositories").await, [Vec::<String>::new()]);
    for repo in ["library/alpine", "acme/app", "team/tool", "ghcr.io/team/tool"] {
        client.pull(repo, "1").await;
    }
    Operator::of(&mirror).wait_until_written().await;
    let all = ["acme/app", "ghcr.io/team/tool", "library/alpine", "team/tool"];
    assert_eq!(pages(&client, "/v2/_catalog", "repositories").await, [all]);
    assert_eq!(pages(&client, "/v2/_catalog?n=3", "repositories").await, [all[..3].to_vec(), all[3..].to_vec()]);
    let wrong = client.get("/v2/_catalog?n=many").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_the_upstreams_or_an_empty_index_and_never_a_404() {
    let hub = Hub::start();
    let image = hub.image("library/alpine").tag("1").push();
    let lonely = hub.image("library/alpine").tag("2").seed(2).push();
    let sbom = hub.artifact(&image, "application/vnd.example.sbom", b"parts");
    hub.artifact(&image, "application/vnd.example.signature", b"signed");
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    let path = |digest: &str| format!("/v2/library/alpine/referrers/{digest}");

    let none = client.get(&path(lonely.digest.as_str())).await;
    assert_eq!(none.header("content-type"), OCI_INDEX);
    assert_eq!(document(none)["manifests"], json!([]));

    let all = document(client.get(&path(image.digest.as_str())).await);
    assert_eq!(all["manifests"].as_array().map(Vec::len), Some(2));
    let filtered = client.get(&format!("{}?artifactType=application/vnd.example.sbom", path(image.digest.as_str()))).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let filtered = document(filtered);
    assert_eq!(filtered["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(filtered["manifests"][0]["digest"], sbom.digest.as_str());
    client.pull("library/alpine", sbom.digest.as_str()).await;

    hub.set(|settings| settings.referrers = false); // An upstream that does not know the question.
    let unknown = client.get(&path(lonely.digest.as_str())).await;
    assert_eq!(document(unknown)["manifests"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_a_whole_image_that_no_upstream_hears_of_and_its_receipt_tells_who_pulled_it() {
    let hub = Hub::start();
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let receipts = async || document(client.get(&format!("/chandler/receipt/{NONCE}")).await)["receipts"].clone();
    assert_eq!(receipts().await, json!([]));
    let repo = format!("chandler-canary/{NONCE}");
    assert!(!client.pull(&repo, "latest").await.is_empty());
    let layer = client.pull(&repo, "latest").await.pop().expect("a canary has a layer");
    for (path, namespace) in [
        (format!("/v2/docker.io/{repo}/manifests/latest"), ""),
        (format!("/v2/{repo}/manifests/latest?ns=docker.io"), "docker.io"),
        (format!("/v2/{repo}/blobs/{layer}?ns=docker.io"), "docker.io"),
    ] {
        let answer = client.get(&path).await;
        assert_eq!(answer.header("oci-namespace"), namespace, "{path}");
        answer.whole();
    }
    let receipts = receipts().await;
    let what = |wanted: &str| receipts.as_array().into_iter().flatten().filter(|one| one["what"] == wanted).count();
    assert!(what("manifest") > 0 && what("config") > 0 && what("layer") > 0, "{receipts}");
    assert_eq!(receipts[0]["client"], "127.0.0.1");
    assert_eq!(hub.count().all().iter().filter(|seen| seen.target.contains("canary")).count(), 0, "{}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_like_a_canary_is_404_and_is_never_sent_upstream() {
    let hub = Hub::start();
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    for name in ["x", "00112233445566778899aabbccddeef", "00112233445566778899aabbccddeeff0", "00112233445566778899aabbccddeeff/more"] {
        for path in [
            format!("/v2/chandler-canary/{name}/manifests/latest"),
            format!("/v2/chandler-canary/{name}/blobs/sha256:{}", "0".repeat(64)),
            format!("/v2/chandler-canary/{name}/referrers/sha256:{}", "0".repeat(64)),
            format!("/v2/chandler-canary/{name}/tags/list"),
            format!("/v2/docker.io/chandler-canary/{name}/manifests/latest"),
        ] {
            assert_eq!(client.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    assert_eq!(document(client.get(&format!("/v2/chandler-canary/{NONCE}/tags/list")).await)["tags"], json!(["latest"]));
    assert_eq!(client.get("/chandler/receipt/x").await.status, StatusCode::BAD_REQUEST);
    let counts = hub.count();
    assert_eq!(counts.all().iter().filter(|seen| seen.target.contains("canary")).count(), 0, "{}", counts.summary());
    assert_eq!(counts.of(on(Kind::Tags)), 0);
}
