//! Manifests, tags and referrers: what is asked, and what is believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::upstream::{Described, FetchError};

#[tokio::test]
async fn every_request_for_a_manifest_carries_the_same_full_list_of_types() {
    let hub = Server::start(|_| manifest_reply()).await;
    let upstream = upstream(&config(&hub));
    upstream.head_manifest(&repo(), &tag(), Identity::Account).await.expect("a head");
    upstream.manifest(&repo(), &tag(), Identity::Account).await.expect("a manifest");
    let accepts: Vec<_> = hub.seen().iter().map(|seen| seen.header("accept").expect("a list").to_owned()).collect();
    assert_eq!(accepts[0], accepts[1]);
    for media_type in [MediaType::DOCKER_LIST, MediaType::DOCKER_MANIFEST, MediaType::OCI_INDEX, MediaType::OCI_MANIFEST] {
        assert!(accepts[0].contains(media_type), "{accepts:?}");
    }
    assert!(!accepts[0].contains(".v1+prettyjws"), "schema 1");
}

#[tokio::test]
async fn a_head_tells_what_the_registry_tells_and_no_more() {
    let hub = Server::start(|seen| match seen.path.as_str() {
        "/v2/team/app/manifests/1" => manifest_reply(),
        _ => Reply::new(200).header("Transfer-Encoding", "chunked"),
    })
    .await;
    let upstream = upstream(&config(&hub));
    let head = upstream.head_manifest(&repo(), &tag(), Identity::Account).await.expect("a head");
    assert_eq!(head.digest, Some(digest_of(manifest().as_bytes())));
    assert_eq!((head.size, head.media_type), (Some(manifest().len() as u64), Some(MediaType::new(MediaType::OCI_MANIFEST))));
    let bare = upstream.head_manifest(&repo(), &"2".parse().expect("a tag"), Identity::Account).await.expect("a head");
    assert_eq!((bare.digest, bare.size, bare.media_type), (None, None, None));
}

#[tokio::test]
async fn where_head_is_not_allowed_a_get_answers() {
    let hub = Server::start(|seen| {
        if seen.method == "HEAD" { Reply::new(405) } else { Reply::ok(manifest()).header("Content-Type", MediaType::OCI_MANIFEST) }
    })
    .await;
    let upstream = upstream(&config(&hub));
    let head = upstream.head_manifest(&repo(), &tag(), Identity::Account).await.expect("a head");
    assert_eq!(head.digest, Some(digest_of(manifest().as_bytes())));
    let described = upstream.describe_manifest(&repo(), &tag(), Identity::Account).await.expect("a description");
    assert!(matches!(described, Described::Fetched(fetched) if fetched.bytes == manifest()), "what a GET brought is not thrown away");
}

#[tokio::test]
async fn bytes_that_are_not_the_digests_are_never_handed_out() {
    let hub = Server::start(|_| manifest_reply()).await;
    let upstream = upstream(&config(&hub));
    let right = Reference::Digest(digest_of(manifest().as_bytes()));
    assert_eq!(upstream.manifest(&repo(), &right, Identity::Account).await.expect("it").bytes, manifest());
    let wrong = Reference::Digest(digest_of(b"something else"));
    let error = upstream.manifest(&repo(), &wrong, Identity::Account).await.expect_err("other bytes");
    assert!(matches!(&error, FetchError::DigestMismatch { actual, .. } if *actual == digest_of(manifest().as_bytes())), "{error}");
}

#[tokio::test]
async fn a_manifest_is_kept_by_the_hash_that_was_asked_for() {
    let digest = Digest::of(Algorithm::Sha512, manifest().as_bytes());
    let told = digest.clone();
    let hub = Server::start(move |_| Reply::ok(manifest()).header("Docker-Content-Digest", &told)).await;
    let upstream = upstream(&config(&hub));
    for reference in [Reference::Digest(digest.clone()), tag()] {
        assert_eq!(upstream.manifest(&repo(), &reference, Identity::Account).await.expect("it").digest, digest);
    }
}

#[tokio::test]
async fn what_is_no_manifest_is_said_to_be_none() {
    let huge = crate::oci::MAX_MANIFEST_BYTES + 1;
    let replies: [fn() -> Reply; 5] = [
        || Reply::ok("<html>").header("Content-Type", "text/html"),
        || Reply::ok("not JSON").header("Content-Type", MediaType::OCI_MANIFEST),
        || Reply::ok(manifest()).header("Content-Encoding", "zstd"),
        || Reply::ok("").header("Content-Type", MediaType::OCI_MANIFEST),
        || Reply::new(204),
    ];
    for reply in replies {
        let hub = Server::start(move |_| reply()).await;
        let error = upstream(&config(&hub)).manifest(&repo(), &tag(), Identity::Account).await.expect_err("no manifest");
        assert!(matches!(error, FetchError::Malformed { .. }), "{error}");
    }
    for length in [format!("Content-Length: {huge}"), "Transfer-Encoding: chunked".to_owned()] {
        let endless = format!("HTTP/1.1 200 x\r\n{length}\r\n\r\n{huge:x}\r\n{}\r\n0\r\n\r\n", " ".repeat(huge));
        let hub = Server::start(move |_| Reply::raw(endless.clone())).await;
        let error = upstream(&config(&hub)).manifest(&repo(), &tag(), Identity::Account).await.expect_err("too long");
        assert!(matches!(error, FetchError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn the_quota_is_read_from_the_hubs_headers() {
    let hub =
        Server::start(|_| manifest_reply().header("ratelimit-limit", "200;w=21600").header("ratelimit-remaining", "199;w=21600")).await;
    let upstream = upstream(&config(&hub));
    upstream.head_manifest(&repo(), &tag(), Identity::Account).await.expect("a head");
    let quota = upstream.status().quota.expect("a quota");
    assert_eq!((quota.limit, quota.remaining), (200, Some(199)));
}

#[tokio::test]
async fn a_spent_quota_is_told_with_the_end_of_its_window_until_a_pull_is_accepted() {
    let spent = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&spent);
    let hub = Server::start(move |seen| {
        let is_spent = now.load(Ordering::SeqCst);
        let reply = if is_spent && seen.method == "GET" { Reply::new(429) } else { manifest_reply() };
        reply.header("ratelimit-limit", "2;w=21600").header("ratelimit-remaining", if is_spent { "0;w=21600" } else { "1;w=21600" })
    })
    .await;
    let upstream = upstream(&config(&hub));
    assert_eq!(upstream.status().limit, None);
    let error = upstream.manifest(&repo(), &tag(), Identity::Account).await.expect_err("no quota");
    let told = crate::cache::CacheError::fetch("x", error).to_string();
    assert_eq!(told, "x is not cached and the upstream did not give it", "429 is an answer");
    upstream.head_manifest(&repo(), &tag(), Identity::Account).await.expect("a head costs nothing");
    let limit = upstream.status().limit.expect("a limit");
    assert!(limit.refused);
    assert_eq!(limit.until, Some(limit.since + Duration::from_hours(6)));
    spent.store(false, Ordering::SeqCst);
    upstream.manifest(&repo(), &tag(), Identity::Account).await.expect("a manifest");
    assert_eq!(upstream.status().limit, None);
}

#[tokio::test]
async fn a_path_before_v2_is_kept() {
    let hub = Server::start(|_| manifest_reply()).await;
    let config = UpstreamConfig { url: hub.url("/prefix/"), ..config(&hub) };
    upstream(&config).manifest(&repo(), &tag(), Identity::Account).await.expect("a manifest");
    assert_eq!(hub.seen()[0].path, "/prefix/v2/team/app/manifests/1");
}

#[tokio::test]
async fn tags_come_in_pages_as_the_upstream_cuts_them() {
    let hub = Server::start(|seen| match seen.path.as_str() {
        "/v2/team/app/tags/list?n=1" => {
            Reply::ok(r#"{"name":"team/app","tags":["a"]}"#).header("Link", r#"</v2/team/app/tags/list?n=1&last=a>; rel="next""#)
        }
        "/v2/team/app/tags/list?n=1&last=a" => Reply::ok(r#"{"name":"team/app","tags":null}"#),
        _ => Reply::ok("{}"),
    })
    .await;
    let upstream = upstream(&config(&hub));
    let first = upstream.tags(&repo(), "n=1", Identity::Account).await.expect("a page");
    let next = first.next.expect("another page");
    assert_eq!(next, "n=1&last=a");
    assert_eq!(upstream.tags(&repo(), &next, Identity::Account).await.expect("a page").next, None);
    assert!(matches!(upstream.tags(&repo(), "", Identity::Account).await, Err(FetchError::Malformed { .. })));
}

#[tokio::test]
async fn referrers_come_from_the_api_or_from_the_tag_schema_or_there_are_none() {
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"DIGEST","size":1,"artifactType":"a/sbom"},{"digest":"DIGEST","size":1,"artifactType":"b/signature"}]}"#.replace("DIGEST", &digest_of(b"").to_string());
    let subject = digest_of(b"subject");
    for (status, has_tag) in [(200, false), (404, true), (404, false), (405, true), (400, false)] {
        let body = index.clone();
        let hub = Server::start(move |seen| {
            let is_there = if seen.path.contains("/referrers/") { status == 200 } else { has_tag };
            let missing = if seen.path.contains("/referrers/") { status } else { 404 };
            if is_there { Reply::ok(body.clone()).header("Content-Type", MediaType::OCI_INDEX) } else { Reply::new(missing) }
        })
        .await;
        let upstream = upstream(&config(&hub));
        let found = upstream.referrers(&repo(), &subject, Identity::Account).await.expect("an answer");
        assert_eq!(found.is_some(), status == 200 || has_tag, "{status} {has_tag}");
        let gets = hub.seen().iter().filter(|seen| seen.method == "GET" && seen.path.contains("/manifests/sha256-")).count();
        assert_eq!(gets, usize::from(has_tag), "a GET of a tag that is not there costs quota");
    }
}
