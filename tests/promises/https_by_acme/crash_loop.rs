//! "No crash, race or retry burns the CA's rate limits": a mirror that something starts over and over.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use http::StatusCode;
use tests::hub::Hub;
use tests::interposer::{Fate, Interposer};
use tests::operator::Operator;
use tests::pebble::{Pebble, Settings};
use tests::program::Program;
use tokio::sync::Notify;

use super::{kill_9, shown};

/// The next start wants another kind of key, which is a reason to order at once.
pub(super) fn want_key(config: &Path, key: &str) {
    let text = fs::read_to_string(config).expect("it was written");
    let lines = text.lines().map(|line| {
        if !line.starts_with("acme: {") {
            return line.to_owned();
        }
        let line = line.split(", key: ").next().unwrap_or_default().trim_end_matches('}');
        format!("{line}, key: {key}}}")
    });
    fs::write(config, lines.collect::<Vec<_>>().join("\n") + "\n").expect("written");
}

/// Until the program's log has one of `texts`.
async fn until_it_says(program: &Program, texts: &[&str]) {
    while !texts.iter().any(|text| program.log().contains(text)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whom the interposer ends, once the test says so.
#[derive(Default)]
struct Victim {
    ended: Notify,
    named: Condvar,
    pid: Mutex<Option<u32>>,
}

impl Victim {
    fn name(&self, pid: u32) {
        *self.pid.lock().expect("no holder panics") = Some(pid);
        self.named.notify_all();
    }

    fn end(&self) {
        let mut pid = self.named.wait_while(self.pid.lock().expect("no holder panics"), |pid| pid.is_none()).expect("no holder panics");
        kill_9(pid.take().expect("it is named"));
        self.ended.notify_one();
    }

    async fn is_ended(&self) {
        self.ended.notified().await;
    }
}

/// The CA is a public one for the mirror, known by the system's roots, so that it keeps to what such a CA allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_started_over_and_over_orders_a_few_times_and_serves_what_it_has() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let (hub, roots) = (Hub::start(), tempfile::NamedTempFile::new().expect("a file"));
    let (orders, mode, victim) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU8>::default(), Arc::<Victim>::default());
    let (count, now, ended) = (orders.clone(), mode.clone(), victim.clone());
    let way = Interposer::before(&pebble, move |asked| {
        let mode = now.load(Ordering::Acquire);
        if asked.path != "/order-plz" {
            return Fate::Pass;
        }
        count.fetch_add(1, Ordering::AcqRel);
        let ended = ended.clone();
        match mode {
            WELL => Fate::Pass,
            FAILS => Fate::page(StatusCode::SERVICE_UNAVAILABLE, "<html>maintenance</html>"),
            _ => Fate::LoseAnswer(Box::new(move || ended.end())),
        }
    });
    fs::write(roots.path(), way.root()).expect("written");
    let builder = Program::of_hub(&hub.url()).environment("SSL_CERT_FILE", roots.path().to_str().expect("text"));
    let (state, http) = (builder.folder().join("certs"), pebble.http_port());
    let acme = format!("acme: {{directories: [\"{}\"], path: \"{}\", http: \"127.0.0.1:{http}\"}}", way.directory(), state.display());
    let listeners = format!("[{{address: \"127.0.0.1:{}\", tls: {{acme: [mirror.test]}}}}]", pebble.tls_port());
    let mut program = builder.listeners(&listeners).config(&acme).start();
    Operator::of(&program).wait_for_readiness(200).await;
    let (before, config) = (shown(&program, "mirror.test").await, program.config());

    mode.store(FAILS, Ordering::Release);
    want_key(&config, "rsa2048");
    for _ in 0..6 {
        program = program.crash_and_restart();
        assert_eq!(shown(&program, "mirror.test").await, before);
        until_it_says(&program, &["no new certificate", "a certificate is due, and is not got yet"]).await;
    }
    let failed = orders.load(Ordering::Acquire) - 1;
    assert!((1..=3).contains(&failed), "{failed} orders at a CA that is away");

    mode.store(KILLS, Ordering::Release);
    want_key(&config, "p384");
    for _ in 0..14 {
        program = program.crash_and_restart();
        assert_eq!(shown(&program, "mirror.test").await, before);
        victim.name(program.pid());
        tokio::select! {
            () = victim.is_ended() => {}
            () = until_it_says(&program, &["a certificate is due, and is not got yet"]) => {}
        }
    }
    let ordered = orders.load(Ordering::Acquire);
    assert!((failed + 2..=10).contains(&ordered), "{ordered} orders; ten are allowed in an hour");
    assert_eq!(pebble.issued(), 1);
    assert_eq!(shown(&program, "mirror.test").await, before);
}

const WELL: u8 = 0;
const FAILS: u8 = 1;
const KILLS: u8 = 2;
