//! The program is told to stop while a certificate is being got.

use std::sync::Arc;

use certs::Reason;
use certs::worker::Look;
use tests::interposer::{Fate, Interposer};
use tests::named::{Named, Zone};
use tests::pebble::{Pebble, Settings};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::dns::{PLACE, pebble_at, updates};
use super::prover::Prover;
use super::{Owner, install_crypto};

/// A CA that is frozen: at its directory, at a new order, and when it is told of a proof. The time-out of a request would be a failed attempt, and would
/// come after the process has to be gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_is_no_failure_and_takes_proofs_away_and_the_order_stays() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    for place in ["/dir", "/order-plz", "/chalZ/"] {
        let (owner, is_there) = (Owner::of(&pebble, &["mirror.test"]), Arc::<Notify>::default());
        let tell = is_there.clone();
        let way = Interposer::before(&pebble, move |asked| {
            if asked.path.starts_with(place) {
                tell.notify_one();
                return Fate::Hang;
            }
            Fate::Pass
        });
        let worker = Arc::new(owner.worker_by(&way, &pebble, prover.alpn()));
        let stop = CancellationToken::new();
        let running = tokio::spawn(worker.clone().run(stop.clone()));
        is_there.notified().await;
        stop.cancel();
        running.await.expect("no panic");
        assert_eq!(owner.state().history.setback, None, "{place}");
        assert_eq!(worker.status.borrow().failed, 0, "{place}");
        assert!(prover.alpn.is_empty(), "{place}: proofs are taken away again");
        let is_under_way = owner.folder().pending().expect("read").is_some_and(|pending| pending.order.is_some());
        assert_eq!(is_under_way, place == "/chalZ/", "the order stays");
        let look = owner.worker(&pebble, prover.alpn()).look().await.expect("files");
        // By another way it is another CA, whose order is not gone on with.
        assert_eq!(look, Look::Obtained(Reason::Missing), "{place}: {}", pebble.log());
    }
}

/// A record that goes away while the CA looks for it is a failed proof, which it counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_ca_looks_for_a_record_leaves_it_there_and_the_next_start_goes_on_with_the_order() {
    install_crypto();
    let Some(named) = Named::start(&[Zone::new("test").grant("grant chandler zonesub TXT;")]) else { return };
    let Some(pebble) = pebble_at(&named) else { return };
    let (owner, looks) = (Owner::of(&pebble, &["mirror.test"]), Arc::<Notify>::default());
    let (tell, mut is_told, mut has_hung) = (looks.clone(), false, false);
    let way = Interposer::before(&pebble, move |asked| {
        is_told |= asked.path.starts_with("/chalZ/");
        if !is_told || has_hung || !asked.path.starts_with("/my-order/") {
            return Fate::Pass;
        }
        has_hung = true;
        tell.notify_one();
        Fate::Hang
    });
    let worker = Arc::new(owner.worker_by(&way, &pebble, updates(&named, |_| {})));
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone()));
    looks.notified().await;
    stop.cancel();
    running.await.expect("no panic");
    assert_eq!(named.texts(PLACE).len(), 1, "{}", named.log());
    assert_eq!(owner.state().history.setback, None);

    let look = owner.worker_by(&way, &pebble, updates(&named, |_| {})).look().await.expect("files");
    assert_eq!(look, Look::Obtained(Reason::Missing), "{}", pebble.log());
    assert_eq!((named.texts(PLACE), owner.state().history.orders.len()), (Vec::new(), 1), "by the same order");
}
