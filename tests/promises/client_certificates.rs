//! Clients by certificate: who has one of a CA that is named is admitted, who has none is refused at once and told why, and what is taken back is
//! worth nothing from then on, on connections that are open and in sessions that are resumed too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tempfile::TempDir;
use tests::client::{Client, assert_proper};
use tests::hub::{Hub, Kind, on};
use tests::program::{Builder, Program, program_path};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const ALPINE: &str = "/v2/library/alpine/manifests/1";
pub(super) const APP: &str = "/v2/acme/app/manifests/1";
pub(super) const RULES: &str = "access:
  - {name: runners, clients: [\"runner-*.ci.test\"]}
  - {name: all of them, clients: [\"*\"], repositories: [\"docker.io/library/*\"]}";

/// CAs in a folder, and what they issued.
pub(super) struct Desk(TempDir);

impl Desk {
    /// A private CA `state/ca`, with a certificate for a mirror on loopback.
    pub(super) fn new() -> Self {
        let desk = Self(TempDir::with_prefix("chandler-clients-").expect("a folder"));
        desk.ca("init --permit ci.test,127.0.0.1 --state state");
        desk.ca("issue 127.0.0.1 --output mirror --state state");
        desk.ca("export --out trust --state state");
        desk
    }

    pub(super) fn ca(&self, arguments: &str) {
        let output = Command::new(program_path()).arg("ca").args(arguments.split(' ')).current_dir(&self.0).env_clear().output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("written")
    }

    /// A pair for a client called `name` in the folder `name`.
    fn client(&self, name: &str) -> Pair {
        self.ca(&format!("issue {name} --client --output {name} --state state"));
        self.pair(name)
    }

    fn pair(&self, folder: &str) -> Pair {
        Pair { chain: self.read(&format!("{folder}/fullchain.pem")), key: self.read(&format!("{folder}/privkey.pem")) }
    }

    /// A mirror over HTTPS that knows the clients of the CAs in `cas`, a YAML sequence; more keys may follow it.
    pub(super) fn mirror(&self, hub: &Hub, cas: &str, rules: &str) -> Builder {
        let [chain, key, state] = ["mirror/fullchain.pem", "mirror/privkey.pem", "state"].map(|name| self.path(name).display().to_string());
        let listeners = format!("[{{address: \"127.0.0.1:0\", tls: {{certificate: \"{chain}\", key: \"{key}\"}}}}]");
        let config = format!("clients: {{ca: {cas}}}\nacme: {{path: \"{state}\"}}\n{rules}");
        Program::of_hub(&hub.url()).listeners(&listeners).config(&config)
    }

    pub(super) fn ask_as(&self, mirror: &Program, pair: Option<&Pair>) -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = reqwest::Certificate::from_pem(self.read("trust/ca.pem").as_bytes()).expect("a root");
        let settings = reqwest::Client::builder().tls_certs_only([root]);
        let identity = |pair: &Pair| reqwest::Identity::from_pem(format!("{}{}", pair.key, pair.chain).as_bytes()).expect("a pair");
        Client::with(mirror.url(), pair.map(identity).into_iter().fold(settings, reqwest::ClientBuilder::identity))
    }

    /// What a client of TLS keeps between connections, sessions among it.
    fn memory(&self, pair: &Pair) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.read("trust/ca.pem").as_bytes()).expect("PEM")).expect("a root");
        let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key).expect("a pair");
        Arc::new(config).into()
    }
}

/// A certificate with its key, PEM.
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

pub(super) fn hub() -> Hub {
    let hub = Hub::start();
    hub.image("library/alpine").tag("1").push();
    hub.image("acme/app").tag("1").seed(2).push();
    hub
}

/// The message of a 403.
async fn denied(client: &Client, path: &str) -> String {
    let answer = client.get(path).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "DENIED"));
    let body: Value = serde_json::from_slice(&answer.body.expect("whole")).expect("JSON");
    body["errors"][0]["message"].as_str().expect("a message").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_ca_that_is_known_opens_what_its_rule_names_and_nothing_else_does() {
    let (hub, desk, other) = (hub(), Desk::new(), Desk::new());
    let mirror = desk.mirror(&hub, "[private]", RULES).start();
    let runner = desk.ask_as(&mirror, Some(&desk.client("runner-1.ci.test")));
    for path in [ALPINE, APP] {
        assert_eq!(runner.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert!(mirror.wait_for_log(APP).contains("\"client_certificate\":\"runner-1.ci.test\""));
    let desk_of_office = desk.ask_as(&mirror, Some(&desk.client("office.ci.test")));
    assert_eq!(desk_of_office.get(ALPINE).await.status, StatusCode::OK);
    let told = denied(&desk_of_office, APP).await;
    assert_eq!(told, "no access rule lets 127.0.0.1, with the certificate of office.ci.test, read docker.io/acme/app");

    let nobody = desk.ask_as(&mirror, None);
    assert_eq!(nobody.get("/v2/").await.status, StatusCode::OK, "engines ask this first, and must not be challenged");
    for path in [ALPINE, APP] {
        assert!(denied(&nobody, path).await.contains("127.0.0.1, without a client certificate, read"));
    }
    let before = hub.count().list(on(Kind::Manifest)).len();
    for (pair, why) in [
        (other.client("runner-1.ci.test"), "a certificate of runner-1.ci.test which was not issued by a CA of clients.ca, read"),
        (desk.pair("mirror"), "which is not for clients: its extended key usage lacks clientAuth, read"),
    ] {
        let told = denied(&desk.ask_as(&mirror, Some(&pair)), ALPINE).await;
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(hub.count().list(on(Kind::Manifest)).len(), before, "nothing is asked for those who may not read");
    let line = mirror.wait_for_log("not issued by a CA");
    assert!(line.contains("\"outcome\":\"refused\"") && !line.contains("client_certificate"), "what it says of itself is no name: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_cas_file_are_known_and_a_new_file_counts_with_no_restart() {
    let (hub, desk, other) = (hub(), Desk::new(), Desk::new());
    let file = desk.path("clients.pem");
    fs::copy(desk.path("trust/ca.pem"), &file).expect("copied");
    let mirror = desk.mirror(&hub, &format!("[\"{}\"]", file.display()), "access: [{clients: [\"*\"]}]").start();
    let ours = desk.ask_as(&mirror, Some(&desk.client("a.ci.test")));
    let theirs = desk.ask_as(&mirror, Some(&other.client("b.ci.test")));
    assert_eq!(ours.get(ALPINE).await.status, StatusCode::OK);
    assert!(denied(&theirs, ALPINE).await.contains("not issued by"));

    fs::write(&file, "half a fi").expect("ours");
    assert_eq!(ours.get(ALPINE).await.status, StatusCode::OK);
    replace(&file, &other.read("trust/ca.pem"));
    theirs.until(ALPINE, |answer| answer.status == StatusCode::OK).await;
    assert!(denied(&ours, ALPINE).await.contains("not issued by"), "its connection is older than the file");
}

/// As one step, since half of a PEM file may be a whole one.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("ours");
    fs::rename(&new, file).expect("ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_is_refused_on_an_open_connection_and_in_a_resumed_session() {
    let (hub, desk) = (hub(), Desk::new());
    let mirror = desk.mirror(&hub, "[private]", RULES).start();
    let (taken, kept) = (desk.client("runner-1.ci.test"), desk.client("runner-2.ci.test"));
    let memory = desk.memory(&taken);
    let (mut open, kind) = connect(&mirror, &memory).await;
    assert_eq!((open.ask().await, kind), (StatusCode::OK, HandshakeKind::Full));
    let (mut resumed, kind) = connect(&mirror, &memory).await;
    assert_eq!((resumed.ask().await, kind), (StatusCode::OK, HandshakeKind::Resumed), "a session says who it is, too");

    desk.ca("revoke runner-1.ci.test/fullchain.pem --state state");
    let told = desk.ask_as(&mirror, Some(&taken)).until(APP, |answer| answer.status == StatusCode::FORBIDDEN).await;
    let told = String::from_utf8(told.body.expect("whole").into()).expect("text");
    assert!(told.contains("with a certificate of runner-1.ci.test which was taken back, read"), "{told}");
    for connection in [&mut open, &mut resumed] {
        assert_eq!(connection.ask().await, StatusCode::FORBIDDEN, "it was open before");
    }
    let (mut again, kind) = connect(&mirror, &memory).await;
    assert_eq!((again.ask().await, kind), (StatusCode::FORBIDDEN, HandshakeKind::Full), "no session from before is resumed");
    let (mut again, _) = connect(&mirror, &memory).await;
    assert_eq!(again.ask().await, StatusCode::FORBIDDEN);
    assert_eq!(desk.ask_as(&mirror, Some(&kept)).get(APP).await.status, StatusCode::OK);
}

/// One connection, which is never made anew.
struct Connection(http1::SendRequest<Empty<bytes::Bytes>>);

impl Connection {
    async fn ask(&mut self) -> StatusCode {
        let request = Request::get(APP).header("host", "127.0.0.1").body(Empty::new()).expect("a request");
        let (parts, body) = self.0.send_request(request).await.expect("an answer").into_parts();
        assert_proper(parts.status, &parts.headers);
        body.collect().await.expect("a whole body");
        parts.status
    }
}

async fn connect(mirror: &Program, memory: &TlsConnector) -> (Connection, HandshakeKind) {
    let socket = TcpStream::connect(mirror.host()).await.expect("it listens");
    let stream: TlsStream<TcpStream> =
        memory.connect(ServerName::try_from("127.0.0.1").expect("a name"), socket).await.expect("a handshake");
    let kind = stream.get_ref().1.handshake_kind().expect("it is over");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    (Connection(sender), kind)
}

/// Shows a certificate that is another's.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_its_key_is_worth_nothing() {
    let (hub, desk) = (hub(), Desk::new());
    let mirror = desk.mirror(&hub, "[private]", RULES).start();
    let (owner, thief) = (desk.client("runner-1.ci.test"), desk.client("office.ci.test"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (key, is_own) in [(&owner.key, true), (&thief.key, false)] {
            let chain = CertificateDer::pem_slice_iter(owner.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a key");
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(desk.read("trust/ca.pem").as_bytes()).expect("PEM")).expect("a root");
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let config = rustls::ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
            let config = config.with_client_cert_resolver(Arc::new(Shows(Arc::new(CertifiedKey::new(chain, key)))));
            let answered = first_status(&mirror, &Arc::new(config).into()).await;
            assert_eq!(answered, is_own.then_some(StatusCode::OK), "{version:?}");
        }
    }
}

/// `None` where the connection ends before that.
async fn first_status(mirror: &Program, connector: &TlsConnector) -> Option<StatusCode> {
    let socket = TcpStream::connect(mirror.host()).await.expect("it listens");
    let stream = connector.connect(ServerName::try_from("127.0.0.1").expect("a name"), socket).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::get(APP).header("host", "127.0.0.1").body(Empty::<bytes::Bytes>::new()).expect("a request");
    sender.send_request(request).await.ok().map(|answer| answer.status())
}

#[test]
fn a_ca_that_is_not_there_is_named_before_the_start() {
    let (hub, desk) = (Hub::start(), Desk::new());
    fs::rename(desk.path("state/ca"), desk.path("state/elsewhere")).expect("ours");
    let missing = desk.path("missing.pem").display().to_string();
    for (cas, part) in [("[private]", "`chandler ca init --state "), (&*format!("[\"{missing}\"]"), "missing.pem")] {
        let builder = desk.mirror(&hub, cas, RULES);
        for arguments in [&["--check"][..], &[]] {
            let output =
                Command::new(program_path()).arg("mirror").args(arguments).arg("--config").arg(builder.write()).env_clear().output();
            let output = output.expect("it starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(part) && said.contains("clients.ca"), "{arguments:?}: {said}");
        }
    }
}
