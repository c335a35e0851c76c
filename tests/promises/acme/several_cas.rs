//! More than one CA: one for when the other is away, another one than before, and another of its profiles.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use certs::acme::Courier;
use certs::solve::Solvers;
use certs::store::State;
use certs::worker::{Look, Worker};
use certs::{Action, Class, Clock as _, Difference, Reason, Trouble};
use http::{HeaderValue, StatusCode};
use tests::interposer::{Fate, Interposer};
use tests::pebble::{Pebble, Settings};

use super::prover::Prover;
use super::{Owner, install_crypto};

fn with_header(mut fate: Fate, name: &'static str, value: &'static str) -> Fate {
    if let Fate::Answer(answer) = &mut fate {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    fate
}

fn refusal(kind: &str) -> Fate {
    let text = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "not for .test", "status": 400}}"#);
    with_header(Fate::page(StatusCode::BAD_REQUEST, &text), "content-type", "application/problem+json")
}

/// As a CA sheds load.
fn pause() -> Fate {
    with_header(Fate::page(StatusCode::SERVICE_UNAVAILABLE, "<html>busy</html>"), "retry-after", "90")
}

/// The first CA is away; what the second issued is what is wanted, and is no reason to go back.
#[tokio::test(flavor = "multi_thread")]
async fn when_one_ca_stays_away_the_next_one_is_asked() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let mut owner = Owner::of(&pebble, &["mirror.test"]);
    owner.wish.directories.insert(0, "https://127.0.0.1:1/dir".to_owned());
    let failed = owner.until_it_comes(10, || owner.worker(&pebble, prover.http())).await;
    assert_eq!(failed, vec![Look::Failed(Class::Transient); 3]);
    assert_eq!(owner.state().history.orders.len(), 1, "what reached no CA was no order");
    assert_eq!(owner.folder().current().expect("read").expect("one").facts.directory, pebble.directory());
    let look = owner.worker(&pebble, prover.http()).look().await.expect("files");
    assert!(matches!(look, Look::Planned(Action::Idle { .. })), "{look:?}");
}

/// A CA that does not issue for such names, at any time: nobody waits for days until the next one is asked.
#[tokio::test(flavor = "multi_thread")]
async fn when_one_ca_refuses_the_next_one_is_asked_at_once() {
    install_crypto();
    let (Some(closed), Some(open)) = (Pebble::start(Settings::default()), Pebble::start(Settings::default())) else { return };
    let prover = Prover::start(&open).await;
    let way = Interposer::before(&closed, |asked| match asked.path.as_str() {
        "/order-plz" => refusal("rejectedIdentifier"),
        _ => Fate::Pass,
    });
    let mut owner = Owner::of(&open, &["mirror.test"]);
    owner.wish.directories.insert(0, way.directory());
    let roots = [way.root(), &open.api_root()].concat();
    let worker = || Worker { courier: Courier::knowing(&roots).expect("a client"), ..owner.worker(&open, prover.http()) };
    assert_eq!(worker().look().await.expect("files"), Look::Failed(Class::Configuration), "{}", closed.log());
    let look = worker().look().await.expect("files");
    assert_eq!(look, Look::Obtained(Reason::Missing), "{:?}\n{}", owner.state(), open.log());
    assert_eq!(owner.folder().current().expect("read").expect("one").facts.directory, open.directory());
}

/// The CA has counted the certificate by then, and has it ready once the pause is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_a_ca_asks_for_in_the_middle_of_an_order_is_waited_out_and_the_order_gone_on_with() {
    install_crypto();
    let (Some(busy), Some(other)) = (Pebble::start(Settings::default()), Pebble::start(Settings::default())) else { return };
    let prover = Prover::start(&busy).await;
    let (mut is_finalized, mut has_shed) = (false, false);
    let way = Interposer::before(&busy, move |asked| {
        is_finalized |= asked.path.starts_with("/finalize-order/");
        let sheds = is_finalized && asked.path.starts_with("/my-order/") && !std::mem::replace(&mut has_shed, true);
        if sheds { pause() } else { Fate::Pass }
    });
    let mut owner = Owner::of(&busy, &["mirror.test"]);
    owner.wish.directories = vec![way.directory(), other.directory()];
    let roots = [way.root(), &other.api_root()].concat();
    let worker = || Worker { courier: Courier::knowing(&roots).expect("a client"), ..owner.worker(&busy, prover.http()) };
    assert_eq!(worker().look().await.expect("files"), Look::Failed(Class::Transient), "{}", busy.log());
    assert!(owner.state().history.paused.is_empty(), "the other one is not asked meanwhile");
    owner.clock.on_by(Duration::from_secs(91));
    assert_eq!(worker().look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", busy.log());
    assert_eq!(owner.folder().current().expect("read").expect("one").facts.directory, way.directory());
    assert_eq!((busy.issued(), other.issued(), owner.state().history.orders.len()), (1, 0, 1));
}

/// Its proofs take so long that the pause of the first one is over meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_second_ca_refuses_is_not_laid_to_the_first_one_whose_turn_has_come_again() {
    install_crypto();
    let Some(second) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&second).await;
    let mut owner = Owner::of(&second, &["mirror.test"]);
    let clock = owner.clock.clone();
    let way = Interposer::before(&second, move |asked| {
        if !asked.path.starts_with("/finalize-order/") {
            return Fate::Pass;
        }
        clock.on_by(Duration::from_secs(70));
        refusal("badCSR")
    });
    let first = "https://127.0.0.1:1/dir".to_owned();
    owner.wish.directories = vec![first.clone(), way.directory()];
    let mut state = State::default();
    state.history.paused.insert(first, owner.clock.now() + Duration::from_secs(60));
    owner.folder().save_state(&state).expect("written");
    let worker = Worker { courier: Courier::knowing(way.root()).expect("a client"), ..owner.worker(&second, prover.http()) };
    assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Configuration), "{}", second.log());
    assert_eq!(owner.state().history.refused, [way.directory()].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_twin_for_trials_says_is_not_laid_to_the_ca_and_another_ca_has_no_twin() {
    install_crypto();
    let Some(second) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&second).await;
    let asked = Arc::<AtomicUsize>::default();
    for says in [pause as fn() -> Fate, || refusal("rejectedIdentifier")] {
        let count = asked.clone();
        let twin = Interposer::before(&second, move |asked| {
            count.fetch_add(1, Ordering::Relaxed);
            if asked.path == "/order-plz" { says() } else { Fate::Pass }
        });
        let mut owner = Owner::of(&second, &["mirror.test"]);
        let first = "https://127.0.0.1:1/dir".to_owned();
        owner.wish.directories.insert(0, first.clone());
        owner.staging = Some(twin.directory());
        let mut state = State::default();
        for _ in 0..2 {
            let unproved = Trouble { class: Class::Validation, retry_after: None, said: String::new() };
            state.history.failed(owner.clock.now(), unproved, &owner.wish, None);
        }
        owner.folder().save_state(&state).expect("written");
        owner.clock.on_by(Duration::from_secs(24 * 3600));
        let roots = [twin.root(), &second.api_root()].concat();
        let worker = || Worker { courier: Courier::knowing(&roots).expect("a client"), ..owner.worker(&second, prover.http()) };
        assert_eq!(worker().look().await.expect("files"), Look::Failed(Class::Transient), "{:?}", owner.state());
        assert!(asked.swap(0, Ordering::Relaxed) > 0, "it was tried there first");
        let history = owner.state().history;
        assert!(history.paused.is_empty() && history.refused.is_empty(), "{history:?}");

        state.history.refused.insert(first);
        owner.folder().save_state(&state).expect("written");
        assert_eq!(worker().look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", second.log());
        assert_eq!(asked.load(Ordering::Relaxed), 0, "the second CA has no twin");
    }
}

/// The new CA's certificates live for a week: nobody waits for the old one's end.
#[tokio::test(flavor = "multi_thread")]
async fn another_ca_in_the_configuration_is_asked_at_once_and_its_certificate_served_though_it_ends_earlier() {
    install_crypto();
    let week = Settings { life: Duration::from_secs(7 * 24 * 3600), ..Settings::default() };
    let (Some(before), Some(after)) = (Pebble::start(Settings::default()), Pebble::start(week)) else { return };
    let (prover_before, prover_after) = (Prover::start(&before).await, Prover::start(&after).await);
    let mut owner = Owner::of(&before, &["mirror.test"]);
    assert_eq!(owner.worker(&before, prover_before.http()).look().await.expect("files"), Look::Obtained(Reason::Missing));
    let old = owner.folder().current().expect("read").expect("one");

    owner.wish.directories = vec![after.directory()];
    let worker = |solvers| Worker { courier: Courier::knowing(&after.api_root()).expect("a client"), ..owner.worker(&after, solvers) };
    let nowhere = worker(Solvers { http: Some(Arc::default()), ..Solvers::default() });
    assert_eq!(nowhere.look().await.expect("files"), Look::Failed(Class::Validation));
    assert_eq!(nowhere.served.current().expect("the old one serves").serial(), old.bundle.serial());
    owner.clock.on_by(Duration::from_secs(600));
    let worker = worker(prover_after.http());
    let look = worker.look().await.expect("files");
    assert_eq!(look, Look::Obtained(Reason::Changed(Difference::Directory)), "{}", after.log());
    let served = worker.served.current().expect("it serves");
    assert!(served.not_after() < old.bundle.not_after() && served.serial() != old.bundle.serial());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_profile_in_the_configuration_is_asked_for_at_once_and_served_though_it_ends_earlier() {
    install_crypto();
    let settings = Settings { also_short: Some(Duration::from_secs(160 * 3600)), ..Settings::default() };
    let Some(pebble) = Pebble::start(settings) else { return };
    let prover = Prover::start(&pebble).await;
    let mut owner = Owner::of(&pebble, &["mirror.test"]);
    owner.wish.profile = Some("default".to_owned());
    assert_eq!(owner.worker(&pebble, prover.http()).look().await.expect("files"), Look::Obtained(Reason::Missing));
    let old = owner.folder().current().expect("read").expect("one");
    owner.wish.profile = Some("short".to_owned());
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Changed(Difference::Profile)), "{}", pebble.log());
    assert!(worker.served.current().expect("it serves").not_after() < old.bundle.not_after());
    let look = worker.look().await.expect("files");
    assert!(matches!(look, Look::Planned(Action::Idle { .. })), "{look:?}");
}

/// Whoever asks for another one by force knows why the one before is not to be used: nobody goes on with that for the rest of its life.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_a_person_asked_for_is_served_though_the_ca_gives_shorter_lives_by_now() {
    install_crypto();
    let Some(mut pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let before = owner.worker(&pebble, prover.http());
    assert_eq!(before.look().await.expect("files"), Look::Obtained(Reason::Missing));
    let old = before.served.current().expect("it serves");
    pebble.start_again_with(Duration::from_secs(7 * 24 * 3600));
    owner.folder().ask(std::time::SystemTime::now().into(), true).expect("written");
    let worker = Worker { served: before.served.clone(), ..owner.worker(&pebble, prover.http()) };
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Asked), "{}", pebble.log());
    let new = worker.served.current().expect("it serves");
    assert!(new.serial() != old.serial() && new.not_after() < old.not_after());
}
