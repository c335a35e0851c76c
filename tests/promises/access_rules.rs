//! Who may read what: "Private images are served only to whom the configuration says." Once there are rules, what no rule allows is refused.
//!
//! A trusted proxy's `X-Forwarded-For`, or its PROXY header, plays clients of other networks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::client::{Answer, Client};
use tests::hub::{Hub, noise};
use tests::operator::Operator;
use tests::program::Program;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

const RULES: &str = "trusted_proxies: [\"127.0.0.1/32\"]
access:
  - {name: office, networks: [\"10.0.0.0/8\"], repositories: [\"docker.io/library/*\"]}
  - {name: runners, networks: [\"192.168.7.0/24\", \"fd00::/8\"]}";
const OFFICE: &str = "10.1.2.3";
const RUNNER: &str = "192.168.7.9";
const STRANGER: &str = "203.0.113.5";
const NONCE: &str = "00112233445566778899aabbccddeeff";
/// Less than the head of a request may take, which would free a place as well.
const PATIENCE: Duration = Duration::from_secs(20);

fn hub() -> Hub {
    let hub = Hub::start();
    hub.add_account("ci", "secret-word");
    hub.image("library/alpine").tag("1").push();
    hub.image("acme/app").tag("1").seed(2).push();
    hub.private("acme/app");
    hub.allow("ci", "acme/app");
    hub
}

async fn ask(client: &Client, from: &str, method: Method, path: &str) -> Answer {
    client.send(client.request(method, path).header("x-forwarded-for", from)).await
}

async fn get(client: &Client, from: &str, path: &str) -> Answer {
    ask(client, from, Method::GET, path).await
}

fn assert_denied(answer: &Answer, about: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"), "{about}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_allows_is_denied_before_and_after_it_is_cached() {
    let hub = hub();
    let blob = hub.put_blob("acme/app", noise(3, 200_000));
    let mirror = Program::of_hub(&hub.url()).account("ci", "secret-word").config(RULES).start();
    let client = Client::new(mirror.url());
    let (alpine, app) = ("/v2/library/alpine/manifests/1", "/v2/acme/app/manifests/1");
    let paths = [
        app.to_owned(),
        format!("/v2/acme/app/blobs/{blob}"),
        "/v2/acme/app/tags/list".to_owned(),
        format!("/v2/acme/app/referrers/{blob}"),
        format!("{app}?ns=docker.io"),
        "/v2/docker.io/acme/app/manifests/1".to_owned(),
        "/docker.io/v2/acme/app/manifests/1".to_owned(),
    ];
    for round in ["cold", "cached"] {
        for path in &paths {
            assert_denied(&get(&client, OFFICE, path).await, &format!("{round}: {path}"));
            assert_denied(&get(&client, STRANGER, path).await, &format!("{round}: {path}"));
            assert_eq!(ask(&client, OFFICE, Method::HEAD, path).await.status, StatusCode::FORBIDDEN, "{round}: {path}");
        }
        assert_denied(&get(&client, STRANGER, alpine).await, round);
        assert_denied(&client.get(alpine).await, "the proxy itself is in no rule");
        for from in [RUNNER, "fd00::17"] {
            get(&client, from, app).await.whole();
            get(&client, from, &paths[1]).await.whole();
        }
        get(&client, OFFICE, alpine).await.whole();
    }
    for (from, path) in [(STRANGER, app), (STRANGER, alpine), (STRANGER, paths[1].as_str()), (OFFICE, paths[1].as_str())] {
        for range in ["bytes=0-5", "bytes=-100"] {
            let ranged = client.send(client.request(Method::GET, path).header("x-forwarded-for", from).header("range", range)).await;
            assert_denied(&ranged, &format!("{range} of {path}"));
        }
    }
    let ranged = client.request(Method::GET, &paths[1]).header("x-forwarded-for", RUNNER).header("range", "bytes=0-5");
    assert_eq!(client.send(ranged).await.whole().len(), 6);
    let line = mirror.wait_for_log("\"outcome\":\"refused\"");
    assert!(line.contains("no access rule lets"), "{line}");
    assert!(get(&client, STRANGER, "/v2/").await.status.is_success(), "whether this is a registry is no secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_each_client_what_it_may_read() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).account("ci", "secret-word").config(RULES).start();
    let client = Client::new(mirror.url());
    for repo in ["library/alpine", "acme/app"] {
        get(&client, RUNNER, &format!("/v2/{repo}/manifests/1")).await.whole();
    }
    Operator::of(&mirror).wait_until_written().await;
    for (from, seen) in [(RUNNER, json!(["acme/app", "library/alpine"])), (OFFICE, json!(["library/alpine"])), (STRANGER, json!([]))] {
        let catalog: Value = serde_json::from_slice(&get(&client, from, "/v2/_catalog").await.whole()).expect("JSON");
        assert_eq!(catalog["repositories"], seen, "{from}");
    }
    assert!(get(&client, OFFICE, "/v2/library/alpine/tags/list").await.status.is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn canaries_are_for_every_client_that_is_known_and_for_no_other() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).config(RULES).start();
    let client = Client::new(mirror.url());
    let path = format!("/v2/chandler-canary/{NONCE}/manifests/latest");
    get(&client, OFFICE, &path).await.whole();
    assert_denied(&get(&client, STRANGER, &path).await, "a canary");
    let receipts: Value = serde_json::from_slice(&client.get(&format!("/chandler/receipt/{NONCE}")).await.whole()).expect("JSON");
    assert_eq!(receipts["receipts"][0]["client"], OFFICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_a_trusted_proxy_speaks_for_others() {
    let hub = hub();
    let rules = RULES.replace("127.0.0.1/32", "127.0.0.9/32");
    let mirror = Program::of_hub(&hub.url()).config(&rules).start();
    let client = Client::new(mirror.url());
    assert_denied(&get(&client, RUNNER, "/v2/library/alpine/manifests/1").await, "a forged address");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_client_wrote_itself_counts_for_nothing_behind_a_proxy() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).config(RULES).start();
    let client = Client::new(mirror.url());
    let forged = format!("{RUNNER}, {STRANGER}");
    assert_denied(&get(&client, &forged, "/v2/library/alpine/manifests/1").await, "the rightmost is the proxy's word");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_proxy_protocol_a_client_is_whom_the_proxy_names_and_never_whom_it_names_itself() {
    let hub = hub();
    let listeners = "[{address: \"127.0.0.1:0\", proxy_protocol: true}]";
    let mirror = Program::of_hub(&hub.url()).listeners(listeners).config(RULES).start();
    for (proxy, forwarded, status) in [
        (format!("TCP4 {RUNNER} 10.0.0.1 4711 443"), STRANGER, "200"),
        (format!("TCP4 {STRANGER} 10.0.0.1 4711 443"), RUNNER, "403"),
        ("UNKNOWN".to_owned(), RUNNER, "403"),
        ("UNKNOWN".to_owned(), "127.0.0.1, 192.168.7.9, 127.0.0.1", "403"),
        // The connection is another trusted proxy's, which speaks HTTP and names its client.
        ("TCP4 127.0.0.1 10.0.0.1 4711 443".to_owned(), RUNNER, "200"),
    ] {
        let request =
            format!("GET /v2/library/alpine/manifests/1 HTTP/1.1\r\nhost: m\r\nx-forwarded-for: {forwarded}\r\nconnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(mirror.host()).expect("it listens");
        stream.write_all(format!("PROXY {proxy}\r\n{request}").as_bytes()).expect("the kernel takes it");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer to its end");
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{proxy}, {forwarded}: {answer:.300}");
    }
}

/// A connection to `mirror` from an address of this machine.
async fn connected(from: &str, mirror: &Program) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("all of 127.0.0.0/8 is this machine");
    socket.connect(mirror.host().parse().expect("an address")).await.expect("it listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_keeps_nobody_out_by_holding_connections() {
    let hub = hub();
    let rules = "access:\n  - {name: ci, networks: [\"127.0.0.1/32\"]}";
    let mirror = Program::of_hub(&hub.url()).config(rules).limits("{connections: 8, drain: 5s}").start();
    let mut held = Vec::new();
    for path in ["/v2/", "/v2/library/alpine/manifests/1", "/v2/_catalog", "/"] {
        let (mut stranger, mut all) = (connected("127.0.0.2", &mirror).await, Vec::new());
        stranger.write_all(format!("GET {path} HTTP/1.1\r\nhost: m\r\n\r\n").as_bytes()).await.expect("sent");
        tokio::time::timeout(PATIENCE, stranger.read_to_end(&mut all)).await.expect("it is its only answer").expect("to its end");
        assert!(String::from_utf8_lossy(&all).contains("connection: close"), "{path}");
    }
    for _ in 0..20 {
        held.push(connected("127.0.0.2", &mirror).await); // They ask nothing.
    }
    let client = Client::new(mirror.url());
    let pulled = async {
        for _ in 0..3 {
            client.pull("library/alpine", "1").await;
        }
    };
    tokio::time::timeout(PATIENCE, pulled).await.expect("there is a place for who may");
    assert!(client.get("/v2/").await.headers.get("connection").is_none(), "who is known keeps its connection");
}
