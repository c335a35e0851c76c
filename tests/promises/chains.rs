//! A mirror may have a mirror as its upstream (node → site → Hub), and mirrors that lead back to themselves say so at once.

use std::net::TcpListener;

use reqwest::{Method, StatusCode};
use tests::client::Client;
use tests::hub::{Hub, Kind, MIB, any, on};
use tests::program::Program;

/// Ports that nobody has right now; the program takes them a moment later.
fn free_ports<const N: usize>() -> [u16; N] {
    let taken = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports"));
    taken.map(|listener| listener.local_addr().expect("it is bound").port())
}

fn fixed(port: u16, upstream: u16) -> Program {
    let listeners = format!("[{{address: \"127.0.0.1:{port}\"}}]");
    Program::of_hub(&format!("http://127.0.0.1:{upstream}")).listeners(&listeners).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_a_mirror_serves_private_and_public_images_and_both_keep_them() {
    let hub = Hub::start();
    hub.add_account("ci", "secret-word");
    hub.image("acme/app").tag("1").layers([MIB, 70_000]).push();
    hub.private("acme/app");
    hub.allow("ci", "acme/app");
    let image = hub.image("library/alpine").tag("3").seed(2).push();
    hub.index("library/many").tag("1").image(&hub.image("library/many").seed(3).push()).push();
    let site = Program::of_hub(&hub.url()).account("ci", "secret-word").start();
    let node = Program::of_hub(site.url()).start();
    let client = Client::new(node.url());
    let mut pulled = Vec::new();
    for (repo, tag) in [("acme/app", "1"), ("library/alpine", "3"), ("library/many", "1")] {
        pulled.push(client.pull(repo, tag).await);
    }
    let head = client.head(&format!("/v2/library/alpine/blobs/{}", image.layers[0].digest)).await;
    assert_eq!(head.header("content-length"), image.layers[0].size.to_string());
    let blobs: usize = pulled.iter().map(Vec::len).sum();
    assert_eq!(hub.count().of(on(Kind::Cdn).method("GET")), blobs as u64, "{}", hub.count().summary());
    drop(site);
    hub.forget();
    for ((repo, tag), before) in [("acme/app", "1"), ("library/alpine", "3"), ("library/many", "1")].into_iter().zip(pulled) {
        assert_eq!(client.pull(repo, tag).await, before);
    }
    assert_eq!(hub.count().of(any()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_itself_answers_508_or_502_and_asks_itself_no_further() {
    let [port] = free_ports();
    let mirror = fixed(port, port);
    let client = Client::new(mirror.url());
    for path in ["/v2/library/alpine/manifests/latest".to_owned(), format!("/v2/library/alpine/blobs/sha256:{}", "0".repeat(64))] {
        let answer = client.get(&path).await;
        assert!(matches!(answer.status.as_u16(), 502 | 508), "{path}: {}", answer.status);
    }
    let requests = mirror.log().lines().filter(|line| line.contains("\"path\":\"/v2/library/alpine/manifests/latest\"")).count();
    assert!(requests <= 8, "{requests} requests for one:\n{}", mirror.log());
}

/// Mirrors each of which has the next as its upstream, and the last the first.
fn ring<const N: usize>() -> Vec<Program> {
    let ports: [u16; N] = free_ports();
    (0..N).map(|at| fixed(ports[at], ports[(at + 1) % N])).collect()
}

/// Every kind of request that goes to the upstream, for things that nobody has.
async fn assert_found_out(ring: &[Program]) {
    let digest = format!("sha256:{}", "0".repeat(64));
    let paths =
        ["manifests/latest", &format!("manifests/{digest}"), &format!("blobs/{digest}"), "tags/list", &format!("referrers/{digest}")]
            .map(|page| format!("/v2/library/alpine/{page}"));
    for mirror in ring {
        // The first to start found nobody, and leaves its upstream alone for a moment.
        Client::new(mirror.url()).until("/v2/library/busybox/manifests/latest", |answer| answer.status == StatusCode::LOOP_DETECTED).await;
    }
    for mirror in ring {
        let client = Client::new(mirror.url());
        for path in &paths {
            // By their deadlines they would answer 502.
            let answer = client.get(path).await;
            assert_eq!(answer.status, StatusCode::LOOP_DETECTED, "{path}: {:?}", answer.body);
            assert!(String::from_utf8_lossy(&answer.body.expect("an error has a body")).contains("ring of mirrors"), "{path}");
            assert_eq!(client.send(client.request(Method::HEAD, path)).await.status, StatusCode::LOOP_DETECTED, "HEAD {path}");
        }
    }
    let silences: String =
        ring.iter().map(Program::log).filter(|log| log.contains("did not answer") || log.contains("no answer for")).collect();
    assert!(silences.is_empty(), "nobody waited for a deadline:\n{silences}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mirrors_of_each_other_find_it_out_at_the_first_request() {
    assert_found_out(&ring::<2>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_do_four_in_a_ring_and_one_that_leads_into_it() {
    let mut mirrors = ring::<4>();
    let [port] = free_ports();
    let into: u16 = mirrors[2].url().rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).expect("a port");
    mirrors.push(fixed(port, into));
    assert_found_out(&mirrors).await;
}

/// What a client makes up in `Via` is its own affair.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_claims_to_come_through_mirrors_changes_nothing() {
    let hub = Hub::start();
    hub.image("library/alpine").tag("3").push();
    let site = Program::of_hub(&hub.url()).start();
    let node = Program::of_hub(site.url()).start();
    let client = Client::new(node.url());
    let made_up = (0..100).map(|number| format!("1.1 chandler-{number:016x}, 1.1 squid")).collect::<Vec<_>>().join(", ");
    let asked = client.request(Method::GET, "/v2/library/alpine/manifests/3").header("via", made_up);
    assert_eq!(client.send(asked).await.status, StatusCode::OK);
    let counts = hub.count();
    for seen in counts.list(on(Kind::Manifest)) {
        let via = seen.header("via");
        assert!(!via.is_empty() && via.len() < 1000 && !via.contains("squid"), "{via}");
    }
}
