//! A fault of ours in the middle of the work: the worker goes on with its next look, the fault is counted, and no certificate is ordered twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use certs::worker::{Look, Worker};
use certs::{Action, Class, Clock, Moment, Reason};
use tests::interposer::{Fate, Interposer};
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

/// Panics when it is asked for the time for the first time after a certificate was downloaded.
#[derive(Debug, Default)]
struct AtDownload(Arc<AtomicBool>);

impl Clock for AtDownload {
    fn now(&self) -> Moment {
        assert!(!self.0.swap(false, Ordering::AcqRel), "a fault that a test makes");
        SystemTime::now().into()
    }
}

/// A fault that comes at each look must not be a look at the CA every half a minute, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_waited_out_as_any_failure_and_the_order_goes_on() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let (prover, owner) = (Prover::start(&pebble).await, Owner::of(&pebble, &["mirror.test"]));
    let is_here = Arc::<AtomicBool>::default();
    let (downloads, came) = (Arc::<AtomicUsize>::default(), is_here.clone());
    let count = downloads.clone();
    let way = Interposer::before(&pebble, move |asked| {
        let is_download = asked.path.starts_with("/certZ/");
        came.fetch_or(is_download && count.fetch_add(1, Ordering::AcqRel) == 0, Ordering::AcqRel);
        Fate::Pass
    });
    let worker = Arc::new(Worker { clock: Arc::new(AtDownload(is_here)), ..owner.worker_by(&way, &pebble, prover.http()) });
    let (end, mut status) = (CancellationToken::new(), worker.status.subscribe());
    let running = tokio::spawn(worker.clone().run(end.clone()));
    status.wait_for(|status| status.failed == 1).await.expect("it runs");
    end.cancel();
    running.await.expect("it ends when it is told to, and not before");
    let setback = owner.state().history.setback.expect("it is written down");
    assert_eq!((setback.class, setback.count), (Class::Transient, 1), "{setback:?}");
    let look = worker.look().await.expect("files");
    assert!(matches!(look, Look::Planned(Action::Hold { .. })), "{look:?}");
    owner.folder().ask(SystemTime::now().into(), false).expect("written");
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
    assert_eq!((pebble.issued(), downloads.load(Ordering::Acquire)), (1, 2));
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
