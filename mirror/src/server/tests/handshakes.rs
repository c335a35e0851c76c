//! TLS as clients meet it: certificates that change under them, and handshakes that come to nothing.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::*;

fn trusting(files: &TlsFiles, alpn: &[&[u8]]) -> tokio_rustls::TlsConnector {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificate).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config).into()
}

async fn handshake(
    server: &Running,
    files: &TlsFiles,
    host: &'static str,
    alpn: &[&[u8]],
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    within(trusting(files, alpn).connect(ServerName::try_from(host).expect("a name"), server.connect().await)).await
}

#[tokio::test]
async fn a_new_certificate_serves_the_next_handshake_while_the_old_connection_goes_on() {
    let folder = Files::new();
    let (one, two) = (folder.self_signed("one.test", "one"), folder.self_signed("two.test", "two"));
    let live = folder.links("live", &one);
    let times = Times { certificate_look: Duration::from_millis(10), ..Times::default() };
    let server =
        Running::start(&Setup { tls: Some(live.clone()), times: Some(times), ..Setup::default() }, async |request: Request<Incoming>| {
            assert!(request.extensions().get::<Peer>().expect("a peer").tls);
            whole("served")
        });
    let mut old = http1_over(handshake(&server, &one, "one.test", &[b"http/1.1"]).await.expect("the first")).await;
    assert_eq!(text(within(old.send_request(get("/"))).await.expect("an answer")).await, "served");

    folder.relink(&live.certificate, &two.certificate);
    folder.relink(&live.key, &two.key);
    let resolver = server.resolver.clone().expect("HTTPS");
    within(async {
        while resolver.pair().expect("a pair").names() != ["two.test"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let stream = handshake(&server, &two, "two.test", &[b"h2", b"http/1.1"]).await.expect("the new one");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    handshake(&server, &one, "one.test", &[]).await.expect_err("the old one is gone");
    let (mut new, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("speaks HTTP/2");
    tokio::spawn(connection);
    assert_eq!(text(within(new.send_request(get("https://two.test/"))).await.expect("an answer")).await, "served");
    assert_eq!(text(within(old.send_request(get("/"))).await.expect("an answer")).await, "served");
}

#[tokio::test]
async fn a_handshake_that_stalls_holds_nobody_and_is_cut() {
    let folder = Files::new();
    let files = folder.self_signed("one.test", "one");
    let patient = Running::start(&Setup { tls: Some(files.clone()), ..Setup::default() }, async |_| whole("served"));
    let mut stalled = patient.connect().await;
    stalled.write_all(b"\x16\x03\x01").await.expect("sent");
    let mut client = http1_over(handshake(&patient, &files, "one.test", &[]).await.expect("not held")).await;
    assert_eq!(text(within(client.send_request(get("/"))).await.expect("an answer")).await, "served");

    let times = Times { handshake: Duration::from_millis(20), ..Times::default() };
    let server = Running::start(&Setup { tls: Some(files), times: Some(times), ..Setup::default() }, async |_| whole("never"));
    let mut stalled = server.connect().await;
    stalled.write_all(b"\x16\x03\x01").await.expect("sent");
    let _ = within(stalled.read_to_end(&mut Vec::new())).await;
    assert_eq!(server.ended("tls_handshake_slow"), 1);
}
