//! "No crash, race or retry burns the CA's rate limits": whatever happens to any one request of an order, the certificate comes, and it is one.

use std::sync::Arc;

use http::StatusCode;
use tests::interposer::{Fate, Interposer};
use tests::pebble::{Pebble, Settings};
use tokio::task::JoinSet;

use super::prover::Prover;
use super::{Owner, install_crypto};

/// What befalls a request.
#[derive(Clone, Copy, Debug)]
enum Fault {
    AnswerLost,
    HtmlOf503,
    HtmlOf400,
    HalfAnAnswer,
    Lost,
    TooMany,
}

const FAULTS: [Fault; 6] = [Fault::AnswerLost, Fault::HtmlOf503, Fault::HtmlOf400, Fault::HalfAnAnswer, Fault::Lost, Fault::TooMany];
/// So many requests make an order, and one more that is not there any more.
const STEPS: usize = 16;

impl Fault {
    fn fate(self) -> Fate {
        match self {
            Self::AnswerLost => Fate::LoseAnswer(Box::new(|| {})),
            Self::HtmlOf503 => Fate::page(StatusCode::SERVICE_UNAVAILABLE, "<html>maintenance</html>"),
            Self::HtmlOf400 => Fate::page(StatusCode::BAD_REQUEST, "<html>your proxy does not like this</html>"),
            Self::HalfAnAnswer => Fate::page(StatusCode::OK, "{\"status\": \"val"),
            Self::Lost => Fate::Lose,
            Self::TooMany => {
                let problem = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "slow down", "status": 429}"#;
                let mut fate = Fate::page(StatusCode::TOO_MANY_REQUESTS, problem);
                if let Fate::Answer(answer) = &mut fate {
                    answer.headers_mut().insert("retry-after", http::HeaderValue::from_static("120"));
                    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/problem+json"));
                }
                fate
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_any_request_of_an_order_one_certificate_comes_of_it() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let [first, second, third, fourth, fifth, sixth] = FAULTS.map(|fault| befalls(fault, &pebble, &prover));
    tokio::join!(first, second, third, fourth, fifth, sixth);
    assert_eq!(pebble.issued(), FAULTS.len() * STEPS, "{}", pebble.log());
}

async fn befalls(fault: Fault, pebble: &Pebble, prover: &Prover) {
    for step in 0..STEPS {
        let way = Interposer::before(pebble, move |asked| if asked.number == step { fault.fate() } else { Fate::Pass });
        let owner = Owner::of(pebble, &[&format!("mirror-{step}.test")]);
        owner.until_it_comes(4, || owner.worker_by(&way, pebble, prover.http())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_never_answers_any_one_request_is_given_up_and_asked_again() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()).map(Arc::new) else { return };
    let prover = Arc::new(Prover::start(&pebble).await);
    let mut orders = JoinSet::new();
    for step in 0..STEPS {
        let (pebble, prover) = (pebble.clone(), prover.clone());
        orders.spawn(async move {
            let way = Interposer::before(&pebble, move |asked| if asked.number == step { Fate::Hang } else { Fate::Pass });
            let owner = Owner::of(&pebble, &[&format!("mirror-{step}.test")]);
            owner.until_it_comes(4, || owner.worker_by(&way, &pebble, prover.http())).await;
        });
    }
    orders.join_all().await;
    assert_eq!(pebble.issued(), STEPS, "{}", pebble.log());
}
