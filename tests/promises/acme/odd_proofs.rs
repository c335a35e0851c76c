//! Proofs that do not stand where the CA looks, proofs that are not needed any more, and chains of any length.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use certs::solve::{ACME_TLS, Solvers};
use certs::worker::{Look, RehearsalError, Stage};
use certs::{Action, Budget, Class, Hold, Reason};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tests::interposer::{Fate, Interposer};
use tests::pebble::{Pebble, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::prover::Prover;
use super::{Owner, install_crypto};

/// By the name that is asked for, what port 80 answers.
const OVER_HTTP: [(&str, &str); 4] = [
    ("gone.test", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    ("wrong.test", "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\ntoken.wrong"),
    ("elsewhere.test", "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    ("closes.test", ""),
];
/// By the name that is asked for, what is in the certificate that port 443 shows.
const OVER_TLS: [(&str, Option<[u8; 32]>); 2] = [("digest.test", Some([7; 32])), ("plain.test", None)];

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_the_ca_does_not_find_is_told_with_the_name_and_the_way() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()).map(Arc::new) else { return };
    let mut listeners = JoinSet::new();
    listeners.spawn(answer_oddly(TcpListener::bind(("127.0.0.1", pebble.http_port())).await.expect("the port is free")));
    listeners.spawn(show_oddly(TcpListener::bind(("127.0.0.1", pebble.tls_port())).await.expect("the port is free")));
    let http = || Solvers { http: Some(Arc::default()), ..Solvers::default() };
    let alpn = || Solvers { alpn: Some(Arc::default()), ..Solvers::default() };
    let rows = OVER_HTTP.map(|(name, _)| (name, "http-01", http())).into_iter();
    let rows = rows.chain(OVER_TLS.map(|(name, _)| (name, "tls-alpn-01", alpn()))).chain([("nobody.test", "tls-alpn-01", alpn())]);
    let mut owners = JoinSet::new();
    for (name, way, solvers) in rows {
        let pebble = pebble.clone();
        owners.spawn(async move {
            let owner = Owner::of(&pebble, &[name]);
            assert_eq!(owner.worker(&pebble, solvers).look().await.expect("files"), Look::Failed(Class::Validation), "{name}");
            let history = owner.state().history;
            let said = history.setback.expect("it failed").said;
            assert!(said.contains(name) && said.contains(way), "{name}: {said}");
            assert_eq!(history.failures.len(), 1, "{name}: it counts as CAs count it");
            assert_eq!(owner.folder().pending().expect("read"), None, "{name}: this order is over");
        });
    }
    owners.join_all().await;
    assert_eq!(pebble.issued(), 0);
}

async fn answer_oddly(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let mut head = [0; 4096];
    let read = stream.read(&mut head).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
    let (_, answer) = OVER_HTTP.into_iter().find(|(name, _)| head.contains(&format!("host: {name}"))).expect("one of those names");
    let answer = if head.starts_with("get /login") { OVER_HTTP[0].1 } else { answer };
    let _ = stream.write_all(answer.as_bytes()).await;
}

#[derive(Debug)]
struct Oddly;

impl ResolvesServerCert for Oddly {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client.server_name()?;
        let (_, digest) = OVER_TLS.into_iter().find(|(one, _)| *one == name)?;
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        params.custom_extensions.extend(digest.map(|digest| rcgen::CustomExtension::new_acme_identifier(&digest)));
        let key = rcgen::KeyPair::generate().expect("a key");
        let chain = vec![params.self_signed(&key).expect("signed").der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Some(Arc::new(CertifiedKey::new(chain, provider.key_provider.load_private_key(key.into()).expect("a key"))))
    }
}

async fn show_oddly(listener: TcpListener) {
    let mut tls = rustls::ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(Oddly));
    tls.alpn_protocols = vec![ACME_TLS.to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move { drop(acceptor.accept(stream).await) });
    }
}

/// A process that ends each time when its proof is in place and the CA looks for it: what fails meanwhile is a failure, and counts like any.
#[tokio::test(flavor = "multi_thread")]
async fn proofs_that_fail_while_nobody_is_there_to_see_it_count_all_the_same() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let (orders, crash) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
    let (count, crashes, mut is_looked_for) = (orders.clone(), crash.clone(), false);
    let way = Interposer::before(&pebble, move |asked| {
        count.fetch_add(usize::from(asked.path == "/order-plz"), Ordering::Relaxed);
        is_looked_for |= asked.path.starts_with("/chalZ/");
        if !(is_looked_for && asked.path.starts_with("/my-order/")) {
            return Fate::Pass;
        }
        is_looked_for = false;
        crashes.notify_one();
        Fate::Hang
    });
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let nowhere = Solvers { alpn: Some(Arc::default()), ..Solvers::default() };
    for failed in 1..=Budget::PUBLIC.failures {
        let worker = owner.worker_by(&way, &pebble, nowhere.clone());
        tokio::select! {
            look = worker.look() => panic!("{look:?}"),
            () = crash.notified() => {} // Nothing more is done or written down.
        }
        while pebble.log().matches("set INVALID by invalid authz").count() < failed {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let look = owner.worker_by(&way, &pebble, nowhere.clone()).look().await.expect("files");
    assert!(matches!(look, Look::Planned(Action::Hold { why: Hold::Failures, .. })), "{look:?}");
    assert_eq!((orders.load(Ordering::Relaxed), owner.state().history.orders.len()), (3, 3));
    let prover = Prover::start(&pebble).await;
    owner.clock.on_by(Duration::from_secs(2 * 3600));
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proved_lately_needs_no_proof_again() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings { authz_reuse: 100, ..Settings::default() }) else { return };
    let prover = Prover::start(&pebble).await;
    let mut owner = Owner::of(&pebble, &["mirror.test"]);
    assert_eq!(owner.worker(&pebble, prover.http()).look().await.expect("files"), Look::Obtained(Reason::Missing));
    owner.clock.on_by(Duration::from_secs(80 * 24 * 3600));
    let look = owner.worker(&pebble, Solvers::default()).look().await.expect("files");
    assert!(matches!(look, Look::Obtained(_)), "{look:?}: without any way to prove anything\n{}", pebble.log());
    owner.wish.identifiers.insert("other.test".parse().expect("a name"));
    let look = owner.worker(&pebble, prover.http()).look().await.expect("files");
    assert!(matches!(look, Look::Obtained(Reason::Changed(_))), "{look:?}: one of two is proved already\n{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_served_as_long_as_the_ca_makes_it() {
    install_crypto();
    for length in [1, 3] {
        let Some(pebble) = Pebble::start(Settings { chain_length: length, ..Settings::default() }) else { return };
        let prover = Prover::start(&pebble).await;
        let owner = Owner::of(&pebble, &["mirror.test"]);
        let worker = owner.worker(&pebble, prover.http());
        assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
        let served = worker.served.current().expect("it is served");
        assert_eq!(served.certified().cert.len(), 1 + length as usize, "the leaf and what is between it and the root");
    }
}

/// `chandler cert renew --dry-run` in a loop, at a CA that has no twin for trials.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_at_a_ca_that_counts_is_counted_and_ends_where_the_worker_would() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let nowhere = || Solvers { http: Some(Arc::default()), ..Solvers::default() }; // A table that no listener reads.
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let (worker, stage) = (owner.worker(&pebble, nowhere()), Stage::Counting(pebble.directory()));
    for tried in 1..=Budget::PUBLIC.failures {
        assert!(worker.rehearse(&stage).await.is_ok_and(|trials| trials[0].rehearsed.end.is_err()));
        assert_eq!((owner.state().history.orders.len(), owner.state().history.failures.len()), (tried, tried));
    }
    let held = worker.rehearse(&stage).await;
    assert!(matches!(held, Err(RehearsalError::Held { why: Hold::Failures, .. })), "{held:?}");

    let way = Interposer::before(&pebble, |asked| if asked.path == "/order-plz" { Fate::LoseAnswer(Box::new(|| {})) } else { Fate::Pass });
    let owner = Owner::of(&pebble, &["other.test"]);
    let tried = owner.worker_by(&way, &pebble, nowhere()).rehearse(&Stage::Counting(way.directory())).await;
    assert!(matches!(tried, Err(RehearsalError::Order(_))), "{tried:?}");
    assert_eq!(owner.state().history.orders.len(), 1, "the CA has it, for all that we know");
}
