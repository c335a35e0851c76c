//! More than one CA: one for when the other is away, and another one than before.

use std::sync::Arc;
use std::time::Duration;

use certs::acme::Courier;
use certs::solve::Solvers;
use certs::worker::{Look, Worker};
use certs::{Action, Class, Difference, Reason};
use tests::pebble::{Pebble, Settings};

use super::prover::Prover;
use super::{Owner, install_crypto};

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
    assert_eq!(owner.folder().current().expect("read").expect("one").facts.directory, pebble.directory());
    let look = owner.worker(&pebble, prover.http()).look().await.expect("files");
    assert!(matches!(look, Look::Planned(Action::Idle { .. })), "{look:?}");
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
