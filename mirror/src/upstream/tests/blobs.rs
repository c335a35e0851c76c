//! Blobs: whole, resumed, redirected, refused.

use super::*;
use crate::upstream::{BlobStream, FetchError};

async fn read(blob: &mut BlobStream) -> Result<Vec<u8>, FetchError> {
    let mut all = Vec::new();
    while let Some(bytes) = blob.next().await? {
        assert!(!bytes.is_empty());
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// All of a blob of `LENGTH` bytes, or why not.
async fn pull(upstream: &Upstream) -> Result<Vec<u8>, FetchError> {
    pull_from(upstream, 0).await
}

async fn pull_from(upstream: &Upstream, from: u64) -> Result<Vec<u8>, FetchError> {
    let digest = digest_of(&content(LENGTH));
    read(&mut upstream.blob(&repo(), &digest, from, Identity::Account).await?).await
}

#[tokio::test]
async fn a_blob_comes_whole_or_from_the_byte_that_was_asked_for() {
    let hub = Server::start(|seen| Reply::ranged(seen, &content(LENGTH))).await;
    let upstream = upstream(&config(&hub));
    assert_eq!(pull(&upstream).await.expect("all"), content(LENGTH));
    assert_eq!(pull_from(&upstream, 1000).await.expect("the rest"), content(LENGTH)[1000..]);
    let seen = &hub.seen()[0];
    assert_eq!((seen.header("range"), seen.header("accept-encoding")), (None, Some("identity")));
    assert_eq!(seen.header("via"), Some("1.1 chandler-00000000000000ab"));
    assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("chandler/")));
}

#[tokio::test]
async fn a_body_that_is_cut_is_fetched_on_from_the_next_byte() {
    let hub = Server::start(|seen| {
        let reply = Reply::ranged(seen, &content(LENGTH));
        if seen.nth < 3 { reply.cut_after(10_000) } else { reply }
    })
    .await;
    assert_eq!(pull(&upstream(&config(&hub))).await.expect("all"), content(LENGTH));
    let ranges: Vec<_> = hub.seen().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    let expected = ["bytes=10000-", "bytes=20000-", "bytes=30000-"].map(|range| Some(range.to_owned()));
    assert_eq!(ranges, [&[None], &expected[..]].concat());
}

#[tokio::test]
async fn each_byte_starts_the_count_of_idle_tries_anew() {
    let hub = Server::start(|seen| {
        let reply = Reply::ranged(seen, &content(LENGTH));
        if seen.first_byte() < 20_000 { reply.cut_after(1000) } else { reply }
    })
    .await;
    assert_eq!(pull(&upstream(&config(&hub))).await.expect("all"), content(LENGTH));
    assert_eq!(hub.seen().len(), 21);
}

#[tokio::test]
async fn a_body_that_never_goes_on_ends_after_a_bounded_number_of_tries() {
    let hub = Server::start(|seen| if seen.nth == 0 { Reply::ok(content(LENGTH)).cut_after(10) } else { Reply::raw("") }).await;
    let upstream = upstream(&config(&hub));
    let mut blob = upstream.blob(&repo(), &digest_of(b""), 0, Identity::Account).await.expect("headers");
    assert_eq!(blob.next().await.expect("bytes").map(|bytes| bytes.len()), Some(10));
    for _ in 0..2 {
        let error = blob.next().await.expect_err("it was cut for ever");
        assert!(matches!(error, FetchError::Cut { .. }), "{error}");
    }
    assert_eq!(blob.position(), 10);
    assert!(hub.seen().len() < 40);
}

#[tokio::test]
async fn a_body_that_stalls_is_fetched_on_elsewhere() {
    let hub = Server::start(|seen| {
        let reply = Reply::ranged(seen, &content(LENGTH));
        if seen.nth == 0 { reply.stall_after(5000) } else { reply }
    })
    .await;
    let upstream = tuned(&config(&hub), Tuning { stall: Duration::from_millis(300), ..tuning() });
    assert_eq!(pull(&upstream).await.expect("all"), content(LENGTH));
    assert_eq!(hub.count("/blobs/"), 2);
}

/// An upstream that gives up on what comes at less than 10 kB/s in a moment.
fn impatient(hub: &Server) -> Upstream {
    let limits = LimitsConfig { upstream_min_rate: Some(ByteSize(10_000)), ..limits() };
    let tuning = Tuning { rate_window: Duration::from_millis(300), ..tuning() };
    Upstream::tuned(&config(hub), &limits, US, &Metrics::default(), tuning).expect("an upstream")
}

#[tokio::test]
async fn a_body_that_drips_is_fetched_on_over_another_connection() {
    let hub = Server::start(|seen| {
        let reply = Reply::ranged(seen, &content(LENGTH));
        if seen.nth == 0 { reply.drip() } else { reply }
    })
    .await;
    assert_eq!(pull(&impatient(&hub)).await.expect("all"), content(LENGTH));
    let seen = hub.seen();
    assert!(seen.len() > 1 && seen[1].first_byte() > 0 && seen[1].first_byte() < 1000, "{seen:?}");
}

#[tokio::test]
async fn a_body_that_drips_over_each_connection_is_given_up() {
    for ranges in [true, false] {
        let hub = Server::start(move |seen| {
            let reply = if ranges { Reply::ranged(seen, &content(LENGTH)) } else { Reply::ok(content(LENGTH)) };
            reply.drip()
        })
        .await;
        let error = pull(&impatient(&hub)).await.expect_err("it would take a quarter of an hour");
        assert!(matches!(error, FetchError::Slow { .. }) && error.is_transient(), "{error}");
        assert_eq!(hub.count("/blobs/"), 3, "ranges: {ranges}");
    }
}

#[tokio::test]
async fn a_registry_that_ignores_ranges_has_the_bytes_before_skipped() {
    let hub = Server::start(|seen| {
        let reply = Reply::ok(content(LENGTH));
        if seen.nth == 0 { reply.cut_after(12_345) } else { reply }
    })
    .await;
    let upstream = upstream(&config(&hub));
    assert_eq!(pull(&upstream).await.expect("all"), content(LENGTH));
    assert_eq!(pull_from(&upstream, 999).await.expect("the rest"), content(LENGTH)[999..]);
}

#[tokio::test]
async fn a_part_of_the_wrong_place_or_blob_is_never_used() {
    let ranges =
        ["bytes 9-39999/40000", "bytes 11-39999/40000", "bytes 10-39998/40000", "bytes 10-39999/50000", "bytes 10-5/40000", "nonsense", ""];
    for range in ranges {
        let hub = Server::start(move |seen| match seen.nth {
            0 => Reply::ok(content(LENGTH)).cut_after(10),
            _ => Reply::partial(content(LENGTH)[10..].to_vec(), range),
        })
        .await;
        let error = pull(&upstream(&config(&hub))).await.expect_err(range);
        assert!(matches!(error, FetchError::Malformed { .. }), "{range}: {error}");
    }
}

#[tokio::test]
async fn a_part_that_is_shorter_than_was_asked_for_is_gone_on_from() {
    let hub = Server::start(|seen| {
        let (first, last) = (seen.first_byte(), (seen.first_byte() + 7000).min(LENGTH) - 1);
        match seen.header("range") {
            None => Reply::ok(content(LENGTH)).cut_after(1),
            Some(_) => Reply::partial(content(LENGTH)[first..=last].to_vec(), &format!("bytes {first}-{last}/{LENGTH}")),
        }
    })
    .await;
    assert_eq!(pull(&upstream(&config(&hub))).await.expect("all"), content(LENGTH));
}

#[tokio::test]
async fn the_cdn_never_sees_our_token() {
    let cdn = Server::listen("127.0.0.2:0", |seen| match seen.header("authorization") {
        None => Reply::ranged(seen, &content(LENGTH)),
        Some(_) => Reply::new(400),
    })
    .await;
    let to = cdn.url("/layer?signature=1");
    let hub = Server::start(move |seen| guarded(seen, |_| Reply::new(307).header("Location", &to))).await;
    assert_eq!(pull(&upstream(&with_account(&hub, password()))).await.expect("all"), content(LENGTH));
    assert_eq!(cdn.seen().len(), 1);
}

#[tokio::test]
async fn each_request_tells_the_registry_which_mirrors_it_passed_and_tells_it_nobody_else() {
    let cdn = Server::listen("127.0.0.2:0", |seen| Reply::ranged(seen, &content(LENGTH))).await;
    let to = cdn.url("/registry-v2/docker/registry/v2/blobs/sha256/ab/data?signature=1");
    let hub = Server::start(move |seen| guarded(seen, |_| Reply::new(307).header("Location", &to))).await;
    let via = Via::read(&http::HeaderMap::from_iter([(
        http::header::VIA,
        "1.1 chandler-0000000000000001, 1.1 squid".parse().expect("a header"),
    )]));
    let upstream = upstream(&config(&hub)).on_behalf_of(&via);
    assert_eq!(pull(&upstream).await.expect("all"), content(LENGTH));
    for seen in hub.seen() {
        let expected = "1.1 chandler-0000000000000001, 1.1 chandler-00000000000000ab";
        assert_eq!(seen.header("via"), (!seen.path.starts_with("/token")).then_some(expected), "{}", seen.path);
    }
    assert_eq!(cdn.seen()[0].header("via"), None);
}

#[tokio::test]
async fn a_redirect_to_a_registry_may_lead_back_to_us_so_it_is_told_too() {
    let other = Server::listen("127.0.0.2:0", |seen| Reply::ranged(seen, &content(LENGTH))).await;
    let to = other.url("/v2/hub.test");
    let hub = Server::start(move |seen| Reply::new(307).header("Location", format!("{to}{}", seen.path.trim_start_matches("/v2")))).await;
    assert_eq!(pull(&upstream(&config(&hub))).await.expect("all"), content(LENGTH));
    assert_eq!(other.seen()[0].header("via"), Some("1.1 chandler-00000000000000ab"));
}

#[tokio::test]
async fn a_signature_that_ran_out_is_replaced_by_asking_the_registry_again() {
    let cdn = Server::listen("127.0.0.2:0", |seen| {
        let reply = Reply::ranged(seen, &content(LENGTH));
        match (seen.path.as_str(), seen.nth) {
            ("/layer?signature=0", 0) => reply.cut_after(20_000),
            ("/layer?signature=1" | "/layer?signature=0", _) => Reply::new(403),
            _ => reply,
        }
    })
    .await;
    let to = cdn.url("/layer");
    let hub = Server::start(move |seen| Reply::new(307).header("Location", format!("{to}?signature={}", seen.nth))).await;
    assert_eq!(pull(&upstream(&config(&hub))).await.expect("all"), content(LENGTH));
    let asked: Vec<_> = cdn.seen().iter().map(|seen| (seen.path.clone(), seen.first_byte())).collect();
    let expected = [("/layer?signature=0", 0), ("/layer?signature=1", 20_000), ("/layer?signature=2", 20_000)];
    assert_eq!(asked, expected.map(|(path, first)| (path.to_owned(), first)));
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let hub = Server::start(|seen| Reply::new(302).header("Location", if seen.path == "/a" { "/b" } else { "/a" })).await;
    let error = pull(&upstream(&config(&hub))).await.expect_err("a circle");
    assert!(matches!(error, FetchError::Redirect { .. }), "{error}");
    assert_eq!(hub.seen().len(), 3);
}

#[tokio::test]
async fn pages_and_encoded_bodies_are_no_blobs() {
    for (name, value) in [("Content-Type", "Text/HTML; charset=utf-8"), ("Content-Encoding", "gzip")] {
        let hub = Server::start(move |_| Reply::ok("<html>").header(name, value)).await;
        let error = pull(&upstream(&config(&hub))).await.expect_err(name);
        assert!(matches!(error, FetchError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_blob_without_a_length_ends_where_its_chunks_end() {
    let hub = Server::start(|_| Reply::raw("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlayer\r\n0\r\n\r\n")).await;
    let upstream = upstream(&config(&hub));
    let mut blob = upstream.blob(&repo(), &digest_of(b"layer"), 0, Identity::Account).await.expect("headers");
    assert_eq!(blob.size(), None);
    assert_eq!(read(&mut blob).await.expect("all"), b"layer");
}

#[tokio::test]
async fn chunks_that_break_off_are_fetched_on_and_a_clean_short_end_is_not_trusted() {
    let hub = Server::start(|seen| match seen.nth {
        0 => Reply::raw("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlay"),
        1 => Reply::raw("HTTP/1.1 206 x\r\nContent-Range: bytes 3-4/5\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ne\r\n0\r\n\r\n"),
        _ => Reply::ranged(seen, b"layer"),
    })
    .await;
    assert_eq!(pull(&upstream(&config(&hub))).await.expect("all"), b"layer");
    assert_eq!(hub.seen()[2].header("range"), Some("bytes=4-"));
}

#[tokio::test]
async fn an_empty_blob_is_one() {
    let hub = Server::start(|_| Reply::ok("")).await;
    assert_eq!(pull(&upstream(&config(&hub))).await.expect("all"), b"");
}

#[tokio::test]
async fn an_alternate_goes_on_where_the_upstream_broke_off() {
    let alternate = Server::start(|seen| Reply::ranged(seen, &content(LENGTH))).await;
    let hub = Server::start(|seen| if seen.nth == 0 { Reply::ok(content(LENGTH)).cut_after(100) } else { Reply::new(502) }).await;
    let config = UpstreamConfig { alternates: vec![alternate.url("")], ..config(&hub) };
    assert_eq!(pull(&upstream(&config)).await.expect("all"), content(LENGTH));
    assert_eq!(alternate.seen()[0].header("range"), Some("bytes=100-"));
}

#[tokio::test]
async fn a_blob_that_is_gone_is_not_tried_again() {
    let hub = Server::start(|_| Reply::new(404)).await;
    let error = pull(&upstream(&config(&hub))).await.expect_err("gone");
    assert!(matches!(error, FetchError::NotFound { .. }) && !error.is_transient(), "{error}");
    assert_eq!(hub.seen().len(), 1);
}

#[tokio::test]
async fn the_size_of_a_blob_is_found_whatever_the_registry_thinks_of_head() {
    for status in [200, 401, 403, 404, 405] {
        let hub = Server::start(move |seen| match seen.method.as_str() {
            "HEAD" if status == 200 => Reply::ok(content(LENGTH)),
            "HEAD" => Reply::new(status),
            _ => Reply::partial(content(1), &format!("bytes 0-0/{LENGTH}")),
        })
        .await;
        let size = upstream(&config(&hub)).head_blob(&repo(), &digest_of(b""), Identity::Account).await;
        assert_eq!(size.expect("a size"), Some(LENGTH as u64), "{status}");
    }
}

/// S3 signs an address for GET alone.
#[tokio::test]
async fn a_signature_that_is_for_get_alone_does_not_hide_a_blobs_size() {
    let cdn =
        Server::listen(
            "127.0.0.2:0",
            |seen| if seen.method == "HEAD" { Reply::new(403) } else { Reply::partial(content(1), "bytes 0-0/7") },
        )
        .await;
    let to = cdn.url("/layer");
    let hub = Server::start(move |_| Reply::new(307).header("Location", &to)).await;
    let size = upstream(&config(&hub)).head_blob(&repo(), &digest_of(b""), Identity::Account).await;
    assert_eq!(size.expect("a size"), Some(7));
    assert_eq!(cdn.seen().len(), 2);
}

#[tokio::test]
async fn a_wait_that_is_dropped_loses_no_byte_and_still_notices_a_stall() {
    let hub = Server::start(|seen| {
        let reply = Reply::ranged(seen, &content(LENGTH));
        if seen.nth == 0 { reply.stall_after(5000) } else { reply }
    })
    .await;
    let upstream = tuned(&config(&hub), Tuning { stall: Duration::from_millis(400), ..tuning() });
    let mut blob = upstream.blob(&repo(), &digest_of(b""), 0, Identity::Account).await.expect("headers");
    let mut all = Vec::new();
    while all.len() < 5000 {
        all.extend_from_slice(&blob.next().await.expect("bytes").expect("there are more"));
    }
    let first = loop {
        if let Ok(bytes) = tokio::time::timeout(Duration::from_millis(100), blob.next()).await {
            break bytes.expect("bytes").expect("there are more");
        }
    };
    all.extend_from_slice(&first);
    all.extend_from_slice(&read(&mut blob).await.expect("the rest"));
    assert_eq!(all, content(LENGTH));
}

const LENGTH: usize = 40_000;
