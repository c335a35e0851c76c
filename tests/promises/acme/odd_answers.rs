//! A CA, or what stands before it, answers what no CA should: it costs an attempt, and what was ordered is not lost.

use std::sync::Arc;
use std::time::Duration;

use certs::Class;
use certs::worker::Look;
use http::header::LOCATION;
use http::{HeaderName, HeaderValue, StatusCode};
use tests::interposer::{Fate, Interposer};
use tests::pebble::{Pebble, Settings};
use tokio::task::JoinSet;

use super::prover::Prover;
use super::{Owner, install_crypto};

/// An answer, and what becomes of the attempt that gets it.
struct Odd {
    /// The beginning of the path that is answered so.
    at: &'static str,
    class: Class,
    fate: fn() -> Fate,
    /// The order goes on in the next attempt.
    keeps: bool,
    times: usize,
    what: &'static str,
}

const ODD: [Odd; 12] = [
    Odd { at: NEW_NONCE, class: Class::Transient, fate: || Fate::with_header(NONCE, None), keeps: false, times: 1, what: "no nonce" },
    Odd { at: "/", class: Class::Transient, fate: old_nonce, keeps: false, times: 9, what: "a nonce that was used before" },
    Odd {
        at: NEW_ORDER,
        class: Class::Transient,
        fate: || Fate::with_header(LOCATION, None),
        keeps: false,
        times: 1,
        what: "an order without its URL",
    },
    Odd { at: NEW_ORDER, class: Class::Transient, fate: half, keeps: false, times: 1, what: "half of a new order" },
    Odd {
        at: AUTHORIZATION,
        class: Class::Configuration,
        fate: other_names,
        keeps: false,
        times: 1,
        what: "an authorization for another name",
    },
    Odd { at: ORDER, class: Class::Transient, fate: half, keeps: true, times: 1, what: "half of an order" },
    Odd {
        at: ORDER,
        class: Class::Transient,
        fate: || Fate::page(StatusCode::NOT_FOUND, "<html>no such page</html>"),
        keeps: true,
        times: 1,
        what: "a proxy's 404 for the order",
    },
    Odd {
        at: ORDER,
        class: Class::Transient,
        fate: || problem(StatusCode::NOT_FOUND, "malformed"),
        keeps: false,
        times: 1,
        what: "the CA's own 404 for the order",
    },
    Odd {
        at: FINALIZE,
        class: Class::Transient,
        fate: || problem(StatusCode::FORBIDDEN, "orderNotReady"),
        keeps: true,
        times: 1,
        what: "that an order is not ready which is",
    },
    Odd {
        at: CERTIFICATE,
        class: Class::Validation,
        fate: || Fate::rewrite(|_| String::new()),
        keeps: true,
        times: 1,
        what: "an empty chain",
    },
    Odd {
        at: CERTIFICATE,
        class: Class::Validation,
        fate: || Fate::rewrite(|_| "-----BEGIN NOTHING-----".to_owned()),
        keeps: true,
        times: 1,
        what: "no chain",
    },
    Odd {
        at: CERTIFICATE,
        class: Class::Validation,
        fate: || Fate::rewrite(|_| a_strangers()),
        keeps: true,
        times: 1,
        what: "somebody else's certificate",
    },
];
const AUTHORIZATION: &str = "/authZ/";
const CERTIFICATE: &str = "/certZ/";
const FINALIZE: &str = "/finalize-order/";
const NEW_NONCE: &str = "/nonce-plz";
const NEW_ORDER: &str = "/order-plz";
const NONCE: HeaderName = HeaderName::from_static("replay-nonce");
const ORDER: &str = "/my-order/";

fn half() -> Fate {
    Fate::rewrite(|text| text[..text.len() / 2].to_owned())
}

fn old_nonce() -> Fate {
    Fate::with_header(NONCE, Some(HeaderValue::from_static("bm9uY2U")))
}

fn other_names() -> Fate {
    Fate::rewrite(|text| text.replace("mirror-", "another-"))
}

fn problem(status: StatusCode, kind: &str) -> Fate {
    let text =
        format!("{{\"type\": \"urn:ietf:params:acme:error:{kind}\", \"detail\": \"says the test\", \"status\": {}}}", status.as_u16());
    Fate::page(status, &text)
}

fn a_strangers() -> String {
    rcgen::generate_simple_self_signed(["mirror.test".to_owned()]).expect("made").cert.pem()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_costs_an_attempt_and_no_second_certificate() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()).map(Arc::new) else { return };
    let prover = Arc::new(Prover::start(&pebble).await);
    let mut owners = JoinSet::new();
    for (number, Odd { at, class, fate, keeps, times, what }) in ODD.into_iter().enumerate() {
        let (pebble, prover) = (pebble.clone(), prover.clone());
        let mut left = times;
        let way = Interposer::before(&pebble, move |asked| {
            let is_odd = left > 0 && asked.path.starts_with(at);
            left -= usize::from(is_odd);
            if is_odd { fate() } else { Fate::Pass }
        });
        owners.spawn(async move {
            let owner = Owner::of(&pebble, &[&format!("mirror-{number}.test")]);
            let worker = || owner.worker_by(&way, &pebble, prover.http());
            assert_eq!(worker().look().await.expect("files"), Look::Failed(class), "{what}: {:?}", owner.state());
            let pending = owner.folder().pending().expect("read");
            assert_eq!(pending.is_some_and(|pending| pending.order.is_some()), keeps, "{what}");
            owner.clock.on_by(Duration::from_secs(25 * 3600));
            owner.until_it_comes(4, worker).await;
        });
    }
    owners.join_all().await;
    assert_eq!(pebble.issued(), ODD.len(), "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_over_when_it_comes_is_not_stored_and_not_ordered_all_the_time() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings { life: Duration::from_secs(1), ..Settings::default() }) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    for _ in 0..3 {
        let worker = owner.worker(&pebble, prover.http());
        assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Validation));
        assert!(worker.served.current().is_none() && owner.folder().current().expect("read").is_none(), "it is neither served nor stored");
        owner.clock.on_by(Duration::from_secs(2 * 3600));
    }
    let said = owner.state().history.setback.expect("it failed").said;
    assert!(said.contains("not to be used") && said.contains("expired"), "{said}");
    assert_eq!(pebble.issued(), 1, "it is downloaded again before another is ordered");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_that_are_refused_cost_attempts_but_no_certificate() {
    install_crypto();
    for (percent, most) in [(15, 10), (50, 40), (90, 700)] {
        let Some(pebble) = Pebble::start(Settings { bad_nonces: percent, ..Settings::default() }) else { return };
        let prover = Prover::start(&pebble).await;
        let owner = Owner::of(&pebble, &["mirror.test"]);
        owner.until_it_comes(most, || owner.worker(&pebble, prover.http())).await;
        assert_eq!(pebble.issued(), 1, "{percent} percent: {}", pebble.log());
    }
}
