//! Upstreams that are down, slow, limiting, or talk nonsense.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::upstream::FetchError;

async fn ask(upstream: &Upstream) -> Result<(), FetchError> {
    upstream.manifest(&repo(), &tag(), Identity::Account).await.map(drop)
}

#[tokio::test]
async fn a_passing_error_is_tried_again_and_a_lasting_one_is_told() {
    let hub = Server::start(|seen| if seen.nth < 2 { Reply::new(503) } else { manifest_reply() }).await;
    ask(&upstream(&config(&hub))).await.expect("the third time");
    let down = Server::start(|_| Reply::new(503)).await;
    let error = ask(&upstream(&config(&down))).await.expect_err("down");
    assert!(matches!(&error, FetchError::Status { status, .. } if status.as_u16() == 503) && error.is_transient(), "{error}");
    assert_eq!(down.seen().len(), 3);
}

#[tokio::test]
async fn a_host_that_refuses_connections_is_left_alone_after_a_few() {
    let gone = Server::start(|_| Reply::new(200)).await;
    let config = config(&gone);
    drop(gone);
    tokio::task::yield_now().await;
    let upstream = upstream(&config);
    let first = ask(&upstream).await.expect_err("nobody there");
    assert!(matches!(first, FetchError::Connect { .. }) && first.is_transient(), "{first}");
    let next = ask(&upstream).await.expect_err("not asked");
    assert!(matches!(next, FetchError::BreakerOpen { .. }), "{next}");
    assert!(upstream.status().breaker_open);
    assert!(upstream.status().last_error.is_some());
}

#[tokio::test]
async fn a_host_that_takes_requests_and_says_nothing_opens_its_breaker_at_once() {
    let hub = Server::start(|_| Reply::silence()).await;
    let short = Duration::from_millis(200);
    let upstream = tuned(&config(&hub), Tuning { headers: short, budget: short * 2, pace: Duration::from_secs(1), ..tuning() });
    let first = ask(&upstream).await.expect_err("silence");
    assert!(matches!(first, FetchError::Timeout { .. }), "{first}");
    let next = ask(&upstream).await.expect_err("not asked");
    assert!(matches!(next, FetchError::BreakerOpen { .. }), "{next}");
    assert_eq!(hub.seen().len(), 1);
}

#[test]
fn a_silence_is_told_as_long_as_it_was_for_who_asked() {
    let subject = crate::upstream::Subject::new(&"docker.io".parse().expect("a name"), "a/b:1");
    let last = FetchError::Timeout { subject, host: "hub.test".into(), after: Duration::from_micros(799_408) };
    assert_eq!(last.to_string(), "docker.io/a/b:1: hub.test did not answer within 0.8 s");
    assert_eq!(last.in_all(Duration::from_millis(9012)).to_string(), "docker.io/a/b:1: hub.test did not answer within 9 s");
}

#[tokio::test]
async fn a_host_that_answers_anything_is_not_silent() {
    for status in [401, 403, 404, 429, 500] {
        let hub = Server::start(move |_| Reply::new(status)).await;
        let upstream = upstream(&config(&hub));
        for _ in 0..5 {
            let error = ask(&upstream).await.expect_err("an answer");
            assert!(!matches!(error, FetchError::BreakerOpen { .. }), "{status}");
        }
        assert!(!upstream.status().breaker_open);
    }
}

#[tokio::test]
async fn a_limit_is_told_with_its_wait_and_is_not_tried_again() {
    let hub = Server::start(|_| Reply::new(429).header("Retry-After", 60)).await;
    let error = ask(&upstream(&config(&hub))).await.expect_err("a limit");
    assert!(matches!(error, FetchError::RateLimited { retry_after: Some(wait), .. } if wait.as_secs() == 60), "{error}");
    assert_eq!(hub.seen().len(), 1);
}

/// The Hub's abuse limit once answered so.
#[tokio::test]
async fn a_limit_with_bare_line_feeds_is_understood() {
    let hub = Server::start(|_| {
        Reply::raw("HTTP/1.1 429 Too Many Requests\nContent-Length: 17\nRetry-After: 60\nConnection: close\n\nToo Many Requests")
    })
    .await;
    let error = ask(&upstream(&config(&hub))).await.expect_err("a limit");
    assert!(matches!(error, FetchError::RateLimited { retry_after: Some(_), .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_http_is_said_to_be_none() {
    for nonsense in ["SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n"] {
        let hub = Server::start(move |_| Reply::raw(nonsense)).await;
        let error = ask(&upstream(&config(&hub))).await.expect_err("nonsense");
        assert!(matches!(error, FetchError::Malformed { .. }) && error.is_transient(), "{error:?}");
    }
}

#[tokio::test]
async fn a_request_that_comes_back_to_us_is_a_loop() {
    let hub = Server::start(|_| Reply::new(508)).await;
    let error = ask(&upstream(&config(&hub))).await.expect_err("a loop");
    assert!(matches!(error, FetchError::Loop { .. }) && !error.is_transient(), "{error}");
    assert_eq!(hub.seen().len(), 1);
}

#[tokio::test]
async fn a_firewalls_page_is_no_denial() {
    let hub = Server::start(|_| Reply::new(403).header("Content-Type", "text/html")).await;
    let error = ask(&upstream(&config(&hub))).await.expect_err("a page");
    assert!(matches!(error, FetchError::Status { .. }), "{error}");
    let hub = Server::start(|_| Reply::new(403).header("Content-Type", "application/json")).await;
    let error = ask(&upstream(&config(&hub))).await.expect_err("a denial");
    assert!(matches!(error, FetchError::Denied { .. }), "{error}");
}

#[tokio::test]
async fn alternates_are_asked_in_order_where_the_upstream_is_sick_and_only_then() {
    let first = Server::start(|_| Reply::new(404)).await;
    let second = Server::start(|_| manifest_reply()).await;
    let hub = Server::start(|seen| if seen.path.contains("/gone/") { Reply::new(404) } else { Reply::new(502) }).await;
    let config = UpstreamConfig { alternates: vec![first.url(""), second.url("")], ..config(&hub) };
    let upstream = upstream(&config);
    ask(&upstream).await.expect("from the second alternate");
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
    let gone = upstream.manifest(&"gone/app".parse().expect("a name"), &tag(), Identity::Account).await;
    assert!(matches!(gone, Err(FetchError::NotFound { .. })));
    assert_eq!(second.seen().len(), 1);
}

/// A 404 of a cold alternate would make a tag look deleted.
#[tokio::test]
async fn an_alternates_no_never_hides_the_upstreams_own_trouble() {
    let alternate = Server::start(|_| Reply::new(404)).await;
    let hub = Server::start(|_| Reply::new(502)).await;
    let config = UpstreamConfig { alternates: vec![alternate.url("")], ..config(&hub) };
    let error = ask(&upstream(&config)).await.expect_err("both fail");
    assert!(matches!(&error, FetchError::Status { status, .. } if status.as_u16() == 502), "{error}");
}

#[tokio::test]
async fn manifests_never_queue_behind_blobs() {
    let hub =
        Server::start(|seen| if seen.path.contains("/blobs/") { Reply::ok(content(100)).stall_after(1) } else { manifest_reply() }).await;
    let narrow = LimitsConfig { upstream_blobs: 1, upstream_manifests: 1, ..limits() };
    let short = Tuning { budget: Duration::from_secs(2), ..tuning() };
    let upstream = Upstream::tuned(&config(&hub), &narrow, US, &Metrics::default(), short).expect("an upstream");
    let blob = upstream.blob(&repo(), &digest_of(b""), 0, Identity::Account).await.expect("headers");
    ask(&upstream).await.expect("a manifest, while a layer takes its whole lane");
    let second = upstream.blob(&repo(), &digest_of(b""), 0, Identity::Account).await.expect_err("the lane is full");
    assert!(matches!(second, FetchError::Busy { .. }) && second.is_transient(), "{second}");
    drop(blob);
    upstream.blob(&repo(), &digest_of(b""), 0, Identity::Account).await.expect("the lane is free again");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_told_before_anything_is_sent() {
    let hub = Server::start(|_| Reply::new(200)).await;
    let build = |config: &UpstreamConfig| Upstream::new(config, &limits(), US, &Metrics::default()).expect_err("a mistake").to_string();
    let missing = UpstreamConfig { ca: Some("/nowhere/ca.pem".into()), ..config(&hub) };
    assert_eq!(build(&missing), "the CA bundle /nowhere/ca.pem cannot be read");
    let socks = UpstreamConfig { proxy: Some("socks5://127.0.0.1:1".parse().expect("an address")), ..config(&hub) };
    assert_eq!(build(&socks), "the proxy's address must start with http:// or https://, not socks5://");
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let empty = UpstreamConfig { ca: Some(empty.path().to_owned()), ..config(&hub) };
    assert!(build(&empty).ends_with("holds no certificate"));
}

#[tokio::test]
async fn a_private_ca_is_trusted_where_it_is_configured_and_only_there() {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let bundle = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(bundle.path(), pair.cert.pem()).expect("a bundle");
    let key = rustls_pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let tls = tls.with_no_client_auth().with_single_cert(vec![pair.cert.der().clone()], key).expect("a pair");
    let hub = Server::encrypted(tls, |_| manifest_reply()).await;
    ask(&upstream(&UpstreamConfig { ca: Some(bundle.path().to_owned()), ..config(&hub) })).await.expect("with the CA");
    let error = ask(&upstream(&config(&hub))).await.expect_err("without the CA");
    let mut chain = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        chain = format!("{chain}: {error}");
        cause = error.source();
    }
    assert!(matches!(error, FetchError::Connect { .. }) && chain.contains("UnknownIssuer"), "{chain}");
}

#[tokio::test]
async fn what_happens_is_counted_by_upstream_kind_and_end() {
    let hub = Server::start(|seen| guarded(seen, |seen| if seen.nth == 1 { Reply::new(503) } else { manifest_reply() })).await;
    let metrics = Metrics::default();
    let upstream = Upstream::tuned(&config(&hub), &limits(), US, &metrics, tuning()).expect("an upstream");
    ask(&upstream).await.expect("a manifest");
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a text");
    for line in [
        r#"chandler_upstream_requests_total{upstream="hub.test",kind="manifest",ended="4xx"} 1"#.to_owned(),
        r#"chandler_upstream_requests_total{upstream="hub.test",kind="manifest",ended="5xx"} 1"#.to_owned(),
        r#"chandler_upstream_requests_total{upstream="hub.test",kind="manifest",ended="2xx"} 1"#.to_owned(),
        r#"chandler_upstream_requests_total{upstream="hub.test",kind="token",ended="2xx"} 1"#.to_owned(),
        r#"chandler_upstream_tokens_total{upstream="hub.test",identity="anonymous"} 1"#.to_owned(),
        r#"chandler_upstream_retries_total{upstream="hub.test"} 1"#.to_owned(),
        format!(r#"chandler_upstream_received_bytes_total{{upstream="hub.test"}} {}"#, manifest().len()),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}

#[tokio::test]
async fn a_proxy_of_its_own_is_used() {
    let proxy = Server::start(|seen| if seen.path.starts_with("http://hub.invalid/") { manifest_reply() } else { Reply::new(500) }).await;
    let config = UpstreamConfig { proxy: Some(proxy.url("")), url: "http://hub.invalid".parse().expect("an address"), ..config(&proxy) };
    ask(&upstream(&config)).await.expect("through the proxy");
}

#[tokio::test]
async fn a_challenge_that_leads_nowhere_is_not_in_the_way_of_the_next() {
    for nowhere in ["no address", "http://127.0.0.1:1/token", "http://169.254.169.254/token", "/broken"] {
        let mended = Arc::new(AtomicBool::new(false));
        let now_mended = Arc::clone(&mended);
        let hub = Server::start(move |seen| {
            let realm = if nowhere.starts_with('/') {
                format!("http://{}{nowhere}", seen.header("host").expect("a host"))
            } else {
                nowhere.to_owned()
            };
            match seen.path.as_str() {
                path if path.starts_with("/broken") => Reply::new(500),
                _ if now_mended.load(Ordering::Relaxed) => guarded(seen, |_| manifest_reply()),
                _ => Reply::new(401).header("WWW-Authenticate", format!(r#"Bearer realm="{realm}",service="hub""#)),
            }
        })
        .await;
        let upstream = upstream(&config(&hub));
        upstream.manifest(&repo(), &tag(), Identity::Account).await.expect_err(nowhere);
        mended.store(true, Ordering::Relaxed);
        upstream.manifest(&repo(), &tag(), Identity::Account).await.expect(nowhere);
    }
}

#[tokio::test]
async fn a_token_service_that_has_moved_is_found_again() {
    let moved = Arc::new(AtomicBool::new(false));
    let now_moved = Arc::clone(&moved);
    let hub = Server::start(move |seen| {
        let place = if now_moved.load(Ordering::Relaxed) { "/new" } else { "/old" };
        match (seen.path.as_str(), seen.header("authorization")) {
            (path, _) if path.starts_with(place) => Reply::ok(r#"{"token":"anybody"}"#),
            (_, Some("Bearer anybody")) => manifest_reply(),
            (path, _) if path.starts_with("/v2/") => {
                let realm = format!("http://{}{place}", seen.header("host").expect("a host"));
                Reply::new(401).header("WWW-Authenticate", format!(r#"Bearer realm="{realm}",service="hub""#))
            }
            _ => Reply::new(404),
        }
    })
    .await;
    let upstream = upstream(&config(&hub));
    upstream.manifest(&repo(), &tag(), Identity::Account).await.expect("a manifest");
    moved.store(true, Ordering::Relaxed);
    for other in ["other/app", "third/app"] {
        upstream.manifest(&other.parse().expect("a name"), &tag(), Identity::Account).await.expect(other);
    }
    assert_eq!(hub.count("/old"), 2, "one token, and one failure");
    assert_eq!(hub.count("/v2/third/app/"), 1, "the new one is remembered");
}
