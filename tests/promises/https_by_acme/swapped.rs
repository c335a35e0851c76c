//! "…and no connection is dropped for it": certificates that are swapped under clients that ask all the time, and under one that came before the first.
//!
//! `CHANDLER_TEST_RENEWALS=15 tests/run swapped_under` is the long form: ten minutes with certificates of a minute and so many swaps at least, beside a loop of
//! `docker pull`, and a look at the memory that the mirror takes meanwhile.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tests::engine::Dockerd;
use tests::hub::{Hub, noise};
use tests::operator::Operator;
use tests::pebble::{Pebble, Settings};
use tests::program::Program;
use tests::tools;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{OBTAINED, at, client, docker, url};

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the long form's figures")]
async fn certificates_are_swapped_under_clients_that_notice_nothing() {
    let long = std::env::var("CHANDLER_TEST_RENEWALS").ok().map(|swaps| swaps.parse().expect("CHANDLER_TEST_RENEWALS is a number"));
    let life = Duration::from_secs(if long.is_some() { 60 } else { 15 });
    let (began, least) = (Instant::now(), Duration::from_secs(if long.is_some() { 600 } else { 0 }));
    let Some(curl) = tools::require("curl") else { return };
    let Some(pebble) = Pebble::start(Settings { life, ..Settings::default() }) else { return };
    let (hub, bytes) = (Hub::start(), noise(4, 100_000));
    hub.image("library/alpine").tag("1").push();
    let blob = format!("/v2/library/alpine/blobs/{}", hub.put_blob("library/alpine", bytes.clone()));
    let program = at(&hub, &pebble).start();
    Operator::of(&program).wait_for_readiness(200).await;
    let docker = if long.is_some() { docker(&pebble, &program).await } else { None };
    let asking = async {
        let kept = client(&pebble, &program);
        let mut first = Connection::open(&pebble, &program).await;
        let (mut answers, mut early) = (0_u64, None);
        while Operator::of(&program).metric(OBTAINED).await <= long.unwrap_or(3) || began.elapsed() < least {
            for client in [&client(&pebble, &program), &kept] {
                let answer = client.get(url(&program, &blob)).send().await.unwrap_or_else(|error| panic!("{error:?}\n{}", program.log()));
                assert_eq!(answer.bytes().await.expect("a whole body"), bytes);
                answers += 1;
            }
            assert_eq!(first.get(&blob).await, bytes, "over the connection that is older than every swap");
            if Operator::of(&program).metric(OBTAINED).await > 2 {
                early.get_or_insert_with(|| resident(&program));
            }
        }
        (answers, early)
    };
    let asking_by_curl = asks_by_curl(&curl, &pebble, &program, &blob, &bytes);
    let (answers, early) = tokio::select! {
        asked = asking => asked,
        never = asking_by_curl => never,
        never = pulls(docker.as_ref()) => never,
    };
    assert!(answers > 10, "clients asked all the time");
    let (early, late) = (early.expect("there were more than two"), resident(&program));
    assert!(late <= early + early / 2 + 32_768, "{early} KiB were taken after two certificates, and {late} KiB at the end");
    Operator::of(&program).wait_for_metric("chandler_certificate_seen_by_clients", 1).await;
    let (swaps, time) = (Operator::of(&program).metric(OBTAINED).await - 1, began.elapsed());
    println!("{swaps} swaps in {time:.0?}, {answers} answers to rustls clients, from {early} to {late} KiB of memory");
}

/// The real `curl`, with a new connection each time.
async fn asks_by_curl<T>(curl: &Path, pebble: &Pebble, program: &Program, blob: &str, bytes: &[u8]) -> T {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root.pem");
    fs::write(&root, pebble.root()).expect("written");
    let url = url(program, blob);
    let (host, port) = program.host().rsplit_once(':').expect("a port");
    loop {
        let mut command = tokio::process::Command::new(curl);
        command.args([
            "--silent",
            "--show-error",
            "--fail",
            "--noproxy",
            "*",
            "--resolve",
            &format!("mirror.test:{port}:{host}"),
            "--cacert",
        ]);
        let output = command.arg(&root).arg(&url).kill_on_drop(true).output().await.expect("curl runs");
        assert!(output.status.success(), "curl says {}\n{}", String::from_utf8_lossy(&output.stderr), program.log());
        assert!(output.stdout == bytes, "curl got other bytes");
        tokio::time::sleep(BETWEEN).await; // It leaves the machine to others, and does not wait for anything.
    }
}

async fn pulls<T>(docker: Option<&Dockerd>) -> T {
    let Some(docker) = docker else { return std::future::pending().await };
    loop {
        docker.pull("alpine:1").await.expect_success();
        docker.rmi("alpine:1").await.expect_success();
    }
}

/// One connection, which is not replaced when it ends.
struct Connection {
    host: String,
    sender: SendRequest<Empty<Bytes>>,
}

impl Connection {
    async fn open(pebble: &Pebble, program: &Program) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pebble.root().as_bytes()).expect("a certificate")).expect("a root");
        let tls = Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
        let socket = TcpStream::connect(program.host()).await.expect("it listens");
        let name = ServerName::try_from("mirror.test").expect("a name");
        let stream = TlsConnector::from(tls).connect(name, socket).await.expect("its certificate is right");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self { host: program.host().to_owned(), sender }
    }

    async fn get(&mut self, path: &str) -> Bytes {
        self.sender.ready().await.expect("it is still open");
        let request = Request::get(path).header("host", &self.host).body(Empty::new()).expect("a request");
        let answer = self.sender.send_request(request).await.expect("it is still open");
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.into_body().collect().await.expect("a whole body").to_bytes()
    }
}

/// Between two runs of `curl`.
const BETWEEN: Duration = Duration::from_millis(100);

/// KiB of memory that the program takes now.
fn resident(program: &Program) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
