//! Clocks that jump, and machines that sleep: the CA keeps the real time, and the worker sees another.

use std::time::Duration;

use certs::worker::Look;
use certs::{Action, Class, Reason};
use tests::pebble::{Pebble, Settings};

use super::prover::Prover;
use super::{Owner, install_crypto};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn is_idle(look: &Look) -> bool {
    matches!(look, Look::Planned(Action::Idle { .. }))
}

/// A machine that sleeps sees its clock jump when it wakes: what was due meanwhile is got at once, what was not is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_on_by_weeks_renews_what_is_due_then_and_nothing_else() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing));
    owner.clock.on_by(DAY * 40);
    let look = worker.look().await.expect("files");
    assert!(is_idle(&look), "{look:?}");
    owner.clock.on_by(DAY * 30);
    let look = worker.look().await.expect("files");
    assert!(matches!(look, Look::Obtained(_)), "{look:?}");
    assert_eq!(pebble.issued(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_by_a_year_orders_nothing_and_takes_nothing_away() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing));
    let served = worker.served.current().expect("it serves").serial().to_owned();
    owner.clock.back_by(DAY * 365);
    for worker in [worker, owner.worker(&pebble, prover.http())] {
        let look = worker.look().await.expect("files");
        assert!(is_idle(&look), "{look:?}");
        assert_eq!(worker.served.current().expect("it serves").serial(), served);
    }
    owner.clock.on_by(DAY * 365);
    let look = owner.worker(&pebble, prover.http()).look().await.expect("files");
    assert!(is_idle(&look), "{look:?}");
    assert_eq!(pebble.issued(), 1);
}

/// By such a clock every certificate is over as soon as it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ten_years_ahead_costs_a_few_attempts_and_holds_up_nothing_when_it_is_right_again() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let worker = owner.worker(&pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing));
    let served = || worker.served.current().expect("it serves").serial().to_owned();
    let first = served();
    owner.clock.on_by(DAY * 3650);
    assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Validation));
    let look = worker.look().await.expect("files");
    assert!(matches!(look, Look::Planned(Action::Hold { .. })), "{look:?}");
    assert_eq!((served(), pebble.issued()), (first.clone(), 2));

    owner.clock.back_by(DAY * 3650);
    let look = worker.look().await.expect("files");
    assert!(is_idle(&look), "{look:?}");
    assert_eq!(served(), first);
    owner.clock.on_by(DAY * 80);
    let look = worker.look().await.expect("files");
    assert!(matches!(look, Look::Obtained(_)), "what failed in years to come holds up nothing: {look:?}");
    assert_eq!(pebble.issued(), 2, "and what came then is used: {}", pebble.log());
}

/// The same before there is any certificate: a machine without a clock of its own, at its first start.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_under_a_clock_that_was_ahead_is_forgotten_when_it_is_put_right() {
    install_crypto();
    let Some(mut pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    pebble.stop();
    owner.clock.on_by(DAY * 3650);
    assert_eq!(owner.worker(&pebble, prover.http()).look().await.expect("files"), Look::Failed(Class::Transient));
    owner.clock.back_by(DAY * 3650);
    pebble.start_again();
    assert_eq!(owner.worker(&pebble, prover.http()).look().await.expect("files"), Look::Obtained(Reason::Missing));
}
