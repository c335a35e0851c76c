//! A mirror may have a mirror as its upstream (node → site → Hub), and one that points at itself stops at once.

use std::net::TcpListener;

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

#[tokio::test(flavor = "multi_thread")]
async fn two_mirrors_of_each_other_stop_too() {
    let [one, other] = free_ports();
    let (first, second) = (fixed(one, other), fixed(other, one));
    let answer = Client::new(first.url()).get("/v2/library/alpine/manifests/latest").await;
    assert!(matches!(answer.status.as_u16(), 502 | 508), "{}", answer.status);
    drop(second);
}
