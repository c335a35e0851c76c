//! Several mirrors behind one address, which share a folder: the CA looks for a proof at any of them, and as often as it likes.

use std::fs;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::hub::Hub;
use tests::operator::Operator;
use tests::pebble::{Pebble, Settings};
use tests::program::Program;
use tokio::net::{TcpListener, TcpStream};

use super::shown;

/// The CA looks three times for each name, at moments of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_found_at_whichever_of_three_mirrors_the_ca_is_led_to() {
    let Some(pebble) = Pebble::start(Settings { patience: Some(3), ..Settings::default() }) else { return };
    let (hub, shared) = (Hub::start(), tempfile::tempdir().expect("a folder"));
    let ca = shared.path().join("ca.pem");
    fs::write(&ca, pebble.api_root()).expect("written");
    let sockets = [(); 3].map(|()| StdListener::bind("127.0.0.1:0").expect("a free port"));
    let ports = sockets.map(|socket| socket.local_addr().expect("an address").port());
    let led = Arc::new([const { AtomicUsize::new(0) }; 3]);
    let front = TcpListener::bind(("127.0.0.1", pebble.http_port())).await.expect("the port is free");
    let leading = tokio::spawn(lead(front, ports, led.clone()));
    let mirrors = ports.map(|port| {
        let acme = format!(
            "acme: {{directories: [\"{}\"], ca: \"{}\", path: \"{}\", challenges: [http-01], http: \"127.0.0.1:{port}\"}}",
            pebble.directory(),
            ca.display(),
            shared.path().join("certs").display(),
        );
        Program::of_hub(&hub.url()).listeners("[{address: \"127.0.0.1:0\", tls: {acme: [one.test, two.test]}}]").config(&acme).start()
    });
    let mut seen = Vec::new();
    for mirror in &mirrors {
        Operator::of(mirror).wait_for_readiness(200).await;
        seen.push(shown(mirror, "two.test").await);
    }
    assert!(seen.windows(2).all(|two| two[0] == two[1]), "all serve the same one");
    assert_eq!(pebble.issued(), 1, "{}", pebble.log());
    let led: Vec<usize> = led.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    assert!(led.iter().all(|count| *count > 0), "each was looked at: {led:?}");
    leading.abort();
}

/// Leads one connection to each of `ports` in turn.
async fn lead(front: TcpListener, ports: [u16; 3], led: Arc<[AtomicUsize; 3]>) {
    for next in (0..ports.len()).cycle() {
        let Ok((mut client, _)) = front.accept().await else { return };
        led[next].fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut mirror = TcpStream::connect(("127.0.0.1", ports[next])).await?;
            tokio::io::copy_bidirectional(&mut client, &mut mirror).await
        });
    }
}
