//! A fault of ours in the middle of the work: the worker goes on with its next look, the fault is counted, and no certificate is ordered twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use certs::worker::Worker;
use certs::{Clock, Moment};
use tests::pebble::{Pebble, Settings};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::prover::Prover;
use super::{Owner, install_crypto};

/// Panics when it is asked for the time for the `at`th time. The time is asked for at each step: to plan, to note an order, to judge what came, to store
/// it, to serve it, to wait.
#[derive(Debug)]
struct Breaking {
    asked: AtomicUsize,
    at: usize,
}

impl Clock for Breaking {
    fn now(&self) -> Moment {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        assert_ne!(asked, self.at, "a fault that a test makes");
        SystemTime::now().into()
    }
}

/// So often is the time asked for until a certificate is served and looked at again.
const STEPS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_at_any_step_ends_that_look_and_not_the_worker() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()).map(Arc::new) else { return };
    let prover = Arc::new(Prover::start(&pebble).await);
    let mut owners = JoinSet::new();
    for at in 0..STEPS {
        let (pebble, prover) = (pebble.clone(), prover.clone());
        owners.spawn(async move {
            let owner = Owner::of(&pebble, &[&format!("mirror-{at}.test")]);
            let clock = Arc::new(Breaking { asked: AtomicUsize::new(0), at });
            let worker = Arc::new(Worker { clock, ..owner.worker(&pebble, prover.http()) });
            let (end, mut status) = (CancellationToken::new(), worker.status.subscribe());
            let running = tokio::spawn(worker.clone().run(end.clone()));
            let mended = async {
                while worker.status.borrow().failed == 0 || worker.served.current().is_none() {
                    worker.wake.notify_one(); // Nobody waits for half a minute, as the worker does.
                    let _ = tokio::time::timeout(Duration::from_millis(100), status.changed()).await;
                }
            };
            assert!(tokio::time::timeout(Duration::from_secs(60), mended).await.is_ok(), "step {at}: {:?}", worker.status.borrow());
            assert_eq!(worker.status.borrow().failed, 1, "step {at}");
            end.cancel();
            running.await.expect("it ends when it is told to, and not before");
        });
    }
    owners.join_all().await;
    assert_eq!(pebble.issued(), STEPS, "{}", pebble.log());
}
