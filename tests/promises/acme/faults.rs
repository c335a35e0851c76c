//! "No crash, race or retry burns the CA's rate limits": whatever happens to any one request of an order, the certificate comes, and it is one.

use std::time::Duration;

use certs::worker::Look;
use http::StatusCode;
use tests::interposer::{Fate, Interposer};
use tests::pebble::{Pebble, Settings};

use super::prover::Prover;
use super::{Courier, Owner, Worker, install_crypto};

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
        let mut owner = Owner::of(pebble, &[&format!("mirror-{step}.test")]);
        owner.wish.directories = vec![way.directory()];
        let worker = || Worker { courier: Courier::knowing(way.root()).expect("a client"), ..owner.worker(pebble, prover.http()) };
        let mut tries = 0;
        while !matches!(worker().look().await.expect("files"), Look::Obtained(_)) {
            owner.clock.on_by(Duration::from_secs(2 * 3600));
            tries += 1;
            assert!(tries < 4, "{fault:?} at step {step}: {:?}", worker().store.certificate(&worker().name).state());
        }
    }
}
