//! What a CA suggests about renewal (ARI), wrongly, without what belongs to it, or not at all: it is asked no more often for it, and nothing is ordered
//! that was not due.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use certs::store::State;
use certs::worker::Look;
use certs::{Action, Clock as _, Reason, Suggestion};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use tests::interposer::{Fate, Interposer};
use tests::pebble::{Pebble, Settings};
use tokio::task::JoinSet;

use super::prover::Prover;
use super::{Owner, install_crypto};

type Says = fn() -> Fate;

/// What is said, how, and what is planned with it.
const SAID: [(&str, Says, &str); 9] = [
    ("nothing of this certificate", || Fate::page(StatusCode::NOT_FOUND, "{}"), "idle, Age"),
    ("nothing today", || Fate::page(StatusCode::SERVICE_UNAVAILABLE, "<html>maintenance</html>"), "idle, Age"),
    ("what is no JSON", || Fate::rewrite(|text| text[..text.len() / 2].to_owned()), "idle, Age"),
    ("an end before its start", || window("2030-01-02", "2030-01-01"), "idle, Age"),
    ("not when to ask again", || Fate::with_header(RETRY_AFTER, None), "idle, Suggested"),
    ("to ask again long ago", || Fate::with_header(RETRY_AFTER, Some(HeaderValue::from_static(LONG_AGO))), "idle, Suggested"),
    ("to ask again at once", || Fate::with_header(RETRY_AFTER, Some(HeaderValue::from_static("0"))), "idle, Suggested"),
    ("a time after its end", || window("2098-01-01", "2099-01-01"), "idle, Floor"),
    ("of each new one that its time has passed", || window("2020-01-01", "2020-01-02"), "hold, TooSoon"),
];
const LONG_AGO: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

fn window(start: &str, end: &str) -> Fate {
    let text = format!("{{\"suggestedWindow\": {{\"start\": \"{start}T00:00:00Z\", \"end\": \"{end}T00:00:00Z\"}}}}");
    Fate::rewrite(|_| text)
}

fn planned(look: &Look) -> String {
    match look {
        Look::Planned(Action::Idle { due, .. }) => format!("idle, {due:?}"),
        Look::Planned(Action::Hold { why, .. }) => format!("hold, {why:?}"),
        look => format!("{look:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_ca_suggests_it_is_asked_once_in_a_while_and_nothing_is_ordered_twice() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()).map(Arc::new) else { return };
    let prover = Arc::new(Prover::start(&pebble).await);
    let mut owners = JoinSet::new();
    for (at, (said, fate, plan)) in SAID.into_iter().enumerate() {
        let (pebble, prover, asked) = (pebble.clone(), prover.clone(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let way = Interposer::before(&pebble, move |asked| {
            if !asked.path.to_ascii_lowercase().contains("renewalinfo") {
                return Fate::Pass;
            }
            count.fetch_add(1, Ordering::Relaxed);
            fate()
        });
        owners.spawn(async move {
            let owner = Owner::of(&pebble, &[&format!("mirror-{at}.test")]);
            let look = async || owner.worker_by(&way, &pebble, prover.http()).look().await.expect("files");
            assert_eq!(look().await, Look::Obtained(Reason::Missing), "{}", pebble.log());
            for _ in 0..3 {
                assert_eq!(planned(&look().await), plan, "the CA says {said}");
            }
            assert_eq!(asked.load(Ordering::Relaxed), 1, "the CA says {said}");
            owner.clock.on_by(Duration::from_secs(25 * 3600));
            look().await;
            assert_eq!(asked.load(Ordering::Relaxed), 2, "a day later; the CA says {said}");
        });
    }
    owners.join_all().await;
    assert_eq!(pebble.issued(), SAID.len() + 1, "one each; another after a day for the one whose time has passed:\n{}", pebble.log());
}

/// Read again after a renewal, it has made clients issue five in ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_of_the_certificate_before_is_no_reason_to_replace_the_new_one() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let look = async || owner.worker(&pebble, prover.http()).look().await.expect("files");
    assert_eq!(look().await, Look::Obtained(Reason::Missing));
    let old = owner.folder().current().expect("read").expect("one").facts;
    let (now, hour) = (owner.clock.now(), Duration::from_secs(3600));
    owner.folder().ask(now, true).expect("written");
    assert_eq!(look().await, Look::Obtained(Reason::Asked));
    let passed = Suggestion::new(old.id.expect("it has one"), now - hour * 2, now - hour, 0.5);
    let state = State { next_look: Some(now + hour), suggestion: passed, ..owner.state() };
    owner.folder().save_state(&state).expect("written");
    for _ in 0..3 {
        assert_eq!(planned(&look().await), "idle, Suggested");
    }
    assert_eq!(pebble.issued(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_knows_nothing_of_suggestions_renews_as_well() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let without = |text: String| {
        let mut directory: serde_json::Value = serde_json::from_str(&text).expect("a directory is JSON");
        directory.as_object_mut().expect("an object").remove("renewalInfo").expect("Pebble has it");
        directory.to_string()
    };
    let way = Interposer::before(&pebble, move |asked| if asked.path == "/dir" { Fate::rewrite(without) } else { Fate::Pass });
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let worker = || owner.worker_by(&way, &pebble, prover.http());
    assert_eq!(worker().look().await.expect("files"), Look::Obtained(Reason::Missing));
    owner.clock.on_by(Duration::from_secs(70 * 24 * 3600));
    assert_eq!(worker().look().await.expect("files"), Look::Obtained(Reason::Age), "{:?}", owner.state());
}
