//! Certificates by ACME, against a real CA: every way of proof, and whatever can go wrong.
//!
//! | what goes wrong | where it is tested |
//! |---|---|
//! | a crash loop, at a CA that fails or takes the orders, or fails the proofs | `https_by_acme::crash_loop`, `odd_proofs` |
//! | `kill -9` at any request; at any write | `https_by_acme`; `certs::store` |
//! | an answer that is lost, late, half, a proxy's page, "too many", for somebody else | `faults`, `odd_answers` |
//! | nonces that are missing, old or refused | `odd_answers` |
//! | a chain that is empty, over, wrong, too short, too long | `odd_answers`, `odd_proofs`, `certs::bundle` |
//! | advice on renewal that is none, or for the certificate before | `suggestions`, `certs::plan`, `certs::acme::ari` |
//! | "replaced already", "not by this account", and what else a CA has against it | here, `replacing` |
//! | an account that the CA has lost, with several certificates | here, `lost` |
//! | our files lost, torn, garbage, not to be read; no room for them | `lost`, `https_by_acme::endured`, `certs::store` |
//! | a fault of ours | `broken_off` |
//! | a stop in the middle, at a CA that is frozen | `stopped` |
//! | the cause is mended while a failure is waited out | `https_by_acme` (SIGHUP), `cert_command` |
//! | a proof that is not found, another way, a trial where it costs nothing | here, `odd_proofs`, `certs::solve` |
//! | a proof that is looked for several times, at any of several mirrors | `https_by_acme::together` |
//! | a wildcard beside its own name; a lasting record | here |
//! | a record that cannot be written, that servers of the zone lack, that is left behind | `dns`, `route53` |
//! | several processes, one folder | `https_by_acme` |
//! | several certificates at once; one that hangs; all due on one day | `https_by_acme`, `lost`, `certs::plan` |
//! | a CA that is away for long, or for good | here, `https_by_acme::endured`, `certs::plan` |
//! | several CAs, another CA, a shorter life | `several_cas`, `certs::served` |
//! | one that works replaced by one that does not | `certs::served`, `https_by_acme` |
//! | got, and not shown to clients; connections that end for it | `cert_command`, `https_by_acme::swapped` |
//! | a clock that is wrong, that jumps; a machine that sleeps | `clocks`, `https_by_acme::endured`, `certs::plan` |
//! | a leaf that outlives its issuer | `certs::ca` |

mod broken_off;
mod clocks;
mod dns;
mod faults;
mod lost;
mod odd_answers;
mod odd_proofs;
pub(super) mod prover;
mod replacing;
mod route53;
mod several_cas;
mod stopped;
mod suggestions;

use std::sync::Arc;
use std::time::Duration;

use certs::acme::{AccountWish, Courier, ExternalAccount};
use certs::solve::{DnsHook, HookStyle, Solvers};
use certs::store::{CertFolder, State, Store};
use certs::worker::{LastAdvice, Look, Worker};
use certs::{Action, Budget, Class, Clock, KeyKind, Moment, Reason, Served, Wish};
use tempfile::TempDir;
use tests::interposer::{Fate, Interposer};
use tests::pebble::{Pebble, Settings};

use prover::Prover;

/// A clock that a test turns on, from the real time.
#[derive(Debug, Default)]
struct Turned(std::sync::atomic::AtomicI64);

impl Turned {
    fn on_by(&self, duration: Duration) {
        self.0.fetch_add(duration.as_secs() as i64, std::sync::atomic::Ordering::Relaxed);
    }

    fn back_by(&self, duration: Duration) {
        self.0.fetch_sub(duration.as_secs() as i64, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Clock for Turned {
    fn now(&self) -> Moment {
        let real = Moment::from(std::time::SystemTime::now());
        Moment::from_unix(real.unix() + self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// What a certificate's owner has over several starts of the program.
struct Owner {
    account: AccountWish,
    clock: Arc<Turned>,
    files: TempDir,
    staging: Option<String>,
    wish: Wish,
}

impl Owner {
    fn of(pebble: &Pebble, names: &[&str]) -> Self {
        let identifiers = names.iter().map(|name| name.parse().expect("an identifier")).collect();
        let wish = Wish { directories: vec![pebble.directory()], identifiers, how: String::new(), key: KeyKind::P256, profile: None };
        Self { account: AccountWish::default(), clock: Arc::default(), files: TempDir::new().expect("a folder"), staging: None, wish }
    }

    /// A worker as it is after a start of the program.
    fn worker(&self, pebble: &Pebble, solvers: Solvers) -> Worker {
        Worker {
            account: self.account.clone(),
            advice: LastAdvice::default(),
            budget: Budget::PUBLIC,
            ca: None,
            clock: self.clock.clone(),
            courier: Courier::knowing(&pebble.api_root()).expect("a client"),
            name: "mirror".parse().expect("a name"),
            served: Arc::new(Served::new(self.wish.clone())),
            solvers,
            staging: self.staging.clone(),
            status: tokio::sync::watch::Sender::default(),
            store: Store::new(self.files.path()),
            wake: Arc::default(),
            wish: self.wish.clone(),
        }
    }

    /// The same, whose CA lies behind `way`.
    fn worker_by(&self, way: &Interposer, pebble: &Pebble, solvers: Solvers) -> Worker {
        let mut worker = Worker { courier: Courier::knowing(way.root()).expect("a client"), ..self.worker(pebble, solvers) };
        worker.wish.directories = vec![way.directory()];
        Worker { served: Arc::new(Served::new(worker.wish.clone())), ..worker }
    }

    /// Looks two hours apart, each after a start of the program, until a certificate comes; what the looks before it came to.
    async fn until_it_comes(&self, most: usize, worker: impl Fn() -> Worker) -> Vec<Look> {
        let mut looks = Vec::new();
        while looks.len() < most {
            let worker = worker();
            match worker.look().await.expect("files") {
                Look::Obtained(_) => return looks,
                look => looks.push(look),
            }
            self.clock.on_by(Duration::from_secs(2 * 3600));
        }
        panic!("no certificate came: {:?}", worker().store.certificate(&worker().name).state());
    }

    fn state(&self) -> State {
        self.folder().state().expect("read")
    }

    fn folder(&self) -> CertFolder {
        Store::new(self.files.path()).certificate(&"mirror".parse().expect("a name"))
    }
}

fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_proved_over_http_and_nothing_is_ordered_twice() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test", "other.test"]);
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
    let served = worker.served.current().expect("it is served");
    assert_eq!(*served.identifiers(), owner.wish.identifiers);

    let again = owner.worker(&pebble, prover.http());
    let Look::Planned(Action::Idle { due: Reason::Suggested, .. }) = again.look().await.expect("files") else { panic!("nothing is due") };
    assert_eq!(again.served.current().expect("it is served at once").serial(), served.serial());
    assert_eq!(pebble.issued(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_an_address_are_proved_on_the_tls_port() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test", "127.0.0.1"]);
    let worker = owner.worker(&pebble, prover.alpn());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
    assert!(prover.alpn.is_empty(), "proofs are taken away again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_and_its_own_name_are_proved_by_a_script_that_was_written_for_certbot() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let owner = Owner::of(&pebble, &["*.mirror.test", "mirror.test"]);
    let script = owner.files.path().join("hook");
    let text = format!("#!/bin/sh\nNAME=_acme-challenge.$CERTBOT_DOMAIN. VALUE=$CERTBOT_VALIDATION\n{}\n", pebble.set_txt_command());
    prover::write_script(&script, &text);
    let hook = DnsHook::new(HookStyle::Certbot, &script, None, Duration::from_secs(60));
    let worker = owner.worker(&pebble, Solvers { dns: Some(Arc::new(hook.into())), ..Solvers::default() });
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_away_is_waited_out_while_the_old_certificate_serves() {
    install_crypto();
    let Some(mut pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    assert_eq!(owner.worker(&pebble, prover.http()).look().await.expect("files"), Look::Obtained(Reason::Missing));

    pebble.stop();
    owner.clock.on_by(Duration::from_secs(80 * 24 * 3600));
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Transient));
    assert!(worker.served.current().is_some(), "the old one is served");
    let Look::Planned(Action::Hold { .. }) = worker.look().await.expect("files") else { panic!("it waits") };

    pebble.start_again(); // It knows neither the account nor the certificate any more.
    owner.clock.on_by(Duration::from_secs(60));
    assert_eq!(owner.worker(&pebble, prover.http()).look().await.expect("files"), Look::Obtained(Reason::Age), "{}", pebble.log());
    assert_eq!(pebble.issued(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_proved_is_told_with_the_reason_and_tried_another_way() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let broken = Solvers { alpn: Some(Arc::default()), ..prover.http() }; // A table that no listener reads.
    let worker = owner.worker(&pebble, broken);
    assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Validation));
    let state = worker.store.certificate(&worker.name).state().expect("read");
    let said = state.history.setback.expect("it failed").said;
    assert!(said.contains("mirror.test") && said.contains("tls-alpn-01"), "{said}");
    owner.clock.on_by(Duration::from_secs(600));
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "over HTTP: {}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_two_failed_proofs_the_next_one_is_tried_where_it_costs_nothing() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let mut owner = Owner::of(&pebble, &["mirror.test"]);
    // Both ways lead to the same CA here; what tells them apart is the directory.
    let asked = Arc::<std::sync::Mutex<Vec<&str>>>::default();
    let way = |name: &'static str| {
        let asked = asked.clone();
        Interposer::before(&pebble, move |request| {
            if request.path.contains("order") {
                asked.lock().expect("no holder panics").push(name);
            }
            Fate::Pass
        })
    };
    let (counting, trial) = (way("where it counts"), way("trial"));
    owner.wish.directories = vec![counting.directory()];
    owner.staging = Some(trial.directory());
    let roots = [pebble.api_root(), counting.root().to_owned(), trial.root().to_owned()].concat();
    let broken = Solvers { alpn: Some(Arc::default()), ..Solvers::default() }; // A table that no listener reads.
    let look = async |solvers: &Solvers| {
        asked.lock().expect("no holder panics").clear();
        let worker = Worker { courier: Courier::knowing(&roots).expect("a client"), ..owner.worker(&pebble, solvers.clone()) };
        let look = worker.look().await.expect("files");
        owner.clock.on_by(Duration::from_secs(24 * 3600));
        let mut seen = asked.lock().expect("no holder panics").clone();
        seen.dedup();
        (look, seen)
    };
    for _ in 0..2 {
        assert_eq!(look(&broken).await, (Look::Failed(Class::Validation), vec!["where it counts"]));
    }
    assert_eq!(look(&broken).await, (Look::Failed(Class::Validation), vec!["trial"]), "a name that still cannot be proved");
    let prover = Prover::start(&pebble).await;
    assert_eq!(look(&prover.http()).await, (Look::Obtained(Reason::Missing), vec!["trial", "where it counts"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_knows_its_customers_is_shown_the_key_that_it_gave() {
    install_crypto();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let settings = Settings { customer: Some(("kid-1".into(), key.into())), ..Settings::default() };
    let Some(pebble) = Pebble::start(settings) else { return };
    let prover = Prover::start(&pebble).await;
    let mut owner = Owner::of(&pebble, &["mirror.test"]);
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Configuration), "without a key");
    let said = worker.store.certificate(&worker.name).state().expect("read").history.setback.expect("it failed").said;
    assert!(said.contains("xternal"), "{said}");

    owner.account.external = ExternalAccount::new("kid-1", key);
    owner.clock.on_by(Duration::from_secs(25 * 3600));
    assert_eq!(owner.worker(&pebble, prover.http()).look().await.expect("files"), Look::Obtained(Reason::Missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_cas_each_is_asked_for_what_it_has_and_shown_the_key_only_if_it_asks_for_one() {
    install_crypto();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let customers = Settings { customer: Some(("kid-1".into(), key.into())), ..Settings::default() };
    let (Some(open), Some(closed)) = (Pebble::start(Settings::default()), Pebble::start(customers)) else { return };
    for (first, second) in [(&open, &closed), (&closed, &open)] {
        let prover = Prover::start(first).await;
        let mut owner = Owner::of(first, &["mirror.test"]);
        owner.wish.directories.push(second.directory());
        owner.wish.profile = Some("of neither".into());
        owner.account = AccountWish { email: None, external: ExternalAccount::new("kid-1", key), several: true };
        let worker = owner.worker(first, prover.http());
        // A CA that gave no key takes none: Pebble refuses one that it does not know.
        assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", first.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_does_not_say_whether_it_asks_for_a_key_is_asked_again_and_not_taken_for_one_that_does_not() {
    install_crypto();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let Some(pebble) = Pebble::start(Settings { customer: Some(("kid-1".into(), key.into())), ..Settings::default() }) else { return };
    let prover = Prover::start(&pebble).await;
    let mut owner = Owner::of(&pebble, &["mirror.test"]);
    owner.account = AccountWish { email: None, external: ExternalAccount::new("kid-1", key), several: true };
    let mut is_well = false;
    let way = Interposer::before(&pebble, move |asked| match asked.path.as_str() {
        "/dir" if !std::mem::replace(&mut is_well, true) => Fate::page(http::StatusCode::SERVICE_UNAVAILABLE, "<html>maintenance</html>"),
        _ => Fate::Pass,
    });
    assert_eq!(owner.worker_by(&way, &pebble, prover.http()).look().await.expect("files"), Look::Failed(Class::Transient));
    owner.clock.on_by(Duration::from_secs(120));
    assert_eq!(
        owner.worker_by(&way, &pebble, prover.http()).look().await.expect("files"),
        Look::Obtained(Reason::Missing),
        "{}",
        pebble.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_the_ca_does_not_have_is_told_and_not_asked_for_again_all_the_time() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let mut owner = Owner::of(&pebble, &["mirror.test"]);
    owner.wish.profile = Some("imaginary".into());
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Configuration));
    let said = worker.store.certificate(&worker.name).state().expect("read").history.setback.expect("it failed").said;
    assert!(said.contains("imaginary"), "{said}");
    owner.clock.on_by(Duration::from_secs(3600));
    let Look::Planned(Action::Hold { .. }) = worker.look().await.expect("files") else { panic!("it waits for somebody") };
    owner.wish.profile = Some("default".into());
    assert_eq!(
        owner.worker(&pebble, prover.http()).look().await.expect("files"),
        Look::Obtained(Reason::Missing),
        "another wish is tried at once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lasting_record_proves_a_wildcard_without_any_script_or_port() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let owner = Owner::of(&pebble, &["*.mirror.test"]);
    let solvers = || Solvers { dns_persist: true, ..Solvers::default() };
    // The record names the account, which is registered at the first attempt.
    assert_eq!(owner.worker(&pebble, solvers()).look().await.expect("files"), Look::Failed(Class::Validation));
    let account = pebble
        .log()
        .lines()
        .find_map(|line| Some(line.split_once("/my-account/")?.1.split(|c: char| !c.is_ascii_alphanumeric()).next()?.to_owned()));
    let account = format!("{}/my-account/{}", pebble.directory().trim_end_matches("/dir"), account.expect("it is in the log"));
    pebble.set_txt("_validation-persist.mirror.test", &format!("pebble.letsencrypt.org; accounturi={account}; policy=wildcard"));
    owner.clock.on_by(Duration::from_secs(600));
    assert_eq!(owner.worker(&pebble, solvers()).look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_replaced_already_is_replaced_all_the_same() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let (one, other) = (Owner::of(&pebble, &["mirror.test"]), Owner::of(&pebble, &["mirror.test"]));
    assert_eq!(one.worker(&pebble, prover.http()).look().await.expect("files"), Look::Obtained(Reason::Missing));
    let copied = std::process::Command::new("cp").arg("-a").arg(one.files.path().join(".")).arg(other.files.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "a backup that somebody restored elsewhere");
    for owner in [&one, &other] {
        owner.clock.on_by(Duration::from_secs(80 * 24 * 3600));
        let look = owner.worker(&pebble, prover.http()).look().await.expect("files");
        assert!(matches!(look, Look::Obtained(_)), "{look:?}\n{}", pebble.log());
    }
    assert_eq!(pebble.issued(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_ca_took_back_is_replaced_once_the_ca_says_so() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing));
    let held = worker.served.current().expect("it is served");
    let (directory, cause) = (pebble.directory(), certs::ca::Cause::KeyCompromise);
    let taken_back = certs::acme::revoke(&worker.store, &directory, &worker.account, &worker.courier, &held, cause);
    taken_back.await.expect("by its own account");

    owner.clock.on_by(Duration::from_secs(25 * 3600)); // The CA wants to be asked every few hours.
    let look = owner.worker(&pebble, prover.http()).look().await.expect("files");
    assert_eq!(look, Look::Obtained(Reason::SuggestionPassed), "{}", pebble.log());
    assert_eq!(pebble.issued(), 2);
}
