//! `chandler cert renew --dry-run`: every name is proved, and nothing changes of what is served.

use std::fs;
use std::path::Path;

use tests::hub::Hub;
use tests::interposer::{Fate, Interposer};
use tests::operator::Operator;
use tests::pebble::{Pebble, Settings};
use tests::program::Builder;

use super::super::https_by_acme::{at, mirror, shown};
use super::{cert, edit, right, status, wrong};

/// Another address of the same CA: for our side it is another CA.
fn twin_of(pebble: &Pebble) -> Interposer {
    Interposer::before(pebble, |_| Fate::Pass)
}

/// A mirror that knows both.
fn knowing(hub: &Hub, pebble: &Pebble, twin: &Interposer) -> Builder {
    mirror(hub, pebble, &pebble.directory(), &[&pebble.api_root(), twin.root()].concat(), "")
}

/// What lies in the folder of certificates and must not change.
fn kept(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let folder = folder.join("certs/certs/mirror.test");
    let file = |name: &str| Some((name.to_owned(), fs::read(folder.join(name)).ok()?));
    ["current", "gen-000001.pem", "gen-000002.pem", "state.json", "pending.json"].into_iter().filter_map(file).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_beside_a_mirror_that_runs_proves_every_name_and_changes_nothing() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let (hub, twin) = (Hub::start(), twin_of(&pebble));
    let builder = knowing(&hub, &pebble, &twin);
    let folder = builder.folder().to_owned();
    let program = builder.start();
    Operator::of(&program).wait_for_readiness(200).await;
    let (config, leaf, before) = (program.config(), shown(&program, "mirror.test").await, kept(&folder));

    let said = right(&cert(&config, &["renew", "--dry-run", "--directory", &twin.directory()]));
    for line in ["good  mirror.test is proved by http-01", "good  127.0.0.1 is proved by http-01", "and was thrown away"] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(pebble.issued(), 2, "a whole order");
    assert_eq!(kept(&folder), before);
    assert!(!folder.join("certs/certs/mirror.test/trial/pending.json").exists(), "nothing is left of it");

    let said = right(&cert(&config, &["renew", "--dry-run", "mirror.test"]));
    assert!(said.contains("the names alone") && said.contains("every name is proved; no certificate was asked for"), "{said}");
    assert_eq!(pebble.issued(), 2, "the CA that counts is asked for names alone");
    assert_eq!((shown(&program, "mirror.test").await, status(&config)["generation"].as_u64()), (leaf, Some(1)));

    let said = right(&cert(&config, &["renew", "--dry-run", "--challenge", "alpn"]));
    assert!(said.contains("mirror.test is proved by tls-alpn-01"), "the mirror has the port, and shows the proof: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_one_way_is_tried_another_way_and_each_name_tells_its_reason() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let (hub, twin) = (Hub::start(), twin_of(&pebble));
    let builder = knowing(&hub, &pebble, &twin);
    let config = builder.write();
    let port = format!("127.0.0.1:{}", pebble.http_port());
    edit(&config, &format!("http: \"{port}\""), "http: \"127.0.0.1:0\""); // Not where the CA looks.
    let at_twin = ["renew", "--dry-run", "--directory", &twin.directory()];

    let said = wrong(&cert(&config, &[&at_twin[..], &["--challenge", "http"]].concat()), 1);
    assert!(said.contains("bad   mirror.test is not proved: http-01: "), "{said}");
    assert!(said.contains("acme.http"), "the mend names the setting: {said}");
    assert_eq!(pebble.issued(), 0);

    let said = right(&cert(&config, &at_twin));
    let (failed, proved) = (said.find("is not proved: http-01"), said.find("mirror.test is proved by tls-alpn-01"));
    assert!(failed.is_some() && failed < proved, "{said}");
    assert!(status(&config)["generation"].is_null(), "nothing is stored: {said}");
    assert_eq!(pebble.issued(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_proved_at_a_ca_that_counts_without_a_mirror_and_the_order_after_it_finds_them_so() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let builder = at(&hub, &pebble);
    let config = builder.write();
    let said = right(&cert(&config, &["renew", "--dry-run", "--challenge", "tls-alpn-01"]));
    assert!(said.contains("mirror.test is proved by tls-alpn-01") && said.contains("127.0.0.1 is proved by tls-alpn-01"), "{said}");
    assert_eq!(pebble.issued(), 0);
    right(&cert(&config, &["obtain"]));
    assert_eq!(pebble.issued(), 1);
    for (arguments, says) in [
        (&["renew", "--dry-run", "--challenge", "dns"][..], "hint: --challenge dns:/path/to/script"),
        (&["renew", "--challenge", "http"], "--dry-run"),
        (&["renew", "--dry-run", "--challenge", "carrier-pigeon"], "not a challenge: write http, alpn"),
        (&["renew", "--dry-run", "--directory", "http://ca.test/dir"], "spoken over https:// only"),
        (&["renew", "--dry-run", "--force"], "cannot be used with"),
    ] {
        let said = wrong(&cert(&config, arguments), 2);
        assert!(said.contains(says), "{said}");
    }
}
