//! Certificates by DNS without any script: a real CA looks at a real name server that takes signed updates.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certs::dns::{Data, Entry, Kind, Name, Propagation, Question, Rcode, Resolver, Seen, TsigAlgorithm, TsigKey, exchange, query};
use certs::solve::{DnsHook, DnsProofs, DnsWriter, HookStyle, Rfc2136, Solvers};
use certs::worker::Look;
use certs::{Class, Reason};
use tests::interposer::{Fate, Interposer};
use tests::named::{Named, Zone};
use tests::pebble::{Pebble, Settings};
use tokio::sync::Notify;

use super::prover::write_script;
use super::{Owner, install_crypto};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn key() -> TsigKey {
    TsigKey::new(name(Named::KEY), TsigAlgorithm::HmacSha256, Named::SECRET).expect("a key")
}

/// Updates at `named`, and a wait for its zone's servers.
pub(super) fn updates(named: &Named, change: impl FnOnce(&mut Rfc2136)) -> Solvers {
    let mut server = Rfc2136 { key: key(), server: named.socket().to_string(), ttl: 5, zone: None };
    change(&mut server);
    let proofs = DnsProofs::new(DnsWriter::Rfc2136(server), Resolver::new(&[named.socket()]), Some(Duration::from_secs(20)));
    Solvers { dns: Some(Arc::new(proofs)), ..Solvers::default() }
}

pub(super) fn pebble_at(named: &Named) -> Option<Pebble> {
    Pebble::start(Settings { dns: Some(named.socket()), ..Settings::default() })
}

type Change = fn(&mut Rfc2136);

pub(super) const PLACE: &str = "_acme-challenge.mirror.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_and_its_own_name_are_proved_by_signed_updates_that_leave_nothing_behind() {
    install_crypto();
    let zone = Zone::new("test").record("_acme-challenge.mirror TXT \"somebody-elses\"").grant("grant chandler zonesub TXT;");
    let Some(named) = Named::start(&[zone]) else { return };
    let Some(pebble) = pebble_at(&named) else { return };
    let owner = Owner::of(&pebble, &["*.mirror.test", "mirror.test"]);
    let worker = owner.worker(&pebble, updates(&named, |_| {}));
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}\n{}", pebble.log(), named.log());
    let added = named.log().lines().filter(|line| line.contains("adding an RR at '_acme-challenge.mirror.test' TXT")).count();
    assert_eq!(added, 2, "both were there at once:\n{}", named.log());
    assert_eq!(named.texts(PLACE), ["somebody-elses"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_update_fails_of_is_told_in_words() {
    install_crypto();
    let open = Zone::new("test").grant("grant chandler name _acme-challenge.mirror.test. TXT;");
    let Some(named) = Named::start(&[open, Zone::new("closed.corp").grant("grant other zonesub TXT;")]) else { return };
    let Some(pebble) = pebble_at(&named) else { return };
    let other_secret =
        |server: &mut Rfc2136| server.key = TsigKey::new(name(Named::KEY), TsigAlgorithm::HmacSha256, "b3RoZXI=").expect("a key");
    let other_name = |server: &mut Rfc2136| server.key.name = name("unknown");
    let other_algorithm = |server: &mut Rfc2136| server.key.algorithm = TsigAlgorithm::HmacSha512;
    let other_zone = |server: &mut Rfc2136| server.zone = Some(name("elsewhere.corp"));
    let wrong_zone = |server: &mut Rfc2136| server.zone = Some(name("closed.corp"));
    let cases: [(&str, Change, &[&str]); 7] = [
        ("mirror.test", other_secret, &["BADSIG", "the secret is not that of its key chandler", "key_file"]),
        ("mirror.test", other_name, &["BADKEY", "it has no key unknown for hmac-sha256", "key_name"]),
        ("mirror.test", other_algorithm, &["BADKEY", "it has no key chandler for hmac-sha512", "key_algorithm"]),
        ("mirror.test", other_zone, &["NOTAUTH", "it is not the zone's primary server"]),
        ("mirror.test", wrong_zone, &["NOTZONE", "the name is not in that zone"]),
        ("mirror.closed.corp", |_| {}, &["REFUSED", "zone closed.corp", "grant chandler name _acme-challenge.mirror.closed.corp. TXT;"]),
        ("mirror.nowhere", |_| {}, &["serves no zone that _acme-challenge.mirror.nowhere is in"]),
    ];
    for (host, change, words) in cases {
        let owner = Owner::of(&pebble, &[host]);
        let worker = owner.worker(&pebble, updates(&named, change));
        assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Validation), "{words:?}");
        let said = worker.store.certificate(&worker.name).state().expect("read").history.setback.expect("it failed").said;
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in: {said}");
        assert!(!said.contains(Named::SECRET) && !said.contains("b3RoZXI="), "{said}");
    }
    assert_eq!(named.texts(PLACE), Vec::<String>::new());
    assert_eq!(pebble.issued(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_the_ca_does_not_see_is_taken_away_as_well() {
    install_crypto();
    let Some(named) = Named::start(&[Zone::new("test").grant("grant chandler zonesub TXT;")]) else { return };
    let Some(pebble) = Pebble::start(Settings::default()) else { return }; // It looks at another DNS.
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let worker = owner.worker(&pebble, updates(&named, |_| {}));
    assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Validation));
    assert!(named.log().contains("adding an RR at '_acme-challenge.mirror.test' TXT"), "{}", named.log());
    assert_eq!(named.texts(PLACE), Vec::<String>::new());
}

/// The CA's own word that it has no such order.
fn lost() -> Fate {
    Fate::page(http::StatusCode::NOT_FOUND, r#"{"type": "urn:ietf:params:acme:error:malformed", "detail": "no such order", "status": 404}"#)
}

/// A process that is gone once the CA was told: whoever goes on finds the name proved, and the record that nobody needs any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_process_that_died_is_taken_away_by_the_next_one() {
    install_crypto();
    let Some(named) = Named::start(&[Zone::new("test").grant("grant chandler zonesub TXT;")]) else { return };
    let Some(pebble) = pebble_at(&named) else { return };
    for is_lost in [false, true] {
        let (told, mut asked_for) = (Arc::new(Notify::new()), 0);
        let dies = told.clone();
        let way = Interposer::before(&pebble, move |asked| {
            let is_order = asked.path.starts_with("/my-order/");
            asked_for += usize::from(if asked_for == 0 { asked.path.starts_with("/chalZ/") } else { is_order });
            match asked_for {
                2 if is_order => {
                    dies.notify_one();
                    Fate::Hang
                }
                3 if is_order && is_lost => lost(),
                _ => Fate::Pass,
            }
        });
        let owner = Owner::of(&pebble, &["mirror.test"]);
        let worker = owner.worker_by(&way, &pebble, updates(&named, |_| {}));
        tokio::select! {
            look = worker.look() => panic!("it goes on: {look:?}"),
            () = told.notified() => {}
        }
        drop(worker);
        assert_eq!(named.texts(PLACE).len(), 1, "it is there yet");
        let look = owner.worker_by(&way, &pebble, updates(&named, |_| {})).look().await.expect("files");
        assert_eq!(look, Look::Obtained(Reason::Missing), "{}", pebble.log());
        assert_eq!(named.texts(PLACE), Vec::<String>::new(), "the order is lost: {is_lost}");
    }
}

/// A name server, or a provider behind a script, that is away when the certificate has come.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_taken_away_is_remembered_and_taken_away_later() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let [script, away, gone] = ["hook", "away", "gone"].map(|name| owner.files.path().join(name));
    std::fs::write(&away, "").expect("written");
    let cleanup = format!("[ -e {} ] && exit 1; echo $3 >> {}; exit 0", away.display(), gone.display());
    let text = format!("#!/bin/sh\nif [ $1 = cleanup ]; then {cleanup}; fi\nNAME=$2 VALUE=$3\n{}\n", pebble.set_txt_command());
    write_script(&script, &text);
    let worker = || {
        let hook = DnsHook::new(HookStyle::Lego, &script, None, Duration::from_secs(60));
        owner.worker(&pebble, Solvers { dns: Some(Arc::new(hook.into())), ..Solvers::default() })
    };
    assert_eq!(worker().look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
    let left = owner.folder().left().expect("read").expect("it is remembered");
    assert!(left.records.len() == 1 && !gone.exists(), "{left:?}");
    for (is_away, is_left) in [(true, true), (false, false)] {
        owner.clock.on_by(Duration::from_secs(600));
        if !is_away {
            std::fs::remove_file(&away).expect("it is there");
        }
        worker().look().await.expect("files");
        assert_eq!(owner.folder().left().expect("read").is_some(), is_left, "the script fails: {is_away}");
    }
    assert_eq!(std::fs::read_to_string(&gone).expect("it ran"), format!("{}\n", left.records[0].value));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_script_the_zones_servers_are_asked_as_well_where_somebody_wants_it() {
    install_crypto();
    let Some(named) = Named::start(&[Zone::new("test").grant("grant chandler zonesub TXT;")]) else { return };
    let (Some(pebble), Some(nsupdate)) = (pebble_at(&named), tests::tools::require("nsupdate")) else { return };
    for wait in [None, Some(Duration::from_secs(20))] {
        let owner = Owner::of(&pebble, &["mirror.test"]);
        let (key, script) = (owner.files.path().join("key"), owner.files.path().join("hook"));
        std::fs::write(&key, Named::key_file()).expect("written");
        let (server, nsupdate, key) = (named.socket().ip(), nsupdate.display(), key.display());
        let add = "update add _acme-challenge.$CERTBOT_DOMAIN. 5 TXT $CERTBOT_VALIDATION\\nsend\\n";
        write_script(&script, &format!("#!/bin/sh\nprintf \"server {server}\\n{add}\" | {nsupdate} -k {key}\n"));
        let hook = DnsHook::new(HookStyle::Certbot, &script, None, Duration::from_secs(60));
        let proofs = DnsProofs::new(DnsWriter::Hook(hook), Resolver::new(&[named.socket()]), wait);
        let worker = owner.worker(&pebble, Solvers { dns: Some(Arc::new(proofs)), ..Solvers::default() });
        assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}\n{}", pebble.log(), named.log());
        // A CA's resolver wants it answered whoever knows it (+); we ask what this server itself has (-).
        let ours = named.log().lines().filter(|line| line.contains("query: _acme-challenge.mirror.test IN TXT -")).count();
        assert_eq!(ours > 0, wait.is_some(), "{}", named.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_name_is_another_name_for_one_elsewhere_the_record_goes_there() {
    install_crypto();
    let closed = Zone::new("corp").record("_acme-challenge.mirror CNAME mirror.proofs.test.");
    let Some(named) = Named::start_resolver(&[closed, Zone::new("proofs.test").grant("grant chandler zonesub TXT;")]) else { return };
    let Some(pebble) = pebble_at(&named) else { return };
    let owner = Owner::of(&pebble, &["*.mirror.corp"]);
    let worker = owner.worker(&pebble, updates(&named, |_| {}));
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}\n{}", pebble.log(), named.log());
    assert!(named.log().contains("adding an RR at 'mirror.proofs.test' TXT"), "{}", named.log());
    assert_eq!(named.texts("mirror.proofs.test"), Vec::<String>::new());
}

/// Adds `value` for [`PLACE`] to the zone `test` at `named`.
async fn add(named: &Named, value: &str, now: u64) -> certs::dns::Answer {
    let zone = Question { name: name("test"), kind: Kind::SOA };
    let mut request = zone.update(7, &[Entry::Add { name: name(PLACE), ttl: 5, text: value.into() }]);
    key().sign(&mut request, now);
    exchange(named.socket(), &zone, 7, &request).await.expect("an answer")
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

async fn seen(resolver: &Named, value: &str, wait: Duration) -> Seen {
    let propagation = Propagation { resolver: Resolver::new(&[resolver.socket()]), wait };
    propagation.until_seen(&[(name(PLACE), value.into())]).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_waited_for_until_every_server_of_the_zone_shows_it() {
    let second = Named::address();
    let zone = Zone::new("test").record("@ NS ns2").record(&format!("ns2 A {second}")).grant("grant chandler zonesub TXT;");
    let Some(primary) = Named::start(&[zone]) else { return };
    let Some(secondary) = Named::start_at(second, &[Zone::copy_of("test", &primary)]) else { return };
    assert_eq!(add(&primary, "value", now()).await.message.rcode, Rcode::NO_ERROR);
    let mut seen = seen(&primary, "value", Duration::from_secs(60)).await;
    seen.by.sort();
    assert_eq!(seen.by, [name("ns1.test"), name("ns2.test")], "{seen:?}\n{}\n{}", primary.log(), secondary.log());
    assert_eq!(seen.doubt(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_lag_or_cannot_be_reached_are_told_and_hold_up_nothing() {
    let (second, third) = (Named::address(), Named::address());
    let lines = [format!("ns2 A {second}"), format!("ns3 A {third}")]; // Nobody is at the third.
    let zone = lines.iter().fold(Zone::new("test").record("@ NS ns2").record("@ NS ns3"), |zone, line| zone.record(line));
    let Some(primary) = Named::start(&[zone.grant("grant chandler zonesub TXT;")]) else { return };
    let Some(_stale) = Named::start_at(second, &[Zone::new("test")]) else { return };
    add(&primary, "value", now()).await;
    let seen = seen(&primary, "value", Duration::from_secs(3)).await;
    assert_eq!(
        (seen.by.as_slice(), seen.not_by.as_slice(), seen.silent.as_slice()),
        (&[name("ns1.test")][..], &[name("ns2.test")][..], &[name("ns3.test")][..])
    );
    insta::assert_snapshot!(seen.doubt().expect("a doubt"), @"ns2.test answers and does not show it yet, ns3.test cannot be asked from here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_told_with_the_servers_own_time() {
    let Some(named) = Named::start(&[Zone::new("test").grant("grant chandler zonesub TXT;")]) else { return };
    let answer = add(&named, "value", now() - 3600).await;
    let (_, signature) = answer.message.signature.expect("it is signed");
    assert_eq!((answer.message.rcode, signature.error), (Rcode::NOT_AUTHORITATIVE, Rcode::BAD_TIME));
    assert!(signature.server_time().expect("it says its time").abs_diff(now()) < 60);
    assert_eq!(named.texts(PLACE), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_real_server_that_does_not_fit_a_datagram_is_read_whole() {
    let lines = (0..60).map(|number| format!("many TXT \"{number:040}\""));
    let Some(named) = Named::start(&[lines.fold(Zone::new("test"), |zone, line| zone.record(&line))]) else { return };
    let message = query(named.socket(), &name("many.test"), Kind::TXT, false).await.expect("an answer");
    assert_eq!(message.answers.iter().filter(|record| matches!(record.data, Data::Txt(_))).count(), 60);
}
