//! "A certificate renews itself long before it ends, and no connection is dropped for it. No crash, race or retry burns the CA's rate limits."
//!
//! The real program gets its certificates from a real CA: at the first start, after kill -9 at any moment, beside files that somebody puts there.

mod crash_loop;
mod endured;
mod swapped;
mod together;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use rustls_pki_types::CertificateDer;
use tests::engine::{Dockerd, MachineConfig, Release};
use tests::hub::{Hub, noise};
use tests::interposer::{Fate, Interposer};
use tests::operator::Operator;
use tests::pebble::{Pebble, Settings};
use tests::program::{Builder, Program};

use super::https;

/// A mirror whose names a CA at `directory`, known by `root`, proves where `pebble` looks.
pub(super) fn mirror(hub: &Hub, pebble: &Pebble, directory: &str, root: &str, tls: &str) -> Builder {
    let builder = Program::of_hub(&hub.url());
    let (ca, state) = (builder.folder().join("ca.pem"), builder.folder().join("certs"));
    fs::write(&ca, root).expect("the test's folder can be written");
    let acme = format!(
        "acme: {{directories: [\"{directory}\"], ca: \"{}\", path: \"{}\", http: \"127.0.0.1:{}\"}}",
        ca.display(),
        state.display(),
        pebble.http_port()
    );
    builder
        .listeners(&format!("[{{address: \"127.0.0.1:{}\", tls: {{acme: [mirror.test, 127.0.0.1]{tls}}}}}]", pebble.tls_port()))
        .config(&acme)
}

/// The same at the CA itself.
pub(super) fn at(hub: &Hub, pebble: &Pebble) -> Builder {
    mirror(hub, pebble, &pebble.directory(), &pebble.api_root(), "")
}

/// Trusts what `pebble` issues and nothing else, and asks for `mirror.test`.
fn client(pebble: &Pebble, mirror: &Program) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(pebble.root().as_bytes()).expect("a certificate");
    let address = mirror.host().parse().expect("an address");
    reqwest::Client::builder().tls_certs_only([root]).resolve("mirror.test", address).no_proxy().build().expect("a client")
}

fn url(mirror: &Program, path: &str) -> String {
    let port = mirror.host().rsplit(':').next().expect("a port").to_owned();
    format!("https://mirror.test:{port}{path}")
}

/// What a client that asks for `name` is shown.
pub(super) async fn shown(mirror: &Program, name: &str) -> CertificateDer<'static> {
    tests::anybody::shown(mirror.host(), name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_gets_its_certificate_by_itself_and_keeps_it_over_a_restart() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let (hub, bytes) = (Hub::start(), noise(4, 700_000));
    let blob = format!("/v2/library/alpine/blobs/{}", hub.put_blob("library/alpine", bytes.clone()));
    let program = at(&hub, &pebble).start();
    Operator::of(&program).wait_for_readiness(200).await;
    let answer = client(&pebble, &program).get(url(&program, &blob)).send().await.expect("its certificate is right");
    assert_eq!(answer.bytes().await.expect("a whole body"), bytes);
    let before = shown(&program, "mirror.test").await;
    let operator = Operator::of(&program);
    operator.wait_for_metric("chandler_certificate_seen_by_clients", 1).await;
    assert!(operator.metric("chandler_certificate_not_after_timestamp_seconds").await > 1_000_000_000);

    let program = program.crash_and_restart();
    Operator::of(&program).wait_for_readiness(200).await;
    assert_eq!(shown(&program, "mirror.test").await, before, "the stored one is served");
    assert_eq!(pebble.issued(), 1, "and none is ordered");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_ca_the_mirror_starts_and_says_what_is_missing_and_sighup_tries_again() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let is_back = Arc::new(AtomicBool::new(false));
    let back = is_back.clone();
    let away = Interposer::before(&pebble, move |_| {
        if back.load(Ordering::Acquire) { Fate::Pass } else { Fate::page(StatusCode::SERVICE_UNAVAILABLE, "<html>be back soon</html>") }
    });
    let program = mirror(&hub, &pebble, &away.directory(), away.root(), "").start();
    let said = Operator::of(&program).wait_for_readiness(503).await;
    assert!(said.contains("certificate mirror.test") && said.contains("there is no certificate yet"), "{said}");
    program.wait_for_log("no new certificate");
    let operator = Operator::of(&program);
    operator.wait_for_metric("chandler_acme_failed_attempts_total", 1).await;
    let said = operator.page("/readyz").await.1;
    assert!(said.contains("503") && said.contains("the next attempt is at"), "{said}");
    let bootstrap = shown(&program, "mirror.test").await;
    assert!(bootstrap.windows(31).any(|text| text == b"chandler has no certificate yet"), "who looks at it learns what is missing");

    let config = fs::read_to_string(program.config()).expect("it is there");
    fs::write(program.config(), config.replace("acme: {dir", "acme: {email: ops@example.com, dir")).expect("written");
    program.signal("HUP");
    program.wait_for_log("from the next start on only"); // What was mended is not in use: another attempt would fail as the last one did.
    fs::write(program.config(), config).expect("written");
    program.signal("HUP"); // "It is mended": else the next attempt would be a minute away.
    operator.wait_for_metric("chandler_acme_failed_attempts_total", 2).await;
    is_back.store(true, Ordering::Release);
    program.signal("HUP");
    operator.wait_for_readiness(200).await;
    assert_eq!(operator.metric("chandler_acme_failed_attempts_total").await, 2, "{}", program.log());
}

/// "A working certificate of ours is never replaced by a worse one. A valid pair that the operator put there always wins."
#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_the_operator_puts_there_wins_as_soon_as_it_is_there() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let tls = format!(", certificate: \"{}\", key: \"{}\"", certificate.display(), key.display());
    let program = mirror(&hub, &pebble, &pebble.directory(), &pebble.api_root(), &tls).start();
    Operator::of(&program).wait_for_readiness(200).await;
    let issued = shown(&program, "127.0.0.1").await;

    let files = https::Files::write(folder.path(), "chain.pem", "key.pem", 7);
    let mut tries = 0;
    while shown(&program, "127.0.0.1").await != files.leaf() {
        tries += 1;
        assert!(tries < 600, "the operator's pair is never shown:\n{}", program.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(shown(&program, "mirror.test").await, issued, "for a name that it lacks the other one is shown");

    for file in [certificate, key] {
        fs::remove_file(file).expect("it was written");
    }
    program.wait_for_log("the files are gone");
    assert_eq!(shown(&program, "127.0.0.1").await, issued, "what was taken away is not shown for long");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_before_any_step_of_an_order_costs_no_second_certificate() {
    killed_at_each_step(|kill| {
        kill();
        Fate::Lose
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_after_any_step_of_an_order_costs_no_second_certificate() {
    killed_at_each_step(Fate::LoseAnswer).await;
}

/// A mirror that is killed at its first request to the CA, one that is killed at its second, and so on until one is killed no more: `dies` says what
/// becomes of that request. Started again, each has its certificate, and the CA has issued one.
async fn killed_at_each_step(dies: fn(Box<dyn FnOnce() + Send>) -> Fate) {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    for step in 0.. {
        let issued = pebble.issued();
        let (pid, is_killed) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
        let (victim, done) = (pid.clone(), is_killed.clone());
        let way = Interposer::before(&pebble, move |asked| {
            let (victim, done) = (victim.clone(), done.clone());
            let kill = move || {
                kill_9(*victim.wait());
                done.store(true, Ordering::Release);
            };
            if asked.number == step { dies(Box::new(kill)) } else { Fate::Pass }
        });
        let program = mirror(&hub, &pebble, &way.directory(), way.root(), "").start();
        pid.set(program.pid()).expect("it is set once");
        let program = match until_it_has_a_certificate(program, &is_killed).await {
            Ok(_) if step > FEWEST_STEPS => return,
            Ok(_) => panic!("an order of {step} requests is none"),
            Err(killed) => killed.crash_and_restart(),
        };
        Operator::of(&program).wait_for_readiness(200).await;
        assert_eq!(pebble.issued(), issued + 1, "killed at step {step}; the CA said\n{}", pebble.log());
    }
}

/// The program with its certificate, or what is left of it.
async fn until_it_has_a_certificate(program: Program, is_killed: &AtomicBool) -> Result<Program, Program> {
    loop {
        if is_killed.load(Ordering::Acquire) {
            return Err(program);
        }
        if program.log().contains("a certificate is in use") {
            return Ok(program);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn kill_9(pid: u32) {
    let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("`kill` runs");
    assert!(killed.success(), "it was there");
}

/// `CHANDLER_TEST_CERTIFICATES=200 tests/run due_together` is the long form: so many of them.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_due_together_do_not_fail_each_other() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let count =
        std::env::var("CHANDLER_TEST_CERTIFICATES").map_or(4, |count| count.parse().expect("CHANDLER_TEST_CERTIFICATES is a number"));
    let names: Vec<String> = (1..=count).map(|one| format!("name-{one}.test")).collect();
    let listeners: Vec<String> = names.iter().map(|name| format!("{{address: \"127.0.0.1:0\", tls: {{acme: [{name}]}}}}")).collect();
    let program = at(&hub, &pebble).listeners(&format!("[{}]", listeners.join(", "))).start();
    let operator = Operator::of(&program);
    for some in (0..=count).step_by(10) {
        operator.wait_for_metric(OBTAINED, some as u64).await;
    }
    operator.wait_for_readiness(200).await;
    assert_eq!(
        (operator.metric(OBTAINED).await, operator.metric("chandler_acme_failed_attempts_total").await),
        (count as u64, 0),
        "{}",
        program.log()
    );
    for (name, url) in names.iter().zip(&program.urls) {
        let address = url.strip_prefix("https://").expect("HTTPS");
        let leaf = tests::anybody::shown(address, name).await;
        assert!(leaf.windows(name.len()).any(|text| text == name.as_bytes()), "{name} is shown its own");
    }
    assert_eq!(pebble.issued(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_mirrors_that_share_a_folder_order_one_certificate() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let (hub, shared) = (Hub::start(), tempfile::tempdir().expect("a folder"));
    let (ca, hook) = (shared.path().join("ca.pem"), shared.path().join("hook"));
    fs::write(&ca, pebble.api_root()).expect("written");
    super::acme::prover::write_script(
        &hook,
        &format!("#!/bin/sh\nNAME=_acme-challenge.$CERTBOT_DOMAIN. VALUE=$CERTBOT_VALIDATION\n{}\n", pebble.set_txt_command()),
    );
    let acme = format!(
        "acme: {{directories: [\"{}\"], ca: \"{}\", path: \"{}\", dns: {{hook: \"{}\"}}}}",
        pebble.directory(),
        ca.display(),
        shared.path().join("certs").display(),
        hook.display()
    );
    let start = || {
        let listeners = "[{address: \"127.0.0.1:0\", tls: {acme: [mirror.test]}}]";
        Program::of_hub(&hub.url()).listeners(listeners).config(&acme).environment("PATH", "/usr/bin:/bin").start()
    };
    let mirrors = [start(), start(), start()];
    let mut seen = Vec::new();
    for mirror in &mirrors {
        Operator::of(mirror).wait_for_readiness(200).await;
        seen.push(shown(mirror, "mirror.test").await);
    }
    assert!(seen.windows(2).all(|two| two[0] == two[1]), "all serve the same one");
    assert_eq!(pebble.issued(), 1, "{}", pebble.log());
}

/// A CA meets whoever has port 443, which need not be whoever placed the order.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_port_answers_for_the_orders_of_all_who_share_its_folder() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let (hub, shared) = (Hub::start(), tempfile::tempdir().expect("a folder"));
    let ca = shared.path().join("ca.pem");
    fs::write(&ca, pebble.api_root()).expect("written");
    let start = |port: u16, name: &str| {
        let acme = format!(
            "acme: {{directories: [\"{}\"], ca: \"{}\", path: \"{}\", challenges: [tls-alpn-01]}}",
            pebble.directory(),
            ca.display(),
            shared.path().join("certs").display(),
        );
        let listeners = format!("[{{address: \"127.0.0.1:{port}\", tls: {{acme: [{name}]}}}}]");
        Program::of_hub(&hub.url()).listeners(&listeners).config(&acme).start()
    };
    let with_the_port = start(pebble.tls_port(), "one.test");
    Operator::of(&with_the_port).wait_for_readiness(200).await;
    let without = start(0, "two.test");
    let operator = Operator::of(&without);
    operator.wait_for_readiness(200).await;
    assert_eq!(
        (operator.metric(OBTAINED).await, operator.metric("chandler_acme_failed_attempts_total").await),
        (1, 0),
        "{}",
        without.log()
    );
    // And for the next one: what was shown for the first is over.
    let certificate = certs::store::Store::new(&shared.path().join("certs")).certificate(&"two.test".parse().expect("a name"));
    certificate.ask(std::time::SystemTime::now().into(), true).expect("asked");
    operator.wait_for_metric(OBTAINED, 2).await;
    assert_eq!(operator.metric("chandler_acme_failed_attempts_total").await, 0, "{}", without.log());
    assert_eq!(pebble.issued(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_pulls_with_a_certificate_that_the_mirror_got_by_itself() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    hub.image("library/alpine").tag("1").push();
    let program = at(&hub, &pebble).start();
    Operator::of(&program).wait_for_readiness(200).await;
    let Some(docker) = docker(&pebble, &program).await else { return };
    docker.pull("alpine:1").await.expect_success();
}

/// An engine that trusts what `pebble` issues.
async fn docker(pebble: &Pebble, program: &Program) -> Option<Dockerd> {
    let config = MachineConfig { certs_d: vec![(program.host().to_owned(), pebble.root())], ..MachineConfig::behind(program.url()) };
    Dockerd::start(Release::V29, config).await
}

const OBTAINED: &str = "chandler_acme_obtained_total";
/// A whole order has more: directory, nonces, account, order, authorizations, challenges, finalization, polls, the chain.
const FEWEST_STEPS: usize = 10;
