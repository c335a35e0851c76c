//! What every client asks in its own way, and what bad input is told.
//!
//! The seven spellings of one object that clients send, and requests that are wrong, hostile or not for a mirror: each gets a plain OCI error with
//! the id of its request, and nothing travels upstream for it.

use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::{Method, StatusCode};
use tests::client::{Client, assert_proper_text};
use tests::hub::{Fault, Hub, Kind, noise, on};
use tests::program::Program;

fn hub() -> Hub {
    let hub = Hub::start();
    hub.image("library/alpine").tag("latest").push();
    hub
}

#[tokio::test(flavor = "multi_thread")]
async fn all_spellings_of_one_image_are_one_image() {
    let hub = hub();
    let other = Hub::start();
    let elsewhere = other.image("library/alpine").tag("latest").seed(9).push();
    let second = format!("{{name: ghcr.io, url: \"{}\"}}", other.url());
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").upstream(&second).start();
    let client = Client::new(mirror.url());
    let plain = client.get("/v2/library/alpine/manifests/latest").await;
    assert_eq!(plain.header("oci-namespace"), "");
    let bytes = plain.whole();
    for (path, namespace) in [
        ("/v2/library/alpine/manifests/latest?ns=docker.io", "docker.io"),
        ("/v2/library/alpine/manifests/latest?ns=registry-1.docker.io", "registry-1.docker.io"),
        ("/v2/library/alpine/manifests/latest?ns=index.docker.io", "index.docker.io"),
        ("/v2/library/alpine/manifests/latest?ns=DOCKER.IO", "DOCKER.IO"),
        ("/v2/docker.io/library/alpine/manifests/latest", ""),
        ("/v2/docker.io/library/alpine/manifests/latest?ns=docker.io", "docker.io"),
        ("/docker.io/v2/library/alpine/manifests/latest", ""),
        ("/docker.io/v2/library/alpine/manifests/latest?ns=docker.io", "docker.io"),
        ("//v2/library/alpine/manifests/latest", ""),
        ("//v2//library/alpine/manifests/latest?ns=docker.io", "docker.io"),
        ("/v2/alpine/manifests/latest", ""),
        ("/v2/docker.io/alpine/manifests/latest", ""),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.header("oci-namespace"), namespace, "{path}");
        assert_eq!(answer.whole(), bytes, "{path}");
    }
    for path in [
        "/v2/library/alpine/manifests/latest?ns=ghcr.io",
        "/v2/ghcr.io/library/alpine/manifests/latest",
        "/ghcr.io/v2/library/alpine/manifests/latest",
    ] {
        assert_eq!(client.get(path).await.whole(), elsewhere.manifest, "{path}");
    }
    assert_eq!(hub.count().of(on(Kind::Manifest).method("GET").repo("library/alpine")), 1, "{}", hub.count().summary());
    assert_eq!(client.get("/v2/ghcr.io/alpine/manifests/latest").await.status, StatusCode::NOT_FOUND, "`library/` is the Hub's alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_a_registry_that_is_not_mirrored_is_404_and_never_the_hubs() {
    let hub = hub();
    hub.image("foo/bar").tag("1").push();
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    for path in [
        "/v2/foo/bar/manifests/1?ns=quay.io",
        "/quay.io/v2/foo/bar/manifests/1",
        "/docker.io/v2/foo/bar/manifests/1?ns=quay.io",
        "/v2/foo/bar/tags/list?ns=quay.io:5000",
    ] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"), "{path}");
    }
    assert_eq!(hub.count().of(on(Kind::Manifest).repo("foo/bar")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_405_and_never_a_challenge() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    for (method, path) in [
        (Method::POST, "/v2/library/alpine/blobs/uploads/"),
        (Method::PUT, "/v2/library/alpine/manifests/latest"),
        (Method::PATCH, "/v2/library/alpine/blobs/uploads/1"),
        (Method::DELETE, "/v2/library/alpine/manifests/latest"),
        (Method::PUT, "/v2/"),
    ] {
        let answer = client.send(client.request(method.clone(), path).body("x")).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"), "{method} {path}");
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ping_is_200_whatever_the_upstream_does() {
    let hub = hub();
    hub.down();
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    for path in ["/v2/", "/v2", "//v2/", "/docker.io/v2/"] {
        for method in [Method::GET, Method::HEAD] {
            let answer = client.send(client.request(method, path)).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert_eq!(answer.header("docker-distribution-api-version"), "registry/2.0");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_and_digests_are_told_so_with_the_id_of_the_request() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).start();
    let long = "a".repeat(300);
    let wrong = [
        ("/v2/library/alpine/manifests/sha256:short".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/library/alpine/blobs/latest".to_owned(), 400, "DIGEST_INVALID"),
        (format!("/v2/library/alpine/blobs/md5:{}", "0".repeat(32)), 400, "DIGEST_INVALID"),
        (format!("/v2/library/alpine/blobs/sha256:{}", "G".repeat(64)), 400, "DIGEST_INVALID"),
        (format!("/v2/library/alpine/manifests/{long}"), 400, "TAG_INVALID"),
        ("/v2/library/alpine/manifests/-x".to_owned(), 400, "TAG_INVALID"),
        ("/v2/Library/Alpine/manifests/1".to_owned(), 400, "NAME_INVALID"),
        ("/v2/library/../../etc/passwd/manifests/1".to_owned(), 400, "NAME_INVALID"),
        ("/v2/library/%2e%2e/%2e%2e/manifests/1".to_owned(), 400, "NAME_INVALID"),
        ("/v2/library/alpine%00/manifests/1".to_owned(), 400, "NAME_INVALID"),
        ("/v2/library/alp%C3%A4ne/manifests/1".to_owned(), 400, "NAME_INVALID"),
        (format!("/v2/{long}/manifests/1"), 400, "NAME_INVALID"),
        ("/v2/library/alpine/nothing/1".to_owned(), 404, "UNSUPPORTED"),
        ("/v2/library/alpine/tags/list?n=-1".to_owned(), 400, "PAGINATION_NUMBER_INVALID"),
    ];
    for (path, status, code) in wrong {
        let answer = raw(&mirror, &format!("GET {path} HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n"));
        assert_oci(&answer, status, code, &path);
    }
    let counts = hub.count();
    assert_eq!(counts.of(on(Kind::Manifest)) - counts.of(on(Kind::Manifest).repo("ratelimitpreview/test")), 0, "{}", counts.summary());
    assert_eq!(counts.of(on(Kind::Blob)) + counts.of(on(Kind::Tags)), 0, "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_paths_and_floods_of_headers_are_answered_and_the_next_client_is_served() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).start();
    let long = "a/".repeat(50_000);
    let endless = raw(&mirror, &format!("GET /v2/{long}manifests/1 HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n"));
    assert!(["400", "414", "431"].contains(&status(&endless)), "{endless:.200}");
    let many = "x-header: of many\r\n".repeat(2000);
    let flood = raw(&mirror, &format!("GET /v2/ HTTP/1.1\r\nhost: m\r\n{many}connection: close\r\n\r\n"));
    assert!(["400", "431"].contains(&status(&flood)), "{flood:.200}");
    let large = raw(&mirror, &format!("GET /v2/ HTTP/1.1\r\nhost: m\r\nx-large: {}\r\nconnection: close\r\n\r\n", "x".repeat(4 << 20)));
    assert!(large.is_empty() || ["400", "431"].contains(&status(&large)), "{large:.200}");
    for nonsense in ["\u{16}\u{3}\u{1}hello", "GET\r\n\r\n", "GET /v2/ HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense"] {
        exchange(&mirror, nonsense, true);
    }
    assert!(Client::new(mirror.url()).get("/v2/library/alpine/manifests/latest").await.status.is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_header_is_sent_with_each_of_its_values_and_replaces_ours() {
    let hub = hub();
    let headers = "headers: {X-Site: [tokyo, osaka], X-Content-Type-Options: [none]}";
    let mirror = Program::of_hub(&hub.url()).config(headers).start();
    let client = Client::new(mirror.url());
    let blob = format!("/v2/library/alpine/blobs/{}", hub.put_blob("library/alpine", noise(1, 200_000)));
    let none = format!("/v2/library/alpine/blobs/sha256:{}", "0".repeat(64));
    for path in ["/v2/", "/v2/library/alpine/manifests/latest", &blob, &none] {
        for method in [Method::GET, Method::HEAD] {
            let answer = client.send(client.request(method, path)).await;
            let all = |name: &str| answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect::<Vec<_>>();
            assert_eq!((all("x-site"), all("x-content-type-options")), (vec!["tokyo", "osaka"], vec!["none"]), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_blob_whose_size_the_upstream_keeps_to_itself_says_no_length() {
    let hub = hub();
    let bytes = noise(2, 200_000);
    let blob = format!("/v2/library/alpine/blobs/{}", hub.put_blob("library/alpine", bytes.clone()));
    for fault in [Fault::NoContentLength, Fault::RangeIgnored] {
        hub.faults().set(fault, on(Kind::Cdn));
    }
    let mirror = Program::of_hub(&hub.url()).start();
    let answer = raw(&mirror, &format!("HEAD {blob} HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n"));
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("content-length"), "{answer}");
    assert!(Client::new(mirror.url()).get(&blob).await.whole() == bytes);
}

/// Sends a request as it is and takes what comes until the end.
fn raw(mirror: &Program, request: &str) -> String {
    exchange(mirror, request, false)
}

/// Sends bytes, closes its own half where it `leaves`, and takes what comes; a reset ends it too.
fn exchange(mirror: &Program, request: &str, leaves: bool) -> String {
    let mut stream = TcpStream::connect(mirror.host()).expect("it listens");
    stream.set_read_timeout(Some(std::time::Duration::from_mins(1))).expect("a socket takes a timeout");
    let mut writing = stream.try_clone().expect("a socket can be shared");
    let bytes = request.as_bytes().to_vec();
    let writer = std::thread::spawn(move || {
        // A server that answers before it has read all may close: what was answered counts.
        drop(writing.write_all(&bytes));
        if leaves {
            drop(writing.shutdown(std::net::Shutdown::Write));
        }
    });
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    writer.join().expect("the writer does not panic");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert_proper_text(&answer);
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn assert_oci(answer: &str, expected: u16, code: &str, about: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{about}: {answer}"));
    assert_eq!(status(answer), expected.to_string(), "{about}: {answer}");
    let error: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{about}: {error}: {answer}"));
    assert_eq!(error["errors"][0]["code"], code, "{about}");
    let id = error["errors"][0]["detail"]["request_id"].as_str().expect("an id");
    assert!(head.to_ascii_lowercase().contains(&format!("x-request-id: {id}")), "{about}: {head}");
}
