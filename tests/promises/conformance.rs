//! The pull workflow of the OCI distribution specification, asked of the mirror as a registry: each MUST of it that concerns who only reads, for every
//! shape of content that its conformance suite pulls. The suite itself is no Go module that can be had from a proxy, so its questions are asked here.

use std::collections::BTreeSet;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tests::client::{Answer, Client};
use tests::hub::{Digest, Hub, ImageInfo, OCI_INDEX, noise};
use tests::program::Program;

const REPO: &str = "myorg/myrepo";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A Hub with all shapes, a mirror of it, and what was put there.
struct Registry {
    client: Client,
    hub: Hub,
    images: Vec<ImageInfo>,
    _mirror: Program,
}

impl Registry {
    fn start() -> Self {
        let hub = Hub::start();
        let plain = hub.image(REPO).tag("plain").layers([5000, 70_000]).push();
        let docker = hub.image(REPO).tag("docker").seed(2).docker().push();
        let none = hub.image(REPO).tag("no-layers").seed(3).layers([]).push();
        let large = hub.image(REPO).tag("large-manifest").seed(4).padded_by(3_900_000).push();
        let sha512 = hub.image(REPO).tag("sha512").seed(5).sha512().push();
        let arm = hub.image(REPO).seed(6).platform("linux/arm64").push();
        let index = hub.index(REPO).tag("index").image(&plain).image(&arm).push();
        let nested = hub.index(REPO).tag("nested").image(&index).image(&docker).push();
        let artifact = hub.artifact(&plain, "application/vnd.example.sbom", b"parts");
        let mirror = Program::of_hub(&hub.url()).start();
        let images = vec![plain, docker, none, large, sha512, arm, index, nested, artifact];
        Self { client: Client::new(mirror.url()), hub, images, _mirror: mirror }
    }

    async fn both(&self, path: &str) -> [Answer; 2] {
        [self.client.head(path).await, self.client.get(path).await]
    }
}

/// "…the body of the response MUST be … in the following JSON format", with a code of the specification's.
fn assert_error(answer: &Answer, statuses: &[u16], codes: &[&str], about: &str) {
    assert!(statuses.contains(&answer.status.as_u16()), "{about}: {}", answer.status);
    assert!(answer.header("content-type").starts_with("application/json"), "{about}: {:?}", answer.headers);
    assert!(codes.contains(&answer.code().as_str()), "{about}: {}", answer.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_that_it_is_a_registry() {
    let registry = Registry::start();
    for answer in registry.both("/v2/").await {
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_manifest_is_there_by_digest_and_by_tag_with_its_type_size_and_digest() {
    let registry = Registry::start();
    let tags = ["plain", "docker", "no-layers", "large-manifest", "sha512", "", "index", "nested", ""];
    for round in ["cold", "cached"] {
        for (image, tag) in registry.images.iter().zip(tags) {
            for reference in [image.digest.as_str(), tag].into_iter().filter(|reference| !reference.is_empty()) {
                let about = format!("{round}: {reference}");
                for answer in registry.both(&format!("/v2/{REPO}/manifests/{reference}")).await {
                    assert_eq!(answer.status, StatusCode::OK, "{about}");
                    assert_eq!(answer.header("content-type"), image.media_type, "{about}");
                    assert_eq!(answer.header("content-length"), image.manifest.len().to_string(), "{about}");
                    assert_eq!(answer.header("docker-content-digest"), image.digest.as_str(), "{about}");
                }
                let bytes = registry.client.get(&format!("/v2/{REPO}/manifests/{reference}")).await.whole();
                assert!(bytes == image.manifest, "{about}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_blob_is_there_with_its_size_and_digest_and_in_parts() {
    let registry = Registry::start();
    let empty = registry.hub.put_blob(REPO, Bytes::new());
    let blob = noise(47, 4000);
    let ranged = registry.hub.put_blob(REPO, blob.clone());
    let named: BTreeSet<(Digest, u64)> =
        registry.images.iter().flat_map(ImageInfo::blobs).map(|blob| (blob.digest.clone(), blob.size)).collect();
    for (digest, size) in named.into_iter().chain([(empty, 0), (ranged.clone(), 4000)]) {
        for answer in registry.both(&format!("/v2/{REPO}/blobs/{digest}")).await {
            assert_eq!((answer.status, answer.header("content-length")), (StatusCode::OK, size.to_string().as_str()), "{digest}");
            assert_eq!(answer.header("docker-content-digest"), digest.as_str());
        }
    }
    let path = format!("/v2/{REPO}/blobs/{ranged}");
    assert_eq!(registry.client.head(&path).await.header("accept-ranges"), "bytes");
    for (range, start, end) in [("500-1499", 500, 1500), ("500-", 500, 4000), ("-500", 3500, 4000), ("2000-5000", 2000, 4000)] {
        let answer = registry.client.range(&path, &format!("bytes={range}")).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{}/4000", end - 1), "{range}");
        assert_eq!(answer.header("content-length"), (end - start).to_string(), "{range}");
        assert_eq!(answer.whole(), blob.slice(start..end), "{range}");
    }
    for range in ["bytes=500-0", "bytes=5000-10000"] {
        assert_eq!(registry.client.range(&path, range).await.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404_and_what_is_no_name_is_400_or_404_with_a_code_of_the_specification() {
    let registry = Registry::start();
    let unknown = Digest::sha256(b"nobody has this");
    for (path, codes) in [
        (format!("manifests/{unknown}"), ["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]),
        ("manifests/nosuchtag".to_owned(), ["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]),
        (format!("manifests/{}", Digest::sha512(b"nobody has this")), ["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]),
        (format!("blobs/{unknown}"), ["BLOB_UNKNOWN", "NAME_UNKNOWN"]),
    ] {
        let [head, get] = registry.both(&format!("/v2/{REPO}/{path}")).await;
        assert_eq!(head.status, StatusCode::NOT_FOUND, "{path}");
        assert_error(&get, &[404], &codes, &path);
    }
    for path in ["manifests/sha256:baddigeststring", "blobs/sha256:baddigeststring", "manifests/sha256:totallywrong"] {
        let [head, get] = registry.both(&format!("/v2/{REPO}/{path}")).await;
        assert!(matches!(head.status.as_u16(), 400 | 404), "{path}: {}", head.status);
        assert_error(&get, &[400, 404], &["DIGEST_INVALID", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_INVALID"], path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_tags_is_sorted_whole_and_in_pages() {
    let registry = Registry::start();
    let all = ["docker", "index", "large-manifest", "nested", "no-layers", "plain", "sha512"];
    let list = async |query: &str| {
        let answer = registry.client.get(&format!("/v2/{REPO}/tags/list{query}")).await;
        let link = answer.header("link").to_owned();
        let value: Value = serde_json::from_slice(&answer.whole()).expect("JSON");
        assert_eq!(value["name"], REPO, "{query}");
        (value["tags"].as_array().expect("a list").iter().map(|tag| tag.as_str().expect("a tag").to_owned()).collect::<Vec<_>>(), link)
    };
    assert_eq!(list("").await.0, all);
    let (first, link) = list("?n=4").await;
    assert_eq!(first, all[..4]);
    let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).expect("a link to the next page");
    let rest: Value = serde_json::from_slice(&registry.client.get(next).await.whole()).expect("JSON");
    assert_eq!(rest["tags"], serde_json::json!(all[4..]), "{next}");
    assert_eq!(list(&format!("?n=4&last={}", first[3])).await.0, all[4..]);
    assert_eq!(list("?last=large-manifest").await.0, all[3..]);
    let (none, link) = list("?n=0").await;
    assert!(none.is_empty() && link.is_empty(), "{none:?} {link}");
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_an_index_for_every_digest_there_is_and_is_not() {
    let registry = Registry::start();
    let (plain, artifact) = (&registry.images[0], &registry.images[8]);
    for (subject, count) in [(plain.digest.clone(), 1), (registry.images[1].digest.clone(), 0), (Digest::sha256(b"nobody has this"), 0)] {
        let answer = registry.client.get(&format!("/v2/{REPO}/referrers/{subject}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, OCI_INDEX), "{subject}");
        let index: Value = serde_json::from_slice(&answer.whole()).expect("JSON");
        assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&Value::from(2), &Value::from(OCI_INDEX)), "{subject}");
        let manifests = index["manifests"].as_array().expect("a list");
        assert_eq!(manifests.len(), count, "{subject}");
        for one in manifests {
            assert_eq!((&one["digest"], &one["mediaType"]), (&Value::from(artifact.digest.as_str()), &Value::from(OCI_MANIFEST)));
            assert_eq!(
                (&one["size"], &one["artifactType"]),
                (&Value::from(artifact.manifest.len()), &Value::from("application/vnd.example.sbom"))
            );
        }
    }
    for (kind, count) in [("application/vnd.example.sbom", 1), ("application/vnd.example.other", 0)] {
        let answer = registry.client.get(&format!("/v2/{REPO}/referrers/{}?artifactType={kind}", plain.digest)).await;
        assert_eq!(answer.header("oci-filters-applied"), "artifactType");
        let index: Value = serde_json::from_slice(&answer.whole()).expect("JSON");
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(count), "{kind}");
    }
    let invalid = registry.client.get("/v2/myorg/myrepo/referrers/sha256:baddigeststring").await;
    assert_error(&invalid, &[400], &["DIGEST_INVALID"], "no digest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_uses_the_name_space_says_which_it_used() {
    let registry = Registry::start();
    let (digest, layer) = (&registry.images[0].digest, &registry.images[0].layers[0].digest);
    for path in [format!("manifests/{digest}"), format!("blobs/{layer}"), "manifests/plain".to_owned(), "tags/list".to_owned()] {
        for method in [Method::HEAD, Method::GET] {
            let answer = registry.client.send(registry.client.request(method, &format!("/v2/{REPO}/{path}?ns=docker.io"))).await;
            assert_eq!((answer.status, answer.header("oci-namespace")), (StatusCode::OK, "docker.io"), "{path}");
        }
    }
}
