//! Certificates by DNS at Amazon Route 53: a server that behaves like it tells a real CA's DNS what it has, once a change is in sync.

use std::sync::Arc;
use std::time::Duration;

use certs::dns::Resolver;
use certs::solve::route53::{Environment, Route53, Route53Settings};
use certs::solve::{DnsProofs, DnsWriter, Solvers};
use certs::worker::Look;
use certs::{Class, Reason};
use tests::pebble::{Pebble, Settings};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Owner, install_crypto};

const PLACE: &str = "_acme-challenge.mirror.test";

/// The service, which tells `pebble`'s DNS.
fn service(pebble: &Arc<Pebble>) -> tests::route53::Route53 {
    let dns = pebble.clone();
    let service = tests::route53::Route53::start(move |name, values| {
        dns.clear_txt(name);
        for value in values {
            dns.set_txt(name, value);
        }
    });
    service.zone("ZTEST", "test", false);
    service.zone("ZPRIVATE", "mirror.test", true);
    service.zone("ZOTHER", "other.test", false);
    service
}

/// Records there, by credentials as the environment has them; resolvers that know nothing.
fn records(service: &tests::route53::Route53, secret: &str, token: Option<&str>, zone_id: Option<&str>) -> Solvers {
    records_at(&service.url(), secret, token, zone_id)
}

fn records_at(url: &str, secret: &str, token: Option<&str>, zone_id: Option<&str>) -> Solvers {
    let known = [("AWS_ACCESS_KEY_ID", tests::route53::Route53::ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", secret)];
    let environment: Environment = known.into_iter().chain(token.map(|token| ("AWS_SESSION_TOKEN", token))).collect();
    let endpoint = url.parse().expect("a URL");
    let settings = Route53Settings { endpoint, profile: None, zone_id: zone_id.map(str::to_owned) };
    let account = Route53::new(settings, environment, &rustls::RootCertStore::empty()).expect("a client");
    let proofs = DnsProofs::new(DnsWriter::Route53(account), Resolver::new(&[([127, 0, 0, 1], 1).into()]), None);
    Solvers { dns: Some(Arc::new(proofs)), ..Solvers::default() }
}

const SECRET: &str = tests::route53::Route53::SECRET_KEY;

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_and_its_own_name_are_proved_at_amazon_beside_what_others_have_there() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()).map(Arc::new) else { return };
    let service = service(&pebble);
    service.put(PLACE, "\"somebody-elses\"");
    service.want_token("session");
    service.fail("route53:ListHostedZonesByName", &["Throttling"]);
    service.fail("route53:ChangeResourceRecordSets", &["PriorRequestNotComplete", "Throttling"]);
    service.meanwhile(PLACE, "\"a-faster-one\"");
    let owner = Owner::of(&pebble, &["*.mirror.test", "mirror.test"]);
    let worker = owner.worker(&pebble, records(&service, SECRET, Some("session"), None));
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
    assert_eq!(service.values(PLACE), ["\"somebody-elses\"", "\"a-faster-one\""]);
    assert_eq!(service.asked("route53:ChangeResourceRecordSets"), 2 + 1 + 4, "two refused, one overtaken, two added, two taken away");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_amazon_refuses_is_told_with_what_is_missing() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()).map(Arc::new) else { return };
    let service = service(&pebble);
    let said = async |host: &str, solvers: Solvers| {
        let owner = Owner::of(&pebble, &[host]);
        let worker = owner.worker(&pebble, solvers);
        assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Validation));
        worker.store.certificate(&worker.name).state().expect("read").history.setback.expect("it failed").said
    };
    for action in ["ListHostedZonesByName", "ListResourceRecordSets", "ChangeResourceRecordSets", "GetChange"] {
        let action: &'static str = format!("route53:{action}").leak();
        service.deny(Some(action));
        let said = said("mirror.test", records(&service, SECRET, None, None)).await;
        assert!(said.contains(&format!("allow the action {action} in their IAM policy")), "{said}");
        service.deny(None);
        if action == "route53:GetChange" {
            assert_eq!(service.values(PLACE), Vec::<String>::new(), "a record that is not waited for to its end is taken away");
        }
    }
    let cases = [
        (
            said("mirror.nowhere", records(&service, SECRET, None, None)).await,
            "no public hosted zone that _acme-challenge.mirror.nowhere is in",
        ),
        (said("mirror.test", records(&service, SECRET, None, Some("ZNONE"))).await, "look at acme.dns.route53.zone_id"),
        (said("mirror.test", records(&service, "wrong", None, None)).await, "the secret access key is wrong"),
    ];
    for (said, words) in cases {
        assert!(said.contains(words) && !said.contains(SECRET), "{words} in: {said}");
    }
    service.want_token("new");
    let said = said("mirror.test", records(&service, SECRET, Some("old"), None)).await;
    assert!(said.contains("the credentials are over, get new ones"), "{said}");
    assert_eq!(service.values(PLACE), Vec::<String>::new());
    assert_eq!(pebble.issued(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_the_ca_does_not_see_is_taken_away_from_amazon_as_well() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()).map(Arc::new) else { return };
    let service = tests::route53::Route53::start(|_, _| {}); // Nobody tells the CA's DNS.
    service.zone("ZTEST", "test", false);
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let worker = owner.worker(&pebble, records(&service, SECRET, None, Some("ZTEST")));
    assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Validation));
    assert_eq!((service.values(PLACE), service.asked("route53:ChangeResourceRecordSets")), (Vec::new(), 2));
    assert_eq!(service.asked("route53:ListHostedZonesByName"), 0, "the zone was named");
}

/// The service behind a line that breaks this often, and then does not.
async fn broken_line(service: &tests::route53::Route53, breaks: usize) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has free ports");
    let (address, to) = (listener.local_addr().expect("it is bound"), service.url().trim_start_matches("http://").to_owned());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut broken = 0;
        while let Ok((mut here, _)) = listener.accept().await {
            if broken < breaks {
                broken += 1;
                continue;
            }
            let to = to.clone();
            tokio::spawn(async move {
                let mut there = TcpStream::connect(to).await.expect("it listens");
                drop(tokio::io::copy_bidirectional(&mut here, &mut there).await);
            });
        }
    });
    (format!("http://{address}"), tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_to_amazon_that_breaks_costs_a_while_and_no_order() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()).map(Arc::new) else { return };
    let service = service(&pebble);
    let (url, _line) = broken_line(&service, 2).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let look = owner.worker(&pebble, records_at(&url, SECRET, None, None)).look().await.expect("files");
    assert_eq!(look, Look::Obtained(Reason::Missing), "{}", pebble.log());

    let owner = Owner::of(&pebble, &["other.test"]);
    let away = records_at("http://127.0.0.1:1", SECRET, None, None);
    assert_eq!(owner.worker(&pebble, away).look().await.expect("files"), Look::Failed(Class::Transient));
    let said = owner.state().history.setback.expect("it failed").said;
    assert!(said.contains("at Route 53"), "{said}");
    owner.clock.on_by(Duration::from_secs(120));
    let look = owner.worker(&pebble, records(&service, SECRET, None, None)).look().await.expect("files");
    assert_eq!(look, Look::Obtained(Reason::Missing), "{}", pebble.log());
    assert_eq!(owner.state().history.orders.len(), 1, "the order went on");
}
