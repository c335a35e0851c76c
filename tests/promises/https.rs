//! HTTPS from PEM files: over HTTP/1.1 and HTTP/2, HEAD included, and a new pair without a restart or a dropped connection.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tests::client::assert_proper;
use tests::hub::{Hub, noise};
use tests::program::{Program, Starter};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const HOST: &str = "127.0.0.1";

/// A certificate and its key in files, made by a CA of its own.
pub(super) struct Files {
    ca_pem: String,
    certificate_pem: String,
    certificate: PathBuf,
    key_pem: String,
    key: PathBuf,
}

impl Files {
    /// Makes a pair and writes it into `folder`.
    pub(super) fn write(folder: &Path, certificate: &str, key: &str, serial: u64) -> Self {
        let files = Self::make(folder, certificate, key, serial);
        files.write_certificate();
        files.write_key();
        files
    }

    fn make(folder: &Path, certificate: &str, key: &str, serial: u64) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a CA");
        let mut leaf = CertificateParams::new([HOST.to_owned(), "localhost".to_owned()]).expect("names");
        leaf.serial_number = Some(serial.into());
        let pair = KeyPair::generate().expect("a key");
        let signed = leaf.signed_by(&pair, &authority).expect("a certificate");
        Self {
            ca_pem: authority.pem(),
            certificate_pem: signed.pem(),
            certificate: folder.join(certificate),
            key_pem: pair.serialize_pem(),
            key: folder.join(key),
        }
    }

    fn write_certificate(&self) {
        fs::write(&self.certificate, &self.certificate_pem).expect("it is ours");
    }

    fn write_key(&self) {
        fs::write(&self.key, &self.key_pem).expect("it is ours");
    }

    fn authority(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).expect("a certificate")
    }

    pub(super) fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).expect("a certificate")
    }
}

/// An HTTP/1.1 client that trusts the files' CA and no other.
pub(super) fn client_of(files: &Files) -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(files.ca_pem.as_bytes()).expect("a certificate");
    reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build().expect("a client")
}

/// A TLS connection that trusts any of the CAs.
pub(super) async fn connect(mirror: &Program, trusted: &[&Files], protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    for files in trusted {
        roots.add(files.authority()).expect("a CA");
    }
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let socket = TcpStream::connect(mirror.host()).await.expect("it listens");
    let name = ServerName::try_from(HOST).expect("an address");
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("a handshake")
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().expect("the server has a certificate")[0].clone().into_owned()
}

pub(super) type Sender = http2::SendRequest<Empty<Bytes>>;

pub(super) async fn http2(stream: TlsStream<TcpStream>) -> Sender {
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn ask(sender: &mut Sender, method: Method, path: &str) -> (StatusCode, http::HeaderMap, Bytes) {
    let request = Request::builder().method(method).uri(format!("https://{HOST}{path}")).body(Empty::new()).expect("a request");
    let (parts, body) = sender.send_request(request).await.expect("an answer").into_parts();
    assert_proper(parts.status, &parts.headers);
    (parts.status, parts.headers, body.collect().await.expect("a whole body").to_bytes())
}

struct Bench {
    blob: String,
    bytes: Bytes,
    folder: TempDir,
    hub: Hub,
}

fn bench() -> Bench {
    let (hub, bytes) = (Hub::start(), noise(4, 700_000));
    hub.image("library/alpine").tag("latest").push();
    let blob = format!("/v2/library/alpine/blobs/{}", hub.put_blob("library/alpine", bytes.clone()));
    Bench { blob, bytes, folder: TempDir::with_prefix("chandler-https-").expect("a folder"), hub }
}

impl Bench {
    fn mirror(&self, files: &Files) -> Program {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        let listeners = format!("[{{address: \"127.0.0.1:0\", tls: {{certificate: \"{certificate}\", key: \"{key}\"}}}}]");
        Program::of_hub(&self.hub.url()).listeners(&listeners).start()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_serve_the_same_and_head_has_no_body() {
    let bench = bench();
    let files = Files::write(bench.folder.path(), "chain.pem", "key.pem", 1);
    let mirror = bench.mirror(&files);
    let (one, url) = (client_of(&files), mirror.url().to_owned());
    let mut two = http2(connect(&mirror, &[&files], b"h2").await).await;
    for path in ["/v2/library/alpine/manifests/latest", bench.blob.as_str(), "/v2/"] {
        for _ in ["cold", "cached"] {
            let (status, headers, body) = ask(&mut two, Method::HEAD, path).await;
            assert_eq!((status, body.len()), (StatusCode::OK, 0), "{path}");
            let (status, full, body) = ask(&mut two, Method::GET, path).await;
            assert_eq!((status, headers["content-length"].to_str().expect("text")), (StatusCode::OK, body.len().to_string().as_str()));
            assert_eq!(headers.get("docker-content-digest"), full.get("docker-content-digest"), "{path}");
            let head = one.head(format!("{url}{path}")).send().await.expect("an answer");
            assert_eq!((head.version(), head.status()), (http::Version::HTTP_11, StatusCode::OK));
            assert_eq!(head.headers()["content-length"], headers["content-length"]);
            let get = one.get(format!("{url}{path}")).send().await.expect("an answer");
            assert_eq!(get.bytes().await.expect("a whole body"), body, "{path}");
        }
    }
    assert_eq!(ask(&mut two, Method::GET, &bench.blob).await.2, bench.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_taken_without_a_restart_and_no_connection_is_dropped_for_it() {
    let bench = bench();
    let before = Files::write(bench.folder.path(), "chain.pem", "key.pem", 1);
    let mirror = bench.mirror(&before);
    let mut kept = http2(connect(&mirror, &[&before], b"h2").await).await;
    assert_eq!(ask(&mut kept, Method::GET, "/v2/").await.0, StatusCode::OK);

    let after = Files::make(bench.folder.path(), "chain.pem", "key.pem", 2);
    after.write_certificate(); // The key follows: in between, the two do not belong together.
    assert_eq!(shown(&connect(&mirror, &[&before, &after], b"h2").await), before.leaf());
    after.write_key();
    let mut tries = 0;
    while shown(&connect(&mirror, &[&before, &after], b"http/1.1").await) != after.leaf() {
        tries += 1;
        assert!(tries < 600, "the new pair is never taken:\n{}", mirror.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(ask(&mut kept, Method::GET, &bench.blob).await.2, bench.bytes, "the old connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_new_pair_never_takes_the_place_of_a_good_one() {
    let bench = bench();
    let files = Files::write(bench.folder.path(), "chain.pem", "key.pem", 1);
    let mirror = bench.mirror(&files);
    fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nnonsense\n").expect("it is ours");
    mirror.wait_for_log("not usable"); // What the start says of the chain names the file too.
    assert_eq!(shown(&connect(&mirror, &[&files], b"h2").await), files.leaf());
}

#[test]
fn a_pair_that_does_not_fit_is_refused_at_the_start_and_the_file_is_named() {
    let folder = TempDir::with_prefix("chandler-https-").expect("a folder");
    let files = Files::write(folder.path(), "chain.pem", "key.pem", 1);
    Files::make(folder.path(), "other.pem", "key.pem", 2).write_key();
    let flags = ["--tls-cert", files.certificate.to_str().expect("text"), "--tls-key", files.key.to_str().expect("text")];
    let store = folder.path().join("store");
    let arguments = ["mirror", "--listen", "127.0.0.1:0", "--store", store.to_str().expect("text")];
    let starter = Starter::new(arguments.into_iter().chain(flags)).with("CHANDLER_ADMIN_ADDRESS", "127.0.0.1:0");
    let mut program = starter.start();
    assert!(!program.wait().success());
    assert!(program.said().contains("key.pem"), "{}", program.said());
}
