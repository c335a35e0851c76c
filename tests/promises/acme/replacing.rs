//! What a CA has against a renewal that says which certificate it replaces (ARI): whatever it is, the renewal comes.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use certs::Reason;
use certs::worker::Look;
use http::StatusCode;
use tests::interposer::{Fate, Interposer};
use tests::pebble::{Pebble, Settings};

use super::prover::Prover;
use super::{Owner, install_crypto};

const MOST_OF_A_LIFE: Duration = Duration::from_secs(80 * 24 * 3600);
const NEW_ORDER: &str = "/order-plz";

/// In the words of Let's Encrypt, of Pebble, and of a CA that has lost something: status, kind, words, and how often it says so.
const REFUSALS: [(u16, &str, &str, usize); 4] = [
    (403, "unauthorized", "requester account did not request the certificate being replaced by this order", 1),
    (400, "malformed", "parsing ARI CertID failed", 1),
    (404, "malformed", "could not find an order for the given certificate", 1),
    (500, "serverInternal", "no rows in result set", 3),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_is_refused_for_what_it_replaces_comes_without_that() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    for (number, (status, kind, words, times)) in REFUSALS.into_iter().enumerate() {
        let mut orders = 0;
        let way = Interposer::before(&pebble, move |asked| {
            orders += usize::from(asked.path == NEW_ORDER);
            let is_refused = asked.path == NEW_ORDER && (2..2 + times).contains(&orders);
            let text = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "{words}", "status": {status}}}"#);
            if is_refused { Fate::page(StatusCode::from_u16(status).expect("a status"), &text) } else { Fate::Pass }
        });
        let owner = Owner::of(&pebble, &[&format!("mirror-{number}.test")]);
        let worker = || owner.worker_by(&way, &pebble, prover.http());
        assert_eq!(worker().look().await.expect("files"), Look::Obtained(Reason::Missing));
        owner.clock.on_by(MOST_OF_A_LIFE);
        let failed = owner.until_it_comes(4, worker).await;
        assert_eq!(failed.len(), times - 1, "{words}: {failed:?}");
    }
    assert_eq!(pebble.issued(), 2 * REFUSALS.len(), "{}", pebble.log());
}

/// As after a restore without the account, or with another one.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_did_not_get_the_old_certificate_renews_it_all_the_same() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let orders = Arc::new(AtomicUsize::new(0));
    let count = orders.clone();
    let way = Interposer::before(&pebble, move |asked| {
        count.fetch_add(usize::from(asked.path == NEW_ORDER), Ordering::Relaxed);
        Fate::Pass
    });
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let look = async || owner.worker_by(&way, &pebble, prover.http()).look().await.expect("files");
    assert_eq!(look().await, Look::Obtained(Reason::Missing));
    fs::remove_dir_all(owner.files.path().join("acme")).expect("the account was kept there");
    owner.clock.on_by(MOST_OF_A_LIFE);
    assert!(matches!(look().await, Look::Obtained(_)), "{:?}\n{}", owner.state(), pebble.log());
    assert!((2..=3).contains(&orders.load(Ordering::Relaxed)), "one that is refused at most");
    assert_eq!(pebble.issued(), 2);
}
